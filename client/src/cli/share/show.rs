//! How a link is shown: its address, as a QR code, in the clipboard, in words and as JSON.

use std::io::Write as _;
use std::process::{Command, Stdio};

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use quics_proto::history::v1::moment;
use quics_proto::share::v1::{Link, LinkKind, LinkState};
use serde::Serialize;

use super::SHOWN;
use crate::cli::{Context, Failure, output};
use crate::text;

/// Programs that take a text for the clipboard, the desktop's own first.
const CLIPBOARDS: [(&str, &[&str]); 3] = [("wl-copy", &[]), ("xclip", &["-selection", "clipboard"]), ("pbcopy", &[])];

/// The beginning of a link's id, by which it can be named.
pub(super) fn id(link: &Link) -> String {
    output::hex(&link.link_id).chars().take(SHOWN).collect()
}

/// The address of a link that was made here.
pub(super) fn address(context: &Context, base: &str, link: &Link) -> Result<Option<String>, Failure> {
    Ok(context.home.token(&link.link_id)?.map(|token| format!("{base}{}", token.text())))
}

/// Where what a link shows is, or was when it was made, for people.
pub(super) fn path(context: &Context, link: &Link) -> Result<String, Failure> {
    use std::os::unix::ffi::OsStrExt as _;

    let roots = context.home.settings()?.roots;
    Ok(match roots.iter().find(|root| root.id.as_bytes()[..] == link.root_id[..]) {
        Some(root) if link.path.is_empty() => text::path(&root.path).to_string(),
        Some(root) => text::path(&root.path.join(std::ffi::OsStr::from_bytes(&link.path))).to_string(),
        None => text::bytes(&link.path).to_string(),
    })
}

/// What a link shows and how long: "always the newest, until 2026-12-01 10:00, 2 of 5 downloads, with a password".
pub(super) fn words(link: &Link) -> String {
    let mut parts = vec![match (link.live, link.moment.and_then(|moment| moment.moment)) {
        (true, _) => "always the newest".to_owned(),
        (false, Some(moment::Moment::Version(number))) => format!("version {}", number.time),
        (false, Some(moment::Moment::Seq(seq))) => format!("as of commit #{seq}"),
        (false, _) => format!("as of {}", output::when(link.created_at)),
    }];
    if !link.live {
        parts.push(match link.kind() {
            LinkKind::Folder => format!("{} of {}", text::count(link.files, "file"), text::size(link.size)),
            _ => text::size(link.size),
        });
    }
    parts.push(match link.expires_at {
        Some(_) => format!("until {}", output::when(link.expires_at)),
        None => "without an end".to_owned(),
    });
    parts.push(match link.limit {
        0 => text::count(link.downloads, "download"),
        limit => format!("{} of {}", link.downloads, text::count(limit.into(), "download")),
    });
    if link.has_password {
        parts.push("with a password".to_owned());
    }
    match link.state() {
        LinkState::Open | LinkState::Unspecified => {}
        LinkState::Making => parts.push("being made".to_owned()),
        LinkState::Expired => parts.push("expired".to_owned()),
        LinkState::UsedUp => parts.push("used up".to_owned()),
        LinkState::Revoked => parts.push(format!("taken back {}", output::when(link.revoked_at))),
    }
    if !link.label.is_empty() {
        parts.push(format!("\"{}\"", text::line(&link.label)));
    }
    parts.join(", ")
}

/// A QR code of an address, white on black whatever the terminal's colours are.
pub(super) fn qr(address: &str) -> Result<String, Failure> {
    let code = QrCode::new(address).map_err(|_| Failure::new("this address is too long for a QR code"))?;
    let picture =
        code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).quiet_zone(true).build();
    let line = |line: &str| console::style(line).white().bright().on_black().to_string();
    Ok(picture.lines().map(line).collect::<Vec<_>>().join("\n"))
}

/// Puts a text into the clipboard, and says whether that went well.
pub(super) fn copy(address: &str) {
    let copied = CLIPBOARDS.iter().any(|(program, args)| hand(program, args, address).is_ok_and(|done| done));
    if copied {
        eprintln!("quics: the address is in the clipboard");
    } else {
        eprintln!("quics: the address is not in the clipboard: neither wl-copy, xclip nor pbcopy takes it here");
    }
}

/// Hands a text to a program on its standard input. What stays behind to keep the clipboard has nothing of ours open.
fn hand(program: &str, args: &[&str], text: &str) -> std::io::Result<bool> {
    let mut child =
        Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
    let ended = child.wait()?;
    Ok(written.is_ok() && ended.success())
}

/// A link in JSON.
#[derive(Serialize)]
pub(super) struct LinkJson {
    id: String,
    /// Only of a link that was made on this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    root: String,
    #[serde(flatten)]
    path: output::PathJson,
    kind: &'static str,
    live: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<u64>,
    label: String,
    state: &'static str,
    password: bool,
    expires_at: Option<String>,
    limit: Option<u32>,
    downloads: u64,
    bytes: u64,
    last_download_at: Option<String>,
    created_at: Option<String>,
    device: String,
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl LinkJson {
    pub(super) fn new(link: &Link, address: Option<String>) -> Self {
        let (version, commit) = match link.moment.and_then(|moment| moment.moment) {
            Some(moment::Moment::Version(number)) => (Some(number.time), None),
            Some(moment::Moment::Seq(seq)) => (None, Some(seq)),
            _ => (None, None),
        };
        Self {
            id: output::hex(&link.link_id),
            address,
            root: output::hex(&link.root_id),
            path: output::PathJson::new(&link.path),
            kind: match link.kind() {
                LinkKind::Unspecified => "unknown",
                LinkKind::File => "file",
                LinkKind::Folder => "folder",
                LinkKind::Unit => "unit",
            },
            live: link.live,
            version,
            commit,
            label: link.label.clone(),
            state: match link.state() {
                LinkState::Unspecified => "unknown",
                LinkState::Making => "making",
                LinkState::Open => "open",
                LinkState::Expired => "expired",
                LinkState::UsedUp => "used_up",
                LinkState::Revoked => "revoked",
            },
            password: link.has_password,
            expires_at: output::moment(link.expires_at),
            limit: (link.limit > 0).then_some(link.limit),
            downloads: link.downloads,
            bytes: link.bytes,
            last_download_at: output::moment(link.last_download_at),
            created_at: output::moment(link.created_at),
            device: link.device_name.clone(),
            user: link.user_name.clone(),
            revoked_at: output::moment(link.revoked_at),
            files: (!link.live).then_some(link.files),
            size: (!link.live).then_some(link.size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_words_cannot_drive_a_terminal() {
        let link = Link { live: true, limit: 5, downloads: 2, label: "a\u{1b}[2J".into(), ..Default::default() };
        assert_eq!(words(&link), "always the newest, without an end, 2 of 5 downloads, \"a\\u{1b}[2J\"");
    }

    #[test]
    fn a_qr_code_has_a_quiet_zone_and_lines_of_one_width() {
        let code = console::strip_ansi_codes(&qr("https://files.example/s/abc").unwrap()).into_owned();
        let lines: Vec<&str> = code.lines().collect();
        assert!(lines.len() > 10);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()));
        let quiet = |c| matches!(c, '█' | '▀');
        assert!(lines[0].chars().all(quiet) && lines[lines.len() - 1].chars().all(quiet));
        assert!(lines.iter().all(|line| line.chars().take(4).all(quiet) && line.chars().rev().take(4).all(quiet)));
        assert!(qr(&"x".repeat(5000)).is_err());
    }
}

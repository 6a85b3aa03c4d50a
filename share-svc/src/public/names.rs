//! Names as people and browsers may see them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A name for people: what would change the text around it, or cannot be seen, is shown as what it is.
pub(super) fn shown(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || is_invisible(character) {
                // Writing to a text cannot fail.
                let _ = write!(out, "\u{27e8}U+{:04X}\u{27e9}", u32::from(character));
            } else {
                out.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\u{27e8}{byte:02X}\u{27e9}");
        }
    }
    out
}

/// Marks of direction and characters without a shape.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// `Content-Disposition` (RFC 6266): the name in ASCII for those who know no better, and as it is (RFC 8187).
pub(super) fn disposition(kind: &str, name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let clean: String = text.chars().filter(|it| !it.is_control() && !is_invisible(*it)).collect();
    let plain = |it: char| if matches!(it, ' '..='~') && !matches!(it, '"' | '\\' | '%' | '/') { it } else { '_' };
    let ascii: String = clean.chars().map(plain).collect();
    let mut out = format!("{kind}; filename=\"{ascii}\"");
    if ascii != clean {
        out.push_str("; filename*=UTF-8''");
        for byte in clean.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
                byte => _ = write!(out, "%{byte:02X}"),
            }
        }
    }
    out
}

/// How a file is shown in its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preview {
    Picture,
    /// A picture that could be active if it were opened by itself.
    Drawing,
    Audio,
    Video,
    Text,
}

impl Preview {
    /// Whether it is served so that nothing in it can be active, wherever it is opened.
    pub(super) fn is_sandboxed(self) -> bool {
        matches!(self, Preview::Drawing | Preview::Text)
    }
}

/// The media type of a file by its name, and how it is shown.
pub(super) fn media(name: &[u8]) -> (&'static str, Option<Preview>) {
    let at = name.iter().rposition(|byte| *byte == b'.').map_or(name.len(), |at| at + 1);
    let extension = String::from_utf8_lossy(&name[at..]).to_ascii_lowercase();
    match extension.as_str() {
        "png" => ("image/png", Some(Preview::Picture)),
        "jpg" | "jpeg" => ("image/jpeg", Some(Preview::Picture)),
        "gif" => ("image/gif", Some(Preview::Picture)),
        "webp" => ("image/webp", Some(Preview::Picture)),
        "avif" => ("image/avif", Some(Preview::Picture)),
        "bmp" => ("image/bmp", Some(Preview::Picture)),
        "svg" => ("image/svg+xml", Some(Preview::Drawing)),
        "mp3" => ("audio/mpeg", Some(Preview::Audio)),
        "ogg" | "oga" | "opus" => ("audio/ogg", Some(Preview::Audio)),
        "wav" => ("audio/wav", Some(Preview::Audio)),
        "flac" => ("audio/flac", Some(Preview::Audio)),
        "m4a" => ("audio/mp4", Some(Preview::Audio)),
        "mp4" | "m4v" => ("video/mp4", Some(Preview::Video)),
        "webm" => ("video/webm", Some(Preview::Video)),
        "ogv" => ("video/ogg", Some(Preview::Video)),
        "mov" => ("video/quicktime", Some(Preview::Video)),
        "pdf" => ("application/pdf", None),
        "zip" => ("application/zip", None),
        // Active formats too: shown as their text, and never run.
        "txt" | "md" | "log" | "csv" | "tsv" | "json" | "toml" | "yaml" | "yml" | "ini" | "cfg" | "conf" | "xml"
        | "html" | "htm" | "xhtml" | "css" | "js" | "ts" | "rs" | "py" | "c" | "h" | "cpp" | "hpp" | "go" | "java"
        | "kt" | "sh" | "sql" | "proto" | "tex" | "rst" | "diff" | "patch" | "srt" => {
            ("text/plain; charset=utf-8", Some(Preview::Text))
        }
        _ => ("application/octet-stream", None),
    }
}

/// A number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") };
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Bytes of a name that every system can have.
const LONGEST: usize = 255;

/// A member's name in an archive that every system can unpack: Windows' rules are the strictest.
pub(super) fn portable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let forbidden = |it: char| {
        it.is_control() || is_invisible(it) || matches!(it, '<' | '>' | ':' | '"' | '\\' | '|' | '?' | '*' | '/')
    };
    let mut out: String = text.chars().map(|it| if forbidden(it) { '_' } else { it }).collect();
    if out.ends_with(['.', ' ']) {
        out.pop();
        out.push('_');
    }
    let stem = out.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let device = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || stem
            .strip_prefix("COM")
            .or_else(|| stem.strip_prefix("LPT"))
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|digit| digit.is_ascii_digit() && digit != b'0'));
    if device {
        out.insert(0, '_');
    }
    joined(&out, "")
}

/// A name with something put before its extension, its stem cut so that the whole is not too long.
fn joined(name: &str, put: &str) -> String {
    let dot = name.rfind('.').filter(|at| *at > 0 && name.len() - at <= LONGEST / 2);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let room = LONGEST.saturating_sub(put.len() + extension.len());
    format!("{}{put}{extension}", &stem[..stem.floor_char_boundary(room)])
}

/// The same name with a number, before its extension: `a (2).txt`.
pub(super) fn numbered(name: &str, number: u32) -> Cow<'_, str> {
    if number < 2 {
        return Cow::Borrowed(name);
    }
    Cow::Owned(joined(name, &format!(" ({number})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown_as_what_it_is() {
        assert_eq!(shown("grüße.txt".as_bytes()), "grüße.txt");
        assert_eq!(shown("a\u{202e}gpj.exe".as_bytes()), "a\u{27e8}U+202E\u{27e9}gpj.exe");
        assert_eq!(shown(b"a\nb\xff"), "a\u{27e8}U+000A\u{27e9}b\u{27e8}FF\u{27e9}");
    }

    #[test]
    fn no_name_breaks_out_of_its_header() {
        assert_eq!(disposition("attachment", b"a b.txt"), "attachment; filename=\"a b.txt\"");
        let quoted = disposition("attachment", b"a\"; x=\"\r\nSet-Cookie: y");
        assert_eq!(
            quoted,
            "attachment; filename=\"a_; x=_Set-Cookie: y\"; filename*=UTF-8''a%22%3B%20x%3D%22Set-Cookie%3A%20y"
        );
        let other = disposition("inline", "grüße\u{202e}.txt".as_bytes());
        assert_eq!(other, "inline; filename=\"gr__e.txt\"; filename*=UTF-8''gr%C3%BC%C3%9Fe.txt");
        assert!(disposition("attachment", &[0xff; 255]).is_ascii());
    }

    #[test]
    fn every_system_can_unpack_the_names() {
        for (name, expected) in [
            ("a.txt", "a.txt"),
            ("con", "_con"),
            ("Com1.txt", "_Com1.txt"),
            ("com0", "com0"),
            ("a:b?.txt", "a_b_.txt"),
            ("trail.", "trail_"),
            ("..", "._"),
            ("a\\..\\b", "a_.._b"),
        ] {
            assert_eq!(portable(name.as_bytes()), expected);
        }
        assert_eq!(numbered("a.txt", 2), "a (2).txt");
        assert_eq!(numbered(".profile", 3), ".profile (3)");
        let long = "ü".repeat(126) + ".txt";
        assert_eq!(numbered(&long, 2), "ü".repeat(123) + " (2).txt", "255 bytes at most");
        assert!(portable(&[0xff; 255]).len() <= LONGEST);
        assert_eq!(numbered(&"x".repeat(255), 10), "x".repeat(250) + " (10)");
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!([size(1), size(1023), size(1024), size(3 << 30)], ["1 byte", "1023 bytes", "1.0 KiB", "3.0 GiB"]);
    }
}

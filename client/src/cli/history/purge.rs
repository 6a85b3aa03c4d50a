//! `quics purge`

use std::ffi::OsString;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use quics_proto::history::v1 as history;
use quics_proto::history::v1::{GetPurgeRequest, ListPurgesRequest, PurgeRequest};
use serde::Serialize;
use tonic::Code;

use super::at::{self, Place};
use super::{History, VersionJson, author, number, stream, value, what};
use crate::account::call;
use crate::cli::failure::{DONE, WAITING};
use crate::cli::{Context, Failure, output};
use crate::text;

/// Versions that are named before the question.
const SHOWN: usize = 40;
/// Between two looks at a purge, and looks for which one is waited for that waits itself.
const LOOK: Duration = Duration::from_millis(300);
const PATIENCE: u32 = 50;
/// What has to be typed.
const WORD: &str = "purge";

/// Remove the contents of a file's versions for good, from every store of the server
#[derive(Debug, Args)]
#[command(
    group(clap::ArgGroup::new("which").required(true).args(["target", "list"])),
    after_help = format!("\
For what must not be kept: a key that was put into a synced folder, a document that has to be forgotten. It cannot be taken
back. Every version with the same content goes, of whatever file; versions stay in `quics log` and say who purged them and
why. What is still there is not purged: replace or delete it first. Owners only.

What the devices have is theirs: copies outside the folder, and for a short time what was replaced (in the folder's .quics).
{}

Examples:
  quics purge ~/Documents/keys.txt --reason \"a key\"     a deleted file, all its versions
  quics purge ~/Documents/config.toml@3 --dry-run
  quics purge --list", at::MOMENTS)
)]
pub(in crate::cli) struct Purge {
    /// A file that is deleted, or a version of one
    #[arg(value_name = "PATH[@T]")]
    target: Option<OsString>,
    /// Why, for whoever sees it in the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// List the purges of a root, the newest first
    #[arg(long, value_name = "ROOT|PATH", num_args = 0..=1)]
    #[allow(clippy::option_option, reason = "given, and given with a root")]
    list: Option<Option<PathBuf>>,
    /// Show what would go, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Print JSON: what goes, one version a line, then what came of it
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PurgeJson {
    id: String,
    #[serde(flatten)]
    path: output::PathJson,
    by: String,
    from: String,
    at: Option<String>,
    reason: String,
    versions: u64,
    contents: u64,
    bytes: u64,
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    waits: String,
}

impl PurgeJson {
    fn new(purge: &history::Purge) -> Self {
        Self {
            id: output::hex(&purge.purge_id),
            path: output::PathJson::new(&purge.path),
            by: purge.user_name.clone(),
            from: purge.device_name.clone(),
            at: output::moment(purge.at),
            reason: purge.reason.clone(),
            versions: purge.versions,
            contents: purge.contents,
            bytes: purge.bytes,
            ended_at: output::moment(purge.ended_at),
            waits: purge.waits.clone(),
        }
    }
}

impl Purge {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let target = match (&self.list, &self.target) {
            (Some(root), _) => return list(context, root.as_deref(), self.json).await,
            (None, Some(target)) => target,
            (None, None) => return Err(Failure::usage("say what to purge")),
        };
        let (place, moment) = at::find(context, target).await?;
        let mut history = History::find(context).await?;
        let mut request = PurgeRequest {
            root_id: place.root_id(),
            subject: place.subject(),
            moment,
            reason: self.reason.clone(),
            purge_id: Bytes::copy_from_slice(&quics_kit::random::bytes::<16>()),
            dry_run: true,
            until_seq: 0,
        };
        let preview = history.keeping.purge(stream(request.clone())).await;
        let preview = preview.map_err(|status| history.refused_at(&place, &status))?.into_inner();
        let purge = preview.purge.unwrap_or_default();
        self.tell(&place, &purge, &preview.versions)?;
        if self.dry_run {
            return Ok(DONE);
        }
        if !self.yes {
            typed(self.json)?;
        }
        (request.dry_run, request.until_seq) = (false, preview.seq);
        let begun = history.keeping.purge(stream(request.clone())).await;
        begun.map_err(|status| history.refused_at(&place, &status))?;
        self.wait(&mut history, request).await
    }

    /// What goes.
    fn tell(&self, place: &Place, purge: &history::Purge, versions: &[history::Version]) -> Result<(), Failure> {
        if self.json {
            for version in versions {
                output::json_line(&VersionJson::new(version))?;
            }
            return Ok(());
        }
        for version in versions.iter().take(SHOWN) {
            let when = output::when_exactly(version.row.as_ref().and_then(|row| row.accepted_at));
            let (path, number) = (text::bytes(&version.path), number(version));
            let (what, author) = (what(value(version)), author(version));
            let other = if version.path == place.relative { "" } else { "  (the same content)" };
            output::line(format_args!("  {path}@{number}  {when}  {author}  {what}{other}"))?;
        }
        let more = purge.versions.saturating_sub(versions.len().min(SHOWN) as u64);
        if more > 0 {
            output::line(format_args!("  … and {}", text::count(more, "more version")))?;
        }
        output::line(format_args!(
            "{} of {}, {}: gone for good, from every store of the server. It cannot be taken back.",
            text::count(purge.versions, "version"),
            text::count(purge.contents, "content"),
            text::size(purge.bytes)
        ))?;
        Ok(())
    }

    /// Waits until a purge that is written down has ended, or waits itself.
    async fn wait(&self, history: &mut History, request: PurgeRequest) -> Result<u8, Failure> {
        let PurgeRequest { root_id, purge_id, .. } = request;
        let mut patience = PATIENCE;
        let (purge, why) = loop {
            let asked = GetPurgeRequest { root_id: root_id.clone(), purge_id: purge_id.clone() };
            let (purge, why) = match history.keeping.get_purge(call(asked)).await {
                Ok(told) => {
                    let purge = told.into_inner().purge.unwrap_or_default();
                    let why = purge.waits.clone();
                    (Some(purge), why)
                }
                Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => {
                    (None, "history-svc is away".to_owned())
                }
                Err(status) => return Err(history.refused(&status)),
            };
            let ended = purge.as_ref().is_some_and(|purge| purge.ended_at.is_some());
            if !why.is_empty() {
                patience -= 1;
            }
            if ended || patience == 0 {
                break (purge, why);
            }
            tokio::time::sleep(LOOK).await;
        };
        let ended = purge.as_ref().is_some_and(|purge| purge.ended_at.is_some());
        if self.json {
            output::json_line(&purge.as_ref().map(PurgeJson::new))?;
        } else if ended {
            output::line("Purged: no file of any store of the server has it any more.")?;
        } else {
            output::line(format_args!(
                "It is written down and will be finished by itself; now it waits: {}. `quics purge --list` says how far it is.",
                text::line(&why)
            ))?;
        }
        Ok(if ended { DONE } else { WAITING })
    }
}

/// Has the person type a word.
fn typed(json: bool) -> Result<(), Failure> {
    if json || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked here: look with --dry-run, then give --yes"));
    }
    print!("Type \"{WORD}\" to remove it for good: ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == WORD { Ok(()) } else { Err(Failure::new("nothing was changed")) }
}

async fn list(context: &Context, root: Option<&Path>, json: bool) -> Result<u8, Failure> {
    let place = Place::find_or_only(context, root)?;
    let mut history = History::find(context).await?;
    let told = history.keeping.list_purges(call(ListPurgesRequest { root_id: place.root_id() })).await;
    let purges = told.map_err(|status| history.refused(&status))?.into_inner().purges;
    if json {
        return Ok(output::json(&purges.iter().map(PurgeJson::new).collect::<Vec<_>>()).map(|()| DONE)?);
    }
    if purges.is_empty() {
        output::line("Nothing was purged.")?;
    }
    for purge in &purges {
        let (path, when) = (text::bytes(&purge.path), output::when(purge.at));
        let (who, device) = (text::line(&purge.user_name), text::line(&purge.device_name));
        let versions = text::count(purge.versions, "version");
        let reason = if purge.reason.is_empty() { String::new() } else { format!(": {}", text::line(&purge.reason)) };
        let state = match (&purge.ended_at, purge.waits.as_str()) {
            (Some(_), _) => "done".to_owned(),
            (None, "") => "on its way".to_owned(),
            (None, why) => format!("waits: {}", text::line(why)),
        };
        output::line(format_args!("{when}  {path}  {versions}  by {who} from {device}{reason}  ({state})"))?;
    }
    Ok(DONE)
}

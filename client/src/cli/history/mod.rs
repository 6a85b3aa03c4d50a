//! What was: the commands on versions, one file a command. They ask history-svc; contents come by way of the agent.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use quics_kit::names::Service;
use quics_proto::common::v1::{Value, value::Kind};
use quics_proto::history::v1::history_service_client::HistoryServiceClient;
use quics_proto::history::v1::keeping_service_client::KeepingServiceClient;
use quics_proto::history::v1::{Cause, GetVersionRequest, ListVersionsRequest, Moment, Removed, Version};
use quics_quic::Channel;
use serde::Serialize;
use tonic::{Request, Status};

use super::failure::FAILED;
use super::sister::Sister;
use super::{Context, Failure, output};
use crate::account::call;
use crate::text;

mod at;
mod cat;
mod diff;
mod get;
mod log;
mod ls;
mod pin;
mod policy;
mod purge;
pub(super) mod restore;
mod usage;

pub(super) use cat::Cat;
pub(super) use diff::Diff;
pub(super) use get::Get;
pub(super) use log::Log;
pub(super) use ls::Ls;
pub(super) use pin::{Pin, Pins, Unpin};
pub(super) use policy::Policy;
pub(super) use purge::Purge;
pub(super) use restore::Restore;
pub(super) use usage::Usage;

use at::At;
pub(super) use at::{Place, coming, find};

/// Between two looks at how far history-svc is, and how many there are.
const LOOK: Duration = Duration::from_millis(100);
const PATIENCE: u32 = 600;

/// history-svc, as this device.
pub(super) struct History {
    client: HistoryServiceClient<Channel>,
    /// What is kept, at the same service.
    keeping: KeepingServiceClient<Channel>,
    sister: Sister,
}

impl History {
    /// Asks registry-svc where history-svc is.
    ///
    /// # Errors
    /// One sentence.
    pub(super) async fn find(context: &Context) -> Result<Self, Failure> {
        let sister = Sister::find(context, Service::History, |services| services.history).await?;
        let Some(sister) = sister else {
            return Err(Failure::new("this server keeps no history: its owner has to start history-svc"));
        };
        let channel = sister.channel.clone();
        let keeping =
            KeepingServiceClient::new(channel.clone()).max_decoding_message_size(quics_types::limits::MESSAGE_BYTES);
        let client = HistoryServiceClient::new(channel).max_decoding_message_size(quics_types::limits::MESSAGE_BYTES);
        Ok(Self { client, keeping, sister })
    }

    /// What an answer that is none means to the user.
    fn refused(&self, status: &Status) -> Failure {
        self.sister.refused(status)
    }

    /// The same, of something that was asked about.
    fn refused_at(&self, place: &Place, status: &Status) -> Failure {
        self.sister.refused_about(&place.shown(), status)
    }

    /// Whether anything was ever at a path, as far as history-svc says.
    async fn has_known(&mut self, place: &Place) -> bool {
        let (root_id, subject) = (place.root_id(), place.subject());
        let request = ListVersionsRequest { root_id, subject, page_size: 1, ..Default::default() };
        self.client.list_versions(call(request)).await.is_ok()
    }

    /// Whether something is a directory, or was one last.
    async fn is_directory(&mut self, place: &Place) -> Result<bool, Failure> {
        let (root_id, subject) = (place.root_id(), place.subject());
        let request = ListVersionsRequest { root_id, subject, page_size: 1, ..Default::default() };
        let answer = self.client.list_versions(call(request)).await;
        let last = answer.map_err(|status| self.refused_at(place, &status))?.into_inner().versions.into_iter().next();
        let value = last.and_then(|version| version.row).and_then(|row| row.value);
        Ok(matches!(value.and_then(|value| value.kind), Some(Kind::Directory(_))))
    }

    /// Waits until history-svc knows of a commit of a root: versions come a moment after their changes.
    ///
    /// # Errors
    /// One sentence, where that takes unusually long too.
    pub(super) async fn knows(&mut self, place: &Place, commit: u64) -> Result<(), Failure> {
        for _ in 0..PATIENCE {
            let request = ListVersionsRequest { root_id: place.root_id(), page_size: 1, ..Default::default() };
            let answer = self.client.list_versions(call(request)).await;
            let applied = answer.map_err(|status| self.refused_at(place, &status))?.into_inner().applied;
            if applied.map_or(0, |cursor| cursor.seq) >= commit {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(Failure::new(format!(
            "history-svc does not know of commit #{commit} yet: give the same command again later"
        )))
    }

    /// What something was at a moment.
    async fn version(&mut self, at: &At) -> Result<Version, Failure> {
        let request =
            GetVersionRequest { root_id: at.place.root_id(), subject: at.place.subject(), moment: Some(at.moment) };
        let answer =
            self.client.get_version(call(request)).await.map_err(|status| self.refused_at(&at.place, &status))?;
        answer.into_inner().version.ok_or_else(|| Failure::new("history-svc gave an answer without a version"))
    }
}

/// Why nothing was at a place at a moment; `None` if something was, or if that cannot be said.
pub(super) async fn missing(context: &Context, place: &Place, moment: Moment) -> Option<Failure> {
    let mut history = History::find(context).await.ok()?;
    let missing = history.version(&At { place: place.clone(), moment }).await.err()?;
    (missing.code == FAILED).then_some(missing)
}

/// Asks the person, who has to say yes.
///
/// # Errors
/// One sentence where nobody can be asked, and where the answer is no.
pub(super) fn confirmed(question: &str, json: bool) -> Result<(), Failure> {
    if json || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked here: look with --dry-run, then give --yes"));
    }
    print!("{question} [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was changed")),
    }
}

/// Why a version's content is not kept, and since when.
fn gone(removed: &Removed) -> String {
    let day = output::when(removed.at);
    format!("it went on {day}, {}", text::line(&removed.why))
}

/// A call that may take long: its stream has no deadline.
fn stream<T>(message: T) -> Request<T> {
    Request::new(message)
}

/// How a version is named: "7", or "7.1" for a side that lost to it.
fn number(version: &Version) -> String {
    let time = version.row.as_ref().map_or(0, |row| row.time);
    if version.side == 0 { time.to_string() } else { format!("{time}.{}", version.side) }
}

/// What became of an entry with a version, for people.
fn cause(version: &Version) -> &'static str {
    match version.cause() {
        Cause::Unspecified => "changed",
        Cause::Create => "created",
        Cause::Edit => "edited",
        Cause::Delete => "deleted",
        Cause::Move => "moved",
        Cause::Attributes => "permissions",
        Cause::Restore => "restored",
        Cause::ConflictKept => "kept in a conflict",
        Cause::ConflictLost => "lost a conflict",
        Cause::ConflictUndone => "answer taken back",
        Cause::Found => "found after a gap",
        Cause::HeldBack => "held back by the brake",
    }
}

/// Who made a version.
fn author(version: &Version) -> String {
    match (version.device_name.as_str(), &version.row) {
        ("", Some(row)) if row.device_id.iter().any(|byte| *byte != 0) => output::hex(&row.device_id),
        ("", _) => "the server".to_owned(),
        (name, _) => text::line(name),
    }
}

fn value(version: &Version) -> Option<&Value> {
    version.row.as_ref().filter(|row| !row.tombstone).and_then(|row| row.value.as_ref())
}

/// What something is, in a word or as its size.
fn what(value: Option<&Value>) -> String {
    match value.and_then(|value| value.kind.as_ref()) {
        None => "-".to_owned(),
        Some(Kind::Directory(_)) => "directory".to_owned(),
        Some(Kind::File(file)) => text::size(file.size),
        Some(Kind::Unit(unit)) => format!("unit, {}", text::size(unit.size)),
        Some(Kind::Link(link)) => format!("link to {}", text::bytes(&link.target)),
    }
}

/// A version in JSON.
#[derive(Serialize)]
struct VersionJson {
    version: String,
    #[serde(flatten)]
    path: output::PathJson,
    entry: String,
    cause: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    mode: Option<String>,
    modified_at: Option<String>,
    accepted_at: Option<String>,
    changed_at: Option<String>,
    device: String,
    user: String,
    commit: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_from: Option<output::PathJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    missing_before: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_at: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pinned: bool,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl VersionJson {
    fn new(version: &Version) -> Self {
        let row = version.row.clone().unwrap_or_default();
        let kind = value(version).and_then(|value| value.kind.as_ref());
        let (word, content) = match kind {
            None => ("deleted", None),
            Some(Kind::Directory(_)) => ("directory", None),
            Some(Kind::File(file)) => ("file", Some((&file.content_id, file.size))),
            Some(Kind::Unit(unit)) => ("unit", Some((&unit.content_id, unit.size))),
            Some(Kind::Link(_)) => ("link", None),
        };
        Self {
            version: number(version),
            path: output::PathJson::new(&version.path),
            entry: output::hex(&row.entry_id),
            cause: match version.cause() {
                Cause::Unspecified => "unknown",
                Cause::Create => "create",
                Cause::Edit => "edit",
                Cause::Delete => "delete",
                Cause::Move => "move",
                Cause::Attributes => "attributes",
                Cause::Restore => "restore",
                Cause::ConflictKept => "conflict_kept",
                Cause::ConflictLost => "conflict_lost",
                Cause::ConflictUndone => "conflict_undone",
                Cause::Found => "found",
                Cause::HeldBack => "held_back",
            },
            kind: word,
            size: content.map(|(_, size)| size),
            content: content.map(|(id, _)| output::hex(id)),
            mode: kind.map(|_| format!("{:04o}", row.mode)),
            modified_at: output::moment(row.modified_at),
            accepted_at: output::moment(row.accepted_at),
            changed_at: output::moment(version.changed_at),
            device: author(version),
            user: version.user_name.clone(),
            commit: version.cursor.map_or(0, |cursor| cursor.seq),
            moved_from: (!version.moved_from.is_empty()).then(|| output::PathJson::new(&version.moved_from)),
            restore: (!version.group_id.is_empty()).then(|| output::hex(&version.group_id)),
            missing_before: version.missing,
            removed: version.removed.as_ref().map(|removed| removed.why.clone()),
            removed_at: version.removed.as_ref().and_then(|removed| output::moment(removed.at)),
            pinned: version.pinned,
        }
    }
}

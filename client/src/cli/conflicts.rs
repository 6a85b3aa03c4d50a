//! `quics conflicts`

use std::path::PathBuf;

use clap::Args;
use quics_proto::agent::v1::{ListConflictsRequest, ListDevicesRequest, ListedConflict};
use quics_proto::common::v1::{Value, value::Kind};
use serde::Serialize;

use super::failure::{DONE, WAITING};
use super::rescan::optional;
use super::{Context, Failure, output};

/// List the conflicts that wait for your choice
#[derive(Debug, Args)]
#[command(after_help = "\
A conflict is open where two devices changed the same thing without knowing of each other. Every side is kept until you
choose. The exit code is 3 while there are any.

Examples:
  quics conflicts
  quics conflicts ~/Documents --json")]
pub(super) struct Conflicts {
    /// A synced directory [default: all]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ConflictJson {
    root: String,
    #[serde(flatten)]
    path: output::PathJson,
    entry: String,
    revision: u64,
    since: Option<String>,
    /// What the server has, and everybody without a candidate.
    server: SideJson,
    candidates: Vec<CandidateJson>,
}

#[derive(Serialize)]
struct CandidateJson {
    device: String,
    #[serde(flatten)]
    side: SideJson,
}

/// One side of a conflict.
#[derive(Serialize)]
struct SideJson {
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    modified_at: Option<String>,
}

impl SideJson {
    fn new(value: Option<&Value>, modified_at: Option<prost_types::Timestamp>) -> Self {
        let size = match value.and_then(|value| value.kind.as_ref()) {
            Some(Kind::File(file)) => Some(file.size),
            _ => None,
        };
        Self { deleted: value.is_none(), size, modified_at: output::moment(modified_at) }
    }
}

impl std::fmt::Display for SideJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.deleted, self.size) {
            (true, _) => f.write_str("deleted"),
            (false, Some(size)) => write!(f, "{}", crate::text::size(size)),
            (false, None) => f.write_str("no file"),
        }?;
        self.modified_at.iter().try_for_each(|at| write!(f, ", modified {at}"))
    }
}

impl Conflicts {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        let request = ListConflictsRequest { path: optional(self.directory)? };
        let conflicts = agent.list_conflicts(request).await?.into_inner().conflicts;
        let code = if conflicts.is_empty() { DONE } else { WAITING };
        // Names are a courtesy: without the server the ids have to do.
        let devices = match agent.list_devices(ListDevicesRequest {}).await {
            Ok(listed) => listed.into_inner().devices,
            Err(_) => Vec::new(),
        };
        let name = |id: &[u8]| {
            let known = devices.iter().find(|device| device.device_id == id);
            known.map_or_else(|| output::hex(id), |device| device.name.clone())
        };
        let list: Vec<ConflictJson> = conflicts.iter().map(|conflict| read(conflict, &name)).collect();
        if self.json {
            output::json(&list)?;
            return Ok(code);
        }
        if list.is_empty() {
            output::line("There are no open conflicts.")?;
        }
        for (listed, conflict) in conflicts.iter().zip(&list) {
            let since = output::when(listed.since);
            output::line(format_args!("{}  (since {since})", crate::text::bytes(&listed.path)))?;
            output::line(format_args!("  the server: {}", conflict.server))?;
            for candidate in &conflict.candidates {
                output::line(format_args!("  {}: {}", crate::text::line(&candidate.device), candidate.side))?;
            }
        }
        Ok(code)
    }
}

fn read(listed: &ListedConflict, name: &impl Fn(&[u8]) -> String) -> ConflictJson {
    let conflict = listed.conflict.clone().unwrap_or_default();
    let live = listed.row.as_ref().filter(|row| !row.tombstone);
    let candidates = conflict.candidates.iter().map(|candidate| CandidateJson {
        device: name(&candidate.device_id),
        side: SideJson::new(candidate.value.as_ref(), candidate.modified_at),
    });
    ConflictJson {
        root: listed.root_name.clone(),
        path: output::PathJson::new(&listed.path),
        entry: output::hex(&conflict.entry_id),
        revision: conflict.revision,
        since: output::moment(listed.since),
        server: SideJson::new(live.and_then(|row| row.value.as_ref()), live.and_then(|row| row.modified_at)),
        candidates: candidates.collect(),
    }
}

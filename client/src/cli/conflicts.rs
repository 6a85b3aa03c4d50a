//! `quics conflicts`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quics_proto::agent::v1::{ListConflictsRequest, ListedConflict};
use quics_proto::common::v1::{File, Value, value::Kind};
use quics_proto::sync::v1::CandidateRole;
use serde::Serialize;

use super::failure::{DONE, WAITING};
use super::rescan::optional;
use super::sides::{Conflict, Side, Take, unit};
use super::{Context, Failure, context, files, output};
use crate::api;

/// List the conflicts that wait for your choice, or fetch a side of one
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
A conflict is open where two devices changed the same thing without knowing of each other. Every side is kept until you
choose, with `quics resolve`. The exit code is 3 while there are any.

Examples:
  quics conflicts
  quics conflicts ~/Documents --json
  quics conflicts get ~/Documents/plan.odt --from desktop -o /tmp/plan.odt"
)]
pub(super) struct Conflicts {
    #[command(subcommand)]
    what: Option<What>,
    /// A synced directory, or anything in it [default: all]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write one side of a conflict to a file of yours, or to a directory where it is one
    #[command(after_help = "\
Examples:
  quics conflicts get ~/Documents/plan.odt --from server -o /tmp/plan.odt
  quics conflicts get ~/Documents/plan.odt --from base -o /tmp/plan-before.odt")]
    Get {
        /// The file that is in conflict
        path: PathBuf,
        /// server, mine, base (what both began with), or a device's name
        #[arg(long, value_name = "SIDE")]
        from: String,
        /// Where to write it; it must not exist yet
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

#[derive(Serialize)]
struct ConflictJson {
    root: String,
    #[serde(flatten)]
    path: output::PathJson,
    entry: String,
    revision: u64,
    since: Option<String>,
    /// May be answered by this user, as far as is known.
    may_answer: bool,
    group: GroupJson,
    /// What the server has, and everybody without a candidate.
    server: SideJson,
    candidates: Vec<SideJson>,
}

#[derive(Serialize)]
struct GroupJson {
    id: String,
    #[serde(flatten)]
    path: output::PathJson,
}

/// One side of a conflict.
#[derive(Serialize)]
struct SideJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// This device's.
    own: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    modified_at: Option<String>,
    /// What it would be called beside the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    second_name: Option<output::PathJson>,
}

impl SideJson {
    fn new(side: &Side) -> Self {
        let author = side.author.clone().unwrap_or_default();
        let role = side.key.as_ref().map(|key| match key.role() {
            CandidateRole::Own | CandidateRole::Unspecified => "own",
            CandidateRole::New => "new",
            CandidateRole::Kept => "kept",
        });
        let known = !author.device_id.is_empty();
        Self {
            device: known.then(|| {
                if author.device_name.is_empty() { output::hex(&author.device_id) } else { author.device_name }
            }),
            user: Some(author.user_name).filter(|name| !name.is_empty()),
            own: author.own,
            role,
            kind: kind(side.value.as_ref()),
            size: side.file().or(side.unit().as_ref()).map(|content| content.size),
            modified_at: output::moment(side.modified_at),
            second_name: (!side.second_name.is_empty()).then(|| output::PathJson::new(&side.second_name)),
        }
    }
}

fn kind(value: Option<&Value>) -> &'static str {
    match value.and_then(|value| value.kind.as_ref()) {
        None => "deleted",
        Some(Kind::Directory(_)) => "directory",
        Some(Kind::File(_)) => "file",
        Some(Kind::Unit(_)) => "unit",
        Some(Kind::Link(_)) => "link",
    }
}

/// The open conflicts below a path, or all.
pub(super) async fn list(agent: &mut api::Client, path: Option<PathBuf>) -> Result<Vec<Conflict>, Failure> {
    let path = optional(path)?;
    let request = ListConflictsRequest { path: path.clone(), over: false };
    let listed = agent.list_conflicts(request).await?.into_inner().conflicts;
    let below = |listed: &bytes::Bytes| {
        let rest = listed.strip_prefix(path.as_ref());
        path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    Ok(listed.into_iter().filter(|listed| below(&listed.path)).map(Conflict::from).collect())
}

/// The last conflict at a path, open or over.
async fn last(agent: &mut api::Client, place: &Path) -> Result<Option<ListedConflict>, Failure> {
    let wanted = context::bytes(place);
    let request = ListConflictsRequest { path: wanted.clone(), over: true };
    let listed = agent.list_conflicts(request).await?.into_inner().conflicts;
    Ok(listed.into_iter().find(|listed| listed.path == wanted))
}

/// Whether what is at a path is one thing with everything in it, and there was a conflict about it.
pub(super) async fn was_about_a_unit(agent: &mut api::Client, path: PathBuf) -> Result<bool, Failure> {
    let last = last(agent, &context::place(&path)?).await?;
    Ok(last.is_some_and(|it| unit(it.row.and_then(|row| row.value).as_ref()).is_some()))
}

/// The one open conflict at a path.
///
/// # Errors
/// One sentence; where it is over, who answered what and when.
pub(super) async fn find(agent: &mut api::Client, path: PathBuf) -> Result<Conflict, Failure> {
    let place = context::place(&path)?;
    let shown = crate::text::path(&place);
    match last(agent, &place).await? {
        Some(found) if found.conflict.as_ref().is_some_and(|it| !it.candidates.is_empty()) => Ok(found.into()),
        Some(over) if !over.answered.is_empty() => {
            Err(Failure::new(format!("the conflict at {shown} is over: {}", crate::text::line(&over.answered))))
        }
        Some(_) => Err(Failure::new(format!("the conflict at {shown} is over: the other side was taken back"))),
        None => {
            Err(Failure::new(format!("there is no conflict at {shown}: `quics conflicts` lists those that are open")))
        }
    }
}

impl Conflicts {
    pub(super) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut agent = context.agent().await?;
        if let Some(What::Get { path, from, output }) = self.what {
            let conflict = find(&mut agent, path).await?;
            return get(context, &mut agent, &conflict, &from, &output).await;
        }
        let conflicts = list(&mut agent, self.path).await?;
        let code = if conflicts.is_empty() { DONE } else { WAITING };
        if self.json {
            output::json(&conflicts.iter().map(read).collect::<Vec<_>>())?;
        } else {
            print(&conflicts)?;
        }
        Ok(code)
    }
}

/// Lists conflicts for people, those of one group together.
pub(super) fn print(conflicts: &[Conflict]) -> Result<(), Failure> {
    if conflicts.is_empty() {
        output::line("There are no open conflicts.")?;
    }
    for group in super::resolve::grouped(conflicts) {
        if let [first, _, ..] = group.as_slice() {
            let (count, path) = (group.len() as u64, crate::text::bytes(&first.listed.group_path));
            let count = crate::text::count(count, "conflict");
            output::line(format_args!(
                "{count} below {path}, one group: `quics resolve --group {}`",
                first.listed.group_id
            ))?;
        }
        for conflict in group {
            let since = output::when(conflict.listed.since);
            output::line(format_args!("{}  (since {since})", conflict.path()))?;
            for side in &conflict.sides {
                output::line(format_args!("  {}: {}", side.name(), side.what()))?;
            }
        }
    }
    Ok(())
}

async fn get(
    context: &Context,
    agent: &mut api::Client,
    conflict: &Conflict,
    from: &str,
    output: &std::path::Path,
) -> Result<u8, Failure> {
    let at = conflict.path();
    let failed = |reason: String| Failure::new(format!("{at}: {reason}"));
    let value = if from == "base" {
        let with = conflict.candidates().iter().find_map(|side| side.base.clone());
        with.ok_or_else(|| failed("nothing is known of what both began with".to_owned()))?
    } else {
        // A `FromStr` that takes everything.
        let side = conflict.side(&from.parse().unwrap_or(Take::Server)).map_err(failed)?;
        side.value.clone().ok_or_else(|| failed(format!("{} deleted it: there is nothing to write", side.name())))?
    };
    let request = |content: &File| files::request(&conflict.listed.root_id, content, &conflict.listed.path);
    match (&value.kind, unit(Some(&value))) {
        (Some(Kind::File(file)), _) => files::write(agent, request(file), output).await?,
        (_, Some(bundle)) => files::unpack(context, agent, request(&bundle), output).await?,
        (Some(Kind::Link(link)), _) => files::link(&link.target, output)?,
        _ => return Err(failed("this side is a directory, which has no content".to_owned())),
    }
    Ok(DONE)
}

fn read(conflict: &Conflict) -> ConflictJson {
    ConflictJson {
        root: conflict.listed.root_name.clone(),
        path: output::PathJson::new(&conflict.listed.path),
        entry: output::hex(&conflict.state.entry_id),
        revision: conflict.state.revision,
        since: output::moment(conflict.listed.since),
        may_answer: conflict.listed.may_answer,
        group: GroupJson {
            id: conflict.listed.group_id.clone(),
            path: output::PathJson::new(&conflict.listed.group_path),
        },
        server: SideJson::new(conflict.server()),
        candidates: conflict.candidates().iter().map(SideJson::new).collect(),
    }
}

//! Whether what is to be shared is on the server as it is here: a link can show no more than that.

use std::fs::Metadata;
use std::io::{BufRead as _, IsTerminal as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use quics_proto::agent::v1::{ExplainRequest, ExplainResponse, GetStatusRequest, RootState};
use quics_proto::common::v1::{Row, value::Kind};

use crate::api;
use crate::cli::failure::DONE;
use crate::cli::history::Place;
use crate::cli::{Context, Failure, conflicts, context, progress};
use crate::text;

/// How often one looks whether it has come to the server.
const LOOK: Duration = Duration::from_millis(300);

/// How something stands.
#[derive(Debug, PartialEq)]
enum Stand {
    /// The server has it as it is here.
    Here,
    /// The agent and the server agree, and the disk looks newer than that.
    Newer,
    /// Something is on its way.
    Waits,
    /// A person has to choose.
    Conflict,
    /// It was deleted.
    Deleted,
    /// There is nothing.
    Nothing,
}

/// Waits until the server has what is at a place, with progress meanwhile.
///
/// # Errors
/// One sentence where that never comes without a person: nothing is there, it is ignored, deleted, in conflict, paused.
pub(super) async fn ready(context: &Context, place: &Place) -> Result<(), Failure> {
    let mut agent = context.agent().await?;
    let (path, shown) = (place.local(&place.relative), place.shown());
    let folder = path.symlink_metadata().is_ok_and(|is| is.is_dir());
    // Of a folder, everything in it has to be there.
    let first = if folder { Stand::Waits } else { look(&mut agent, &path).await?.0 };
    if first == Stand::Waits || first == Stand::Newer {
        wait(context, &mut agent, place, &path, folder).await?;
    }
    if place.relative.is_empty() {
        return Ok(());
    }
    let (stand, told) = look(&mut agent, &path).await?;
    match stand {
        Stand::Here | Stand::Newer => Ok(()),
        Stand::Conflict => choose(&mut agent, &path, &shown).await,
        Stand::Deleted => Err(Failure::new(format!(
            "{shown} was deleted: `quics log` shows its versions, and {shown}@T shares one of them"
        ))),
        Stand::Nothing => Err(Failure::new(format!("{shown} does not exist"))),
        Stand::Waits => Err(Failure::new(format!("{shown} cannot be shared yet: {}", text::line(&told.summary)))),
    }
}

async fn look(agent: &mut api::Client, path: &Path) -> Result<(Stand, ExplainResponse), Failure> {
    let told = agent.explain(ExplainRequest { path: context::bytes(path) }).await?.into_inner();
    Ok((stand(&told, path.symlink_metadata().ok().as_ref()), told))
}

fn stand(told: &ExplainResponse, disk: Option<&Metadata>) -> Stand {
    if told.conflict.is_some() {
        return Stand::Conflict;
    }
    match (told.remote.as_ref().filter(|row| !row.tombstone), disk) {
        (None, None) if told.remote.is_some() => Stand::Deleted,
        (None, None) => Stand::Nothing,
        (None, Some(_)) => Stand::Waits,
        // Not here yet, or just deleted here.
        (Some(_), None) => {
            if told.synced.is_none() {
                Stand::Here
            } else {
                Stand::Waits
            }
        }
        (Some(row), Some(_)) if told.local != row.value => Stand::Waits,
        (Some(row), Some(disk)) => {
            if is_newer(row, disk) {
                Stand::Newer
            } else {
                Stand::Here
            }
        }
    }
}

/// Whether a file was written to since the agent has seen it.
fn is_newer(row: &Row, disk: &Metadata) -> bool {
    let Some(Kind::File(file)) = row.value.as_ref().and_then(|value| value.kind.as_ref()) else { return false };
    let at = row.modified_at.unwrap_or_default();
    disk.len() != file.size || (disk.mtime(), disk.mtime_nsec()) != (at.seconds, at.nanos.into())
}

/// Waits until it, or all of its root, is in sync.
async fn wait(
    context: &Context,
    agent: &mut api::Client,
    place: &Place,
    path: &Path,
    folder: bool,
) -> Result<(), Failure> {
    if !context.terminal && !folder {
        eprintln!("quics: waiting until {} is on the server", place.shown());
    }
    let mut asked = agent.clone();
    let arrived = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let stand = if folder { Stand::Waits } else { look(&mut asked, path).await?.0 };
            if stand == Stand::Here || stand == Stand::Conflict {
                return Ok(());
            }
        }
    };
    let code = tokio::select! {
        code = progress::wait(context, agent, Some(place.root_id())) => code?,
        arrived = arrived => return arrived,
    };
    if !folder || code == DONE {
        return Ok(());
    }
    // Open conflicts wait for a person, and hinder nothing: what the server has is shared.
    let status = agent.get_status(GetStatusRequest {}).await?.into_inner().status.unwrap_or_default();
    let root = status.roots.iter().find(|root| root.root_id == place.root_id());
    match root.map(|root| root.state()) {
        Some(RootState::InSync) => Ok(()),
        _ => Err(Failure::new(format!("not all of {} is on the server: see `quics status`", place.shown()))),
    }
}

/// Asks which side of a conflict is meant.
async fn choose(agent: &mut api::Client, path: &Path, shown: &str) -> Result<(), Failure> {
    let found = conflicts::list(agent, Some(path.to_owned())).await?;
    let asked = std::io::stdin().is_terminal();
    let Some(conflict) = found.first().filter(|_| asked) else {
        return Err(Failure::new(format!(
            "{shown} is in conflict: choose with `quics resolve` first, or share {shown}@T as it was at a moment"
        )));
    };
    eprintln!("{shown} is in conflict:");
    for (number, side) in conflict.sides.iter().enumerate() {
        eprintln!("  {}  {}: {}", number + 1, side.name(), side.what());
    }
    eprint!("Which one is to be shared? [1-{}] ", conflict.sides.len());
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().parse::<usize>() {
        Ok(1) => Ok(()),
        Ok(number) if number <= conflict.sides.len() && number > 0 => Err(Failure::new(format!(
            "a link shows what the server has: take this side with `quics resolve` first, then share {shown}"
        ))),
        _ => Err(Failure::new("nothing was shared")),
    }
}

#[cfg(test)]
mod tests {
    use quics_proto::common::v1::{Directory, File, Value};
    use quics_proto::sync::v1::ConflictState;

    use super::*;

    fn value(size: u64) -> Option<Value> {
        Some(Value { kind: Some(Kind::File(File { content_id: Default::default(), size })) })
    }

    #[test]
    fn what_the_server_has_as_it_is_here_needs_no_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("f");
        std::fs::write(&at, b"12345").unwrap();
        let disk = at.symlink_metadata().unwrap();
        let modified_at = prost_types::Timestamp { seconds: disk.mtime(), nanos: disk.mtime_nsec() as i32 };
        let row = Row { value: value(5), modified_at: Some(modified_at), ..Default::default() };
        let told = ExplainResponse {
            remote: Some(row.clone()),
            local: value(5),
            synced: Some(Row::default()),
            ..Default::default()
        };
        assert_eq!(stand(&told, Some(&disk)), Stand::Here);
        // Written to since, not told of yet.
        let older = Row { modified_at: None, ..row.clone() };
        assert_eq!(stand(&ExplainResponse { remote: Some(older), ..told.clone() }, Some(&disk)), Stand::Newer);
        assert_eq!(stand(&ExplainResponse { local: value(6), ..told.clone() }, Some(&disk)), Stand::Waits);
        assert_eq!(stand(&ExplainResponse { remote: None, ..told.clone() }, Some(&disk)), Stand::Waits);
        let conflict = Some(ConflictState::default());
        assert_eq!(stand(&ExplainResponse { conflict, ..told }, Some(&disk)), Stand::Conflict);
    }

    #[test]
    fn what_is_not_on_the_disk_may_be_elsewhere_deleted_or_nothing() {
        let row = Row { value: Some(Value { kind: Some(Kind::Directory(Directory {})) }), ..Default::default() };
        let told = ExplainResponse { remote: Some(row.clone()), ..Default::default() };
        assert_eq!(stand(&told, None), Stand::Here);
        assert_eq!(stand(&ExplainResponse { synced: Some(Row::default()), ..told.clone() }, None), Stand::Waits);
        let dead = Some(Row { tombstone: true, ..row });
        assert_eq!(stand(&ExplainResponse { remote: dead, ..told }, None), Stand::Deleted);
        assert_eq!(stand(&ExplainResponse::default(), None), Stand::Nothing);
    }
}

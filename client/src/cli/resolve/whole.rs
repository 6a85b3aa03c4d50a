//! The units of a conflict: how many files each side has, and which of them differ.

use quics_proto::agent::v1::ReadContentRequest;
use quics_proto::common::v1::File;

use crate::api;
use crate::cli::sides::{Conflict, Side, unit};
use crate::cli::{Failure, files, members};

fn request(conflict: &Conflict, bundle: &File) -> ReadContentRequest {
    files::request(&conflict.listed.root_id, bundle, &conflict.listed.path)
}

/// How many files a side has, if it is a unit.
pub(super) async fn count(agent: &mut api::Client, conflict: &Conflict, side: &Side) -> Option<String> {
    Some(members::list(agent, request(conflict, &side.unit()?)).await?.count())
}

/// Shows which files differ between the server's unit and a candidate's: what each has changed, where it is known what
/// both began with (the server's only where `both`). At most `lines` of each. Gives whether there was anything to show.
pub(super) async fn difference(
    agent: &mut api::Client,
    conflict: &Conflict,
    side: &Side,
    both: bool,
    lines: usize,
) -> Result<bool, Failure> {
    let server = conflict.server();
    let (Some(left), Some(right)) = (server.unit(), side.unit()) else { return Ok(false) };
    let left = members::read(agent, request(conflict, &left)).await;
    let right = members::read(agent, request(conflict, &right)).await;
    let (Some(left), Some(right)) = (left, right) else { return Ok(false) };
    let base = match unit(side.base.as_ref()) {
        Some(base) => members::read(agent, request(conflict, &base)).await,
        None => None,
    };
    let print = |title: &str, changes: &[_]| members::print(title, changes, lines, "d shows all");
    match base {
        Some(base) => {
            if both {
                print(&format!("What {} changed:", server.name()), &base.changes(&left))?;
            }
            print(&format!("What {} changed:", side.name()), &base.changes(&right))?;
        }
        None => print(&format!("From {} to {}:", server.name(), side.name()), &left.changes(&right))?,
    }
    Ok(true)
}

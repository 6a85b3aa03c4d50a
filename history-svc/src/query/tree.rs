//! What was in a directory at a moment.

use bytes::Bytes;
use quics_proto::history::v1 as history;
use quics_types::{EntryId, WallTime};

use super::{entry, point};
use crate::Error;
use crate::encode::{self, Moment, Subject};
use crate::view::{At, Paths, View};

/// Entries of one message, at most, and about how many bytes.
const ENTRIES: usize = 1024;
const BYTES: usize = 512 << 10;

/// Lists a directory, each directory before what is in it; `out` says whether somebody still listens.
pub(crate) fn list(
    view: View<'_>,
    subject: &Subject,
    moment: Option<Moment>,
    recursive: bool,
    now: WallTime,
    mut out: impl FnMut(Vec<history::Version>) -> bool,
) -> Result<Option<u64>, Error> {
    let point = point(view, moment, now)?;
    let directory = entry(view, subject, point)?;
    let path = if directory == EntryId::TOP {
        Bytes::new()
    } else {
        match view.at(directory, point)? {
            Some(at) if at.is_live() && at.row().value.is_directory() => Paths::new(view, point).of(&at.row().place)?,
            Some(at) if at.is_live() => return Err(Error::NoDirectory),
            Some(_) => return Err(Error::Nothing("it was deleted then".into())),
            None => return Err(Error::Nothing("it was not there yet then".into())),
        }
    };
    let (mut batch, mut bytes, mut count) = (Vec::new(), 0, 0);
    // What is still to be listed, the next one last.
    let mut rest: Vec<(Bytes, At)> = Vec::new();
    let push = |rest: &mut Vec<(Bytes, At)>, path: &Bytes, members: Vec<At>| {
        rest.extend(members.into_iter().rev().map(|at| (path.clone(), at)));
    };
    push(&mut rest, &path, view.members(directory, point)?);
    while let Some((above, at)) = rest.pop() {
        let path = joined(&above, at.row().place.name.as_bytes());
        let message = encode::plain(&at, path.clone());
        bytes += 128 + path.len() + prost::Message::encoded_len(&message);
        batch.push(message);
        count += 1;
        if recursive && at.row().value.is_directory() {
            push(&mut rest, &path, view.members(at.row().id, point)?);
        }
        if batch.len() >= ENTRIES || bytes >= BYTES {
            bytes = 0;
            if !out(std::mem::take(&mut batch)) {
                return Ok(None);
            }
        }
    }
    if !batch.is_empty() && !out(batch) {
        return Ok(None);
    }
    Ok(Some(count))
}

pub(crate) fn joined(above: &Bytes, name: &[u8]) -> Bytes {
    if above.is_empty() {
        return Bytes::copy_from_slice(name);
    }
    let mut path = Vec::with_capacity(above.len() + 1 + name.len());
    path.extend_from_slice(above);
    path.push(b'/');
    path.extend_from_slice(name);
    path.into()
}

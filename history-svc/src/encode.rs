//! Messages become what is asked, and what is known becomes messages.

pub(crate) mod keeping;

use bytes::Bytes;
use quics_proto::common::v1 as common;
use quics_proto::history::v1 as history;
use quics_proto::{Malformed, mtime, timestamp};
use quics_types::{Cursor, DeviceId, EntryId, GroupId, Name, WallTime, limits};

use crate::Error;
use crate::db::records::{Cause, Removed, Root};
use crate::intake::wall_time;
use crate::keep::pins::Pins;
use crate::view::{At, Paths, View};

/// Which entry, or which name, is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Entry(EntryId),
    /// The names of a path; none are the root itself.
    Path(Vec<Name>),
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Version { time: u64, side: u32 },
    Seq(u64),
    Time(WallTime),
}

/// A path's names.
pub(crate) fn path(bytes: &[u8]) -> Result<Vec<Name>, Error> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let names: Result<Vec<Name>, _> =
        bytes.split(|byte| *byte == b'/').map(|name| Name::of_entry(Bytes::copy_from_slice(name))).collect();
    match names {
        Ok(names) if names.len() <= limits::DEPTH => Ok(names),
        Ok(_) => Err(Error::Asked("the path is too deep")),
        Err(_) => Err(Error::Asked("that is no path of a root: names joined by /, without . and ..")),
    }
}

pub(crate) fn subject(subject: Option<history::Subject>) -> Result<Option<Subject>, Error> {
    use history::subject::Subject as Message;
    Ok(match subject.and_then(|subject| subject.subject) {
        Some(Message::EntryId(id)) => Some(Subject::Entry(EntryId::from_slice(&id).map_err(Malformed::from)?)),
        Some(Message::Path(bytes)) => Some(Subject::Path(path(&bytes)?)),
        None => None,
    })
}

/// A subject that has to be there; without one it is the root.
pub(crate) fn subject_or_root(message: Option<history::Subject>) -> Result<Subject, Error> {
    Ok(subject(message)?.unwrap_or(Subject::Path(Vec::new())))
}

pub(crate) fn time(time: Option<prost_types::Timestamp>) -> Result<Option<WallTime>, Error> {
    Ok(time.map(|time| mtime(Some(time))).transpose()?.map(wall_time))
}

pub(crate) fn moment(moment: Option<history::Moment>) -> Result<Option<Moment>, Error> {
    use history::moment::Moment as Message;
    Ok(match moment.and_then(|moment| moment.moment) {
        Some(Message::Version(version)) if version.time == 0 => {
            return Err(Error::Asked("versions are counted from 1"));
        }
        Some(Message::Version(version)) => Some(Moment::Version { time: version.time, side: version.side }),
        Some(Message::Seq(0)) => return Err(Error::Asked("commits are counted from #1")),
        Some(Message::Seq(seq)) => Some(Moment::Seq(seq)),
        Some(Message::Time(at)) => time(Some(at))?.map(Moment::Time),
        None => None,
    })
}

/// A device's id from a message.
pub(crate) fn device(id: &[u8]) -> Result<DeviceId, Error> {
    Ok(DeviceId::from_slice(id).map_err(Malformed::from)?)
}

/// A group's id from a message.
pub(crate) fn group(id: &[u8]) -> Result<GroupId, Error> {
    Ok(GroupId::from_slice(id).map_err(Malformed::from)?)
}

/// How far a root is known.
pub(crate) fn cursor(state: Option<Root>) -> common::Cursor {
    state.map(|state| Cursor { epoch: state.epoch, seq: state.point.seq }.into()).unwrap_or_default()
}

pub(crate) fn stamp(time: WallTime) -> Option<prost_types::Timestamp> {
    Some(timestamp(time.into()))
}

/// How a version is named: "7", or "7.1" for a side that lost to it.
pub(crate) fn number(at: &At) -> String {
    let time = at.row().time;
    if at.side == 0 { time.to_string() } else { format!("{time}.{}", at.side) }
}

/// A version with its paths as of its commit.
pub(crate) fn version(view: View<'_>, at: &At) -> Result<history::Version, Error> {
    let mut paths = Paths::new(view, at.point);
    let path = paths.of(&at.row().place)?;
    let moved_from = at.version.moved_from.as_ref().map(|place| paths.of(place)).transpose()?;
    let missing = if at.side > 0 { 0 } else { missing(view, at)? };
    let mut message = plain(at, path);
    message.moved_from = moved_from.unwrap_or_default();
    message.missing = missing;
    message.pinned = Pins::of(view)?.holds(at.row().id, at.point, at.side)?;
    Ok(message)
}

/// Logical times directly before a version of which nothing is known.
fn missing(view: View<'_>, at: &At) -> Result<u64, Error> {
    let time = at.row().time.0;
    if time <= 1 {
        return Ok(0);
    }
    let before = view.before(at)?.map_or(0, |before| before.row().time.0);
    // What another chain of sync-svc told may have later times than what came after it.
    Ok(if before >= time { 0 } else { time - before - 1 })
}

/// A version as it is, at a path; whether it is pinned is not looked at.
pub(crate) fn plain(at: &At, path: Bytes) -> history::Version {
    let version = &at.version;
    let mut row = common::Row::from(&version.row);
    row.device_id = Bytes::copy_from_slice(version.device.as_bytes());
    row.accepted_at = stamp(version.accepted);
    history::Version {
        row: Some(row),
        side: at.side,
        path,
        changed_at: version.changed_at.map(timestamp),
        device_name: version.device_name.clone(),
        user_name: version.user_name.clone(),
        cause: cause(version.cause) as i32,
        cursor: Some(Cursor { epoch: version.epoch, seq: at.point.seq }.into()),
        group_id: version.group.map(|group| Bytes::copy_from_slice(group.as_bytes())).unwrap_or_default(),
        moved_from: Bytes::new(),
        missing: 0,
        removed: version.removed.as_ref().map(removed),
        pinned: false,
    }
}

pub(crate) fn removed(removed: &Removed) -> history::Removed {
    history::Removed { at: stamp(removed.at), why: removed.why.clone() }
}

fn cause(cause: Cause) -> history::Cause {
    match cause {
        Cause::Create => history::Cause::Create,
        Cause::Edit => history::Cause::Edit,
        Cause::Delete => history::Cause::Delete,
        Cause::Move => history::Cause::Move,
        Cause::Attributes => history::Cause::Attributes,
        Cause::Restore => history::Cause::Restore,
        Cause::Kept => history::Cause::ConflictKept,
        Cause::Lost => history::Cause::ConflictLost,
        Cause::Undone => history::Cause::ConflictUndone,
        Cause::Found => history::Cause::Found,
        Cause::HeldBack => history::Cause::HeldBack,
    }
}

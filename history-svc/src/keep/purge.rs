//! Purges: contents that must not be kept are removed for good, from every store.
//!
//! ```text
//! asked ─> written down ─> versions are marked ─> sync-svc takes the contents out of its stores ─> ended
//!              │   whatever restarts, it goes on from here   │ and while it cannot, it is asked again
//! ```
//!
//! A purge is of contents: every version of the root that has one of them goes, of whatever entry, for otherwise the bytes
//! would stay. Versions that come to be while it is on its way (events that were not applied yet) are marked too, before
//! sync-svc is asked again. What is there now, and what somebody has pinned, is never marked: the purge waits and says why.

mod carry;
mod tell;

use std::collections::HashSet;

use bytes::Bytes;
use quics_meta::Batch;
use quics_proto::history::v1 as history;
use quics_records::{fields, get, put};
use quics_types::{DeviceId, Digest, EntryId, GroupId, RootId, WallTime};

use super::contents::Contents;
use super::pins::Pins;
use super::walk::{Met, Stand, Walk};
use crate::Error;
use crate::db::keys::{self, Point};
use crate::encode::{self, Moment, Subject};
use crate::query;
use crate::service::Service;
use crate::view::{At, Paths, View};

pub(crate) use carry::carry;
#[cfg(test)]
pub(crate) use carry::{Step, step};

/// Contents of one purge.
const CONTENTS: usize = 16_384;
/// Bytes of a reason.
const REASON: usize = 1024;
/// Versions of a preview.
const SHOWN: usize = 256;
/// Purges of a root that are listed.
const LISTED: usize = 1000;

/// A purge, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Purge {
    pub(crate) path: Bytes,
    pub(crate) device: DeviceId,
    pub(crate) device_name: String,
    pub(crate) user_name: String,
    pub(crate) at: WallTime,
    pub(crate) reason: String,
    pub(crate) versions: u64,
    pub(crate) contents: u64,
    pub(crate) bytes: u64,
    /// What it waits for, in a sentence.
    pub(crate) waits: String,
    pub(crate) ended: Option<WallTime>,
}

fields!(Purge { path, device, device_name, user_name, at, reason, versions, contents, bytes, waits, ended });

impl Purge {
    pub(crate) fn of(view: View<'_>, id: GroupId) -> Result<Option<Self>, Error> {
        Ok(get(view.reads, &keys::purge(view.root, id))?.map(|kept| kept.record))
    }

    /// Why its versions have no content any more.
    pub(crate) fn why(&self) -> String {
        let who = if self.user_name.is_empty() { &self.device_name } else { &self.user_name };
        if self.reason.is_empty() { format!("purged by {who}") } else { format!("purged by {who}: {}", self.reason) }
    }

    /// It as it is told.
    pub(crate) fn message(&self, id: GroupId) -> history::Purge {
        history::Purge {
            purge_id: Bytes::copy_from_slice(id.as_bytes()),
            path: self.path.clone(),
            device_name: self.device_name.clone(),
            user_name: self.user_name.clone(),
            at: encode::stamp(self.at),
            reason: self.reason.clone(),
            versions: self.versions,
            contents: self.contents,
            bytes: self.bytes,
            ended_at: self.ended.and_then(encode::stamp),
            waits: self.waits.clone(),
        }
    }
}

/// What is to be purged.
pub(crate) struct Asked {
    pub(crate) subject: Subject,
    pub(crate) moment: Option<Moment>,
    pub(crate) reason: String,
    /// Versions of later commits are not looked at.
    pub(crate) until: Option<u64>,
}

/// A purge that can be, found: it is not written down yet.
pub(crate) struct Found {
    pub(crate) purge: Purge,
    pub(crate) contents: Vec<Digest>,
    /// The first of its versions.
    pub(crate) shown: Vec<At>,
    pub(crate) seq: u64,
}

/// Finds what a purge is about. `open` are the entries whose conflicts are open.
///
/// # Errors
/// One sentence where there is nothing to remove, or where it may not be.
pub(crate) fn find(
    service: &Service,
    view: View<'_>,
    device: DeviceId,
    asked: &Asked,
    open: &HashSet<EntryId>,
) -> Result<Found, Error> {
    if asked.reason.len() > REASON {
        return Err(Error::Asked("a reason has at most 1024 bytes"));
    }
    let newest = view.newest_point()?;
    let until = Point { seq: asked.until.unwrap_or(newest.seq), ..newest };
    let (entry, contents) = wanted(service, view, asked, until)?;
    let path = match view.at(entry, newest)? {
        Some(at) => Paths::new(view, newest).of(&at.row().place)?,
        None => Bytes::new(),
    };
    let (mut shown, mut sizes, mut versions) = (Vec::new(), Contents::<(), u64>::new(), 0);
    let (pins, mut walk) = (Pins::of(view)?, Walk::new(view, Stand::begin(view)));
    while let Some(met) = walk.next()? {
        let Some((content, size)) = content_in(&met, &contents) else { continue };
        if let Some(held) = held(view, &met, pins)? {
            return Err(Error::Gone(held.sentence(service)));
        }
        if open.contains(&met.entry) {
            let what = place(view, &met)?;
            return Err(Error::Gone(format!(
                "a conflict on {what} is open, and this may be a side of it: answer it first"
            )));
        }
        versions += 1;
        if let Some(seen) = sizes.of((), &content) {
            *seen = size;
        }
        if shown.len() < SHOWN {
            shown.push(At { point: met.point, side: met.side, version: met.kept.record });
        }
    }
    let bytes = sizes.scaled(sizes.all().map(|(_, size)| *size).sum());
    let (device_name, user_name) = service.names(device);
    let purge = Purge {
        path,
        device,
        device_name,
        user_name,
        at: service.now(),
        reason: asked.reason.clone(),
        versions,
        contents: contents.len() as u64,
        bytes,
        waits: String::new(),
        ended: None,
    };
    Ok(Found { purge, contents, shown, seq: until.seq })
}

/// The entry that is asked for and the contents of its versions, sorted.
fn wanted(service: &Service, view: View<'_>, asked: &Asked, until: Point) -> Result<(EntryId, Vec<Digest>), Error> {
    const NO_FILE: &str = "it is no file: only contents are purged, so name a file, or a version of one (PATH@T)";
    if let Some(moment) = asked.moment {
        let at = query::version(view, &asked.subject, Some(moment), service.now())?;
        let content = at.row().value.content().filter(|_| at.is_live());
        let content = content.map(|(content, _)| content).ok_or_else(|| Error::Gone(NO_FILE.into()))?;
        return Ok((at.row().id, vec![content]));
    }
    let entry = query::entry(view, &asked.subject, view.newest_point()?)?;
    let (mut contents, mut walk) = (HashSet::new(), Walk::entry(view, entry));
    while let Some(met) = walk.next()? {
        if let Some((content, _)) = content(&met).filter(|_| met.point <= until) {
            contents.insert(content);
        }
        if contents.len() > CONTENTS {
            return Err(Error::Gone("it has too many contents for one purge: name versions (PATH@T)".into()));
        }
    }
    if contents.is_empty() {
        return Err(Error::Gone(NO_FILE.into()));
    }
    let mut contents: Vec<Digest> = contents.into_iter().collect();
    contents.sort_unstable();
    Ok((entry, contents))
}

/// The content of a version and its size, gone or not; a deletion has none.
fn content(met: &Met) -> Option<(Digest, u64)> {
    let row = &met.kept.record.row;
    row.value.content().filter(|_| !row.dead)
}

/// The content of a version and its size, if it is one of these, which are sorted.
fn content_in(met: &Met, contents: &[Digest]) -> Option<(Digest, u64)> {
    content(met).filter(|(content, _)| contents.binary_search(content).is_ok())
}

/// Why a version may not go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// The file is there with this content.
    Living { place: String, root: RootId },
    /// Somebody has pinned it.
    Pinned { place: String, number: String },
}

impl Held {
    pub(crate) fn sentence(&self, service: &Service) -> String {
        match self {
            Held::Living { place, root } => {
                let devices = match service.access.attached(*root).len() {
                    1 => "1 device".to_owned(),
                    devices => format!("{devices} devices"),
                };
                format!("{place} is still there with this content on {devices}: replace or delete it first")
            }
            Held::Pinned { place, number } => format!("{place}@{number} is pinned: `quics unpin` it first"),
        }
    }
}

/// Whether a version may not go.
fn held(view: View<'_>, met: &Met, pins: Pins<'_>) -> Result<Option<Held>, Error> {
    if met.span.is_none() && met.side == 0 {
        return Ok(Some(Held::Living { place: place(view, met)?, root: view.root }));
    }
    if pins.holds(met.entry, met.point, met.side)? {
        let time = met.kept.record.row.time;
        let number = if met.side == 0 { time.to_string() } else { format!("{time}.{}", met.side) };
        return Ok(Some(Held::Pinned { place: place(view, met)?, number }));
    }
    Ok(None)
}

/// The path of a version's entry, for a sentence.
fn place(view: View<'_>, met: &Met) -> Result<String, Error> {
    let path = Paths::new(view, view.newest_point()?).of(&met.kept.record.row.place)?;
    Ok(String::from_utf8_lossy(&path).into_owned())
}

/// Writes a purge down.
pub(crate) fn write(root: RootId, id: GroupId, found: &Found) -> Batch {
    let mut batch = Batch::new();
    put(&mut batch, keys::purge(root, id), &found.purge, 0);
    put(&mut batch, keys::purge_contents(root, id), &found.contents, 0);
    batch.put(keys::purging(root, id), Bytes::new());
    batch
}

/// The purges of a root, the newest first.
pub(crate) fn list(view: View<'_>) -> Result<Vec<history::Purge>, Error> {
    let (from, to) = keys::all(b'u', view.root);
    let mut purges = Vec::new();
    for (key, stored) in view.reads.range(&from, &to, quics_meta::MAX_PAGE)? {
        let (_, id) = keys::parse_purge(&key).ok_or_else(|| Error::damaged(&key))?;
        purges.push((id, quics_records::decode::<Purge>(&key, stored)?.record));
    }
    purges.sort_by_key(|(_, purge)| std::cmp::Reverse(purge.at));
    Ok(purges.iter().take(LISTED).map(|(id, purge)| purge.message(*id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_fixed_and_the_reason_is_told() {
        let purge = Purge {
            path: Bytes::from_static(b"a"),
            device: DeviceId::from_bytes([3; 16]),
            device_name: "pc".into(),
            user_name: "Ada".into(),
            at: WallTime(1000),
            reason: "a key".into(),
            versions: 2,
            contents: 1,
            bytes: 300,
            waits: String::new(),
            ended: Some(WallTime(1001)),
        };
        assert_eq!(purge.why(), "purged by Ada: a key");
        assert_eq!(Purge { reason: String::new(), ..purge.clone() }.why(), "purged by Ada");
        quics_records::testing::golden(
            purge,
            "0101610303030303030303030303030303030302706303416461e8070561206b65790201ac020001e907",
        );
    }
}

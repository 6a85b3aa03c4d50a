//! Goes through all versions of a root, the newest of an entry first, in pages: memory is bounded however many there are.

use bytes::Bytes;
use quics_records::{Kept, Stored, decode};
use quics_types::{EntryId, WallTime};

use super::policy::Span;
use crate::Error;
use crate::db::keys::{self, Point};
use crate::db::records::Version;
use crate::view::{PAGE, View};

/// A version, as it is met.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) key: Bytes,
    pub(crate) entry: EntryId,
    pub(crate) point: Point,
    pub(crate) side: u32,
    pub(crate) kept: Kept<Version>,
    /// When it was the newest; `None`: it still is. The loser of a conflict was, for its device, until it was answered.
    pub(crate) span: Option<Span>,
    /// It is the first one of its entry.
    pub(crate) begins: bool,
}

/// Where a walk is: what it has to know to go on.
#[derive(Debug, Clone)]
pub(crate) struct Stand {
    /// Everything from here on is done.
    to: Bytes,
    entry: Option<EntryId>,
    /// When the version behind was accepted.
    later: Option<WallTime>,
}

impl Stand {
    /// Before the first version of all.
    pub(crate) fn begin(view: View<'_>) -> Self {
        Self::of(keys::all(b'v', view.root).1)
    }

    /// Behind an entry: at the one before it.
    pub(crate) fn behind(view: View<'_>, entry: EntryId) -> Self {
        Self::of(keys::versions(view.root, entry).0)
    }

    /// Before an entry.
    pub(crate) fn at(view: View<'_>, entry: EntryId) -> Self {
        Self::of(keys::versions(view.root, entry).1)
    }

    fn of(to: Bytes) -> Self {
        Self { to, entry: None, later: None }
    }
}

/// A walk through a root, or an entry.
pub(crate) struct Walk<'a> {
    view: View<'a>,
    from: Bytes,
    /// Where the next version is looked for.
    pub(crate) stand: Stand,
    page: std::vec::IntoIter<(Bytes, Stored)>,
    /// Nothing is behind this page.
    ended: bool,
}

impl<'a> Walk<'a> {
    /// Walks through the root, on from where a walk stood.
    pub(crate) fn new(view: View<'a>, stand: Stand) -> Self {
        Self { view, from: keys::all(b'v', view.root).0, stand, page: Vec::new().into_iter(), ended: false }
    }

    /// Walks through one entry.
    pub(crate) fn entry(view: View<'a>, entry: EntryId) -> Self {
        Self { from: keys::versions(view.root, entry).0, ..Self::new(view, Stand::at(view, entry)) }
    }

    /// The next version; `None` behind the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Met>, Error> {
        let (key, stored) = loop {
            if let Some(row) = self.page.next() {
                break row;
            }
            if self.ended {
                return Ok(None);
            }
            let page = self.view.reads.range_back(&self.from, &self.stand.to, PAGE)?;
            self.ended = page.len() < PAGE;
            self.page = page.into_iter();
        };
        let (entry, point, side) = keys::parse_version(&key).ok_or_else(|| Error::damaged(&key))?;
        let kept: Kept<Version> = decode(&key, stored)?;
        let begins = self.stand.entry != Some(entry);
        if begins {
            (self.stand.entry, self.stand.later) = (Some(entry), None);
        }
        let from = kept.record.accepted;
        let until = match (side, self.stand.later) {
            (0, later) => later,
            // It ended when its conflict was answered, with the commit under which it stands.
            _ => Some(self.view.moment_of(point, entry, side)?.unwrap_or(from)),
        };
        if side == 0 {
            self.stand.later = Some(from);
        }
        self.stand.to = key.clone();
        let span = until.map(|until| Span { from, until: until.max(from) });
        Ok(Some(Met { key, entry, point, side, kept, span, begins }))
    }
}

//! The feed: what has changed since a commit, and what is now.
//!
//! It has one record for each entry's row, one for each entry's conflict and one for the settings, tombstones and closed
//! conflicts included, at the commit that changed it last: what changed again meanwhile is left out at its former place.

use bytes::Bytes;
use quics_reconcile::{Candidate, CandidateState, Row, Value};
use quics_types::{DeviceId, EntryId, RootId, Settings, limits};

use super::{Ledger, Level};
use crate::Error;
use crate::db::answers::{Resolution, SettingsEntry};
use crate::db::brakes::Brakes;
use crate::db::keys::{self, Kind};
use crate::db::records::{self, ConflictEntry, Entry};

/// Records that one page looks at.
const STEP: usize = 512;

/// A record of the feed, or of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The commit that made it.
    pub seq: u64,
    /// What is told.
    pub change: Change,
}

/// What a record of the feed tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An entry's row, live or a tombstone.
    Row {
        /// The row.
        entry: Entry,
        /// Its small content, where asked for.
        inline: Option<Bytes>,
    },
    /// An open conflict.
    Conflict(EntryId, ConflictEntry),
    /// A conflict that is over, with the entry's row.
    Closed(EntryId, ConflictEntry, Option<Entry>),
    /// How the root deals with conflicts.
    Settings(Settings),
    /// Who is braked.
    Brakes(Brakes),
}

/// Which small contents come along with the rows of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inlined {
    /// None.
    Nothing,
    /// All of them.
    All,
    /// Those that other devices brought: this one has its own.
    NotOf(DeviceId),
}

/// A page of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The records in the order of their commits.
    pub changes: Vec<Told>,
    /// Everything up to this commit is told.
    pub seq: u64,
    /// Set when this was all: where the root is then.
    pub level: Option<Level>,
}

impl Ledger {
    /// Reads the durable feed behind a commit, about `bytes` bytes of it.
    ///
    /// It reads the disk where the index or the journal are not in memory.
    ///
    /// # Errors
    /// Those of the stores.
    pub fn feed(&self, root: RootId, after: u64, bytes: usize, inline: Inlined) -> Result<Page, Error> {
        // The state first: it is the tree's as soon as everything that was durable then is told.
        let state = self.root(self.durable(), root)?.record;
        let (from, to) = keys::feed_after(root, after);
        let rows = self.durable().raw_range(&from, &to, STEP)?;
        let mut page = Page { changes: Vec::with_capacity(rows.len()), seq: after, level: None };
        let (count, mut size, mut overtaken) = (rows.len(), 0, false);
        let mut seen = 0;
        for (key, id) in rows {
            let (seq, kind) = keys::parse_feed(&key).ok_or_else(|| Error::damaged(&key))?;
            // The records of one commit are never torn apart.
            if seq != page.seq && size >= bytes {
                break;
            }
            seen += 1;
            let id = EntryId::from_slice(&id).map_err(|_| Error::damaged(&key))?;
            match self.told(root, seq, kind, id, inline)? {
                Some(told) => {
                    size += told.size();
                    page.changes.push(told);
                }
                None => overtaken = true,
            }
            page.seq = seq;
        }
        if count == STEP && seen == count {
            // The last commit may go on in the next page: it is told as a whole there.
            let last = page.seq;
            page.changes.retain(|told| told.seq < last);
            page.seq = last - 1;
        }
        if seen == count && count < STEP && !overtaken && page.seq <= state.seq {
            page.seq = state.seq;
            page.level = Some(self.level_of(&state));
        }
        Ok(page)
    }

    /// One record; `None` if it changed again meanwhile, so that it comes later.
    fn told(&self, root: RootId, seq: u64, kind: Kind, id: EntryId, inline: Inlined) -> Result<Option<Told>, Error> {
        let change = match kind {
            Kind::Row => {
                let kept = records::get::<Entry>(self.durable(), &keys::entry(root, id))?;
                let Some(entry) = kept.map(|kept| kept.record).filter(|entry| entry.seq == seq) else {
                    return Ok(None);
                };
                let wanted = match inline {
                    Inlined::Nothing => false,
                    Inlined::All => true,
                    Inlined::NotOf(device) => entry.device != device,
                };
                let inline = if wanted { self.inline(root, &entry)? } else { None };
                Change::Row { entry, inline }
            }
            Kind::Conflict => {
                let kept = records::get::<ConflictEntry>(self.durable(), &keys::conflict(root, id))?;
                let Some(entry) = kept.map(|kept| kept.record).filter(|entry| entry.seq == seq) else {
                    return Ok(None);
                };
                if entry.is_open() {
                    Change::Conflict(id, entry)
                } else {
                    let row = records::get::<Entry>(self.durable(), &keys::entry(root, id))?;
                    Change::Closed(id, entry, row.map(|kept| kept.record))
                }
            }
            Kind::Settings => {
                let kept = records::get::<SettingsEntry>(self.durable(), &keys::settings(root))?;
                let Some(entry) = kept.map(|kept| kept.record).filter(|entry| entry.seq == seq) else {
                    return Ok(None);
                };
                Change::Settings(entry.settings)
            }
            Kind::Brakes => {
                let kept = records::get::<Brakes>(self.durable(), &keys::brakes(root))?;
                let Some(brakes) = kept.map(|kept| kept.record).filter(|brakes| brakes.seq == seq) else {
                    return Ok(None);
                };
                Change::Brakes(brakes)
            }
        };
        Ok(Some(Told { seq, change }))
    }

    /// The small content of a live file or unit; one that is damaged does not come along, and is found so when it is fetched.
    pub(super) fn inline(&self, root: RootId, entry: &Entry) -> Result<Option<Bytes>, Error> {
        match entry.row.value.content() {
            Some((content, size)) if !entry.row.dead && size <= limits::INLINE_BYTES as u64 => {
                match self.contents.read_small(root, content, size) {
                    Err(Error::Chunks(_)) => Ok(None),
                    other => other,
                }
            }
            _ => Ok(None),
        }
    }
}

impl Told {
    /// About the bytes that the record takes in a message.
    pub fn size(&self) -> usize {
        16 + match &self.change {
            Change::Row { entry, inline } => Self::row_size(entry) + inline.as_ref().map_or(0, Bytes::len),
            Change::Conflict(_, conflict) => Self::conflict_size(conflict),
            Change::Closed(_, conflict, entry) => {
                Self::conflict_size(conflict) + entry.as_ref().map_or(0, Self::row_size)
            }
            Change::Settings(_) => 64,
            Change::Brakes(brakes) => 64 + 96 * brakes.brakes.len(),
        }
    }

    /// About the bytes of a row.
    pub(crate) fn row_size(entry: &Entry) -> usize {
        Self::bytes_of(&entry.row)
    }

    /// About the bytes of a row by itself.
    pub(super) fn bytes_of(row: &Row) -> usize {
        let attributes: usize = row.attributes.iter().map(|(key, value)| key.len() + value.len() + 8).sum();
        112 + row.place.name.as_bytes().len() + value_size(&row.value) + attributes
    }

    /// About the bytes of a conflict.
    pub(crate) fn conflict_size(entry: &ConflictEntry) -> usize {
        let candidates: usize = entry.conflict.candidates.values().map(candidate_size).sum();
        64 + candidates + entry.resolution.as_ref().map_or(0, Self::resolution_size)
    }

    /// About the bytes of a resolution.
    pub(crate) fn resolution_size(resolution: &Resolution) -> usize {
        let settled: usize = resolution.settled.values().map(|settled| candidate_size(&settled.candidate)).sum();
        128 + settled + resolution.created.len() * 18
    }
}

fn value_size(value: &Value) -> usize {
    if let Value::Link { target } = value { target.len() } else { 48 }
}

fn candidate_size(candidate: &Candidate) -> usize {
    let state = if let CandidateState::Value(value) = &candidate.state { value_size(value) } else { 0 };
    96 + state + candidate.base.as_ref().map_or(0, value_size)
}

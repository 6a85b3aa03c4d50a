//! One commit of a root while it is put together.
//!
//! One batch may carry several changes. Each has a number, a place in the feed and an event of its own, and takes at most
//! one row, one conflict and the settings. What is read through a write (it is a [`View`](quics_reconcile::View)) is the
//! latest state with everything that it has changed so far.

use std::collections::{BTreeMap, HashMap};

use quics_meta::{Batch, Receipt};
use quics_reconcile::{Candidate, CandidateKey, Conflict, Row};
use quics_records::wide;
use quics_types::{Cursor, DeviceId, EntryId, Mtime, Place, RootId, Settings};

use super::Ledger;
use crate::db::answers::{News, Resolution, SettingsEntry};
use crate::db::keys::{self, Kind};
use crate::db::records::{self, Cause, ConflictEntry, Entry, Event, Kept, Root, pieces};
use crate::{Error, WallTime};

/// How many epochs of a root are remembered; cursors of older ones count as those of another server.
const EPOCHS: usize = 1024;

/// A commit that is being put together. The root's lock is held meanwhile.
pub(super) struct Write<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) root: RootId,
    before: Kept<Root>,
    pub(super) state: Root,
    by: By,
    cause: Cause,
    device_time: Mtime,
    /// The changes so far; the last one takes more if `open`.
    events: Vec<Event>,
    open: bool,
    pub(super) batch: Batch,
    entries: HashMap<EntryId, Kept<Entry>>,
    conflicts: HashMap<EntryId, Kept<ConflictEntry>>,
    /// Who is at a place, and whose tombstone, by what was changed here.
    pub(super) places: HashMap<Place, Option<EntryId>>,
    pub(super) graves: HashMap<Place, Option<EntryId>>,
}

/// Who changes something, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct By {
    pub(super) device: DeviceId,
    /// Incarnation and seq of the proposal; 0 and 0 for what is none.
    pub(super) order: (u64, u64),
    pub(super) at: WallTime,
}

/// What an answer, or its undoing, makes of a conflict.
pub(super) struct Turn {
    pub(super) resolution: Resolution,
    /// When candidates came that are kept anew.
    pub(super) accepted: BTreeMap<CandidateKey, WallTime>,
}

impl Ledger {
    pub(super) fn write(&self, root: RootId, by: By, cause: Cause) -> Result<Write<'_>, Error> {
        let before = self.root(self.latest(), root)?;
        Ok(Write {
            ledger: self,
            root,
            state: before.record,
            before,
            by,
            cause,
            device_time: Mtime::default(),
            events: Vec::new(),
            open: false,
            batch: Batch::new(),
            entries: HashMap::new(),
            conflicts: HashMap::new(),
            places: HashMap::new(),
            graves: HashMap::new(),
        })
    }
}

impl Write<'_> {
    /// The number of the root's last commit as it is with what was written so far.
    pub(super) fn seq(&self) -> u64 {
        self.state.seq
    }

    /// Whether something was changed so far that watchers want to know.
    pub(super) fn has_changes(&self) -> bool {
        !self.events.is_empty()
    }

    /// The number of the change that is being written.
    pub(super) fn numbered(&mut self) -> u64 {
        self.change().1
    }

    /// Lets the change that is being written tell of an answer to something that was no conflict of the entry.
    pub(super) fn told_of(&mut self, id: EntryId, resolution: Resolution) -> Result<(), Error> {
        let open = self.conflict_entry(id)?.filter(|kept| kept.record.is_open()).map(|kept| kept.record.conflict);
        let (event, _) = self.change();
        (event.conflict, event.resolution) = (Some((id, open)), Some(resolution));
        Ok(())
    }

    /// Says what caused the change that was written last, if not what all are caused by.
    pub(super) fn caused_by(&mut self, cause: Cause) {
        if let Some(event) = self.events.last_mut() {
            event.cause = cause;
        }
    }

    /// What is written from here on is a change of its own, made at this time by its device's clock.
    pub(super) fn next(&mut self, device_time: Mtime) {
        (self.open, self.device_time) = (false, device_time);
    }

    /// The change that is being written; the first thing that it takes gives it its number.
    fn change(&mut self) -> (&mut Event, u64) {
        if !self.open {
            self.state.seq += 1;
            self.open = true;
            self.events.push(Event {
                root: self.root,
                cursor: Cursor { epoch: self.ledger.epoch, seq: self.state.seq },
                device: self.by.device,
                order: self.by.order,
                accepted_at: self.by.at,
                device_time: self.device_time,
                cause: self.cause,
                old: None,
                new: None,
                conflict: None,
                resolution: None,
            });
        }
        let last = self.events.len() - 1;
        (&mut self.events[last], self.state.seq)
    }

    /// An entry as this write leaves it.
    pub(super) fn entry(&self, id: EntryId) -> Result<Option<Kept<Entry>>, Error> {
        match self.entries.get(&id) {
            Some(kept) => Ok(Some(kept.clone())),
            None => Ok(records::get(self.ledger.latest(), &keys::entry(self.root, id))?),
        }
    }

    /// The record of an entry's conflict, open or closed, as this write leaves it.
    pub(super) fn conflict_entry(&self, id: EntryId) -> Result<Option<Kept<ConflictEntry>>, Error> {
        match self.conflicts.get(&id) {
            Some(kept) => Ok(Some(kept.clone())),
            None => Ok(records::get(self.ledger.latest(), &keys::conflict(self.root, id))?),
        }
    }

    /// Sets an entry's row, with its places, its place in the feed and the root's sums.
    pub(super) fn row(&mut self, row: Row) -> Result<(), Error> {
        let root = self.root;
        let old = self.entry(row.id)?;
        let (_, seq) = self.change();
        if let Some(Kept { record: old, .. }) = &old {
            self.batch.delete(keys::feed(root, old.seq, Kind::Row));
            self.state.digest.remove(&old.row);
            *if old.row.dead { &mut self.state.tombstones } else { &mut self.state.live } -= 1;
            if !old.row.dead && (row.dead || old.row.place != row.place) {
                self.batch.delete(keys::place(root, &old.row.place));
                self.places.insert(old.row.place.clone(), None);
            }
            if old.row.dead && !row.dead {
                self.forget_tombstone(&old.row)?;
            }
        }
        *if row.dead { &mut self.state.tombstones } else { &mut self.state.live } += 1;
        self.state.digest.add(&row);
        let (at, index) = match row.dead {
            true => (keys::tombstone(root, &row.place), &mut self.graves),
            false => (keys::place(root, &row.place), &mut self.places),
        };
        index.insert(row.place.clone(), Some(row.id));
        self.batch.put(at, row.id.as_bytes().to_vec());
        self.batch.put(keys::feed(root, seq, Kind::Row), row.id.as_bytes().to_vec());
        let (device, accepted_at) = (self.by.device, self.by.at);
        let entry = Entry { row, device, accepted_at, seq };
        let count = records::put(&mut self.batch, keys::entry(root, entry.row.id), &entry, pieces(&old));
        let (event, _) = self.change();
        event.old = old.map(|kept| kept.record.row);
        event.new = Some(entry.row.clone());
        self.entries.insert(entry.row.id, Kept { record: entry, pieces: count });
        Ok(())
    }

    /// Removes the row that says that this tombstone was at its place last, if it was.
    fn forget_tombstone(&mut self, row: &Row) -> Result<(), Error> {
        let key = keys::tombstone(self.root, &row.place);
        let there = match self.graves.get(&row.place) {
            Some(there) => *there == Some(row.id),
            None => self.ledger.latest().raw(&key)?.as_deref() == Some(row.id.as_bytes()),
        };
        if there {
            self.batch.delete(key);
            self.graves.insert(row.place.clone(), None);
        }
        Ok(())
    }

    /// Sets or closes an entry's conflict, by an answer or its undoing where there is a `turn`, and says its revision: the
    /// number of this change, which no conflict of the root had before.
    pub(super) fn conflict(
        &mut self,
        id: EntryId,
        conflict: Option<Conflict>,
        turn: Option<Turn>,
    ) -> Result<u64, Error> {
        let (root, now) = (self.root, self.by.at);
        let old = self.conflict_entry(id)?;
        let (_, seq) = self.change();
        let was_open = old.as_ref().is_some_and(|kept| kept.record.is_open());
        let mut conflict = conflict.unwrap_or_default();
        conflict.revision = seq;
        let is_open = !conflict.candidates.is_empty();
        self.state.conflicts = self.state.conflicts + u64::from(is_open) - u64::from(was_open);
        let known = |key: &CandidateKey, candidate: &Candidate| {
            let of_turn = turn.as_ref().and_then(|turn| turn.accepted.get(key));
            let before = old.as_ref().filter(|kept| {
                kept.record.conflict.candidates.get(key).is_some_and(|there| there.order == candidate.order)
            });
            of_turn.or(before.and_then(|kept| kept.record.accepted.get(key))).copied()
        };
        let times = conflict.candidates.iter().map(|(key, candidate)| (*key, known(key, candidate)));
        let times: Vec<(CandidateKey, Option<WallTime>)> = times.collect();
        let gone = |kept: &Kept<ConflictEntry>| {
            kept.record.conflict.candidates.keys().any(|key| !conflict.candidates.contains_key(key))
        };
        let news = match &turn {
            Some(_) if is_open => News::Reopened,
            Some(_) => News::Resolved,
            None if times.iter().any(|(_, time)| time.is_none()) => News::NewCandidate,
            None if old.as_ref().is_some_and(gone) => News::Withdrawn,
            None => News::NewVersion,
        };
        let accepted = times.into_iter().map(|(key, time)| (key, time.unwrap_or(now))).collect();
        let opened_at = old.as_ref().filter(|_| was_open).map_or(now, |kept| kept.record.opened_at);
        if let Some(old) = &old {
            self.batch.delete(keys::feed(root, old.record.seq, Kind::Conflict));
        }
        self.batch.put(keys::feed(root, seq, Kind::Conflict), id.as_bytes().to_vec());
        let answered = turn.map(|turn| turn.resolution);
        let (event, _) = self.change();
        event.conflict = Some((id, is_open.then(|| conflict.clone())));
        event.resolution = answered.clone();
        let resolution = answered.or_else(|| old.as_ref().and_then(|kept| kept.record.resolution.clone()));
        let entry = ConflictEntry { conflict, opened_at, accepted, seq, news, resolution };
        let count = records::put(&mut self.batch, keys::conflict(root, id), &entry, pieces(&old));
        self.conflicts.insert(id, Kept { record: entry, pieces: count });
        Ok(seq)
    }

    /// Sets the root's settings.
    pub(super) fn settings(&mut self, settings: Settings) -> Result<(), Error> {
        let (root, key) = (self.root, keys::settings(self.root));
        let (_, seq) = self.change();
        let old = records::get::<SettingsEntry>(self.ledger.latest(), &key)?;
        if let Some(old) = &old {
            self.batch.delete(keys::feed(root, old.record.seq, Kind::Settings));
        }
        self.batch.put(keys::feed(root, seq, Kind::Settings), EntryId::TOP.as_bytes().to_vec());
        records::put(&mut self.batch, key, &SettingsEntry { settings, seq }, pieces(&old));
        Ok(())
    }

    /// Queues the commit. A batch without a change has no number and no event.
    pub(super) fn submit(mut self) -> Result<Receipt, Error> {
        if self.events.is_empty() {
            return Ok(self.ledger.meta.submit(self.batch)?);
        }
        if self.state.epoch != self.ledger.epoch || self.before.record.seq == 0 {
            self.state.epoch = self.ledger.epoch;
            self.begin_epoch()?;
        }
        records::put(&mut self.batch, keys::root(self.root), &self.state, self.before.pieces);
        self.ledger.submit_with(self.batch, &self.events)
    }

    /// Notes that the root's commits from this one on are of the server's present epoch.
    fn begin_epoch(&mut self) -> Result<(), Error> {
        let key = keys::epoch(self.root, self.before.record.seq + 1);
        self.batch.put(key, self.ledger.epoch.0.to_be_bytes().to_vec());
        let (from, to) = keys::all(b'n', Some(self.root));
        let known = self.ledger.latest().raw_range(&from, &to, EPOCHS)?;
        if known.len() >= EPOCHS
            && let Some((oldest, _)) = known.first()
        {
            self.batch.delete(oldest.clone());
        }
        Ok(())
    }
}

/// Removes an entry's row for good, with its place in the feed.
pub(super) fn remove_tombstone(batch: &mut Batch, root: RootId, entry: &Kept<Entry>) {
    batch.delete(keys::feed(root, entry.record.seq, Kind::Row));
    wide::delete(batch, keys::entry(root, entry.record.row.id), entry.pieces);
}

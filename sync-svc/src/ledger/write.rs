//! One commit of a root while it is put together.

use quics_meta::{Batch, Receipt};
use quics_reconcile::{Conflict, Proposal, Row};
use quics_types::{Cursor, DeviceId, EntryId, Mtime, RootId};

use super::Ledger;
use crate::db::keys::{self, Kind};
use crate::db::records::{self, ConflictEntry, Entry, Event, Kept, Root, pieces};
use crate::db::wide;
use crate::{Error, WallTime};

/// How many epochs of a root are remembered; cursors of older ones count as those of another server.
const EPOCHS: usize = 1024;

/// A commit that is being put together. The root's lock is held meanwhile.
pub(super) struct Write<'a> {
    ledger: &'a Ledger,
    root: RootId,
    before: Kept<Root>,
    state: Root,
    event: Event,
    pub(super) batch: Batch,
}

impl Ledger {
    pub(super) fn write(
        &self,
        root: RootId,
        device: DeviceId,
        order: (u64, u64),
        proposal: &Proposal,
        now: WallTime,
    ) -> Result<Write<'_>, Error> {
        let before = self.root(self.latest(), root)?;
        let event = Event {
            root,
            cursor: Cursor { epoch: self.epoch, seq: before.record.seq + 1 },
            device,
            order,
            accepted_at: now,
            device_time: device_time(proposal),
            cause: 0,
            old: None,
            new: None,
            conflict: None,
        };
        Ok(Write { ledger: self, root, state: before.record, before, event, batch: Batch::new() })
    }
}

/// The device's own time of a change; a delete and a withdrawal have none.
fn device_time(proposal: &Proposal) -> Mtime {
    match proposal {
        Proposal::Create { mtime, .. } => *mtime,
        Proposal::Change(change) => {
            let content = change.content.as_ref().map(|content| content.mtime);
            content.or(change.attributes.as_ref().map(|attributes| attributes.mtime)).unwrap_or_default()
        }
        Proposal::Delete { .. } | Proposal::Withdraw { .. } => Mtime::default(),
    }
}

impl Write<'_> {
    /// The number of the root's last commit as it is with what was written so far.
    pub(super) fn seq(&self) -> u64 {
        self.state.seq
    }

    /// Everything that is written belongs to one commit, which raises the number once.
    fn raise(&mut self) -> u64 {
        self.state.seq = self.before.record.seq + 1;
        self.state.seq
    }

    /// Sets an entry's row, with its places, its place in the feed and the root's sums.
    pub(super) fn row(&mut self, row: Row) -> Result<(), Error> {
        let seq = self.raise();
        let root = self.root;
        let key = keys::entry(root, row.id);
        let old = records::get::<Entry>(self.ledger.latest(), &key)?;
        if let Some(Kept { record: old, .. }) = &old {
            self.batch.delete(keys::feed(root, old.seq, Kind::Row));
            self.state.digest.remove(&old.row);
            *if old.row.dead { &mut self.state.tombstones } else { &mut self.state.live } -= 1;
            if !old.row.dead && (row.dead || old.row.place != row.place) {
                self.batch.delete(keys::place(root, &old.row.place));
            }
            if old.row.dead && !row.dead {
                self.forget_tombstone(&old.row)?;
            }
        }
        *if row.dead { &mut self.state.tombstones } else { &mut self.state.live } += 1;
        self.state.digest.add(&row);
        let at = if row.dead { keys::tombstone(root, &row.place) } else { keys::place(root, &row.place) };
        self.batch.put(at, row.id.as_bytes().to_vec());
        self.batch.put(keys::feed(root, seq, Kind::Row), row.id.as_bytes().to_vec());
        let entry = Entry { row, device: self.event.device, accepted_at: self.event.accepted_at, seq };
        records::put(&mut self.batch, key, &entry, pieces(&old));
        self.event.old = old.map(|kept| kept.record.row);
        self.event.new = Some(entry.row);
        Ok(())
    }

    /// Removes the row that says that this tombstone was at its place last, if it was.
    fn forget_tombstone(&mut self, row: &Row) -> Result<(), Error> {
        let key = keys::tombstone(self.root, &row.place);
        if self.ledger.latest().raw(&key)?.as_deref() == Some(row.id.as_bytes()) {
            self.batch.delete(key);
        }
        Ok(())
    }

    /// Sets or closes an entry's conflict and says its revision, which goes on from that of an earlier one.
    pub(super) fn conflict(&mut self, id: EntryId, conflict: Option<Conflict>) -> Result<u64, Error> {
        let seq = self.raise();
        let (root, now) = (self.root, self.event.accepted_at);
        let key = keys::conflict(root, id);
        let old = records::get::<ConflictEntry>(self.ledger.latest(), &key)?;
        let was_open = old.as_ref().is_some_and(|kept| kept.record.is_open());
        let last = old.as_ref().map_or(0, |kept| kept.record.conflict.revision);
        let mut conflict = conflict.unwrap_or_default();
        conflict.revision = if was_open { conflict.revision.max(last + 1) } else { last + conflict.revision.max(1) };
        let is_open = !conflict.candidates.is_empty();
        self.state.conflicts = self.state.conflicts + u64::from(is_open) - u64::from(was_open);
        let came = |key: &_, candidate: &quics_reconcile::Candidate| {
            let before = old.as_ref().filter(|kept| {
                kept.record.conflict.candidates.get(key).is_some_and(|there| there.order == candidate.order)
            });
            before.and_then(|kept| kept.record.accepted.get(key).copied()).unwrap_or(now)
        };
        let accepted = conflict.candidates.iter().map(|(key, candidate)| (*key, came(key, candidate))).collect();
        let opened_at = old.as_ref().filter(|_| was_open).map_or(now, |kept| kept.record.opened_at);
        if let Some(old) = &old {
            self.batch.delete(keys::feed(root, old.record.seq, Kind::Conflict));
        }
        self.batch.put(keys::feed(root, seq, Kind::Conflict), id.as_bytes().to_vec());
        let revision = conflict.revision;
        self.event.conflict = Some((id, is_open.then(|| conflict.clone())));
        let entry = ConflictEntry { conflict, opened_at, accepted, seq };
        records::put(&mut self.batch, key, &entry, pieces(&old));
        Ok(revision)
    }

    /// Queues the commit. A batch that changed neither rows nor conflicts has no number and no event.
    pub(super) fn submit(mut self) -> Result<Receipt, Error> {
        if self.state.seq == self.before.record.seq {
            return Ok(self.ledger.meta.submit(self.batch)?);
        }
        if self.state.epoch != self.ledger.epoch || self.before.record.seq == 0 {
            self.state.epoch = self.ledger.epoch;
            self.begin_epoch()?;
        }
        records::put(&mut self.batch, keys::root(self.root), &self.state, self.before.pieces);
        // Drawn and submitted under one lock, so that the numbers are dense whatever fails.
        let _outbox = self.ledger.outbox.lock();
        let next = records::get::<u64>(self.ledger.latest(), keys::OUTBOX_NEXT)?;
        let number = next.as_ref().map_or(1, |kept| kept.record);
        records::put(&mut self.batch, keys::outbox(number), &self.event, 0);
        let counter = bytes::Bytes::from_static(keys::OUTBOX_NEXT);
        records::put(&mut self.batch, counter, &(number + 1), pieces(&next));
        Ok(self.ledger.meta.submit(self.batch)?)
    }

    /// Notes that the root's commits from this one on are of the server's present epoch.
    fn begin_epoch(&mut self) -> Result<(), Error> {
        let key = keys::epoch(self.root, self.state.seq);
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

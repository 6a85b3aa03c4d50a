//! Answers that are taken back.

use std::collections::BTreeMap;

use quics_meta::{Batch, Receipt};
use quics_reconcile::{Back, CandidateState, Conflict, Row, take_back};
use quics_types::{DeviceId, EntryId, ResolutionId, RootId};

use super::Ledger;
use super::resolve::People;
use super::write::{By, Turn, Write};
use crate::db::answers::{Answered, Chosen, Resolution, ResolutionEntry, Settled};
use crate::db::keys;
use crate::db::records::{self, Cause, Entry, Kept};
use crate::{Error, WallTime};

/// Asks for an answer to be taken back.
#[derive(Debug, Clone, Copy)]
pub struct Undo {
    /// The root.
    pub root: RootId,
    /// What is taken back.
    pub resolution: ResolutionId,
    /// The new resolution; drawn by whoever asks, the same one again is the same undoing.
    pub id: ResolutionId,
    /// Who asks.
    pub device: DeviceId,
}

/// An answer that was taken back, as far as it could be.
#[derive(Debug)]
pub struct Undone {
    /// It may be told when this has resolved; `None`: at once.
    pub receipt: Option<Receipt>,
    /// Entries whose conflict is open again; of an undo that is taken back, is closed again.
    pub turned: Vec<EntryId>,
    /// Entries that stay as they are, since they were changed.
    pub changed: Vec<EntryId>,
    /// The last commit.
    pub seq: u64,
    /// Whether the root has new commits, of which its watchers want to know.
    pub committed: bool,
}

impl Ledger {
    /// Takes an answer, or an undoing, back, as far as nobody has gone on from it, and queues everything as one commit.
    /// `None`: no such resolution is kept.
    ///
    /// # Durability
    /// When the receipt has resolved; nothing may be told before.
    ///
    /// # Errors
    /// [`Error::Denied`] by `people`; [`Error::Protocol`]: the new id was used for something else. [`Error::is_busy`]: to be
    /// tried again when the store has room. Otherwise those of the store.
    pub fn undo(&self, request: &Undo, people: &dyn People, now: WallTime) -> Result<Option<Undone>, Error> {
        let Undo { root, resolution, id, device } = *request;
        let memo = self.memo(root);
        let _one_at_a_time = memo.lock();
        if let Some(before) = self.resolution(root, id, device)? {
            if before.undoes != Some(resolution) {
                return Err(Error::Protocol("a resolution of that id took something else back"));
            }
            let receipt = self.told_when_durable(root, id)?;
            let ResolutionEntry { entries: turned, changed, seq, .. } = before;
            return Ok(Some(Undone { receipt, turned, changed, seq, committed: false }));
        }
        let key = keys::resolution(root, resolution);
        let Some(whole) = records::get::<ResolutionEntry>(self.latest(), &key)? else { return Ok(None) };
        let settings = self.settings_of(self.latest(), root)?;
        let write = self.write(root, By { device, order: (0, 0), at: now }, Cause::Undo)?;
        let mut undoing = Undoing { write, request, now, turned: Vec::new(), changed: Vec::new() };
        for entry in &whole.record.entries {
            let key = keys::answered(root, resolution, *entry);
            let answered = records::get::<Answered>(self.latest(), &key)?.ok_or_else(|| Error::damaged(&key))?.record;
            let settled = answered.resolution.settled.keys();
            let whose: Vec<_> = settled.chain(&answered.kept).map(|(device, _)| *device).collect();
            people.may_answer(&settings, &whose)?;
            undoing.one(*entry, answered)?;
        }
        undoing.finish(whole).map(Some)
    }
}

/// A row that was changed: as it was, and as it is.
type Changed = (Option<Row>, Entry);

/// A conflict without what the row is now anyway; `None` if nothing is left of it.
fn still_asked(mut conflict: Conflict, row: &Row) -> Option<Conflict> {
    let now = if row.dead { CandidateState::Delete } else { CandidateState::Value(row.value.clone()) };
    conflict.candidates.retain(|_, candidate| candidate.state != now);
    Some(conflict).filter(|conflict| !conflict.candidates.is_empty())
}

struct Undoing<'a> {
    write: Write<'a>,
    request: &'a Undo,
    now: WallTime,
    turned: Vec<EntryId>,
    changed: Vec<EntryId>,
}

impl Undoing<'_> {
    /// Takes back what was done about one entry: its conflict goes with its own row, what was made beside it is by itself.
    fn one(&mut self, id: EntryId, mut answered: Answered) -> Result<(), Error> {
        let Some((before, after)) = answered.rows.pop() else { return Ok(()) };
        let Some((conflict, turn)) = self.turn(id, &answered)? else {
            self.changed.push(id);
            return Ok(());
        };
        let back = match take_back(&self.write, before.as_ref(), &after.row)? {
            // What was made and brought back is taken away behind it, what was taken away comes back before it.
            Back::Changed if answered.kept.is_empty() => {
                self.changed.push(id);
                return Ok(());
            }
            back => back,
        };
        let resolution = turn.resolution.clone();
        let kept = turn.accepted.keys().copied().collect();
        let mut rows = Vec::new();
        let (own, revision) = if answered.kept.is_empty() {
            let own = self.row_back(id, back)?;
            let conflict = conflict.and_then(|conflict| still_asked(conflict, &own.1.row));
            let revision = self.write.conflict(id, conflict, Some(turn))?;
            self.others(&mut rows, &answered.rows)?;
            (own, revision)
        } else {
            self.others(&mut rows, &answered.rows)?;
            let back = take_back(&self.write, before.as_ref(), &after.row)?;
            if back == Back::Changed {
                self.changed.push(id);
                return Ok(());
            }
            (self.row_back(id, back)?, self.write.conflict(id, conflict, Some(turn))?)
        };
        rows.push(own);
        let record = Answered { rows, resolution, kept, revision };
        records::put(&mut self.write.batch, keys::answered(self.request.root, self.request.id, id), &record, 0);
        self.turned.push(id);
        Ok(())
    }

    /// What becomes of the conflict; `None` if it was answered again or has gone on.
    fn turn(&self, id: EntryId, answered: &Answered) -> Result<Option<(Option<Conflict>, Turn)>, Error> {
        let there = self.write.conflict_entry(id)?.map(|kept| kept.record);
        let mut conflict = there.as_ref().map(|there| there.conflict.clone()).unwrap_or_default();
        let mut resolution = Resolution {
            id: self.request.id,
            device: self.request.device,
            resolved_at: self.now,
            chosen: Chosen::Undo(self.request.resolution),
            settled: BTreeMap::new(),
            created: Vec::new(),
        };
        let mut accepted = BTreeMap::new();
        if answered.kept.is_empty() {
            // A record that is gone was closed, and every device knew of it.
            let last = there.and_then(|there| there.resolution).map(|resolution| resolution.id);
            if last.is_some_and(|last| last != self.request.resolution) {
                return Ok(None);
            }
            let settled = &answered.resolution.settled;
            let back = settled.iter().map(|((device, _), settled)| (*device, settled.candidate.clone()));
            let Some(keys) = conflict.keep(back) else { return Ok(None) };
            accepted = keys.into_iter().zip(settled.values().map(|settled| settled.accepted_at)).collect();
        } else {
            let Some(there) = there.filter(|there| there.conflict.revision == answered.revision) else {
                return Ok(None);
            };
            for key in &answered.kept {
                if let Some(candidate) = conflict.candidates.remove(key) {
                    let accepted_at = there.accepted.get(key).copied().unwrap_or(self.now);
                    resolution.settled.insert(*key, Settled { candidate, accepted_at });
                }
            }
        }
        let conflict = Some(conflict).filter(|conflict| !conflict.candidates.is_empty());
        Ok(Some((conflict, Turn { resolution, accepted })))
    }

    /// Takes back what was done beside the entry, the last thing first; what was changed since is named.
    fn others(&mut self, rows: &mut Vec<Changed>, others: &[Changed]) -> Result<(), Error> {
        for (before, after) in others.iter().rev() {
            match take_back(&self.write, before.as_ref(), &after.row)? {
                Back::Changed => self.changed.push(after.row.id),
                Back::Same => {}
                Back::Row(row) => {
                    self.write.next(row.mtime);
                    rows.push(self.write.change_row(row)?);
                }
            }
        }
        Ok(())
    }

    /// The entry's own row, in the change that also turns its conflict.
    fn row_back(&mut self, id: EntryId, back: Back) -> Result<Changed, Error> {
        if let Back::Row(row) = back {
            self.write.next(row.mtime);
            return self.write.change_row(row);
        }
        self.write.next(quics_types::Mtime::default());
        let there = self.write.entry(id)?.ok_or_else(|| Error::damaged(id.as_bytes()))?.record;
        Ok((Some(there.row.clone()), there))
    }

    /// Writes down the new resolution and what it did to the old ones.
    fn finish(mut self, mut whole: Kept<ResolutionEntry>) -> Result<Undone, Error> {
        let Undo { root, resolution, id, device } = *self.request;
        let seq = self.write.seq();
        if self.turned.is_empty() {
            // Others may have been told of a state that is not durable yet.
            let receipt = Some(self.write.ledger.meta.submit(Batch::new())?);
            return Ok(Undone { receipt, turned: Vec::new(), changed: self.changed, seq, committed: false });
        }
        let (turned, changed) = (self.turned, self.changed);
        if let Some(before) = whole.record.undoes {
            // What that one took back holds again.
            let key = keys::resolution(root, before);
            if let Some(mut kept) = records::get::<ResolutionEntry>(self.write.ledger.latest(), &key)? {
                kept.record.undone_by = None;
                records::put(&mut self.write.batch, key, &kept.record, kept.pieces);
            }
        }
        whole.record.undone_by = Some(id);
        records::put(&mut self.write.batch, keys::resolution(root, resolution), &whole.record, whole.pieces);
        let new = ResolutionEntry {
            device,
            resolved_at: self.now,
            seq,
            entries: turned.clone(),
            undoes: Some(resolution),
            changed: changed.clone(),
            undone_by: None,
        };
        self.write.keep_resolution(id, &new)?;
        let receipt = Some(self.write.submit()?);
        Ok(Undone { receipt, turned, changed, seq, committed: true })
    }
}

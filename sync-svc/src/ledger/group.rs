//! Groups: many changes that are made together on somebody's behalf, whatever restarts.
//!
//! ```text
//! open ─> stage … ─> begin (from here on it is carried out) ─> step … ─> finished, and its result is kept
//!   └──────────┴─> withdraw …
//! ```
//!
//! The changes of a group are rows of their own until they are made: a step takes the next ones, and they are gone with the
//! commit in which they are made, or left out. So after a crash a group goes on exactly where it was. Steps are judged like
//! proposals, each against the latest state; between them others may change the root.

use bytes::Bytes;
use quics_chunks::Position;
use quics_meta::{Batch, Receipt};
use quics_reconcile::{Made, Refusal, Row, make};
use quics_records::wide;
use quics_types::{DeviceId, GroupId, RootId};

use super::content::Lacking;
use super::write::{By, Write};
use super::{Ledger, Told};
use crate::db::groups::{GroupChange, GroupEntry, Stage};
use crate::db::keys;
use crate::db::records::{self, Cause};
use crate::{Error, WallTime};

/// Changes that one step makes at most …
const STEP: usize = 256;
/// … and about the bytes of rows that it writes.
const STEP_BYTES: usize = 1 << 20;
/// Changes that one commit stages, and removes.
const STAGED: usize = 2048;
/// Changes that a group may have.
pub const GROUP_CHANGES: u64 = 1 << 24;
/// Entries that are named of those that were left out.
const NAMED: usize = 1000;
/// Results that are kept of a root; with one more, the oldest is forgotten.
pub const GROUPS: usize = 256;

/// What became of a step.
#[derive(Debug)]
pub enum Step {
    /// Changes were made or left out, and there are more.
    More(Receipt, bool),
    /// The group is finished when the receipt has resolved.
    Finished(Receipt, bool),
    /// A content is not durable up to this position. Flush the chunk store, then step again.
    Unflushed(Position),
    /// There is nothing to do: no such group has begun, or it is finished.
    Nothing,
}

/// A page of groups that are not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The groups, each with where it is.
    pub groups: Vec<(RootId, GroupId, Stage)>,
    /// Behind which group to go on, where there may be more.
    pub next: Option<(RootId, GroupId)>,
}

impl Ledger {
    /// A group as it is durably.
    ///
    /// # Errors
    /// Those of the store.
    pub fn group(&self, root: RootId, group: GroupId) -> Result<Option<GroupEntry>, Error> {
        Ok(records::get(self.durable(), &keys::group(root, group))?.map(|kept| kept.record))
    }

    /// The groups that are not finished, in pages: those behind `after`. A page may be empty before the end.
    ///
    /// # Errors
    /// Those of the store.
    pub fn unfinished_groups(&self, after: Option<(RootId, GroupId)>) -> Result<Unfinished, Error> {
        let (first, to) = keys::all(b'g', None);
        let from = after.map_or(first, |(root, group)| keys::behind(&keys::group(root, group)));
        let page = self.durable().range(&from, &to, GROUPS)?;
        let (full, mut found, mut last) = (page.len() == GROUPS, Vec::new(), None);
        for (key, stored) in page {
            let (root, group) = keys::parse_group(&key).ok_or_else(|| Error::damaged(&key))?;
            last = Some((root, group));
            let stage = records::decode::<GroupEntry>(&key, stored)?.record.stage;
            if stage != Stage::Finished {
                found.push((root, group, stage));
            }
        }
        Ok(Unfinished { groups: found, next: last.filter(|_| full) })
    }

    /// Opens a group that there is not yet. Whoever calls sees to it that nobody else has this group in hand, here and in
    /// all that follows.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open_group(&self, root: RootId, group: GroupId, device: DeviceId) -> Result<Receipt, Error> {
        let mut batch = Batch::new();
        records::put(&mut batch, keys::group(root, group), &GroupEntry::opened(device), 0);
        Ok(self.meta.submit(batch)?)
    }

    /// Stages changes behind the `before` that were staged already.
    ///
    /// # Durability
    /// At the latest with [`Ledger::begin_group`].
    ///
    /// # Errors
    /// Those of the store; [`Error::is_busy`]: nothing was staged.
    pub fn stage_group(
        &self,
        root: RootId,
        group: GroupId,
        before: u64,
        changes: &[GroupChange],
    ) -> Result<Receipt, Error> {
        let mut batch = Batch::new();
        for (number, change) in (before..).zip(changes) {
            records::put(&mut batch, keys::staged(root, group, number), change, 0);
        }
        Ok(self.meta.submit(batch)?)
    }

    /// How many changes may be staged at once.
    pub const fn staged_at_once() -> usize {
        STAGED
    }

    /// Begins a group of so many changes: from here on it is carried out.
    ///
    /// # Durability
    /// When the receipt has resolved; so are then all its changes.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a group that was not opened; those of the store.
    pub fn begin_group(&self, root: RootId, group: GroupId, changes: u64) -> Result<Receipt, Error> {
        let key = keys::group(root, group);
        let kept = records::get::<GroupEntry>(self.latest(), &key)?.ok_or(Error::NotFound("a group of this id"))?;
        let entry = GroupEntry { stage: Stage::Begun, changes, ..kept.record };
        let mut batch = Batch::new();
        records::put(&mut batch, key, &entry, kept.pieces);
        Ok(self.meta.submit(batch)?)
    }

    /// Removes a group that was not begun, a bounded number of rows; `None` when nothing is left of it.
    ///
    /// # Durability
    /// When the receipt has resolved.
    ///
    /// # Errors
    /// Those of the store.
    pub fn withdraw_group(&self, root: RootId, group: GroupId) -> Result<Option<Receipt>, Error> {
        let (from, to) = keys::staged_all(root, group);
        let page = self.latest().range(&from, &to, STAGED)?;
        let last = page.len() < STAGED;
        let mut batch = Batch::new();
        for (key, stored) in page {
            wide::delete(&mut batch, key, stored.pieces);
        }
        // The group itself goes last: what a crash leaves of it is found again.
        if last {
            let key = keys::group(root, group);
            let kept = records::get::<GroupEntry>(self.latest(), &key)?;
            if let Some(kept) = kept.filter(|kept| kept.record.stage == Stage::Open) {
                wide::delete(&mut batch, key, kept.pieces);
            }
        }
        if batch.is_empty() { Ok(None) } else { Ok(Some(self.meta.submit(batch)?)) }
    }

    /// Makes the next changes of a group that has begun; with `refused`, leaves them all out for that reason.
    ///
    /// # Durability
    /// When the receipt has resolved: the changes and how far the group is, or neither.
    ///
    /// # Errors
    /// [`Error::is_busy`]: to be tried again when the store has room. Otherwise those of the stores.
    pub fn step_group(
        &self,
        root: RootId,
        group: GroupId,
        refused: Option<Refusal>,
        now: WallTime,
    ) -> Result<Step, Error> {
        let key = keys::group(root, group);
        let Some(kept) = records::get::<GroupEntry>(self.latest(), &key)? else { return Ok(Step::Nothing) };
        if kept.record.stage != Stage::Begun {
            return Ok(Step::Nothing);
        }
        let _asking = self.contents.asking();
        // The pages of large contents are read outside of the root's lock.
        let changes = match self.next_changes(root, group, kept.record.taken(), refused)? {
            Ok(changes) => changes,
            Err(position) => return Ok(Step::Unflushed(position)),
        };
        let memo = self.memo(root);
        let _one_at_a_time = memo.lock();
        let by = By { device: kept.record.device, order: (0, 0), at: now };
        let mut making =
            Making { write: self.write(root, by, Cause::Group(group))?, entry: kept.record, written: false, size: 0 };
        let mut taken = 0;
        for (key, pieces, change, why) in changes.list {
            if making.size > STEP_BYTES {
                break;
            }
            making.one(&change, why)?;
            wide::delete(&mut making.write.batch, key, pieces);
            taken += 1;
        }
        let Making { mut write, mut entry, written, .. } = making;
        entry.seq = write.seq();
        let finished = changes.last && taken == changes.count;
        if finished {
            (entry.stage, entry.finished_at) = (Stage::Finished, now);
            self.forget_group(&mut write.batch, root)?;
        }
        records::put(&mut write.batch, key, &entry, kept.pieces);
        let receipt = write.submit()?;
        Ok(if finished { Step::Finished(receipt, written) } else { Step::More(receipt, written) })
    }

    /// Reads the next changes of a group, each with why it cannot be, if its content says so.
    fn next_changes(
        &self,
        root: RootId,
        group: GroupId,
        taken: u64,
        refused: Option<Refusal>,
    ) -> Result<Result<Next, Position>, Error> {
        // Not from the first one: the store is slow where many rows were removed.
        let (from, (_, to)) = (keys::staged(root, group, taken), keys::staged_all(root, group));
        let page = self.latest().range(&from, &to, STEP)?;
        let mut next = Next { last: page.len() < STEP, count: page.len(), list: Vec::with_capacity(page.len()) };
        for (key, stored) in page {
            let pieces = stored.pieces;
            let change = records::decode::<GroupChange>(&key, stored)?.record;
            let value = Some(&change.target.value).filter(|_| refused.is_none() && !change.target.dead);
            let why = match self.content(root, value, None)? {
                Ok(_) => refused,
                Err(Lacking::Missing(_)) => Some(Refusal::ContentGone),
                Err(Lacking::Malformed) => Some(Refusal::Malformed),
                Err(Lacking::Unflushed(position)) => return Ok(Err(position)),
            };
            next.list.push((key, pieces, change, why));
        }
        Ok(Ok(next))
    }

    /// Removes the oldest result of a root if there are as many as are kept.
    fn forget_group(&self, batch: &mut Batch, root: RootId) -> Result<(), Error> {
        let (from, to) = keys::all(b'g', Some(root));
        let mut finished = Vec::new();
        for (key, stored) in self.latest().range(&from, &to, quics_meta::MAX_PAGE)? {
            let pieces = stored.pieces;
            let entry = records::decode::<GroupEntry>(&key, stored)?.record;
            if entry.stage == Stage::Finished {
                finished.push((entry.finished_at, key, pieces));
            }
        }
        if finished.len() >= GROUPS
            && let Some((_, key, pieces)) = finished.into_iter().min()
        {
            wide::delete(batch, key, pieces);
        }
        Ok(())
    }
}

/// The next changes of a group.
struct Next {
    /// There are no more behind them.
    last: bool,
    count: usize,
    /// Each with its row's key and pieces, and why it is left out, if that is known already.
    list: Vec<(Bytes, u16, GroupChange, Option<Refusal>)>,
}

/// A step while it is made.
struct Making<'a> {
    write: Write<'a>,
    entry: GroupEntry,
    written: bool,
    size: usize,
}

impl Making<'_> {
    fn one(&mut self, change: &GroupChange, why: Option<Refusal>) -> Result<(), Error> {
        let made = match (make(&self.write, (change.base_time, change.base_dead), &change.target)?, why) {
            // What needs nothing is not left out for want of anything.
            (Made::Row(..), Some(why)) => Made::LeftOut(why),
            (made, _) => made,
        };
        self.size += 2 * Told::bytes_of(&change.target);
        match made {
            Made::Same => self.entry.same += 1,
            Made::LeftOut(why) => {
                self.entry.left_out += 1;
                if self.entry.named.len() < NAMED {
                    self.entry.named.push((change.target.id, why));
                }
            }
            Made::Row(row, conflict) => self.row(*row, conflict)?,
        }
        Ok(())
    }

    fn row(&mut self, row: Row, conflict: Option<Option<quics_reconcile::Conflict>>) -> Result<(), Error> {
        let id = row.id;
        self.write.next(row.mtime);
        let (before, _) = self.write.change_row(row)?;
        self.size += before.as_ref().map_or(0, |row| 2 * Told::bytes_of(row));
        if let Some(conflict) = conflict {
            self.write.conflict(id, conflict, None)?;
        }
        self.entry.made += 1;
        self.written = true;
        Ok(())
    }
}

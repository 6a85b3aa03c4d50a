//! One mark: a walk over everything that refers to contents, a page of rows at a time.
//!
//! The order is the data's: leases, staged groups, changes that a brake holds, conflicts, answers, events, entries, then (by [`Marking::told`]) those who
//! keep what was. A reference that moves on while the mark runs is seen at its old place or at its new one.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use quics_chunks::Marks;
use quics_records::{Code, Reads, decode};
use quics_types::{Digest, EntryId, RootId};

use super::named::{Named, Names, Need};
use super::walk::{Walked, walk};
use crate::db::answers::Answered;
use crate::db::brakes::HeldEntry;
use crate::db::groups::GroupChange;
use crate::db::keys;
use crate::db::records::{ConflictEntry, Entry, Event};
use crate::{Contents, Error};

/// Rows of one step.
const STEP: usize = if cfg!(test) { 2 } else { 128 };
/// References that are named of those that stand in the way of a purge.
const NAMED: usize = 1024;

/// Where a mark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Leases,
    Groups,
    Held,
    Conflicts,
    Answers,
    Events,
    Entries,
    Done,
}

/// What refers to a content that is to be purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Entry,
    Conflict,
    Group,
    Event,
    History,
    Share,
    Upload,
}

/// A content that is to be purged and that something still needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Still {
    pub(crate) content: Digest,
    pub(crate) by: By,
    pub(crate) entry: Option<EntryId>,
}

/// What a mark has found, when it has come to its end.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Contents that are referred to, as often as they are.
    pub(crate) references: u64,
    /// Roots of which a page is lost, so that all of them is kept.
    pub(crate) torn: BTreeSet<RootId>,
    /// Pages that were found damaged.
    pub(crate) damaged: Vec<(RootId, Digest)>,
    /// What stands in the way of a purge.
    pub(crate) still: Vec<Still>,
}

/// One root, in which some contents are to be purged.
struct Scope {
    root: RootId,
    purged: HashSet<Digest>,
}

/// A mark while it runs.
pub(crate) struct Marking {
    marks: Marks,
    scope: Option<Scope>,
    stage: Stage,
    from: Option<Bytes>,
    found: Found,
}

impl Marking {
    /// Begins a mark over everything.
    pub(crate) fn of_all(marks: Marks) -> Self {
        Self { marks, scope: None, stage: Stage::Leases, from: None, found: Found::default() }
    }

    /// Begins a mark over one root, all of whose leases are over. What is to be purged is not marked, and where it is needed
    /// is noted.
    pub(crate) fn of_root(marks: Marks, root: RootId, purged: HashSet<Digest>) -> Self {
        Self { scope: Some(Scope { root, purged }), ..Self::of_all(marks) }
    }

    /// Leaves all but the entries out, as no mark may.
    #[cfg(test)]
    pub(super) fn entries_only(&mut self) {
        self.stage = Stage::Entries;
    }

    /// Contents that were looked at so far.
    pub(crate) fn references(&self) -> u64 {
        self.found.references
    }

    /// Marks what the next page of durable rows names; `false` when there are no more. It may read the disk for long.
    ///
    /// # Errors
    /// [`Error::Draining`]: it was stopped. Those of the stores.
    pub(crate) fn step(&mut self, contents: &Contents, stopped: &dyn Fn() -> bool) -> Result<bool, Error> {
        match self.stage {
            Stage::Leases => self.leases(contents)?,
            Stage::Groups => self.rows::<GroupChange>(contents, b'h', Stage::Held, stopped)?,
            Stage::Held => self.rows::<HeldEntry>(contents, b'x', Stage::Conflicts, stopped)?,
            Stage::Conflicts => self.rows::<ConflictEntry>(contents, b'c', Stage::Answers, stopped)?,
            Stage::Answers => self.rows::<Answered>(contents, b'u', Stage::Events, stopped)?,
            Stage::Events => self.events(contents, stopped)?,
            Stage::Entries => self.rows::<Entry>(contents, b'e', Stage::Done, stopped)?,
            Stage::Done => {}
        }
        Ok(self.stage != Stage::Done)
    }

    /// Marks contents that others keep.
    ///
    /// # Errors
    /// As [`Marking::step`].
    pub(crate) fn told(
        &mut self,
        contents: &Contents,
        root: RootId,
        told: (By, &[Digest]),
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let (by, told) = told;
        for content in told {
            let named = Named { content: *content, entry: EntryId::TOP, need: Need::Shown };
            self.one(contents, root, named, by, stopped)?;
        }
        Ok(())
    }

    /// Ends the mark: where a page is lost, all of its root is marked.
    ///
    /// # Errors
    /// Those of the chunk store.
    pub(crate) fn finish(self, contents: &Contents) -> Result<Found, Error> {
        let (chunks, torn) = (contents.chunks(), &self.found.torn);
        if !torn.is_empty() {
            let mut failed = None;
            chunks.records(&mut |record| {
                if !torn.contains(&record.root) {
                    return ControlFlow::Continue(());
                }
                match chunks.mark(&self.marks, record.root, record.digest) {
                    Ok(_) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })?;
            if let Some(error) = failed {
                return Err(error.into());
            }
        }
        Ok(self.found)
    }

    /// Where the rows of a kind begin that come next, and where they end.
    fn range(&self, tag: u8, root: Option<RootId>) -> (Bytes, Bytes) {
        let (first, to) = keys::all(tag, root);
        (self.from.clone().unwrap_or(first), to)
    }

    /// Notes behind which row to go on; behind the last one, at the next stage.
    fn goes_on(&mut self, last: Option<&Bytes>, next: Stage) {
        self.from = last.map(|key| keys::behind(key));
        if last.is_none() {
            self.stage = next;
        }
    }

    fn leases(&mut self, contents: &Contents) -> Result<(), Error> {
        if self.scope.is_some() {
            self.goes_on(None, Stage::Groups);
            return Ok(());
        }
        let (from, to) = self.range(b'm', None);
        let page = Reads::durable(contents.meta()).raw_range(&from, &to, STEP)?;
        for (key, list) in &page {
            let root = keys::parse_root(key).ok_or_else(|| Error::damaged(key))?;
            for digest in contents.leased(key, list)? {
                contents.chunks().mark(&self.marks, root, digest)?;
            }
        }
        self.goes_on(page.last().map(|(key, _)| key), Stage::Groups);
        Ok(())
    }

    fn rows<T: Code + Names>(
        &mut self,
        contents: &Contents,
        tag: u8,
        next: Stage,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let by = match self.stage {
            Stage::Groups => By::Group,
            Stage::Held | Stage::Conflicts => By::Conflict,
            _ => By::Entry,
        };
        let (from, to) = self.range(tag, self.scope.as_ref().map(|scope| scope.root));
        let page = Reads::durable(contents.meta()).range(&from, &to, STEP)?;
        let last = page.last().map(|(key, _)| key.clone());
        for (key, stored) in page {
            let root = keys::parse_root(&key).ok_or_else(|| Error::damaged(&key))?;
            self.record(contents, root, &decode::<T>(&key, stored)?.record, by, stopped)?;
        }
        self.goes_on(last.as_ref(), next);
        Ok(())
    }

    fn events(&mut self, contents: &Contents, stopped: &dyn Fn() -> bool) -> Result<(), Error> {
        let (from, to) = self.range(b'o', None);
        let page = Reads::durable(contents.meta()).range(&from, &to, STEP)?;
        let last = page.last().map(|(key, _)| key.clone());
        for (key, stored) in page {
            let event = decode::<Event>(&key, stored)?.record;
            if self.scope.as_ref().is_none_or(|scope| scope.root == event.root) {
                self.record(contents, event.root, &event, By::Event, stopped)?;
            }
        }
        self.goes_on(last.as_ref(), Stage::Entries);
        Ok(())
    }

    fn record(
        &mut self,
        contents: &Contents,
        root: RootId,
        record: &impl Names,
        by: By,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let mut names = Vec::new();
        record.names(&mut |named| names.push(named));
        names.into_iter().try_for_each(|named| self.one(contents, root, named, by, stopped))
    }

    fn one(
        &mut self,
        contents: &Contents,
        root: RootId,
        named: Named,
        by: By,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        if stopped() {
            return Err(Error::Draining);
        }
        let content = named.content;
        if self.scope.as_ref().is_some_and(|scope| scope.purged.contains(&content)) {
            self.note(named, by);
            return Ok(());
        }
        self.found.references += 1;
        match walk(contents, &self.marks, root, content, stopped)? {
            Walked::Whole => {}
            Walked::Absent if named.need == Need::Claimed => {}
            Walked::Absent | Walked::Torn(None) => drop(self.found.torn.insert(root)),
            Walked::Torn(Some(page)) => {
                self.found.torn.insert(root);
                self.found.damaged.push((root, page));
            }
            Walked::Stopped => return Err(Error::Draining),
        }
        Ok(())
    }

    /// Notes what stands in the way of a purge. What is only kept for an undo, or was before an event, does not.
    fn note(&mut self, named: Named, by: By) {
        let (need, stage) = (named.need, self.stage);
        let needed = match stage {
            Stage::Answers => false,
            Stage::Events => need == Need::Shown || need == Need::Kept,
            _ => true,
        };
        if needed && self.found.still.len() < NAMED {
            let entry = Some(named.entry).filter(|entry| *entry != EntryId::TOP);
            self.found.still.push(Still { content: named.content, by, entry });
        }
    }
}

//! The contents that rows name.

use quics_reconcile::{CandidateState, Conflict, Row, Value};
use quics_types::{Digest, EntryId};

use crate::db::answers::{Answered, Resolution};
use crate::db::brakes::HeldEntry;
use crate::db::groups::GroupChange;
use crate::db::records::{ConflictEntry, Entry, Event};

/// A content that a row names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) content: Digest,
    pub(crate) entry: EntryId,
    pub(crate) need: Need,
}

/// How much a row needs a content that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It was there when the row was written: people see it, or get it.
    Shown,
    /// It is needed if it comes to be undone or told. It was there when the row was written.
    Kept,
    /// Somebody has claimed it, and it may never have been there.
    Claimed,
}

/// What a kind of rows names.
pub(super) trait Names {
    fn names(&self, tell: &mut dyn FnMut(Named));
}

/// The contents that an answer to a conflict names.
pub(crate) fn names(answered: &Answered) -> Vec<Digest> {
    let mut contents = Vec::new();
    answered.names(&mut |named| contents.push(named.content));
    contents
}

fn value(value: &Value, entry: EntryId, need: Need, tell: &mut dyn FnMut(Named)) {
    if let Some((content, _)) = value.content() {
        tell(Named { content, entry, need });
    }
}

fn row(row: &Row, need: Need, tell: &mut dyn FnMut(Named)) {
    // A tombstone has the content that the entry had; that is history's.
    if !row.dead {
        value(&row.value, row.id, need, tell);
    }
}

fn conflict(conflict: &Conflict, entry: EntryId, tell: &mut dyn FnMut(Named)) {
    for candidate in conflict.candidates.values() {
        if let CandidateState::Value(state) = &candidate.state {
            value(state, entry, Need::Shown, tell);
        }
        if let Some(base) = &candidate.base {
            value(base, entry, Need::Claimed, tell);
        }
    }
}

fn resolution(resolution: &Resolution, entry: EntryId, tell: &mut dyn FnMut(Named)) {
    for settled in resolution.settled.values() {
        if let CandidateState::Value(state) = &settled.candidate.state {
            value(state, entry, Need::Kept, tell);
        }
        if let Some(base) = &settled.candidate.base {
            value(base, entry, Need::Claimed, tell);
        }
    }
}

impl Names for Entry {
    fn names(&self, tell: &mut dyn FnMut(Named)) {
        row(&self.row, Need::Shown, tell);
    }
}

impl Names for GroupChange {
    fn names(&self, tell: &mut dyn FnMut(Named)) {
        // One whose content is gone is left out when its turn comes.
        row(&self.target, Need::Claimed, tell);
    }
}

impl Names for HeldEntry {
    fn names(&self, tell: &mut dyn FnMut(Named)) {
        let entry = self.proposal.held_id();
        if let Some(proposed) = self.proposal.value() {
            value(proposed, entry, Need::Shown, tell);
        }
        if let Some(base) = self.proposal.base() {
            value(base, entry, Need::Claimed, tell);
        }
    }
}

impl Names for ConflictEntry {
    fn names(&self, tell: &mut dyn FnMut(Named)) {
        // Entries of conflicts are named by their keys; where it says which is of no account here.
        conflict(&self.conflict, EntryId::TOP, tell);
    }
}

impl Names for Answered {
    fn names(&self, tell: &mut dyn FnMut(Named)) {
        for (before, after) in &self.rows {
            if let Some(before) = before {
                row(before, Need::Kept, tell);
            }
            row(&after.row, Need::Kept, tell);
        }
        resolution(&self.resolution, EntryId::TOP, tell);
    }
}

impl Names for Event {
    fn names(&self, tell: &mut dyn FnMut(Named)) {
        if let Some(new) = &self.new {
            row(new, Need::Shown, tell);
        }
        if let Some(old) = &self.old {
            row(old, Need::Claimed, tell);
        }
        if let Some((id, Some(open))) = &self.conflict {
            conflict(open, *id, tell);
        }
        if let Some(answer) = &self.resolution {
            resolution(answer, EntryId::TOP, tell);
        }
    }
}

//! The accept rule: one proposal against what is now, one verdict.
//!
//! | proposal | state | verdict |
//! |---|---|---|
//! | create | directory gone | refused |
//! | | name taken by the same thing | current |
//! | | name taken otherwise | conflict, role `New` |
//! | | own id tombstoned, or a tombstone of that name without a conflict | accepted, that id goes on |
//! | | free | accepted, time 1 |
//! | content | equals the live value | done, nothing is written |
//! | | dead or changed since the base | conflict, role `Own`; back at the base: withdrawn |
//! | | otherwise | accepted; candidates that are the same, whose ever, are taken back |
//! | | a directory with children would become a file | refused |
//! | place | changed since the base, not a live directory, below itself, name taken | refused, other aspects count |
//! | attributes | changed since the base | refused; a modification time alone never is |
//! | | with an accepted change of kind | accepted, as new ones even if they are the same |
//! | delete | dead | current |
//! | | content changed since the base, or others' candidates are open | conflict, `Delete` |
//! | | directory with children | refused |
//!
//! A conflict that has as many candidates as it can have refuses further ones. What the server keeps in it on nobody's
//! behalf counts as another's candidate.

use quics_types::{DeviceId, EntryId, LogicalTime, Mtime, Place, limits};

use crate::depth::{Depth, depth_below};
use crate::{
    Accepted, Candidate, CandidateRole, CandidateState, Change, Conflict, ContentChange, Proposal, Refusal, Row, Value,
    Verdict,
};

/// What is now, as the judge needs to see it. Reads include every change that was judged before, durable or not.
pub trait View {
    /// Why a read can fail.
    type Error;
    /// The row of an entry, live or tombstone. Never asked for [`EntryId::TOP`].
    ///
    /// # Errors
    /// When the state cannot be read.
    fn row(&self, id: EntryId) -> Result<Option<Row>, Self::Error>;
    /// The live entry at a place.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn live_at(&self, place: &Place) -> Result<Option<EntryId>, Self::Error>;
    /// The tombstone of the entry that was at a place last.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn tombstone_at(&self, place: &Place) -> Result<Option<EntryId>, Self::Error>;
    /// Whether a live entry lies in this directory.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn has_children(&self, id: EntryId) -> Result<bool, Self::Error>;
    /// The open conflict on an entry.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn conflict(&self, id: EntryId) -> Result<Option<Conflict>, Self::Error>;
}

/// A verdict and what has to be committed together with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The answer.
    pub verdict: Verdict,
    /// The entry's new row, its time already raised.
    pub row: Option<Row>,
    /// The conflict of an entry as it is after this, `None` inside when it is closed.
    pub conflict: Option<(EntryId, Option<Conflict>)>,
}

impl Judgement {
    fn only(verdict: Verdict) -> Self {
        Self { verdict, row: None, conflict: None }
    }

    fn refused(why: Refusal) -> Self {
        Self::only(Verdict::Refused(why))
    }

    /// Whether there is nothing to commit but the verdict itself.
    pub fn changes_nothing(&self) -> bool {
        self.row.is_none() && self.conflict.is_none()
    }
}

/// Judges one proposal of `device`; `order` is the incarnation and seq that it came with.
///
/// # Errors
/// Only those of the view.
pub fn judge<V: View>(
    view: &V,
    device: DeviceId,
    order: (u64, u64),
    proposal: &Proposal,
) -> Result<Judgement, V::Error> {
    let judge = Judge { view, device, order };
    match proposal {
        Proposal::Create { id, place, value, mode, mtime } => judge.create(*id, place, value, *mode, *mtime),
        Proposal::Change(change) => judge.change(change),
        Proposal::Delete { id, base_time, base } => judge.delete(*id, *base_time, base),
        Proposal::Withdraw { id } => {
            let conflict = judge.without(*id, CandidateRole::New)?;
            Ok(Judgement { verdict: Verdict::Withdrawn, row: None, conflict })
        }
    }
}

struct Judge<'a, V> {
    view: &'a V,
    device: DeviceId,
    order: (u64, u64),
}

type ConflictChange = Option<(EntryId, Option<Conflict>)>;

impl<V: View> Judge<'_, V> {
    fn create(
        &self,
        id: EntryId,
        place: &Place,
        value: &Value,
        mode: u32,
        mtime: Mtime,
    ) -> Result<Judgement, V::Error> {
        if id == EntryId::TOP {
            return Ok(Judgement::refused(Refusal::Malformed));
        }
        match depth_below(self.view, place.parent, None)? {
            Depth::Gone => return Ok(Judgement::refused(Refusal::ParentGone)),
            Depth::TooDeep => return Ok(Judgement::refused(Refusal::TooDeep)),
            Depth::Cycle | Depth::Fine => {}
        }
        if let Some(there) = self.live_row_at(place)? {
            if there.value == *value {
                let conflict = self.without(there.id, CandidateRole::New)?;
                return Ok(Judgement { verdict: Verdict::Current(there), row: None, conflict });
            }
            let state = CandidateState::Value(value.clone());
            return self.candidate(there.id, CandidateRole::New, state, mtime, mode, None);
        }
        let mut row = match self.revivable(id, place)? {
            Some(tombstone) => tombstone,
            None if self.view.row(id)?.is_some() => return Ok(Judgement::refused(Refusal::Malformed)),
            None => Row {
                id,
                place: place.clone(),
                value: value.clone(),
                mode,
                mtime,
                attributes: Default::default(),
                dead: false,
                time: LogicalTime::NEVER,
                content_time: LogicalTime::NEVER,
                place_time: LogicalTime::NEVER,
                attributes_time: LogicalTime::NEVER,
            },
        };
        (row.place, row.value, row.mode, row.mtime, row.dead) = (place.clone(), value.clone(), mode, mtime, false);
        row.stamp(true, true, true);
        let conflict = self.renewed(&row, None)?;
        let accepted = Accepted { row: row.clone(), content: true, place: true, attributes: true, refused: None };
        Ok(Judgement { verdict: Verdict::Accepted(accepted), row: Some(row), conflict })
    }

    /// The tombstone whose id a create goes on with: its own id's, or the last of that name without an open conflict.
    fn revivable(&self, id: EntryId, place: &Place) -> Result<Option<Row>, V::Error> {
        if let Some(own) = self.view.row(id)?.filter(|row| row.dead) {
            return Ok(Some(own));
        }
        let Some(last) = self.view.tombstone_at(place)? else { return Ok(None) };
        if self.view.conflict(last)?.is_some() {
            return Ok(None);
        }
        Ok(self.view.row(last)?.filter(|row| row.dead))
    }

    fn delete(&self, id: EntryId, base_time: LogicalTime, base: &Value) -> Result<Judgement, V::Error> {
        let Some(row) = self.known(id)? else { return Ok(Judgement::refused(Refusal::Unknown)) };
        if row.dead {
            let conflict = self.without(id, CandidateRole::Own)?;
            return Ok(Judgement { verdict: Verdict::Current(row), row: None, conflict });
        }
        let others = |conflict: &Conflict| conflict.candidates.keys().any(|key| *key != self.key(CandidateRole::Own));
        let disputed = row.content_time > base_time;
        if !disputed && row.value.is_directory() && self.view.has_children(id)? {
            return Ok(Judgement::refused(Refusal::NotEmpty));
        }
        if disputed || self.view.conflict(id)?.as_ref().is_some_and(others) {
            let base = Some(base.clone());
            return self.candidate(id, CandidateRole::Own, CandidateState::Delete, row.mtime, row.mode, base);
        }
        let row = row.deleted();
        let conflict = self.without(id, CandidateRole::Own)?;
        let accepted = Accepted { row: row.clone(), content: true, place: true, attributes: true, refused: None };
        Ok(Judgement { verdict: Verdict::Accepted(accepted), row: Some(row), conflict })
    }

    fn change(&self, change: &Change) -> Result<Judgement, V::Error> {
        let Some(mut row) = self.known(change.id)? else { return Ok(Judgement::refused(Refusal::Unknown)) };
        let mut told = Told::default();
        if let Some(content) = &change.content {
            self.change_content(&mut row, content, change, &mut told)?;
        }
        if row.dead {
            let verdict = told.verdict.unwrap_or(Verdict::Current(row));
            return Ok(Judgement { verdict, row: None, conflict: told.conflict });
        }
        if let Some(place) = &change.place {
            if place.place == row.place {
                told.place = true;
            } else if let Some(why) = self.why_not_there(&row, place.base_time, &place.place)? {
                told.refused = Some(why);
            } else {
                row.place = place.place.clone();
                (told.place, told.place_changed) = (true, true);
            }
        }
        let of_another_kind = |content: &ContentChange| told.verdict.is_some() && !content.value.is_like(&row.value);
        if change.content.as_ref().is_some_and(of_another_kind) {
            // They go with the candidate.
        } else if let Some(attributes) = &change.attributes {
            let same = attributes.mode == row.mode;
            if row.attributes_time > attributes.base_time && !same && !told.kind_changed {
                told.refused = told.refused.or(Some(Refusal::Attributes));
            } else {
                told.attributes = true;
                let differ = row.attributes_time <= attributes.base_time && (!same || attributes.mtime != row.mtime);
                // Those of another kind are others, though the bits be the same.
                if differ || told.kind_changed {
                    (row.mode, row.mtime) = (attributes.mode, attributes.mtime);
                    told.attributes_changed = true;
                }
            }
        }
        let written = told.content_changed || told.place_changed || told.attributes_changed;
        if written {
            row.stamp(told.content_changed, told.place_changed, told.attributes_changed);
            if told.verdict.is_none() {
                let done = told.content || told.withdrawn;
                told.conflict = self.renewed(&row, done.then_some(CandidateRole::Own))?;
            }
        }
        let verdict = match told.verdict {
            Some(conflict) => conflict,
            None if told.content || told.place || told.attributes || told.withdrawn => Verdict::Accepted(Accepted {
                row: row.clone(),
                content: told.content,
                place: told.place,
                attributes: told.attributes,
                refused: told.refused,
            }),
            None => Verdict::Refused(told.refused.unwrap_or(Refusal::Stale)),
        };
        Ok(Judgement { verdict, row: written.then_some(row), conflict: told.conflict })
    }

    fn change_content(
        &self,
        row: &mut Row,
        content: &ContentChange,
        change: &Change,
        told: &mut Told,
    ) -> Result<(), V::Error> {
        if !row.dead && content.value == row.value {
            told.conflict = self.without(row.id, CandidateRole::Own)?;
            told.content = true;
        } else if row.dead || row.content_time > content.base_time {
            if content.base.as_ref() == Some(&content.value) {
                told.conflict = self.without(row.id, CandidateRole::Own)?;
                told.withdrawn = true;
            } else {
                let state = CandidateState::Value(content.value.clone());
                let mode = change.attributes.as_ref().map_or(row.mode, |attributes| attributes.mode);
                let base = content.base.clone();
                let judged = self.candidate(row.id, CandidateRole::Own, state, content.mtime, mode, base)?;
                (told.verdict, told.conflict) = (Some(judged.verdict), judged.conflict);
            }
        } else if row.value.is_directory() && self.view.has_children(row.id)? {
            told.refused = Some(Refusal::NotEmpty);
        } else {
            told.kind_changed = !content.value.is_like(&row.value);
            (row.value, row.mtime) = (content.value.clone(), content.mtime);
            (told.content, told.content_changed) = (true, true);
        }
        Ok(())
    }

    fn why_not_there(&self, row: &Row, base: LogicalTime, place: &Place) -> Result<Option<Refusal>, V::Error> {
        if row.place_time > base {
            return Ok(Some(Refusal::Moved));
        }
        match depth_below(self.view, place.parent, Some(row.id))? {
            Depth::Gone => return Ok(Some(Refusal::ParentGone)),
            Depth::Cycle => return Ok(Some(Refusal::Cycle)),
            Depth::TooDeep => return Ok(Some(Refusal::TooDeep)),
            Depth::Fine => {}
        }
        Ok(self.view.live_at(place)?.map(|_| Refusal::NameTaken))
    }

    fn key(&self, role: CandidateRole) -> (DeviceId, CandidateRole) {
        (self.device, role)
    }

    fn known(&self, id: EntryId) -> Result<Option<Row>, V::Error> {
        if id == EntryId::TOP { Ok(None) } else { self.view.row(id) }
    }

    fn live_row_at(&self, place: &Place) -> Result<Option<Row>, V::Error> {
        match self.view.live_at(place)? {
            Some(id) => self.view.row(id),
            None => Ok(None),
        }
    }

    /// Keeps a state as this device's candidate, unless a newer one is there already, or too many others.
    fn candidate(
        &self,
        id: EntryId,
        role: CandidateRole,
        state: CandidateState,
        mtime: Mtime,
        mode: u32,
        base: Option<Value>,
    ) -> Result<Judgement, V::Error> {
        let mut conflict = self.view.conflict(id)?.unwrap_or_default();
        let newer = conflict.candidates.get(&self.key(role)).is_some_and(|there| there.order > self.order);
        if newer {
            return Ok(Judgement::only(Verdict::Conflict { id, revision: conflict.revision }));
        }
        // What was kept for this device and is its own again needs no keeping.
        conflict.candidates.retain(|(device, role), kept| {
            *device != self.device || !matches!(role, CandidateRole::Kept(_)) || kept.state != state
        });
        if conflict.candidates.len() >= limits::CANDIDATES && !conflict.candidates.contains_key(&self.key(role)) {
            return Ok(Judgement::refused(Refusal::Crowded));
        }
        let candidate = Candidate { order: self.order, state, mtime, mode, base };
        conflict.candidates.insert(self.key(role), candidate);
        conflict.revision += 1;
        let verdict = Verdict::Conflict { id, revision: conflict.revision };
        Ok(Judgement { verdict, row: None, conflict: Some((id, Some(conflict))) })
    }

    /// The open conflict of an entry that gets a new version: whoever answers has to have seen it. This device's
    /// candidate in the role that is done with is taken back, and everybody's that is what the entry is now.
    fn renewed(&self, row: &Row, done: Option<CandidateRole>) -> Result<ConflictChange, V::Error> {
        let conflict = self.view.conflict(row.id)?;
        Ok(conflict.map(|conflict| (row.id, conflict.renewed(row, done.map(|role| self.key(role))))))
    }

    /// Takes this device's candidate back, if there is one.
    fn without(&self, id: EntryId, role: CandidateRole) -> Result<ConflictChange, V::Error> {
        let Some(mut conflict) = self.view.conflict(id)? else { return Ok(None) };
        if conflict.candidates.remove(&self.key(role)).is_none() {
            return Ok(None);
        }
        conflict.revision += 1;
        Ok(Some((id, Some(conflict).filter(|left| !left.candidates.is_empty()))))
    }
}

/// What was found out about a change so far.
#[derive(Default)]
struct Told {
    verdict: Option<Verdict>,
    conflict: ConflictChange,
    refused: Option<Refusal>,
    content: bool,
    content_changed: bool,
    kind_changed: bool,
    place: bool,
    place_changed: bool,
    attributes: bool,
    attributes_changed: bool,
    withdrawn: bool,
}

#[cfg(test)]
mod tests;

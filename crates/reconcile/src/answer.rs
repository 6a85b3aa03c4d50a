//! The answer rule: what a person chose for a conflict, against what is now.
//!
//! | choice | state | what is committed |
//! |---|---|---|
//! | any | the conflict has changed since it was seen, or is closed | refused |
//! | server | | nothing but the closed conflict |
//! | a candidate, or a merged content | it is what the entry is already | nothing |
//! | | live | it becomes a version of the entry |
//! | | dead, its name is free | the entry comes back with it, in the nearest live directory |
//! | | a directory with children, or dead and its name is taken | it becomes an entry of its own |
//! | a candidate that deletes | a directory with children | refused |
//! | | otherwise | the entry is deleted |
//! | both | live | every candidate that is no directory becomes an entry of its own |
//! | | dead | the first of them brings the entry back, the others become entries of their own |
//!
//! A directory that is needed and was deleted comes back where its name is free, or under a name beside it; where its id
//! or its name is a file's now, the directory above takes its part. A directory that a device has in the place of the
//! entry is never chosen by `both`: it goes aside on that device and is new.
//!
//! The same function shows an answer before it is given: what it returns names every row that would be committed.

use std::collections::BTreeMap;

use quics_types::{DeviceId, EntryId, LogicalTime, Mtime, Name, Place, limits};

use crate::names::beside;
use crate::{CandidateRole, CandidateState, Conflict, Row, Value, View};

/// Which candidate of a conflict: whose, and in which role.
pub type CandidateKey = (DeviceId, CandidateRole);

/// What a person chooses for a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The server's state stays.
    Server,
    /// This candidate is what the entry becomes.
    Candidate(CandidateKey),
    /// The server's state stays, and every candidate that is no directory gets an entry of its own: under the name that
    /// is wished for here, or under a free one beside the entry's.
    Both {
        /// Wished names.
        names: BTreeMap<CandidateKey, Name>,
    },
    /// The entry becomes what a person made of the sides.
    Merged {
        /// The new content; it has to be on the server.
        value: Value,
        /// Its modification time.
        mtime: Mtime,
    },
}

/// What an answer commits, all at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The rows in the order in which they are committed, each entry once; their times are raised already.
    pub rows: Vec<Row>,
    /// The conflict as it was closed: every candidate in it is settled.
    pub settled: Conflict,
    /// The entry of the conflict as it is after the answer.
    pub row: Row,
    /// The candidates that became entries of their own.
    pub apart: BTreeMap<CandidateKey, EntryId>,
}

/// Why a conflict is not answered. Nothing changes then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// There is no open conflict on the entry.
    #[error("the conflict is closed")]
    Closed,
    /// It is not the conflict that the person saw.
    #[error("the conflict has changed since you saw it")]
    Stale {
        /// Its revision now.
        revision: u64,
    },
    /// The conflict has no such candidate, or it is none that can get an entry of its own.
    #[error("there is no such candidate")]
    NoCandidate(CandidateKey),
    /// A wished name exists already.
    #[error("the name {0} is taken")]
    NameTaken(Name),
    /// A directory that is not empty cannot be deleted.
    #[error("the directory is not empty")]
    NotEmpty,
}

/// Answers the open conflict of an entry. `revision` is that of the conflict as the person saw it; `tag` says what names
/// beside the entry's carry for a device (`from Ada`), and for `None` what those of merged contents and of directories that
/// come back carry; `fresh` draws ids that no entry has.
///
/// # Errors
/// Outside those of the view, inside why there is no answer.
pub fn answer<V: View>(
    view: &V,
    id: EntryId,
    revision: u64,
    choice: &Choice,
    tag: impl Fn(Option<DeviceId>) -> String,
    fresh: impl FnMut() -> EntryId,
) -> Result<Result<Answer, Unanswered>, V::Error> {
    let Some(conflict) = view.conflict(id)? else { return Ok(Err(Unanswered::Closed)) };
    let Some(row) = view.row(id)? else { return Ok(Err(Unanswered::Closed)) };
    if conflict.revision != revision {
        return Ok(Err(Unanswered::Stale { revision: conflict.revision }));
    }
    let mut desk = Desk { view, tag, fresh, rows: Vec::new(), apart: BTreeMap::new() };
    let answered = match choice {
        Choice::Server => Ok(()),
        Choice::Candidate(key) => match conflict.candidates.get(key) {
            None => Err(Unanswered::NoCandidate(*key)),
            Some(candidate) => match &candidate.state {
                CandidateState::Delete => desk.delete(&row)?,
                CandidateState::Value(value) => {
                    let side = Side { key: Some(*key), value, mtime: candidate.mtime, mode: candidate.mode };
                    desk.take(&row, &side)?;
                    Ok(())
                }
            },
        },
        Choice::Both { names } => desk.both(&row, &conflict, names)?,
        Choice::Merged { value, mtime } => {
            desk.take(&row, &Side { key: None, value, mtime: *mtime, mode: row.mode })?;
            Ok(())
        }
    };
    Ok(answered.map(|()| {
        let row = desk.rows.iter().find(|written| written.id == id).cloned().unwrap_or(row);
        Answer { rows: desk.rows, settled: conflict, row, apart: desk.apart }
    }))
}

/// What was chosen.
struct Side<'a> {
    key: Option<CandidateKey>,
    value: &'a Value,
    mtime: Mtime,
    mode: u32,
}

/// An answer while it is put together: what is now, and what was decided on top of it.
struct Desk<'a, V, T, F> {
    view: &'a V,
    tag: T,
    fresh: F,
    rows: Vec<Row>,
    apart: BTreeMap<CandidateKey, EntryId>,
}

impl<V: View, T: Fn(Option<DeviceId>) -> String, F: FnMut() -> EntryId> Desk<'_, V, T, F> {
    fn delete(&mut self, row: &Row) -> Result<Result<(), Unanswered>, V::Error> {
        if row.dead {
            return Ok(Ok(()));
        }
        if self.view.has_children(row.id)? {
            return Ok(Err(Unanswered::NotEmpty));
        }
        self.rows.push(row.clone().deleted());
        Ok(Ok(()))
    }

    /// The entry becomes what was chosen, or that becomes an entry of its own.
    fn take(&mut self, row: &Row, side: &Side<'_>) -> Result<(), V::Error> {
        if !row.dead && row.value == *side.value {
            return Ok(());
        }
        let full = !row.dead && row.value.is_directory() && self.view.has_children(row.id)?;
        if full || (row.dead && self.live_at(&row.place)?.is_some()) {
            let place = self.place_beside(row, side.key)?;
            return self.set_apart(place, side);
        }
        // Links have none of their own.
        let attributes = !row.value.is_like(side.value) && !matches!(side.value, Value::Link { .. });
        let mut new = Row { value: side.value.clone(), mtime: side.mtime, dead: false, ..row.clone() };
        if attributes {
            new.mode = side.mode;
        }
        if row.dead {
            new.place.parent = self.revive(row.place.parent)?;
            new.place = self.free(&new.place, side.key.map(|(device, _)| device))?;
        }
        new.stamp(true, row.dead, row.dead || attributes);
        self.rows.push(new);
        Ok(())
    }

    fn both(
        &mut self,
        row: &Row,
        conflict: &Conflict,
        names: &BTreeMap<CandidateKey, Name>,
    ) -> Result<Result<(), Unanswered>, V::Error> {
        let mut sides = Vec::new();
        for (key, candidate) in &conflict.candidates {
            if let CandidateState::Value(value) = &candidate.state
                && !value.is_directory()
            {
                sides.push((*key, Side { key: Some(*key), value, mtime: candidate.mtime, mode: candidate.mode }));
            }
        }
        if let Some((key, _)) = names.iter().find(|(key, _)| sides.iter().all(|(side, _)| side != *key)) {
            return Ok(Err(Unanswered::NoCandidate(*key)));
        }
        // Wishes first: what finds a name for itself keeps off them.
        for (key, side) in &sides {
            let Some(name) = names.get(key) else { continue };
            let place = Place { parent: self.revive(row.place.parent)?, name: name.clone() };
            if self.live_at(&place)?.is_some() {
                return Ok(Err(Unanswered::NameTaken(name.clone())));
            }
            self.set_apart(place, side)?;
        }
        let mut kept: Vec<&Value> = if row.dead { Vec::new() } else { vec![&row.value] };
        for (key, side) in sides.iter().filter(|(key, _)| !names.contains_key(key)) {
            if kept.contains(&side.value) {
                continue; // two devices with the same: one is enough
            }
            if row.dead && kept.is_empty() {
                self.take(row, side)?;
            } else {
                let place = self.place_beside(row, Some(*key))?;
                self.set_apart(place, side)?;
            }
            kept.push(side.value);
        }
        Ok(Ok(()))
    }

    /// A free place for something in the entry's directory.
    fn place_beside(&mut self, row: &Row, key: Option<CandidateKey>) -> Result<Place, V::Error> {
        let parent = self.revive(row.place.parent)?;
        self.free(&Place { parent, name: row.place.name.clone() }, key.map(|(device, _)| device))
    }

    fn set_apart(&mut self, place: Place, side: &Side<'_>) -> Result<(), V::Error> {
        let never = LogicalTime::NEVER;
        let mut row = Row {
            id: (self.fresh)(),
            place,
            value: side.value.clone(),
            mode: side.mode,
            mtime: side.mtime,
            attributes: BTreeMap::new(),
            dead: false,
            time: never,
            content_time: never,
            place_time: never,
            attributes_time: never,
        };
        row.stamp(true, true, true);
        if let Some(key) = side.key {
            self.apart.insert(key, row.id);
        }
        self.rows.push(row);
        Ok(())
    }

    /// The live directory that stands for one that may be gone: itself, or it and those above it brought back.
    fn revive(&mut self, directory: EntryId) -> Result<EntryId, V::Error> {
        let (mut gone, mut at) = (Vec::new(), directory);
        while at != EntryId::TOP {
            match self.row(at)? {
                Some(row) if row.is_live_directory() => break,
                Some(row) if gone.len() < limits::DEPTH => {
                    at = row.place.parent;
                    gone.push(row);
                }
                _ => at = EntryId::TOP,
            }
        }
        for mut row in gone.into_iter().rev() {
            let place = Place { parent: at, name: row.place.name.clone() };
            let there = match self.live_at(&place)? {
                Some(there) => self.row(there)?,
                None => None,
            };
            if let Some(there) = there.filter(Row::is_live_directory) {
                at = there.id;
            } else if row.dead && row.value.is_directory() {
                row.dead = false;
                row.place = self.free(&place, None)?;
                row.stamp(true, true, true);
                at = row.id;
                self.rows.push(row);
            }
        }
        Ok(at)
    }

    /// This place if it is free, or one beside it.
    fn free(&self, place: &Place, device: Option<DeviceId>) -> Result<Place, V::Error> {
        let mut free = place.clone();
        let mut number = 0;
        while self.live_at(&free)?.is_some() {
            number += 1;
            free.name = beside(&place.name, &(self.tag)(device), number);
        }
        Ok(free)
    }

    fn row(&self, id: EntryId) -> Result<Option<Row>, V::Error> {
        match self.rows.iter().find(|row| row.id == id) {
            Some(row) => Ok(Some(row.clone())),
            None => self.view.row(id),
        }
    }

    /// The live entry at a place. No answer frees a place and takes another: a row that is written here is where it is.
    fn live_at(&self, place: &Place) -> Result<Option<EntryId>, V::Error> {
        match self.rows.iter().find(|row| !row.dead && row.place == *place) {
            Some(row) => Ok(Some(row.id)),
            None => self.view.live_at(place),
        }
    }
}

#[cfg(test)]
mod tests;

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
        let mut row = Row { dead: true, ..row.clone() };
        row.stamp(true, true, true);
        self.rows.push(row);
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
        let is_link = |value: &Value| matches!(value, Value::Link { .. });
        let attributes = is_link(&row.value) && !is_link(side.value); // links have none of their own
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
mod tests {
    use super::*;
    use crate::testing::{Plain, device, directory, entry, file, link, name, place};

    const ADA: CandidateKey = (DeviceId::from_bytes([1; 16]), CandidateRole::Own);
    const BEN: CandidateKey = (DeviceId::from_bytes([2; 16]), CandidateRole::Own);
    const BEN_NEW: CandidateKey = (DeviceId::from_bytes([2; 16]), CandidateRole::New);

    /// An entry 1 at `top/a.txt`, with candidates against it.
    fn disputed(value: Value, candidates: &[(CandidateKey, CandidateState)]) -> Plain {
        let mut plain = Plain::default();
        plain.live(entry(1), place(EntryId::TOP, "a.txt"), value);
        plain.dispute(entry(1), candidates);
        plain
    }

    fn edit(content: u8) -> CandidateState {
        CandidateState::Value(file(content))
    }

    fn ask(plain: &Plain, choice: &Choice) -> Result<Answer, Unanswered> {
        let mut drawn = 100;
        let fresh = || {
            drawn += 1;
            entry(drawn)
        };
        let tag = |from: Option<DeviceId>| match from {
            Some(device) => format!("from D{}", device.as_bytes()[0]),
            None => "back".to_owned(),
        };
        let Ok(answer) = answer(plain, entry(1), 7, choice, tag, fresh);
        if let Ok(answer) = &answer {
            let mut after = plain.clone();
            after.commit(answer); // checks what holds for every answer
        }
        answer
    }

    fn rows(plain: &Plain, choice: &Choice) -> Vec<(EntryId, Place, Value, bool)> {
        let answer = ask(plain, choice).unwrap();
        answer.rows.into_iter().map(|row| (row.id, row.place, row.value, row.dead)).collect()
    }

    fn both() -> Choice {
        Choice::Both { names: BTreeMap::new() }
    }

    #[test]
    fn an_answer_to_a_conflict_that_changed_or_is_closed_changes_nothing() {
        let mut plain = disputed(file(0), &[(ADA, edit(1))]);
        plain.conflicts.get_mut(&entry(1)).unwrap().revision = 8;
        assert_eq!(ask(&plain, &Choice::Candidate(ADA)), Err(Unanswered::Stale { revision: 8 }));
        plain.conflicts.clear();
        assert_eq!(ask(&plain, &Choice::Server), Err(Unanswered::Closed));
    }

    #[test]
    fn the_servers_state_stays_and_every_candidate_is_settled() {
        let plain = disputed(file(0), &[(ADA, edit(1)), (BEN, CandidateState::Delete)]);
        let answer = ask(&plain, &Choice::Server).unwrap();
        assert_eq!(answer.rows, []);
        assert_eq!(answer.row, plain.rows[&entry(1)]);
        assert_eq!(answer.settled, plain.conflicts[&entry(1)]);
    }

    #[test]
    fn a_chosen_candidate_becomes_a_version_and_nothing_else_of_the_entry_changes() {
        let plain = disputed(file(0), &[(ADA, edit(1)), (BEN, edit(2))]);
        let before = &plain.rows[&entry(1)];
        let answer = ask(&plain, &Choice::Candidate(BEN)).unwrap();
        let [row] = &answer.rows[..] else { panic!("{answer:?}") };
        assert_eq!((&row.value, row.time, row.content_time), (&file(2), before.time.next(), before.time.next()));
        assert_eq!((row.place_time, row.attributes_time), (before.place_time, before.attributes_time));
        assert_eq!((row.mode, &row.place), (before.mode, &before.place));
        assert_eq!(answer.row, *row);
    }

    #[test]
    fn a_candidate_that_is_gone_is_not_chosen() {
        let plain = disputed(file(0), &[(ADA, edit(1))]);
        assert_eq!(ask(&plain, &Choice::Candidate(BEN)), Err(Unanswered::NoCandidate(BEN)));
        assert_eq!(ask(&plain, &Choice::Candidate((ADA.0, CandidateRole::New))).map(drop), {
            Err(Unanswered::NoCandidate((ADA.0, CandidateRole::New)))
        });
    }

    #[test]
    fn choosing_what_the_entry_is_already_commits_nothing() {
        let plain = disputed(file(1), &[(ADA, edit(1))]);
        assert_eq!(ask(&plain, &Choice::Candidate(ADA)).unwrap().rows, []);
    }

    #[test]
    fn a_file_in_the_place_of_a_link_brings_its_permissions() {
        let mut plain = disputed(link("t"), &[(ADA, edit(1))]);
        plain.conflicts.get_mut(&entry(1)).unwrap().candidates.get_mut(&ADA).unwrap().mode = 0o600;
        let row = ask(&plain, &Choice::Candidate(ADA)).unwrap().row;
        assert_eq!((row.mode, row.attributes_time), (0o600, row.time));
        let plain = disputed(file(0), &[(ADA, CandidateState::Value(link("t")))]);
        let row = ask(&plain, &Choice::Candidate(ADA)).unwrap().row;
        assert_ne!(row.attributes_time, row.time);
    }

    #[test]
    fn a_merged_content_becomes_a_version() {
        let plain = disputed(file(0), &[(ADA, edit(1))]);
        let mtime = Mtime { seconds: 5, nanos: 6 };
        let row = ask(&plain, &Choice::Merged { value: file(9), mtime }).unwrap().row;
        assert_eq!((row.value, row.mtime, row.mode), (file(9), mtime, 0o644));
    }

    #[test]
    fn a_chosen_delete_deletes_and_is_refused_for_a_directory_with_children() {
        let mut plain = disputed(file(0), &[(ADA, CandidateState::Delete)]);
        let answer = ask(&plain, &Choice::Candidate(ADA)).unwrap();
        assert!(answer.row.dead && answer.row.place_time == answer.row.time);
        plain.rows.get_mut(&entry(1)).unwrap().value = Value::Directory;
        plain.live(entry(2), place(entry(1), "b"), file(2));
        assert_eq!(ask(&plain, &Choice::Candidate(ADA)), Err(Unanswered::NotEmpty));
    }

    #[test]
    fn a_dead_entry_comes_back_with_the_chosen_candidate() {
        let mut plain = disputed(file(0), &[(ADA, edit(1)), (BEN, CandidateState::Delete)]);
        plain.kill(entry(1));
        let row = ask(&plain, &Choice::Candidate(ADA)).unwrap().row;
        assert_eq!((row.id, row.dead, &row.value, row.place_time), (entry(1), false, &file(1), row.time));
        assert_eq!(ask(&plain, &Choice::Candidate(BEN)).unwrap().rows, [], "it is deleted already");
        assert_eq!(ask(&plain, &Choice::Server).unwrap().rows, []);
    }

    #[test]
    fn deleted_directories_come_back_with_what_was_in_them() {
        let mut plain = disputed(file(0), &[(ADA, edit(1))]);
        plain.live(entry(2), place(EntryId::TOP, "up"), directory());
        plain.live(entry(3), place(entry(2), "down"), directory());
        plain.rows.get_mut(&entry(1)).unwrap().place = place(entry(3), "a.txt");
        [1, 3, 2].into_iter().for_each(|id| plain.kill(entry(id)));
        let back = [
            (entry(2), place(EntryId::TOP, "up"), directory(), false),
            (entry(3), place(entry(2), "down"), directory(), false),
            (entry(1), place(entry(3), "a.txt"), file(1), false),
        ];
        assert_eq!(rows(&plain, &Choice::Candidate(ADA)), back);

        // Its name has another directory by now: that one takes its part.
        plain.live(entry(4), place(EntryId::TOP, "up"), directory());
        let into = [
            (entry(3), place(entry(4), "down"), directory(), false),
            (entry(1), place(entry(3), "a.txt"), file(1), false),
        ];
        assert_eq!(rows(&plain, &Choice::Candidate(ADA)), into);

        // Its name is a file's: it comes back beside it.
        plain.rows.get_mut(&entry(4)).unwrap().value = file(4);
        assert_eq!(rows(&plain, &Choice::Candidate(ADA))[0].1, place(EntryId::TOP, "up (back)"));

        // Its id is a file's: the directory above takes its part.
        plain.live(entry(3), place(EntryId::TOP, "f"), file(3));
        assert_eq!(rows(&plain, &Choice::Candidate(ADA)), [(entry(1), place(EntryId::TOP, "a.txt"), file(1), false)]);
    }

    #[test]
    fn a_file_chosen_against_a_full_directory_becomes_an_entry_of_its_own() {
        let mut plain = disputed(directory(), &[(BEN_NEW, edit(1))]);
        plain.live(entry(2), place(entry(1), "b"), file(2));
        let answer = ask(&plain, &Choice::Candidate(BEN_NEW)).unwrap();
        let there = (entry(101), place(EntryId::TOP, "a (from D2).txt"), file(1), false);
        assert_eq!(rows(&plain, &Choice::Candidate(BEN_NEW)), [there]);
        assert_eq!(answer.apart, BTreeMap::from([(BEN_NEW, entry(101))]));
        assert_eq!(answer.row, plain.rows[&entry(1)]);
    }

    #[test]
    fn what_cannot_come_back_to_its_name_becomes_an_entry_of_its_own() {
        let mut plain = disputed(file(0), &[(ADA, edit(1))]);
        plain.kill(entry(1));
        plain.live(entry(2), place(EntryId::TOP, "a.txt"), file(2));
        plain.live(entry(3), place(EntryId::TOP, "a (from D1).txt"), file(3));
        let there = (entry(101), place(EntryId::TOP, "a (from D1 2).txt"), file(1), false);
        assert_eq!(rows(&plain, &Choice::Candidate(ADA)), [there]);
    }

    #[test]
    fn both_keeps_the_servers_and_every_file_under_a_name_of_its_own() {
        let sides = [(ADA, edit(1)), (BEN, edit(2)), (BEN_NEW, CandidateState::Value(directory()))];
        let plain = disputed(file(0), &sides);
        let apart = [
            (entry(101), place(EntryId::TOP, "a (from D1).txt"), file(1), false),
            (entry(102), place(EntryId::TOP, "a (from D2).txt"), file(2), false),
        ];
        assert_eq!(rows(&plain, &both()), apart);
        let plain = disputed(file(0), &[(ADA, CandidateState::Delete)]);
        assert_eq!(rows(&plain, &both()), []);
    }

    #[test]
    fn both_keeps_equal_contents_once() {
        let third = (device(3), CandidateRole::Own);
        let plain = disputed(file(0), &[(ADA, edit(1)), (BEN, edit(1)), (third, edit(0))]);
        assert_eq!(rows(&plain, &both()), [(entry(101), place(EntryId::TOP, "a (from D1).txt"), file(1), false)]);
    }

    #[test]
    fn both_brings_a_dead_entry_back_with_the_first_file() {
        let mut plain = disputed(file(0), &[(ADA, edit(1)), (BEN, edit(2))]);
        plain.kill(entry(1));
        let back = [
            (entry(1), place(EntryId::TOP, "a.txt"), file(1), false),
            (entry(101), place(EntryId::TOP, "a (from D2).txt"), file(2), false),
        ];
        assert_eq!(rows(&plain, &both()), back);
    }

    #[test]
    fn wished_names_are_taken_and_must_be_free() {
        let mut plain = disputed(file(0), &[(ADA, edit(1)), (BEN, edit(2))]);
        let wish = |wishes: &[(CandidateKey, &str)]| Choice::Both {
            names: wishes.iter().map(|(key, text)| (*key, name(text))).collect(),
        };
        let apart = [
            (entry(101), place(EntryId::TOP, "a (from D1).txt"), file(2), false),
            (entry(102), place(EntryId::TOP, "a (from D1 2).txt"), file(1), false),
        ];
        assert_eq!(rows(&plain, &wish(&[(BEN, "a (from D1).txt")])), apart, "a derived name keeps off a wished one");
        let taken = |text| Err(Unanswered::NameTaken(name(text)));
        assert_eq!(ask(&plain, &wish(&[(ADA, "a.txt")])), taken("a.txt"));
        assert_eq!(ask(&plain, &wish(&[(ADA, "x"), (BEN, "x")])), taken("x"), "two of one name");
        plain.dispute(entry(1), &[(ADA, edit(1)), (BEN, CandidateState::Delete)]);
        assert_eq!(ask(&plain, &wish(&[(BEN, "x")])), Err(Unanswered::NoCandidate(BEN)), "a delete has no file");
    }

    #[test]
    fn what_is_shown_before_is_what_is_committed() {
        let plain = disputed(file(0), &[(ADA, edit(1)), (BEN, edit(2))]);
        assert_eq!(ask(&plain, &both()), ask(&plain, &both()));
    }
}

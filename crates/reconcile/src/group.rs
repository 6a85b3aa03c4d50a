//! What becomes of an entry that is to be what it was, as one of the changes of a group.
//!
//! | the entry now | is to be | what becomes of it |
//! |---|---|---|
//! | of another time than the base | any | stays as it is |
//! | forgotten; it was dead at the base | dead | the same already |
//! | | live | back, where its place is free; its time goes on from the base |
//! | not known, and its base is 0 | live | made |
//! | not known otherwise | any | stays as it is |
//! | dead | dead | the same already |
//! | live, with something in it | dead, or no directory | stays as it is |
//! | live | dead | deleted |
//! | any | live, in no live directory, below itself, too deep, or where another one is | stays as it is |
//! | live, and so already | live | the same already |
//! | any | live | what it is to be |
//!
//! Candidates of an open conflict are kept, but for those that the entry is now.

use quics_types::{EntryId, LogicalTime};

use crate::depth::{Depth, depth_below};
use crate::{Conflict, Refusal, Row, View};

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It becomes this; its time is raised already. With its conflict, if it has one: `None` inside when that is closed.
    Row(Box<Row>, Option<Option<Conflict>>),
    /// It is so already.
    Same,
    /// It stays as it is.
    LeftOut(Refusal),
}

/// Makes an entry what `target` says, from `base`: its time and whether it was dead then. The target's times say nothing.
///
/// # Errors
/// Only those of the view.
pub fn make<V: View>(view: &V, base: (LogicalTime, bool), target: &Row) -> Result<Made, V::Error> {
    let (base_time, base_dead) = base;
    if target.id == EntryId::TOP {
        return Ok(Made::LeftOut(Refusal::Malformed));
    }
    let now = match view.row(target.id)? {
        Some(row) if row.time != base_time => return Ok(Made::LeftOut(Refusal::Stale)),
        Some(row) => row,
        None if base_dead || base_time == LogicalTime::NEVER => Row { dead: true, time: base_time, ..target.clone() },
        None => return Ok(Made::LeftOut(Refusal::Stale)),
    };
    if target.dead {
        return match now.dead {
            true => Ok(Made::Same),
            false if view.has_children(now.id)? => Ok(Made::LeftOut(Refusal::NotEmpty)),
            false => made(view, Row { dead: true, ..now }, (true, true, true)),
        };
    }
    if let Some(why) = why_not_there(view, &now, target)? {
        return Ok(Made::LeftOut(why));
    }
    if !now.dead && now.value.is_directory() && !target.value.is_directory() && view.has_children(now.id)? {
        return Ok(Made::LeftOut(Refusal::NotEmpty));
    }
    // A directory has no time of its own that anybody sees.
    let mtime = target.value.content().is_some() && now.mtime != target.mtime;
    let content = now.dead || now.value != target.value;
    let place = now.dead || now.place != target.place;
    // Permission bits of another kind are others, though they be the same.
    let another = !target.value.is_like(&now.value);
    let attributes =
        now.dead || another || now.mode != target.mode || now.attributes != target.attributes || (mtime && !content);
    if !content && !place && !attributes {
        return Ok(Made::Same);
    }
    let (time, content_time) = (now.time, now.content_time);
    let (place_time, attributes_time) = (now.place_time, now.attributes_time);
    let row = Row { dead: false, time, content_time, place_time, attributes_time, ..target.clone() };
    made(view, row, (content, place, attributes))
}

fn made<V: View>(view: &V, mut row: Row, (content, place, attributes): (bool, bool, bool)) -> Result<Made, V::Error> {
    row.stamp(content, place, attributes);
    let conflict = view.conflict(row.id)?.map(|conflict| conflict.renewed(&row, None));
    Ok(Made::Row(Box::new(row), conflict))
}

fn why_not_there<V: View>(view: &V, now: &Row, target: &Row) -> Result<Option<Refusal>, V::Error> {
    if !now.dead && now.place == target.place {
        return Ok(None);
    }
    match depth_below(view, target.place.parent, Some(target.id))? {
        Depth::Gone => return Ok(Some(Refusal::ParentGone)),
        Depth::Cycle => return Ok(Some(Refusal::Cycle)),
        Depth::TooDeep => return Ok(Some(Refusal::TooDeep)),
        Depth::Fine => {}
    }
    Ok(view.live_at(&target.place)?.map(|_| Refusal::NameTaken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Plain, device, directory, entry, file, place};
    use crate::{CandidateRole, CandidateState};

    const LIVE: (LogicalTime, bool) = (LogicalTime(3), false);

    fn plain() -> Plain {
        let mut plain = Plain::default();
        plain.live(entry(1), place(EntryId::TOP, "a"), file(1));
        plain.live(entry(2), place(EntryId::TOP, "dir"), directory());
        plain.live(entry(3), place(entry(2), "in"), file(3));
        plain
    }

    fn make(plain: &Plain, base: (LogicalTime, bool), target: &Row) -> Made {
        let Ok(made) = super::make(plain, base, target);
        made
    }

    fn row(made: Made) -> Row {
        match made {
            Made::Row(row, _) => *row,
            other => panic!("{other:?}"),
        }
    }

    fn target(plain: &Plain, number: u8, change: impl FnOnce(&mut Row)) -> Row {
        let mut row = plain.rows[&entry(number)].clone();
        change(&mut row);
        // The times of a target say nothing.
        (row.time, row.content_time, row.place_time, row.attributes_time) =
            (LogicalTime(1), LogicalTime(1), LogicalTime(1), LogicalTime(1));
        row
    }

    #[test]
    fn only_what_differs_is_stamped() {
        let plain = plain();
        let made = row(make(&plain, LIVE, &target(&plain, 1, |row| row.value = file(9))));
        let times = |row: &Row| [row.time, row.content_time, row.place_time, row.attributes_time].map(|time| time.0);
        assert_eq!((made.value.clone(), times(&made)), (file(9), [4, 4, 1, 2]));
        let made = row(make(&plain, LIVE, &target(&plain, 1, |row| row.place = place(entry(2), "b"))));
        assert_eq!((made.place.clone(), times(&made)), (place(entry(2), "b"), [4, 3, 4, 2]));
        let made = row(make(&plain, LIVE, &target(&plain, 1, |row| row.value = directory())));
        assert_eq!(times(&made), [4, 4, 1, 4], "the permission bits are of another kind");
        let made = row(make(&plain, LIVE, &target(&plain, 1, |row| row.mode = 0o600)));
        assert_eq!((made.mode, times(&made)), (0o600, [4, 3, 1, 4]));
        let made = row(make(&plain, LIVE, &target(&plain, 1, |row| row.mtime.seconds = 99)));
        assert_eq!((made.mtime.seconds, times(&made)), (99, [4, 3, 1, 4]));
    }

    #[test]
    fn what_is_so_already_is_the_same_also_where_a_directorys_time_differs() {
        let plain = plain();
        assert_eq!(make(&plain, LIVE, &target(&plain, 1, |_| ())), Made::Same);
        assert_eq!(make(&plain, LIVE, &target(&plain, 2, |row| row.mtime.seconds = 99)), Made::Same);
    }

    #[test]
    fn what_has_gone_on_stays() {
        let plain = plain();
        let wanted = target(&plain, 1, |row| row.value = file(9));
        for time in [0, 2, 4] {
            assert_eq!(make(&plain, (LogicalTime(time), false), &wanted), Made::LeftOut(Refusal::Stale));
            assert_eq!(make(&plain, (LogicalTime(time), true), &wanted), Made::LeftOut(Refusal::Stale));
        }
        let top = Row { id: EntryId::TOP, ..wanted };
        assert_eq!(make(&plain, LIVE, &top), Made::LeftOut(Refusal::Malformed));
    }

    #[test]
    fn a_directory_with_something_in_it_is_not_deleted_and_becomes_no_file() {
        let mut plain = plain();
        let dead = target(&plain, 2, |row| row.dead = true);
        let file = target(&plain, 2, |row| row.value = file(5));
        assert_eq!(make(&plain, LIVE, &dead), Made::LeftOut(Refusal::NotEmpty));
        assert_eq!(make(&plain, LIVE, &file), Made::LeftOut(Refusal::NotEmpty));
        plain.kill(entry(3));
        let gone = row(make(&plain, LIVE, &dead));
        assert_eq!((gone.dead, gone.time, gone.place), (true, LogicalTime(4), plain.rows[&entry(2)].place.clone()));
        assert_eq!(row(make(&plain, LIVE, &file)).value, file.value);
    }

    #[test]
    fn places_that_cannot_be_are_refused() {
        let mut plain = plain();
        plain.live(entry(4), place(entry(2), "deeper"), directory());
        let refused = |plain: &Plain, number, to| match make(plain, LIVE, &target(plain, number, |row| row.place = to))
        {
            Made::LeftOut(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&plain, 1, place(EntryId::TOP, "dir")), Refusal::NameTaken);
        assert_eq!(refused(&plain, 1, place(entry(3), "x")), Refusal::ParentGone);
        assert_eq!(refused(&plain, 1, place(entry(9), "x")), Refusal::ParentGone);
        assert_eq!(refused(&plain, 2, place(entry(2), "x")), Refusal::Cycle);
        assert_eq!(refused(&plain, 2, place(entry(4), "x")), Refusal::Cycle);
    }

    #[test]
    fn a_tombstone_comes_back_where_its_place_is_free() {
        let mut plain = plain();
        plain.kill(entry(1));
        let wanted = target(&plain, 1, |row| row.dead = false);
        let dead = target(&plain, 1, |_| ());
        let base = (LogicalTime(4), true);
        assert_eq!(make(&plain, base, &dead), Made::Same);
        let back = row(make(&plain, base, &wanted));
        assert_eq!(
            (back.dead, back.time, back.content_time, back.place_time),
            (false, LogicalTime(5), LogicalTime(5), LogicalTime(5))
        );
        plain.live(entry(5), place(EntryId::TOP, "a"), file(5));
        assert_eq!(make(&plain, base, &wanted), Made::LeftOut(Refusal::NameTaken));
    }

    #[test]
    fn a_tombstone_that_was_forgotten_comes_back_under_its_id_and_its_times_go_on() {
        let plain = plain();
        let mut wanted = target(&plain, 1, |row| row.place = place(EntryId::TOP, "again"));
        wanted.id = entry(7);
        let back = row(make(&plain, (LogicalTime(40), true), &wanted));
        assert_eq!((back.id, back.time, back.attributes_time), (entry(7), LogicalTime(41), LogicalTime(41)));
        assert_eq!(
            make(&plain, (LogicalTime(40), false), &wanted),
            Made::LeftOut(Refusal::Stale),
            "it was not dead then"
        );
        assert_eq!(row(make(&plain, (LogicalTime(0), false), &wanted)).time, LogicalTime(1), "it never was");
        wanted.dead = true;
        assert_eq!(make(&plain, (LogicalTime(40), true), &wanted), Made::Same);
    }

    #[test]
    fn candidates_stay_but_for_those_that_the_entry_is_now() {
        let mut plain = plain();
        let (one, two) = ((device(1), CandidateRole::Own), (device(2), CandidateRole::Own));
        plain.dispute(entry(1), &[(one, CandidateState::Value(file(9))), (two, CandidateState::Delete)]);
        let conflict = |made| match made {
            Made::Row(_, Some(conflict)) => conflict,
            other => panic!("{other:?}"),
        };
        let left = conflict(make(&plain, LIVE, &target(&plain, 1, |row| row.value = file(9)))).unwrap();
        assert_eq!((left.revision, left.candidates.keys().collect::<Vec<_>>()), (8, vec![&two]));
        let left = conflict(make(&plain, LIVE, &target(&plain, 1, |row| row.dead = true))).unwrap();
        assert_eq!(left.candidates.keys().collect::<Vec<_>>(), [&one]);
        plain.conflicts.get_mut(&entry(1)).unwrap().candidates.remove(&two);
        assert_eq!(conflict(make(&plain, LIVE, &target(&plain, 1, |row| row.value = file(9)))), None);
    }
}

//! How what an answer did to a row is taken back.
//!
//! | the answer | the row now | taken back |
//! |---|---|---|
//! | made it | as it was made | deleted |
//! | brought it back | as it was brought back, nothing in it | deleted again |
//! | deleted it | deleted, or forgotten since; its place is free, in a live directory | back at its place |
//! | gave it a content | still with that content | its former content; where it was moved meanwhile, there |
//! | left it as it was | still with that content | nothing |
//! | any | otherwise | it stays as it is |

use quics_types::EntryId;

use crate::{Row, View};

/// What becomes of a row when an answer is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// It becomes this; its time is raised already.
    Row(Row),
    /// It is already what it was.
    Same,
    /// It was changed since, or cannot be where it was: it stays as it is.
    Changed,
}

/// Takes back what an answer did to a row: it was `before` (`None`: it was not), and the answer left it as `after`.
///
/// # Errors
/// Only those of the view.
pub fn take_back<V: View>(view: &V, before: Option<&Row>, after: &Row) -> Result<Back, V::Error> {
    let now = match view.row(after.id)? {
        Some(row) => row,
        // A tombstone that every device knew of was forgotten.
        None if after.dead => {
            let mut row = after.clone();
            row.stamp(true, true, true);
            if before.is_none_or(|before| before.dead) {
                return Ok(Back::Row(row));
            }
            after.clone()
        }
        None => return Ok(Back::Changed),
    };
    if now.dead != after.dead || now.content_time != after.content_time {
        return Ok(Back::Changed);
    }
    match before {
        Some(before) if before.dead == after.dead => content_back(view, before, after, now),
        Some(before) if after.dead => place_back(view, before, now),
        _ if now.time != after.time || view.has_children(now.id)? => Ok(Back::Changed),
        // What was brought back is what it was before it was deleted, where it was then.
        before => {
            let mut row = before.map_or_else(|| now.clone(), |before| Row { time: now.time, ..before.clone() });
            row.dead = true;
            row.stamp(true, true, true);
            Ok(Back::Row(row))
        }
    }
}

fn content_back<V: View>(view: &V, before: &Row, after: &Row, now: Row) -> Result<Back, V::Error> {
    if before.content_time == after.content_time {
        return Ok(Back::Same);
    }
    if now.value.is_directory() && !before.value.is_directory() && view.has_children(now.id)? {
        return Ok(Back::Changed);
    }
    let attributes = before.attributes_time != after.attributes_time && now.attributes_time == after.attributes_time;
    let mut row = Row { value: before.value.clone(), mtime: before.mtime, ..now };
    if attributes {
        row.mode = before.mode;
    }
    row.stamp(true, false, attributes);
    Ok(Back::Row(row))
}

fn place_back<V: View>(view: &V, before: &Row, now: Row) -> Result<Back, V::Error> {
    let parent = before.place.parent;
    let lives = parent == EntryId::TOP || view.row(parent)?.is_some_and(|row| row.is_live_directory());
    if !lives || view.live_at(&before.place)?.is_some() {
        return Ok(Back::Changed);
    }
    let mut row = Row { time: now.time, ..before.clone() };
    row.stamp(true, true, true);
    Ok(Back::Row(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Plain, directory, entry, file, place};

    /// Entry 1 at `top/a`, and what an answer left of it.
    fn changed(value: crate::Value) -> (Plain, Row, Row) {
        let mut plain = Plain::default();
        plain.live(entry(1), place(EntryId::TOP, "a"), value);
        let before = plain.rows[&entry(1)].clone();
        (plain, before.clone(), before)
    }

    fn put(plain: &mut Plain, row: &Row) {
        plain.rows.insert(row.id, row.clone());
    }

    fn back(plain: &Plain, before: Option<&Row>, after: &Row) -> Back {
        let Ok(back) = take_back(plain, before, after);
        back
    }

    fn row(back: Back) -> Row {
        match back {
            Back::Row(row) => row,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_content_goes_back_as_a_new_version_also_where_the_entry_was_moved_since() {
        let (mut plain, before, mut after) = changed(file(0));
        after.value = file(1);
        after.stamp(true, false, false);
        let mut now = after.clone();
        now.place = place(EntryId::TOP, "b");
        now.stamp(false, true, false);
        put(&mut plain, &now);
        let row = row(back(&plain, Some(&before), &after));
        assert_eq!((&row.value, &row.place), (&before.value, &now.place));
        assert_eq!((row.time, row.content_time, row.place_time), (now.time.next(), now.time.next(), now.place_time));
    }

    #[test]
    fn what_was_edited_since_stays() {
        let (mut plain, before, mut after) = changed(file(0));
        after.value = file(1);
        after.stamp(true, false, false);
        let mut now = after.clone();
        now.value = file(2);
        now.stamp(true, false, false);
        put(&mut plain, &now);
        assert_eq!(back(&plain, Some(&before), &after), Back::Changed);
        assert_eq!(back(&plain, None, &after), Back::Changed);
        assert_eq!(back(&plain, Some(&before), &before), Back::Changed, "also where the answer left it as it was");
    }

    #[test]
    fn what_an_answer_left_alone_is_the_same() {
        let (plain, before, after) = changed(file(0));
        assert_eq!(back(&plain, Some(&before), &after), Back::Same);
    }

    #[test]
    fn what_was_made_is_deleted_unless_something_is_in_it_or_it_was_moved() {
        let (mut plain, _, after) = changed(directory());
        assert!(row(back(&plain, None, &after)).dead);
        let dead = Row { dead: true, ..after.clone() };
        assert!(row(back(&plain, Some(&dead), &after)).dead);
        let mut moved = after.clone();
        moved.stamp(false, true, false);
        put(&mut plain, &moved);
        assert_eq!(back(&plain, None, &after), Back::Changed);
        put(&mut plain, &after);
        plain.live(entry(2), place(entry(1), "b"), file(2));
        assert_eq!(back(&plain, None, &after), Back::Changed);
    }

    #[test]
    fn what_was_deleted_comes_back_where_its_place_is_free() {
        let (mut plain, before, mut after) = changed(file(0));
        after.dead = true;
        after.stamp(true, true, true);
        put(&mut plain, &after);
        let there = row(back(&plain, Some(&before), &after));
        assert_eq!((there.dead, &there.value, there.time), (false, &before.value, after.time.next()));
        // Forgotten since: its time goes on all the same.
        plain.rows.clear();
        assert_eq!(row(back(&plain, Some(&before), &after)), there);
        plain.live(entry(2), place(EntryId::TOP, "a"), file(2));
        assert_eq!(back(&plain, Some(&before), &after), Back::Changed);
    }

    #[test]
    fn a_tombstone_that_was_forgotten_is_written_again() {
        let (mut plain, mut before, _) = changed(file(0));
        before.dead = true;
        plain.rows.clear();
        let tombstone = row(back(&plain, Some(&before), &before));
        assert_eq!((tombstone.dead, tombstone.time), (true, before.time.next()));
    }

    #[test]
    fn a_directory_with_something_in_it_does_not_become_a_file_again() {
        let (mut plain, before, mut after) = changed(file(0));
        after.value = directory();
        after.stamp(true, false, false);
        put(&mut plain, &after);
        assert_eq!(row(back(&plain, Some(&before), &after)).value, before.value);
        plain.live(entry(2), place(entry(1), "b"), file(2));
        assert_eq!(back(&plain, Some(&before), &after), Back::Changed);
    }
}

//! Each row of the answer rule's table.

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
    let into =
        [(entry(3), place(entry(4), "down"), directory(), false), (entry(1), place(entry(3), "a.txt"), file(1), false)];
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

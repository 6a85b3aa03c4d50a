//! Answers that are taken back.

use quics_reconcile::{CandidateKey, CandidateRole, Choice};

use super::answers::{Anyone, OWN_B, THIRD, both, rid};
use super::*;
use crate::db::answers::{Chosen, News};
use crate::db::records::Cause;

const KEPT_B: CandidateKey = (B, CandidateRole::Kept(0));

impl World {
    fn undo(&self, resolution: u8, by: u8) -> (Vec<EntryId>, Vec<EntryId>) {
        let undo = Undo { root: ROOT, resolution: rid(resolution), id: rid(by), device: A };
        let undone = self.ledger.undo(&undo, &Anyone, NOW).unwrap().unwrap();
        self.meta.sync().unwrap();
        // What is asked again is answered the same, and changes nothing.
        let again = self.ledger.undo(&undo, &Anyone, NOW).unwrap().unwrap();
        assert!(!again.committed);
        assert_eq!((&again.turned, &again.changed), (&undone.turned, &undone.changed));
        assert_eq!(self.tree().1, self.all(0).level.unwrap().digest);
        (undone.turned, undone.changed)
    }
}

#[test]
fn what_was_chosen_goes_back_and_the_conflict_is_open_again_with_what_was_settled() {
    let world = World::disputed();
    let before = world.open(1);
    world.answer(1, 1, Choice::Candidate(OWN_B));
    assert_eq!(world.undo(1, 2), (vec![id(1)], vec![]));
    let row = world.entry(1);
    assert_eq!((&row.value, row.time), (&file(b"ours"), LogicalTime(4)), "a new version");
    let open = world.open(1);
    assert_eq!(open.conflict.candidates[&KEPT_B].state, before.conflict.candidates[&OWN_B].state);
    assert_eq!((open.news, open.accepted[&KEPT_B]), (News::Reopened, before.accepted[&OWN_B]));
    let resolution = open.resolution.unwrap();
    assert_eq!((resolution.id, resolution.chosen, resolution.settled.len()), (rid(2), Chosen::Undo(rid(1)), 0));
    let event = world.events().pop().unwrap();
    assert_eq!((event.cause, event.new.unwrap().value), (Cause::Undo, file(b"ours")));
    let listed = world.ledger.resolutions(ROOT, None, 10).unwrap().resolutions;
    assert_eq!((listed[0].0, listed[0].1.undoes, listed[0].1.undone_by), (rid(2), Some(rid(1)), None));
    assert_eq!((listed[1].0, listed[1].1.undone_by), (rid(1), Some(rid(2))));
    // What is kept can be chosen like any other.
    world.answer(3, 1, Choice::Candidate(KEPT_B));
    assert_eq!(world.entry(1).value, file(b"theirs"));
}

#[test]
fn what_stood_needs_no_new_version_when_it_is_taken_back() {
    let world = World::disputed();
    world.answer(1, 1, Choice::Server);
    assert_eq!(world.undo(1, 2), (vec![id(1)], vec![]));
    assert_eq!((world.entry(1).time, world.open(1).conflict.candidates.len()), (LogicalTime(2), 1));
}

#[test]
fn what_was_made_is_deleted_unless_it_was_changed_since() {
    let mut world = World::disputed();
    world.dispute(2, "b.txt");
    world.answer(1, 1, both());
    let kept = world.answer(2, 2, both())[1].row.clone();
    assert_eq!(world.undo(1, 11), (vec![id(1)], vec![]));
    assert_eq!(world.tree().0.len(), 3);
    let change = |row: &Row| {
        let base = Some(row.value.clone());
        let content = ContentChange { base_time: row.content_time, base, value: file(b"on"), mtime: Mtime::default() };
        let content = Some(content);
        Proposal::Change(quics_reconcile::Change { id: row.id, content, place: None, attributes: None })
    };
    world.accept(A, change(&kept), Some(b"on"));
    assert_eq!(world.undo(2, 12), (vec![id(2)], vec![kept.id]));
    assert_eq!(world.tree().0.len(), 3);
}

#[test]
fn an_entry_that_was_changed_or_answered_again_stays_and_is_named() {
    let mut world = World::disputed();
    world.answer(1, 1, Choice::Candidate(OWN_B));
    world.accept(B, edit(1, 3, file(b"theirs"), file(b"on")), Some(b"on"));
    let seq = world.ledger.level(ROOT).unwrap().cursor.seq;
    assert_eq!(world.undo_of_nothing(1, 2), vec![id(1)]);
    assert_eq!((world.entry(1).value, world.ledger.level(ROOT).unwrap().cursor.seq), (file(b"on"), seq));
    // Answered again, with the row as it was.
    world.dispute(2, "b.txt");
    world.answer(5, 2, Choice::Server);
    world.propose(B, edit(2, 1, file(b"base"), file(b"other")), Some(b"other"));
    world.answer(6, 2, Choice::Server);
    assert_eq!(world.undo_of_nothing(5, 7), vec![id(2)]);
    assert_eq!(world.undo(6, 8), (vec![id(2)], vec![]));
    // What was taken back is not taken back twice.
    assert_eq!(world.undo_of_nothing(6, 9), vec![id(2)]);
}

impl World {
    /// Nothing can be taken back: no resolution is made, and what stays is named.
    fn undo_of_nothing(&self, resolution: u8, by: u8) -> Vec<EntryId> {
        let before = self.meta.range(b"\x01", &[], 4096).unwrap();
        let undo = Undo { root: ROOT, resolution: rid(resolution), id: rid(by), device: A };
        let undone = self.ledger.undo(&undo, &Anyone, NOW).unwrap().unwrap();
        self.meta.sync().unwrap();
        assert_eq!((undone.turned, undone.committed), (vec![], false));
        assert_eq!(self.meta.range(b"\x01", &[], 4096).unwrap(), before);
        undone.changed
    }
}

#[test]
fn a_conflict_that_has_opened_again_takes_what_was_settled_beside_its_new_candidates() {
    let mut world = World::disputed();
    world.answer(1, 1, Choice::Server);
    world.propose(B, edit(1, 1, file(b"base"), file(b"later")), Some(b"later"));
    assert_eq!(world.undo(1, 2), (vec![id(1)], vec![]));
    let open = world.open(1).conflict;
    assert_eq!(open.candidates.keys().copied().collect::<Vec<_>>(), [OWN_B, KEPT_B]);
    // Taking that back too leaves the new one.
    assert_eq!(world.undo(2, 3), (vec![id(1)], vec![]));
    assert_eq!(world.open(1).conflict.candidates.keys().copied().collect::<Vec<_>>(), [OWN_B]);
}

#[test]
fn an_undo_is_taken_back_and_that_too() {
    let world = World::disputed();
    let made = world.answer(1, 1, both())[1].row.clone();
    let states = |world: &World| {
        let conflict = world.ledger.conflict(ROOT, id(1)).unwrap().unwrap();
        let live = world.ledger.entry(ROOT, made.id).unwrap().unwrap().row;
        assert!(live.dead || live.place == made.place);
        (conflict.is_open(), live.dead, world.entry(1).value)
    };
    assert_eq!(states(&world), (false, false, file(b"ours")));
    for number in 1..7 {
        assert_eq!(world.undo(number, number + 1).0, [id(1)]);
        let undone = number % 2 == 1;
        assert_eq!(states(&world), (undone, undone, file(b"ours")), "{number}");
        let listed = world.ledger.resolutions(ROOT, None, 100).unwrap().resolutions;
        let first = listed.iter().find(|(id, _)| *id == rid(1)).unwrap();
        assert_eq!(first.1.undone_by.is_some() || number > 1, undone || number > 1);
    }
    assert!(world.open_or_not(1));
}

impl World {
    fn open_or_not(&self, number: u8) -> bool {
        self.ledger.conflict(ROOT, id(number)).unwrap().is_some_and(|entry| !entry.is_open())
    }
}

#[test]
fn a_delete_that_was_chosen_is_taken_back_also_when_its_tombstone_was_forgotten() {
    for forgotten in [false, true] {
        let mut world = World::new();
        world.accept(A, create(1, "a.txt", file(b"base")), Some(b"base"));
        world.accept(A, edit(1, 1, file(b"base"), file(b"ours")), Some(b"ours"));
        world.propose(B, delete(1, 1, file(b"base")), None);
        world.answer(1, 1, Choice::Candidate(OWN_B));
        assert!(world.entry(1).dead);
        if forgotten {
            world.forget_all();
            assert_eq!(world.ledger.entry(ROOT, id(1)).unwrap(), None);
            assert_eq!(world.ledger.conflict(ROOT, id(1)).unwrap(), None);
        }
        assert_eq!(world.undo(1, 2), (vec![id(1)], vec![]));
        let row = world.entry(1);
        assert_eq!((row.dead, &row.value, row.time), (false, &file(b"ours"), LogicalTime(4)));
        assert_eq!(world.open(1).conflict.candidates[&KEPT_B].state, CandidateState::Delete);
    }
}

impl World {
    /// All devices have everything: what is dead and what is closed is removed.
    fn forget_all(&self) {
        let seq = self.ledger.level(ROOT).unwrap().cursor.seq;
        self.ledger.acknowledge(ROOT, A, self.ledger.cursor(seq)).unwrap();
        self.ledger.write_acknowledged().unwrap();
        self.meta.sync().unwrap();
        for _ in 0..100 {
            if self.ledger.prune(ROOT, &[A]).unwrap().is_none() {
                break;
            }
            self.meta.sync().unwrap();
        }
    }
}

#[test]
fn an_edit_that_lost_against_a_delete_comes_back_on_its_tombstone() {
    let mut world = World::new();
    world.accept(A, create(1, "a.txt", file(b"base")), Some(b"base"));
    world.propose(A, delete(1, 1, file(b"base")), None);
    world.propose(B, edit(1, 1, file(b"base"), file(b"theirs")), Some(b"theirs"));
    world.answer(1, 1, Choice::Server);
    world.forget_all();
    assert_eq!(world.undo(1, 2), (vec![id(1)], vec![]));
    assert!(world.entry(1).dead);
    world.answer(3, 1, Choice::Candidate(KEPT_B));
    assert_eq!((world.entry(1).dead, world.entry(1).value), (false, file(b"theirs")));
    assert_eq!(world.undo(3, 4), (vec![id(1)], vec![]));
    assert!(world.entry(1).dead);
}

#[test]
fn what_a_device_has_again_is_its_own_and_not_kept_twice() {
    let mut world = World::disputed();
    world.answer(1, 1, Choice::Server);
    world.undo(1, 2);
    world.propose(B, edit(1, 1, file(b"base"), file(b"theirs")), Some(b"theirs"));
    assert_eq!(world.open(1).conflict.candidates.keys().copied().collect::<Vec<_>>(), [OWN_B]);
    // Several of one device are kept apart.
    world.answer(3, 1, Choice::Server);
    world.undo(3, 4);
    world.propose(B, edit(1, 1, file(b"base"), file(b"other")), Some(b"other"));
    world.answer(5, 1, Choice::Server);
    assert_eq!(world.undo(5, 6), (vec![id(1)], vec![]));
    let keys: Vec<_> = world.open(1).conflict.candidates.keys().copied().collect();
    assert_eq!(keys, [KEPT_B, (B, CandidateRole::Kept(1))]);
    // A delete of another device does not go over them.
    world.ledger.resume(ROOT, THIRD, 1).unwrap();
    let verdict = world.propose(THIRD, delete(1, 2, file(b"ours")), None);
    assert!(matches!(verdict, Verdict::Conflict { .. }));
}

#[test]
fn what_is_kept_is_no_question_any_more_when_the_entry_becomes_just_that() {
    let mut world = World::disputed();
    world.answer(1, 1, Choice::Server);
    world.undo(1, 2);
    world.accept(A, edit(1, 2, file(b"ours"), file(b"theirs")), Some(b"theirs"));
    let closed = world.ledger.conflict(ROOT, id(1)).unwrap().unwrap();
    assert_eq!((closed.is_open(), closed.news), (false, News::Withdrawn));
}

#[test]
fn an_undo_that_was_not_durable_can_be_made_again() {
    let world = World::disputed();
    world.answer(1, 1, Choice::Candidate(OWN_B));
    let undo = Undo { root: ROOT, resolution: rid(1), id: rid(2), device: A };
    let undone = world.ledger.undo(&undo, &Anyone, NOW).unwrap().unwrap();
    assert!(undone.receipt.is_some());
    let world = world.crash(7);
    assert_eq!(world.entry(1).value, file(b"theirs"));
    assert_eq!(world.undo(1, 2), (vec![id(1)], vec![]));
    assert_eq!(world.entry(1).value, file(b"ours"));
}

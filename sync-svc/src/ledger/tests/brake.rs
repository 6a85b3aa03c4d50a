//! Devices that destroy too much are braked, and what they would change waits for an owner.

use quics_reconcile::Change;

use super::*;
use crate::db::records::Cause;
use crate::{Brake, BrakeStage};

/// Files that there are; with a fifth of them destroyed, a device is braked.
const FILES: u16 = 1500;
const BURST: u16 = FILES / 5;

fn entry(number: u16) -> EntryId {
    EntryId::from_bytes((u128::from(number) + 1).to_be_bytes())
}

fn text(number: u16) -> Vec<u8> {
    format!("This is document {number}.\n").repeat(30).into_bytes()
}

fn noise(number: u16) -> Vec<u8> {
    (0..20u8).flat_map(|at| *Digest::of(&[&number.to_be_bytes()[..], &[at]].concat()).as_bytes()).collect()
}

fn change(number: u16, base: &[u8], to: &[u8]) -> Proposal {
    let (base_time, base, value) = (LogicalTime(1), Some(file(base)), file(to));
    let content = ContentChange { base_time, base, value, mtime: Mtime::default() };
    Proposal::Change(Change { id: entry(number), content: Some(content), place: None, attributes: None })
}

fn gone(number: u16) -> Proposal {
    Proposal::Delete { id: entry(number), base_time: LogicalTime(1), base: file(&text(number)) }
}

impl World {
    /// A root with files of B.
    fn filled() -> Self {
        let mut world = World::new();
        for number in 0..FILES {
            let (id, value) = (entry(number), file(&text(number)));
            let place = at(&format!("{number}.txt"));
            let create = Proposal::Create { id, place, value, mode: 0o644, mtime: Mtime::default() };
            world.queue(B, create, Some(&text(number)));
        }
        world.meta.sync().unwrap();
        world
    }

    fn encrypt(&mut self, number: u16) -> Verdict {
        self.queue(A, change(number, &text(number), &noise(number)), Some(&noise(number))).entry.verdict
    }

    /// Encrypts until the device is braked; says how many went through.
    fn burst(&mut self) -> u16 {
        let count = (0..FILES).find(|number| matches!(self.encrypt(*number), Verdict::Held { .. }));
        self.meta.sync().unwrap();
        count.expect("it is braked")
    }

    fn brake(&self) -> Option<Brake> {
        self.ledger.brakes(ROOT).unwrap().on(A).cloned()
    }

    fn decide(&self, stage: BrakeStage) {
        let since = self.brake().unwrap().since;
        self.ledger.decide(ROOT, (A, since), stage, B, NOW).unwrap();
        self.meta.sync().unwrap();
    }

    fn held(&self) -> u64 {
        self.ledger.held_count(ROOT, A).unwrap().0
    }

    fn value(&self, number: u16) -> Option<Value> {
        self.ledger.entry(ROOT, entry(number)).unwrap().filter(|it| !it.row.dead).map(|it| it.row.value)
    }
}

#[test]
fn a_device_that_destroys_a_fifth_is_braked_and_what_follows_is_kept_and_changes_nothing() {
    let mut world = World::filled();
    let went = world.burst();
    assert!((BURST..BURST + 20).contains(&went), "{went}: what came before a look was worth it counts little");
    let brake = world.brake().unwrap();
    assert_eq!((brake.stage, brake.of), (BrakeStage::On, u64::from(FILES)));
    assert_eq!(brake.since, u64::from(FILES) + 1, "its first change");
    let seq = world.ledger.level(ROOT).unwrap().cursor.seq;
    for number in went..went + 50 {
        let Verdict::Held { seq: at } = world.encrypt(number) else { panic!() };
        assert_eq!(at, seq);
        assert_eq!(world.value(number), Some(file(&text(number))), "the others keep what they have");
    }
    assert!(matches!(world.propose(A, gone(FILES - 1), None), Verdict::Held { .. }));
    let moved = PlaceChange { base_time: LogicalTime(1), place: at("moved") };
    let moved = Change { id: entry(FILES - 2), content: None, place: Some(moved), attributes: None };
    assert!(matches!(world.propose(A, Proposal::Change(moved), None), Verdict::Held { .. }));
    assert_eq!((world.held(), world.ledger.level(ROOT).unwrap().cursor.seq), (52, seq));

    // Directories, and permission bits, pass; so does everything of others.
    let directory = create(200, "directory", Value::Directory);
    assert!(matches!(world.propose(A, directory, None), Verdict::Accepted(_)));
    let attributes = AttributesChange { base_time: LogicalTime(1), mode: 0o600, mtime: Mtime::default() };
    let chmod = Change { id: entry(FILES - 3), content: None, place: None, attributes: Some(attributes) };
    assert!(matches!(world.propose(A, Proposal::Change(chmod), None), Verdict::Accepted(_)));
    assert!(matches!(world.propose(B, gone(FILES - 4), None), Verdict::Accepted(_)));

    // The contents are there after a crash.
    let world = world.crash(2);
    let page = world.ledger.held(ROOT, A, None, 1000).unwrap();
    let paths: Vec<_> = page.iter().map(|change| String::from_utf8_lossy(&change.path).into_owned()).collect();
    assert_eq!((page.len(), &paths[0]), (52, &format!("{went}.txt")));
    let Value::File { content, size } = file(&noise(went)) else { panic!() };
    let kept = world.ledger.contents().read_small(ROOT, content, size).unwrap();
    assert_eq!(kept.as_deref(), Some(&noise(went)[..]));
}

#[test]
fn what_a_device_goes_back_from_is_not_kept_any_more() {
    let mut world = World::filled();
    let went = world.burst();
    let held = world.held();
    assert_eq!(world.propose(A, Proposal::Withdraw { id: entry(went) }, None), Verdict::Withdrawn);
    assert_eq!(world.held(), held - 1);
    // A newer change of the same entry takes the place of the one before.
    assert!(matches!(world.encrypt(went + 1), Verdict::Held { .. }));
    let again = change(went + 1, &text(went + 1), b"other");
    assert!(matches!(world.propose(A, again, Some(b"other")), Verdict::Held { .. }));
    assert_eq!(world.held(), held);
    let page = world.ledger.held(ROOT, A, None, 1000).unwrap();
    assert_eq!(page.last().unwrap().held.proposal.value(), Some(&file(b"other")));
}

#[test]
fn what_is_released_passes_when_it_is_proposed_again_and_the_brake_is_over_then() {
    let mut world = World::filled();
    let went = world.burst();
    assert!(matches!(world.encrypt(went + 1), Verdict::Held { .. }));
    world.meta.sync().unwrap();
    world.decide(BrakeStage::Released);
    assert_eq!(world.brake().unwrap().stage, BrakeStage::Released);
    assert!(matches!(world.encrypt(went), Verdict::Accepted(_)));
    world.meta.sync().unwrap();
    assert_eq!((world.value(went), world.held()), (Some(file(&noise(went))), 1));
    assert!(matches!(world.encrypt(went + 1), Verdict::Accepted(_)));
    world.meta.sync().unwrap();
    assert_eq!((world.brake(), world.held()), (None, 0));
    for number in went + 2..FILES {
        assert!(matches!(world.encrypt(number), Verdict::Accepted(_)), "it is not braked again at once");
    }
}

#[test]
fn what_is_taken_back_is_refused_once_and_history_is_told_of_it() {
    let mut world = World::filled();
    let went = world.burst();
    assert!(matches!(world.propose(A, gone(FILES - 1), None), Verdict::Held { .. }));
    world.decide(BrakeStage::TakenBack);
    let events = world.events().len();
    assert_eq!(world.encrypt(went), Verdict::Refused(Refusal::TakenBack));
    world.meta.sync().unwrap();
    let told = world.events();
    assert_eq!(told[events].cause, Cause::Brake, "nobody was asked");
    let lost = told[events].resolution.as_ref().unwrap();
    let settled: Vec<_> = lost.settled.values().map(|settled| settled.candidate.state.clone()).collect();
    assert_eq!(settled, [CandidateState::Value(file(&noise(went)))]);
    assert_eq!(world.propose(A, gone(FILES - 1), None), Verdict::Refused(Refusal::TakenBack));
    assert_eq!((world.brake(), world.held()), (None, 0));
    assert_eq!(world.value(went), Some(file(&text(went))));
    // What it does then is a change like any other.
    assert!(matches!(world.propose(A, gone(FILES - 1), None), Verdict::Accepted(_)));
}

#[test]
fn a_decision_holds_and_is_of_the_brake_that_was_seen() {
    let mut world = World::filled();
    world.burst();
    let since = world.brake().unwrap().since;
    let decide = |since, stage| world.ledger.decide(ROOT, (A, since), stage, B, NOW);
    assert!(matches!(decide(since + 1, BrakeStage::Released), Err(Error::NotFound(_))));
    assert!(matches!(decide(since, BrakeStage::TakenBack), Ok(Decided::Done(..))));
    world.meta.sync().unwrap();
    assert!(matches!(decide(since, BrakeStage::TakenBack), Ok(Decided::Already(_))));
    assert!(matches!(decide(since, BrakeStage::Released), Err(Error::BrakeDecided)));
}

#[test]
fn an_owner_sets_how_much_is_too_much() {
    let mut world = World::filled();
    world.ledger.set_brake(ROOT, 40, B, NOW).unwrap();
    let went = world.burst();
    assert!((2 * BURST..2 * BURST + 20).contains(&went), "{went}");
    let mut world = World::filled();
    world.ledger.set_brake(ROOT, 101, B, NOW).unwrap();
    assert!((0..FILES).all(|number| matches!(world.encrypt(number), Verdict::Accepted(_))));
}

#[test]
fn the_feed_tells_of_brakes_at_their_commits() {
    let mut world = World::filled();
    world.burst();
    let last = |world: &World| {
        let mut after = 0;
        let mut brakes = Vec::new();
        loop {
            let page = world.ledger.feed(ROOT, after, usize::MAX, Inlined::Nothing).unwrap();
            let told = page.changes.iter().filter_map(|told| match &told.change {
                crate::ledger::Change::Brakes(brakes) => Some((told.seq, brakes.brakes.len())),
                _ => None,
            });
            brakes.extend(told);
            after = page.seq;
            if page.level.is_some() {
                return brakes;
            }
        }
    };
    let [(first, 1)] = last(&world)[..] else { panic!() };
    world.decide(BrakeStage::Released);
    let [(second, _)] = last(&world)[..] else { panic!() };
    assert!(second > first);
}

#[test]
fn something_new_that_is_taken_back_has_a_version_and_is_gone() {
    let mut world = World::filled();
    world.burst();
    let before = world.held();
    for drawn in [201, 202] {
        // Proposed again, it has another id.
        let locked = create(drawn, "letter.locked", file(b"locked"));
        assert!(matches!(world.propose(A, locked, Some(b"locked")), Verdict::Held { .. }));
    }
    assert_eq!(world.held(), before + 1);
    let page = world.ledger.held(ROOT, A, None, 1000).unwrap();
    assert!(page.iter().any(|change| &change.path[..] == b"letter.locked"));
    world.decide(BrakeStage::TakenBack);
    let locked = create(203, "letter.locked", file(b"locked"));
    assert!(matches!(world.propose(A, locked, Some(b"locked")), Verdict::Accepted(_)));
    let row = world.ledger.entry(ROOT, id(203)).unwrap().unwrap().row;
    assert!(row.dead && row.time == LogicalTime(2));
    let events = world.events();
    let [.., made, gone] = &events[..] else { panic!() };
    assert_eq!((made.new.as_ref().unwrap().time, made.old.is_none()), (LogicalTime(1), true));
    assert!(gone.new.as_ref().unwrap().dead);
}

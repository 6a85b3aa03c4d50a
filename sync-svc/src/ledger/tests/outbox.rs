//! The outbox: events in their order, until they were applied.

use super::*;
use crate::{Event, EventPosition};

impl World {
    /// Every durable event behind a number.
    fn events_after(&self, mut after: u64) -> Vec<(u64, Event)> {
        let mut all = Vec::new();
        loop {
            let page = self.ledger.events(after).unwrap();
            after = page.events.last().map_or(after, |(number, _)| *number);
            all.extend(page.events);
            if !page.more {
                return all;
            }
        }
    }

    /// Makes so many files, from this number on.
    fn make(&mut self, numbers: std::ops::Range<u8>) {
        for number in numbers {
            self.accept(A, create(number, &format!("file {number}"), Value::Directory), None);
        }
    }

    fn position(&self, number: u64) -> EventPosition {
        self.ledger.event_position(number).unwrap().unwrap()
    }

    fn follow(&self, position: Option<EventPosition>) -> (Continuity, u64) {
        let Start { continuity, after } = self.ledger.follow(position).unwrap();
        (continuity, after)
    }

    fn remove(&self, position: EventPosition) -> u64 {
        assert!(self.ledger.applied_events(position).unwrap());
        let mut steps = 0;
        while self.ledger.remove_applied().unwrap().is_some() {
            self.meta.sync().unwrap();
            steps += 1;
        }
        steps
    }
}

fn at_epoch(epoch: u64, number: u64) -> EventPosition {
    EventPosition { epoch: Epoch(epoch), number }
}

#[test]
fn events_come_dense_and_in_order_from_any_position_and_only_when_they_are_durable() {
    let mut world = World::new();
    world.make(1..9);
    world.queue(A, create(9, "not durable", Value::Directory), None);
    let all = world.events_after(0);
    assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (1..9).collect::<Vec<_>>());
    for (number, event) in &all {
        assert_eq!(event.cursor, world.ledger.cursor(*number), "one root, one change each");
        assert_eq!(event.new.as_ref().unwrap().id, id(*number as u8));
    }
    for after in 0..=8 {
        assert_eq!(world.events_after(after), all[after as usize..]);
        let position = (after > 0).then(|| world.position(after));
        assert_eq!(world.follow(position), (Continuity::Whole, after));
    }
}

#[test]
fn what_was_applied_is_gone_and_who_has_not_applied_it_has_a_gap() {
    let mut world = World::new();
    world.make(1..9);
    let (old, applied) = (world.position(4), world.position(5));
    world.remove(applied);
    assert_eq!(world.ledger.outbox_records().unwrap(), 3);
    assert_eq!(world.events_after(5).len(), 3);
    assert_eq!(world.follow(Some(applied)), (Continuity::Whole, 5));
    assert_eq!(world.follow(Some(old)), (Continuity::Gap, 5));
    assert_eq!(world.follow(None), (Continuity::Gap, 5));
    // A lower one takes nothing back, and what is gone stays so over a crash.
    assert_eq!(world.remove(old), 0);
    let world = world.crash(2);
    assert_eq!(world.follow(Some(applied)), (Continuity::Whole, 5));
    assert_eq!(world.ledger.outbox_records().unwrap(), 3);
}

#[test]
fn an_outbox_that_is_empty_goes_on_with_its_numbers() {
    let mut world = World::new();
    assert_eq!(world.follow(None), (Continuity::Whole, 0));
    assert_eq!(world.ledger.event_position(0).unwrap(), None);
    world.make(1..4);
    let last = world.position(3);
    world.remove(last);
    let mut world = world.crash(2);
    assert_eq!(world.follow(Some(last)), (Continuity::Whole, 3));
    assert_eq!(world.position(3), last, "also where its record is gone");
    world.make(4..5);
    assert_eq!(world.position(4), at_epoch(2, 4));
    assert_eq!(world.events_after(3).len(), 1);
    assert_eq!(world.follow(Some(last)), (Continuity::Whole, 3));
}

#[test]
fn a_removal_that_was_not_durable_is_done_again() {
    let mut world = World::new();
    world.make(1..4);
    let last = world.position(3);
    world.ledger.applied_events(last).unwrap();
    drop(world.ledger.remove_applied().unwrap().unwrap());
    let world = world.crash(2);
    assert_eq!(world.ledger.outbox_records().unwrap(), 3);
    assert!(world.ledger.remove_applied().unwrap().is_none(), "nobody has said so since the start");
    assert_eq!(world.remove(last), 1);
    assert_eq!(world.ledger.outbox_records().unwrap(), 0);
}

#[test]
fn many_events_are_removed_in_steps() {
    let mut world = World::new();
    world.make(1..2);
    for time in 1..1100 {
        world.queue(A, chmod(1, time, 0o600 + (time % 2) as u32), None);
    }
    world.meta.sync().unwrap();
    assert_eq!(world.events_after(0).len(), 1100);
    assert_eq!(world.remove(world.position(1090)), 3);
    assert_eq!(world.events_after(1090).len(), 10);
}

#[test]
fn a_server_that_was_put_back_to_an_older_copy_is_another_chain() {
    let mut copied = World::new();
    copied.make(1..3);
    let mut lost = World::new();
    lost.make(1..4);
    let (shared, only_lost) = (lost.position(2), lost.position(3));
    // The copy is opened instead of the server that went on.
    let mut copied = copied.crash(7);
    assert_eq!(copied.follow(Some(shared)), (Continuity::Whole, 2));
    assert_eq!(copied.follow(Some(only_lost)), (Continuity::OtherChain, 0));
    copied.make(4..8);
    assert_eq!(copied.follow(Some(only_lost)), (Continuity::OtherChain, 0));
    assert_eq!(copied.follow(Some(shared)), (Continuity::Whole, 2));
    assert_eq!(copied.follow(Some(at_epoch(99, 2))), (Continuity::OtherChain, 0));
    assert!(!copied.ledger.applied_events(only_lost).unwrap());
    assert!(copied.ledger.remove_applied().unwrap().is_none(), "nothing of it counts");
}

#[test]
fn a_lost_event_is_damage_and_never_passed_over() {
    let mut world = World::new();
    world.make(1..5);
    let mut batch = quics_meta::Batch::new();
    batch.delete(keys::outbox(3));
    world.meta.submit(batch).unwrap();
    world.meta.sync().unwrap();
    assert!(matches!(world.ledger.events(0), Err(Error::Damaged { .. })));
    assert!(matches!(world.ledger.events(2), Err(Error::Damaged { .. })));
}

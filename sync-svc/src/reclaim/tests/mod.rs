//! Reclaiming against everything that goes on meanwhile.

mod contents;
mod oracle;
mod purges;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::world::{Flaw, ROOT, World};
use super::marking;

/// Numbers that a seed makes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A random life, then rest; says how many rounds came to their end, how many chunks they took and how many purges were made.
fn life(seed: u64, flaw: Flaw, steps: u64) -> (u64, u64, u64) {
    let mut world = World::new(seed, flaw);
    for _ in 0..steps {
        world.step();
    }
    world.rest();
    (world.rounds, world.dropped, world.purges)
}

#[test]
fn nothing_that_is_needed_goes_and_nothing_that_is_not_stays_whatever_happens_meanwhile() {
    let seeds = std::env::var("QUICS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60);
    let mut sums = (0, 0, 0);
    for seed in 0..seeds {
        let made = catch_unwind(AssertUnwindSafe(|| life(seed, Flaw::None, 1500)));
        let made = made.unwrap_or_else(|_| panic!("seed {seed}"));
        sums = (sums.0 + made.0, sums.1 + made.1, sums.2 + made.2);
    }
    assert!(sums.0 > 4 * seeds && sums.1 > 2 * seeds && sums.2 > 0, "it was about something: {sums:?}");
}

#[test]
fn what_a_brake_holds_is_kept_until_it_is_decided() {
    let world = World::new(1, Flaw::None);
    let (kept, gone) = world.with_held_change();
    let (meta, contents) = (&world.meta, world.contents());
    let first = contents.chunks().begin_marks();
    let mut condemned = None;
    for marks in [first.clone(), first.again()] {
        let mut marking = marking::Marking::of_all(marks.clone());
        while marking.step(contents, &|| false).unwrap() {}
        assert_eq!(marking.finish(contents).unwrap().references, 1);
        condemned = marks.condemn();
    }
    meta.sync().unwrap();
    for segment in contents.chunks().reclaimable(condemned.as_ref().unwrap()).unwrap() {
        contents.chunks().rewrite(segment.number, condemned.as_ref().unwrap()).unwrap();
    }
    for (chunks, there) in [(kept, true), (gone, false)] {
        assert!(chunks.iter().all(|chunk| contents.chunks().contains(ROOT, *chunk).unwrap() == there));
    }
}

#[test]
fn each_rule_that_is_taken_out_is_missed() {
    // What stays is no harm: it is what is gone that has to be missed.
    for flaw in [Flaw::NoWaiting, Flaw::NoGate, Flaw::NoHistory, Flaw::EntriesOnly] {
        let failed = (0..200).any(|seed| catch_unwind(AssertUnwindSafe(|| life(seed, flaw, 1500))).is_err());
        assert!(failed, "{flaw:?} changes nothing");
    }
}

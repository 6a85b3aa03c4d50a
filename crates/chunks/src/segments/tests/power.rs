//! Power cuts: whatever legal state the disk is left in, what was acknowledged is there and nothing is invented.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering, mpsc},
};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{ROOT, chunk, on};
use crate::{
    ChunkStore,
    segments::{
        Segments,
        sim::{Image, Op, SimDisk, Unsynced, power_cut},
    },
};

const CHUNKS: u64 = 40;

/// What a run did, by the number of disk operations before it.
#[derive(Default)]
pub(super) struct History {
    /// A chunk came or went.
    pub(super) events: Vec<(usize, u64, bool)>,
    /// After so many operations, the first so many events were acknowledged as durable.
    pub(super) acknowledged: Vec<(usize, usize)>,
}

impl History {
    pub(super) fn event(&mut self, disk: &SimDisk, i: u64, present: bool) {
        self.events.push((disk.count(), i, present));
    }

    pub(super) fn flush(&mut self, disk: &Arc<SimDisk>, store: &Segments) {
        let (tell, told) = mpsc::channel();
        let counter = disk.clone();
        // Counted at the very moment of the acknowledgement: the syncer goes on with its side indexes at once.
        store.flush_notify(Box::new(move |result| tell.send(result.map(|()| counter.count())).unwrap()));
        self.acknowledged.push((told.recv().unwrap().unwrap(), self.events.len()));
    }

    /// In which states a chunk may be after a cut behind `ops` operations: as acknowledged, or as anything later.
    pub(super) fn allowed(&self, i: u64, ops: usize) -> BTreeSet<bool> {
        let sure = self.acknowledged.iter().rev().find(|(at, _)| *at <= ops).map_or(0, |(_, events)| *events);
        let of_chunk = |(_, chunk, present): &(usize, u64, bool)| (*chunk == i).then_some(*present);
        let settled = self.events[..sure].iter().filter_map(of_chunk).next_back().unwrap_or(false);
        let later = self.events[sure..].iter().take_while(|(at, ..)| *at <= ops).filter_map(of_chunk);
        later.chain([settled]).collect()
    }
}

/// Puts, flushes, takes out and puts again, over several segments.
fn run(disk: &Arc<SimDisk>) -> History {
    let store = on(disk);
    let mut history = History::default();
    for i in 0..CHUNKS {
        history.event(disk, i, true);
        store.put(ROOT, &chunk(i)).unwrap();
        if i % 3 == 2 {
            history.flush(disk, &store);
        }
        if i % 7 == 6 {
            history.event(disk, i - 3, false);
            store.quarantine(ROOT, chunk(i - 3).digest).unwrap();
        }
        if i % 14 == 13 {
            history.event(disk, i - 3, true);
            store.put(ROOT, &chunk(i - 3)).unwrap();
        }
    }
    history.flush(disk, &store);
    history
}

/// Checks a state after a cut, goes on in it, and checks that the damage of the cut is gone for good.
fn check(image: Image, history: &History, ops: usize, case: &str) {
    let disk = SimDisk::new(image);
    let store = on(&disk);
    assert_eq!(store.opened().indexes_rebuilt, 0, "{case}: a side index that is there is whole");
    for i in 0..CHUNKS {
        let found = store.get(ROOT, chunk(i).digest).unwrap_or_else(|e| panic!("{case}: chunk {i}: {e}"));
        let allowed = history.allowed(i, ops);
        assert!(allowed.contains(&found.is_some()), "{case}: chunk {i} is {}, not {allowed:?}", found.is_some());
        assert!(found.is_none_or(|found| found == chunk(i)), "{case}: chunk {i} is another");
    }
    assert!(store.stats().chunks <= CHUNKS, "{case}: something was invented");
    for i in 0..CHUNKS {
        store.put(ROOT, &chunk(i)).unwrap();
    }
    store.flush().unwrap();
    // The next cut, at once: everything is there now.
    drop(store);
    let again = on(&SimDisk::new(disk.image()));
    assert_eq!(again.opened().torn_bytes, 0, "{case}: what was torn was cut off");
    for i in 0..CHUNKS {
        assert_eq!(again.get(ROOT, chunk(i).digest).unwrap(), Some(chunk(i)), "{case}: after going on");
    }
}

#[test]
fn every_power_cut_leaves_what_was_acknowledged_and_nothing_else() {
    let disk = SimDisk::new(Image::default());
    let history = run(&disk);
    let ops = disk.ops();
    assert!(ops.len() > 120, "{} operations", ops.len());
    let mut states = 0;
    for cut in 0..=ops.len() {
        for (n, unsynced) in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn, Unsynced::Torn].into_iter().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64((cut * 10 + n) as u64);
            let image = power_cut(&ops[..cut], unsynced, &mut rng);
            check(image, &history, cut, &format!("cut {cut} of {}, {unsynced:?} {n}", ops.len()));
            states += 1;
        }
    }
    assert!(states >= 400, "{states} states");
}

#[test]
fn the_simulated_cut_does_lose_what_was_not_synced() {
    // Without this, the test above could pass over a disk that never forgets.
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    store.put(ROOT, &chunk(1)).unwrap();
    let ops: Vec<Op> = disk.ops();
    let lost = power_cut(&ops, Unsynced::Lost, &mut ChaCha8Rng::seed_from_u64(0));
    assert_eq!(on(&SimDisk::new(lost)).get(ROOT, chunk(1).digest).unwrap(), None);
    store.flush().unwrap();
    let kept = power_cut(&disk.ops(), Unsynced::Lost, &mut ChaCha8Rng::seed_from_u64(0));
    assert_eq!(on(&SimDisk::new(kept)).get(ROOT, chunk(1).digest).unwrap(), Some(chunk(1)));
}

#[test]
fn what_a_killed_process_left_unsynced_is_durable_once_the_store_is_open_again() {
    (1..CHUNKS).step_by(3).for_each(killed_after);
}

fn killed_after(chunks: u64) {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    for i in 0..chunks {
        store.put(ROOT, &chunk(i)).unwrap();
    }
    // Killed: the page cache has everything, the disk nothing.
    disk.syncs_fail.store(true, Ordering::Relaxed);
    drop(store);
    disk.syncs_fail.store(false, Ordering::Relaxed);
    let store = on(&disk);
    for i in 0..chunks {
        assert!(store.find(ROOT, chunk(i).digest).unwrap().is_some_and(|position| position <= store.durable_up_to()));
    }
    let ops = disk.ops();
    for seed in 0..10 {
        let unsynced = if seed == 0 { Unsynced::Lost } else { Unsynced::Torn };
        let image = power_cut(&ops, unsynced, &mut ChaCha8Rng::seed_from_u64(seed));
        let again = on(&SimDisk::new(image));
        for i in 0..chunks {
            assert_eq!(again.get(ROOT, chunk(i).digest).unwrap(), Some(chunk(i)), "seed {seed}");
        }
    }
}

//! I5: every acknowledged batch outlives a power cut, and no other is half there.
//!
//! A store works on a disk that records every write, sync and rename. The power is then cut at places of the record, each
//! time into one of the states that the cut may leave; what opens from it must be the state after exactly some number of
//! batches, no fewer than were acknowledged before the cut. Then it works on and is cut again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quics_meta::{Batch, BlobRef, Disk, Error, Journaled, MetaStore, Options, Receipt, SimDisk};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::disks::{Gate, Odd};

type Rows = BTreeMap<Bytes, Bytes>;
type Operations = Vec<(Bytes, Option<Bytes>)>;

fn options() -> Options {
    Options { segment_size: 3000, snapshot_after: 6000, ..Options::in_memory_index() }
}

/// What was asked of a store, and when it was promised.
#[derive(Default, Clone)]
struct History {
    /// What each seq changed, from seq 1 on.
    changes: Vec<Operations>,
    /// How many events the disk had recorded when a seq was known to be acknowledged.
    acknowledged: Vec<(usize, u64)>,
    /// How many events the disk had recorded when an opening had returned its epoch.
    opened: Vec<(usize, u64)>,
}

impl History {
    fn rows(&self, seq: u64) -> Rows {
        let mut rows = Rows::new();
        for (key, value) in self.changes[..seq as usize].iter().flatten() {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        rows
    }

    fn promised(&self, events: usize) -> u64 {
        self.acknowledged.iter().filter(|(at, _)| *at <= events).map(|(_, seq)| *seq).max().unwrap_or(0)
    }
}

fn content(n: u64) -> Vec<u8> {
    vec![n as u8; 20 + (n as usize * 37) % 400]
}

struct Worker<'a> {
    disk: &'a SimDisk,
    store: Journaled,
    history: History,
    pending: Vec<Receipt>,
}

impl Worker<'_> {
    fn submit(&mut self, batch: Batch, mut operations: Operations, located: Option<(Bytes, quics_meta::BlobSlot)>) {
        let receipt = self.store.submit(batch).unwrap();
        if let Some((key, slot)) = located {
            let at = receipt.blob(slot).unwrap();
            operations.push((key, Some([b"J".as_slice(), &at.to_bytes()].concat().into())));
        }
        self.history.changes.truncate(receipt.seq() as usize - 1);
        assert_eq!(self.history.changes.len() as u64 + 1, receipt.seq());
        self.history.changes.push(operations);
        self.pending.push(receipt);
    }

    fn settle(&mut self) {
        for receipt in self.pending.drain(..) {
            let seq = receipt.wait().unwrap();
            self.history.acknowledged.push((self.disk.events(), seq));
        }
    }

    /// Moves the blobs of sealed segments into rows of their own, then releases the segments.
    fn drain(&mut self) {
        for segment in self.store.draining(2) {
            for blob in self.store.blobs(segment, None, 1000).unwrap() {
                let key = Bytes::copy_from_slice(&blob.tag);
                let current = self.store.latest_get(&key).unwrap();
                if current.is_some_and(|value| value[1..] == blob.at.to_bytes()) {
                    let value = Bytes::from([b"M".as_slice(), &blob.bytes].concat());
                    let mut batch = Batch::new();
                    batch.put(key.clone(), value.clone());
                    self.submit(batch, vec![(key, Some(value))], None);
                }
            }
            self.settle();
            self.store.release(segment).unwrap();
        }
    }

    fn work(&mut self, rng: &mut ChaCha8Rng, batches: u64) {
        for _ in 0..batches {
            let n = self.history.changes.len() as u64 + 1;
            let (mut batch, mut operations) = (Batch::new(), Operations::new());
            for _ in 0..rng.random_range(1..6) {
                let key = Bytes::from(format!("k{}", rng.random_range(0..30)));
                if rng.random_bool(0.3) {
                    batch.delete(key.clone());
                    operations.push((key, None));
                } else {
                    let value = Bytes::from(vec![n as u8; rng.random_range(0..200)]);
                    batch.put(key.clone(), value.clone());
                    operations.push((key, Some(value)));
                }
            }
            let mut located = None;
            if rng.random_bool(0.4) {
                let key = Bytes::from(format!("c{n}"));
                let slot = batch.blob_tagged(key.clone(), content(n));
                batch.put_located(key.clone(), "J", slot);
                located = Some((key, slot));
            }
            self.submit(batch, operations, located);
            if rng.random_bool(0.4) {
                self.settle();
            }
            if rng.random_bool(0.1) {
                self.drain();
            }
            if rng.random_bool(0.05) {
                self.store.snapshot().unwrap();
            }
        }
        self.settle();
    }
}

fn open<'a>(disk: &'a SimDisk, history: History) -> Result<Worker<'a>, Error> {
    let store = Journaled::open_on(Arc::new(disk.clone()), options())?;
    let mut history = history;
    history.opened.push((disk.events(), store.epoch()));
    Ok(Worker { disk, store, history, pending: Vec::new() })
}

/// Checks a store against its history and gives the seq that it is at.
fn check(store: &Journaled, history: &History, promised: u64, what: &str) -> u64 {
    let applied = store.applied();
    assert!(applied >= promised, "{what}: seq {promised} was acknowledged, the store is at {applied}");
    assert!(applied <= history.changes.len() as u64, "{what}: a batch that nobody submitted");
    let rows: Rows = store.range(b"", b"", 4096).unwrap().into_iter().collect();
    assert_eq!(rows, history.rows(applied), "{what}: not the state after {applied} batches");
    for (key, value) in rows.iter().filter(|(key, _)| key[0] == b'c') {
        let n: u64 = std::str::from_utf8(&key[1..]).unwrap().parse().unwrap();
        let bytes = match value[0] {
            b'J' => store.read_blob(BlobRef::from_bytes(&value[1..]).unwrap()).unwrap(),
            _ => value.slice(1..),
        };
        assert_eq!(bytes, content(n), "{what}: the content of {n}");
    }
    applied
}

/// Checks every opening that had returned before the cut.
fn check_epochs(store: &Journaled, history: &History, events: usize, what: &str) {
    let chain: Vec<u64> = store.epochs().iter().map(|epoch| epoch.id).collect();
    for (_, epoch) in history.opened.iter().filter(|(at, _)| *at <= events) {
        assert!(chain.contains(epoch), "{what}: an epoch is gone from the chain");
    }
}

fn cut_and_check(seed: u64, cuts: impl Fn(usize, &mut ChaCha8Rng) -> Vec<usize>) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let disk = SimDisk::new(seed);
    let mut worker = open(&disk, History::default()).unwrap();
    worker.work(&mut rng, 120);
    drop(worker.store);
    let history = worker.history;
    let chosen = cuts(disk.events(), &mut rng);
    for at in &chosen {
        let what = format!("seed {seed}, cut at {at} of {}", disk.events());
        let after = disk.power_cut(*at, rng.random());
        let promised = history.promised(*at);
        let mut again = match open(&after, History::default()) {
            Ok(again) => again,
            Err(error) => panic!("{what}: {error}: {:?}", after.list().unwrap()),
        };
        let applied = check(&again.store, &history, promised, &what);
        check_epochs(&again.store, &history, *at, &what);
        // It works on, and is cut again, at times while it recovers.
        again.history.changes = history.changes[..applied as usize].to_vec();
        again.work(&mut rng, 3);
        let second_at = rng.random_range(0..=after.events());
        let mut both = again.history.clone();
        if both.promised(second_at) == 0 {
            // Cut before anything new was acknowledged: what the first opening showed must still be there if it had opened.
            let opened = both.opened[0].0 <= second_at;
            both.acknowledged.push((0, if opened { applied } else { promised }));
        }
        drop(again.store);
        let what = format!("{what}, then at {second_at} of {}", after.events());
        let last = after.power_cut(second_at, rng.random());
        match open(&last, History::default()) {
            Ok(last) => {
                check(&last.store, &both, both.promised(second_at), &what);
                check_epochs(&last.store, &both, second_at, &what);
                last.store.verify().unwrap();
            }
            Err(error) => panic!("{what}: {error}: {:?}", last.list().unwrap()),
        }
    }
    chosen.len()
}

#[test]
fn acknowledged_batches_outlive_a_power_cut_at_any_event_of_a_run() {
    let cuts = cut_and_check(1, |events, _| (0..=events).collect());
    assert!(cuts >= 200, "only {cuts} states");
}

#[test]
fn acknowledged_batches_outlive_power_cuts_of_many_runs() {
    let runs: u64 = std::env::var("QUICS_META_POWER_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    for seed in 100..100 + runs {
        cut_and_check(seed, |events, rng| (0..20).map(|_| rng.random_range(0..=events)).collect());
    }
}

#[test]
fn what_a_killed_process_wrote_and_the_next_one_showed_outlives_a_power_cut() {
    for seed in 0..50 {
        let (disk, gate) = (SimDisk::new(seed), Gate::default());
        let store = Journaled::open_on(Odd::gated(disk.clone(), &gate), options()).unwrap();
        let shut = gate.shut();
        let mut batch = Batch::new();
        batch.put("k", vec![7; 1500]);
        let receipt = store.submit(batch).unwrap();
        gate.wait_until_somebody_waits();
        // The frame is written and not synced; the process ends here.
        let killed = disk.after_kill();
        let next = Journaled::open_on(Arc::new(killed.clone()), options()).unwrap();
        assert_eq!(next.applied(), 1, "a kill loses nothing that was written");
        let shown = killed.events();
        assert_eq!(next.get(b"k").unwrap().unwrap(), vec![7; 1500]);
        let cut = Journaled::open_on(Arc::new(killed.power_cut(shown, seed)), options()).unwrap();
        assert_eq!(cut.get(b"k").unwrap().unwrap(), vec![7; 1500], "seed {seed}: a reader had seen it");
        drop(shut);
        receipt.wait().unwrap();
    }
}

#[test]
fn a_cut_disk_loses_what_was_not_synced() {
    // The simulated disk itself: were it kinder than a real one, the tests above would prove nothing.
    let disk = SimDisk::new(1);
    let file = disk.create("a", 0).unwrap();
    file.write_all_at(&[1; 2048], 0).unwrap();
    file.sync().unwrap();
    let synced = disk.events();
    disk.sync_dir().unwrap();
    file.write_all_at(&[2; 2048], 0).unwrap();
    let mixed = (0..50).filter_map(|seed| disk.power_cut(disk.events(), seed).bytes_of("a")).collect::<Vec<_>>();
    assert_eq!(mixed.len(), 50, "the name was synced");
    assert!(mixed.iter().any(|bytes| bytes.contains(&1) && bytes.contains(&2)));
    assert!(mixed.iter().any(|bytes| bytes[..512] == [1; 512] && bytes[512..1024] == [2; 512]));
    assert!((0..50).any(|seed| disk.power_cut(synced, seed).bytes_of("a").is_none()), "a name may be lost");
}

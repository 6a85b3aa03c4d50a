//! Damage is named, or harmless; it never changes what is read.

use std::sync::Arc;

use quics_meta::{Batch, BlobRef, Disk, Error, Journaled, MetaStore, Options, Row, SimDisk};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn options() -> Options {
    Options { segment_size: 2048, ..Options::in_memory_index() }
}

/// Makes a store with sealed segments, a snapshot and blobs, closes it, and gives what it holds.
fn sample() -> (SimDisk, Vec<Row>, Vec<(BlobRef, u8)>) {
    let disk = SimDisk::new(3);
    let store = Journaled::open_on(Arc::new(disk.clone()), options()).unwrap();
    let mut blobs = Vec::new();
    for n in 0..60_u8 {
        let mut batch = Batch::new();
        batch.put(vec![b'k', n % 20], vec![n; 50]);
        if n % 3 == 0 {
            let slot = batch.blob(vec![n; 100]);
            let receipt = store.submit(batch).unwrap();
            blobs.push((receipt.blob(slot).unwrap(), n));
            receipt.wait().unwrap();
        } else {
            store.submit(batch).unwrap().wait().unwrap();
        }
        if n == 30 {
            store.snapshot().unwrap();
        }
    }
    let rows = store.range(b"", b"", 100).unwrap();
    store.close().unwrap();
    (disk, rows, blobs)
}

#[test]
fn a_single_corruption_is_named_or_harmless() {
    let states: u64 = std::env::var("QUICS_META_CORRUPTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let (disk, rows, blobs) = sample();
    let mut names: Vec<_> = disk.list().unwrap();
    names.sort();
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..states {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let hurt = disk.after_kill();
        let name = &names[rng.random_range(0..names.len())];
        let len = hurt.bytes_of(name).unwrap().len() as u64;
        let offset = rng.random_range(0..len);
        let flip = 1 << rng.random_range(0..8);
        assert!(hurt.corrupt(name, offset, |bytes| bytes[0] ^= flip));
        match Journaled::open_on(Arc::new(hurt), options()) {
            Err(Error::Damaged { file, .. } | Error::Newer { file, .. }) => {
                assert_eq!(&file, name, "seed {seed}: the wrong file is named");
                refused += 1;
            }
            Err(other) => panic!("seed {seed}: {name} at {offset}: {other}"),
            Ok(store) => {
                assert_eq!(store.range(b"", b"", 100).unwrap(), rows, "seed {seed}: {name} at {offset}");
                for (at, n) in &blobs {
                    assert_eq!(store.read_blob(*at).unwrap(), vec![*n; 100], "seed {seed}: {name} at {offset}");
                }
                harmless += 1;
            }
        }
    }
    assert!(refused > harmless, "{refused} refused, {harmless} harmless: most bytes matter");
}

#[test]
fn damage_in_a_sealed_segment_names_the_segment_and_the_frame() {
    let (disk, ..) = sample();
    let mut names: Vec<_> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".journal")).collect();
    names.sort();
    let name = &names[1];
    assert!(disk.corrupt(name, 64 + 70, |bytes| bytes[0] ^= 1));
    match Journaled::open_on(Arc::new(disk.clone()), options()) {
        Err(Error::Damaged { file, offset, .. }) => assert_eq!((&file, offset), (name, 64)),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn damage_before_a_later_durable_frame_is_no_torn_tail() {
    let disk = SimDisk::new(3);
    let large = Options { segment_size: 1 << 20, ..options() };
    let store = Journaled::open_on(Arc::new(disk.clone()), large.clone()).unwrap();
    for n in 0..10_u8 {
        let mut batch = Batch::new();
        batch.put(vec![b'k', n], vec![n; 50]);
        store.submit(batch).unwrap().wait().unwrap();
    }
    let live = format!("{:020}.journal", 2);
    // Killed, so without a marker: only the frames themselves can tell.
    let frame = (disk.bytes_of(&live).unwrap().windows(4).skip(1).position(|w| w == b"QJF1").unwrap() + 1) as u64;
    for hurt in 0..10 {
        let killed = disk.after_kill();
        let starts: Vec<u64> = killed
            .bytes_of(&live)
            .unwrap()
            .windows(4)
            .enumerate()
            .filter(|(_, w)| *w == b"QJF1")
            .map(|(at, _)| at as u64)
            .collect();
        assert_eq!((starts.len(), starts[0]), (10, frame));
        assert!(killed.corrupt(&live, starts[hurt] + 80, |bytes| bytes[0] ^= 0x10));
        match Journaled::open_on(Arc::new(killed), large.clone()) {
            Err(Error::Damaged { file, offset, .. }) => {
                assert_eq!((&file, offset), (&live, starts[hurt]));
                assert!(hurt < 9);
            }
            Ok(store) => {
                assert_eq!((hurt, store.applied()), (9, 9), "only the last group can be torn");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_missing_segment_or_journal_is_an_error() {
    let (disk, ..) = sample();
    let mut names: Vec<_> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".journal")).collect();
    names.sort();
    let gap = disk.after_kill();
    gap.remove(&names[1]).unwrap();
    assert!(
        matches!(Journaled::open_on(Arc::new(gap), options()), Err(Error::Missing { file, .. }) if file == names[1])
    );
    let tail = disk.after_kill();
    tail.remove(names.last().unwrap()).unwrap();
    assert!(matches!(Journaled::open_on(Arc::new(tail), options()), Err(Error::Damaged { .. })));
    let none = disk.after_kill();
    for name in &names {
        none.remove(name).unwrap();
    }
    assert!(matches!(Journaled::open_on(Arc::new(none), options()), Err(Error::Missing { .. })));
}

#[test]
fn verification_finds_damage_that_came_while_the_store_was_open() {
    let disk = SimDisk::new(3);
    let store = Journaled::open_on(Arc::new(disk.clone()), options()).unwrap();
    for n in 0..60_u8 {
        let mut batch = Batch::new();
        batch.put(vec![b'k', n % 20], vec![n; 50]);
        store.submit(batch).unwrap().wait().unwrap();
    }
    store.verify().unwrap();
    let name = format!("{:020}.journal", 3);
    assert!(disk.corrupt(&name, 300, |bytes| bytes[0] ^= 4));
    assert!(matches!(store.verify(), Err(Error::Damaged { file, .. }) if file == name));
}

#[test]
fn a_damaged_blob_is_an_error_and_not_content() {
    let disk = SimDisk::new(3);
    let store = Journaled::open_on(Arc::new(disk.clone()), options()).unwrap();
    let mut batch = Batch::new();
    let slot = batch.blob("content");
    let receipt = store.submit(batch).unwrap();
    let at = receipt.blob(slot).unwrap();
    receipt.wait().unwrap();
    let name = format!("{:020}.journal", at.segment);
    assert!(disk.corrupt(&name, u64::from(at.offset) + 2, |bytes| bytes[0] ^= 4));
    assert!(matches!(store.read_blob(at), Err(Error::Damaged { file, .. }) if file == name));
}

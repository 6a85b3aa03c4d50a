//! The store over a real directory and over one that fails.

mod damage;
mod power;
mod rewrite;

use std::{
    ops::ControlFlow,
    sync::{Arc, Barrier, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use quics_types::RootId;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use super::{
    Options, Segments, header,
    sim::{Image, SimDisk, SimHandle},
};
use crate::{ChunkStore, Error, MemoryChunks, Packed, pack, store::contract};

pub(super) const ROOT: RootId = RootId::from_bytes([7; 16]);

/// Segments so small that every test rolls over some.
pub(super) const SMALL: Options =
    Options { segment_bytes: 384 * 1024, allocate_bytes: 64 * 1024, sync_bytes: 1 << 30, open_files: 2 };

pub(super) fn on(disk: &Arc<SimDisk>) -> Segments {
    Segments::open_on(Arc::new(SimHandle(disk.clone())), SMALL).unwrap()
}

/// The `i`th of a row of chunks: noise and text of many lengths.
pub(super) fn chunk(i: u64) -> Packed {
    let length = [50, 700, 4096, 16_384, 60_000, 150_000][i as usize % 6] + i as usize;
    if i.is_multiple_of(4) {
        return pack(format!("line {i}\n").repeat(length / 8).as_bytes());
    }
    let mut data = vec![0; length];
    ChaCha8Rng::seed_from_u64(i).fill_bytes(&mut data);
    pack(&data)
}

fn small(directory: &TempDir) -> Segments {
    Segments::open(directory.path(), SMALL).unwrap()
}

#[test]
fn a_store_in_memory_keeps_the_contract() {
    let store = MemoryChunks::new();
    contract::suite(&store, &|| _ = store.sync());
}

#[test]
fn a_store_on_a_disk_keeps_the_contract() {
    let directory = TempDir::new().unwrap();
    contract::suite(&Segments::open(directory.path(), Options::default()).unwrap(), &|| {});
}

#[test]
fn a_store_of_small_segments_keeps_the_contract() {
    contract::suite(&on(&SimDisk::new(Image::default())), &|| {});
}

#[test]
fn a_store_in_memory_is_reclaimed() {
    contract::reclaiming(&MemoryChunks::new());
}

#[test]
fn a_store_of_small_segments_is_reclaimed() {
    contract::reclaiming(&on(&SimDisk::new(Image::default())));
    let directory = TempDir::new().unwrap();
    contract::reclaiming(&small(&directory));
}

#[test]
fn what_was_put_is_there_after_opening_again() {
    let directory = TempDir::new().unwrap();
    for round in 0..4 {
        let store = small(&directory);
        let report = store.opened();
        assert_eq!((report.skipped_bytes, report.torn_bytes, report.indexes_rebuilt), (0, 0, 0));
        assert_eq!(store.stats().chunks, round * 20);
        let end = store.durable_up_to();
        for i in round * 20..(round + 1) * 20 {
            assert!(store.put(ROOT, &chunk(i)).unwrap() > end);
        }
        for i in 0..(round + 1) * 20 {
            assert_eq!(store.get(ROOT, chunk(i).digest).unwrap(), Some(chunk(i)));
        }
    }
    let store = small(&directory);
    let segments = store.segments();
    assert!(segments.len() > 5, "{segments:?}");
    assert!(segments.iter().rev().skip(1).all(|s| s.sealed && s.bytes <= SMALL.segment_bytes.into()));
    let mut records = 0;
    for segment in &segments {
        let count = &mut |_| {
            records += 1;
            ControlFlow::Continue(())
        };
        store.segment_records(segment.number, count).unwrap();
    }
    assert_eq!(records, 80);
}

#[test]
fn a_missing_side_index_is_written_anew() {
    let directory = TempDir::new().unwrap();
    let fill = small(&directory);
    for i in 0..40 {
        fill.put(ROOT, &chunk(i)).unwrap();
    }
    drop(fill);
    let golden = std::fs::read(directory.path().join(header::side_name(1))).unwrap();
    std::fs::remove_file(directory.path().join(header::side_name(1))).unwrap();
    std::fs::write(directory.path().join(header::side_name(2)), b"nonsense").unwrap();
    let store = small(&directory);
    assert_eq!(store.opened().indexes_rebuilt, 1, "one was damaged, one was never sealed as far as one can see");
    assert_eq!(std::fs::read(directory.path().join(header::side_name(1))).unwrap(), golden);
    for i in 0..40 {
        assert_eq!(store.get(ROOT, chunk(i).digest).unwrap(), Some(chunk(i)));
    }
}

#[test]
fn a_second_process_is_refused() {
    let directory = TempDir::new().unwrap();
    let first = small(&directory);
    assert!(matches!(Segments::open(directory.path(), SMALL), Err(Error::Held(_))));
    drop(first);
    small(&directory);
}

#[test]
fn impossible_options_are_refused() {
    let directory = TempDir::new().unwrap();
    for options in [
        Options { segment_bytes: 100_000, ..SMALL },
        Options { segment_bytes: 512 * 1024 * 1024, ..SMALL },
        Options { open_files: 0, ..SMALL },
    ] {
        assert!(matches!(Segments::open(directory.path(), options), Err(Error::Options(_))));
    }
}

#[test]
fn threads_put_and_read_the_same_chunks_and_each_is_stored_once() {
    let directory = TempDir::new().unwrap();
    let store = Segments::open(directory.path(), Options { sync_bytes: 500_000, ..SMALL }).unwrap();
    let barrier = Barrier::new(4);
    let work = || {
        let one = |i| {
            // All at once, so that none finds it in the index before another has put it.
            barrier.wait();
            let position = store.put(ROOT, &chunk(i))?;
            let flushed = if i % 30 == 0 { store.flush()? } else { position };
            Ok::<_, Error>((position, flushed, store.get(ROOT, chunk(i).digest)?))
        };
        (0..90).map(one).collect::<Vec<_>>()
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (i, result) in results.iter().flat_map(|results| (0..).zip(results)) {
        let (position, flushed, found) = result.as_ref().unwrap();
        assert_eq!(store.find(ROOT, chunk(i).digest).unwrap().as_ref(), Some(position));
        assert!(flushed >= position);
        assert_eq!(found.as_ref(), Some(&chunk(i)));
    }
    let stats = store.stats();
    assert_eq!((stats.chunks, stats.live_bytes), (90, stats.stored_bytes));
}

#[test]
fn a_large_upload_is_synced_on_its_way() {
    let disk = SimDisk::new(Image::default());
    let options = Options { sync_bytes: 200_000, ..SMALL };
    let store = Segments::open_on(Arc::new(SimHandle(disk)), options).unwrap();
    let first = store.put(ROOT, &chunk(1)).unwrap();
    for i in 2..30 {
        store.put(ROOT, &chunk(i)).unwrap();
    }
    // Nobody asked; it becomes durable nevertheless, with the syncer's next round.
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.durable_up_to() < first {
        assert!(Instant::now() < deadline, "nothing was synced");
        std::thread::yield_now();
    }
}

#[test]
fn a_failed_sync_is_fatal_and_never_tried_again() {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    store.put(ROOT, &chunk(1)).unwrap();
    let durable = store.flush().unwrap();
    store.put(ROOT, &chunk(2)).unwrap();
    disk.syncs_fail.store(true, Ordering::Relaxed);
    let (tell, told) = mpsc::channel();
    store.flush_notify(Box::new(move |result| tell.send(result).unwrap()));
    assert!(matches!(told.recv().unwrap(), Err(Error::Failed(_))));
    // The disk recovers, but the pages that the kernel dropped do not.
    disk.syncs_fail.store(false, Ordering::Relaxed);
    assert!(matches!(store.flush(), Err(Error::Failed(_))));
    assert!(matches!(store.put(ROOT, &chunk(3)), Err(Error::Failed(_))));
    let (tell, told) = mpsc::channel();
    store.flush_notify(Box::new(move |result| tell.send(result).unwrap()));
    assert!(matches!(told.recv().unwrap(), Err(Error::Failed(_))));
    assert_eq!(store.durable_up_to(), durable);
    assert_eq!(store.get(ROOT, chunk(1).digest).unwrap(), Some(chunk(1)));
    let syncs = disk.count();
    drop(store);
    assert_eq!(disk.count(), syncs, "nothing is synced on the way out");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    let mut put = 0;
    for i in 0..40 {
        disk.full.store(i % 3 == 1, Ordering::Relaxed);
        match store.put(ROOT, &chunk(i)) {
            Ok(_) => put += 1,
            Err(Error::NoSpace) => {
                assert_eq!(store.get(ROOT, chunk(i).digest).unwrap(), None);
                disk.full.store(false, Ordering::Relaxed);
                store.put(ROOT, &chunk(i)).unwrap();
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!((20..30).contains(&put), "{put} were put at once");
    store.flush().unwrap();
    drop(store);
    let store = on(&SimDisk::new(disk.image()));
    assert_eq!(store.opened().skipped_bytes, 0);
    for i in 0..40 {
        assert_eq!(store.get(ROOT, chunk(i).digest).unwrap(), Some(chunk(i)));
    }
}

#[test]
fn a_segment_of_a_newer_version_is_refused_by_name_and_left_alone() {
    let disk = SimDisk::new(Image::default());
    drop(on(&disk));
    let mut image = disk.image();
    let file = image.file(&header::segment_name(1));
    let mut newer = header::encode(1, &[5; 32]);
    newer[8] = 2;
    let sum = quics_types::Digest::of(&newer[..64]);
    newer[64..].copy_from_slice(&sum.as_bytes()[..16]);
    file[..80].copy_from_slice(&newer);
    let disk = SimDisk::new(image);
    let refused = Segments::open_on(Arc::new(SimHandle(disk.clone())), SMALL);
    assert!(matches!(refused, Err(Error::Newer { found: 2, .. })));
    assert_eq!(disk.count(), 0);
}

//! What the journal promises beyond the contract: groups, gates, full and failing disks, snapshots.

use std::sync::Arc;

use quics_meta::{Batch, Disk, Error, Journaled, MetaStore, Options, SimDisk};

use crate::disks::{Gate, Odd};

fn options() -> Options {
    Options { segment_size: 4096, ..Options::in_memory_index() }
}

fn open(disk: &SimDisk) -> Journaled {
    Journaled::open_on(Arc::new(disk.clone()), options()).unwrap()
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Batch {
    let mut batch = Batch::new();
    batch.put(key.as_ref().to_vec(), value.as_ref().to_vec());
    batch
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| name.ends_with(".journal")).collect()
}

#[test]
fn readers_see_nothing_before_its_sync_and_what_waits_shares_the_next_one() {
    let gate = Gate::default();
    let store = Journaled::open_on(Odd::gated(SimDisk::new(1), &gate), options()).unwrap();
    let before = gate.passed();
    let shut = gate.shut();
    let mut first = store.submit(put("a", "1")).unwrap();
    gate.wait_until_somebody_waits();
    let rest: Vec<_> = (0..20).map(|n| store.submit(put(format!("b{n}"), "1")).unwrap()).collect();
    assert_eq!(store.get(b"a").unwrap(), None);
    assert_eq!(store.range(b"a", b"z", 100).unwrap(), []);
    assert_eq!(store.latest_range(b"a", b"z", 100).unwrap().len(), 21);
    assert!(first.try_poll().is_none());
    drop(shut);
    for receipt in rest {
        receipt.wait().unwrap();
    }
    assert_eq!(gate.passed() - before, 2, "one sync for the first batch, one for the twenty that waited");
    assert_eq!(store.range(b"a", b"z", 100).unwrap().len(), 21);
}

#[test]
fn a_full_queue_is_busy_until_there_is_room() {
    let gate = Gate::default();
    let tight = Options { queue_bytes: 4096, ..options() };
    let store = Arc::new(Journaled::open_on(Odd::gated(SimDisk::new(1), &gate), tight).unwrap());
    let shut = gate.shut();
    let first = store.submit(put("a", [0; 3000])).unwrap();
    gate.wait_until_somebody_waits();
    assert!(matches!(store.submit(put("b", [0; 3000])), Err(Error::Busy)), "what the writer holds counts");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut room = store.room();
    runtime.block_on(async { assert!(futures_ready(&mut room).await.is_none()) });
    drop(shut);
    runtime.block_on(room);
    store.submit(put("b", [0; 3000])).unwrap().wait().unwrap();
    first.wait().unwrap();
    runtime.block_on(async {
        let large: Vec<_> = (0..20).map(|n| put(format!("c{n}"), [0; 3000])).collect();
        for batch in large {
            quics_meta::commit(&*store, batch).await.unwrap();
        }
    });
}

/// Polls a future once.
async fn futures_ready<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = std::pin::Pin::new(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[test]
fn a_failed_sync_is_the_last_word() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    store.submit(put("a", "1")).unwrap().wait().unwrap();
    disk.fail_syncs_after(0);
    let receipt = store.submit(put("a", "2")).unwrap();
    assert!(matches!(receipt.wait(), Err(Error::Fatal { .. })));
    assert!(matches!(store.submit(put("a", "3")), Err(Error::Fatal { .. })));
    assert!(matches!(store.health(), Err(Error::Fatal { .. })));
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"1"[..]), "what was acknowledged is still read");
    assert!(matches!(store.close(), Err(Error::Fatal { .. })));
    let again = open(&disk.after_kill());
    let value = again.get(b"a").unwrap().unwrap();
    assert!(value == "1" || value == "2");
}

#[test]
fn a_full_disk_refuses_what_is_queued_and_the_store_goes_on() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    store.submit(put("a", "1")).unwrap().wait().unwrap();
    disk.set_room(Some(100));
    let mut accepted = 1;
    let refused = loop {
        match store.submit(put("a", vec![b'x'; 1000])).unwrap().wait() {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 10, "a segment has 4096 bytes");
    };
    assert!(matches!(refused, Error::NoSpace), "{refused}");
    store.health().unwrap();
    assert_eq!(store.latest_get(b"a").unwrap(), store.get(b"a").unwrap());
    disk.set_room(None);
    assert_eq!(store.submit(put("a", "9")).unwrap().wait().unwrap(), accepted + 1);
    store.submit(put("b", vec![b'x'; 3000])).unwrap().wait().unwrap();
    drop(store);
    let again = open(&disk);
    assert_eq!(again.get(b"a").unwrap().as_deref(), Some(&b"9"[..]));
    assert_eq!(again.applied(), accepted + 2);
}

#[test]
fn a_batch_larger_than_a_segment_has_one_of_its_own() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    let mut batch = Batch::new();
    let slot = batch.blob(vec![5; 100_000]);
    store.submit(put("a", "1")).unwrap().wait().unwrap();
    let receipt = store.submit(batch).unwrap();
    let at = receipt.blob(slot).unwrap();
    store.submit(put("a", "2")).unwrap().wait().unwrap();
    assert_eq!(store.read_blob(at).unwrap(), vec![5; 100_000]);
    drop(store);
    let again = open(&disk);
    assert_eq!(again.read_blob(at).unwrap(), vec![5; 100_000]);
    assert_eq!(again.applied(), 3);
    again.verify().unwrap();
}

#[test]
fn segments_are_dropped_behind_a_snapshot_once_their_blobs_are_released() {
    let disk = SimDisk::new(1);
    let epoch = open(&disk).epoch();
    let store = open(&disk);
    let mut batch = Batch::new();
    let slot = batch.blob("precious");
    let receipt = store.submit(batch).unwrap();
    let at = receipt.blob(slot).unwrap();
    receipt.wait().unwrap();
    for n in 0..60 {
        store.submit(put(format!("k{n}"), vec![n; 300])).unwrap().wait().unwrap();
    }
    assert!(segments(&disk).len() > 4);
    store.snapshot().unwrap();
    assert_eq!(store.draining(10), [at.segment]);
    assert_eq!(segments(&disk)[0], format!("{:020}.journal", at.segment), "the blob holds its segment");
    assert_eq!(store.read_blob(at).unwrap(), "precious");
    store.release(at.segment).unwrap();
    store.submit(put("z", "z")).unwrap().wait().unwrap();
    store.snapshot().unwrap();
    assert_eq!(segments(&disk).len(), 1, "only the segment that is written to is left");
    assert!(matches!(store.read_blob(at), Err(Error::Gone { .. })));
    assert!(matches!(store.blobs(at.segment, None, 1), Err(Error::Missing { .. })));
    let report = store.verify().unwrap();
    assert_eq!((report.snapshots, report.rows), (1, 61));
    let rows = store.range(b"", b"", 100).unwrap();
    drop(store);
    let again = open(&disk);
    assert_eq!(again.range(b"", b"", 100).unwrap(), rows);
    assert_eq!(again.epochs()[0].id, epoch, "the chain outlives the segments");
    assert_eq!(disk.list().unwrap().iter().filter(|name| name.ends_with(".snapshot")).count(), 1);
}

#[test]
fn a_blob_that_was_released_is_in_no_file_after_sealing_and_a_snapshot() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    let mut batch = Batch::new();
    let slot = batch.blob("what must not be kept");
    batch.put_located("k", "", slot);
    store.submit(batch).unwrap().wait().unwrap();
    let holding = || {
        let names = disk.list().unwrap();
        let holds = |name: &String| {
            disk.bytes_of(name).is_some_and(|bytes| bytes.windows(21).any(|at| at == b"what must not be kept"))
        };
        names.into_iter().filter(holds).count()
    };
    assert_eq!(holding(), 1);
    store.seal().unwrap().wait().unwrap();
    let sealed = store.draining(10);
    let mut batch = Batch::new();
    batch.delete("k");
    store.submit(batch).unwrap().wait().unwrap();
    sealed.iter().for_each(|segment| store.release(*segment).unwrap());
    store.snapshot().unwrap();
    assert_eq!(holding(), 0);
}

#[test]
fn the_journal_is_kept_short_without_being_asked() {
    let disk = SimDisk::new(1);
    let small = Options { snapshot_after: 16 << 10, ..options() };
    let store = Journaled::open_on(Arc::new(disk.clone()), small).unwrap();
    let (mut longest, mut n) = (0, 0_u32);
    // It ends when the upkeep has had its turn; without upkeep the journal only ever grows.
    while longest < 20 || segments(&disk).len() > longest / 2 {
        store.submit(put(format!("k{}", n % 10), vec![7; 300])).unwrap().wait().unwrap();
        longest = longest.max(segments(&disk).len()).max(n as usize / 10);
        n += 1;
        assert!(n < 100_000, "{} segments are left", segments(&disk).len());
    }
    store.verify().unwrap();
}

#[test]
fn snapshots_and_exports_taken_while_commits_go_on_are_whole() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..3000_u32 {
                let mut batch = Batch::new();
                // Every batch moves one unit from a row to another: the sum never changes.
                batch.put(format!("k{:04}", n % 1500), n.to_be_bytes().to_vec());
                batch.put(format!("m{:04}", 1499 - n % 1500), n.to_be_bytes().to_vec());
                drop(store.submit(batch).unwrap());
            }
        });
        while !writer.is_finished() {
            store.snapshot().unwrap();
            let mut exported = Vec::new();
            let seq = store.export(&mut exported).unwrap();
            let mut rows = std::collections::BTreeMap::new();
            let summary = quics_meta::read_export(&mut &exported[..], |record| {
                if let quics_meta::Record::Row(key, value) = record {
                    match value {
                        Some(value) => drop(rows.insert(key, value)),
                        None => drop(rows.remove(&key)),
                    }
                }
                Ok(())
            })
            .unwrap();
            assert_eq!(summary.until, seq);
            let mut expected = std::collections::BTreeMap::new();
            for n in 0..seq as u32 {
                expected.insert(format!("k{:04}", n % 1500).into(), n.to_be_bytes().to_vec().into());
                expected.insert(format!("m{:04}", 1499 - n % 1500).into(), n.to_be_bytes().to_vec().into());
            }
            assert_eq!(rows, expected);
            store.verify().unwrap();
        }
    });
    let rows = store.latest_range(b"", b"", 4096).unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(open(&disk).range(b"", b"", 4096).unwrap(), rows);
}

#[test]
fn a_killed_store_has_everything_that_was_acknowledged() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    for n in 0..100 {
        store.submit(put(format!("k{n}"), "v")).unwrap().wait().unwrap();
    }
    let rows = store.range(b"", b"", 1000).unwrap();
    let again = open(&disk.after_kill());
    assert_eq!(again.range(b"", b"", 1000).unwrap(), rows);
    assert_eq!(again.epochs().len(), 2);
}

#[test]
fn a_store_that_was_put_back_to_an_older_copy_tells_cursors_that_came_after_it() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    for n in 0..10 {
        store.submit(put(format!("k{n}"), "old")).unwrap().wait().unwrap();
    }
    let kept = (store.epoch(), store.applied());
    let rows = store.range(b"", b"", 100).unwrap();
    store.close().unwrap();
    let copy = disk.after_kill();

    let store = open(&disk);
    for n in 0..10 {
        store.submit(put(format!("k{n}"), "new")).unwrap().wait().unwrap();
    }
    let (later, far) = ((store.epoch(), store.applied()), (kept.0, kept.1 + 1));
    store.close().unwrap();

    let back = open(&copy);
    back.verify().unwrap();
    assert_eq!(back.range(b"", b"", 100).unwrap(), rows, "the copy is whole");
    back.submit(put("k0", "another")).unwrap().wait().unwrap();
    assert_eq!(back.applied(), later.1 - 9, "its numbers are given a second time");
    let holds = |(epoch, seq)| quics_meta::chain_holds(&back.epochs(), back.applied(), epoch, seq);
    assert!(holds(kept), "what was known when the copy was made is known");
    assert!(!holds(later) && !holds(far), "what came later is not, although its number was given again");
    assert!(holds((back.epoch(), back.applied())));
}

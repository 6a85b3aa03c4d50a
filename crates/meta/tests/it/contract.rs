//! What every backend promises: one suite of generic cases, run over each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use quics_meta::{
    Batch, BlobRef, Error, IndexKind, Journaled, MAX_BATCH, MAX_ROW, Memory, MetaStore, Options, Receipt, Record,
    chain_holds, commit, read_export,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SEGMENT: u64 = 4096;

/// A kind of store that can be opened again after it was closed.
trait Backend {
    fn open(&mut self) -> Arc<dyn MetaStore>;

    /// Makes what is queued durable, where that does not happen by itself.
    fn pump(&self);

    fn done(&self, receipt: Receipt) -> Result<u64, Error> {
        self.pump();
        receipt.wait()
    }

    fn put(&self, store: &dyn MetaStore, key: &str, value: &str) -> u64 {
        let mut batch = Batch::new();
        batch.put(key.to_owned(), value.to_owned());
        self.done(store.submit(batch).unwrap()).unwrap()
    }
}

struct OnDisk {
    dir: tempfile::TempDir,
    index: IndexKind,
}

impl OnDisk {
    fn new(index: IndexKind) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), index }
    }
}

impl Backend for OnDisk {
    fn open(&mut self) -> Arc<dyn MetaStore> {
        let options = Options { index: self.index, segment_size: SEGMENT, queue_bytes: 1 << 26, ..Options::default() };
        Arc::new(Journaled::open(self.dir.path(), options).unwrap())
    }

    fn pump(&self) {}
}

#[derive(Default)]
struct InMemory(Option<Memory>, u64);

impl Backend for InMemory {
    fn open(&mut self) -> Arc<dyn MetaStore> {
        self.1 += 1;
        let next = match &self.0 {
            None => Memory::with(self.1, SEGMENT, 1 << 26, false),
            Some(last) => last.reopen(self.1).unwrap(),
        };
        Arc::new(self.0.insert(next).clone())
    }

    fn pump(&self) {
        self.0.as_ref().unwrap().sync().unwrap();
    }
}

macro_rules! contract {
    ($($case:ident)*) => {
        mod sled { $(#[test] fn $case() { super::$case(super::OnDisk::new(super::IndexKind::Sled)) })* }
        mod btree { $(#[test] fn $case() { super::$case(super::OnDisk::new(super::IndexKind::BTree)) })* }
        mod memory { $(#[test] fn $case() { super::$case(super::InMemory::default()) })* }
    };
}

contract! {
    a_batch_is_seen_whole_once_its_receipt_resolved
    a_failed_precondition_queues_nothing
    preconditions_are_judged_against_batches_still_queued
    counters_do_not_lose_increments_of_competing_threads
    ranges_and_latest_ranges_agree_with_a_model
    of_several_operations_on_a_key_the_last_counts
    what_is_over_its_bound_is_refused_by_name
    blobs_are_read_while_queued_and_when_durable
    a_reference_that_means_other_bytes_is_an_error
    blobs_of_sealed_segments_are_drained_and_released
    reopening_keeps_rows_and_extends_the_chain_of_epochs
    closing_makes_what_is_queued_durable_and_ends_the_handle
    seqs_have_no_gaps_and_applied_follows
    an_empty_batch_is_a_barrier
    an_export_is_the_whole_state
    a_receipt_that_is_dropped_takes_nothing_back
    commit_resolves_for_async_callers
    verification_counts_what_there_is
}

fn a_batch_is_seen_whole_once_its_receipt_resolved(mut backend: impl Backend) {
    let store = backend.open();
    let mut batch = Batch::new();
    batch.put("a", "1").put("b", "2").delete("c");
    let receipt = store.submit(batch).unwrap();
    assert_eq!(store.latest_get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(backend.done(receipt).unwrap(), 1);
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(b"b").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.get(b"c").unwrap(), None);
    assert_eq!(store.get(b"").unwrap(), None);
}

fn a_failed_precondition_queues_nothing(mut backend: impl Backend) {
    let store = backend.open();
    backend.put(&*store, "a", "1");
    let mut batch = Batch::new();
    batch.expect_absent("z").expect("a", Some("2".into())).put("a", "3").put("z", "3");
    assert!(matches!(store.submit(batch), Err(Error::Precondition { key }) if key == "a"));
    assert_eq!(store.latest_get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.latest_get(b"z").unwrap(), None);
    assert_eq!(backend.put(&*store, "b", "1"), 2, "the refused batch took no seq");
}

fn preconditions_are_judged_against_batches_still_queued(mut backend: impl Backend) {
    let store = backend.open();
    let step = |from: Option<&'static str>, to: &'static str| {
        let mut batch = Batch::new();
        batch.expect("a", from.map(Bytes::from)).put("a", to);
        store.submit(batch)
    };
    let first = step(None, "1").unwrap();
    let second = step(Some("1"), "2").unwrap();
    assert!(matches!(step(Some("1"), "3"), Err(Error::Precondition { .. })));
    let mut batch = Batch::new();
    batch.expect("a", Some("2".into())).delete("a");
    let third = store.submit(batch).unwrap();
    let fourth = step(None, "4").unwrap();
    for (receipt, seq) in [first, second, third, fourth].into_iter().zip(1..) {
        assert_eq!(backend.done(receipt).unwrap(), seq);
    }
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"4"[..]));
}

fn counters_do_not_lose_increments_of_competing_threads(mut backend: impl Backend) {
    const EACH: u64 = 100;
    let store = backend.open();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut done = 0;
                while done < EACH {
                    let before = store.latest_get(b"n").unwrap();
                    let count = before.as_deref().map_or(0, |v| u64::from_be_bytes(v.try_into().unwrap()));
                    let mut batch = Batch::new();
                    batch.expect("n", before).put("n", (count + 1).to_be_bytes().to_vec());
                    match store.submit(batch) {
                        Ok(_) => done += 1,
                        Err(Error::Precondition { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    backend.done(store.submit(Batch::new()).unwrap()).unwrap();
    assert_eq!(store.get(b"n").unwrap().unwrap(), (4 * EACH).to_be_bytes()[..]);
}

fn ranges_and_latest_ranges_agree_with_a_model(mut backend: impl Backend) {
    let store = backend.open();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let key = |rng: &mut ChaCha8Rng| format!("k{:03}", rng.random_range(0..300)).into_bytes();
    let compare = |rng: &mut ChaCha8Rng, model: &BTreeMap<Vec<u8>, Vec<u8>>, durable: bool| {
        let (a, b) = (key(rng), if rng.random_bool(0.2) { Vec::new() } else { key(rng) });
        let limit = rng.random_range(0..40);
        let inside = |k: &[u8]| k >= &a[..] && (b.is_empty() || k < &b[..]);
        let expected: Vec<_> = model.iter().filter(|(k, _)| inside(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let forth: Vec<_> = expected.iter().take(limit).cloned().collect();
        let back: Vec<_> = expected.iter().rev().take(limit).cloned().collect();
        let plain = |rows: Vec<(Bytes, Bytes)>| rows.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect::<Vec<_>>();
        assert_eq!(plain(store.latest_range(&a, &b, limit).unwrap()), forth);
        assert_eq!(plain(store.latest_range_back(&a, &b, limit).unwrap()), back);
        if durable {
            assert_eq!(plain(store.range(&a, &b, limit).unwrap()), forth);
            assert_eq!(plain(store.range_back(&a, &b, limit).unwrap()), back);
        }
    };
    for round in 0..150_u32 {
        let mut batch = Batch::new();
        for _ in 0..rng.random_range(1..12) {
            let key = key(&mut rng);
            if rng.random_bool(0.4) {
                model.remove(&key);
                batch.delete(key);
            } else {
                model.insert(key.clone(), round.to_be_bytes().to_vec());
                batch.put(key, round.to_be_bytes().to_vec());
            }
        }
        let receipt = store.submit(batch).unwrap();
        compare(&mut rng, &model, false);
        if round % 7 == 0 {
            backend.done(receipt).unwrap();
            for _ in 0..5 {
                compare(&mut rng, &model, true);
            }
        }
    }
}

fn of_several_operations_on_a_key_the_last_counts(mut backend: impl Backend) {
    let store = backend.open();
    let mut batch = Batch::new();
    batch.put("a", "1").delete("a").put("a", "2").put("b", "1").delete("b");
    backend.done(store.submit(batch).unwrap()).unwrap();
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.get(b"b").unwrap(), None);
}

fn what_is_over_its_bound_is_refused_by_name(mut backend: impl Backend) {
    let store = backend.open();
    let mut fits = Batch::new();
    fits.put("k", vec![7; MAX_ROW - 1]);
    backend.done(store.submit(fits).unwrap()).unwrap();
    assert_eq!(store.get(b"k").unwrap().unwrap().len(), MAX_ROW - 1);

    let mut row = Batch::new();
    row.put("k", vec![7; MAX_ROW]);
    assert!(matches!(store.submit(row), Err(Error::TooLarge { what: "a row", size: 4096, limit: 4095 })));
    let mut located = Batch::new();
    let slot = located.blob("x");
    located.put_located("k", vec![7; MAX_ROW - BlobRef::LEN], slot);
    assert!(matches!(store.submit(located), Err(Error::TooLarge { what: "a row", .. })));
    let mut large = Batch::new();
    large.blob(vec![0; MAX_BATCH]);
    assert!(matches!(store.submit(large), Err(Error::TooLarge { what: "a batch", .. })));
    for key in [&b""[..], b"\0", b"\0mark"] {
        let mut reserved = Batch::new();
        reserved.put(key.to_vec(), "v");
        assert!(matches!(store.submit(reserved), Err(Error::ReservedKey { .. })));
    }
    let mut other = Batch::new();
    other.blob("one");
    let second = other.blob("two");
    let mut slotless = Batch::new();
    slotless.put_located("k", "", second);
    assert!(matches!(store.submit(slotless), Err(Error::NoSuchSlot { slot: 1 })));
    assert_eq!(store.applied(), 1);
}

fn blobs_are_read_while_queued_and_when_durable(mut backend: impl Backend) {
    let store = backend.open();
    let mut batch = Batch::new();
    let (one, two) = (batch.blob("first content"), batch.blob_tagged("tag", vec![9; 10_000]));
    batch.put_located("c/one", "head", one).put_located("c/two", "", two);
    let receipt = store.submit(batch).unwrap();
    let (one, two) = (receipt.blob(one).unwrap(), receipt.blob(two).unwrap());
    assert_eq!(store.read_blob(one).unwrap(), "first content");
    assert_eq!(store.read_blob(two).unwrap(), vec![9; 10_000]);
    backend.done(receipt).unwrap();
    let row = store.get(b"c/one").unwrap().unwrap();
    assert_eq!((&row[..4], BlobRef::from_bytes(&row[4..])), (&b"head"[..], Some(one)));
    assert_eq!(BlobRef::from_bytes(&store.get(b"c/two").unwrap().unwrap()), Some(two));
    assert_eq!(store.read_blob(one).unwrap(), "first content");
    assert_eq!(store.read_blob(two).unwrap(), vec![9; 10_000]);
    store.close().unwrap();
    drop(store);
    let store = backend.open();
    assert_eq!(store.read_blob(one).unwrap(), "first content");
    assert_eq!(store.read_blob(two).unwrap(), vec![9; 10_000]);
}

fn a_reference_that_means_other_bytes_is_an_error(mut backend: impl Backend) {
    let store = backend.open();
    let mut batch = Batch::new();
    let slot = batch.blob("content");
    let receipt = store.submit(batch).unwrap();
    let at = receipt.blob(slot).unwrap();
    backend.done(receipt).unwrap();
    let other = BlobRef { check: [0; 16], ..at };
    assert!(matches!(store.read_blob(other), Err(Error::Damaged { .. } | Error::Gone { .. })));
    assert!(matches!(store.read_blob(BlobRef { segment: 999, ..at }), Err(Error::Gone { .. })));
    let beyond = BlobRef { offset: u32::MAX, ..at };
    assert!(matches!(store.read_blob(beyond), Err(Error::Damaged { .. } | Error::Gone { .. })));
}

fn blobs_of_sealed_segments_are_drained_and_released(mut backend: impl Backend) {
    let store = backend.open();
    let mut written = Vec::new();
    for n in 0..20_u8 {
        let mut batch = Batch::new();
        let slot = batch.blob_tagged(vec![n], vec![n; 600]);
        batch.put_located(vec![b'c', n], "", slot);
        let receipt = store.submit(batch).unwrap();
        written.push((receipt.blob(slot).unwrap(), n));
        backend.done(receipt).unwrap();
    }
    let draining = store.draining(100);
    assert!(draining.len() >= 2 && draining.is_sorted(), "20 blobs of 600 bytes fill several segments: {draining:?}");
    assert_eq!(store.draining(1), draining[..1]);
    let last = written.last().unwrap().0.segment;
    assert!(!draining.contains(&last), "the segment that is written to is not drained");
    let mut found = Vec::new();
    for segment in &draining {
        let mut after = None;
        loop {
            let page = store.blobs(*segment, after, 2).unwrap();
            let Some(end) = page.last() else { break };
            after = Some(end.at);
            for blob in &page {
                assert_eq!(blob.bytes, vec![blob.tag[0]; 600]);
                found.push((blob.at, blob.tag[0]));
            }
        }
    }
    let sealed: Vec<_> = written.iter().filter(|(at, _)| at.segment < last).copied().collect();
    assert_eq!(found, sealed);
    for segment in &draining {
        store.release(*segment).unwrap();
    }
    assert_eq!(store.draining(100), []);
    assert!(matches!(store.release(last), Err(Error::Missing { .. })));
    assert_eq!(store.read_blob(written.last().unwrap().0).unwrap(), vec![19; 600]);
    let (one, two) = (store.seal().unwrap(), store.seal().unwrap());
    backend.done(one).unwrap();
    backend.done(two).unwrap();
    assert_eq!(store.draining(100), [last], "it takes no more batches");
    let left = store.blobs(last, None, 100).unwrap();
    assert_eq!(left.last().map(|blob| blob.at), written.last().map(|(at, _)| *at));
    store.release(last).unwrap();
    store.snapshot().unwrap();
    assert!(matches!(store.read_blob(written.last().unwrap().0), Err(Error::Gone { .. })));
}

fn reopening_keeps_rows_and_extends_the_chain_of_epochs(mut backend: impl Backend) {
    let mut chain = Vec::new();
    for round in 0..4_u64 {
        let store = backend.open();
        assert_eq!(store.applied(), round * 2);
        chain.push(store.epoch());
        assert_eq!(store.epochs().iter().map(|epoch| epoch.id).collect::<Vec<_>>(), chain);
        assert_eq!(store.epochs().last().unwrap().first_seq, round * 2 + 1);
        backend.put(&*store, &format!("k{round}"), "v");
        backend.put(&*store, "same", &round.to_string());
        assert_eq!(store.range(b"k", b"l", 10).unwrap().len(), round as usize + 1);
        store.close().unwrap();
    }
    let store = backend.open();
    let (epochs, applied) = (store.epochs(), store.applied());
    assert!(chain_holds(&epochs, applied, chain[1], 4));
    assert!(!chain_holds(&epochs, applied, chain[1], 5), "seq 5 was given by the next epoch");
    assert!(chain_holds(&epochs, applied, store.epoch(), 8));
    assert!(!chain_holds(&epochs, applied, store.epoch(), 9));
    assert!(!chain_holds(&epochs, applied, 0xdead, 1));
}

fn closing_makes_what_is_queued_durable_and_ends_the_handle(mut backend: impl Backend) {
    let store = backend.open();
    let receipts: Vec<_> = (0..50)
        .map(|n| {
            let mut batch = Batch::new();
            batch.put(format!("k{n:02}"), "v");
            store.submit(batch).unwrap()
        })
        .collect();
    store.close().unwrap();
    for mut receipt in receipts {
        assert!(matches!(receipt.try_poll(), Some(Ok(_))));
    }
    assert!(matches!(store.submit(Batch::new()), Err(Error::Closed)));
    assert!(matches!(store.get(b"k00"), Err(Error::Closed)));
    assert!(matches!(store.health(), Err(Error::Closed)));
    store.close().unwrap();
    drop(store);
    assert_eq!(backend.open().range(b"k", b"l", 100).unwrap().len(), 50);
}

fn seqs_have_no_gaps_and_applied_follows(mut backend: impl Backend) {
    let store = backend.open();
    let watch = store.watch_applied();
    assert_eq!((store.applied(), *watch.borrow()), (0, 0));
    for seq in 1..=30 {
        assert_eq!(backend.put(&*store, "k", "v"), seq);
        assert!(store.applied() >= seq);
        assert!(*watch.borrow() >= seq);
    }
}

fn an_empty_batch_is_a_barrier(mut backend: impl Backend) {
    let store = backend.open();
    let mut batch = Batch::new();
    batch.put("k", "v");
    let mut first = store.submit(batch).unwrap();
    backend.done(store.submit(Batch::new()).unwrap()).unwrap();
    assert!(matches!(first.try_poll(), Some(Ok(1))));
    assert!(matches!(first.try_poll(), Some(Ok(1))), "the answer stays");
}

fn an_export_is_the_whole_state(mut backend: impl Backend) {
    let store = backend.open();
    for n in 0..30 {
        backend.put(&*store, &format!("k{n}"), "v");
    }
    let mut batch = Batch::new();
    let slot = batch.blob_tagged("tag", "content");
    batch.put_located("c", "", slot).delete("k3");
    let receipt = store.submit(batch).unwrap();
    let at = receipt.blob(slot).unwrap();
    backend.done(receipt).unwrap();
    let mut exported = Vec::new();
    assert_eq!(store.export(&mut exported).unwrap(), 31);
    let (mut rows, mut blobs) = (BTreeMap::new(), Vec::new());
    let summary = read_export(&mut &exported[..], |record| {
        match record {
            Record::Row(key, Some(value)) => drop(rows.insert(key, value)),
            Record::Row(key, None) => drop(rows.remove(&key)),
            Record::Blob(blob) => blobs.push(blob),
            _ => unreachable!(),
        }
        Ok(())
    })
    .unwrap();
    assert_eq!((summary.until, summary.bytes), (31, exported.len() as u64));
    assert_eq!(summary.epochs, store.epochs());
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), store.range(b"", b"", 100).unwrap());
    assert_eq!(blobs.iter().map(|blob| (blob.at, &blob.bytes[..])).collect::<Vec<_>>(), [(at, &b"content"[..])]);
    let last = exported.len() - 40;
    exported[last] ^= 1;
    assert!(matches!(read_export(&mut &exported[..], |_| Ok(())), Err(Error::Damaged { .. })));
}

fn a_receipt_that_is_dropped_takes_nothing_back(mut backend: impl Backend) {
    let store = backend.open();
    let mut batch = Batch::new();
    batch.put("k", "v");
    drop(store.submit(batch).unwrap());
    backend.done(store.submit(Batch::new()).unwrap()).unwrap();
    assert_eq!(store.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

fn commit_resolves_for_async_callers(mut backend: impl Backend) {
    let store = backend.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut batch = Batch::new();
    batch.put("k", "v");
    let seq = runtime.block_on(async {
        let (seq, ()) = tokio::join!(commit(&*store, batch), async { backend.pump() });
        seq.unwrap()
    });
    assert_eq!((seq, store.get(b"k").unwrap().as_deref()), (1, Some(&b"v"[..])));
    runtime.block_on(store.room());
}

fn verification_counts_what_there_is(mut backend: impl Backend) {
    let store = backend.open();
    for n in 0..40 {
        backend.put(&*store, &format!("k{n}"), "v");
        backend.put(&*store, "k0", &n.to_string());
    }
    let report = store.verify().unwrap();
    assert_eq!((report.rows, report.applied), (40, 80));
}

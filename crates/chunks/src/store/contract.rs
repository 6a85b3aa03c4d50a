//! What every store must do, run over each of them.

use std::{collections::BTreeSet, ops::ControlFlow, sync::mpsc};

use quics_types::RootId;

use crate::{ChunkStore, Codec, Condemned, Error, ManifestBuilder, ManifestReader, Marks, Packed, StoreSource, pack};

const ROOT: RootId = RootId::from_bytes([1; 16]);
const OTHER: RootId = RootId::from_bytes([2; 16]);

/// Runs the suite over a fresh, empty store. `sync` makes a store sync that does not do so by itself.
pub(crate) fn suite(store: &dyn ChunkStore, sync: &dyn Fn()) {
    what_is_put_is_read_in_the_form_in_which_it_came(store);
    another_root_sees_nothing(store);
    a_duplicate_names_the_old_position(store);
    bytes_that_are_not_their_digest_are_refused(store);
    the_watermark_reaches_what_was_flushed(store, sync);
    a_quarantined_chunk_is_absent_and_can_be_put_again(store);
    a_manifest_is_read_out_of_the_store(store);
    records_are_visited_once(store);
    a_verification_reads_all_and_can_be_stopped(store);
}

/// Runs the suite of reclaiming over a fresh, empty store with segments that a few hundred kilobytes fill.
pub(crate) fn reclaiming(store: &dyn ChunkStore) {
    for i in 0..ROUND {
        store.put(ROOT, &noise(i)).unwrap();
    }
    let marks = covering_all(store);
    a_first_mark_condemns_nothing_and_covers_what_is_sealed(store, &marks);
    let condemned = two_marks(store, marks);
    let gone = what_is_marked_or_new_is_kept_and_the_rest_is_gone(store, &condemned);
    a_segment_that_is_gone_is_not_rewritten(store, &condemned, &gone);
    a_second_round_finds_nothing_but_what_became_garbage(store);
    one_roots_garbage_goes_at_once_and_nothing_else(store);
}

const ROUND: u64 = 60;

fn noise(i: u64) -> Packed {
    let mut data = vec![0; 30_000];
    blake3::Hasher::new().update(&i.to_le_bytes()).finalize_xof().fill(&mut data);
    pack(&data)
}

/// Every third is needed; of the others, one is asked for between the marks, one in the second and one before the sweep.
fn needed(i: u64) -> bool {
    i.is_multiple_of(3) || [1, 4, 7].contains(&i)
}

/// Marks that cover what was put.
fn covering_all(store: &dyn ChunkStore) -> Marks {
    store.seal().unwrap();
    let marks = store.begin_marks();
    assert_eq!(marks.covered(), store.stats().chunks);
    marks
}

fn a_first_mark_condemns_nothing_and_covers_what_is_sealed(store: &dyn ChunkStore, marks: &Marks) {
    store.put(OTHER, &noise(0)).unwrap();
    assert!(marks.covered() < store.stats().chunks, "the open segment is not covered");
    assert!(marks.condemn().is_none());
    assert_eq!(store.mark(marks, ROOT, noise(ROUND).digest).unwrap(), None);
    assert!(store.mark(marks, OTHER, noise(0).digest).unwrap().is_some());
    assert_eq!(marks.marked(), 0);
    assert_eq!(store.mark(marks, ROOT, noise(0).digest).unwrap(), store.find(ROOT, noise(0).digest).unwrap());
    assert_eq!(marks.marked(), 1);
    assert!(!store.is_walked(marks, ROOT, noise(0).digest).unwrap());
    assert!(store.mark_walked(marks, ROOT, noise(3).digest).unwrap().is_some());
    assert!(store.is_walked(marks, ROOT, noise(3).digest).unwrap());
    assert!(!store.is_walked(marks, OTHER, noise(3).digest).unwrap());
}

fn two_marks(store: &dyn ChunkStore, first: Marks) -> Condemned {
    let walk = |marks: &Marks| {
        for i in (0..ROUND).step_by(3) {
            assert!(store.mark(marks, ROOT, noise(i).digest).unwrap().is_some());
        }
    };
    walk(&first);
    store.mark(&first, ROOT, noise(1).digest).unwrap();
    let second = first.again();
    assert!(!store.is_walked(&second, ROOT, noise(3).digest).unwrap());
    walk(&second);
    store.mark(&second, ROOT, noise(4).digest).unwrap();
    let condemned = second.condemn().unwrap();
    store.mark(&second, ROOT, noise(7).digest).unwrap();
    condemned
}

fn what_is_marked_or_new_is_kept_and_the_rest_is_gone(store: &dyn ChunkStore, condemned: &Condemned) -> Vec<u32> {
    let new = noise(1000);
    store.put(ROOT, &new).unwrap();
    let covered = store.reclaimable(condemned).unwrap();
    assert!(covered.len() >= 2, "{covered:?}");
    let mut dropped = 0;
    for segment in &covered {
        assert!(segment.kept_bytes < segment.bytes, "{segment:?}");
        let done = store.rewrite(segment.number, condemned).unwrap().unwrap();
        assert_eq!((done.copied_bytes, done.freed_bytes), (segment.kept_bytes, segment.bytes));
        assert_eq!((done.damaged_count, done.damaged.len()), (0, 0));
        dropped += done.dropped;
    }
    let there: Vec<_> = (0..ROUND).filter(|&i| store.get(ROOT, noise(i).digest).unwrap().is_some()).collect();
    assert!((0..ROUND).filter(|&i| needed(i)).all(|i| there.contains(&i)), "{there:?}");
    assert_eq!(there.len() as u64 + dropped, ROUND);
    assert!(dropped > ROUND / 3, "{dropped}");
    assert_eq!(store.stats().chunks, there.len() as u64 + 2, "and the new one, and another root's");
    for i in there {
        assert_eq!(store.get(ROOT, noise(i).digest).unwrap(), Some(noise(i)));
        assert!(store.find(ROOT, noise(i).digest).unwrap().unwrap() <= store.durable_up_to() || !needed(i));
    }
    assert_eq!(store.get(ROOT, new.digest).unwrap(), Some(new));
    covered.iter().map(|segment| segment.number).collect()
}

fn a_segment_that_is_gone_is_not_rewritten(store: &dyn ChunkStore, condemned: &Condemned, gone: &[u32]) {
    let before = store.stats().chunks;
    for &number in gone.iter().chain(&[1_000_000]) {
        assert_eq!(store.rewrite(number, condemned).unwrap(), None, "segment {number}");
    }
    assert_eq!(store.stats().chunks, before);
}

fn a_second_round_finds_nothing_but_what_became_garbage(store: &dyn ChunkStore) {
    // What had been in the open segment; and what was dropped can be put again.
    let again = (0..ROUND).find(|&i| !store.contains(ROOT, noise(i).digest).unwrap()).unwrap();
    store.put(ROOT, &noise(again)).unwrap();
    for i in 0..ROUND {
        store.put(ROOT, &noise(2000 + i)).unwrap();
    }
    let kept = |i: u64| needed(i) || i == again || i >= 2000;
    let first = covering_all(store);
    let all = || (0..ROUND).chain(2000..2000 + ROUND);
    let walk = |marks: &Marks| {
        all().filter(|&i| kept(i)).for_each(|i| _ = store.mark(marks, ROOT, noise(i).digest).unwrap());
    };
    walk(&first);
    let second = first.again();
    walk(&second);
    let condemned = second.condemn().unwrap();
    for segment in store.reclaimable(&condemned).unwrap() {
        store.rewrite(segment.number, &condemned).unwrap();
    }
    for i in all() {
        assert_eq!(store.get(ROOT, noise(i).digest).unwrap().is_some(), kept(i), "{i}");
    }
}

fn one_roots_garbage_goes_at_once_and_nothing_else(store: &dyn ChunkStore) {
    let (mine, theirs) = (RootId::from_bytes([0x51; 16]), RootId::from_bytes([0x52; 16]));
    for i in 0..10 {
        store.put(mine, &noise(5000 + i)).unwrap();
        store.put(theirs, &noise(5000 + i)).unwrap();
    }
    store.seal().unwrap();
    let marks = store.begin_marks_of(mine).unwrap();
    assert_eq!(marks.covered(), 10, "the open segment was sealed, and only one root is covered");
    for i in 0..5 {
        assert!(store.mark(&marks, mine, noise(5000 + i).digest).unwrap().is_some());
    }
    let condemned = marks.condemn_at_once();
    let remains = store.remains(mine, &condemned).unwrap();
    assert!(!remains.is_empty());
    for number in remains {
        store.rewrite(number, &condemned).unwrap().expect("it is sealed");
    }
    assert!(store.remains(mine, &condemned).unwrap().is_empty());
    for i in 0..10 {
        assert_eq!(store.contains(mine, noise(5000 + i).digest).unwrap(), i < 5, "{i}");
        assert!(store.contains(theirs, noise(5000 + i).digest).unwrap(), "{i}");
    }
    let before = store.stats().segments;
    store.seal().unwrap();
    store.seal().unwrap();
    assert!(store.stats().segments <= before + 1, "an empty segment is not sealed");
}

fn text(i: usize) -> Packed {
    pack(format!("chunk {i}, and chunk {i}, and chunk {i}; ").repeat(i % 50 + 1).as_bytes())
}

fn what_is_put_is_read_in_the_form_in_which_it_came(store: &dyn ChunkStore) {
    let codecs: BTreeSet<_> = (0..60).map(|i| text(i).codec.to_u8()).collect();
    assert_eq!(codecs.len(), 2, "both codecs are tested");
    for i in 0..60 {
        store.put(ROOT, &text(i)).unwrap();
    }
    for i in 0..60 {
        assert_eq!(store.get(ROOT, text(i).digest).unwrap(), Some(text(i)));
        assert!(store.contains(ROOT, text(i).digest).unwrap());
    }
    assert_eq!(store.get(ROOT, text(60).digest).unwrap(), None);
    assert_eq!(store.stats().chunks, 60);
}

fn another_root_sees_nothing(store: &dyn ChunkStore) {
    let chunk = text(1);
    assert_eq!(store.get(OTHER, chunk.digest).unwrap(), None);
    assert_eq!(store.find(OTHER, chunk.digest).unwrap(), None);
    assert!(!store.quarantine(OTHER, chunk.digest).unwrap());
    let (before, position) = (store.stats().chunks, store.find(ROOT, chunk.digest).unwrap());
    assert_ne!(Some(store.put(OTHER, &chunk).unwrap()), position);
    assert_eq!(store.stats().chunks, before + 1);
}

fn a_duplicate_names_the_old_position(store: &dyn ChunkStore) {
    let first = store.find(ROOT, text(5).digest).unwrap();
    assert_eq!(Some(store.put(ROOT, &text(5)).unwrap()), first);
}

fn bytes_that_are_not_their_digest_are_refused(store: &dyn ChunkStore) {
    let good = pack(b"good");
    let bad = Packed { data: b"evil".to_vec().into(), ..good.clone() };
    assert!(matches!(store.put(ROOT, &bad), Err(Error::Mismatch { .. })));
    assert!(matches!(store.put(ROOT, &Packed { length: 5, ..good.clone() }), Err(Error::Length { .. })));
    assert!(store.put(ROOT, &Packed { codec: Codec::Zstd, ..good.clone() }).is_err());
    assert!(!store.contains(ROOT, good.digest).unwrap());
}

fn the_watermark_reaches_what_was_flushed(store: &dyn ChunkStore, sync: &dyn Fn()) {
    let position = store.put(ROOT, &text(100)).unwrap();
    assert!(store.durable_up_to() < position);
    let (tell, told) = mpsc::channel();
    store.flush_notify(Box::new(move |result| tell.send(result).unwrap()));
    sync();
    told.recv().unwrap().unwrap();
    assert!(store.durable_up_to() >= position);
    let next = store.put(ROOT, &text(101)).unwrap();
    assert!(next > position);
    assert!(store.flush().unwrap() >= next);
    let (tell, told) = mpsc::channel();
    store.flush_notify(Box::new(move |result| tell.send(result).unwrap()));
    sync();
    assert!(told.recv().unwrap().is_ok());
    assert!(told.recv().is_err(), "called once");
}

fn a_quarantined_chunk_is_absent_and_can_be_put_again(store: &dyn ChunkStore) {
    let chunk = text(7);
    let before = store.find(ROOT, chunk.digest).unwrap().unwrap();
    assert!(store.quarantine(ROOT, chunk.digest).unwrap());
    assert!(!store.quarantine(ROOT, chunk.digest).unwrap());
    assert_eq!(store.get(ROOT, chunk.digest).unwrap(), None);
    assert!(store.put(ROOT, &chunk).unwrap() > before);
    assert_eq!(store.get(ROOT, chunk.digest).unwrap(), Some(chunk));
}

fn a_manifest_is_read_out_of_the_store(store: &dyn ChunkStore) {
    let (mut builder, mut pages) = (ManifestBuilder::new(), Vec::new());
    for i in 0..5000 {
        builder.push(text(i).digest, text(i).length, &mut pages).unwrap();
    }
    let manifest = builder.finish(&mut pages).unwrap();
    for (_, page) in &pages {
        store.put(ROOT, &pack(page)).unwrap();
    }
    let (source, foreign) = (StoreSource::new(store, ROOT), StoreSource::new(store, OTHER));
    assert_eq!(ManifestReader::open(&source, manifest.content).unwrap().count(), 5000);
    assert!(matches!(ManifestReader::open(&foreign, manifest.content), Err(Error::Absent { .. })));
}

fn records_are_visited_once(store: &dyn ChunkStore) {
    let mut seen = BTreeSet::new();
    store
        .records(&mut |record| {
            assert!(seen.insert((record.root, record.digest)));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen.len() as u64, store.stats().chunks);
    let mut count = 0;
    let mut stop = |_| {
        count += 1;
        ControlFlow::Break(())
    };
    store.records(&mut stop).unwrap();
    assert_eq!(count, 1);
}

fn a_verification_reads_all_and_can_be_stopped(store: &dyn ChunkStore) {
    let found = store.verify_all(&mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((found.verified, found.damaged_count, found.complete), (store.stats().chunks, 0, true));
    let stopped = store.verify_all(&mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!((stopped.verified, stopped.complete), (1, false));
}

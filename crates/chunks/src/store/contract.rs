//! What every store must do, run over each of them.

use std::{collections::BTreeSet, ops::ControlFlow, sync::mpsc};

use quics_types::RootId;

use crate::{ChunkStore, Codec, Error, ManifestBuilder, ManifestReader, Packed, StoreSource, pack};

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

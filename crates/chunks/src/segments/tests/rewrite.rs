//! Reclaiming: what is kept survives everything, what is condemned does not stay.

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use super::{ROOT, SMALL, chunk, on, power::History};
use crate::{
    ChunkStore, Condemned, Error, Marks, Rewritten,
    segments::{
        Options, Segments,
        header::{self, DATA_START, segment_name, side_name},
        index::Place,
        record::HEADER,
        sim::{Image, SimDisk, Unsynced, power_cut},
    },
};

const CHUNKS: u64 = 40;

fn fill(store: &Segments, chunks: impl IntoIterator<Item = u64>) {
    for i in chunks {
        store.put(ROOT, &chunk(i)).unwrap();
    }
}

/// Waits until all segments but the open one are sealed.
fn sealed(store: &Segments) {
    store.flush().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while store.segments().iter().rev().skip(1).any(|segment| !segment.sealed) {
        assert!(Instant::now() < deadline, "a segment is not sealed");
        std::thread::yield_now();
    }
}

fn walk(store: &Segments, marks: &Marks, needed: impl Fn(u64) -> bool) {
    for i in (0..CHUNKS).filter(|&i| needed(i)) {
        store.mark(marks, ROOT, chunk(i).digest).unwrap();
    }
}

/// Two marks over the sealed segments.
fn condemn(store: &Segments, needed: impl Fn(u64) -> bool) -> Condemned {
    sealed(store);
    let first = store.begin_marks();
    walk(store, &first, &needed);
    let second = first.again();
    walk(store, &second, &needed);
    second.condemn().unwrap()
}

/// Rewrites every sealed segment.
fn sweep(store: &Segments, condemned: &Condemned) -> Result<Vec<Rewritten>, Error> {
    let segments = store.reclaimable(condemned)?;
    segments.iter().map(|segment| Ok(store.rewrite(segment.number, condemned)?.expect("it is sealed"))).collect()
}

fn has(store: &Segments, i: u64) -> bool {
    let found = store.get(ROOT, chunk(i).digest).unwrap_or_else(|e| panic!("chunk {i}: {e}"));
    assert!(found.as_ref().is_none_or(|found| *found == chunk(i)), "chunk {i} is another");
    found.is_some()
}

fn place(store: &Segments, i: u64) -> Place {
    store.shared.index.get(store.shared.index.key(ROOT, chunk(i).digest)).unwrap()
}

/// The chunks of the sealed segments.
fn covered(store: &Segments) -> Vec<u64> {
    sealed(store);
    let open = store.segments().last().unwrap().number;
    (0..CHUNKS)
        .filter(|&i| store.contains(ROOT, chunk(i).digest).unwrap() && place(store, i).spot.segment < open)
        .collect()
}

/// Needed of the chunks 0..40 in most tests.
fn even(i: u64) -> bool {
    i.is_multiple_of(2)
}

fn check_figures(store: &Segments) {
    let mut live = 0;
    store.shared.index.each(&mut |_, place| live += u64::from(place.span));
    assert_eq!(store.stats().live_bytes, live, "each record is counted where it is");
}

#[test]
fn what_is_condemned_goes_with_its_segment_and_the_rest_is_served_from_elsewhere() {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    fill(&store, 0..CHUNKS);
    let covered = covered(&store);
    let before = store.stats();
    let done = sweep(&store, &condemn(&store, even)).unwrap();
    assert!(done.len() >= 3, "{done:?}");
    let sum = |of: fn(&Rewritten) -> u64| done.iter().map(of).sum::<u64>();
    assert_eq!(sum(|d| d.copied + d.dropped), covered.len() as u64);
    assert_eq!(before.live_bytes - store.stats().live_bytes, sum(|d| d.dropped_bytes));
    assert!(store.stats().stored_bytes < before.stored_bytes);
    check_figures(&store);
    for name in disk.image().names.keys().filter_map(|name| header::number_of(name)) {
        assert!(name > done.len() as u32, "segment {name} is gone, with its side index");
    }
    let expected = |i: u64| even(i) || !covered.contains(&i);
    (0..CHUNKS).for_each(|i| assert_eq!(has(&store, i), expected(i), "chunk {i}"));
    drop(store);
    let store = on(&disk);
    assert_eq!((store.opened().indexes_rebuilt, store.opened().skipped_bytes), (0, 0));
    check_figures(&store);
    (0..CHUNKS).for_each(|i| assert_eq!(has(&store, i), expected(i), "chunk {i} after opening"));
}

#[test]
fn the_open_segment_and_what_came_after_the_first_mark_are_never_condemned() {
    let store = on(&SimDisk::new(Image::default()));
    fill(&store, 0..CHUNKS / 2);
    sealed(&store);
    let open = store.segments().last().unwrap().number;
    let late: Vec<_> = (0..CHUNKS / 2).filter(|&i| place(&store, i).spot.segment == open).collect();
    let first = store.begin_marks();
    fill(&store, CHUNKS / 2..CHUNKS);
    sealed(&store);
    let condemned = first.again().condemn().unwrap();
    sweep(&store, &condemned).unwrap();
    let there: Vec<_> = (0..CHUNKS).filter(|&i| has(&store, i)).collect();
    let expected: Vec<_> = late.into_iter().chain(CHUNKS / 2..CHUNKS).collect();
    assert!(expected.len() > CHUNKS as usize / 2 && there == expected, "{there:?} instead of {expected:?}");
}

#[test]
fn every_power_cut_while_segments_are_rewritten_keeps_what_was_kept() {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    let mut history = History::default();
    // 6 is taken out for good, 4 and put again; their marks lie in the segments that are rewritten.
    for i in 0..CHUNKS {
        history.event(&disk, i, true);
        fill(&store, [i]);
    }
    for i in [4, 6] {
        history.event(&disk, i, false);
        assert!(store.quarantine(ROOT, chunk(i).digest).unwrap());
    }
    history.event(&disk, 4, true);
    fill(&store, [4]);
    fill(&store, 100..110);
    let condemned = condemn(&store, even);
    history.flush(&disk, &store);
    let start = disk.count();
    let covered = covered(&store);
    let segments = store.reclaimable(&condemned).unwrap();
    assert!(segments.len() >= 4, "{segments:?}");
    // The last first, so that marks are carried on for records that are still there.
    for (n, segment) in segments.into_iter().rev().enumerate() {
        let in_it = |&i: &u64| {
            store.contains(ROOT, chunk(i).digest).unwrap() && place(&store, i).spot.segment == segment.number
        };
        let (kept, dropped): (Vec<u64>, Vec<u64>) = covered.iter().copied().filter(in_it).partition(|&i| even(i));
        dropped.iter().for_each(|&i| history.event(&disk, i, false));
        let done = store.rewrite(segment.number, &condemned).unwrap().unwrap();
        assert!(done.dropped >= dropped.len() as u64);
        history.acknowledged.push((disk.count(), history.events.len()));
        if n == 0 {
            // One that has just been moved is found to be damaged.
            history.event(&disk, kept[0], false);
            assert!(store.quarantine(ROOT, chunk(kept[0]).digest).unwrap());
            history.flush(&disk, &store);
        }
        if n == 1 {
            // One that was dropped comes again.
            history.event(&disk, dropped[0], true);
            fill(&store, dropped[..1].iter().copied());
            history.flush(&disk, &store);
        }
    }
    drop(store);
    let ops = disk.ops();
    assert!(ops.len() - start > 40, "{} operations", ops.len() - start);
    for cut in start..=ops.len() {
        for (n, unsynced) in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn, Unsynced::Torn].into_iter().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64((cut * 10 + n) as u64);
            let case = format!("cut {cut} of {start}..{}, {unsynced:?} {n}", ops.len());
            check(&SimDisk::new(power_cut(&ops[..cut], unsynced, &mut rng)), &history, cut, &case);
        }
    }
}

/// Checks a state after a cut, and that another round gets rid of what is not needed in it.
fn check(disk: &Arc<SimDisk>, history: &History, ops: usize, case: &str) {
    let store = on(disk);
    check_figures(&store);
    let mut there = Vec::new();
    for i in 0..CHUNKS {
        let (found, allowed) = (has(&store, i), history.allowed(i, ops));
        assert!(allowed.contains(&found), "{case}: chunk {i} is there: {found}, not {allowed:?}");
        there.extend(found.then_some(i));
    }
    for name in disk.image().names.keys().filter(|name| name.ends_with(".index")) {
        let segment = header::number_of(name).map(segment_name);
        assert!(segment.is_none_or(|segment| disk.image().names.contains_key(&segment)), "{case}: {name} is alone");
    }
    // Fill the open segment, so that whatever is there can be condemned.
    fill(&store, [203, 209, 215, 221, 227]);
    let condemned = condemn(&store, even);
    sweep(&store, &condemned).unwrap_or_else(|e| panic!("{case}: {e}"));
    for i in 0..CHUNKS {
        assert_eq!(has(&store, i), even(i) && there.contains(&i), "{case}: chunk {i} after another round");
    }
}

#[test]
fn the_mark_of_a_quarantined_record_outlives_its_segment_as_long_as_the_record_is_there() {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    fill(&store, 0..CHUNKS / 2);
    store.quarantine(ROOT, chunk(0).digest).unwrap();
    let marked_in = store.segments().last().unwrap().number;
    fill(&store, CHUNKS / 2..CHUNKS);
    let condemned = condemn(&store, even);
    assert!(marked_in > 1 && marked_in < store.segments().last().unwrap().number);
    store.rewrite(marked_in, &condemned).unwrap().unwrap();
    drop(store);
    let store = on(&disk);
    assert!(!has(&store, 0), "the record in segment 1 is out of service");
    assert!(has(&store, 2));
    // With the record, the marks go: two rounds over everything leave none.
    for _ in 0..2 {
        fill(&store, [203, 209, 215, 221]);
        sweep(&store, &condemn(&store, even)).unwrap();
    }
    let listed = |number| store.shared.log.unsealed(number).unwrap_or_else(|| store.shared.entries(number).unwrap());
    let records: usize = store.segments().iter().map(|segment| listed(segment.number).len()).sum();
    assert_eq!(records as u64, store.stats().chunks, "there are no records but those in service");
}

#[test]
fn a_damaged_record_is_quarantined_and_named_and_costs_no_other() {
    for part in [HEADER + 10, 40] {
        let disk = SimDisk::new(Image::default());
        let store = on(&disk);
        fill(&store, 0..CHUNKS);
        let condemned = condemn(&store, even);
        // 4 is needed, 1 is not: nobody looks at that one.
        for i in [4, 1] {
            let at = place(&store, i).spot;
            disk.tamper(|image| image.file(&segment_name(at.segment))[at.offset as usize + part] ^= 1);
        }
        let done = sweep(&store, &condemned).unwrap();
        let damaged: Vec<_> = done.iter().flat_map(|done| done.damaged.clone()).collect();
        assert_eq!(damaged, [(ROOT, chunk(4).digest)], "byte {part}");
        assert_eq!(store.stats().damaged, 1);
        check_figures(&store);
        for again in 0..2 {
            assert!(!has(&store, 4) && !has(&store, 1), "opening {again}");
            (0..CHUNKS).filter(|&i| even(i) && i != 4).for_each(|i| assert!(has(&store, i), "chunk {i}"));
        }
        drop(store);
        let store = on(&disk);
        assert!(!has(&store, 4));
        fill(&store, [4]);
        assert!(has(&store, 4), "it heals by being put again");
    }
}

#[test]
fn a_record_that_is_listed_nowhere_any_more_is_given_up_and_counted() {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    fill(&store, 0..CHUNKS);
    let condemned = condemn(&store, even);
    let at = place(&store, 0).spot;
    assert_eq!((at.segment, at.offset), (1, DATA_START));
    disk.tamper(|image| {
        image.file(&segment_name(1))[at.offset as usize + 40] ^= 1;
        image.file(&side_name(1))[50] ^= 1;
    });
    let done = sweep(&store, &condemned).unwrap();
    assert_eq!((done[0].damaged_count, done[0].damaged.len()), (1, 0));
    assert!(done[1..].iter().all(|done| done.damaged_count == 0));
    assert_eq!(store.stats().damaged, 1);
    check_figures(&store);
    assert!(!store.contains(ROOT, chunk(0).digest).unwrap(), "the index names no segment that is gone");
    (2..CHUNKS).filter(|&i| even(i)).for_each(|i| assert!(has(&store, i), "chunk {i}"));
}

#[test]
fn a_disk_that_is_full_at_any_write_stops_the_rewriting_and_costs_nothing() {
    let mut stopped = 0;
    for writes in 0.. {
        let disk = SimDisk::new(Image::default());
        let store = on(&disk);
        fill(&store, 0..CHUNKS);
        store.quarantine(ROOT, chunk(6).digest).unwrap();
        let expected = |i: u64| even(i) && i != 6;
        let all = |store: &Segments, when: &str| {
            let missing = (0..CHUNKS).find(|&i| expected(i) && !has(store, i));
            assert_eq!(missing, None, "full after {writes} writes, {when}");
            assert!(!has(store, 6), "full after {writes} writes, {when}");
        };
        let condemned = condemn(&store, even);
        disk.writes_left.store(writes, Ordering::Relaxed);
        let Err(e) = sweep(&store, &condemned) else { break };
        assert!(matches!(e, Error::NoSpace), "{e}");
        stopped += 1;
        check_figures(&store);
        all(&store, "at once");
        all(&on(&SimDisk::new(disk.image())), "after opening");
        disk.writes_left.store(u64::MAX, Ordering::Relaxed);
        sweep(&store, &condemned).unwrap();
        check_figures(&store);
        all(&store, "with room again");
        drop(store);
        all(&on(&disk), "in the end");
    }
    assert!(stopped > 12, "{stopped} writes were refused");
}

#[test]
fn a_segment_that_cannot_be_removed_stays_and_is_removed_later() {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    fill(&store, 0..CHUNKS);
    let condemned = condemn(&store, even);
    disk.removes_fail.store(true, Ordering::Relaxed);
    assert!(matches!(store.rewrite(1, &condemned), Err(Error::Io { action: "remove", .. })));
    check_figures(&store);
    let image = disk.image();
    assert!(image.names.contains_key(&segment_name(1)) && !image.names.contains_key(&side_name(1)));
    let opened = on(&SimDisk::new(image));
    (0..CHUNKS).filter(|&i| even(i)).for_each(|i| assert!(has(&opened, i), "chunk {i} after opening"));
    disk.removes_fail.store(false, Ordering::Relaxed);
    let again = store.rewrite(1, &condemned).unwrap().unwrap();
    assert_eq!((again.copied, again.dropped, again.damaged_count), (0, 0, 0));
    assert!(!disk.image().names.contains_key(&segment_name(1)));
    (0..CHUNKS).filter(|&i| even(i)).for_each(|i| assert!(has(&store, i), "chunk {i}"));
}

#[test]
fn no_segment_is_removed_unless_the_copies_are_durable() {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    fill(&store, 0..CHUNKS);
    let condemned = condemn(&store, even);
    let names = disk.image().names;
    disk.syncs_fail.store(true, Ordering::Relaxed);
    assert!(matches!(sweep(&store, &condemned), Err(Error::Failed(_))));
    assert!(matches!(sweep(&store, &condemned), Err(Error::Failed(_))), "and it stays so");
    drop(store);
    assert!(names.keys().all(|name| disk.image().names.contains_key(name)));
    disk.syncs_fail.store(false, Ordering::Relaxed);
    let store = on(&disk);
    (0..CHUNKS).for_each(|i| assert!(has(&store, i), "chunk {i}"));
}

#[test]
fn a_read_that_began_at_the_old_place_is_served_or_looks_up_again() {
    let directory = TempDir::new().unwrap();
    let store = Segments::open(directory.path(), SMALL).unwrap();
    fill(&store, 0..CHUNKS);
    let condemned = condemn(&store, even);
    let old = place(&store, 0);
    let (file, _) = store.shared.files.file(store.shared.disk.as_ref(), 1).unwrap().unwrap();
    store.rewrite(1, &condemned).unwrap().unwrap();
    let mut bytes = vec![0; old.span as usize];
    assert_eq!(file.read(&mut bytes, old.spot.offset.into()).unwrap(), bytes.len(), "an open file goes on");
    assert!(matches!(store.shared.read(old, ROOT, chunk(0).digest), Err(Error::Damaged { .. })));
    assert!(has(&store, 0));
    // A reader that opened the file just before it was removed must not keep it, with its room on the disk.
    store.shared.files.keep(1, file);
    assert!(!store.shared.files.is_open(1));
    // Nor does the late news of damage at the old place take out the copy.
    let key = store.shared.index.key(ROOT, chunk(0).digest);
    assert!(!store.take_out(key, old, ROOT, chunk(0).digest).unwrap());
    assert!(has(&store, 0));
    assert_eq!(store.stats().damaged, 0);
}

#[test]
fn what_is_taken_out_while_it_is_moved_stays_out() {
    let directory = TempDir::new().unwrap();
    let store = Segments::open(directory.path(), SMALL).unwrap();
    fill(&store, [0]);
    let (key, old) = (store.shared.index.key(ROOT, chunk(0).digest), place(&store, 0));
    // Between reading and appending.
    assert!(store.quarantine(ROOT, chunk(0).digest).unwrap());
    assert_eq!(store.shared.relocate(key, old, ROOT, &chunk(0)).unwrap(), None);
    assert!(!has(&store, 0));
    // Between looking for its place and taking it out there: whoever is in between, it is taken out.
    let (done, moves) = (AtomicBool::new(false), AtomicU64::new(0));
    let deadline = Instant::now() + Duration::from_secs(60);
    let stayed = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let Some(place) = store.shared.index.get(key) else { continue };
                let moved = store.shared.relocate(key, place, ROOT, &chunk(0)).unwrap();
                moves.fetch_add(u64::from(moved.is_some()), Ordering::Relaxed);
            }
        });
        let stays = |_: &u64| {
            fill(&store, [0]);
            let before = moves.load(Ordering::Relaxed);
            while moves.load(Ordering::Relaxed) == before && Instant::now() < deadline {
                std::hint::spin_loop();
            }
            !store.quarantine(ROOT, chunk(0).digest).unwrap() || store.contains(ROOT, chunk(0).digest).unwrap()
        };
        let stayed = (0..1000).find(stays);
        done.store(true, Ordering::Relaxed);
        stayed
    });
    assert_eq!(stayed, None, "it was not taken out");
    assert!(Instant::now() < deadline, "it was moved {} times only", moves.into_inner());
    drop(store);
    assert!(!has(&Segments::open(directory.path(), SMALL).unwrap(), 0));
}

const ROUNDS: u64 = 6;
/// Are found to be bad while they are moved.
const VICTIMS: [u64; 2] = [36, 38];

#[test]
fn readers_uploads_and_questions_go_on_while_segments_are_rewritten() {
    let directory = TempDir::new().unwrap();
    let store = Segments::open(directory.path(), Options { sync_bytes: 300_000, ..SMALL }).unwrap();
    fill(&store, 0..CHUNKS);
    let (reads, rescued) = (AtomicU64::new(0), AtomicU64::new(0));
    for round in 0..ROUNDS {
        // New chunks, so that the open segment of the last round is sealed.
        fill(&store, VICTIMS);
        fill(&store, (0..12).map(|i| 1000 + round * 12 + i));
        sealed(&store);
        fill(&store, (0..CHUNKS).filter(|&i| !even(i)));
        fill(&store, (0..12).map(|i| 2000 + round * 12 + i));
        sealed(&store);
        let first = store.begin_marks();
        walk(&store, &first, even);
        let second = first.again();
        walk(&store, &second, even);
        let condemned = second.condemn().unwrap();
        let (swept, asked) = (AtomicBool::new(false), Barrier::new(2));
        std::thread::scope(|scope| {
            let bad = scope.spawn(|| VICTIMS.map(|i| store.quarantine(ROOT, chunk(i).digest).unwrap()));
            for reader in 0..2 {
                let (store, reads, swept) = (&store, &reads, &swept);
                scope.spawn(move || {
                    loop {
                        for i in (0..VICTIMS[0]).filter(|&i| even(i) && i % 4 == reader * 2) {
                            assert!(has(store, i), "chunk {i} in round {round}");
                            reads.fetch_add(1, Ordering::Relaxed);
                        }
                        if swept.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            scope.spawn(|| {
                while !swept.load(Ordering::Relaxed) {
                    store.records(&mut |_| ControlFlow::Continue(())).unwrap();
                }
            });
            let (store, rescued, second, swept, asked) = (&store, &rescued, &second, &swept, &asked);
            let upload = scope.spawn(move || {
                let mut answered = Vec::new();
                for i in (0..CHUNKS).rev().filter(|&i| !even(i)) {
                    // What is there is promised; what is not has to be uploaded, and then is promised.
                    if store.mark(second, ROOT, chunk(i).digest).unwrap().is_some() {
                        rescued.fetch_add(1, Ordering::Relaxed);
                    } else {
                        store.put(ROOT, &chunk(i)).unwrap();
                    }
                    if answered.is_empty() {
                        // The sweep begins when one question has been answered.
                        asked.wait();
                    }
                    answered.push(i);
                    answered.iter().for_each(|&i| assert!(has(store, i), "chunk {i} was promised in round {round}"));
                }
                answered
            });
            asked.wait();
            let done = sweep(store, &condemned);
            swept.store(true, Ordering::Relaxed);
            done.unwrap();
            assert_eq!(bad.join().unwrap(), [true; 2]);
            let answered = upload.join().unwrap();
            answered.into_iter().for_each(|i| assert!(has(store, i), "chunk {i} was promised in round {round}"));
        });
        check_figures(&store);
        VICTIMS.iter().for_each(|&i| assert!(!has(&store, i), "chunk {i} was taken out in round {round}"));
    }
    assert!(reads.into_inner() > 100);
    assert_eq!(store.stats().damaged, 2 * ROUNDS, "a chunk that moves is not damaged");
    drop(store);
    let store = Segments::open(directory.path(), SMALL).unwrap();
    (0..CHUNKS).for_each(|i| assert_eq!(has(&store, i), !VICTIMS.contains(&i), "chunk {i} after opening"));
    assert!(rescued.into_inner() >= ROUNDS, "the first question of each round came before the sweep");
}

#[test]
fn a_segment_that_is_sealed_early_takes_no_more_room_than_it_needs() {
    let directory = TempDir::new().unwrap();
    let store = Segments::open(directory.path(), Options::default()).unwrap();
    fill(&store, 0..1);
    store.seal().unwrap();
    let length = || std::fs::metadata(directory.path().join(segment_name(1))).unwrap().len();
    assert_eq!(length(), store.segments()[0].bytes);
    assert!(length() < 1 << 20, "{} bytes", length());
}

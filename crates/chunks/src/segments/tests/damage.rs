//! Single corruptions: each is found, none is served, and only what it hits is lost.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc, sync::atomic::Ordering};

use quics_types::RootId;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ROOT, SMALL, chunk, on};
use crate::{
    ChunkStore, Error, pack,
    segments::{
        Segments,
        header::{self, DATA_START},
        record::HEADER,
        sim::{Image, SimDisk, SimHandle},
    },
};

const CHUNKS: u64 = 40;

fn filled() -> Arc<SimDisk> {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    for i in 0..CHUNKS {
        store.put(ROOT, &chunk(i)).unwrap();
    }
    store.quarantine(ROOT, chunk(3).digest).unwrap();
    store.put(ROOT, &chunk(3)).unwrap();
    drop(store);
    disk
}

/// Flips one bit of one byte that the store has written, in any file.
fn flip(image: &mut Image, rng: &mut impl Rng) -> String {
    let names: Vec<_> = image.names.keys().cloned().collect();
    let name = names[rng.random_range(0..names.len())].clone();
    let file = image.file(&name);
    let (at, bit) = (rng.random_range(0..file.len()), rng.random_range(0..8));
    file[at] ^= 1 << bit;
    format!("bit {bit} of byte {at} of {name}")
}

#[test]
fn a_flipped_bit_is_found_at_opening_or_reading_and_costs_one_chunk_at_most() {
    let pristine = filled().image();
    let mut found = 0;
    for seed in 0..400 {
        let mut image = pristine.clone();
        let case = flip(&mut image, &mut ChaCha8Rng::seed_from_u64(seed));
        let store = on(&SimDisk::new(image));
        let mut absent = BTreeSet::new();
        let mut told = store.opened().damaged.len() as u64 + store.opened().skipped_bytes + store.opened().torn_bytes;
        for i in 0..CHUNKS {
            match store.get(ROOT, chunk(i).digest) {
                Ok(Some(served)) => assert_eq!(served, chunk(i), "{case}"),
                Ok(None) => assert!(absent.insert(i)),
                Err(Error::Damaged { .. }) => {
                    told += 1;
                    absent.insert(i);
                    assert_eq!(store.get(ROOT, chunk(i).digest).unwrap(), None, "{case}");
                }
                Err(e) => panic!("{case}: {e}"),
            }
        }
        assert!(absent.len() <= 1, "{case} cost {absent:?}");
        assert!(absent.is_empty() || told > 0, "{case} was not reported");
        found += absent.len();
    }
    assert!(found > 150, "only {found} of the flips hit a chunk");
}

#[test]
fn a_chunk_that_is_damaged_while_the_store_is_open_heals_by_being_put_again() {
    for seed in 0..150 {
        let disk = filled();
        let store = on(&disk);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let victim = rng.random_range(0..CHUNKS);
        let place = store.shared.index.get(store.shared.index.key(ROOT, chunk(victim).digest)).unwrap();
        let payload = HEADER + chunk(victim).data.len();
        let at = place.spot.offset as usize + rng.random_range(0..payload);
        disk.tamper(|image| image.file(&header::segment_name(place.spot.segment))[at] ^= 0x10);
        assert!(matches!(store.get(ROOT, chunk(victim).digest), Err(Error::Damaged { .. })), "seed {seed}");
        assert!(!store.contains(ROOT, chunk(victim).digest).unwrap());
        assert_eq!(store.stats().damaged, 1);
        store.flush().unwrap();
        drop(store);

        // The mark outlives a restart, or the upload that heals would be taken for a duplicate.
        let store = on(&disk);
        assert!(!store.contains(ROOT, chunk(victim).digest).unwrap(), "seed {seed}");
        store.put(ROOT, &chunk(victim)).unwrap();
        drop(store);
        let store = on(&disk);
        for i in 0..CHUNKS {
            assert_eq!(store.get(ROOT, chunk(i).digest).unwrap(), Some(chunk(i)), "seed {seed}");
        }
    }
}

#[test]
fn a_chunk_that_was_put_again_is_served_even_if_the_mark_of_its_damage_is_damaged() {
    let disk = filled();
    let store = on(&disk);
    assert!(store.quarantine(ROOT, chunk(0).digest).unwrap());
    store.put(ROOT, &chunk(0)).unwrap();
    let place = store.shared.index.get(store.shared.index.key(ROOT, chunk(0).digest)).unwrap();
    drop(store);
    let mut image = disk.image();
    image.file(&header::segment_name(1))[DATA_START as usize + HEADER] ^= 1;
    image.file(&header::segment_name(place.spot.segment))[place.spot.offset as usize - 1] ^= 1;
    let store = on(&SimDisk::new(image));
    assert_eq!(store.opened().skipped_bytes, HEADER as u64, "the mark");
    assert_eq!(store.get(ROOT, chunk(0).digest).unwrap(), Some(chunk(0)));
}

#[test]
fn a_sector_that_cannot_be_read_is_damage_and_no_failure() {
    let disk = filled();
    let store = on(&disk);
    disk.reads_fail.store(true, Ordering::Relaxed);
    assert!(matches!(store.get(ROOT, chunk(5).digest), Err(Error::Damaged { .. })));
    disk.reads_fail.store(false, Ordering::Relaxed);
    assert_eq!(store.get(ROOT, chunk(5).digest).unwrap(), None);
    assert_eq!(store.get(ROOT, chunk(6).digest).unwrap(), Some(chunk(6)));
}

#[test]
fn a_verification_finds_what_is_damaged_and_names_it() {
    let disk = filled();
    let store = on(&disk);
    disk.tamper(|image| image.file(&header::segment_name(1))[DATA_START as usize + HEADER + 10] ^= 1);
    let found = store.verify_all(&mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(found.damaged, [(ROOT, chunk(0).digest)]);
    assert_eq!((found.damaged_count, found.verified), (1, CHUNKS - 1));
}

#[test]
fn a_segment_without_header_is_set_aside_and_the_rest_goes_on() {
    let mut image = filled().image();
    let file = image.file(&header::segment_name(1));
    file[..DATA_START as usize].fill(0xee);
    let disk = SimDisk::new(image);
    let store = on(&disk);
    assert_eq!(store.opened().lost_segments, [1]);
    let present = (0..CHUNKS).filter(|&i| store.get(ROOT, chunk(i).digest).unwrap().is_some()).count() as u64;
    assert!(present > CHUNKS / 2 && present < CHUNKS, "{present}");
    assert!(disk.image().names.contains_key("00000001.segment.lost"));
    assert!(store.segments().iter().all(|s| s.number != 1));
}

#[test]
fn the_number_of_a_segment_that_vanished_is_not_given_again() {
    let mut image = filled().image();
    let sealed: Vec<_> = image.names.keys().filter(|name| name.ends_with(".index")).cloned().collect();
    image.names.retain(|name, _| !name.ends_with(".segment"));
    let disk = SimDisk::new(image);
    let store = on(&disk);
    assert_eq!(store.segments()[0].number as usize, sealed.len() + 1);
    store.put(ROOT, &chunk(1)).unwrap();
    drop(store);
    assert_eq!(on(&disk).get(ROOT, chunk(1).digest).unwrap(), Some(chunk(1)));
}

#[test]
fn one_copy_of_a_segments_header_is_enough() {
    for copy in [0, 4096] {
        let mut image = filled().image();
        image.file(&header::segment_name(1))[copy..copy + 4096].fill(0xee);
        let store = on(&SimDisk::new(image));
        assert!(store.opened().lost_segments.is_empty());
        assert_eq!(store.get(ROOT, chunk(0).digest).unwrap(), Some(chunk(0)));
    }
}

#[test]
fn a_record_inside_a_chunk_is_never_taken_for_one() {
    // Somebody uploads the bytes of a record, for another root, and the record around it is damaged.
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    let foreign = RootId::from_bytes([9; 16]);
    store.put(foreign, &chunk(1)).unwrap();
    let record = disk.image().file(&header::segment_name(1))[DATA_START as usize..][..HEADER + 701].to_vec();
    let mut forged = record.clone();
    forged[16..32].copy_from_slice(ROOT.as_bytes());
    let carrier = pack(&[vec![1; 64], record, vec![2; 64], forged].concat());
    let position = store.put(ROOT, &carrier).unwrap();
    drop(store);
    let at = (position.as_u64() as u32).next_multiple_of(64) as usize;
    let mut image = disk.image();
    let file = image.file(&header::segment_name(1));
    let start = file[DATA_START as usize + 1..at].windows(8).position(|w| w == b"QUICSREC").unwrap();
    file[DATA_START as usize + 1 + start + 20] ^= 1;
    let store = Segments::open_on(Arc::new(SimHandle(SimDisk::new(image))), SMALL).unwrap();
    assert_eq!(store.stats().chunks, 1);
    assert_eq!(store.get(ROOT, chunk(1).digest).unwrap(), None);
    assert_eq!(store.get(foreign, chunk(1).digest).unwrap(), Some(chunk(1)));
}

#[test]
fn whatever_befalls_the_files_nothing_wrong_is_served_and_the_store_can_be_filled_again() {
    let pristine = filled().image();
    for seed in 0..120 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut image = pristine.clone();
        for _ in 0..rng.random_range(1..4) {
            let names: Vec<_> = image.names.keys().cloned().collect();
            let [one, two] = [0; 2].map(|_| names[rng.random_range(0..names.len())].clone());
            let other = image.file(&two).clone();
            let file = image.file(&one);
            match rng.random_range(0..5) {
                0 => file.truncate(rng.random_range(0..=file.len())),
                1 => {
                    let at = rng.random_range(0..=file.len());
                    let end = file.len().min(at + rng.random_range(0..100_000));
                    rng.fill(&mut file[at..end]);
                }
                2 => *file = other,
                3 => file.extend(other),
                _ => drop(image.names.remove(&one)),
            }
        }
        let disk = SimDisk::new(image);
        let store = on(&disk);
        for i in 0..CHUNKS {
            match store.get(ROOT, chunk(i).digest) {
                Ok(found) => assert!(found.is_none_or(|found| found == chunk(i)), "seed {seed}: chunk {i}"),
                Err(Error::Damaged { .. }) => {}
                Err(e) => panic!("seed {seed}: {e}"),
            }
            store.put(ROOT, &chunk(i)).unwrap();
        }
        drop(store);
        let store = on(&disk);
        for i in 0..CHUNKS {
            assert_eq!(store.get(ROOT, chunk(i).digest).unwrap(), Some(chunk(i)), "seed {seed}: chunk {i}");
        }
    }
}

#[test]
fn what_is_torn_behind_the_last_record_is_counted_and_cut_off() {
    let disk = SimDisk::new(Image::default());
    let store = on(&disk);
    let end = store.put(ROOT, &chunk(1)).unwrap().as_u64() as usize & 0xffff_ffff;
    drop(store);
    let mut image = disk.image();
    let file = image.file(&header::segment_name(1));
    file.resize(end, 0);
    file.extend([0xab; 5000]);
    let disk = SimDisk::new(image);
    assert_eq!(on(&disk).opened().torn_bytes, 5000);
    assert_eq!(on(&disk).opened().torn_bytes, 0);
    assert_eq!(on(&disk).get(ROOT, chunk(1).digest).unwrap(), Some(chunk(1)));
}

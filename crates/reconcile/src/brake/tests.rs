use quics_types::{Digest, Name, Place};

use super::alike::ALIKE as DIFFERENT;
use super::*;
use crate::testing::{Plain, file};

/// So many contents that become one are no accident.
const ALIKE: u64 = DIFFERENT as u64;

/// Bytes as if drawn at random.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let block = |at: u64| *Digest::of(&[seed.to_be_bytes(), at.to_be_bytes()].concat()).as_bytes();
    (0..).flat_map(block).take(length).collect()
}

fn entry(number: u64) -> EntryId {
    EntryId::from_bytes((u128::from(number) + 1).to_be_bytes())
}

/// Something in the top directory.
fn in_top(number: u64) -> (EntryId, EntryId) {
    (entry(number), EntryId::TOP)
}

/// A live file.
fn row() -> Row {
    let mut plain = Plain::default();
    plain.live(entry(1), Place { parent: EntryId::TOP, name: Name::new("name").unwrap() }, file(1));
    plain.rows[&entry(1)].clone()
}

#[test]
fn what_is_drawn_at_random_is_noise_and_what_people_and_programs_write_is_not() {
    for (seed, length) in [64, 100, 256, 1000, 4096].into_iter().enumerate() {
        assert!(is_noise(&noise(length, seed as u64)), "{length}");
    }
    let prose = "It was the best of times, it was the worst of times, it was the age of wisdom. ".repeat(50);
    let source = include_str!("tests.rs");
    let table: String = (0..400).map(|line| format!("{line};{};{}\n", line * 37, line * line)).collect();
    let base64: Vec<u8> = noise(4096, 9).iter().map(|byte| b'0' + (byte & 63)).collect();
    let program: Vec<u8> = noise(4096, 10).iter().map(|byte| if byte % 3 == 0 { *byte } else { 0 }).collect();
    for text in [prose.as_bytes(), &prose.as_bytes()[..64], source.as_bytes(), table.as_bytes(), &base64, &program] {
        assert!(!is_noise(&text[..text.len().min(SAMPLE)]));
    }
    assert!(!is_noise(&noise(SAMPLE_LEAST - 1, 1)), "too short to tell");
}

#[test]
fn a_picture_that_is_saved_anew_is_noise_but_begins_as_it_did() {
    let picture = |seed| [b"\xff\xd8\xff\xe0".to_vec(), noise(4000, seed)].concat();
    assert!(!is_scrambled(&picture(1), &picture(2)));
    assert!(is_scrambled(&picture(1), &noise(4004, 3)));
    assert!(is_scrambled(b"", &noise(4004, 3)));
    assert!(!is_scrambled(&noise(4004, 3), b"plain again"));
}

#[test]
fn the_table_of_harm() {
    let value = |size| Value::File { content: Digest::of(&[size as u8]), size };
    let before = Row { value: value(10_000), ..row() };
    let with = |change: &dyn Fn(&mut Row)| {
        let mut after = before.clone();
        change(&mut after);
        harm(Some(&before), &after)
    };
    let named = |name: &'static str| Place { name: Name::new(name).unwrap(), ..before.place.clone() };
    assert_eq!(with(&|_| ()), None);
    assert_eq!(with(&|row| row.mode = 0o600), None);
    assert_eq!(with(&|row| row.dead = true), Some(Harm::Deleted));
    let [was, is] = [10_000_u64, 9_999].map(|size| Digest::of(&[size as u8]));
    assert_eq!(with(&|row| row.value = value(9_999)), Some(Harm::Rewritten { was, is }));
    assert_eq!(with(&|row| row.value = Value::Directory), Some(Harm::Changed));
    assert_eq!(with(&|row| row.value = value(0)), Some(Harm::Destroyed));
    assert_eq!(with(&|row| row.value = value(600)), Some(Harm::Destroyed));
    assert_eq!(with(&|row| row.place = named("a.locked")), Some(Harm::Destroyed));
    assert_eq!(with(&|row| row.place = named("other")), Some(Harm::Renamed));
    assert_eq!(with(&|row| row.place.parent = entry(9)), Some(Harm::Changed));
    assert_eq!(harm(None, &before), None);
    assert_eq!(harm(Some(&Row { dead: true, ..before.clone() }), &before), None);
    let photo = Row { place: named("photo.JPG"), ..before.clone() };
    let renamed = Row { place: named("2024.jpg"), ..before.clone() };
    assert_eq!(harm(Some(&photo), &renamed), Some(Harm::Renamed), "the same extension, written otherwise");
}

/// Counts changes of a trace, one after the other, all within a minute; says with which one it was a burst.
fn trips(live: u64, trace: impl IntoIterator<Item = (u64, Harm)>) -> Option<(usize, Tripped)> {
    let (mut burst, mut live) = (Burst::default(), live);
    for (at, (id, harm)) in trace.into_iter().enumerate() {
        live = if harm == Harm::Deleted { live - 1 } else { live };
        if let Some(tripped) = burst.note(in_top(id), harm, at as u64 + 1, 0, live, SHARE) {
            return Some((at + 1, tripped));
        }
    }
    None
}

fn rewritten(was: u64, is: u64) -> Harm {
    Harm::Rewritten { was: Digest::of(&was.to_be_bytes()), is: Digest::of(&is.to_be_bytes()) }
}

/// Texts that become others.
fn texts(count: u64) -> impl Iterator<Item = (u64, Harm)> {
    (0..count).map(|id| (id, rewritten(id, (1 << 32) + id)))
}

fn all(count: u64, harm: Harm) -> impl Iterator<Item = (u64, Harm)> {
    (0..count).map(move |id| (id, harm))
}

#[test]
fn what_people_and_their_tools_do_is_no_burst() {
    assert_eq!(trips(10_000, all(10_000, Harm::Changed)), None, "a branch in which every text is another");
    let branch = all(6_000, Harm::Changed).chain((6_000..9_000).map(|id| (id, Harm::Deleted)));
    assert_eq!(trips(10_000, branch), None, "a branch with six of ten texts others, and three gone");
    assert_eq!(trips(32_000, all(31_000, Harm::Deleted)), None, "node_modules removed");
    let both = all(700, Harm::Changed).chain((700..1_600).map(|id| (id, Harm::Deleted)));
    assert_eq!(trips(1_700, both), None, "a branch, and node_modules with it");
    assert_eq!(trips(100, all(20_000, Harm::Noise)), None, "an archive of pictures unpacked");
    let export = (0..3_000).flat_map(|id| [(id, Harm::Noise), (10_000, Harm::Changed)]);
    assert_eq!(trips(20_000, export), None, "three thousand pictures exported");
    assert_eq!(trips(100_000, all(15_000, Harm::Destroyed)), None, "a share that is not unusual");
    assert_eq!(trips(150, all(70, Harm::Destroyed)), None, "a project of which less than half is translated");
    assert_eq!(
        trips(150, all(150, Harm::Deleted)),
        None,
        "a small root is emptied, or a branch without files in common"
    );
    assert_eq!(trips(150, texts(150)), None, "a small project, and a branch in which every text is another");
    assert_eq!(trips(150, all(150, Harm::Renamed)), None, "a few photos named by date");
    assert_eq!(trips(29, all(29, Harm::Destroyed)), None, "few");
    assert_eq!(trips(10_000, texts(10_000)), None, "a code base formatted");
    assert_eq!(trips(10_000, texts(10_000).chain(texts(10_000))), None, "and taken back");
    assert_eq!(trips(4_000, all(3_000, Harm::Renamed)), None, "most photos of a library named by date");
    assert_eq!(trips(4_000, all(4_000, Harm::Changed)), None, "every file moved into another directory, one by one");
    let licence = (0..5_000).map(|id| (id, rewritten(1, 2)));
    assert_eq!(trips(5_000, licence), None, "a licence brought up to date in five thousand packages");
    let stubs = (0..5_000).map(|id| (id, rewritten(id % (ALIKE - 1), 1_000_000)));
    assert_eq!(trips(5_000, stubs), None, "a few templates that become one");
    let moved = (0..5_000).map(|id| (id, rewritten(id, 1_000_000 + id / 8)));
    assert_eq!(trips(5_000, moved), None, "modules that say where they are now, few the same");
    let log = (0..10_000).map(|_| (1, Harm::Destroyed));
    assert_eq!(trips(300, log), None, "one file over and over");
}

#[test]
fn a_small_root_is_protected_when_half_of_it_is_destroyed() {
    for (of, at) in [(30, 30), (60, 30), (150, 75), (399, 199), (400, 200), (1_000, 200), (1_500, 300)] {
        let tripped = trips(of, all(of, Harm::Destroyed)).map(|(at, tripped)| (at, tripped.of));
        assert_eq!(tripped, Some((at, of)), "{of}");
    }
    // The first ones are not looked into.
    let encrypted = texts(150).take(CURIOUS).chain((CURIOUS as u64..150).map(|id| (id, Harm::Destroyed)));
    assert_eq!(trips(150, encrypted).map(|(at, _)| at), Some(75 + CURIOUS));
    let mut burst = Burst::default();
    let all_may = (0..150).find_map(|id| burst.note(in_top(id), Harm::Destroyed, id + 1, 0, 150, 90));
    assert_eq!(all_may.map(|it| it.changed), Some(135), "an owner may allow more");
}

#[test]
fn one_text_over_everything_destroys_it() {
    let pwned = |live| trips(live, (0..live).map(|id| (id, rewritten(id, 1_000_000)))).map(|(at, _)| at);
    assert_eq!((pwned(2_000), pwned(100), pwned(40)), (Some(400), Some(50), Some(30)));
    // A few texts, and each file in several steps.
    let notes =
        (0..2_000).flat_map(|id| [(id, rewritten(id, 5_000 + id)), (id, rewritten(5_000 + id, 1_000_000 + id % 7))]);
    assert_eq!(trips(2_000, notes).map(|(at, _)| at), Some(800));
    let between = trips(2_000, (0..400).map(|id| (id, rewritten(id, 1_000_000))).take(399));
    assert_eq!(between, None);
}

#[test]
fn what_became_the_same_long_ago_is_forgotten() {
    let mut burst = Burst::default();
    for id in 0..ALIKE - 1 {
        assert_eq!(burst.note(in_top(id), rewritten(id, 1_000_000), id + 1, 0, 40, SHARE), None);
    }
    for id in ALIKE..2 * ALIKE - 1 {
        assert_eq!(burst.note(in_top(id), rewritten(id, 1_000_000), id + 1, WINDOW, 40, SHARE), None);
    }
    assert_eq!(burst.minutes.iter().map(|it| it.destroyed).sum::<u64>(), 0);
}

#[test]
fn every_file_under_another_name_is_a_burst_whatever_directories_there_are() {
    let tripped = trips(2_020, all(2_000, Harm::Renamed)).map(|(at, _)| at);
    assert_eq!(tripped, Some(1_616), "four fifths");
}

#[test]
fn new_noise_makes_no_difference_to_what_was_deleted_elsewhere() {
    let mut burst = Burst::default();
    let mut note = |id, directory, harm| burst.note((entry(id), entry(directory)), harm, 1, 0, 2_000, SHARE);
    for id in 0..900 {
        assert_eq!(note(id, 1, Harm::Deleted), None);
        assert_eq!(note(10_000 + id, 2, Harm::Noise), None);
    }
    let tripped = (0..900).find_map(|id| note(20_000 + id, 1, Harm::Noise));
    assert!(tripped.is_some(), "in the same directory it does");
}

#[test]
fn what_destroys_is_one_as_soon_as_it_is_unusual() {
    let tripped = |since, changed, of| Tripped { since, changed, of };
    assert_eq!(trips(20_000, all(20_000, Harm::Destroyed)), Some((4_000, tripped(1, 4_000, 20_000))));
    assert_eq!(trips(500, all(500, Harm::Destroyed)), Some((200, tripped(1, 200, 500))));
    // Each file is written anew under another name, then deleted; or the other way round.
    let copied = (0..20_000).flat_map(|id| [(100_000 + id, Harm::Noise), (id, Harm::Deleted)]);
    assert_eq!(trips(20_000, copied).map(|(at, _)| at), Some(8_000));
    let moved = (0..20_000).flat_map(|id| [(id, Harm::Deleted), (100_000 + id, Harm::Noise)]);
    assert_eq!(trips(20_000, moved).map(|(at, _)| at), Some(8_000));
    assert_eq!(trips(1_000, all(1_000, Harm::Deleted)).map(|(at, _)| at), Some(1_000), "everything is gone");
}

#[test]
fn what_was_long_ago_does_not_count() {
    let mut burst = Burst::default();
    let mut note = |id: u64, minute| burst.note(in_top(id), Harm::Destroyed, id + 1, minute, 1_000, SHARE);
    for id in 0..1_000 {
        assert_eq!(note(id, id / 19), None, "nineteen a minute");
    }
    for id in 1_000..1_189 {
        assert_eq!(note(id, 100), None);
    }
    let tripped: Vec<_> = (1_189..1_200).filter_map(|id| note(id, 100 + WINDOW - 1)).collect();
    assert_eq!(tripped.first().map(|it| (it.since, it.changed)), Some((1_001, 200)));
}

#[test]
fn an_entry_counts_once_and_by_the_worst_that_happened_to_it() {
    let mut burst = Burst::default();
    for id in 0..199 {
        for harm in [Harm::Renamed, Harm::Changed, Harm::Destroyed] {
            assert_eq!(burst.note(in_top(id), harm, 1, 0, 400, SHARE), None);
        }
    }
    assert!(burst.note(in_top(500), Harm::Destroyed, 2, 0, 400, SHARE).is_some());
}

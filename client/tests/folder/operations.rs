//! Batches of operations.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use bytes::Bytes;
use quics_client::folder::{Folder, Kind, Op, Outcome, RelPath, Source};

use crate::common::*;

#[test]
fn one_batch_makes_a_tree_and_every_stat_is_the_one_that_is_there() {
    let (place, mut disk) = folder();
    let ops = [
        make_dir("a"),
        make_dir("a/b"),
        make("a/b/f", "deep"),
        Op::MakeLink { at: spot("a/l"), target: Bytes::from_static(b"b/f") },
        Op::MakeFile { at: spot("run"), source: inline("#!"), mode: 0o755, mtime: MTIME },
        make("empty", ""),
    ];
    let outcomes = disk.apply(&ops);
    for (at, outcome) in ["a/b/f", "a/l", "run", "empty"].iter().zip(outcomes[2..].iter()) {
        assert_eq!(done(outcome), stat(&mut disk, at), "{at}");
    }
    assert_eq!(done(&outcomes[0]).kind, Kind::Directory);
    assert_eq!(fs::read_to_string(place.path().join("a/l")).unwrap(), "deep");
    let run = stat(&mut disk, "run");
    assert_eq!((run.mode, run.mtime, run.size), (0o755, MTIME, 2));
    assert_eq!(fs::read_dir(place.path().join(".quics/stage")).unwrap().count(), 0);
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let (place, mut disk) = folder();
    fs::write(place.path().join("f"), "mine").unwrap();
    fs::create_dir(place.path().join("d")).unwrap();
    let ops = [
        make("f", "theirs"),
        make_dir("f"),
        Op::MakeLink { at: spot("d"), target: Bytes::from_static(b"x") },
        make("f/x", "below a file"),
        make("absent/x", "below nothing"),
        Op::Move { from: spot("f"), expected: stat(&mut disk, "f"), to: spot("d") },
        Op::Remove { at: spot("d"), expected: stat(&mut disk, "f") },
    ];
    for (op, outcome) in ops.iter().zip(disk.apply(&ops)) {
        assert!(matches!(outcome, Outcome::Differs), "{op:?}: {outcome:?}");
    }
    assert_eq!(fs::read_to_string(place.path().join("f")).unwrap(), "mine");
    assert_eq!(fs::read_dir(place.path().join(".quics/stage")).unwrap().count(), 0);
}

#[test]
fn a_stale_expectation_changes_nothing() {
    let (place, mut disk) = folder();
    fs::write(place.path().join("f"), "old").unwrap();
    let expected = stat(&mut disk, "f");
    fs::write(place.path().join("f"), "edited since").unwrap();
    let ops = [
        Op::ReplaceWithFile { at: spot("f"), expected, source: inline("new"), mode: 0o644, mtime: MTIME },
        Op::ReplaceWithLink { at: spot("f"), expected, target: Bytes::from_static(b"x") },
        Op::ReplaceWithDir { at: spot("f"), expected, mode: 0o755 },
        Op::Remove { at: spot("f"), expected },
        Op::Move { from: spot("f"), expected, to: spot("g") },
        Op::SetAttributes { at: spot("f"), expected, mode: 0o600, mtime: Some(MTIME) },
    ];
    for (op, outcome) in ops.iter().zip(disk.apply(&ops)) {
        assert!(matches!(outcome, Outcome::Differs), "{op:?}: {outcome:?}");
    }
    assert_eq!(fs::read_to_string(place.path().join("f")).unwrap(), "edited since");
}

#[test]
fn files_links_and_empty_directories_take_each_others_places() {
    let (place, mut disk) = folder();
    all_done(&disk.apply(&[make("x", "file")]));
    let at = || spot("x");
    let expected = stat(&mut disk, "x");
    all_done(&disk.apply(&[Op::ReplaceWithLink { at: at(), expected, target: Bytes::from_static(b"t") }]));
    assert_eq!(disk.read_link(&at()).unwrap(), "t");
    let expected = stat(&mut disk, "x");
    let outcomes = disk.apply(&[Op::ReplaceWithDir { at: at(), expected, mode: 0o750 }, make("x/in", "1")]);
    all_done(&outcomes);
    assert_eq!((stat(&mut disk, "x").kind, stat(&mut disk, "x").mode), (Kind::Directory, 0o750));
    let expected = stat(&mut disk, "x");
    let back = Op::ReplaceWithFile { at: at(), expected, source: inline("file"), mode: 0o600, mtime: MTIME };
    assert!(matches!(disk.apply(std::slice::from_ref(&back))[0], Outcome::Differs), "it is not empty");
    let inner = Op::Remove { at: spot("x/in"), expected: stat(&mut disk, "x/in") };
    all_done(&disk.apply(&[inner, back]));
    assert_eq!(fs::read_to_string(place.path().join("x")).unwrap(), "file");
    assert_eq!(fs::read_dir(place.path().join(".quics/stage")).unwrap().count(), 0);
}

#[test]
fn a_batch_empties_directories_and_then_removes_them() {
    let (place, mut disk) = folder();
    all_done(&disk.apply(&[make_dir("a"), make_dir("a/b"), make("a/b/f", "1"), make("a/g", "2")]));
    let mut remove = |at: &str| Op::Remove { at: spot(at), expected: stat(&mut disk, at) };
    let too_early = remove("a");
    let ops = [remove("a/b/f"), remove("a/b"), remove("a/g"), remove("a")];
    assert!(matches!(disk.apply(&[too_early])[0], Outcome::Differs));
    all_done(&disk.apply(&ops));
    assert!(!place.path().join("a").exists());
}

#[test]
fn moves_carry_whole_directories_and_later_operations_follow() {
    let (place, mut disk) = folder();
    all_done(&disk.apply(&[make_dir("a"), make("a/f", "1"), make_dir("to")]));
    let ops = [
        Op::Move { from: spot("a"), expected: stat(&mut disk, "a"), to: spot("to/b") },
        make("to/b/g", "2"),
        make_dir("a"),
        make("a/other", "3"),
    ];
    all_done(&disk.apply(&ops));
    for (at, text) in [("to/b/f", "1"), ("to/b/g", "2"), ("a/other", "3")] {
        assert_eq!(fs::read_to_string(place.path().join(at)).unwrap(), text);
    }
}

#[test]
fn entries_are_parked_out_of_sight_and_come_back() {
    let (place, mut disk) = folder();
    all_done(&disk.apply(&[make("a", "1"), make("b", "2")]));
    let parked = quics_client::folder::Spot { dir: RelPath::stage(), name: name(&"0af3".repeat(8)) };
    let (a, b) = (stat(&mut disk, "a"), stat(&mut disk, "b"));
    let ops = [
        Op::Move { from: spot("a"), expected: a, to: parked.clone() },
        Op::Move { from: spot("b"), expected: b, to: spot("a") },
        Op::Move { from: parked, expected: a, to: spot("b") },
    ];
    all_done(&disk.apply(&ops));
    assert_eq!(fs::read_to_string(place.path().join("a")).unwrap(), "2");
    assert_eq!(fs::read_to_string(place.path().join("b")).unwrap(), "1");
}

#[test]
fn what_is_in_a_parked_directory_is_made_replaced_moved_and_removed_as_elsewhere() {
    let (place, mut disk) = folder();
    all_done(&disk.apply(&[make_dir("d"), make_dir("d/old"), make("d/f", "1")]));
    let id = "0af3".repeat(8);
    let parked = quics_client::folder::Spot { dir: RelPath::stage(), name: name(&id) };
    let expected = stat(&mut disk, "d");
    all_done(&disk.apply(&[Op::Move { from: spot("d"), expected, to: parked }]));
    let below = |path: &str| spot(&format!(".quics/stage/{id}/{path}"));
    let (old, file) = (disk.stat(&below("old")).unwrap().unwrap(), disk.stat(&below("f")).unwrap().unwrap());
    let ops = [
        Op::Remove { at: below("old"), expected: old },
        Op::ReplaceWithFile { at: below("f"), expected: file, source: inline("2"), mode: 0o644, mtime: MTIME },
        Op::MakeDir { at: below("new"), mode: 0o755 },
        Op::MakeFile { at: below("new/g"), source: inline("3"), mode: 0o644, mtime: MTIME },
    ];
    all_done(&disk.apply(&ops));
    let g = disk.stat(&below("new/g")).unwrap().unwrap();
    all_done(&disk.apply(&[Op::Move { from: below("new/g"), expected: g, to: spot("g") }]));
    assert_eq!(fs::read_to_string(place.path().join("g")).unwrap(), "3");
    let staged = place.path().join(".quics/stage").join(&id);
    assert_eq!(fs::read_to_string(staged.join("f")).unwrap(), "2");
    assert!(!staged.join("old").exists() && staged.join("new").is_dir());
}

#[test]
fn a_parked_entry_survives_a_restart_and_keeps_the_folder_from_being_given_up() {
    let (place, mut disk) = folder();
    all_done(&disk.apply(&[make("a", "1")]));
    let parked = quics_client::folder::Spot { dir: RelPath::stage(), name: name(&"0af3".repeat(8)) };
    let expected = stat(&mut disk, "a");
    all_done(&disk.apply(&[Op::Move { from: spot("a"), expected, to: parked.clone() }]));
    drop(disk);
    let mut disk = quics_client::folder::Disk::open(place.path(), ROOT, quics_types::UnitNames::default()).unwrap();
    assert!(disk.stat(&parked).unwrap().is_some());
    assert!(matches!(disk.forget(), Err(quics_client::folder::Error::NotEmpty(1))));
}

#[test]
fn a_replaced_file_keeps_its_bits_and_attributes() {
    let (place, mut disk) = folder();
    let file = place.path().join("f");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let labelled = rustix::fs::setxattr(&file, "user.label", b"blue", flags).is_ok();
    let before = fs::metadata(&file).unwrap();
    let expected = stat(&mut disk, "f");
    let op = Op::ReplaceWithFile { at: spot("f"), expected, source: inline("new"), mode: 0o777, mtime: MTIME };
    let reported = done(&disk.apply(&[op])[0]);
    let after = fs::metadata(&file).unwrap();
    assert_eq!(after.permissions().mode() & 0o7777, 0o750);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_eq!((reported.mode, reported.mtime), (0o750, MTIME));
    if labelled {
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(&file, "user.label", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"blue");
    }
}

#[test]
fn a_file_that_an_earlier_operation_of_the_batch_put_there_is_replaced_with_its_attributes() {
    let (place, mut disk) = folder();
    fs::write(place.path().join("a"), "old").unwrap();
    fs::set_permissions(place.path().join("a"), fs::Permissions::from_mode(0o600)).unwrap();
    let expected = stat(&mut disk, "a");
    let ops = [
        Op::Move { from: spot("a"), expected, to: spot("b") },
        Op::ReplaceWithFile { at: spot("b"), expected, source: inline("new"), mode: 0o644, mtime: MTIME },
    ];
    all_done(&disk.apply(&ops));
    let after = stat(&mut disk, "b");
    assert_eq!((after.mode, after.mtime, after.size), (0o600, MTIME, 3));
}

#[test]
fn attributes_are_set_on_files_and_directories() {
    let (_place, mut disk) = folder();
    all_done(&disk.apply(&[make("f", "1"), make_dir("d")]));
    let (f, d) = (stat(&mut disk, "f"), stat(&mut disk, "d"));
    let later = quics_types::Mtime { seconds: 1_700_000_000, nanos: 9 };
    let outcomes = disk.apply(&[
        Op::SetAttributes { at: spot("f"), expected: f, mode: 0o400, mtime: Some(later) },
        Op::SetAttributes { at: spot("d"), expected: d, mode: 0o700, mtime: None },
    ]);
    assert_eq!((done(&outcomes[0]).mode, done(&outcomes[0]).mtime), (0o400, later));
    assert_eq!(done(&outcomes[0]), stat(&mut disk, "f"));
    assert_eq!(done(&outcomes[1]).mode, 0o700);
}

#[test]
fn directories_that_will_not_be_writable_are_filled_first() {
    let (_place, mut disk) = folder();
    let ops = [Op::MakeDir { at: spot("d"), mode: 0o555 }, make("d/f", "1")];
    let outcomes = disk.apply(&ops);
    all_done(&outcomes);
    assert_eq!(done(&outcomes[0]).mode, 0o555);
    assert_eq!(stat(&mut disk, "d").mode, 0o555);
}

#[test]
fn an_incoming_file_is_taken_once_and_copied_for_others_that_need_it() {
    let (place, mut disk) = folder();
    let source = Source::Incoming(name("content"));
    fs::write(place.path().join(".quics/incoming/content"), "large").unwrap();
    all_done(&disk.apply(&[make("old", "x")]));
    let expected = stat(&mut disk, "old");
    let ops = [
        Op::MakeFile { at: spot("a"), source: source.clone(), mode: 0o600, mtime: MTIME },
        Op::ReplaceWithFile { at: spot("old"), expected, source: source.clone(), mode: 0o644, mtime: MTIME },
        Op::MakeFile { at: spot("b"), source: source.clone(), mode: 0o644, mtime: MTIME },
    ];
    all_done(&disk.apply(&ops));
    for at in ["a", "old", "b"] {
        assert_eq!(fs::read_to_string(place.path().join(at)).unwrap(), "large", "{at}");
        assert_eq!(stat(&mut disk, at).links, 1);
    }
    let again = Op::MakeFile { at: spot("c"), source, mode: 0o644, mtime: MTIME };
    assert!(matches!(disk.apply(&[again])[0], Outcome::Differs | Outcome::Failed(_)));
}

#[test]
fn a_large_batch_over_many_directories_is_applied_whole() {
    let (place, mut disk) = folder();
    let mut ops: Vec<Op> = (0..300).map(|d| make_dir(&format!("d{d}"))).collect();
    ops.extend((0..900).map(|f| make(&format!("d{}/f{f}", f % 300), &format!("text {f}"))));
    all_done(&disk.apply(&ops));
    for f in 0..900 {
        assert_eq!(fs::read_to_string(place.path().join(format!("d{}/f{f}", f % 300))).unwrap(), format!("text {f}"));
    }
}

#[test]
fn the_private_directory_is_out_of_reach() {
    let (place, mut disk) = folder();
    fs::create_dir(place.path().join("d")).unwrap();
    let stage = |text: &str| quics_client::folder::Spot { dir: RelPath::stage(), name: name(text) };
    let mut spots = vec![spot(".quics"), spot(".quics/marker"), spot(".quics/incoming/x"), spot("d/.quics")];
    spots.extend([stage("new-1"), stage("swap-1"), spot(".quics/stage/new-1/x"), spot(".quics/stage/0af3/.quics")]);
    spots.extend([spot(".quics/stage/0af3/.quics/x"), spot(".quics/staged/x"), spot("d/.quics/stage/0af3")]);
    for at in spots {
        let op = Op::MakeFile { at: at.clone(), source: inline("x"), mode: 0o644, mtime: MTIME };
        assert!(matches!(disk.apply(&[op])[0], Outcome::Failed(_)), "{at:?}");
        let op = Op::MakeDir { at: at.clone(), mode: 0o755 };
        assert!(matches!(disk.apply(&[op])[0], Outcome::Failed(_)), "{at:?}");
    }
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_never_followed() {
    let (place, mut disk) = folder();
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary");
    fs::write(&canary, "untouched").unwrap();
    symlink(&canary, place.path().join("l")).unwrap();
    let expected = stat(&mut disk, "l");
    let op = Op::SetAttributes { at: spot("l"), expected, mode: 0o600, mtime: Some(MTIME) };
    all_done(&disk.apply(&[op]));
    let expected = stat(&mut disk, "l");
    let op = Op::ReplaceWithFile { at: spot("l"), expected, source: inline("new"), mode: 0o644, mtime: MTIME };
    all_done(&disk.apply(&[op]));
    assert_eq!(fs::read_to_string(&canary).unwrap(), "untouched");
    assert_ne!(fs::metadata(&canary).unwrap().mtime(), MTIME.seconds);
    assert_eq!(fs::read_to_string(place.path().join("l")).unwrap(), "new");
}

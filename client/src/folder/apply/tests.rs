//! Somebody else steps in between the steps of an operation.

use std::{cell::Cell, fs as std_fs, path::PathBuf, rc::Rc};

use bytes::Bytes;
use quics_types::{Mtime, Name, RootId, UnitNames};
use tempfile::TempDir;

use super::fault;
use crate::folder::{Disk, Folder, Op, Outcome, RelPath, Source, Spot, Stat};

const MTIME: Mtime = Mtime { seconds: 1_600_000_000, nanos: 5 };

fn folder() -> (TempDir, Disk) {
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::create(place.path(), RootId::from_bytes([7; 16]), UnitNames::default()).unwrap();
    (place, disk)
}

fn spot(name: &str) -> Spot {
    Spot { dir: RelPath::root(), name: Name::new(name.to_owned().into_bytes()).unwrap() }
}

fn inline(text: &str) -> Source {
    Source::Inline(Bytes::copy_from_slice(text.as_bytes()))
}

fn stat(disk: &mut Disk, name: &str) -> Stat {
    disk.stat(&spot(name)).unwrap().unwrap()
}

fn replace(disk: &mut Disk, name: &str, text: &str) -> Op {
    let expected = stat(disk, name);
    Op::ReplaceWithFile { at: spot(name), expected, source: inline(text), mode: 0o644, mtime: MTIME }
}

/// Applies one operation and lets `meddle` act once, at `point`.
fn apply_while(disk: &mut Disk, op: Op, point: &'static str, mut meddle: impl FnMut() + 'static) -> Outcome {
    let done = Rc::new(Cell::new(false));
    let once = done.clone();
    let hook = move |at| {
        if at == point && !once.replace(true) {
            meddle();
        }
    };
    let outcome = fault::during(hook, || disk.apply(&[op])).remove(0);
    assert!(done.get(), "nothing passes {point}");
    outcome
}

fn write(path: PathBuf, text: &str) {
    std_fs::write(path, text).unwrap();
}

fn write_by_rename(path: PathBuf, text: &str) {
    let new = path.with_extension("saved");
    std_fs::write(&new, text).unwrap();
    std_fs::rename(new, path).unwrap();
}

#[test]
fn an_edit_at_any_moment_before_the_exchange_stays_in_its_place() {
    for point in ["staged", "staged files are durable", "about to exchange"] {
        for save in [write, write_by_rename] {
            let (place, mut disk) = folder();
            let path = place.path().join("file");
            write(path.clone(), "old");
            let op = replace(&mut disk, "file", "from the server");
            let target = path.clone();
            let outcome = apply_while(&mut disk, op, point, move || save(target.clone(), "the user's edit"));
            assert!(matches!(outcome, Outcome::Differs), "{point}: {outcome:?}");
            assert_eq!(std_fs::read_to_string(&path).unwrap(), "the user's edit", "{point}");
            assert_eq!(disk.tree().sweep_displaced(disk_now(1_000)).unwrap(), []);
            disk.forget().unwrap();
        }
    }
}

/// A time so far ahead that every grace is over.
fn disk_now(ahead: i64) -> Mtime {
    Mtime { seconds: crate::folder::disk::clock().seconds + ahead, nanos: 0 }
}

#[test]
fn a_file_deleted_before_the_exchange_stays_deleted() {
    let (place, mut disk) = folder();
    let path = place.path().join("file");
    write(path.clone(), "old");
    let op = replace(&mut disk, "file", "new");
    let target = path.clone();
    let outcome = apply_while(&mut disk, op, "about to exchange", move || std_fs::remove_file(&target).unwrap());
    assert!(matches!(outcome, Outcome::Differs), "{outcome:?}");
    assert!(!path.exists());
    disk.forget().unwrap();
}

#[test]
fn an_edit_that_was_displaced_is_put_back_even_when_the_new_file_is_replaced_meanwhile() {
    // The edit comes just before the exchange, another save just after it.
    let (place, mut disk) = folder();
    let path = place.path().join("file");
    write(path.clone(), "old");
    let op = replace(&mut disk, "file", "from the server");
    let target = path.clone();
    let hook = move |at| match at {
        "about to exchange" => write_by_rename(target.clone(), "first edit"),
        "exchanged" => write_by_rename(target.clone(), "second edit"),
        _ => {}
    };
    let outcome = fault::during(hook, || disk.apply(&[op])).remove(0);
    assert!(matches!(outcome, Outcome::Differs), "{outcome:?}");
    let mut found = vec![std_fs::read_to_string(&path).unwrap()];
    for edit in disk.tree().sweep_displaced(disk_now(0)).unwrap() {
        assert_eq!(edit.from, Some(spot("file")));
        disk.tree().bring_back(&edit, &spot("kept")).unwrap().unwrap();
        found.push(std_fs::read_to_string(place.path().join("kept")).unwrap());
    }
    found.sort();
    assert_eq!(found, ["first edit", "second edit"]);
}

#[test]
fn an_edit_of_the_new_file_right_after_it_is_shown_is_not_reported_as_the_new_content() {
    for save in [write, write_by_rename] {
        let (place, mut disk) = folder();
        let path = place.path().join("file");
        write(path.clone(), "old");
        let op = replace(&mut disk, "file", "from the server");
        let target = path.clone();
        let outcome = apply_while(&mut disk, op, "exchanged", move || save(target.clone(), "later edit"));
        let Outcome::Done(reported) = outcome else { panic!("{outcome:?}") };
        assert_eq!(std_fs::read_to_string(&path).unwrap(), "later edit");
        assert!(!reported.same_content(&stat(&mut disk, "file")));
        assert_eq!(reported.size, "from the server".len() as u64);
    }
}

#[test]
fn a_writer_that_kept_the_displaced_file_open_loses_nothing() {
    use std::io::Write;
    let (place, mut disk) = folder();
    let path = place.path().join("file");
    write(path.clone(), "old");
    let mut writer = std_fs::OpenOptions::new().append(true).open(&path).unwrap();
    let op = replace(&mut disk, "file", "new");
    assert!(matches!(disk.apply(&[op])[0], Outcome::Done(_)));
    // Open as it is, it is kept beyond its grace.
    assert_eq!(disk.tree().sweep_displaced(disk_now(1_000)).unwrap(), []);
    writer.write_all(b" and more").unwrap();
    drop(writer);
    let edits = disk.tree().sweep_displaced(disk_now(1_000)).unwrap();
    assert_eq!(edits.len(), 1);
    disk.tree().bring_back(&edits[0], &spot("kept")).unwrap().unwrap();
    assert_eq!(std_fs::read_to_string(place.path().join("kept")).unwrap(), "old and more");
    disk.forget().unwrap();
}

#[test]
fn displaced_files_are_kept_for_their_grace_and_then_removed() {
    let (place, mut disk) = folder();
    write(place.path().join("file"), "old");
    let op = replace(&mut disk, "file", "new");
    assert!(matches!(disk.apply(&[op])[0], Outcome::Done(_)));
    let displaced = place.path().join(".quics/displaced");
    let count = || std_fs::read_dir(&displaced).unwrap().count();
    disk.tree().sweep_displaced(disk_now(0)).unwrap();
    assert_eq!(count(), 1);
    disk.tree().sweep_displaced(disk_now(crate::folder::GRACE_SECONDS + 1)).unwrap();
    assert_eq!(count(), 0);
}

#[test]
fn an_edit_just_before_a_removal_stays_in_its_place() {
    for save in [write, write_by_rename] {
        let (place, mut disk) = folder();
        let path = place.path().join("file");
        write(path.clone(), "old");
        let op = Op::Remove { at: spot("file"), expected: stat(&mut disk, "file") };
        let target = path.clone();
        let outcome = apply_while(&mut disk, op, "about to remove", move || save(target.clone(), "edited"));
        assert!(matches!(outcome, Outcome::Differs), "{outcome:?}");
        assert_eq!(std_fs::read_to_string(&path).unwrap(), "edited");
        disk.forget().unwrap();
    }
}

#[test]
fn a_removed_edit_whose_name_is_taken_again_is_reported() {
    let (place, mut disk) = folder();
    let path = place.path().join("file");
    write(path.clone(), "old");
    let op = Op::Remove { at: spot("file"), expected: stat(&mut disk, "file") };
    let target = path.clone();
    let hook = move |at| match at {
        "about to remove" => write(target.clone(), "edited"),
        "removed" => write(target.clone(), "made anew"),
        _ => {}
    };
    assert!(matches!(fault::during(hook, || disk.apply(&[op]))[0], Outcome::Differs));
    assert_eq!(std_fs::read_to_string(&path).unwrap(), "made anew");
    let edits = disk.tree().sweep_displaced(disk_now(0)).unwrap();
    assert_eq!(edits.len(), 1);
    assert!(matches!(disk.forget(), Err(crate::folder::Error::NotEmpty(1))));
}

#[test]
fn something_that_takes_the_place_of_a_moved_file_is_moved_back() {
    let (place, mut disk) = folder();
    let path = place.path().join("file");
    write(path.clone(), "old");
    let op = Op::Move { from: spot("file"), expected: stat(&mut disk, "file"), to: spot("other") };
    let target = path.clone();
    let outcome = apply_while(&mut disk, op, "about to move", move || write_by_rename(target.clone(), "edited"));
    assert!(matches!(outcome, Outcome::Differs), "{outcome:?}");
    assert_eq!(std_fs::read_to_string(&path).unwrap(), "edited");
    assert!(!place.path().join("other").exists());
}

#[test]
fn a_directory_that_is_filled_in_the_last_moment_is_not_replaced() {
    let (place, mut disk) = folder();
    std_fs::create_dir(place.path().join("dir")).unwrap();
    let expected = stat(&mut disk, "dir");
    let op = Op::ReplaceWithFile { at: spot("dir"), expected, source: inline("x"), mode: 0o644, mtime: MTIME };
    let target = place.path().join("dir/file");
    let outcome = apply_while(&mut disk, op, "about to exchange", move || write(target.clone(), "new"));
    assert!(matches!(outcome, Outcome::Differs), "{outcome:?}");
    assert_eq!(std_fs::read_to_string(place.path().join("dir/file")).unwrap(), "new");
    disk.forget().unwrap();
}

#[test]
fn what_a_crash_left_staged_is_sorted_out_without_losing_an_edit() {
    // A panic in the middle of an operation leaves the private directory as a kill would.
    for (point, edit) in [("staged", false), ("about to exchange", false), ("exchanged", false), ("exchanged", true)] {
        let (place, mut disk) = folder();
        let path = place.path().join("file");
        write(path.clone(), "old");
        let op = replace(&mut disk, "file", "new");
        let target = path.clone();
        let hook = move |at| {
            if edit && at == "about to exchange" {
                write(target.clone(), "edited");
            }
            if at == point {
                panic!("crash");
            }
        };
        let crashed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            fault::during(hook, || disk.apply(&[op]));
        }));
        assert!(crashed.is_err());
        fault::during(|_| {}, || {});
        drop(disk);
        let disk = Disk::open(place.path(), RootId::from_bytes([7; 16]), UnitNames::default()).unwrap();
        let now = std_fs::read_to_string(&path).unwrap();
        assert_eq!(now, if point == "exchanged" { "new" } else { "old" }, "{point}");
        let edits = disk.tree().sweep_displaced(disk_now(1_000)).unwrap();
        assert_eq!(edits.len(), usize::from(edit));
        for edit in edits {
            disk.tree().bring_back(&edit, &spot("kept")).unwrap().unwrap();
            assert_eq!(std_fs::read_to_string(place.path().join("kept")).unwrap(), "edited");
        }
        disk.forget().unwrap();
    }
}

//! The sled index: believed only when there is every reason, otherwise moved aside and rebuilt.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use quics_meta::{Batch, Disk, Error, Journaled, MetaStore, Options, RealDisk};

use crate::disks::Odd;

fn fill(store: &dyn MetaStore, from: u32, to: u32) {
    for n in from..to {
        let mut batch = Batch::new();
        batch.put(format!("k{n:04}"), n.to_be_bytes().to_vec()).delete(format!("k{:04}", n / 2));
        drop(store.submit(batch).unwrap());
    }
    store.submit(Batch::new()).unwrap().wait().unwrap();
}

fn asides(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("index.aside-")).collect();
    names.sort();
    names
}

/// Copies a store as a kill leaves it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_second_opening_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let store = Journaled::open(dir.path(), Options::default()).unwrap();
    assert!(matches!(Journaled::open(dir.path(), Options::default()), Err(Error::Held { .. })));
    drop(store);
    Journaled::open(dir.path(), Options::default()).unwrap();
}

#[test]
fn an_index_that_was_closed_cleanly_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let store = Journaled::open(dir.path(), Options::default()).unwrap();
        fill(&store, round * 50, round * 50 + 50);
        store.close().unwrap();
    }
    assert_eq!(asides(dir.path()), [""; 0]);
    Journaled::open(dir.path(), Options::default()).unwrap().verify().unwrap();
}

#[test]
fn an_index_of_a_killed_process_is_moved_aside_and_rebuilt() {
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Journaled::open(dir.path(), Options::default()).unwrap();
    fill(&store, 0, 300);
    store.snapshot().unwrap();
    fill(&store, 300, 400);
    copy(dir.path(), killed.path());
    let rows = store.range(b"", b"", 4096).unwrap();
    let again = Journaled::open(killed.path(), Options::default()).unwrap();
    assert_eq!(again.range(b"", b"", 4096).unwrap(), rows);
    assert_eq!(again.applied(), store.applied());
    assert_eq!(asides(killed.path()), ["index.aside-1"]);
    again.verify().unwrap();
}

#[test]
fn an_index_of_another_boot_is_moved_aside_and_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let store = Journaled::open(dir.path(), Options::default()).unwrap();
    fill(&store, 0, 100);
    let rows = store.range(b"", b"", 4096).unwrap();
    drop(store);
    let disk = Odd::booted(RealDisk::lock(dir.path()).unwrap(), "the next boot");
    let again = Journaled::open_on(disk, Options::default()).unwrap();
    assert_eq!(again.range(b"", b"", 4096).unwrap(), rows);
    assert_eq!(asides(dir.path()), ["index.aside-1"]);
}

#[test]
fn an_index_that_is_damaged_is_moved_aside_and_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let store = Journaled::open(dir.path(), Options::default()).unwrap();
    fill(&store, 0, 200);
    let rows = store.range(b"", b"", 4096).unwrap();
    drop(store);
    fs::write(dir.path().join("index/db"), b"nonsense").unwrap();
    let again = Journaled::open(dir.path(), Options::default()).unwrap();
    assert_eq!(again.range(b"", b"", 4096).unwrap(), rows);
    assert_eq!(asides(dir.path()), ["index.aside-1"]);
    again.verify().unwrap();
}

#[test]
fn an_index_that_lost_a_row_does_not_verify_and_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let store = Journaled::open(dir.path(), Options::default()).unwrap();
    fill(&store, 0, 200);
    let rows = store.range(b"", b"", 4096).unwrap();
    drop(store);
    let sled = sled::open(dir.path().join("index")).unwrap();
    sled.remove(&rows[7].0).unwrap().unwrap();
    sled.flush().unwrap();
    drop(sled);
    let again = Journaled::open(dir.path(), Options::default()).unwrap();
    assert_eq!(again.range(b"", b"", 4096).unwrap(), rows);
    assert_eq!(asides(dir.path()), ["index.aside-1"]);
}

#[test]
fn only_the_newest_indexes_that_were_moved_aside_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..6 {
        let store = Journaled::open(dir.path(), Options { keep_aside: 2, ..Options::default() }).unwrap();
        fill(&store, 0, 10);
        drop(store);
        fs::remove_file(dir.path().join("clean")).unwrap();
    }
    assert_eq!(asides(dir.path()), ["index.aside-4", "index.aside-5"]);
}

#[test]
fn sled_needs_a_real_directory() {
    let disk = Arc::new(quics_meta::SimDisk::new(1));
    assert!(matches!(Journaled::open_on(disk.clone(), Options::default()), Err(Error::Io { .. })));
    assert!(disk.list().unwrap().len() <= 1);
}

//! Adding, opening and giving up.

use std::{fs, os::unix::fs::PermissionsExt};

use quics_client::folder::{Disk, Error, Folder, Identity};
use quics_types::{RootId, UnitNames};

use crate::common::*;

#[test]
fn a_folder_is_marked_privately_and_can_be_opened_again() {
    let (place, disk) = folder();
    let own = place.path().join(".quics");
    assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(Disk::open(place.path(), ROOT, UnitNames::default()), Err(Error::InUse(_))));
    drop(disk);
    let mut disk = Disk::open(place.path(), ROOT, UnitNames::default()).unwrap();
    assert_eq!(disk.check_identity().unwrap(), Identity::Same);
    drop(disk);
    assert!(Disk::create(place.path(), ROOT, UnitNames::default()).is_ok());
    let other = RootId::from_bytes([8; 16]);
    assert!(
        matches!(Disk::open(place.path(), other, UnitNames::default()), Err(Error::OtherRoot { found, .. }) if found == ROOT)
    );
    assert!(matches!(Disk::create(place.path(), other, UnitNames::default()), Err(Error::OtherRoot { .. })));
}

#[test]
fn folders_do_not_lie_inside_each_other() {
    let (place, disk) = folder();
    let inner = place.path().join("a/b");
    fs::create_dir_all(&inner).unwrap();
    let other = RootId::from_bytes([8; 16]);
    assert!(
        matches!(Disk::create(&inner, other, UnitNames::default()), Err(Error::Inside(outer)) if outer == place.path().canonicalize().unwrap())
    );
    disk.forget().unwrap();
    let inner_disk = Disk::create(&inner, other, UnitNames::default()).unwrap();
    assert!(
        matches!(Disk::create(place.path(), ROOT, UnitNames::default()), Err(Error::Contains(found)) if found.ends_with("a/b"))
    );
    inner_disk.forget().unwrap();
    assert!(Disk::create(place.path(), ROOT, UnitNames::default()).is_ok());
}

#[test]
fn what_is_not_a_folder_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(Disk::create(&file, ROOT, UnitNames::default()), Err(Error::NotADirectory(_))));
    assert!(matches!(Disk::create(&place.path().join("absent"), ROOT, UnitNames::default()), Err(Error::Io { .. })));
    assert!(matches!(Disk::open(place.path(), ROOT, UnitNames::default()), Err(Error::Unmarked(_))));
    assert!(Disk::create(std::path::Path::new("/proc/self"), ROOT, UnitNames::default()).is_err());
}

#[test]
fn a_marker_that_is_damaged_or_newer_is_named() {
    let (place, disk) = folder();
    drop(disk);
    let marker = place.path().join(".quics/marker");
    let mut bytes = fs::read(&marker).unwrap();
    bytes[4] = 9;
    fs::write(&marker, &bytes).unwrap();
    assert!(matches!(Disk::open(place.path(), ROOT, UnitNames::default()), Err(Error::Newer { found: 9, .. })));
    bytes[4] = 1;
    bytes[10] ^= 1;
    fs::write(&marker, &bytes).unwrap();
    assert!(matches!(Disk::open(place.path(), ROOT, UnitNames::default()), Err(Error::Damaged { .. })));
}

#[test]
fn a_folder_that_goes_away_or_is_another_one_is_noticed() {
    let outer = tempfile::tempdir().unwrap();
    let place = outer.path().join("folder");
    fs::create_dir(&place).unwrap();
    let mut disk = Disk::create(&place, ROOT, UnitNames::default()).unwrap();
    let aside = outer.path().join("aside");
    fs::rename(&place, &aside).unwrap();
    assert_eq!(disk.check_identity().unwrap(), Identity::Gone);
    fs::create_dir(&place).unwrap();
    assert_eq!(disk.check_identity().unwrap(), Identity::Unmarked);
    let other = Disk::create(&place, RootId::from_bytes([8; 16]), UnitNames::default()).unwrap();
    assert_eq!(disk.check_identity().unwrap(), Identity::Other);
    other.forget().unwrap();
    fs::remove_dir(&place).unwrap();
    fs::rename(&aside, &place).unwrap();
    assert_eq!(disk.check_identity().unwrap(), Identity::Same);
}

#[test]
fn a_folder_that_was_given_up_has_no_trace_and_all_its_files() {
    let (place, mut disk) = folder();
    all_done(&disk.apply(&[make_dir("d"), make("d/f", "text"), make("g", "old")]));
    let expected = stat(&mut disk, "g");
    let remove = quics_client::folder::Op::Remove { at: spot("g"), expected };
    all_done(&disk.apply(&[remove]));
    disk.forget().unwrap();
    assert!(!place.path().join(".quics").exists());
    assert_eq!(fs::read_to_string(place.path().join("d/f")).unwrap(), "text");
}

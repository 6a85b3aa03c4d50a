//! What an ordinary user meets and root never does. Run as root, the work is done by a process of another user.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use quics_client::folder::{Disk, Folder, Op, Outcome};
use quics_types::UnitNames;

use crate::common::*;

const PLACE: &str = "QUICS_TEST_PERMISSIONS_PLACE";
const NOBODY: u32 = 65534;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The work of the ordinary user.
#[test]
fn child_of_another_user() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let place = Path::new(&place);
    let mut disk = Disk::create(place, ROOT, UnitNames::default()).unwrap();
    // A directory that is closed to its owner takes files in later batches too, and is closed again.
    let closed = Op::MakeDir { at: spot("closed"), mode: 0o555 };
    all_done(&disk.apply(&[closed, make("closed/one", "1")]));
    all_done(&disk.apply(&[make("closed/two", "2"), make_dir("closed/dir"), make("closed/three", "3")]));
    let [one, two, three] = ["one", "two", "three"].map(|name| stat(&mut disk, &format!("closed/{name}")));
    all_done(&disk.apply(&[
        Op::ReplaceWithFile { at: spot("closed/one"), expected: one, source: inline("new"), mode: 0o644, mtime: MTIME },
        Op::Move { from: spot("closed/two"), expected: two, to: spot("closed/dir/two") },
        Op::Remove { at: spot("closed/three"), expected: three },
    ]));
    assert_eq!(mode(&place.join("closed")), 0o555);
    assert_eq!(fs::read_to_string(place.join("closed/one")).unwrap(), "new");
    assert_eq!(fs::read_to_string(place.join("closed/dir/two")).unwrap(), "2");
    assert!(!place.join("closed/three").exists());
    // A file that its owner may not read is replaced all the same, and keeps its bits.
    all_done(&disk.apply(&[Op::MakeFile { at: spot("secret"), source: inline("1"), mode: 0, mtime: MTIME }]));
    let expected = stat(&mut disk, "secret");
    let op = Op::ReplaceWithFile { at: spot("secret"), expected, source: inline("22"), mode: 0o644, mtime: MTIME };
    assert_eq!(done(&disk.apply(&[op])[0]).size, 2);
    assert_eq!(mode(&place.join("secret")), 0);
    let expected = stat(&mut disk, "secret");
    let op = Op::SetAttributes { at: spot("secret"), expected, mode: 0o600, mtime: None };
    assert_eq!(done(&disk.apply(&[op])[0]).mode, 0o600);
    // What cannot be read is an error and not an empty directory.
    fs::create_dir(place.join("dark")).unwrap();
    fs::set_permissions(place.join("dark"), fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(disk.list(&path("dark")).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    fs::set_permissions(place.join("dark"), fs::Permissions::from_mode(0o700)).unwrap();
    println!("all was checked");
}

#[test]
fn an_ordinary_user_is_stopped_by_no_bits_of_his_own() {
    let place = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let command = |program: &Path| {
        let mut child = Command::new(program);
        child.args(["--exact", "permissions::child_of_another_user", "--nocapture"]).env(PLACE, place.path());
        child
    };
    if !rustix::process::geteuid().is_root() {
        return check(&command(&this).output().unwrap());
    }
    chown(place.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    // The test's own program may lie where nobody else may look.
    let readable = tempfile::tempdir().unwrap();
    fs::set_permissions(readable.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = readable.path().join("test");
    fs::copy(&this, &copy).unwrap();
    check(&command(&copy).uid(NOBODY).gid(NOBODY).output().unwrap());
}

fn check(output: &std::process::Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("all was checked"), "{text}\n{errors}");
}

#[test]
fn a_directory_hands_its_group_down() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can make a directory of a group that it is not in.
    }
    let (place, mut disk) = folder();
    let shared = place.path().join("shared");
    fs::create_dir(&shared).unwrap();
    chown(&shared, None, Some(12345)).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775)).unwrap();
    all_done(&disk.apply(&[make("shared/f", "1"), make_dir("shared/d"), make("shared/d/f", "2")]));
    for at in ["f", "d", "d/f"] {
        assert_eq!(fs::metadata(shared.join(at)).unwrap().gid(), 12345, "{at}");
    }
    assert_eq!(mode(&shared.join("d")), 0o2755);
}

#[test]
fn permissions_that_were_changed_after_the_plan_are_not_swallowed_by_a_replacement() {
    let (place, mut disk) = folder();
    let planned = done(&disk.apply(&[make("f", "1")])[0]);
    fs::set_permissions(place.path().join("f"), fs::Permissions::from_mode(0o640)).unwrap();
    let replace =
        |expected| Op::ReplaceWithFile { at: spot("f"), expected, source: inline("2"), mode: 0o644, mtime: MTIME };
    assert!(matches!(disk.apply(&[replace(planned)])[0], Outcome::Differs));
    assert_eq!(fs::read_to_string(place.path().join("f")).unwrap(), "1");
    let seen = stat(&mut disk, "f");
    assert_eq!(done(&disk.apply(&[replace(seen)])[0]).mode, 0o640, "they stay with the new content");
}

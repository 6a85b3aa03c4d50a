//! Directories that are one thing with everything in it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use quics_chunks::{Bundle, Member, MemberKind};
use quics_client::folder::{Disk, Folder, Identity, Kind, Op, Outcome, Source, Spot, Stat};
use quics_reconcile::parked_name;
use quics_types::{EntryId, Mtime};

use crate::common::*;

/// The bundle of a repository of which every file holds a text.
pub(crate) fn bundle(text: &str) -> Source {
    let member = |path: &'static str, kind| Member { path: path.into(), kind };
    let file = |executable| MemberKind::File { size: text.len() as u64, executable };
    let members = vec![
        member("HEAD", file(false)),
        member("hooks", MemberKind::Directory),
        member("hooks/run", file(true)),
        member("link", MemberKind::Link { target: "HEAD".into() }),
        member("objects", MemberKind::Directory),
        member("objects/ab", MemberKind::Directory),
        member("objects/ab/cd", file(false)),
        member("refs", MemberKind::Directory),
    ];
    let mut bytes = Bundle::new(members).unwrap().head().to_vec();
    (0..3).for_each(|_| bytes.extend_from_slice(text.as_bytes()));
    Source::Inline(bytes.into())
}

pub(crate) fn make_unit(at: &str, text: &str) -> Op {
    Op::MakeUnit { at: spot(at), source: bundle(text), mode: 0o755 }
}

/// What the files of a unit hold, all of them the same.
#[track_caller]
pub(crate) fn text_of(unit: &Path) -> String {
    let texts = ["HEAD", "hooks/run", "objects/ab/cd"].map(|file| fs::read_to_string(unit.join(file)).unwrap());
    assert!(texts.iter().all(|text| *text == texts[0]), "a mixture: {texts:?}");
    assert_eq!(fs::read_link(unit.join("link")).unwrap(), Path::new("HEAD"));
    assert!(unit.join("refs").is_dir(), "an empty directory is a part of it");
    texts[0].clone()
}

fn made() -> (tempfile::TempDir, Disk, Stat) {
    let (place, mut disk) = folder();
    let stat = done(&disk.apply(&[make_unit(".git", "one")])[0]);
    (place, disk, stat)
}

#[test]
fn it_is_one_member_and_what_was_made_is_what_is_seen() {
    let (place, mut disk, made) = made();
    assert_eq!(made.kind, Kind::Unit);
    assert_eq!(stat(&mut disk, ".git"), made);
    let listing = disk.list(&path("")).unwrap();
    assert_eq!(listing.members.len(), 1);
    assert_eq!(listing.members[0].stat, Ok(made));
    assert_eq!(text_of(&place.path().join(".git")), "one");
    let mode = |at: &str| fs::metadata(place.path().join(at)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(".git"), mode(".git/hooks"), mode(".git/hooks/run"), mode(".git/HEAD")),
        (0o755, 0o755, 0o755, 0o644)
    );
    assert_eq!(fs::read_dir(place.path().join(".quics/stage")).unwrap().count(), 0);
    // Other names are directories as ever, also with a like name.
    all_done(&disk.apply(&[make_dir(".github"), make_dir("git")]));
    assert_eq!((stat(&mut disk, ".github").kind, stat(&mut disk, "git").kind), (Kind::Directory, Kind::Directory));
    all_done(&disk.apply(&[make_unit(".git (from right)", "two")]));
    assert_eq!(stat(&mut disk, ".git (from right)").kind, Kind::Unit);
}

#[test]
fn every_change_inside_shows_in_its_stat_and_a_lock_file_that_went_again_does_not() {
    let (place, mut disk, before) = made();
    let git = place.path().join(".git");
    let mut seen = vec![before];
    let mut changed = |disk: &mut Disk, what: &str| {
        let now = stat(disk, ".git");
        assert!(seen.iter().all(|old| !old.same_content(&now)), "{what} is not seen");
        seen.push(now);
    };
    fs::write(git.join("HEAD"), "ONE").unwrap();
    changed(&mut disk, "another text of the same length");
    let old = fs::metadata(git.join("HEAD")).unwrap().modified().unwrap();
    fs::write(git.join("HEAD"), "TWO").unwrap();
    fs::File::options().write(true).open(git.join("HEAD")).unwrap().set_modified(old).unwrap();
    changed(&mut disk, "a modification time that was put back");
    fs::rename(git.join("objects/ab"), git.join("objects/ac")).unwrap();
    changed(&mut disk, "another name");
    fs::set_permissions(git.join("HEAD"), fs::Permissions::from_mode(0o755)).unwrap();
    changed(&mut disk, "an executable bit");
    fs::create_dir(git.join("new")).unwrap();
    changed(&mut disk, "an empty directory");
    fs::remove_file(git.join("link")).unwrap();
    changed(&mut disk, "a link that went");
    let quiet = stat(&mut disk, ".git");
    fs::write(git.join("index.lock"), "").unwrap();
    fs::remove_file(git.join("index.lock")).unwrap();
    assert_eq!(stat(&mut disk, ".git"), quiet);
    // What cannot be a part of it is left out.
    rustix::fs::mkfifoat(rustix::fs::CWD, git.join("fifo"), rustix::fs::Mode::RUSR).unwrap();
    assert!(stat(&mut disk, ".git").same_content(&quiet));
    // It is known by what is in it wherever it stands.
    fs::rename(&git, place.path().join(".git (x)")).unwrap();
    assert!(stat(&mut disk, ".git (x)").same_content(&quiet));
}

#[test]
fn it_is_replaced_as_a_whole_and_not_where_anything_in_it_has_changed() {
    let (place, mut disk, before) = made();
    let git = place.path().join(".git");
    let replace = |expected| Op::ReplaceWithUnit { at: spot(".git"), expected, source: bundle("two"), mode: 0o755 };
    fs::write(git.join("objects/ab/new"), "an edit").unwrap();
    assert!(matches!(disk.apply(&[replace(before)])[0], Outcome::Differs));
    assert_eq!(fs::read_to_string(git.join("objects/ab/new")).unwrap(), "an edit");
    let now = stat(&mut disk, ".git");
    let after = done(&disk.apply(&[replace(now)])[0]);
    assert_eq!(text_of(&git), "two");
    assert!(!git.join("objects/ab/new").exists());
    assert!(stat(&mut disk, ".git").same_content(&after));
    // The old one is kept for a while, in one piece, and goes as a whole.
    let displaced = place.path().join(".quics/displaced");
    assert_eq!(fs::read_dir(&displaced).unwrap().count(), 1);
    let late = Mtime { seconds: i64::MAX, nanos: 0 };
    assert_eq!(disk.tree().sweep_displaced(late).unwrap(), []);
    assert_eq!(fs::read_dir(&displaced).unwrap().count(), 0);
}

#[test]
fn who_writes_into_one_that_was_displaced_gets_it_back() {
    let (place, mut disk, before) = made();
    let held = fs::File::options().append(true).open(place.path().join(".git/objects/ab/cd")).unwrap();
    all_done(&disk.apply(&[Op::Remove { at: spot(".git"), expected: before }]));
    std::io::Write::write_all(&mut &held, b" and more").unwrap();
    let late = Mtime { seconds: i64::MAX, nanos: 0 };
    let edits = disk.tree().sweep_displaced(late).unwrap();
    assert_eq!((edits.len(), edits[0].stat.kind, edits[0].from.clone()), (1, Kind::Unit, Some(spot(".git"))));
    disk.tree().bring_back(&edits[0], &spot(".git (kept)")).unwrap().unwrap();
    assert_eq!(fs::read_to_string(place.path().join(".git (kept)/objects/ab/cd")).unwrap(), "one and more");
}

#[test]
fn one_that_is_open_somewhere_is_not_removed_for_good() {
    let (place, mut disk, before) = made();
    let held = fs::File::open(place.path().join(".git/objects/ab/cd")).unwrap();
    all_done(&disk.apply(&[Op::Remove { at: spot(".git"), expected: before }]));
    let late = Mtime { seconds: i64::MAX, nanos: 0 };
    assert_eq!(disk.tree().sweep_displaced(late).unwrap(), []);
    assert_eq!(fs::read_dir(place.path().join(".quics/displaced")).unwrap().count(), 1);
    drop(held);
    disk.tree().sweep_displaced(late).unwrap();
    assert_eq!(fs::read_dir(place.path().join(".quics/displaced")).unwrap().count(), 0);
}

#[test]
fn it_changes_places_with_files_and_empty_directories_and_is_moved_and_parked() {
    let (place, mut disk, unit) = made();
    let git = place.path().join(".git");
    let file = Op::ReplaceWithFile {
        at: spot(".git"),
        expected: unit,
        source: inline("gitdir: x"),
        mode: 0o644,
        mtime: MTIME,
    };
    let file = done(&disk.apply(&[file])[0]);
    assert_eq!((file.kind, fs::read_to_string(&git).unwrap()), (Kind::File, "gitdir: x".to_owned()));
    let unit = Op::ReplaceWithUnit { at: spot(".git"), expected: file, source: bundle("two"), mode: 0o700 };
    let unit = done(&disk.apply(&[unit])[0]);
    assert_eq!(text_of(&git), "two");
    assert_eq!(fs::metadata(git.join("HEAD")).unwrap().permissions().mode() & 0o777, 0o600, "others may not read it");
    // Parked, it is known for what it is although its name says nothing else.
    let stage =
        Spot { dir: quics_client::folder::RelPath::stage(), name: parked_name(EntryId::from_bytes([9; 16]), true) };
    let moves = |from: Spot, expected, to: Spot| Op::Move { from, expected, to };
    let parked = done(&disk.apply(&[moves(spot(".git"), unit, stage.clone())])[0]);
    let listing = disk.list(&quics_client::folder::RelPath::stage()).unwrap();
    assert_eq!(listing.members.iter().map(|it| it.stat.clone()).collect::<Vec<_>>(), [Ok(parked)]);
    drop(disk);
    let mut disk = Disk::open(place.path(), ROOT, Default::default()).unwrap();
    let back = done(&disk.apply(&[moves(stage, parked, spot(".git"))])[0]);
    assert!(back.same_content(&unit));
    let mode = Op::SetAttributes { at: spot(".git"), expected: back, mode: 0o750, mtime: None };
    assert_eq!(done(&disk.apply(&[mode])[0]).mode, 0o750);
    assert_eq!(text_of(&git), "two");
    assert_eq!(disk.check_identity().unwrap(), Identity::Same);
}

#[test]
fn its_bundle_is_read_from_the_files_and_makes_the_same_one_again() {
    let (place, mut disk, _) = made();
    let git = place.path().join(".git");
    symlink("../outside", git.join("out")).unwrap();
    fs::write(git.join("big"), vec![7; 3 << 20]).unwrap();
    let Source::Inline(bytes) = bundle("one") else { panic!("bundles are inline here") };
    let (mut body, stat) = disk.tree().body(&spot(".git")).unwrap().unwrap();
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut body, &mut read).unwrap();
    assert_eq!(read.len() as u64, stat.size);
    assert_ne!(read, bytes);
    let again = Op::MakeUnit { at: spot(".git (2)"), source: Source::Inline(read.clone().into()), mode: 0o755 };
    let made = done(&disk.apply(&[again])[0]);
    assert_eq!(made.size, stat.size);
    let (mut body, _) = disk.tree().body(&spot(".git (2)")).unwrap().unwrap();
    let mut second = Vec::new();
    std::io::Read::read_to_end(&mut body, &mut second).unwrap();
    assert_eq!(second, read, "the form is canonical");
}

#[test]
fn a_bundle_that_is_none_makes_nothing() {
    let (place, mut disk) = folder();
    for wrong in [&b""[..], b"quicsun1", b"nonsense nonsense nonsense"] {
        let op = Op::MakeUnit { at: spot(".git"), source: Source::Inline(wrong.to_vec().into()), mode: 0o755 };
        assert!(matches!(disk.apply(&[op])[0], Outcome::Failed(_)));
    }
    let Source::Inline(mut cut) = bundle("one") else { panic!("bundles are inline here") };
    cut.truncate(cut.len() - 1);
    let op = Op::MakeUnit { at: spot(".git"), source: Source::Inline(cut), mode: 0o755 };
    assert!(matches!(disk.apply(&[op])[0], Outcome::Failed(_)));
    assert!(!place.path().join(".git").exists());
    assert_eq!(fs::read_dir(place.path().join(".quics/stage")).unwrap().count(), 0);
}

//! The watcher, over the real file system.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use quics_client::{
    folder::{Disk, Folder, Op, Outcome, RelPath, Source, Spot},
    watch::{Seen, Watcher},
};
use quics_types::{Mtime, Name, RootId};
use tempfile::TempDir;

/// Long enough for the slowest machine; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(30);

struct Watched {
    place: TempDir,
    disk: Disk,
    seen: mpsc::Receiver<Seen>,
    watcher: Watcher,
}

fn watched(prepare: impl FnOnce(&Path)) -> Watched {
    let place = tempfile::tempdir().unwrap();
    prepare(place.path());
    let disk = Disk::create(place.path(), RootId::from_bytes([7; 16])).unwrap();
    let (sender, seen) = mpsc::channel();
    let skip = Arc::new(|dir: &RelPath| dir.as_bytes().ends_with(b"skipped"));
    let watcher = Watcher::start(disk.tree(), skip, move |what| _ = sender.send(what)).unwrap();
    Watched { place, disk, seen, watcher }
}

fn path(text: &str) -> RelPath {
    let names = text.split('/').filter(|part| !part.is_empty());
    names.fold(RelPath::root(), |path, part| path.join(&Name::new(part.to_owned().into_bytes()).unwrap()))
}

impl Watched {
    fn at(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join(name)
    }

    /// Waits until something was seen that fits, and returns all that was seen until then.
    fn until(&self, fits: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            all.push(self.seen.recv_timeout(PATIENCE).unwrap());
            if fits(&all[all.len() - 1]) {
                return all;
            }
        }
    }

    fn until_touched(&self, dir: &str) -> Vec<Seen> {
        let dir = path(dir);
        self.until(|seen| matches!(seen, Seen::Touched(dirs) if dirs.contains(&dir)))
    }

    /// Makes a mark that is seen after everything before it.
    fn all_before_a_mark(&self) -> Vec<Seen> {
        fs::create_dir(self.at("mark")).unwrap();
        self.until_touched("mark")
    }
}

#[test]
fn every_kind_of_change_is_seen_in_its_directory() {
    let watched = watched(|place| {
        fs::create_dir_all(place.join("a/b")).unwrap();
        fs::write(place.join("a/old"), "x").unwrap();
        fs::write(place.join("a/b/old"), "x").unwrap();
    });
    assert_eq!(watched.watcher.watched(), 3);
    fs::write(watched.at("a/b/new"), "x").unwrap();
    watched.until_touched("a/b");
    fs::remove_file(watched.at("a/b/old")).unwrap();
    watched.until_touched("a/b");
    fs::rename(watched.at("a/old"), watched.at("top")).unwrap();
    let dirs = [RelPath::root(), path("a")];
    watched.until(|seen| matches!(seen, Seen::Touched(found) if dirs.iter().all(|dir| found.contains(dir))));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(watched.at("a/b/new"), mode).unwrap();
    watched.until_touched("a/b");
}

#[test]
fn new_directories_are_watched_with_all_that_is_in_them() {
    let watched = watched(|_| {});
    let outside = tempfile::tempdir_in(watched.place.path().parent().unwrap()).unwrap();
    fs::create_dir_all(outside.path().join("moved/in/deep")).unwrap();
    fs::rename(outside.path().join("moved"), watched.at("moved")).unwrap();
    watched.until_touched("moved/in/deep");
    fs::write(watched.at("moved/in/deep/file"), "x").unwrap();
    watched.until_touched("moved/in/deep");
    fs::create_dir_all(watched.at("made/one/two")).unwrap();
    watched.until_touched("made/one/two");
    fs::write(watched.at("made/one/two/file"), "x").unwrap();
    watched.until_touched("made/one/two");
    assert_eq!(watched.watcher.watched(), 7);
}

#[test]
fn a_directory_that_moves_inside_stays_watched_and_one_that_leaves_does_not() {
    let watched = watched(|place| fs::create_dir_all(place.join("a/b/c")).unwrap());
    fs::rename(watched.at("a/b"), watched.at("moved")).unwrap();
    watched.until_touched("");
    fs::write(watched.at("moved/c/file"), "x").unwrap();
    watched.until_touched("moved/c");
    let outside = tempfile::tempdir_in(watched.place.path().parent().unwrap()).unwrap();
    fs::rename(watched.at("moved"), outside.path().join("gone")).unwrap();
    watched.until_touched("");
    fs::write(outside.path().join("gone/c/file"), "y").unwrap();
    let seen = watched.all_before_a_mark();
    let names_it = |seen: &Seen| match seen {
        Seen::Touched(dirs) | Seen::Writing(dirs) => dirs.iter().any(|dir| dir.is_within(&path("moved"))),
        _ => true,
    };
    assert!(!seen.iter().any(names_it), "{seen:?}");
    assert_eq!(watched.watcher.watched(), 3);
}

#[test]
fn a_file_that_is_being_written_is_said_to_be() {
    let watched = watched(|place| fs::create_dir(place.join("a")).unwrap());
    let mut file = File::create(watched.at("a/file")).unwrap();
    file.write_all(b"some").unwrap();
    let seen = watched.until(|seen| matches!(seen, Seen::Writing(dirs) if dirs.contains(&path("a"))));
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Touched(_))), "{seen:?}");
    drop(file);
    watched.until_touched("a");
}

#[test]
fn looking_staging_and_skipped_directories_are_not_seen() {
    let mut watched = watched(|place| {
        fs::create_dir_all(place.join("skipped/in")).unwrap();
        fs::write(place.join("file"), "x").unwrap();
    });
    assert_eq!(watched.watcher.watched(), 1);
    fs::write(watched.at("skipped/in/file"), "x").unwrap();
    fs::write(watched.at(".quics/stage/other"), "x").unwrap();
    watched.disk.list(&RelPath::root()).unwrap();
    fs::read(watched.at("file")).unwrap();
    let seen = watched.all_before_a_mark();
    let expected: Vec<RelPath> = vec![RelPath::root(), path("mark")];
    for seen in seen {
        match seen {
            Seen::Touched(dirs) => assert!(dirs.iter().all(|dir| expected.contains(dir)), "{dirs:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_applied_is_seen_in_its_directory_and_nowhere_else() {
    let mut watched = watched(|place| fs::create_dir(place.join("a")).unwrap());
    let at = |name: String| Spot { dir: path("a"), name: Name::new(name.into_bytes()).unwrap() };
    let source = Source::Inline(bytes::Bytes::from_static(b"x"));
    let ops: Vec<Op> = (0..300)
        .map(|i| Op::MakeFile { at: at(format!("f{i}")), source: source.clone(), mode: 0o644, mtime: Mtime::default() })
        .collect();
    assert!(watched.disk.apply(&ops).iter().all(|outcome| matches!(outcome, Outcome::Done(_))));
    let seen = watched.until_touched("a");
    assert!(seen.iter().all(|seen| *seen == Seen::Touched(vec![path("a")])), "{seen:?}");
}

#[test]
fn a_flood_of_events_ends_with_an_overflow_or_with_everything_seen() {
    let watched = watched(|place| {
        for dir in 0..50 {
            fs::create_dir(place.join(format!("d{dir}"))).unwrap();
        }
    });
    for round in 0..1500 {
        fs::write(watched.at(&format!("d{}/f{round}", round % 50)), "x").unwrap();
    }
    fs::create_dir_all(watched.at("last/of/all")).unwrap();
    let end = path("last/of/all");
    watched.until(|seen| matches!(seen, Seen::Touched(dirs) if dirs.contains(&end)) || *seen == Seen::Overflow);
    fs::write(watched.at("last/of/all/file"), "x").unwrap();
    watched.until_touched("last/of/all");
}

#[test]
fn a_folder_that_goes_away_is_an_overflow() {
    let watched = watched(|_| {});
    let aside = watched.place.path().with_extension("aside");
    fs::rename(watched.place.path(), &aside).unwrap();
    watched.until(|seen| *seen == Seen::Overflow);
    fs::rename(&aside, watched.place.path()).unwrap();
}

#[test]
fn going_through_everything_again_is_reported_as_an_overflow() {
    let watched = watched(|_| {});
    watched.watcher.again();
    watched.until(|seen| *seen == Seen::Overflow);
}

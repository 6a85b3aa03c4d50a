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
use quics_types::{Mtime, Name, RootId, UnitNames};
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
    let disk = Disk::create(place.path(), RootId::from_bytes([7; 16]), UnitNames::default()).unwrap();
    let (sender, seen) = mpsc::channel();
    let skip = Arc::new(|path: &RelPath, directory: bool| {
        let mut names: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
        if !directory {
            names.pop();
        }
        names.contains(&&b"skipped"[..])
    });
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

    fn until_touched(&self, paths: &[&str]) -> Vec<Seen> {
        let paths: Vec<RelPath> = paths.iter().map(|text| path(text)).collect();
        self.until(|seen| matches!(seen, Seen::Touched(found) if paths.iter().all(|path| found.contains(path))))
    }

    /// Makes a mark that is seen after everything before it.
    fn all_before_a_mark(&self) -> Vec<Seen> {
        fs::create_dir(self.at("mark")).unwrap();
        self.until_touched(&["mark"])
    }
}

/// Whether something was said of a path or of what is below.
fn names(seen: &[Seen], within: &str) -> bool {
    let within = path(within);
    seen.iter().any(|seen| match seen {
        Seen::Touched(paths) | Seen::Writing(paths) => paths.iter().any(|path| path.is_within(&within)),
        Seen::Overflow | Seen::Limited => true,
    })
}

#[test]
fn every_kind_of_change_is_seen_at_its_path() {
    let watched = watched(|place| {
        fs::create_dir_all(place.join("a/b")).unwrap();
        fs::write(place.join("a/old"), "x").unwrap();
        fs::write(place.join("a/b/old"), "x").unwrap();
    });
    fs::write(watched.at("a/b/new"), "x").unwrap();
    let seen = watched.until_touched(&["a/b/new"]);
    assert_eq!(seen, [Seen::Touched(vec![path("a/b/new")])], "and nothing else is said");
    fs::remove_file(watched.at("a/b/old")).unwrap();
    watched.until_touched(&["a/b/old"]);
    fs::rename(watched.at("a/old"), watched.at("top")).unwrap();
    watched.until_touched(&["a/old", "top"]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(watched.at("a/b/new"), mode).unwrap();
    watched.until_touched(&["a/b/new"]);
    fs::remove_dir_all(watched.at("a/b")).unwrap();
    watched.until_touched(&["a/b"]);
}

#[test]
fn what_nobody_closes_is_seen_without_waiting_for_it() {
    let watched = watched(|place| fs::write(place.join("file"), "x").unwrap());
    std::os::unix::fs::symlink("nowhere", watched.at("link")).unwrap();
    let mut seen = watched.until_touched(&["link"]);
    fs::hard_link(watched.at("file"), watched.at("second")).unwrap();
    seen.extend(watched.until_touched(&["second"]));
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Writing(_))), "{seen:?}");
}

#[test]
fn new_directories_are_watched_with_all_that_is_in_them() {
    let watched = watched(|_| {});
    let outside = tempfile::tempdir_in(watched.place.path().parent().unwrap()).unwrap();
    fs::create_dir_all(outside.path().join("moved/in/deep")).unwrap();
    fs::rename(outside.path().join("moved"), watched.at("moved")).unwrap();
    watched.until_touched(&["moved/in/deep", "moved/in/deep/.quicsignore"]);
    fs::write(watched.at("moved/in/deep/file"), "x").unwrap();
    watched.until_touched(&["moved/in/deep/file"]);
    fs::create_dir_all(watched.at("made/one/two")).unwrap();
    watched.until_touched(&["made/one/two"]);
    fs::write(watched.at("made/one/two/file"), "x").unwrap();
    watched.until(|seen| match seen {
        Seen::Touched(paths) => paths.iter().any(|path| path.as_bytes().starts_with(b"made/one/two")),
        _ => false,
    });
}

#[test]
fn a_directory_that_moves_inside_stays_watched_and_one_that_leaves_does_not() {
    let watched = watched(|place| fs::create_dir_all(place.join("a/b/c")).unwrap());
    fs::rename(watched.at("a/b"), watched.at("moved")).unwrap();
    watched.until_touched(&["a/b", "moved"]);
    watched.until_touched(&["moved/c"]);
    fs::write(watched.at("moved/c/file"), "x").unwrap();
    watched.until_touched(&["moved/c/file"]);
    let outside = tempfile::tempdir_in(watched.place.path().parent().unwrap()).unwrap();
    fs::rename(watched.at("moved"), outside.path().join("gone")).unwrap();
    watched.until_touched(&["moved"]);
    fs::write(outside.path().join("gone/c/file"), "y").unwrap();
    let seen = watched.all_before_a_mark();
    assert!(!names(&seen, "moved/c"), "{seen:?}");
}

#[test]
fn a_directory_that_takes_the_place_of_another_is_watched() {
    let watched = watched(|place| {
        fs::create_dir_all(place.join("a")).unwrap();
        fs::create_dir_all(place.join("b/in")).unwrap();
    });
    fs::rename(watched.at("b"), watched.at("a")).unwrap();
    watched.until_touched(&["b", "a"]);
    watched.until_touched(&["a/in"]);
    fs::write(watched.at("a/in/file"), "x").unwrap();
    watched.until_touched(&["a/in/file"]);
    fs::write(watched.at("a/file"), "x").unwrap();
    watched.until_touched(&["a/file"]);
}

#[test]
fn a_file_that_is_being_written_is_said_to_be() {
    let watched = watched(|place| fs::create_dir(place.join("a")).unwrap());
    let mut file = File::create(watched.at("a/file")).unwrap();
    file.write_all(b"some").unwrap();
    let seen = watched.until(|seen| matches!(seen, Seen::Writing(paths) if paths.contains(&path("a/file"))));
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Touched(_))), "{seen:?}");
    drop(file);
    watched.until_touched(&["a/file"]);
}

#[test]
fn looking_staging_and_ignored_directories_are_not_seen() {
    let mut watched = watched(|place| {
        fs::create_dir_all(place.join("skipped/in")).unwrap();
        fs::write(place.join("file"), "x").unwrap();
    });
    fs::write(watched.at("skipped/in/file"), "x").unwrap();
    fs::create_dir_all(watched.at("skipped/new/dir")).unwrap();
    fs::write(watched.at(".quics/stage/other"), "x").unwrap();
    fs::create_dir_all(watched.at(".quics/stage/new/dir")).unwrap();
    watched.disk.list(&RelPath::root()).unwrap();
    fs::read(watched.at("file")).unwrap();
    let seen = watched.all_before_a_mark();
    let expected: Vec<RelPath> = vec![path("mark"), path("mark/.quicsignore")];
    for seen in seen {
        match seen {
            Seen::Touched(paths) => assert!(paths.iter().all(|path| expected.contains(path)), "{paths:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_directory_that_nobody_may_read_does_not_keep_the_others_from_being_watched() {
    let mode = |mode| -> fs::Permissions { std::os::unix::fs::PermissionsExt::from_mode(mode) };
    let dirs = ["a", "b", "c", "d"];
    let watched = watched(|place| {
        for dir in dirs {
            fs::create_dir_all(place.join(dir).join("closed/in")).unwrap();
            fs::create_dir_all(place.join(dir).join("open")).unwrap();
            fs::set_permissions(place.join(dir).join("closed"), mode(0)).unwrap();
        }
    });
    for dir in dirs {
        let file = format!("{dir}/open/file");
        fs::write(watched.at(&file), "x").unwrap();
        watched.until_touched(&[&file]);
        fs::set_permissions(watched.at(dir).join("closed"), mode(0o700)).unwrap();
    }
    assert!(!watched.watcher.is_limited());
}

#[test]
fn what_is_applied_is_seen_at_its_path_and_nowhere_else() {
    let mut watched = watched(|place| fs::create_dir(place.join("a")).unwrap());
    let at = |name: String| Spot { dir: path("a"), name: Name::new(name.into_bytes()).unwrap() };
    let source = Source::Inline(bytes::Bytes::from_static(b"x"));
    let ops: Vec<Op> = (0..300)
        .map(|i| Op::MakeFile { at: at(format!("f{i}")), source: source.clone(), mode: 0o644, mtime: Mtime::default() })
        .collect();
    assert!(watched.disk.apply(&ops).iter().all(|outcome| matches!(outcome, Outcome::Done(_))));
    let seen = watched.until_touched(&["a/f299"]);
    let applied = |path: &RelPath| path.as_bytes().starts_with(b"a/f");
    let only = |seen: &Seen| matches!(seen, Seen::Touched(paths) | Seen::Writing(paths) if paths.iter().all(applied));
    assert!(seen.iter().all(only), "{seen:?}");
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
    watched.until(|seen| matches!(seen, Seen::Touched(paths) if paths.contains(&end)) || *seen == Seen::Overflow);
    fs::write(watched.at("last/of/all/file"), "x").unwrap();
    let is_end = |path: &RelPath| path.is_within(&end);
    watched.until(|seen| matches!(seen, Seen::Touched(paths) if paths.iter().any(is_end)) || *seen == Seen::Overflow);
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
fn going_through_everything_again_is_reported_as_an_overflow_and_loses_no_directory() {
    let watched = watched(|place| fs::create_dir_all(place.join("a/b")).unwrap());
    watched.watcher.again();
    watched.until(|seen| *seen == Seen::Overflow);
    fs::write(watched.at("a/b/file"), "x").unwrap();
    watched.until_touched(&["a/b/file"]);
    fs::create_dir(watched.at("a/new")).unwrap();
    watched.until_touched(&["a/new"]);
}

//! What the folder's tests share.

use bytes::Bytes;
use quics_client::folder::{Disk, Folder, Op, Outcome, RelPath, Source, Spot, Stat};
use quics_types::{Mtime, Name, RootId, UnitNames};
use tempfile::TempDir;

pub(crate) const ROOT: RootId = RootId::from_bytes([7; 16]);
pub(crate) const MTIME: Mtime = Mtime { seconds: 1_600_000_000, nanos: 5 };

pub(crate) fn folder() -> (TempDir, Disk) {
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::create(place.path(), ROOT, UnitNames::default()).unwrap();
    (place, disk)
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text.to_owned().into_bytes()).unwrap()
}

pub(crate) fn path(text: &str) -> RelPath {
    text.split('/').filter(|part| !part.is_empty()).fold(RelPath::root(), |path, part| path.join(&name(part)))
}

/// The spot of a path as people write it.
pub(crate) fn spot(text: &str) -> Spot {
    let (dir, last) = text.rsplit_once('/').unwrap_or(("", text));
    Spot { dir: path(dir), name: name(last) }
}

pub(crate) fn inline(text: &str) -> Source {
    Source::Inline(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn make(at: &str, text: &str) -> Op {
    Op::MakeFile { at: spot(at), source: inline(text), mode: 0o644, mtime: MTIME }
}

pub(crate) fn make_dir(at: &str) -> Op {
    Op::MakeDir { at: spot(at), mode: 0o755 }
}

pub(crate) fn stat(disk: &mut Disk, at: &str) -> Stat {
    disk.stat(&spot(at)).unwrap().unwrap()
}

#[track_caller]
pub(crate) fn done(outcome: &Outcome) -> Stat {
    match outcome {
        Outcome::Done(stat) => *stat,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn all_done(outcomes: &[Outcome]) {
    outcomes.iter().for_each(|outcome| _ = done(outcome));
}

//! Stages new files out of sight, complete with their attributes, before anything is shown.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
};

use bytes::Bytes;
use quics_types::{Mtime, Name, limits};
use rustix::{
    fs::{self, AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps},
    io::Errno,
};

use super::{Kind, Op, Source, Spot, Stat, attributes, beneath, token, tree::Tree, unit};

/// From so many files on, several threads stage.
const PARALLEL_FROM: usize = 64;
/// How many do.
const THREADS: usize = 2;

/// Whether a name in `stage/` is one of a staged file, and not of a parked entry.
pub(super) fn is_staged_name(name: &[u8]) -> bool {
    name.starts_with(b"new-") || name.starts_with(b"swap-")
}

/// A new file, link, directory or unit that waits in `stage/`.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) stat: Stat,
    /// Open as long as it may still have to be synced or given attributes.
    pub(super) file: Option<File>,
    /// Inode and permission bits of the file whose attributes were carried over.
    pub(super) carried: Option<(u64, u32)>,
    pub(super) origin: Origin,
}

/// What a staged thing came from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// It was made here.
    Made,
    /// It is this file of `incoming/`, and can go back there.
    Incoming(Name),
    /// A unit, from the bundle in this file of `incoming/`, which is not used up before the unit is shown.
    Bundle(Option<Name>),
}

/// What is to be staged.
#[derive(Clone, Copy)]
enum Thing<'a> {
    File(&'a Source),
    Link(&'a Bytes),
    Unit(&'a Source),
    Dir,
}

/// What an operation brings, if it brings something that is staged.
struct Wanted<'a> {
    what: Thing<'a>,
    mode: u32,
    mtime: Mtime,
    replaces: Option<(&'a Spot, &'a Stat)>,
}

fn wanted(op: &Op) -> Option<Wanted<'_>> {
    match op {
        Op::MakeFile { source, mode, mtime, .. } => {
            Some(Wanted { what: Thing::File(source), mode: *mode, mtime: *mtime, replaces: None })
        }
        Op::ReplaceWithFile { at, expected, source, mode, mtime } => {
            Some(Wanted { what: Thing::File(source), mode: *mode, mtime: *mtime, replaces: Some((at, expected)) })
        }
        Op::MakeUnit { source, mode, .. } | Op::ReplaceWithUnit { source, mode, .. } => {
            Some(Wanted { what: Thing::Unit(source), mode: *mode, mtime: Mtime::default(), replaces: None })
        }
        Op::ReplaceWithLink { target, .. } => {
            Some(Wanted { what: Thing::Link(target), mode: 0o777, mtime: Mtime::default(), replaces: None })
        }
        Op::ReplaceWithDir { mode, .. } => {
            Some(Wanted { what: Thing::Dir, mode: *mode, mtime: Mtime::default(), replaces: None })
        }
        _ => None,
    }
}

/// Stages what the operations bring; `None` for those that bring nothing. Files stay open where `keep_open` says so.
pub(super) fn all(tree: &Tree, ops: &[Op], keep_open: bool) -> Vec<Option<io::Result<Staged>>> {
    // Several operations may bring the same incoming file: all but the last take a copy.
    let incoming = |op| match wanted(op).map(|wanted| wanted.what) {
        Some(Thing::File(Source::Incoming(name)) | Thing::Unit(Source::Incoming(name))) => Some(name),
        _ => None,
    };
    let last_use = |index: usize| match incoming(&ops[index]) {
        Some(name) => !ops[index + 1..].iter().any(|op| incoming(op) == Some(name)),
        None => true,
    };
    let stage = |index: usize| wanted(&ops[index]).map(|wanted| one(tree, &wanted, last_use(index), keep_open));
    let files = ops.iter().filter(|op| wanted(op).is_some()).count();
    if files < PARALLEL_FROM {
        // In order: a copy is taken before its source is.
        return (0..ops.len()).map(stage).collect();
    }
    let (copies, rest): (Vec<usize>, Vec<usize>) = (0..ops.len()).partition(|index| !last_use(*index));
    let mut staged: Vec<Option<io::Result<Staged>>> = Vec::new();
    staged.resize_with(ops.len(), || None);
    for index in copies {
        staged[index] = stage(index);
    }
    let parts: Vec<&[usize]> = rest.chunks(rest.len().div_ceil(THREADS).max(1)).collect();
    let stage = &stage;
    let work = |part: &[usize]| part.iter().map(|index| (*index, stage(*index))).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let others: Vec<_> = parts.iter().skip(1).map(|part| scope.spawn(move || work(part))).collect();
        let mine = parts.first().map(|part| work(part)).unwrap_or_default();
        let theirs = others.into_iter().flat_map(|thread| thread.join().unwrap_or_default());
        for (index, result) in mine.into_iter().chain(theirs) {
            staged[index] = result;
        }
    });
    for index in rest {
        // A thread that died leaves its share undone; it must not look like an operation that brings nothing.
        if staged[index].is_none() && wanted(&ops[index]).is_some() {
            staged[index] = Some(Err(io::Error::other("staging failed")));
        }
    }
    staged
}

fn one(tree: &Tree, wanted: &Wanted<'_>, last_use: bool, keep_open: bool) -> io::Result<Staged> {
    let number = tree.unique();
    let name = token::Staged::New(number).print();
    let staged = fill(tree, wanted, last_use, keep_open, number, &name);
    if staged.is_err() {
        discard(tree, &name);
    }
    staged
}

fn fill(tree: &Tree, wanted: &Wanted<'_>, last_use: bool, keep: bool, number: u64, name: &str) -> io::Result<Staged> {
    let file = match wanted.what {
        Thing::Link(target) => {
            fs::symlinkat(&target[..], &tree.stage, name)?;
            let stat = beneath::look(&tree.stage, name.as_bytes(), tree.dev)?.ok_or(io::ErrorKind::NotFound)?;
            return Ok(Staged { name: name.to_owned(), number, stat, file: None, carried: None, origin: Origin::Made });
        }
        Thing::Dir => {
            fs::mkdirat(&tree.stage, name, Mode::from_raw_mode(0o700))?;
            let dir = File::from(beneath::open_private(&tree.stage, name)?);
            set_mode(&dir, wanted.mode)?;
            let stat = beneath::look_at(&dir, tree.dev)?;
            let file = keep.then_some(dir);
            return Ok(Staged { name: name.to_owned(), number, stat, file, carried: None, origin: Origin::Made });
        }
        Thing::Unit(source) => {
            let stage = tree.stage.as_fd();
            let (unit, origin) = match source {
                Source::Inline(bytes) => {
                    (unit::unpack(stage, name, &bytes[..], bytes.len() as u64, wanted.mode)?, Origin::Bundle(None))
                }
                Source::Incoming(incoming) => {
                    let bundle = open_incoming(tree, incoming)?;
                    let size = bundle.metadata()?.len();
                    let used_up = last_use.then(|| incoming.clone());
                    (unit::unpack(stage, name, bundle, size, wanted.mode)?, Origin::Bundle(used_up))
                }
            };
            let stat = unit::survey(&unit, tree.dev)?.stat;
            return Ok(Staged { name: name.to_owned(), number, stat, file: None, carried: None, origin });
        }
        Thing::File(Source::Inline(bytes)) => {
            let mut file = create(tree.stage.as_fd(), name)?;
            file.write_all(bytes)?;
            file
        }
        Thing::File(Source::Incoming(incoming)) if last_use => {
            fs::renameat_with(&tree.incoming, incoming.as_bytes(), &tree.stage, name, RenameFlags::NOREPLACE)?;
            reopen(tree.stage.as_fd(), name)?
        }
        Thing::File(Source::Incoming(incoming)) => {
            let source = open_incoming(tree, incoming)?;
            let mut file = create(tree.stage.as_fd(), name)?;
            if fs::ioctl_ficlone(&file, &source).is_err() {
                io::copy(&mut &source, &mut file)?;
            }
            file
        }
    };
    let mut came_from = match wanted.what {
        Thing::File(Source::Incoming(incoming)) if last_use => Origin::Incoming(incoming.clone()),
        _ => Origin::Made,
    };
    let mut carried = None;
    // A file that may be replaced by then is looked at again before it is.
    if let Some((at, expected)) = wanted.replaces
        && let Ok(Some((old, stat))) = tree.dir(&at.dir).and_then(|dir| beneath::handle(dir, &at.name, tree.dev))
        && stat.same_content(expected)
    {
        if !attributes::carry_over(&old, &file, wanted.mode)? {
            came_from = Origin::Made;
        }
        carried = Some((stat.inode, stat.mode));
    }
    if carried.is_none() {
        set_mode(&file, wanted.mode)?;
    }
    set_mtime(&file, wanted.mtime)?;
    let stat = beneath::look_at(&file, tree.dev)?;
    if stat.kind != Kind::File {
        return Err(io::Error::other("what was staged is not a file"));
    }
    let keep = keep || wanted.replaces.is_some() && carried.is_none();
    Ok(Staged { name: name.to_owned(), number, stat, file: keep.then_some(file), carried, origin: came_from })
}

fn open_incoming(tree: &Tree, name: &Name) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(&tree.incoming, name.as_bytes(), flags, Mode::empty())?))
}

fn create(dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?))
}

fn reopen(dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(dir, name, flags, Mode::empty())?))
}

/// Sets permission bits, where the file system has them.
pub(super) fn set_mode(file: impl AsFd, mode: u32) -> io::Result<()> {
    match fs::fchmod(file, Mode::from_raw_mode(mode & 0o777)) {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// Sets the modification time; the time of access becomes now.
pub(super) fn set_mtime(file: impl AsFd, mtime: Mtime) -> io::Result<()> {
    Ok(fs::futimens(file, &times(mtime))?)
}

pub(super) fn times(mtime: Mtime) -> Timestamps {
    let last_access = Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW };
    // Below 10^9 by its type.
    let last_modification = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access, last_modification }
}

/// Removes what was staged and never shown.
pub(super) fn discard(tree: &Tree, name: &str) {
    match remove(tree, name) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(Errno::NOTEMPTY | Errno::EXIST) if unit::remove_all(&tree.stage, name).is_ok() => {}
        Err(error) => tracing::warn!(name, %error, "a staged file stays behind"),
    }
}

/// Puts a staged file that was not shown back where it came from, so that a fetched content is not lost with the
/// attempt to apply it; removes any other. `name` is what it is called in `stage/` now.
pub(super) fn give_back(tree: &Tree, origin: &Origin, name: &str) -> rustix::io::Result<()> {
    match origin {
        Origin::Made => {}
        Origin::Incoming(incoming) => {
            // As it came: the next attempt may want other bits.
            _ = fs::chmodat(&tree.stage, name, Mode::from_raw_mode(0o600), AtFlags::empty());
            let flags = RenameFlags::NOREPLACE;
            match fs::renameat_with(&tree.stage, name, &tree.incoming, incoming.as_bytes(), flags) {
                Ok(()) => {
                    tree.offer_finished(incoming.clone());
                    return Ok(());
                }
                Err(Errno::NOENT) => return Err(Errno::NOENT),
                Err(_) => {}
            }
        }
        Origin::Bundle(bundle) => {
            unit::remove_all(&tree.stage, name).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            if let Some(bundle) = bundle {
                tree.offer_finished(bundle.clone());
            }
            return Ok(());
        }
    }
    remove(tree, name)
}

/// A staged thing is shown: what it was made from is not needed any more.
pub(super) fn used_up(tree: &Tree, origin: &Origin) {
    if let Origin::Bundle(Some(bundle)) = origin
        && let Err(error) = fs::unlinkat(&tree.incoming, bundle.as_bytes(), AtFlags::empty())
    {
        tracing::warn!(name = %bundle, %error, "a unit's bundle stays behind");
    }
}

/// Removes a file, link or empty directory from `stage/`.
pub(super) fn remove(tree: &Tree, name: &str) -> rustix::io::Result<()> {
    match fs::unlinkat(&tree.stage, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => fs::unlinkat(&tree.stage, name, AtFlags::REMOVEDIR),
        other => other,
    }
}

const _: () = assert!(limits::INLINE_BYTES <= 64 * 1024, "inline contents are written in one piece");

//! Making a directory the folder of a root, opening it, and giving it up.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use quics_types::{Mtime, RootId, UnitNames};
use rustix::{
    fs::{self, AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{
    Disk, Error, Kind, RelPath, Stat, beneath,
    disk::clock,
    displaced, listing,
    marker::{FileSystem, Marker, Unreadable, VERSION},
    probe, stage, token,
    tree::{OWN, Tree},
    unit,
};

/// Seconds after which contents on their way in that nobody asks for any more are removed.
const INCOMING_SECONDS: i64 = 7 * 24 * 3600;

impl Disk {
    /// Makes a directory the folder of a root, and opens it. One that is already is opened.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], [`Error::NotWritable`], [`Error::Inside`] and [`Error::Contains`] where it would meet
    /// another synced folder, [`Error::OtherRoot`], [`Error::Unsupported`]; and as [`Disk::open`].
    pub fn create(path: &Path, root: RootId, units: UnitNames) -> Result<Self, Error> {
        let path = canonical(path)?;
        for outer in path.ancestors().skip(1) {
            if outer.join(OWN).join("marker").exists() {
                return Err(Error::Inside(outer.to_owned()));
            }
        }
        let dir = open_top(&path)?;
        if let Some(inner) = find_marked(&dir, &path)? {
            return Err(Error::Contains(inner));
        }
        let writable = |error: Errno| Error::NotWritable { path: path.clone(), source: error.into() };
        match fs::mkdirat(&dir, OWN, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(writable(error)),
        }
        let own = beneath::open_private(&dir, OWN).map_err(|error| Error::io("open", path.join(OWN), error))?;
        match read_marker(&own, &path)? {
            Some(found) if found.root == root => {}
            Some(found) => return Err(Error::OtherRoot { path, found: found.root }),
            None => {
                probe::probe(own.as_fd()).map_err(|unfit| unfit_error(unfit, &path))?;
                let io = |error: io::Error| Error::io("mark", path.clone(), error);
                let file_system = FileSystem::of(&dir).map_err(|error| io(error.into()))?;
                write_marker(&own, &Marker { root, file_system }).map_err(io)?;
                fs::fsync(&dir).map_err(|error| io(error.into()))?;
            }
        }
        Self::open(&path, root, units)
    }

    /// Opens a folder that was created. Staged files that an earlier process left behind are removed, what it had
    /// displaced is kept. `units` are those that the root was made with, whenever it is synced.
    ///
    /// # Errors
    /// [`Error::Unmarked`], [`Error::OtherRoot`], [`Error::Damaged`], [`Error::Newer`], [`Error::InUse`],
    /// [`Error::Unsupported`], [`Error::Io`].
    pub fn open(path: &Path, root: RootId, units: UnitNames) -> Result<Self, Error> {
        let path = canonical(path)?;
        let tree = open_tree(&path, root, units)?;
        recover(&tree).map_err(|error| Error::io("clean up", path.join(OWN), error))?;
        Ok(Self { root, tree: Arc::new(tree) })
    }

    /// Gives the folder up: removes `.quics` with everything in it that is not the user's.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] while displaced edits or parked entries are still in it; they have to be brought back
    /// first. Displaced files that are as expected go without their grace.
    pub fn forget(self) -> Result<(), Error> {
        let io = |error: io::Error| Error::io("remove", self.tree.path.join(OWN), error);
        let late = Mtime { seconds: i64::MAX, nanos: 0 };
        displaced::sweep(&self.tree, late).map_err(io)?;
        let parked = parked(&self.tree).map_err(io)?;
        let left = displaced::count(&self.tree).map_err(io)? + parked;
        if left > 0 {
            return Err(Error::NotEmpty(left));
        }
        let tree = &self.tree;
        for (dir, name) in [(&tree.stage, "stage"), (&tree.incoming, "incoming"), (&tree.displaced, "displaced")] {
            empty(dir, tree.dev).map_err(io)?;
            fs::unlinkat(&tree.own, name, AtFlags::REMOVEDIR).map_err(|error| io(error.into()))?;
        }
        empty(&tree.own, tree.dev).map_err(io)?;
        fs::unlinkat(&tree.root, OWN, AtFlags::REMOVEDIR).map_err(|error| io(error.into()))?;
        fs::fsync(&tree.root).map_err(|error| io(error.into()))
    }
}

fn canonical(path: &Path) -> Result<PathBuf, Error> {
    let found = path.canonicalize().map_err(|error| Error::io("find", path, error))?;
    if found.is_dir() { Ok(found) } else { Err(Error::NotADirectory(found)) }
}

pub(super) fn open_path(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(CWD, path.as_os_str().as_bytes(), flags, Mode::empty())
}

fn open_top(path: &Path) -> Result<OwnedFd, Error> {
    open_path(path).map_err(|error| Error::io("open", path, error))
}

fn make_private(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    match fs::mkdirat(&dir, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let made = beneath::open_private(dir, name)?;
    stage::set_mode(&made, 0o700)?;
    Ok(made)
}

pub(super) fn read_marker(own: &OwnedFd, path: &Path) -> Result<Option<Marker>, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::openat(own, "marker", flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Error::io("read the marker of", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes).map_err(|error| Error::io("read the marker of", path, error))?;
    let path = path.to_owned();
    match Marker::decode(&bytes) {
        Ok(marker) => Ok(Some(marker)),
        Err(Unreadable::Newer(found)) => Err(Error::Newer { path, found, known: VERSION }),
        Err(Unreadable::Damaged(reason)) => Err(Error::Damaged { path, reason }),
    }
}

/// Writes the marker whole and durably.
fn write_marker(own: &OwnedFd, marker: &Marker) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(fs::openat(own, "marker.new", flags, Mode::from_raw_mode(0o600))?);
    file.write_all(&marker.encode())?;
    file.sync_all()?;
    fs::renameat(own, "marker.new", own, "marker")?;
    Ok(fs::fsync(own)?)
}

fn unfit_error(unfit: probe::Unfit, path: &Path) -> Error {
    match unfit {
        probe::Unfit::Lacks(what) => Error::Unsupported { path: path.to_owned(), what },
        probe::Unfit::Io(source) => Error::NotWritable { path: path.to_owned(), source },
    }
}

pub(super) fn open_tree(path: &Path, root: RootId, units: UnitNames) -> Result<Tree, Error> {
    let io = |action| move |error: io::Error| Error::io(action, path, error);
    let dir = open_top(path)?;
    let own = match beneath::open_private(&dir, OWN) {
        Ok(own) => own,
        Err(error) if beneath::is_gone(&error) => return Err(Error::Unmarked(path.to_owned())),
        Err(error) => return Err(Error::io("open", path.join(OWN), error)),
    };
    let marker = read_marker(&own, path)?.ok_or_else(|| Error::Unmarked(path.to_owned()))?;
    if marker.root != root {
        return Err(Error::OtherRoot { path: path.to_owned(), found: marker.root });
    }
    stage::set_mode(&own, 0o700).map_err(io("protect"))?;
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = fs::openat(&own, "lock", flags, Mode::from_raw_mode(0o600));
    let lock = File::from(lock.map_err(|error| Error::io("lock", path, error))?);
    match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(Error::InUse(path.to_owned())),
        Err(error) => return Err(Error::io("lock", path, error)),
    }
    let abilities = probe::probe(own.as_fd()).map_err(|unfit| unfit_error(unfit, path))?;
    Ok(Tree {
        dev: beneath::device(&dir).map_err(io("look at"))?,
        stage: make_private(&own, "stage").map_err(io("prepare"))?,
        incoming: make_private(&own, "incoming").map_err(io("prepare"))?,
        displaced: make_private(&own, "displaced").map_err(io("prepare"))?,
        path: path.to_owned(),
        root: dir,
        own,
        _lock: lock,
        abilities,
        units,
        origins: Default::default(),
        counter: AtomicU64::new(0),
        finished: Default::default(),
    })
}

/// Sorts out what an earlier process left: staged files go, displaced ones are kept, parked entries stay; contents on
/// their way in are gone on with, unless nobody asked for them for a week.
pub(super) fn recover(tree: &Tree) -> io::Result<()> {
    let now = clock();
    let mut highest = 0;
    let dir = beneath::open_dir(&tree.displaced, &RelPath::root())?;
    for member in listing::list(dir, tree.dev, false)?.members {
        if let Some(token) = token::Displaced::parse(member.name.as_bytes()) {
            highest = highest.max(token.number + 1);
        }
    }
    tree.counter.store(highest, Ordering::Relaxed);
    let dir = beneath::open_dir(&tree.incoming, &RelPath::root())?;
    for member in listing::list(dir, tree.dev, false)?.members {
        let old = member.stat.is_ok_and(|stat| now.seconds.saturating_sub(stat.ctime.seconds) > INCOMING_SECONDS);
        if old {
            fs::unlinkat(&tree.incoming, member.name.as_bytes(), AtFlags::empty())?;
        } else {
            tree.offer_finished(member.name);
        }
    }
    let dir = beneath::open_dir(&tree.stage, &RelPath::root())?;
    for member in listing::list(dir, tree.dev, false)?.members {
        let name = member.name.as_bytes();
        match (token::Staged::parse(name), member.stat) {
            (Some(token::Staged::New(_)), _) => stage::discard(tree, &member.name.to_string()),
            (Some(token::Staged::Swap { ours, .. }), Ok(stat))
                if token::ours(&stat) == ours && stat.kind != Kind::Directory =>
            {
                stage::discard(tree, &member.name.to_string());
            }
            // An empty directory, of which nobody lacks anything.
            (Some(token::Staged::Swap { .. }), Ok(Stat { kind: Kind::Directory, .. }))
                if fs::unlinkat(&tree.stage, name, AtFlags::REMOVEDIR).is_ok() => {}
            (Some(token::Staged::Swap { ours, expected, .. }), Ok(_)) => {
                // What is no file is a unit: ours if it is as it was staged.
                let Some(stat) = unit::look(&tree.stage, name, tree.dev)? else { continue };
                if token::ours(&stat) == ours {
                    unit::remove_all(&tree.stage, &member.name.to_string())?;
                    continue;
                }
                let expected = expected.matches(&stat).then_some(expected);
                let kept = token::Displaced { number: tree.unique(), at: now.seconds, expected }.print();
                fs::renameat_with(&tree.stage, name, &tree.displaced, kept, RenameFlags::NOREPLACE)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// How many entries are parked in `stage/`.
fn parked(tree: &Tree) -> io::Result<usize> {
    let dir = beneath::open_dir(&tree.stage, &RelPath::root())?;
    let members = listing::list(dir, tree.dev, false)?.members;
    Ok(members.iter().filter(|member| !stage::is_staged_name(member.name.as_bytes())).count())
}

/// Removes the files of a private directory.
fn empty(dir: &OwnedFd, dev: (u32, u32)) -> io::Result<()> {
    let handle = beneath::open_dir(dir, &RelPath::root())?;
    for member in listing::list(handle, dev, false)?.members {
        match fs::unlinkat(dir, member.name.as_bytes(), AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => unit::remove_all(dir, &member.name.to_string())?,
            other => other?,
        }
    }
    Ok(())
}

/// Looks below a directory for one that is synced already.
fn find_marked(top: &OwnedFd, path: &Path) -> Result<Option<PathBuf>, Error> {
    let dev = beneath::device(top).map_err(|error| Error::io("look at", path, error))?;
    let mut waiting = vec![RelPath::root()];
    while let Some(dir) = waiting.pop() {
        // What cannot be read cannot be synced either, and is reported when it comes to that.
        let Ok(listing) = beneath::open_dir(top, &dir).and_then(|handle| listing::list(handle, dev, dir.is_root()))
        else {
            continue;
        };
        if listing.unusable.iter().any(|(name, _)| name == OWN.as_bytes()) {
            return Ok(Some(path.join(std::ffi::OsStr::from_bytes(dir.as_bytes()))));
        }
        let inner = listing.members.iter().filter(|m| matches!(m.stat, Ok(Stat { kind: Kind::Directory, .. })));
        waiting.extend(inner.map(|member| dir.join(&member.name)));
    }
    Ok(None)
}

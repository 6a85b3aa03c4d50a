//! The handles of an open folder, shared by everything that works on it.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use quics_types::{Digest, Mtime, Name, UnitNames};

use super::{Abilities, Body, DisplacedEdit, Kind, Listing, RelPath, Spot, Stat, beneath, displaced, listing, unit};

/// The folder's private directory, never synced.
pub(super) const OWN: &str = Name::OWN;

/// An open folder: handles to its root and to its private directories. Cheap to share; all of it may be used from
/// several threads.
#[derive(Debug)]
pub struct Tree {
    pub(super) path: PathBuf,
    pub(super) root: OwnedFd,
    pub(super) dev: (u32, u32),
    pub(super) own: OwnedFd,
    pub(super) stage: OwnedFd,
    pub(super) incoming: OwnedFd,
    pub(super) displaced: OwnedFd,
    /// Held locked as long as the folder is open.
    pub(super) _lock: File,
    pub(super) abilities: Abilities,
    /// Which directories are one entry.
    pub(super) units: UnitNames,
    /// Where displaced files came from, as long as this process knows it.
    pub(super) origins: Mutex<HashMap<Vec<u8>, Spot>>,
    pub(super) counter: AtomicU64,
    /// Complete contents in `incoming/` that nobody has been told of, or that were given back.
    pub(super) finished: Mutex<HashMap<Digest, Vec<Name>>>,
}

impl Tree {
    /// Where the folder was opened, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file system can do.
    pub fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// Removes displaced files that nobody can need any more and returns those that are somebody's edits; these stay
    /// until [`Tree::bring_back`]. To be called every minute or so.
    ///
    /// # Errors
    /// When the directory cannot be read or a file not removed.
    pub fn sweep_displaced(&self, now: Mtime) -> io::Result<Vec<DisplacedEdit>> {
        displaced::sweep(self, now)
    }

    /// Puts a displaced edit where nothing is, durably. `None`: something is there, or the edit is gone.
    ///
    /// # Errors
    /// What the system says.
    pub fn bring_back(&self, edit: &DisplacedEdit, to: &Spot) -> io::Result<Option<Stat>> {
        displaced::bring_back(self, &edit.name, to)
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// When it is absent, cannot be read, or lies on another file system.
    pub(crate) fn dir(&self, path: &RelPath) -> io::Result<OwnedFd> {
        beneath::open_dir(&self.root, path)
    }

    /// Lists a directory; units are looked through.
    ///
    /// # Errors
    /// `NotFound` when it is absent; when it cannot be read.
    pub(crate) fn list(&self, path: &RelPath) -> io::Result<Listing> {
        let handle = match self.dir(path) {
            Ok(handle) => handle,
            Err(error) if beneath::is_gone(&error) => return Err(io::ErrorKind::NotFound.into()),
            Err(error) => return Err(error),
        };
        let mut listing = listing::list(&handle, self.dev, path.is_root())?;
        for member in &mut listing.members {
            if matches!(member.stat, Ok(Stat { kind: Kind::Directory, .. })) && self.is_unit(path, &member.name) {
                match unit::look(&handle, member.name.as_bytes(), self.dev) {
                    Ok(Some(stat)) => member.stat = Ok(stat),
                    // It went, or is changed just now: the next look, which is under way, shows what it is.
                    Ok(None) => {}
                    Err(error) => member.stat = Err(error.to_string()),
                }
            }
        }
        Ok(listing)
    }

    /// Whether a directory of this name is one thing with everything in it.
    fn is_unit(&self, dir: &RelPath, name: &Name) -> bool {
        if *dir == RelPath::stage() { quics_reconcile::is_parked_unit(name) } else { self.units.is_unit(name) }
    }

    /// The directories in a directory, the private one and those of other folders left out.
    ///
    /// # Errors
    /// As [`Tree::dir`], and when it cannot be listed.
    pub(crate) fn subdirs(&self, path: &RelPath) -> io::Result<Vec<Name>> {
        listing::subdirs(self.dir(path)?)
    }

    /// Opens a regular file for reading, with its stat; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn open(&self, at: &Spot) -> io::Result<Option<(File, Stat)>> {
        match self.dir(&at.dir) {
            Ok(dir) => beneath::open_file(dir, &at.name, self.dev),
            Err(error) if beneath::is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens what has a content, a regular file or a unit, with its stat; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn body(&self, at: &Spot) -> io::Result<Option<(Body, Stat)>> {
        if self.is_unit(&at.dir, &at.name)
            && let Some(Stat { kind: Kind::Directory, .. }) = self.look(at)?
        {
            let found = unit::Reader::open(self.dir(&at.dir)?, at.name.as_bytes(), self.dev)?;
            return Ok(found.map(|(reader, stat)| (Body::Unit(Box::new(reader)), stat)));
        }
        Ok(self.open(at)?.map(|(file, stat)| (Body::File(file), stat)))
    }

    /// Looks at a spot, and through a unit; `None` when nothing is there.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) fn stat(&self, at: &Spot) -> io::Result<Option<Stat>> {
        match self.look(at)? {
            Some(stat) if stat.kind == Kind::Directory && self.is_unit(&at.dir, &at.name) => {
                unit::look(self.dir(&at.dir)?, at.name.as_bytes(), self.dev)
            }
            other => Ok(other),
        }
    }

    /// Looks at a spot, at a unit as at any directory; `None` when nothing is there.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) fn look(&self, at: &Spot) -> io::Result<Option<Stat>> {
        match self.dir(&at.dir) {
            Ok(dir) => beneath::look(dir, at.name.as_bytes(), self.dev),
            Err(error) if beneath::is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks at several names in one directory, in the order given.
    pub(crate) fn look_many<'a>(
        &self,
        dir: &RelPath,
        names: impl Iterator<Item = &'a Name>,
    ) -> impl Iterator<Item = io::Result<Option<Stat>>> {
        let dir = self.dir(dir);
        names.map(move |name| match &dir {
            Ok(dir) => beneath::look(dir, name.as_bytes(), self.dev),
            Err(error) if beneath::is_gone(error) => Ok(None),
            Err(error) => Err(same(error)),
        })
    }

    /// Looks at an open file.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn look_at(&self, file: impl AsFd) -> io::Result<Stat> {
        beneath::look_at(file, self.dev)
    }

    /// Opens a file of the private directory for reading; `None` when there is none.
    pub(super) fn open_own(&self, name: &'static str) -> io::Result<Option<File>> {
        let name = Name::new(name).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(beneath::open_file(&self.own, &name, self.dev)?.map(|(file, _)| file))
    }

    /// The directory of contents on their way in.
    pub(crate) fn incoming(&self) -> BorrowedFd<'_> {
        self.incoming.as_fd()
    }

    /// A number that no other call in this process gets for this folder.
    pub(crate) fn unique(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// A complete content in `incoming/` that is nobody's, for whoever asks first.
    pub(crate) fn take_finished(&self, content: Digest) -> Option<Name> {
        let mut finished = self.finished.lock();
        let names = finished.get_mut(&content)?;
        let name = names.pop();
        if names.is_empty() {
            finished.remove(&content);
        }
        name
    }

    /// A complete content lies in `incoming/` under this name and is nobody's.
    pub(super) fn offer_finished(&self, name: Name) {
        if let Some(content) = content_of(&name) {
            self.finished.lock().entry(content).or_default().push(name);
        }
    }

    /// Whether a user's entry may be at this spot: nothing of the private directory but parked entries, and what is in
    /// them.
    pub(super) fn allowed(at: &Spot) -> bool {
        let own = |name: &[u8]| name == OWN.as_bytes();
        let mut names = at.dir.as_bytes().split(|b| *b == b'/').chain([at.name.as_bytes()]);
        if at.dir.is_within(&RelPath::stage()) {
            let parked = names.nth(RelPath::stage().as_bytes().split(|b| *b == b'/').count());
            return parked.is_some_and(|name| !super::stage::is_staged_name(name)) && !names.any(own);
        }
        !names.any(own)
    }
}

/// The same error once more.
pub(super) fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// The content that a complete file in `incoming/` has, by its name: the content id, a dot and a number.
pub(super) fn content_of(name: &Name) -> Option<Digest> {
    let (content, number) = std::str::from_utf8(name.as_bytes()).ok()?.split_once('.')?;
    number.parse::<u64>().ok()?;
    content.parse().ok()
}

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

use super::{Abilities, RelPath, Spot, Stat, beneath};

/// The folder's private directory, never synced.
pub(super) const OWN: &str = ".quics";

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
    /// Where displaced files came from, as long as this process knows it.
    pub(super) origins: Mutex<HashMap<Vec<u8>, Spot>>,
    pub(super) counter: AtomicU64,
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

    /// Opens a directory.
    ///
    /// # Errors
    /// When it is absent, cannot be read, or lies on another file system.
    pub(crate) fn dir(&self, path: &RelPath) -> io::Result<OwnedFd> {
        beneath::open_dir(&self.root, path)
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

    /// Looks at a spot; `None` when nothing is there.
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

    /// Looks at an open file.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn look_at(&self, file: impl AsFd) -> io::Result<Stat> {
        beneath::look_at(file, self.dev)
    }

    /// The directory of contents on their way in.
    pub(crate) fn incoming(&self) -> BorrowedFd<'_> {
        self.incoming.as_fd()
    }

    /// A number that no other call in this process gets for this folder.
    pub(crate) fn unique(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a user's entry may be at this spot: nothing of the private directory but parked entries.
    pub(super) fn allowed(at: &Spot) -> bool {
        let own = |name: &[u8]| name == OWN.as_bytes();
        if at.dir == RelPath::stage() {
            return !super::stage::is_staged_name(at.name.as_bytes());
        }
        !own(at.name.as_bytes()) && !at.dir.as_bytes().split(|b| *b == b'/').any(own)
    }
}

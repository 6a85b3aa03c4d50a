//! The real folder, on Linux.

use std::{
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use quics_types::{Mtime, Name, RootId, limits};
use rustix::{fs, io::Errno};

use super::{
    Abilities, Body, Error, Folder, Identity, Kind, Listing, Op, Outcome, RelPath, Spot, Stat, apply, beneath,
    marker::FileSystem,
    setup::{open_path, open_tree, read_marker, recover},
    tree::{OWN, Tree},
};

/// Threads that list directories.
const LISTERS: usize = 4;
/// Up to so many files of the user are synced one by one; more of them with one `syncfs`.
const SYNC_EACH_UP_TO: usize = 8;

/// A synced folder on a Linux file system.
///
/// Its private directory `.quics` holds the marker, `stage/` (new files before they are shown, and parked entries),
/// `incoming/` (contents on their way in) and `displaced/` (what operations displaced, for a while). While it is open
/// no other process can open it.
///
/// The file system has to keep what it was told not to replace and to exchange files (ext4, XFS, btrfs, tmpfs, f2fs);
/// others are refused, because an edit could be lost on them.
#[derive(Debug)]
pub struct Disk {
    pub(super) root: RootId,
    pub(super) tree: Arc<Tree>,
}

impl Disk {
    /// The folder's handles, for transfers and the watcher.
    pub fn tree(&self) -> Arc<Tree> {
        self.tree.clone()
    }

    /// What the file system can do.
    pub fn abilities(&self) -> Abilities {
        self.tree.abilities
    }
}

impl Folder for Disk {
    fn list(&mut self, dir: &RelPath) -> io::Result<Listing> {
        self.tree.list(dir)
    }

    fn list_many(&mut self, dirs: &[RelPath]) -> Vec<io::Result<Listing>> {
        let threads = LISTERS.min(std::thread::available_parallelism().map_or(1, usize::from)).min(dirs.len() / 2);
        if threads < 2 {
            return dirs.iter().map(|dir| self.tree.list(dir)).collect();
        }
        let (tree, next) = (&self.tree, AtomicUsize::new(0));
        let work = || {
            let mut found = Vec::new();
            while let Some((index, dir)) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, dirs.get(i)?)))
            {
                found.push((index, tree.list(dir)));
            }
            found
        };
        let mut all: Vec<Option<io::Result<Listing>>> = Vec::new();
        all.resize_with(dirs.len(), || None);
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mine = work();
            for (index, listing) in
                mine.into_iter().chain(others.into_iter().flat_map(|t| t.join().unwrap_or_default()))
            {
                all[index] = Some(listing);
            }
        });
        let lost = || Err(io::Error::other("a thread that listed died"));
        all.into_iter().map(|listing| listing.unwrap_or_else(lost)).collect()
    }

    fn stat(&mut self, at: &Spot) -> io::Result<Option<Stat>> {
        self.tree.stat(at)
    }

    fn stat_many(&mut self, dir: &RelPath, names: &[Name]) -> Vec<io::Result<Option<Stat>>> {
        let looked = self.tree.look_many(dir, names.iter()).zip(names);
        let through = |(stat, name): (_, &Name)| match stat {
            // It may be a unit.
            Ok(Some(Stat { kind: Kind::Directory, .. })) => {
                self.tree.stat(&Spot { dir: dir.clone(), name: name.clone() })
            }
            other => other,
        };
        looked.map(through).collect()
    }

    fn read_small(&mut self, at: &Spot) -> io::Result<Option<(Bytes, Stat)>> {
        let dir = match self.tree.dir(&at.dir) {
            Err(error) if beneath::is_gone(&error) => return Ok(None),
            other => other?,
        };
        let Some((file, before)) = beneath::open_file(&dir, &at.name, self.tree.dev)? else { return Ok(None) };
        if before.size > limits::INLINE_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; before.size as usize];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let after = self.tree.look_at(&file)?;
        // The name has to lead to it still: a file that was replaced is not what is at the spot.
        let there = beneath::look(&dir, at.name.as_bytes(), self.tree.dev)?;
        Ok((after == before && there == Some(after)).then(|| (bytes.into(), after)))
    }

    fn read_link(&mut self, at: &Spot) -> io::Result<Bytes> {
        let dir = self.tree.dir(&at.dir)?;
        let target = fs::readlinkat(dir, at.name.as_bytes(), Vec::with_capacity(256))?;
        Ok(Bytes::copy_from_slice(target.as_bytes()))
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let now = self.now();
        apply::apply(&self.tree, ops, now)
    }

    fn make_durable(&mut self, spots: &[Spot]) -> io::Result<()> {
        if spots.len() > SYNC_EACH_UP_TO {
            return Ok(fs::syncfs(&self.tree.root)?);
        }
        let mut dirs: Vec<&RelPath> = spots.iter().map(|spot| &spot.dir).collect();
        dirs.sort_unstable();
        dirs.dedup();
        for spot in spots {
            match self.tree.body(spot) {
                Ok(Some((Body::File(file), _))) => file.sync_all()?,
                Ok(Some((Body::Unit(_), _))) => return Ok(fs::syncfs(&self.tree.root)?),
                Ok(None) => {}
                // What may not be read can still be synced with everything else.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => fs::syncfs(&self.tree.root)?,
                Err(error) => return Err(error),
            }
        }
        for dir in dirs {
            match self.tree.dir(dir) {
                Ok(dir) => fs::fsync(dir)?,
                Err(error) if beneath::is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn now(&mut self) -> Mtime {
        clock()
    }

    fn check_identity(&mut self) -> io::Result<Identity> {
        let dir = match open_path(&self.tree.path) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Identity::Gone),
            Err(error) => return Err(error.into()),
        };
        let own = match beneath::open_private(&dir, OWN) {
            Ok(own) => own,
            Err(error) if beneath::is_gone(&error) => return Ok(Identity::Unmarked),
            Err(error) => return Err(error),
        };
        let marker = match read_marker(&own, &self.tree.path) {
            Ok(Some(marker)) => marker,
            Ok(None) | Err(Error::Damaged { .. }) => return Ok(Identity::Unmarked),
            Err(Error::Io { source, .. }) => return Err(source),
            Err(other) => return Err(io::Error::other(other.to_string())),
        };
        if marker.root != self.root || marker.file_system != FileSystem::of(&dir)? {
            return Ok(Identity::Other);
        }
        let here = |handle: &OwnedFd| fs::fstat(handle).map(|found| (found.st_dev, found.st_ino));
        if here(&dir)? != here(&self.tree.root)? || here(&own)? != here(&self.tree.own)? {
            // It was put back in another way (a restored copy): from now on that one is the folder.
            let tree = open_tree(&self.tree.path.clone(), self.root, self.tree.units.clone())
                .map_err(|e| io::Error::other(e.to_string()))?;
            recover(&tree)?;
            self.tree = Arc::new(tree);
        }
        Ok(Identity::Same)
    }
}

/// The clock by which local file systems stamp changes. They use its coarse form, which is at most a tick behind;
/// [`Stat::racy`] allows for that.
pub(super) fn clock() -> Mtime {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Mtime { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() },
        Err(_) => Mtime::default(),
    }
}

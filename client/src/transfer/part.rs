//! A content on its way into `incoming/`: a sparse file that an interrupted fetch leaves behind and the next goes on
//! with.
//!
//! Its name is the content id with `.part`; a complete one is renamed to the content id with a number. Runs of zeros
//! stay holes.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use quics_chunks::Leaf;
use quics_types::{Digest, Name};
use rustix::{
    fs::{self, AtFlags, Mode, OFlags, RenameFlags, SeekFrom},
    io::Errno,
};

use super::local::{Similar, read_verified};
use crate::folder::{RESERVE_BYTES, Tree};

/// Written bytes after which a sync is begun beside further writing, so that the last one is short.
const SYNC_BYTES: u64 = 64 * 1024 * 1024;

/// An incomplete content. All calls block.
#[derive(Debug)]
pub(super) struct Part {
    tree: Arc<Tree>,
    content: Digest,
    size: u64,
    file: File,
    /// It has bytes of an earlier attempt.
    resumed: bool,
    unsynced: AtomicU64,
    syncing: AtomicBool,
    /// A sync that failed: what is on the disk is not known any more.
    failed: Mutex<Option<io::Error>>,
}

impl Part {
    /// Opens the content's part, or makes it, after a look at the room that is left.
    pub(super) fn open(tree: Arc<Tree>, content: Digest, size: u64) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = format!("{content}.part");
        let file = File::from(fs::openat(tree.incoming(), name, flags, Mode::from_raw_mode(0o600))?);
        let before = fs::fstat(&file)?;
        let there = (before.st_blocks as u64).saturating_mul(512);
        let room = fs::fstatvfs(tree.incoming())?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if size.saturating_sub(there).saturating_add(RESERVE_BYTES) > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.set_len(size)?;
        Ok(Self {
            tree,
            content,
            size,
            file,
            resumed: before.st_size > 0,
            unsynced: AtomicU64::new(0),
            syncing: AtomicBool::new(false),
            failed: Mutex::new(None),
        })
    }

    /// Fills in what is here already: from an earlier attempt, zeros, from a similar file. Returns the chunks that are
    /// not, and how many bytes were.
    pub(super) fn fill(&self, leaves: Vec<Leaf>, similar: Option<&Similar>) -> io::Result<(Vec<Leaf>, u64)> {
        let mut buffer = Vec::new();
        let (mut missing, mut reused) = (Vec::new(), 0);
        for leaf in leaves {
            let here = self.has(&leaf, &mut buffer)?
                || self.fill_zeros(&leaf)?
                || match similar {
                    Some(similar) if similar.read(&leaf, &mut buffer) => {
                        self.write(leaf.offset, &buffer)?;
                        true
                    }
                    _ => false,
                };
            if here { reused += u64::from(leaf.length) } else { missing.push(leaf) }
        }
        Ok((missing, reused))
    }

    /// Whether an earlier attempt wrote a chunk.
    fn has(&self, leaf: &Leaf, buffer: &mut Vec<u8>) -> io::Result<bool> {
        if !self.resumed {
            return Ok(false);
        }
        // A hole that reaches over the chunk is not worth reading.
        match fs::seek(&self.file, SeekFrom::Data(leaf.offset)) {
            Ok(data) if data >= leaf.offset + u64::from(leaf.length) => return Ok(false),
            Err(Errno::NXIO) => return Ok(false),
            _ => {}
        }
        Ok(read_verified(|bytes, at| self.file.read_exact_at(bytes, at), leaf.offset, leaf, buffer))
    }

    /// Whether a chunk is nothing but zeros; then it is there.
    fn fill_zeros(&self, leaf: &Leaf) -> io::Result<bool> {
        if !is_zeros(leaf) {
            return Ok(false);
        }
        if self.resumed {
            self.file.write_all_at(&vec![0; leaf.length as usize], leaf.offset)?;
        }
        Ok(true)
    }

    /// Writes verified bytes.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        let unsynced = self.unsynced.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        if unsynced >= SYNC_BYTES && !self.syncing.swap(true, Ordering::AcqRel) {
            self.unsynced.store(0, Ordering::Relaxed);
            let synced = self.file.sync_data();
            self.syncing.store(false, Ordering::Release);
            if let Err(error) = synced {
                *self.failed.lock() = Some(error);
            }
        }
        Ok(())
    }

    /// Makes the content durable under a name of its own.
    pub(super) fn finish(&self) -> io::Result<Name> {
        let part = format!("{}.part", self.content);
        let synced = self.failed.lock().take().map_or_else(|| self.file.sync_all(), Err);
        if let Err(error) = synced {
            // Nobody knows what is on the disk now; the next attempt has to begin anew.
            _ = fs::unlinkat(self.tree.incoming(), &part, AtFlags::empty());
            return Err(error);
        }
        if fs::fstat(&self.file)?.st_size as u64 != self.size {
            return Err(io::Error::other("its length was changed"));
        }
        loop {
            let text = format!("{}.{}", self.content, self.tree.unique());
            let name = Name::new(text.into_bytes()).map_err(io::Error::other)?;
            let dir = self.tree.incoming();
            match fs::renameat_with(dir, &part, dir, name.as_bytes(), RenameFlags::NOREPLACE) {
                Ok(()) => {
                    fs::fsync(dir)?;
                    return Ok(name);
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether a chunk is nothing but zeros, by its digest. Only the longest chunk is looked for: zeros are cut so.
fn is_zeros(leaf: &Leaf) -> bool {
    use std::sync::LazyLock;
    static LONGEST: LazyLock<Digest> = LazyLock::new(|| Digest::of(&vec![0; quics_types::limits::CHUNK_BYTES]));
    leaf.length as usize == quics_types::limits::CHUNK_BYTES && leaf.digest == *LONGEST
}

//! Whether the disk has room for more.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Watches the file system that holds the data. At its reserve nothing is taken that adds content, so that deletes, reads
/// and resolving go on.
#[derive(Debug)]
pub(crate) struct Room {
    directory: PathBuf,
    /// Bytes that are kept free.
    reserve: u64,
    free: AtomicU64,
    low: AtomicBool,
}

impl Room {
    /// Watches the file system of a directory.
    pub(crate) fn new(directory: PathBuf, reserve: u64) -> Self {
        let room = Self { directory, reserve, free: AtomicU64::new(u64::MAX), low: AtomicBool::new(false) };
        room.look();
        room
    }

    /// Asks the file system. What it does not tell counts as enough: a full disk is noticed by the write.
    pub(crate) fn look(&self) {
        let free = match rustix::fs::statvfs(&self.directory) {
            Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
            Err(error) => {
                tracing::warn!(%error, "room.unknown");
                return;
            }
        };
        let low = free < self.reserve;
        self.free.store(free, Relaxed);
        if self.low.swap(low, Relaxed) != low {
            tracing::warn!(free, reserve = self.reserve, low, "room.changed");
        }
    }

    /// Whether the reserve is touched.
    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Relaxed)
    }

    /// Bytes that were free at the last look.
    pub(crate) fn free(&self) -> u64 {
        self.free.load(Relaxed)
    }
}

//! The chunk store on a disk: records appended to segment files.
//!
//! ```text
//! 00000001.segment  header, records …      sealed: 00000001.index lists its records
//! 00000002.segment  header, records …      sealed
//! 00000003.segment  header, records … | room      open: the only one that is appended to
//! lock                                      held by the process that has the store open
//! ```
//!
//! A put verifies the chunk, takes the next place in the open segment and writes there; the index in memory knows it
//! at once. One thread syncs for all: it takes whatever was written, syncs it, moves the durable watermark and tells
//! those who wait. A segment that is full is synced, sealed by its side index, and never written again. Reclaiming copies what is needed of
//! it to the open segment and removes it (see `rewrite`).
//!
//! Opening reads the side indexes and scans the segments that have none. What a power cut tore at the end of the open
//! segment is cut off; damage elsewhere costs the records that it hits and no other, because the scan finds the next
//! record by its magic.
//!
//! # What is checked when
//! A record's header carries a checksum keyed with a random key of its segment, bound to the record's place, and the
//! digest of its payload. A put hashes the unpacked chunk and, if it is compressed, the packed bytes. A read hashes
//! the packed bytes, which for a chunk that is not compressed proves its digest: one pass of BLAKE3 over each chunk
//! served. Side indexes only say where a record is; what they say is checked against the record on every read. The
//! key keeps a chunk that contains the bytes of a record from being taken for one.
//!
//! # Formats
//! See `header`, `record` and `side`. All integers are little-endian. A file of a newer version is refused by name.

mod disk;
mod header;
mod index;
mod log;
mod open;
mod read;
mod record;
mod rewrite;
mod scan;
mod side;
#[cfg(test)]
mod sim;
mod syncer;
mod table;
#[cfg(test)]
mod tests;

use std::{ops::ControlFlow, path::Path, sync::Arc};

use parking_lot::Mutex;
use quics_types::{Digest, RootId};

use self::{
    disk::{Disk, RealDisk},
    index::{Index, Place},
    log::Log,
    read::Files,
    syncer::Syncer,
    table::Fingerprint,
};
use crate::{
    ChunkStore, Condemned, Error, FlushCallback, Marks, Packed, Position, Progress, Reclaimable, RecordInfo, Rewritten,
    Stats, Verification,
};

/// How a store on a disk behaves.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes after which a segment is full; 64 KiB more than the largest record to 256 MiB.
    pub segment_bytes: u32,
    /// Bytes by which the open segment is allocated ahead; 0 lets it grow with each record.
    pub allocate_bytes: u32,
    /// After how many written bytes the syncer starts without being asked, so that a flush after a large upload is
    /// short and the disk is never idle meanwhile.
    pub sync_bytes: u32,
    /// How many segments may be open for reading at a time.
    pub open_files: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 256 * 1024 * 1024,
            allocate_bytes: 16 * 1024 * 1024,
            sync_bytes: 32 * 1024 * 1024,
            open_files: 128,
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        let least = header::DATA_START + record::LONGEST + 64 * 1024;
        if !(least..=header::LARGEST_SEGMENT).contains(&self.segment_bytes) {
            return Err(Error::Options("a segment must hold the largest record and be at most 256 MiB"));
        }
        if self.open_files == 0 {
            return Err(Error::Options("at least one file must be open"));
        }
        Ok(())
    }
}

/// What opening a store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Segments with records.
    pub segments: u64,
    /// Records, marks and superseded ones included.
    pub records: u64,
    /// Side indexes that were missing or damaged and written anew.
    pub indexes_rebuilt: u64,
    /// Segments whose header is lost: their chunks are absent, the files were set aside.
    pub lost_segments: Vec<u32>,
    /// Bytes between records that are none; a torn write, or damage.
    pub skipped_bytes: u64,
    /// Bytes cut from the end of the open segment.
    pub torn_bytes: u64,
    /// Chunks whose record's header is there and whose payload is not; at most the first 10 000.
    pub damaged: Vec<(RootId, Digest)>,
}

/// A segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The segment's number, from 1.
    pub number: u32,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Bytes of its records that are still in service.
    pub live_bytes: u64,
    /// Whether it is full and has its side index.
    pub sealed: bool,
}

/// The chunk store on a disk.
///
/// One process at a time holds it. Dropping it syncs what was put.
pub struct Segments {
    shared: Arc<Shared>,
    syncer: Syncer,
    report: OpenReport,
    /// Held while a segment is rewritten.
    rewriting: Mutex<()>,
}

/// What the callers' threads and the syncer share.
struct Shared {
    disk: Arc<dyn Disk>,
    options: Options,
    index: Index,
    files: Files,
    log: Log,
}

impl Segments {
    /// Opens the store in a directory, which is made if it is not there, and reads or rebuilds its index.
    ///
    /// # Durability
    /// Whatever it finds is synced before it returns: what it has, it has durably.
    ///
    /// # Errors
    /// [`Error::Held`] if another process holds it, [`Error::Newer`] for files of a newer version, [`Error::Options`],
    /// [`Error::Io`] and [`Error::NoSpace`]. Damage is no error; see [`Segments::opened`].
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        options.check()?;
        Self::open_on(Arc::new(RealDisk::open(directory.as_ref())?), options)
    }

    fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, Error> {
        options.check()?;
        let (shared, durable, report) = open::open(disk, options)?;
        let shared = Arc::new(shared);
        let syncer = Syncer::start(shared.clone(), durable)?;
        Ok(Self { shared, syncer, report, rewriting: Mutex::new(()) })
    }

    /// What opening found: torn and damaged records, rebuilt indexes.
    pub fn opened(&self) -> &OpenReport {
        &self.report
    }

    /// The segments in the order of their numbers.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.files.infos()
    }

    /// Visits the chunks of one segment that are in service there; the callback may stop it. An unknown number visits
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk cannot be asked.
    pub fn segment_records(
        &self,
        number: u32,
        visit: &mut dyn FnMut(RecordInfo) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.shared.live_records(number, &mut |info, _| visit(info)).map(drop)
    }

    /// Takes a record out of service, and asks for the sync that makes it last; false if it was not in service there.
    fn take_out(&self, key: Fingerprint, place: Place, root: RootId, digest: Digest) -> Result<bool, Error> {
        let taken = self.shared.take_out(key, place, root, digest).inspect_err(|e| self.syncer.note(e))?;
        self.syncer.request(self.shared.log.end());
        Ok(taken)
    }
}

impl ChunkStore for Segments {
    fn put(&self, root: RootId, chunk: &Packed) -> Result<Position, Error> {
        chunk.verify()?;
        self.syncer.check()?;
        let key = self.shared.index.key(root, chunk.digest);
        if let Some(place) = self.shared.index.get(key) {
            return Ok(place.position());
        }
        let (position, unsynced) = self.shared.put(key, root, chunk).inspect_err(|e| self.syncer.note(e))?;
        if unsynced >= u64::from(self.shared.options.sync_bytes) {
            self.syncer.request(position);
        }
        Ok(position)
    }

    fn get(&self, root: RootId, digest: Digest) -> Result<Option<Packed>, Error> {
        let key = self.shared.index.key(root, digest);
        while let Some(place) = self.shared.index.get(key) {
            let damage = match self.shared.read(place, root, digest) {
                Err(e @ Error::Damaged { .. }) => e,
                other => return other,
            };
            match self.take_out(key, place, root, digest) {
                // It was moved while it was read, or somebody else took it out.
                Ok(false) => continue,
                Ok(true) => {}
                Err(e) => tracing::error!(error = %e, "chunks.quarantine_not_recorded"),
            }
            tracing::error!(error = %damage, "chunks.damaged");
            return Err(damage);
        }
        Ok(None)
    }

    fn find(&self, root: RootId, digest: Digest) -> Result<Option<Position>, Error> {
        Ok(self.shared.index.get(self.shared.index.key(root, digest)).map(|place| place.position()))
    }

    fn durable_up_to(&self) -> Position {
        self.syncer.durable()
    }

    fn flush(&self) -> Result<Position, Error> {
        self.syncer.wait(self.shared.log.end())
    }

    fn flush_notify(&self, callback: FlushCallback) {
        self.syncer.notify(self.shared.log.end(), callback);
    }

    fn quarantine(&self, root: RootId, digest: Digest) -> Result<bool, Error> {
        let key = self.shared.index.key(root, digest);
        while let Some(place) = self.shared.index.get(key) {
            // Otherwise it was moved in between.
            if self.take_out(key, place, root, digest)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn stats(&self) -> Stats {
        Stats { syncs: self.syncer.syncs(), ..self.shared.stats() }
    }

    fn verify_all(&self, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Verification, Error> {
        let mut found = Verification { complete: true, ..Verification::default() };
        let mut so_far = Progress { total_bytes: self.stats().live_bytes, ..Progress::default() };
        for segment in self.segments() {
            let flow = self.shared.live_records(segment.number, &mut |info, _| {
                so_far.chunks += 1;
                so_far.bytes += u64::from(info.stored);
                match self.get(info.root, info.digest) {
                    Ok(Some(packed)) if packed.verify().is_ok() => found.verified += 1,
                    Ok(None) => {}
                    other => {
                        // Packed bytes that are as they were put and still do not unpack: take them out as well.
                        if other.is_ok() {
                            let _ = self.quarantine(info.root, info.digest);
                        }
                        found.damaged_count += 1;
                        if found.damaged.len() < open::NAMED_DAMAGE {
                            found.damaged.push((info.root, info.digest));
                        }
                    }
                }
                progress(so_far)
            })?;
            if flow.is_break() {
                found.complete = false;
                break;
            }
        }
        Ok(found)
    }

    fn records(&self, visit: &mut dyn FnMut(RecordInfo) -> ControlFlow<()>) -> Result<(), Error> {
        for segment in self.segments() {
            if self.shared.live_records(segment.number, &mut |info, _| visit(info))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn begin_marks(&self) -> Marks {
        self.cover()
    }

    fn begin_marks_of(&self, root: RootId) -> Result<Marks, Error> {
        self.cover_root(root)
    }

    fn seal(&self) -> Result<(), Error> {
        self.syncer.check()?;
        let (ended, end) = self.shared.end_segment().inspect_err(|e| self.syncer.note(e))?;
        self.syncer.wait_sealed(end)?;
        // Without room for its side index it is not sealed before the store is opened again.
        if ended.is_none_or(|number| self.shared.files.sealed(number).is_some()) { Ok(()) } else { Err(Error::NoSpace) }
    }

    fn remains(&self, root: RootId, condemned: &Condemned) -> Result<Vec<u32>, Error> {
        self.holding(root, condemned)
    }

    fn mark(&self, marks: &Marks, root: RootId, digest: Digest) -> Result<Option<Position>, Error> {
        Ok(self.find_with(root, digest, |spot| marks.set(spot.segment, spot.unit())))
    }

    fn mark_walked(&self, marks: &Marks, root: RootId, digest: Digest) -> Result<Option<Position>, Error> {
        Ok(self.find_with(root, digest, |spot| marks.set_walked(spot.segment, spot.unit())))
    }

    fn is_walked(&self, marks: &Marks, root: RootId, digest: Digest) -> Result<bool, Error> {
        let mut walked = false;
        self.find_with(root, digest, |spot| walked = marks.is_walked(spot.segment, spot.unit()));
        Ok(walked)
    }

    fn reclaimable(&self, condemned: &Condemned) -> Result<Vec<Reclaimable>, Error> {
        Ok(self.worth(condemned))
    }

    fn rewrite(&self, number: u32, condemned: &Condemned) -> Result<Option<Rewritten>, Error> {
        self.rewrite_segment(number, condemned)
    }
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segments").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

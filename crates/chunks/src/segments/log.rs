//! The open segment and its end, where records are appended.
//!
//! One lock covers place and write: a write goes to the page cache, where the disk's speed is not felt, and in return
//! everything before the end is written at any time, so that a sync needs to know nothing but the end.

use std::sync::Arc;

use parking_lot::Mutex;
use quics_types::{Digest, RootId};

use super::{
    Options, Shared,
    disk::{Disk, DiskFile},
    header::{self, DATA_START, Key},
    index::{self, LAST_SEGMENT, Place, position},
    record::{ALIGN, HEADER, Kind, Record, Spot},
    side::{Entry, Side},
    table::Fingerprint,
};
use crate::{Error, Packed, Position};

/// Records of a segment, so that the list of the open one and a side index stay below 16 MiB.
const MOST_RECORDS: usize = 256 * 1024;

/// The open segment.
pub(super) struct Log {
    writer: Mutex<Writer>,
}

pub(super) struct Writer {
    pub(super) number: u32,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) key: Key,
    /// The records and their end: always what is written.
    pub(super) side: Side,
    /// Up to where the file is allocated.
    pub(super) allocated: u32,
    /// Full segments that wait for their sync and seal.
    pub(super) full: Vec<Full>,
    /// Whether the directory has a new segment that is not synced.
    pub(super) new_file: bool,
    /// Bytes written since the last batch was taken.
    pub(super) unsynced: u64,
}

/// A segment that is full and not sealed.
pub(super) struct Full {
    pub(super) number: u32,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) side: Side,
}

/// What one sync has to make durable.
pub(super) struct Batch {
    pub(super) full: Vec<Full>,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) new_file: bool,
    /// What will be durable then.
    pub(super) end: Position,
}

impl Log {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer: Mutex::new(writer) }
    }

    /// The position behind everything that was put.
    pub(super) fn end(&self) -> Position {
        let writer = self.writer.lock();
        position(writer.number, writer.side.end)
    }

    /// Takes what a sync has to cover.
    pub(super) fn take_batch(&self) -> Batch {
        let mut writer = self.writer.lock();
        writer.unsynced = 0;
        Batch {
            full: std::mem::take(&mut writer.full),
            file: writer.file.clone(),
            new_file: std::mem::take(&mut writer.new_file),
            end: position(writer.number, writer.side.end),
        }
    }

    /// The records of a segment that is not sealed: the open one, or one that waits.
    pub(super) fn unsealed(&self, number: u32) -> Option<Vec<Entry>> {
        let writer = self.writer.lock();
        if number == writer.number {
            return Some(writer.side.entries.clone());
        }
        writer.full.iter().find(|full| full.number == number).map(|full| full.side.entries.clone())
    }
}

impl Writer {
    /// Writes a record.
    ///
    /// On an error nothing has changed, but for bytes behind the end, which the next record overwrites.
    fn append(&mut self, disk: &dyn Disk, options: &Options, record: &Record, payload: &[u8]) -> Result<Spot, Error> {
        let span = record.span();
        if self.side.end + span > options.segment_bytes || self.side.entries.len() >= MOST_RECORDS {
            self.roll(disk)?;
        }
        let spot = Spot { segment: self.number, offset: self.side.end };
        let end = spot.offset + span;
        if end > self.allocated && options.allocate_bytes > 0 {
            let wanted = end.max(self.allocated.saturating_add(options.allocate_bytes)).min(options.segment_bytes);
            self.file.allocate(u64::from(self.allocated), u64::from(wanted))?;
            self.allocated = wanted;
        }
        let padding = span as usize - HEADER - payload.len();
        let parts = [&record.encode(&self.key, spot), payload, &[0; ALIGN as usize][..padding]];
        self.file.write(&parts, u64::from(spot.offset))?;
        self.side.entries.push(Entry::of(record, spot.offset));
        self.side.end = end;
        self.unsynced += u64::from(span);
        Ok(spot)
    }

    /// Opens the next segment; the full one waits for the syncer.
    fn roll(&mut self, disk: &dyn Disk) -> Result<(), Error> {
        let number = self.number + 1;
        if number > LAST_SEGMENT {
            return Err(Error::NoSpace);
        }
        let (file, key) = match header::create(disk, number) {
            Ok(created) => created,
            Err(e) => {
                // Half a segment would be in the way of the next attempt.
                let _ = disk.remove(&header::segment_name(number));
                return Err(e);
            }
        };
        let side = std::mem::replace(&mut self.side, Side { entries: Vec::new(), end: DATA_START });
        let old = std::mem::replace(&mut self.file, file);
        self.full.push(Full { number: self.number, file: old, side });
        (self.number, self.key, self.allocated, self.new_file) = (number, key, DATA_START, true);
        Ok(())
    }
}

impl Shared {
    /// Appends a verified chunk unless it is there; returns its position, and how many bytes wait for a sync.
    pub(super) fn put(&self, key: Fingerprint, root: RootId, chunk: &Packed) -> Result<(Position, u64), Error> {
        let record = Record::of(root, chunk);
        let mut writer = self.log.writer.lock();
        if let Some(place) = self.index.get(key) {
            return Ok((place.position(), 0));
        }
        let place = self.append(&mut writer, &record, &chunk.data)?;
        self.index.insert(key, place);
        Ok((place.position(), writer.unsynced))
    }

    /// Appends a verified chunk that is in service at `old` and serves it from there; returns how many bytes wait for a
    /// sync, or `None` if it is not at `old` any more.
    pub(super) fn relocate(
        &self,
        key: Fingerprint,
        old: Place,
        root: RootId,
        chunk: &Packed,
    ) -> Result<Option<u64>, Error> {
        let record = Record::of(root, chunk);
        let mut writer = self.log.writer.lock();
        if self.index.get(key) != Some(old) {
            return Ok(None);
        }
        let place = self.append(&mut writer, &record, &chunk.data)?;
        self.index.insert(key, place);
        self.files.drop_superseded(old);
        Ok(Some(writer.unsynced))
    }

    /// Removes a chunk from the index if it is in service at `place` and `condition` holds at that moment. Nothing is
    /// written: it lasts when its segment is gone.
    pub(super) fn drop_if(&self, key: Fingerprint, place: Place, condition: impl FnOnce() -> bool) -> bool {
        let _writer = self.log.writer.lock();
        let removed = self.index.remove_if(key, place, condition);
        if removed {
            self.files.drop_superseded(place);
        }
        removed
    }

    /// Appends a mark again that a record is out of service; returns how many bytes wait for a sync.
    pub(super) fn mark_again(&self, root: RootId, digest: Digest, spot: Spot) -> Result<u64, Error> {
        let mut writer = self.log.writer.lock();
        self.append(&mut writer, &Record { root, digest, kind: Kind::Void(spot) }, &[])?;
        Ok(writer.unsynced)
    }

    /// Ends the open segment, unless it has no records; returns its number, and the position behind all that was put before.
    pub(super) fn end_segment(&self) -> Result<(Option<u32>, Position), Error> {
        let mut writer = self.log.writer.lock();
        let before = writer.number;
        if !writer.side.entries.is_empty() {
            writer.roll(self.disk.as_ref())?;
            self.opened(&writer);
        }
        let ended = Some(before).filter(|before| *before != writer.number);
        Ok((ended, position(writer.number, writer.side.end)))
    }

    /// Knows the segment that has just become the open one.
    fn opened(&self, writer: &Writer) {
        self.files.add(writer.number, writer.key, DATA_START, false);
        self.files.keep(writer.number, writer.file.clone());
    }

    /// Takes a record out of service, at once in memory, and with the next sync for good; false if it was not in service
    /// at `place`.
    pub(super) fn take_out(&self, key: Fingerprint, place: Place, root: RootId, digest: Digest) -> Result<bool, Error> {
        let mut writer = self.log.writer.lock();
        if self.index.get(key) != Some(place) {
            return Ok(false);
        }
        self.index.remove(key);
        self.files.drop_live(place);
        let record = Record { root, digest, kind: Kind::Void(place.spot) };
        self.append(&mut writer, &record, &[]).map(|_| true)
    }

    fn append(&self, writer: &mut Writer, record: &Record, payload: &[u8]) -> Result<Place, Error> {
        let before = writer.number;
        let spot = writer.append(self.disk.as_ref(), &self.options, record, payload)?;
        if writer.number != before {
            self.opened(writer);
        }
        let place = index::Place { spot, span: record.span() };
        self.files.grow(place, matches!(record.kind, Kind::Chunk { .. }));
        Ok(place)
    }
}

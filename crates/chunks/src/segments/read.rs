//! The segments as files to read from, and reading a record.

use std::{collections::BTreeMap, io, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use quics_types::{Digest, RootId};

use super::{
    SegmentInfo, Shared,
    disk::{Disk, DiskFile},
    header::{DATA_START, Key, segment_name, side_name},
    index::Place,
    record::{HEADER, Kind, Record, Spot},
    scan,
    side::{Entry, Side, What},
};
use crate::{Error, Packed, RecordInfo, Stats};

/// Knows all segments and keeps a bounded number of them open.
pub(super) struct Files {
    state: Mutex<State>,
    most_open: usize,
}

#[derive(Default)]
struct State {
    segments: BTreeMap<u32, Segment>,
    open: Vec<Open>,
    clock: u64,
    damaged: u64,
}

pub(super) struct Segment {
    key: Key,
    end: u32,
    live: u64,
    sealed: bool,
}

struct Open {
    number: u32,
    file: Arc<dyn DiskFile>,
    used: u64,
}

/// A file to read from, with the key of its checksums.
pub(super) type Keyed = (Arc<dyn DiskFile>, Key);

impl Files {
    pub(super) fn new(most_open: usize) -> Self {
        Self { state: Mutex::default(), most_open }
    }

    pub(super) fn add(&self, number: u32, key: Key, end: u32, sealed: bool) {
        self.state.lock().segments.insert(number, Segment { key, end, live: 0, sealed });
    }

    pub(super) fn seal(&self, number: u32) {
        if let Some(segment) = self.state.lock().segments.get_mut(&number) {
            segment.sealed = true;
        }
    }

    /// Counts a record that was appended.
    pub(super) fn grow(&self, place: Place, live: bool) {
        if let Some(segment) = self.state.lock().segments.get_mut(&place.spot.segment) {
            segment.end = segment.end.max(place.spot.offset + place.span);
            segment.live += if live { u64::from(place.span) } else { 0 };
        }
    }

    /// Counts a record of a segment that was read at opening.
    pub(super) fn add_live(&self, place: Place) {
        self.grow(place, true);
    }

    /// Counts a record that is superseded.
    pub(super) fn drop_superseded(&self, place: Place) {
        if let Some(segment) = self.state.lock().segments.get_mut(&place.spot.segment) {
            segment.live = segment.live.saturating_sub(u64::from(place.span));
        }
    }

    /// Counts a record that is out of service.
    pub(super) fn drop_live(&self, place: Place) {
        self.drop_superseded(place);
        self.count_damaged();
    }

    pub(super) fn count_damaged(&self) {
        self.state.lock().damaged += 1;
    }

    /// Whether there is a segment of this number.
    pub(super) fn has(&self, number: u32) -> bool {
        self.state.lock().segments.contains_key(&number)
    }

    /// The bytes of a sealed segment; `None` for others.
    pub(super) fn sealed(&self, number: u32) -> Option<u64> {
        self.state.lock().segments.get(&number).filter(|segment| segment.sealed).map(|segment| segment.end.into())
    }

    /// Forgets a segment that is to be removed. Reads that have its file go on.
    pub(super) fn forget(&self, number: u32) -> Option<Segment> {
        let mut state = self.state.lock();
        state.open.retain(|open| open.number != number);
        state.segments.remove(&number)
    }

    /// Knows a segment again that could not be removed.
    pub(super) fn remember(&self, number: u32, segment: Segment) {
        self.state.lock().segments.insert(number, segment);
    }

    /// Keeps a file open for reading, unless its segment was forgotten meanwhile.
    pub(super) fn keep(&self, number: u32, file: Arc<dyn DiskFile>) {
        let mut state = self.state.lock();
        state.clock += 1;
        let used = state.clock;
        if !state.segments.contains_key(&number) || state.open.iter().any(|open| open.number == number) {
            return;
        }
        if state.open.len() >= self.most_open {
            let oldest = state.open.iter().enumerate().min_by_key(|(_, open)| open.used).map(|(i, _)| i);
            if let Some(oldest) = oldest {
                state.open.swap_remove(oldest);
            }
        }
        state.open.push(Open { number, file, used });
    }

    /// A segment's file and key; `None` for a segment that does not exist.
    pub(super) fn file(&self, disk: &dyn Disk, number: u32) -> Result<Option<Keyed>, Error> {
        let key = {
            let mut state = self.state.lock();
            let Some(segment) = state.segments.get(&number) else { return Ok(None) };
            let key = segment.key;
            state.clock += 1;
            let used = state.clock;
            if let Some(open) = state.open.iter_mut().find(|open| open.number == number) {
                open.used = used;
                return Ok(Some((open.file.clone(), key)));
            }
            key
        };
        let file = disk.open(&segment_name(number))?;
        self.keep(number, file.clone());
        Ok(Some((file, key)))
    }

    #[cfg(test)]
    pub(super) fn is_open(&self, number: u32) -> bool {
        self.state.lock().open.iter().any(|open| open.number == number)
    }

    pub(super) fn infos(&self) -> Vec<SegmentInfo> {
        let info = |(&number, segment): (&u32, &Segment)| SegmentInfo {
            number,
            bytes: segment.end.into(),
            live_bytes: segment.live,
            sealed: segment.sealed,
        };
        self.state.lock().segments.iter().map(info).collect()
    }
}

impl Shared {
    /// Reads and verifies the record of a chunk; `None` if another chunk stands there.
    pub(super) fn read(&self, place: Place, root: RootId, digest: Digest) -> Result<Option<Packed>, Error> {
        let Spot { segment, offset } = place.spot;
        let damaged = Error::Damaged { root, digest, segment, offset };
        let mut bytes = vec![0; place.span as usize];
        let key = match self.read_span(place.spot, &mut bytes) {
            Ok(Some(key)) => key,
            Ok(None) => return Err(damaged),
            Err(e) if is_damage(&e) => return Err(damaged),
            Err(e) => return Err(e),
        };
        let Some(record) = Record::decode(&bytes, &key, place.spot) else { return Err(damaged) };
        if (record.root, record.digest) != (root, digest) {
            return Ok(None);
        }
        let Kind::Chunk { stored, .. } = record.kind else { return Err(damaged) };
        let payload = HEADER..HEADER + stored as usize;
        if payload.end > bytes.len() {
            return Err(damaged);
        }
        record.chunk(Bytes::from(bytes).slice(payload)).map(Some).ok_or(damaged)
    }

    /// Fills `bytes` from a segment and returns its key; `None` if the segment is not there or too short.
    fn read_span(&self, spot: Spot, bytes: &mut [u8]) -> Result<Option<Key>, Error> {
        let Some((file, key)) = self.files.file(self.disk.as_ref(), spot.segment)? else { return Ok(None) };
        let count = file.read(bytes, spot.offset.into())?;
        Ok((count == bytes.len()).then_some(key))
    }

    /// Visits the chunks of a segment that are in service there.
    pub(super) fn live_records(
        &self,
        number: u32,
        visit: &mut dyn FnMut(RecordInfo, Place) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let entries = match self.log.unsealed(number) {
            Some(entries) => entries,
            None => self.entries(number)?,
        };
        for entry in entries {
            let What::Chunk { length, .. } = entry.what else { continue };
            let place = Place { spot: Spot { segment: number, offset: entry.offset }, span: entry.span() };
            if self.index.get(self.index.key(entry.root, entry.digest)) != Some(place) {
                continue;
            }
            let info = RecordInfo { root: entry.root, digest: entry.digest, length, stored: place.span };
            if visit(info, place).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The records of a segment from its side index, or by a scan where that is missing or damaged; none of a segment
    /// that is gone.
    pub(super) fn entries(&self, number: u32) -> Result<Vec<Entry>, Error> {
        if let Ok(Some(side)) = read_side(self.disk.as_ref(), number) {
            return Ok(side.entries);
        }
        let (file, key) = match self.files.file(self.disk.as_ref(), number) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Vec::new()),
            // It was rewritten and removed in between.
            Err(_) if !self.files.has(number) => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        Ok(scan::scan(file.as_ref(), number, &key)?.side.entries)
    }

    pub(super) fn stats(&self) -> Stats {
        let (chunks, index_bytes) = self.index.size();
        let state = self.files.state.lock();
        let mut stats = Stats { chunks, index_bytes, damaged: state.damaged, ..Stats::default() };
        for segment in state.segments.values() {
            stats.segments += 1;
            stats.live_bytes += segment.live;
            stats.stored_bytes += u64::from(segment.end - DATA_START);
        }
        stats
    }
}

/// Reads a segment's side index; `None` if it is damaged.
pub(super) fn read_side(disk: &dyn Disk, number: u32) -> Result<Option<Side>, Error> {
    let file = disk.open(&side_name(number))?;
    // The most records of a segment, and then some: a longer file is not one of ours.
    let length = file.len()?;
    if length > 32 * 1024 * 1024 {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    match file.read(&mut bytes, 0) {
        Ok(count) if count == bytes.len() => Side::decode(&bytes, number),
        Ok(_) => Ok(None),
        Err(e) if is_damage(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether a read failed because of what is (not) on the disk, and would fail again.
pub(super) fn is_damage(error: &Error) -> bool {
    const EIO: i32 = 5;
    match error {
        Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(EIO),
        _ => false,
    }
}

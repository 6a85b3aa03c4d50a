//! Reads a segment from end to end and finds its records, whatever lies between them.

use bytes::Bytes;
use quics_types::{Digest, RootId};

use super::{
    disk::DiskFile,
    header::{DATA_START, Key, LARGEST_SEGMENT},
    read::is_damage,
    record::{ALIGN, HEADER, Kind, MAGIC, Record, Spot},
    side::{Entry, Side},
};
use crate::Error;

const WINDOW: usize = 4 * 1024 * 1024;
const SECTOR: usize = 4096;

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// The records that verify, payloads included, and the end of the last one.
    pub(super) side: Side,
    /// Bytes between records that belong to none.
    pub(super) skipped: u64,
    /// Chunks, before that end, whose header verifies and whose payload does not.
    pub(super) damaged: Vec<(RootId, Digest)>,
    /// Bytes behind that end up to the last one that is not zero: torn writes.
    pub(super) torn: u64,
}

/// Scans a segment and verifies every record. Sectors that cannot be read count as zeros.
pub(super) fn scan(file: &dyn DiskFile, number: u32, key: &Key) -> Result<Scanned, Error> {
    let length = file.len()?.min(u64::from(LARGEST_SEGMENT)) as u32;
    let mut window = Window { file, start: 0, bytes: Vec::new(), length };
    let mut found = Scanned { side: Side { entries: Vec::new(), end: DATA_START }, ..Scanned::default() };
    let mut damaged = Vec::new();
    let mut at = DATA_START;
    while at < length {
        let spot = Spot { segment: number, offset: at };
        let Some(record) = Record::decode(window.get(at, HEADER as u32)?, key, spot) else {
            match window.next_magic(at + ALIGN)? {
                Some(next) => at = next,
                None => break,
            }
            continue;
        };
        if !payload_verifies(&mut window, at, &record)? {
            damaged.push((at, record.root, record.digest));
            at += ALIGN;
            continue;
        }
        found.skipped += u64::from(at - found.side.end);
        found.side.entries.push(Entry::of(&record, at));
        at += record.span();
        found.side.end = at;
    }
    let end = found.side.end;
    found.damaged = damaged.into_iter().filter(|(at, ..)| *at < end).map(|(_, root, digest)| (root, digest)).collect();
    found.torn = window.last_byte(end)?.map_or(0, |last| u64::from(last - end) + 1);
    Ok(found)
}

fn payload_verifies(window: &mut Window<'_>, at: u32, record: &Record) -> Result<bool, Error> {
    let Kind::Chunk { stored, .. } = record.kind else { return Ok(true) };
    let payload = window.get(at + HEADER as u32, stored)?;
    Ok(record.chunk(Bytes::copy_from_slice(payload)).is_some())
}

/// A stretch of the file in memory.
struct Window<'a> {
    file: &'a dyn DiskFile,
    start: u32,
    bytes: Vec<u8>,
    length: u32,
}

impl Window<'_> {
    /// Up to `count` bytes from `at`; fewer at the end of the file.
    fn get(&mut self, at: u32, count: u32) -> Result<&[u8], Error> {
        let end = at.saturating_add(count).min(self.length);
        if at >= end {
            return Ok(&[]);
        }
        if at < self.start || (end - self.start) as usize > self.bytes.len() {
            self.load(at)?;
        }
        let from = (at - self.start) as usize;
        let to = ((end - self.start) as usize).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }

    fn load(&mut self, at: u32) -> Result<(), Error> {
        self.start = at;
        self.bytes.clear();
        self.bytes.resize(WINDOW.min((self.length - at) as usize), 0);
        let count = match self.file.read(&mut self.bytes, at.into()) {
            Err(e) if is_damage(&e) => {
                for (i, sector) in self.bytes.chunks_mut(SECTOR).enumerate() {
                    match self.file.read(sector, u64::from(at) + (i * SECTOR) as u64) {
                        Err(e) if is_damage(&e) => sector.fill(0),
                        other => drop(other?),
                    }
                }
                self.bytes.len()
            }
            other => other?,
        };
        self.bytes.truncate(count);
        Ok(())
    }

    /// The first place at or behind `at` where a record may start and a magic stands.
    fn next_magic(&mut self, mut at: u32) -> Result<Option<u32>, Error> {
        while at < self.length {
            let bytes = self.get(at, WINDOW as u32)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(i) = bytes.chunks(ALIGN as usize).position(|piece| piece.starts_with(MAGIC)) {
                return Ok(Some(at + i as u32 * ALIGN));
            }
            at += (bytes.len() as u32).next_multiple_of(ALIGN);
        }
        Ok(None)
    }

    /// The last byte at or behind `at` that is not zero.
    fn last_byte(&mut self, mut at: u32) -> Result<Option<u32>, Error> {
        let mut last = None;
        while at < self.length {
            let bytes = self.get(at, WINDOW as u32)?;
            if bytes.is_empty() {
                break;
            }
            last = bytes.iter().rposition(|&b| b != 0).map(|i| at + i as u32).or(last);
            at += bytes.len() as u32;
        }
        Ok(last)
    }
}

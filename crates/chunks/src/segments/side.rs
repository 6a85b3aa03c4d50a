//! The side index of a sealed segment: where its records are, so that opening need not scan it.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `QUICSIDX` |
//! | 8..10 | version, 1 |
//! | 10..12 | zero |
//! | 12..16 | the segment's number |
//! | 16..20 | number of entries |
//! | 20..24 | where the records end in the segment |
//! | 64 each | root (16), digest (32), offset (4), kind (1: 1 chunk, 2 mark), zero (3), then bytes of the unpacked chunk (4) and of the payload (4), or segment (4) and offset (4) that a mark is for |
//! | last 32 | BLAKE3 of everything before |

use quics_types::{Digest, RootId};

use super::{
    header::side_name,
    record::{Kind, Record, Spot, span_of},
};
use crate::Error;

const MAGIC: &[u8; 8] = b"QUICSIDX";
const VERSION: u16 = 1;
const HEADER: usize = 24;
const ENTRY: usize = 64;

/// A record as the side index lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) root: RootId,
    pub(super) digest: Digest,
    pub(super) offset: u32,
    pub(super) what: What,
}

/// What an entry lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A chunk: bytes unpacked, bytes of the payload.
    Chunk { length: u32, stored: u32 },
    /// A mark that the record at this spot is out of service.
    Void(Spot),
}

impl Entry {
    pub(super) fn of(record: &Record, offset: u32) -> Self {
        let what = match record.kind {
            Kind::Chunk { length, stored, .. } => What::Chunk { length, stored },
            Kind::Void(spot) => What::Void(spot),
        };
        Self { root: record.root, digest: record.digest, offset, what }
    }

    /// Bytes that the record takes.
    pub(super) fn span(&self) -> u32 {
        match self.what {
            What::Chunk { stored, .. } => span_of(stored),
            What::Void(_) => span_of(0),
        }
    }
}

/// The records of a segment, in their order, and where they end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Side {
    pub(super) entries: Vec<Entry>,
    pub(super) end: u32,
}

impl Side {
    pub(super) fn encode(&self, number: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.entries.len() * ENTRY + Digest::LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes()); // Bounded by the segment's length.
        out.extend_from_slice(&self.end.to_le_bytes());
        for entry in &self.entries {
            let (kind, one, two) = match entry.what {
                What::Chunk { length, stored } => (1, length, stored),
                What::Void(spot) => (2, spot.segment, spot.offset),
            };
            out.extend_from_slice(entry.root.as_bytes());
            out.extend_from_slice(entry.digest.as_bytes());
            out.extend_from_slice(&entry.offset.to_le_bytes());
            out.extend_from_slice(&[kind, 0, 0, 0]);
            out.extend_from_slice(&one.to_le_bytes());
            out.extend_from_slice(&two.to_le_bytes());
        }
        let sum = Digest::of(&out);
        out.extend_from_slice(sum.as_bytes());
        out
    }

    /// Reads a side index; `None` if it is damaged, so that the segment has to be scanned.
    ///
    /// # Errors
    /// [`Error::Newer`] for a verified index of a newer version.
    pub(super) fn decode(bytes: &[u8], number: u32) -> Result<Option<Self>, Error> {
        let Some((body, sum)) = bytes.split_last_chunk::<{ Digest::LEN }>() else { return Ok(None) };
        if !body.starts_with(MAGIC) || Digest::of(body).as_bytes() != sum {
            return Ok(None);
        }
        let Some((header, entries)) = body.split_first_chunk::<HEADER>() else { return Ok(None) };
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version > VERSION {
            return Err(Error::Newer { file: side_name(number).into(), found: version, known: VERSION });
        }
        Ok(Self::parse(header, entries, number))
    }

    fn parse(header: &[u8; HEADER], entries: &[u8], number: u32) -> Option<Self> {
        let field = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
        let (stated, count, end) = (field(header, 12)?, field(header, 16)?, field(header, 20)?);
        if stated != number || entries.len() as u64 != u64::from(count) * ENTRY as u64 {
            return None;
        }
        let entries = entries.chunks_exact(ENTRY).map(|bytes| {
            let (one, two) = (field(bytes, 56)?, field(bytes, 60)?);
            let what = match bytes[52] {
                1 => What::Chunk { length: one, stored: two },
                2 => What::Void(Spot { segment: one, offset: two }),
                _ => return None,
            };
            Some(Entry {
                root: RootId::from_bytes(*bytes.first_chunk()?),
                digest: Digest::from_bytes(*bytes[16..].first_chunk()?),
                offset: field(bytes, 48)?,
                what,
            })
        });
        Some(Self { entries: entries.collect::<Option<_>>()?, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side() -> Side {
        let (root, digest) = (RootId::from_bytes([0xaa; 16]), Digest::from_bytes([0xcc; 32]));
        let chunk = Entry { root, digest, offset: 8192, what: What::Chunk { length: 0x1234, stored: 0x567 } };
        let void = Entry { offset: 9728, what: What::Void(Spot { segment: 2, offset: 8256 }), ..chunk };
        Side { entries: vec![chunk, void], end: 9856 }
    }

    #[test]
    fn the_bytes_of_a_side_index_are_fixed() {
        let bytes = side().encode(5);
        let mut golden = b"QUICSIDX\x01\0\0\0\x05\0\0\0\x02\0\0\0\x80\x26\0\0".to_vec();
        golden.extend([0xaa; 16]);
        golden.extend([0xcc; 32]);
        golden.extend(b"\0\x20\0\0\x01\0\0\0\x34\x12\0\0\x67\x05\0\0");
        golden.extend([0xaa; 16]);
        golden.extend([0xcc; 32]);
        golden.extend(b"\0\x26\0\0\x02\0\0\0\x02\0\0\0\x40\x20\0\0");
        assert_eq!(bytes[..bytes.len() - 32], golden);
        assert_eq!(Side::decode(&bytes, 5).unwrap(), Some(side()));
    }

    #[test]
    fn a_side_index_with_any_bit_flipped_is_not_believed() {
        let bytes = side().encode(5);
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Side::decode(&broken, 5).unwrap(), None, "bit {bit}");
        }
        assert_eq!(Side::decode(&bytes, 6).unwrap(), None);
        assert_eq!(Side::decode(b"", 5).unwrap(), None);
    }

    #[test]
    fn a_newer_side_index_is_refused_by_name() {
        let mut bytes = side().encode(5);
        bytes[8] = 2;
        let body = bytes.len() - 32;
        let sum = Digest::of(&bytes[..body]);
        bytes[body..].copy_from_slice(sum.as_bytes());
        assert!(matches!(Side::decode(&bytes, 5), Err(Error::Newer { found: 2, .. })));
    }
}

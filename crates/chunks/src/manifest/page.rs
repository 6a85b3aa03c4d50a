//! One page of a manifest: its bytes and the rules that hold inside it.

use bytes::{BufMut, Bytes, BytesMut};
use quics_types::{Digest, limits};

use crate::Error;

const MAGIC: &[u8; 4] = b"QSMP";
const VERSION: u8 = 1;
const HEADER: usize = 16;

/// The highest level of a page. With at least 64 entries a page, eight levels hold any file of a 64-bit length.
pub const MAX_LEVEL: u8 = 7;
/// A page ends after an entry whose digest has these bits zero in its last two bytes …
const BOUNDARY: u16 = 0x01ff;
/// … but not before this many entries, so that every level is much shorter than the one below …
const FEWEST: usize = 64;
/// … and at the latest after this many.
const MOST: usize = 2048;

/// A chunk or page that a page lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageEntry {
    /// The chunk's or the page's name.
    pub digest: Digest,
    /// Bytes of content in the chunk or below the page; never 0.
    pub length: u64,
}

/// One page of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    pub(super) level: u8,
    pub(super) total: u64,
    pub(super) entries: Vec<PageEntry>,
}

impl Page {
    /// 0 for a page that lists chunks, otherwise one more than that of the pages it lists.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Bytes of content below the page.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What the page lists, in the order of the content.
    pub fn entries(&self) -> &[PageEntry] {
        &self.entries
    }

    /// Whether the page has come to its end, by its last entry or by its length.
    pub(super) fn is_full(&self) -> bool {
        let Some(last) = self.entries.last() else { return false };
        let [.., high, low] = *last.digest.as_bytes();
        let boundary = u16::from_be_bytes([high, low]) & BOUNDARY == 0;
        self.entries.len() >= MOST || (boundary && self.entries.len() >= FEWEST)
    }

    pub(super) fn encode(&self) -> Bytes {
        let width = entry_width(self.level);
        let mut out = BytesMut::with_capacity(HEADER + self.entries.len() * width);
        out.put_slice(MAGIC);
        out.put_u8(VERSION);
        out.put_u8(self.level);
        out.put_u16_le(self.entries.len() as u16); // At most MOST.
        out.put_u64_le(self.total);
        for entry in &self.entries {
            out.put_slice(entry.digest.as_bytes());
            out.put_uint_le(entry.length, width - Digest::LEN);
        }
        out.freeze()
    }

    /// Reads a page and checks everything that can be checked without the pages around it.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the bytes are not those of `digest`, [`Error::Page`] if they are not a page: a length
    /// that is zero, too long for a chunk or too large in sum, a wrong count, a level above [`MAX_LEVEL`], an
    /// unknown version.
    pub fn decode(digest: Digest, bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > limits::CHUNK_BYTES {
            return Err(Error::Length { digest, length: bytes.len() as u64 });
        }
        if Digest::of(bytes) != digest {
            return Err(Error::Mismatch { digest });
        }
        Self::parse(bytes).map_err(|reason| Error::Page { digest, reason })
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let (header, body) = bytes.split_first_chunk::<HEADER>().ok_or("it is shorter than a page's header")?;
        let [m0, m1, m2, m3, version, level, c0, c1, t0, t1, t2, t3, t4, t5, t6, t7] = *header;
        if [m0, m1, m2, m3] != *MAGIC {
            return Err("it is not a manifest page");
        }
        if version != VERSION {
            return Err("its version is not known");
        }
        if level > MAX_LEVEL {
            return Err("its level is too high");
        }
        let width = entry_width(level);
        let count = usize::from(u16::from_le_bytes([c0, c1]));
        if body.len() != count * width {
            return Err("its length is not that of its entries");
        }
        if count == 0 && level > 0 {
            return Err("it lists no pages");
        }
        let mut page = Page { level, total: 0, entries: Vec::with_capacity(count) };
        for entry in body.chunks_exact(width) {
            let (digest, length) = entry.split_first_chunk::<{ Digest::LEN }>().ok_or("an entry is too short")?;
            let length = length.iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
            if length == 0 {
                return Err("an entry has no length");
            }
            if level == 0 && length > limits::CHUNK_BYTES as u64 {
                return Err("a chunk is too long");
            }
            page.total = page.total.checked_add(length).ok_or("its content is longer than a file can be")?;
            page.entries.push(PageEntry { digest: Digest::from_bytes(*digest), length });
        }
        if page.total != u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]) {
            return Err("its total is not the sum of its entries");
        }
        Ok(page)
    }
}

const fn entry_width(level: u8) -> usize {
    if level == 0 { Digest::LEN + 4 } else { Digest::LEN + 8 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(level: u8, lengths: &[u64]) -> Page {
        let entries: Vec<_> =
            lengths.iter().map(|&length| PageEntry { digest: Digest::of(&length.to_le_bytes()), length }).collect();
        Page { level, total: lengths.iter().sum(), entries }
    }

    fn decode(bytes: &[u8]) -> Result<Page, Error> {
        Page::decode(Digest::of(bytes), bytes)
    }

    #[test]
    fn a_page_of_the_most_entries_is_a_chunk() {
        assert!(HEADER + MOST * entry_width(1) <= limits::CHUNK_BYTES);
    }

    #[test]
    fn the_bytes_of_a_page_are_fixed() {
        let leaf = Page {
            level: 0,
            total: 0x10203,
            entries: vec![PageEntry { digest: Digest::from_bytes([0xab; 32]), length: 0x10203 }],
        };
        let mut golden = b"QSMP\x01\x00\x01\x00\x03\x02\x01\0\0\0\0\0".to_vec();
        golden.extend([0xab; 32]);
        golden.extend([3, 2, 1, 0]);
        assert_eq!(leaf.encode(), golden);
        let upper = Page { level: 2, ..leaf };
        golden[5] = 2;
        golden.extend([0; 4]);
        assert_eq!(upper.encode(), golden);
        assert_eq!(Page::default().encode(), &b"QSMP\x01\0\0\0\0\0\0\0\0\0\0\0"[..]);
    }

    #[test]
    fn pages_that_break_a_rule_are_refused_with_the_rule() {
        let good = page(0, &[1, 2, 3]).encode();
        assert_eq!(decode(&good).unwrap(), page(0, &[1, 2, 3]));
        let broken = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            match decode(&bytes) {
                Err(Error::Page { reason, .. }) => reason,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(broken(0, b'X'), "it is not a manifest page");
        assert_eq!(broken(4, 2), "its version is not known");
        assert_eq!(broken(5, 8), "its level is too high");
        assert_eq!(broken(5, 1), "its length is not that of its entries");
        assert_eq!(broken(6, 2), "its length is not that of its entries");
        assert_eq!(broken(8, 7), "its total is not the sum of its entries");
        assert_eq!(broken(48, 0), "an entry has no length");
        assert_eq!(broken(51, 1), "a chunk is too long");
        assert!(matches!(decode(&good[..10]), Err(Error::Page { .. })));
        assert!(matches!(Page::decode(Digest::of(b""), &good), Err(Error::Mismatch { .. })));
        assert!(matches!(decode(&vec![0; limits::CHUNK_BYTES + 1]), Err(Error::Length { .. })));
        let overflow =
            Page { level: 1, total: 0, entries: [page(1, &[u64::MAX]).entries, page(1, &[1]).entries].concat() };
        assert!(matches!(decode(&overflow.encode()), Err(Error::Page { .. })));
        assert!(matches!(decode(&Page { level: 1, ..Page::default() }.encode()), Err(Error::Page { .. })));
    }

    proptest! {
        #[test]
        fn hostile_pages_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), level in 0u8..9, count in 0u16..8) {
            let _ = decode(&bytes);
            if bytes.len() >= HEADER {
                bytes[..4].copy_from_slice(MAGIC);
                bytes[4] = VERSION;
                bytes[5] = level;
                bytes[6..8].copy_from_slice(&count.to_le_bytes());
                if let Ok(page) = decode(&bytes) {
                    prop_assert_eq!(page.encode(), bytes);
                }
            }
        }
    }
}

//! One record: a header of 128 bytes, the payload, zeros up to a multiple of 64.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `QUICSREC` |
//! | 8 | version, 1 |
//! | 9 | kind: 1 a chunk, 2 a mark that an earlier record is out of service |
//! | 10 | codec: 0 raw, 1 zstd |
//! | 11 | cipher: 0 none (others are reserved) |
//! | 12..16 | key id of the cipher, 0 (reserved) |
//! | 16..32 | root |
//! | 32..64 | digest of the unpacked chunk |
//! | 64..68 | bytes of the unpacked chunk |
//! | 68..72 | bytes of the payload |
//! | 72..104 | BLAKE3 of the payload; of a mark: segment (4), offset (4) of the record that it marks, zeros |
//! | 104..112 | zero |
//! | 112..128 | the first 16 bytes of the BLAKE3, keyed with the segment's key, of bytes 0..112 and the record's own segment and offset (4 each) |

use bytes::Bytes;
use quics_types::{Digest, RootId, limits};

use super::header::Key;
use crate::{Codec, Packed};

pub(super) const MAGIC: &[u8; 8] = b"QUICSREC";
const VERSION: u8 = 1;
/// Bytes of a record's header.
pub(super) const HEADER: usize = 128;
/// Records start at multiples of this.
pub(super) const ALIGN: u32 = 64;
/// Bytes of the longest record.
pub(super) const LONGEST: u32 = span_of(limits::CHUNK_BYTES as u32);

/// Bytes of a record with a payload of `stored` bytes.
pub(super) const fn span_of(stored: u32) -> u32 {
    (HEADER as u32 + stored).next_multiple_of(ALIGN)
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A chunk, with the digest of its payload.
    Chunk { codec: Codec, length: u32, stored: u32, payload: Digest },
    /// A mark: the record that stands at this spot is out of service.
    Void(Spot),
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) root: RootId,
    pub(super) digest: Digest,
    pub(super) kind: Kind,
}

impl Record {
    /// The record of a chunk, whose payload is hashed here unless it is the chunk itself.
    pub(super) fn of(root: RootId, chunk: &Packed) -> Self {
        let payload = match chunk.codec {
            Codec::Raw => chunk.digest,
            Codec::Zstd => Digest::of(&chunk.data),
        };
        let kind = Kind::Chunk { codec: chunk.codec, length: chunk.length, stored: chunk.data.len() as u32, payload };
        Self { root, digest: chunk.digest, kind }
    }

    /// Bytes that the record takes, header and padding included.
    pub(super) fn span(&self) -> u32 {
        match self.kind {
            Kind::Chunk { stored, .. } => span_of(stored),
            Kind::Void(_) => span_of(0),
        }
    }

    pub(super) fn encode(&self, key: &Key, spot: Spot) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(MAGIC);
        out[8] = VERSION;
        out[16..32].copy_from_slice(self.root.as_bytes());
        out[32..64].copy_from_slice(self.digest.as_bytes());
        match self.kind {
            Kind::Chunk { codec, length, stored, payload } => {
                out[9] = 1;
                out[10] = codec.to_u8();
                out[64..68].copy_from_slice(&length.to_le_bytes());
                out[68..72].copy_from_slice(&stored.to_le_bytes());
                out[72..104].copy_from_slice(payload.as_bytes());
            }
            Kind::Void(marked) => {
                out[9] = 2;
                out[72..76].copy_from_slice(&marked.segment.to_le_bytes());
                out[76..80].copy_from_slice(&marked.offset.to_le_bytes());
            }
        }
        let sum = checksum(&out, key, spot);
        out[112..].copy_from_slice(&sum);
        out
    }

    /// Reads and verifies a header that stands at `spot`; `None` if there is none.
    pub(super) fn decode(bytes: &[u8], key: &Key, spot: Spot) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER>()?;
        if bytes[..8] != *MAGIC || bytes[8] != VERSION || bytes[112..] != checksum(bytes, key, spot) {
            return None;
        }
        // From here on the bytes are as we wrote them; the rest guards against our own mistakes.
        let number = |at: usize| bytes[at..].first_chunk().map(|b| u32::from_le_bytes(*b));
        let digest = |at: usize| bytes[at..].first_chunk().map(|b| Digest::from_bytes(*b));
        let kind = match (bytes[9], bytes[11]) {
            (1, 0) => {
                let (length, stored) = (number(64)?, number(68)?);
                if length == 0 || length as usize > limits::CHUNK_BYTES || stored > length {
                    return None;
                }
                Kind::Chunk { codec: Codec::from_u8(bytes[10])?, length, stored, payload: digest(72)? }
            }
            (2, 0) => Kind::Void(Spot { segment: number(72)?, offset: number(76)? }),
            _ => return None,
        };
        let root = RootId::from_bytes(*bytes[16..].first_chunk()?);
        Some(Self { root, digest: digest(32)?, kind })
    }

    /// The chunk of a record, if its payload verifies.
    pub(super) fn chunk(&self, payload: Bytes) -> Option<Packed> {
        let Kind::Chunk { codec, length, stored, payload: expected } = self.kind else { return None };
        if payload.len() != stored as usize || Digest::of(&payload) != expected {
            return None;
        }
        if codec == Codec::Raw && expected != self.digest {
            return None;
        }
        Some(Packed { digest: self.digest, codec, length, data: payload })
    }
}

fn checksum(header: &[u8; HEADER], key: &Key, spot: Spot) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&header[..112]);
    hasher.update(&spot.segment.to_le_bytes());
    hasher.update(&spot.offset.to_le_bytes());
    let mut sum = [0; 16];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [9; 32];
    const SPOT: Spot = Spot { segment: 3, offset: 8192 };

    fn record() -> Record {
        let payload = Digest::from_bytes([0xdd; 32]);
        let kind = Kind::Chunk { codec: Codec::Zstd, length: 0x30201, stored: 0x201, payload };
        Record { root: RootId::from_bytes([0xaa; 16]), digest: Digest::from_bytes([0xcc; 32]), kind }
    }

    #[test]
    fn the_bytes_of_a_record_header_are_fixed() {
        let bytes = record().encode(&KEY, SPOT);
        let mut golden = b"QUICSREC\x01\x01\x01\0\0\0\0\0".to_vec();
        golden.extend([0xaa; 16]);
        golden.extend([0xcc; 32]);
        golden.extend(b"\x01\x02\x03\0\x01\x02\0\0");
        golden.extend([0xdd; 32]);
        golden.extend([0; 8]);
        assert_eq!(bytes[..112], golden);
        assert_eq!(Digest::of(&bytes).to_string(), GOLDEN_CHUNK);
        let void = Record { kind: Kind::Void(Spot { segment: 7, offset: 64 }), ..record() };
        assert_eq!(Digest::of(&void.encode(&KEY, SPOT)).to_string(), GOLDEN_VOID);
    }

    const GOLDEN_CHUNK: &str = "2baa758c3ae1105d0b8019d1cc6b7e50257c184d6a8e681a566b3d0580cd299b";
    const GOLDEN_VOID: &str = "d152b3045428e60db186d18d595afa8517a7caa60f55f9b3dc88a37f2a864540";

    #[test]
    fn a_header_verifies_only_as_it_was_written_and_where_it_was_written() {
        let bytes = record().encode(&KEY, SPOT);
        assert_eq!(Record::decode(&bytes, &KEY, SPOT), Some(record()));
        for bit in 0..HEADER * 8 {
            let mut broken = bytes;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&broken, &KEY, SPOT), None, "bit {bit}");
        }
        assert_eq!(Record::decode(&bytes, &[8; 32], SPOT), None);
        assert_eq!(Record::decode(&bytes, &KEY, Spot { offset: 8256, ..SPOT }), None);
        assert_eq!(Record::decode(&bytes, &KEY, Spot { segment: 4, ..SPOT }), None);
        assert_eq!(Record::decode(&bytes[..127], &KEY, SPOT), None);
    }

    #[test]
    fn a_mark_round_trips() {
        let void = Record { kind: Kind::Void(Spot { segment: 7, offset: 64 }), ..record() };
        assert_eq!(Record::decode(&void.encode(&KEY, SPOT), &KEY, SPOT), Some(void));
    }
}

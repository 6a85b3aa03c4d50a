//! The marker: which root a folder is of, and on which file system it was added.
//!
//! # Format of `.quics/marker` (integers are little-endian)
//!
//! | bytes | field |
//! |---|---|
//! | 4 | magic `QSRM` |
//! | 1 | version, 1 |
//! | 16 | root id |
//! | 8 | file system type |
//! | 8 | file system id |
//! | 32 | BLAKE3 of the bytes before |

use std::os::fd::AsFd;

use quics_types::{Digest, RootId};
use rustix::{fs, io};

const MAGIC: &[u8; 4] = b"QSRM";
/// The newest format version that this program knows.
pub(super) const VERSION: u8 = 1;
const LEN: usize = 69;
/// XFS makes its id of the device number, which is another one after a restart.
const XFS: u64 = 0x5846_5342;

/// Names a file system beyond its device number: its type and its own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileSystem {
    kind: u64,
    id: u64,
}

impl FileSystem {
    /// The file system that a handle is on.
    pub(super) fn of(fd: impl AsFd) -> io::Result<Self> {
        let kind = fs::fstatfs(&fd)?.f_type as u64;
        let id = if kind == XFS { 0 } else { fs::fstatvfs(&fd)?.f_fsid };
        Ok(Self { kind, id })
    }
}

/// What a marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) root: RootId,
    pub(super) file_system: FileSystem,
}

/// Why bytes are not a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Newer(u8),
    Damaged(&'static str),
}

impl Marker {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(self.root.as_bytes());
        bytes.extend_from_slice(&self.file_system.kind.to_le_bytes());
        bytes.extend_from_slice(&self.file_system.id.to_le_bytes());
        let sum = Digest::of(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let damaged = Unreadable::Damaged;
        if bytes.get(..4) != Some(MAGIC) {
            return Err(damaged("it is not a marker"));
        }
        match bytes.get(4) {
            Some(&VERSION) => {}
            Some(&newer) if newer > VERSION => return Err(Unreadable::Newer(newer)),
            _ => return Err(damaged("its version is not known")),
        }
        let bytes: &[u8; LEN] = bytes.try_into().map_err(|_| damaged("it has a wrong length"))?;
        let (body, sum) = bytes.split_at(LEN - Digest::LEN);
        if Digest::of(body).as_bytes() != sum {
            return Err(damaged("its checksum is wrong"));
        }
        let number = |at: usize| body[at..at + 8].iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        let root = RootId::from_slice(&body[5..21]).map_err(|_| damaged("it has no root id"))?;
        Ok(Self { root, file_system: FileSystem { kind: number(21), id: number(29) } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        let file_system = FileSystem { kind: 0xef53, id: 0x0102_0304_0506_0708 };
        Marker { root: RootId::from_bytes(*b"0123456789abcdef"), file_system }
    }

    #[test]
    fn the_bytes_of_a_marker_are_fixed() {
        let mut golden = b"QSRM\x010123456789abcdef\x53\xef\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01".to_vec();
        golden.extend_from_slice(Digest::of(&golden.clone()).as_bytes());
        assert_eq!(marker().encode(), golden);
        assert_eq!(Marker::decode(&golden), Ok(marker()));
    }

    #[test]
    fn a_marker_with_any_byte_changed_is_refused() {
        let good = marker().encode();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            assert!(Marker::decode(&bytes).is_err(), "{at}");
        }
        assert!(Marker::decode(&good[..20]).is_err());
        assert!(Marker::decode(b"").is_err());
        let mut newer = good;
        newer[4] = 2;
        assert_eq!(Marker::decode(&newer), Err(Unreadable::Newer(2)));
    }
}

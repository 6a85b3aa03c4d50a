//! The marker that says that the store was closed cleanly, where its journal ended, and in which boot that was.
//!
//! # File `clean`
//!
//! ```text
//! magic "QUICSCLN" | version u32 = 1 | mark [u8; 32] (applied u64, rows u64, sum u128) | boot id length u16 | boot id
//! | hash [u8; 32] (BLAKE3 of all bytes before it)
//! ```
//!
//! It is removed, durably, before the index is opened, and written after the index was closed. An index of another boot is
//! not believed, because sled does not fsync; that the journal reached the mark is believed in any boot.

use crate::batch::Reader;
use crate::disk::Disk;
use crate::error::Error;
use crate::files::{place, read_all};
use crate::index::Mark;

pub(crate) const NAME: &str = "clean";
const MAGIC: &[u8; 8] = b"QUICSCLN";
const VERSION: u32 = 1;

/// What was true when the index was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) mark: Mark,
    pub(crate) boot: String,
}

impl Marker {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.mark.to_bytes());
        let boot = &self.boot.as_bytes()[..self.boot.len().min(1024)];
        out.extend_from_slice(&(boot.len() as u16).to_be_bytes());
        out.extend_from_slice(boot);
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, hash) = bytes.split_last_chunk::<32>()?;
        let mut reader = Reader::new(body);
        if blake3::hash(body).as_bytes() != hash || reader.take(8)? != MAGIC || reader.u32()? != VERSION {
            return None;
        }
        let mark = Mark::from_bytes(reader.take(Mark::LEN)?)?;
        let boot = reader.u16()? as usize;
        let boot = String::from_utf8(reader.take(boot)?.to_vec()).ok()?;
        reader.is_done().then_some(Self { mark, boot })
    }

    /// Writes the marker durably.
    pub(crate) fn write(&self, disk: &dyn Disk) -> Result<(), Error> {
        place(disk, NAME, 0, |file| file.write_all_at(&self.to_bytes(), 0).map_err(Error::io("write", NAME))).map(drop)
    }

    /// Reads the marker and removes it durably. One that is not whole counts as none: the index is rebuilt then.
    pub(crate) fn take(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        let marker = Self::from_bytes(&read_all(disk, NAME)?);
        disk.remove(NAME).map_err(Error::io("remove", NAME))?;
        disk.sync_dir().map_err(Error::io("sync the directory of", NAME))?;
        Ok(marker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Marker {
        Marker { mark: Mark { applied: 5, rows: 3, sum: 0x0102_0304 }, boot: "a-boot".to_owned() }
    }

    #[test]
    fn a_marker_has_these_bytes() {
        let hex: String = sample().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(Marker::from_bytes(&sample().to_bytes()), Some(sample()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_makes_it_none() {
        let good = sample().to_bytes();
        for at in 0..good.len() {
            assert_eq!(Marker::from_bytes(&good[..at]), None);
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                assert_eq!(Marker::from_bytes(&bytes), None);
            }
        }
    }

    const GOLDEN: &str = concat!(
        "5155494353434c4e0000000100000000000000050000000000000003000000000000000000000000010203040006612d",
        "626f6f7470a99d412b212547c209356858160d165f3299cc7911cc5d3db29d4487506e19",
    );
}

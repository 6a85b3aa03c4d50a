//! Names of segment files and the header at their start.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `QUICSSEG` |
//! | 8..10 | version, 1 |
//! | 10..12 | zero |
//! | 12..16 | the segment's number |
//! | 16..20 | where the records start: 8192 |
//! | 20..52 | the random key of the segment's checksums |
//! | 52..64 | zero |
//! | 64..80 | the first 16 bytes of the BLAKE3 of bytes 0..64 |
//!
//! The header is written twice, at 0 and at 4096: without its key a segment would be lost.

use quics_types::Digest;

use super::disk::{Disk, DiskFile};
use crate::Error;

const MAGIC: &[u8; 8] = b"QUICSSEG";
pub(super) const VERSION: u16 = 1;
const LEN: usize = 80;
const COPIES: [u64; 2] = [0, 4096];
/// Where the first record starts.
pub(super) const DATA_START: u32 = 8192;
/// Offsets fit 22 bits in units of 64 bytes.
pub(super) const LARGEST_SEGMENT: u32 = 256 * 1024 * 1024;

/// The random key of a segment's checksums.
pub(super) type Key = [u8; 32];

pub(super) fn segment_name(number: u32) -> String {
    format!("{number:08x}.segment")
}

pub(super) fn side_name(number: u32) -> String {
    format!("{number:08x}.index")
}

/// The number of a segment file's name; `None` for other files.
pub(super) fn parse_segment_name(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".segment").filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().filter(|&number| number > 0 && segment_name(number) == name)
}

/// The number in the name of any of a segment's files.
pub(super) fn number_of(name: &str) -> Option<u32> {
    let (digits, _) = name.split_once('.').filter(|(digits, _)| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok()
}

pub(super) fn encode(number: u32, key: &Key) -> [u8; LEN] {
    let mut out = [0; LEN];
    out[..8].copy_from_slice(MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&number.to_le_bytes());
    out[16..20].copy_from_slice(&DATA_START.to_le_bytes());
    out[20..52].copy_from_slice(key);
    let sum = Digest::of(&out[..64]);
    out[64..].copy_from_slice(&sum.as_bytes()[..16]);
    out
}

/// Makes a segment file with both copies of its header. Nothing is durable yet.
pub(super) fn create(disk: &dyn Disk, number: u32) -> Result<(std::sync::Arc<dyn DiskFile>, Key), Error> {
    let key = disk.random()?;
    let file = disk.create(&segment_name(number))?;
    for at in COPIES {
        file.write(&[&encode(number, &key)], at)?;
    }
    Ok((file, key))
}

/// What stands where a segment's header belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Header(Key),
    /// Only zeros, or nothing: a power cut came before anything of the segment was durable.
    Nothing,
    /// Neither copy verifies.
    Damaged,
}

/// Reads the header of a segment from whichever copy verifies.
///
/// # Errors
/// [`Error::Newer`] for a verified header of a newer version, [`Error::Io`].
pub(super) fn read(file: &dyn DiskFile, number: u32) -> Result<Found, Error> {
    let mut zeros = true;
    for at in COPIES {
        let mut bytes = [0; LEN];
        let count = file.read(&mut bytes, at)?;
        zeros &= bytes.iter().all(|&b| b == 0);
        let sum = Digest::of(&bytes[..64]);
        if count < LEN || bytes[..8] != *MAGIC || bytes[64..] != sum.as_bytes()[..16] {
            continue;
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version > VERSION {
            return Err(Error::Newer { file: segment_name(number).into(), found: version, known: VERSION });
        }
        let same = bytes[12..16] == number.to_le_bytes() && bytes[16..20] == DATA_START.to_le_bytes();
        if let (true, Some(key)) = (same, bytes[20..].first_chunk::<32>()) {
            return Ok(Found::Header(*key));
        }
    }
    Ok(if zeros { Found::Nothing } else { Found::Damaged })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_segment_header_are_fixed() {
        let bytes = encode(0x01020304, &[0xaa; 32]);
        let mut golden = b"QUICSSEG\x01\0\0\0\x04\x03\x02\x01\0\x20\0\0".to_vec();
        golden.extend([0xaa; 32]);
        golden.extend([0; 12]);
        assert_eq!(bytes[..64], golden);
        assert_eq!(Digest::of(&bytes).to_string(), GOLDEN);
    }

    const GOLDEN: &str = "9a7c440b31dff00cae1eae54c0bc889ba84620468a879547c965ca62755c07e6";

    #[test]
    fn only_names_that_a_segment_has_are_segments() {
        assert_eq!(parse_segment_name(&segment_name(255)), Some(255));
        for other in
            ["000000FF.segment", "00000000.segment", "ff.segment", "000000ff.index", "+00000ff.segment", "lock"]
        {
            assert_eq!(parse_segment_name(other), None, "{other}");
        }
    }
}

//! Whole records: a format version, and what stands behind it.

use bytes::Bytes;
use quics_meta::Batch;

use crate::{Code, Error, Reads, Stored, wide};

/// The version with which every record is written.
pub const VERSION: u8 = 1;

/// A record, and how many further pieces its value has.
#[derive(Debug, Clone)]
pub struct Kept<T> {
    /// The record.
    pub record: T,
    /// Further pieces: what overwriting it has to remove.
    pub pieces: u16,
}

/// Says how many further pieces a record has that may be absent.
pub fn pieces<T>(kept: &Option<Kept<T>>) -> u16 {
    kept.as_ref().map_or(0, |kept| kept.pieces)
}

/// Sets a record that had `before` further pieces, and says how many it has now.
pub fn put<T: Code>(batch: &mut Batch, key: Bytes, record: &T, before: u16) -> u16 {
    wide::put(batch, key, &encode(record), before)
}

/// Reads a record.
///
/// # Errors
/// [`Error::Damaged`], [`Error::Newer`]; [`Error::Meta`] where the store cannot be read.
pub fn get<T: Code>(reads: Reads<'_>, key: &[u8]) -> Result<Option<Kept<T>>, Error> {
    reads.get(key)?.map(|stored| decode(key, stored)).transpose()
}

/// Decodes a record that was read in a range.
///
/// # Errors
/// [`Error::Damaged`], [`Error::Newer`].
pub fn decode<T: Code>(key: &[u8], stored: Stored) -> Result<Kept<T>, Error> {
    let mut bytes = stored.bytes;
    match u8::read(&mut bytes) {
        Ok(VERSION) => {}
        Ok(version) if version > VERSION => return Err(Error::Newer { version }),
        _ => return Err(Error::damaged(key)),
    }
    match T::read(&mut bytes) {
        Ok(record) if bytes.is_empty() => Ok(Kept { record, pieces: stored.pieces }),
        _ => Err(Error::damaged(key)),
    }
}

/// Gives a record's value: its version and its fields.
pub fn encode<T: Code>(record: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(VERSION);
    record.write(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_version_is_refused_by_name_and_not_read() {
        let stored = Stored { bytes: Bytes::from_static(&[2, 0]), pieces: 0 };
        assert!(matches!(decode::<u64>(b"key", stored), Err(Error::Newer { version: 2 })));
    }

    #[test]
    fn bytes_behind_a_record_are_damage() {
        let stored = Stored { bytes: Bytes::from_static(&[1, 0, 0]), pieces: 0 };
        assert!(matches!(decode::<u64>(b"key", stored), Err(Error::Damaged { .. })));
    }
}

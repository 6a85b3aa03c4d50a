//! The digest by which a device proves that it has what the server has.

use quics_types::Digest;

use crate::{Row, Value};

/// The sum of the hashes of a root's live rows, whatever their order: 32 bytes.
///
/// It is kept up to date by [`RootDigest::add`] and [`RootDigest::remove`] with every change, so that it costs nothing to
/// have. Each live row is hashed (BLAKE3 over the canonical form below); the hash is taken as four little-endian 64-bit
/// lanes, and each lane is added modulo 2^64. Tombstones are not part of it. It finds differences that came by error; it
/// is no proof against somebody who chooses the rows.
///
/// # Canonical form of a row
///
/// Integers are little-endian and of fixed width, byte strings are preceded by their length (u32):
/// format version (u8 = 1), id (16 bytes), parent (16), name, kind (u8: 0 directory, 1 file, 2 link, 3 unit) with content
/// id (32) and size (u64) of a file or unit or the target of a link, mode (u32), modification time (seconds i64, nanoseconds u32), number
/// of attributes (u32) and each one's key and value in the order of the keys, time, content time, place time and
/// attributes time (u64 each).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RootDigest([u8; 32]);

impl RootDigest {
    /// The digest of a root without live rows.
    pub const EMPTY: RootDigest = RootDigest([0; 32]);

    /// Takes a digest from a message or a stored record; `None` unless it has 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Adds a row; a tombstone changes nothing.
    pub fn add(&mut self, row: &Row) {
        if !row.dead {
            self.lanes(hash(row), u64::wrapping_add);
        }
    }

    /// Takes a row out that was added; a tombstone changes nothing.
    pub fn remove(&mut self, row: &Row) {
        if !row.dead {
            self.lanes(hash(row), u64::wrapping_sub);
        }
    }

    fn lanes(&mut self, hash: Digest, apply: impl Fn(u64, u64) -> u64) {
        let (mine, theirs) = (self.0.as_chunks_mut::<8>().0, hash.as_bytes().as_chunks::<8>().0);
        for (lane, other) in mine.iter_mut().zip(theirs) {
            *lane = apply(u64::from_le_bytes(*lane), u64::from_le_bytes(*other)).to_le_bytes();
        }
    }
}

impl std::fmt::Display for RootDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Digest::from_bytes(self.0).fmt(f)
    }
}

fn hash(row: &Row) -> Digest {
    let mut out = Vec::with_capacity(256);
    out.push(1);
    out.extend_from_slice(row.id.as_bytes());
    out.extend_from_slice(row.place.parent.as_bytes());
    string(&mut out, row.place.name.as_bytes());
    match &row.value {
        Value::Directory => out.push(0),
        Value::File { content, size } => {
            out.push(1);
            out.extend_from_slice(content.as_bytes());
            out.extend_from_slice(&size.to_le_bytes());
        }
        Value::Link { target } => {
            out.push(2);
            string(&mut out, target);
        }
        Value::Unit { content, size } => {
            out.push(3);
            out.extend_from_slice(content.as_bytes());
            out.extend_from_slice(&size.to_le_bytes());
        }
    }
    out.extend_from_slice(&row.mode.to_le_bytes());
    out.extend_from_slice(&row.mtime.seconds.to_le_bytes());
    out.extend_from_slice(&row.mtime.nanos.to_le_bytes());
    // Rows have at most `limits::ATTRIBUTES` attributes, and every string is far below 4 GiB.
    out.extend_from_slice(&(row.attributes.len() as u32).to_le_bytes());
    for (key, value) in &row.attributes {
        string(&mut out, key);
        string(&mut out, value);
    }
    for time in [row.time, row.content_time, row.place_time, row.attributes_time] {
        out.extend_from_slice(&time.0.to_le_bytes());
    }
    Digest::of(&out)
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quics_types::{EntryId, LogicalTime, Mtime, Name, Place};

    use super::*;

    fn row(id: u8, value: Value) -> Row {
        Row {
            id: EntryId::from_bytes([id; 16]),
            place: Place { parent: EntryId::TOP, name: Name::new(vec![b'a', id]).unwrap() },
            value,
            mode: 0o644,
            mtime: Mtime { seconds: -5, nanos: 7 },
            attributes: Default::default(),
            dead: false,
            time: LogicalTime(3),
            content_time: LogicalTime(2),
            place_time: LogicalTime(1),
            attributes_time: LogicalTime(3),
        }
    }

    fn rows() -> Vec<Row> {
        let content = Digest::of(b"content");
        vec![
            row(1, Value::Directory),
            row(2, Value::File { content, size: 7 }),
            row(3, Value::Link { target: Bytes::from_static(b"../x") }),
            row(4, Value::Unit { content, size: 9 }),
        ]
    }

    #[test]
    fn the_order_of_the_rows_does_not_matter_and_removing_undoes_adding() {
        let (mut there, mut back) = (RootDigest::EMPTY, RootDigest::EMPTY);
        rows().iter().for_each(|row| there.add(row));
        rows().iter().rev().for_each(|row| back.add(row));
        assert_eq!(there, back);
        rows().iter().for_each(|row| back.remove(row));
        assert_eq!(back, RootDigest::EMPTY);
    }

    #[test]
    fn every_field_counts_and_tombstones_do_not() {
        let sum = |row: &Row| {
            let mut digest = RootDigest::EMPTY;
            digest.add(row);
            digest
        };
        let base = row(1, Value::Directory);
        let changed = [
            Row { id: EntryId::from_bytes([9; 16]), ..base.clone() },
            Row { place: row(2, Value::Directory).place, ..base.clone() },
            Row { value: Value::Link { target: Bytes::from_static(b"t") }, ..base.clone() },
            Row { mode: 0o600, ..base.clone() },
            Row { mtime: Mtime { seconds: -5, nanos: 8 }, ..base.clone() },
            Row { attributes: [(Bytes::from_static(b"k"), Bytes::new())].into(), ..base.clone() },
            Row { time: LogicalTime(4), ..base.clone() },
            Row { content_time: LogicalTime(1), ..base.clone() },
            Row { place_time: LogicalTime(2), ..base.clone() },
            Row { attributes_time: LogicalTime(1), ..base.clone() },
        ];
        for other in changed {
            assert_ne!(sum(&other), sum(&base), "{other:?}");
        }
        assert_eq!(sum(&Row { dead: true, ..base }), RootDigest::EMPTY);
    }

    #[test]
    fn the_digest_is_fixed_for_all_time() {
        let mut digest = RootDigest::EMPTY;
        rows().iter().for_each(|row| digest.add(row));
        assert_eq!(digest.to_string(), GOLDEN);
    }

    const GOLDEN: &str = "4c856ee3c19eb357d952abd4445fcd5a32023ed1d3fc07719a9fa5cc4b8381df";
}

//! Values that are longer than a row of the store may be.
//!
//! A value that fits is stored as `0` and its bytes. A longer one is stored as `1`, the number of further pieces (u16),
//! the first 8 bytes of the value's BLAKE3, and the first piece; piece i (from 0) stands under `~`, the key and i (u16), and
//! begins with the same 8 bytes. Those show a reader of durable rows that a commit came between two of its reads.

use bytes::{BufMut, Bytes, BytesMut};
use quics_meta::{Batch, MAX_ROW, MetaStore};

use crate::Error;

/// Bytes of a piece: with a key of up to 480 bytes it fits a row.
const PIECE: usize = 3600;
const CHECK: usize = 8;
const HEAD: usize = 3 + CHECK;
/// How often a reader tries again after a commit came between its reads.
const TRIES: usize = 64;

/// A value as it was read, and how many further pieces it has: what overwriting it has to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub bytes: Bytes,
    /// Further pieces.
    pub pieces: u16,
}

/// Reads either what is durable or what was submitted last.
#[derive(Clone, Copy)]
pub struct Reads<'a> {
    meta: &'a dyn MetaStore,
    latest: bool,
}

impl<'a> Reads<'a> {
    /// Reads what is durable: what anybody may be told.
    pub fn durable(meta: &'a dyn MetaStore) -> Self {
        Self { meta, latest: false }
    }

    /// Reads what was submitted, durable or not: what the next proposal is judged against.
    pub fn latest(meta: &'a dyn MetaStore) -> Self {
        Self { meta, latest: true }
    }

    /// Reads a row as it is.
    pub fn raw(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(if self.latest { self.meta.latest_get(key) } else { self.meta.get(key) }?)
    }

    /// Reads rows as they are, ascending.
    pub fn raw_range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        Ok(if self.latest { self.meta.latest_range(from, to, limit) } else { self.meta.range(from, to, limit) }?)
    }

    /// Reads rows as they are, descending from `to` (exclusive).
    pub fn raw_range_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let back = if self.latest {
            self.meta.latest_range_back(from, to, limit)
        } else {
            self.meta.range_back(from, to, limit)
        };
        Ok(back?)
    }

    /// Reads a value and joins its pieces.
    pub fn get(&self, key: &[u8]) -> Result<Option<Stored>, Error> {
        for _ in 0..TRIES {
            let Some(head) = self.raw(key)? else { return Ok(None) };
            if let Some(stored) = self.join(key, head)? {
                return Ok(Some(stored));
            }
        }
        Err(Error::damaged(key))
    }

    /// Reads values and joins their pieces; a value that is changed meanwhile may be newer than the others.
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Stored)>, Error> {
        let mut out = Vec::new();
        for (key, head) in self.raw_range(from, to, limit)? {
            let stored = match self.join(&key, head)? {
                Some(stored) => Some(stored),
                None => self.get(&key)?,
            };
            out.extend(stored.map(|stored| (key, stored)));
        }
        Ok(out)
    }

    /// Reads values descending from `to` (exclusive) and joins their pieces, as [`Reads::range`].
    pub fn range_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Bytes, Stored)>, Error> {
        let mut out = Vec::new();
        for (key, head) in self.raw_range_back(from, to, limit)? {
            let stored = match self.join(&key, head)? {
                Some(stored) => Some(stored),
                None => self.get(&key)?,
            };
            out.extend(stored.map(|stored| (key, stored)));
        }
        Ok(out)
    }

    /// Joins a value; `None` if its pieces are not those of its head.
    fn join(&self, key: &[u8], mut head: Bytes) -> Result<Option<Stored>, Error> {
        match head.first() {
            Some(0) => Ok(Some(Stored { bytes: head.split_off(1), pieces: 0 })),
            Some(1) if head.len() >= HEAD => {
                let pieces = u16::from_be_bytes([head[1], head[2]]);
                let check = head.slice(3..HEAD);
                let mut bytes = BytesMut::from(&head[HEAD..]);
                for index in 0..pieces {
                    let piece = self.raw(&piece_key(key, index))?;
                    match piece.as_deref().and_then(|piece| piece.split_at_checked(CHECK)) {
                        Some((of, piece)) if of == check => bytes.extend_from_slice(piece),
                        _ => return Ok(None),
                    }
                }
                Ok((check_of(&bytes) == *check).then(|| Stored { bytes: bytes.freeze(), pieces }))
            }
            _ => Err(Error::damaged(key)),
        }
    }
}

/// Sets a value that had `before` further pieces, and says how many it has now.
pub fn put(batch: &mut Batch, key: Bytes, value: &[u8], before: u16) -> u16 {
    if key.len() + 1 + value.len() <= MAX_ROW {
        let mut whole = BytesMut::with_capacity(1 + value.len());
        whole.put_u8(0);
        whole.put_slice(value);
        remove_pieces(batch, &key, 0, before);
        batch.put(key, whole.freeze());
        return 0;
    }
    let check = check_of(value);
    let mut pieces = value.chunks(PIECE);
    let first = pieces.next().unwrap_or_default();
    // A value of 2^16 pieces has 235 MB: the batch refuses it long before.
    let count = u16::try_from(pieces.len()).unwrap_or(u16::MAX);
    let mut head = BytesMut::with_capacity(HEAD + first.len());
    head.put_u8(1);
    head.put_u16(count);
    head.put_slice(&check);
    head.put_slice(first);
    for (index, piece) in pieces.enumerate() {
        let mut row = BytesMut::with_capacity(CHECK + piece.len());
        row.put_slice(&check);
        row.put_slice(piece);
        batch.put(piece_key(&key, index as u16), row.freeze());
    }
    remove_pieces(batch, &key, count, before);
    batch.put(key, head.freeze());
    count
}

/// Removes a value that has `pieces` further pieces.
pub fn delete(batch: &mut Batch, key: Bytes, pieces: u16) {
    remove_pieces(batch, &key, 0, pieces);
    batch.delete(key);
}

fn remove_pieces(batch: &mut Batch, key: &[u8], from: u16, to: u16) {
    for index in from..to {
        batch.delete(piece_key(key, index));
    }
}

fn piece_key(key: &[u8], index: u16) -> Bytes {
    let mut piece = BytesMut::with_capacity(key.len() + 3);
    piece.put_u8(b'~');
    piece.put_slice(key);
    piece.put_u16(index);
    piece.freeze()
}

fn check_of(value: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&quics_types::Digest::of(value).as_bytes()[..CHECK]);
    check
}

#[cfg(test)]
mod tests {
    use quics_meta::Memory;

    use super::*;

    fn commit(meta: &Memory, batch: Batch) {
        meta.submit(batch).unwrap();
        meta.sync().unwrap();
    }

    fn rows(meta: &Memory) -> usize {
        meta.range(b"\x01", &[], 4096).unwrap().len()
    }

    #[test]
    fn values_of_any_length_come_back_and_leave_no_piece_behind_when_they_shrink() {
        let meta = Memory::new(1);
        let key = Bytes::from_static(b"key");
        let mut before = 0;
        for length in [0, 10, 5000, 100_000, 4091, 4092, 9000, 1] {
            let value: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut batch = Batch::new();
            put(&mut batch, key.clone(), &value, before);
            commit(&meta, batch);
            let stored = Reads::durable(&meta).get(&key).unwrap().unwrap();
            assert_eq!(stored.bytes, value, "{length}");
            assert_eq!(rows(&meta), 1 + usize::from(stored.pieces), "{length}");
            assert_eq!(Reads::durable(&meta).range(b"a", b"z", 10).unwrap(), [(key.clone(), stored.clone())]);
            before = stored.pieces;
        }
        let mut batch = Batch::new();
        delete(&mut batch, key, before);
        commit(&meta, batch);
        assert_eq!(rows(&meta), 0);
    }

    #[test]
    fn a_lost_piece_is_damage_and_not_a_shorter_value() {
        let meta = Memory::new(1);
        let key = Bytes::from_static(b"key");
        let mut batch = Batch::new();
        put(&mut batch, key.clone(), &[7; 9000], 0);
        batch.delete(piece_key(&key, 1));
        commit(&meta, batch);
        assert!(matches!(Reads::durable(&meta).get(&key), Err(Error::Damaged { .. })));
    }
}

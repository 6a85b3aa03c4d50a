//! A batch: what one commit changes, what it requires, and the small contents that ride along.
//!
//! # Payload of a journal frame
//!
//! Integers are big-endian.
//!
//! ```text
//! kind u8 = 1 | reserved [u8; 3] = 0 | operations u32 | blobs u32
//! operation: tag u8 (0 delete, 1 put) | key length u16 | value length u16 | key | value
//! blob:      tag length u16 | reserved u16 = 0 | length u32 | check [u8; 16] | tag | bytes
//! ```
//!
//! A blob's check is the first 16 bytes of the BLAKE3 of its bytes; a [`BlobRef`] repeats it, so that a reference that
//! outlived its blob reads as damage or as gone, never as somebody else's content.

use std::fmt;

use bytes::{BufMut, Bytes};

use crate::error::{Error, hex};

/// The longest row, key and value together, in bytes. The index keeps longer ones in files that it does not sync.
pub const MAX_ROW: usize = 4095;
/// The most operations, and the most preconditions, of one batch.
pub const MAX_OPERATIONS: usize = 65_536;
/// The longest encoded batch in bytes, blobs included.
pub const MAX_BATCH: usize = 8 << 20;
/// The longest tag of a blob, in bytes.
pub const MAX_TAG: usize = 1024;

pub(crate) const PAYLOAD_HEAD: usize = 12;
const OPERATION_HEAD: usize = 5;
pub(crate) const BLOB_HEAD: usize = 24;
const KIND_BATCH: u8 = 1;

/// A key of the store: not empty, its first byte not 0, ordered byte by byte.
pub type Key = Bytes;

/// Says where the bytes of a blob are in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef {
    /// The journal segment.
    pub segment: u64,
    /// The first byte of the blob in that segment.
    pub offset: u32,
    /// The blob's length in bytes.
    pub len: u32,
    /// The first 16 bytes of the BLAKE3 of the blob.
    pub check: [u8; 16],
}

impl BlobRef {
    /// The length of an encoded reference.
    pub const LEN: usize = 32;

    /// Encodes the reference, big-endian, in the order of its fields.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..8].copy_from_slice(&self.segment.to_be_bytes());
        out[8..12].copy_from_slice(&self.offset.to_be_bytes());
        out[12..16].copy_from_slice(&self.len.to_be_bytes());
        out[16..].copy_from_slice(&self.check);
        out
    }

    /// Decodes what [`BlobRef::to_bytes`] made; `None` for any other length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let mut reader = Reader::new(bytes);
        Some(Self { segment: reader.u64()?, offset: reader.u32()?, len: reader.u32()?, check: reader.array()? })
    }

    /// Tells whether these are the bytes that the reference means.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.len as usize && check_of(bytes) == self.check
    }
}

impl fmt::Display for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}+{}#{}", self.segment, self.offset, self.len, hex(&self.check))
    }
}

/// Names a blob of a batch that has no place yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobSlot(u32);

impl BlobSlot {
    /// The blob's place among the blobs of its batch, and in `Receipt::blobs`.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A blob with its place and its owner's tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Where it is.
    pub at: BlobRef,
    /// What its owner wrote beside it, so that a mover knows whose it is.
    pub tag: Bytes,
    /// The bytes.
    pub bytes: Bytes,
}

#[derive(Debug, Clone)]
enum Value {
    Delete,
    Put(Bytes),
    Located(Bytes, BlobSlot),
}

/// What one commit changes, all of it or nothing.
///
/// The preconditions are judged against the state before the batch. Of several operations on one key the last counts.
/// A batch without operations is a barrier: its receipt resolves when all that was submitted before is durable.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    operations: Vec<(Key, Value)>,
    expectations: Vec<(Key, Option<Bytes>)>,
    blobs: Vec<(Bytes, Bytes, [u8; 16])>,
    payload: usize,
    oversize: Option<(&'static str, usize, usize)>,
}

impl Batch {
    /// Makes an empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a row. Key and value together are at most [`MAX_ROW`] bytes.
    pub fn put(&mut self, key: impl Into<Key>, value: impl Into<Bytes>) -> &mut Self {
        self.operation(key.into(), Value::Put(value.into()))
    }

    /// Sets a row whose value is `head` followed by the 32 bytes of the blob's [`BlobRef`].
    ///
    /// This is how a row comes to name a blob of its own batch, whose place is known only when it is submitted.
    pub fn put_located(&mut self, key: impl Into<Key>, head: impl Into<Bytes>, slot: BlobSlot) -> &mut Self {
        self.operation(key.into(), Value::Located(head.into(), slot))
    }

    /// Removes a row; one that is absent stays absent.
    pub fn delete(&mut self, key: impl Into<Key>) -> &mut Self {
        self.operation(key.into(), Value::Delete)
    }

    /// Requires that the row has this value before the batch, `None` for absent.
    pub fn expect(&mut self, key: impl Into<Key>, value: Option<Bytes>) -> &mut Self {
        self.expectations.push((key.into(), value));
        self
    }

    /// Requires that the row is absent before the batch.
    pub fn expect_absent(&mut self, key: impl Into<Key>) -> &mut Self {
        self.expect(key, None)
    }

    /// Lets a small content ride in the journal frame of the commit, without a tag.
    pub fn blob(&mut self, bytes: impl Into<Bytes>) -> BlobSlot {
        self.blob_tagged(Bytes::new(), bytes)
    }

    /// Lets a small content ride in the journal frame of the commit, with a tag of at most [`MAX_TAG`] bytes that says
    /// to whoever moves it out of the journal what it is.
    pub fn blob_tagged(&mut self, tag: impl Into<Bytes>, bytes: impl Into<Bytes>) -> BlobSlot {
        let (tag, bytes) = (tag.into(), bytes.into());
        if tag.len() > MAX_TAG {
            self.oversize.get_or_insert(("the tag of a blob", tag.len(), MAX_TAG));
        }
        self.payload = self.payload.saturating_add(BLOB_HEAD + tag.len() + bytes.len());
        let slot = BlobSlot(u32::try_from(self.blobs.len()).unwrap_or(u32::MAX));
        let check = check_of(&bytes);
        self.blobs.push((tag, bytes, check));
        slot
    }

    /// Counts the operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Tells whether the batch changes nothing and carries nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.blobs.is_empty()
    }

    /// Gives the bytes that the batch takes in the journal and, about, in memory while it is queued.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        PAYLOAD_HEAD + self.payload
    }

    pub(crate) fn expectations(&self) -> &[(Key, Option<Bytes>)] {
        &self.expectations
    }

    fn operation(&mut self, key: Key, value: Value) -> &mut Self {
        let len = match &value {
            Value::Delete => 0,
            Value::Put(value) => value.len(),
            Value::Located(head, _) => head.len() + BlobRef::LEN,
        };
        let row = key.len() + len;
        if row > MAX_ROW {
            self.oversize.get_or_insert(("a row", row, MAX_ROW));
        }
        self.payload = self.payload.saturating_add(OPERATION_HEAD + row);
        self.operations.push((key, value));
        self
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::ReservedKey`] or [`Error::NoSuchSlot`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some((what, size, limit)) = self.oversize {
            return Err(Error::TooLarge { what, size, limit });
        }
        for (what, size) in [
            ("the operations of a batch", self.operations.len()),
            ("the preconditions of a batch", self.expectations.len()),
            ("the blobs of a batch", self.blobs.len()),
        ] {
            if size > MAX_OPERATIONS {
                return Err(Error::TooLarge { what, size, limit: MAX_OPERATIONS });
            }
        }
        if self.encoded_len() > MAX_BATCH {
            return Err(Error::TooLarge { what: "a batch", size: self.encoded_len(), limit: MAX_BATCH });
        }
        for (key, value) in &self.operations {
            if key.first().is_none_or(|first| *first == 0) {
                return Err(Error::ReservedKey { key: key.clone() });
            }
            if let Value::Located(_, slot) = value
                && slot.index() >= self.blobs.len()
            {
                return Err(Error::NoSuchSlot { slot: slot.0 });
            }
        }
        Ok(())
    }

    /// Gives every blob its place: the payload begins at byte `payload` of the segment.
    pub(crate) fn locate(self, segment: u64, payload: u64) -> Located {
        let operations_len = |len: usize, (key, value): &(Key, Value)| {
            let value = match value {
                Value::Delete => 0,
                Value::Put(value) => value.len(),
                Value::Located(head, _) => head.len() + BlobRef::LEN,
            };
            len + OPERATION_HEAD + key.len() + value
        };
        let mut at = payload + self.operations.iter().fold(PAYLOAD_HEAD, operations_len) as u64;
        let mut blobs = Vec::with_capacity(self.blobs.len());
        for (tag, bytes, check) in self.blobs {
            at += (BLOB_HEAD + tag.len()) as u64;
            // Segments and batches are bounded far below 4 GiB (`Options::check`), so neither cast cuts.
            let place = BlobRef { segment, offset: at as u32, len: bytes.len() as u32, check };
            at += bytes.len() as u64;
            blobs.push(Blob { at: place, tag, bytes });
        }
        let operations = self
            .operations
            .into_iter()
            .map(|(key, value)| match value {
                Value::Delete => (key, None),
                Value::Put(value) => (key, Some(value)),
                Value::Located(head, slot) => {
                    let mut value = Vec::with_capacity(head.len() + BlobRef::LEN);
                    value.extend_from_slice(&head);
                    value.extend_from_slice(&blobs[slot.index()].at.to_bytes());
                    (key, Some(value.into()))
                }
            })
            .collect();
        Located { operations, blobs }
    }
}

/// A batch whose blobs have their places: what a frame's payload holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) operations: Vec<(Key, Option<Bytes>)>,
    pub(crate) blobs: Vec<Blob>,
}

impl Located {
    /// Appends the payload.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(KIND_BATCH);
        out.put_slice(&[0; 3]);
        // Both counts are at most MAX_OPERATIONS, every length at most MAX_BATCH (`Batch::check`).
        out.put_u32(self.operations.len() as u32);
        out.put_u32(self.blobs.len() as u32);
        for (key, value) in &self.operations {
            out.put_u8(u8::from(value.is_some()));
            out.put_u16(key.len() as u16);
            out.put_u16(value.as_ref().map_or(0, Bytes::len) as u16);
            out.put_slice(key);
            out.put_slice(value.as_deref().unwrap_or_default());
        }
        for blob in &self.blobs {
            out.put_u16(blob.tag.len() as u16);
            out.put_u16(0);
            out.put_u32(blob.bytes.len() as u32);
            out.put_slice(&blob.at.check);
            out.put_slice(&blob.tag);
            out.put_slice(&blob.bytes);
        }
    }

    /// Decodes a payload that begins at byte `offset` of `segment`; `None` where it is not one.
    pub(crate) fn decode(payload: &[u8], segment: u64, offset: u64) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let [kind, ..] = reader.array::<4>()?;
        if kind != KIND_BATCH {
            return None;
        }
        let (operations, blobs) = (reader.u32()? as usize, reader.u32()? as usize);
        if operations > MAX_OPERATIONS || blobs > MAX_OPERATIONS {
            return None;
        }
        let mut located = Located::default();
        for _ in 0..operations {
            let put = match reader.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            let (key, value) = (reader.u16()? as usize, reader.u16()? as usize);
            let key = Bytes::copy_from_slice(reader.take(key)?);
            let value = Bytes::copy_from_slice(reader.take(value)?);
            located.operations.push((key, put.then_some(value)));
        }
        for _ in 0..blobs {
            let tag = reader.u16()? as usize;
            reader.u16()?;
            let len = reader.u32()?;
            let check = reader.array()?;
            let tag = Bytes::copy_from_slice(reader.take(tag)?);
            let at = BlobRef { segment, offset: u32::try_from(offset + reader.at as u64).ok()?, len, check };
            let bytes = Bytes::copy_from_slice(reader.take(len as usize)?);
            located.blobs.push(Blob { at, tag, bytes });
        }
        reader.is_done().then_some(located)
    }
}

/// Gives the check of a blob.
pub(crate) fn check_of(bytes: &[u8]) -> [u8; 16] {
    let mut check = [0; 16];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    check
}

/// Reads big-endian fields; `None` where the bytes end too soon.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_these_bytes() {
        let at = BlobRef { segment: 0x0102, offset: 0x0304, len: 0x0506, check: *b"0123456789abcdef" };
        let mut expected = vec![0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4, 0, 0, 5, 6];
        expected.extend_from_slice(b"0123456789abcdef");
        assert_eq!(at.to_bytes()[..], expected);
        assert_eq!(BlobRef::from_bytes(&expected), Some(at));
        assert_eq!(BlobRef::from_bytes(&expected[1..]), None);
    }

    #[test]
    fn the_encoded_length_is_what_encoding_takes() {
        let mut batch = Batch::new();
        let slot = batch.blob_tagged("tag", vec![1; 77]);
        batch.put("key", "value").delete("other").put_located("at", "head", slot).expect_absent("not counted");
        batch.blob("");
        let expected = batch.encoded_len();
        let mut out = Vec::new();
        batch.locate(1, 128).encode(&mut out);
        assert_eq!(out.len(), expected);
    }

    #[test]
    fn blobs_lie_where_their_references_say() {
        let mut batch = Batch::new();
        batch.put("key", "value");
        batch.blob_tagged("tag", "first");
        batch.blob("second");
        let located = batch.locate(9, 1000);
        let mut out = vec![0; 1000];
        located.encode(&mut out);
        for (blob, expected) in located.blobs.iter().zip([&b"first"[..], b"second"]) {
            let from = blob.at.offset as usize;
            assert_eq!(&out[from..from + blob.at.len as usize], expected);
            assert!(blob.at.verifies(expected));
        }
    }
}

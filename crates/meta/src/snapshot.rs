//! Snapshots: the rows of the index in one file, behind which journal segments may be dropped. Exports have the same form.
//!
//! # File, `<from, 20 digits>.snapshot`
//!
//! Integers are big-endian.
//!
//! ```text
//! magic "QUICSSNP" | version u32 = 1 | flags u32 = 0 | from u64 | epochs u32 | per epoch: id u64, first seq u64
//! row:     tag 1 | key length u16 | value length u16 | key | value
//! removal: tag 2 | key length u16 | key                                   (exports only)
//! blob:    tag 3 | reference [u8; 32] | tag length u16 | tag | bytes      (exports only)
//! end:     tag 0 | records u64 | until u64 | hash [u8; 32] (BLAKE3 of all bytes before it)
//! ```
//!
//! A snapshot is written while commits go on: it holds every change up to `from`, and may hold some of those up to
//! `until`. Because operations are absolute, replaying the journal from `from + 1` to `until` or further makes it whole; a
//! journal that does not reach `until` is refused. An export has that tail of operations in it, as rows and removals, and
//! so is whole at `until`.

use std::io::{self, Read, Write};

use bytes::Bytes;

use crate::batch::{BLOB_HEAD, Blob, BlobRef, MAX_BATCH, MAX_ROW, Reader, check_of};
use crate::error::Error;
use crate::store::Epoch;

pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"QUICSSNP";
const END: u8 = 0;
const ROW: u8 = 1;
const REMOVAL: u8 = 2;
const BLOB: u8 = 3;

/// Names the file of a snapshot.
pub(crate) fn file_name(from: u64) -> String {
    format!("{from:020}.snapshot")
}

/// Reads from a file's name which snapshot it is.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".snapshot")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// What a snapshot says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// One record of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Row(Bytes, Option<Bytes>),
    Blob(Blob),
}

/// Writes a snapshot.
pub(crate) struct Writer<W> {
    out: W,
    hasher: blake3::Hasher,
    records: u64,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W, from: u64, epochs: &[Epoch]) -> io::Result<Self> {
        let mut writer = Self { out, hasher: blake3::Hasher::new(), records: 0, bytes: 0 };
        let mut head = Vec::with_capacity(28 + 16 * epochs.len());
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&VERSION.to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&from.to_be_bytes());
        // The chain is at most MAX_EPOCHS long.
        head.extend_from_slice(&(epochs.len() as u32).to_be_bytes());
        for epoch in epochs {
            head.extend_from_slice(&epoch.id.to_be_bytes());
            head.extend_from_slice(&epoch.first_seq.to_be_bytes());
        }
        writer.put(&head)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Writes a row, or the removal of one. Lengths are within a row's bound.
    pub(crate) fn row(&mut self, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        let mut record = Vec::with_capacity(5 + key.len() + value.map_or(0, <[u8]>::len));
        record.push(if value.is_some() { ROW } else { REMOVAL });
        record.extend_from_slice(&(key.len() as u16).to_be_bytes());
        if let Some(value) = value {
            record.extend_from_slice(&(value.len() as u16).to_be_bytes());
        }
        record.extend_from_slice(key);
        record.extend_from_slice(value.unwrap_or_default());
        self.records += 1;
        self.put(&record)
    }

    pub(crate) fn blob(&mut self, blob: &Blob) -> io::Result<()> {
        let mut record = Vec::with_capacity(BLOB_HEAD + BlobRef::LEN + blob.tag.len());
        record.push(BLOB);
        record.extend_from_slice(&blob.at.to_bytes());
        record.extend_from_slice(&(blob.tag.len() as u16).to_be_bytes());
        record.extend_from_slice(&blob.tag);
        self.records += 1;
        self.put(&record)?;
        self.put(&blob.bytes)
    }

    /// Ends the snapshot and gives its length in bytes.
    pub(crate) fn finish(mut self, until: u64) -> io::Result<u64> {
        let mut end = vec![END];
        end.extend_from_slice(&self.records.to_be_bytes());
        end.extend_from_slice(&until.to_be_bytes());
        self.put(&end)?;
        let hash = self.hasher.finalize();
        self.out.write_all(hash.as_bytes())?;
        self.out.flush()?;
        Ok(self.bytes + 32)
    }
}

struct Source<'a> {
    from: &'a mut dyn Read,
    file: &'a str,
    hasher: blake3::Hasher,
    at: u64,
}

impl Source<'_> {
    fn take(&mut self, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len];
        self.from.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.bad("the snapshot is cut short"),
            _ => Error::io("read", self.file)(error),
        })?;
        self.hasher.update(&bytes);
        self.at += len as u64;
        Ok(bytes)
    }

    fn bad(&self, reason: &'static str) -> Error {
        Error::damaged(self.file, self.at, reason)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        let bytes = self.take(8)?;
        Reader::new(&bytes).u64().ok_or_else(|| self.bad("the snapshot is cut short"))
    }

    fn u32(&mut self) -> Result<u32, Error> {
        let bytes = self.take(4)?;
        Reader::new(&bytes).u32().ok_or_else(|| self.bad("the snapshot is cut short"))
    }

    fn u16(&mut self) -> Result<u16, Error> {
        let bytes = self.take(2)?;
        Reader::new(&bytes).u16().ok_or_else(|| self.bad("the snapshot is cut short"))
    }
}

/// Reads a snapshot from its first to its last byte. Nothing that `visit` was given may be believed before this returns.
///
/// # Errors
/// [`Error::Damaged`], [`Error::Newer`], [`Error::Io`], and what `visit` gives.
pub(crate) fn read(
    from: &mut dyn Read,
    file: &str,
    mut visit: impl FnMut(Record) -> Result<(), Error>,
) -> Result<Summary, Error> {
    let mut source = Source { from, file, hasher: blake3::Hasher::new(), at: 0 };
    if source.take(8)? != MAGIC {
        return Err(Error::damaged(file, 0, "the snapshot has no magic"));
    }
    let (version, flags) = (source.u32()?, source.u32()?);
    if version != VERSION || flags != 0 {
        return Err(Error::Newer { file: file.to_owned(), version, known: VERSION });
    }
    let mut summary = Summary { from: source.u64()?, ..Summary::default() };
    let epochs = source.u32()? as usize;
    if epochs > crate::MAX_EPOCHS {
        return Err(source.bad("the snapshot has too many epochs"));
    }
    for _ in 0..epochs {
        summary.epochs.push(Epoch { id: source.u64()?, first_seq: source.u64()? });
    }
    loop {
        let record = match source.take(1)?[0] {
            END => break,
            tag @ (ROW | REMOVAL) => {
                let key = source.u16()? as usize;
                let value = if tag == ROW { Some(source.u16()? as usize) } else { None };
                if key == 0 || key + value.unwrap_or(0) > MAX_ROW {
                    return Err(source.bad("a row is empty or too long"));
                }
                let key = source.take(key)?.into();
                Record::Row(key, value.map(|len| source.take(len)).transpose()?.map(Bytes::from))
            }
            BLOB => {
                let at = source.take(BlobRef::LEN)?;
                let at = BlobRef::from_bytes(&at).ok_or_else(|| source.bad("a blob has no reference"))?;
                let tag = source.u16()? as usize;
                if at.len as usize > MAX_BATCH {
                    return Err(source.bad("a blob is too long"));
                }
                let tag = source.take(tag)?.into();
                let bytes = source.take(at.len as usize)?;
                if check_of(&bytes) != at.check {
                    return Err(source.bad("a blob does not match its check"));
                }
                Record::Blob(Blob { at, tag, bytes: bytes.into() })
            }
            _ => return Err(source.bad("a record has an unknown tag")),
        };
        summary.records += 1;
        visit(record)?;
    }
    if source.u64()? != summary.records {
        return Err(source.bad("the snapshot does not have the records that it counts"));
    }
    summary.until = source.u64()?;
    let hash = source.hasher.finalize();
    if source.take(32)? != hash.as_bytes() {
        return Err(source.bad("the snapshot does not match its hash"));
    }
    summary.bytes = source.at;
    if source.from.read(&mut [0]).map_err(Error::io("read", file))? != 0 {
        return Err(source.bad("the snapshot goes on behind its end"));
    }
    Ok(summary)
}

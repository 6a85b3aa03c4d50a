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

/// What a snapshot or an export says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Every change up to this seq is in it.
    pub from: u64,
    /// No change behind this seq is in it; an export holds all up to it.
    pub until: u64,
    /// The openings, oldest first.
    pub epochs: Vec<Epoch>,
    /// The number of records.
    pub records: u64,
    /// The length in bytes.
    pub bytes: u64,
}

/// One record of a snapshot or an export. A later record of a key replaces an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// A key's value; `None`, in exports only, removes it again.
    Row(Bytes, Option<Bytes>),
    /// A blob that was still in the journal; in exports only.
    Blob(Blob),
}

/// Reads an export from its first to its last byte and verifies it. Nothing that `visit` was given may be believed before
/// this returns.
///
/// # Errors
/// [`Error::Damaged`], [`Error::Newer`], [`Error::Io`], and what `visit` gives.
pub fn read_export(from: &mut dyn Read, visit: impl FnMut(Record) -> Result<(), Error>) -> Result<Summary, Error> {
    read(from, "the export", visit)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        let epochs = [Epoch { id: 7, first_seq: 1 }, Epoch { id: 9, first_seq: 5 }];
        let mut writer = Writer::new(&mut out, 6, &epochs).unwrap();
        writer.row(b"a", Some(b"1")).unwrap();
        writer.row(b"b", None).unwrap();
        let bytes = Bytes::from("blob");
        let at = BlobRef { segment: 2, offset: 99, len: 4, check: check_of(&bytes) };
        writer.blob(&Blob { at, tag: Bytes::from("t"), bytes }).unwrap();
        assert_eq!(writer.finish(8).unwrap(), out.len() as u64);
        out
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_snapshot_has_these_bytes() {
        assert_eq!(hex(&sample()), GOLDEN);
    }

    #[test]
    fn a_snapshot_reads_back_as_it_was_written() {
        let mut records = Vec::new();
        let bytes = sample();
        let summary = read(&mut &bytes[..], "s", |record| {
            records.push(record);
            Ok(())
        })
        .unwrap();
        assert_eq!((summary.from, summary.until, summary.records), (6, 8, 3));
        assert_eq!(summary.epochs, [Epoch { id: 7, first_seq: 1 }, Epoch { id: 9, first_seq: 5 }]);
        assert_eq!(records[0], Record::Row("a".into(), Some("1".into())));
        assert_eq!(records[1], Record::Row("b".into(), None));
        assert!(matches!(&records[2], Record::Blob(blob) if blob.bytes == "blob" && blob.tag == "t"));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let good = sample();
        for at in 0..good.len() {
            assert!(read(&mut &good[..at], "s", |_| Ok(())).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                assert!(read(&mut &bytes[..], "s", |_| Ok(())).is_err(), "byte {at}, bit {bit}");
            }
        }
        let longer = [&good[..], b"x"].concat();
        assert!(matches!(read(&mut &longer[..], "s", |_| Ok(())), Err(Error::Damaged { .. })));
    }

    const GOLDEN: &str = concat!(
        "5155494353534e5000000001000000000000000000000006000000020000000000000007000000000000000100000000",
        "0000000900000000000000050100010001613102000162030000000000000002000000630000000423f82a295328e116",
        "801fc5ebb9b84c3c000174626c6f6200000000000000000300000000000000087070411a86f75515bc767aef3be9f7c0",
        "445430fc4133b466bfe588a825407a51",
    );
}

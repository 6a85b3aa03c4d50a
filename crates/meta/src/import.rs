//! A store made out of an export: a backup that is put back, or a server that moves to another machine.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use crate::batch::{Batch, Blob, BlobSlot};
use crate::disk::{Disk, RealDisk};
use crate::error::Error;
use crate::files::{Appender, make_segment, place};
use crate::frame::Header;
use crate::journaled::Journaled;
use crate::options::Options;
use crate::receipt::Receipt;
use crate::recover::{NO_EPOCH, new_header};
use crate::snapshot::{self, Record, Summary, Writer};
use crate::store::MetaStore;

const EXPORT: &str = "the export";
/// Blobs that are on their way to the disk at a time.
const IN_FLIGHT: usize = 64;

impl Journaled {
    /// Makes a store out of an export in a directory without one, and opens it.
    ///
    /// It goes on where the export ends: with the same rows and the same chain of openings, and its first batch has the
    /// seq behind the export's last. So a cursor that was given before the export holds, and one that was given after it
    /// does not. Blobs get new places: `locate` is told of each that the export has, and puts the rows that name it now
    /// into the batch that writes it. Blobs of overwritten rows are among them: the caller knows which live.
    ///
    /// # Durability
    /// The store is whole and durable when this returns. Where it does not return, remove the directory and begin again:
    /// a process that was killed in between may have left a store that opens without all of the blobs.
    ///
    /// # Errors
    /// [`Error::NotEmpty`]; as [`crate::read_export`], and then nothing was made; as [`Journaled::open`].
    pub fn import<R: Read + Seek>(
        from: &mut R,
        dir: impl Into<PathBuf>,
        options: Options,
        locate: impl FnMut(&Blob, BlobSlot, &mut Batch),
    ) -> Result<Self, Error> {
        Self::import_on(from, Arc::new(RealDisk::lock(dir)?), options, locate)
    }

    /// The same on a disk of the caller's, which nobody else may use meanwhile.
    ///
    /// # Errors
    /// As [`Journaled::import`].
    pub fn import_on<R: Read + Seek>(
        from: &mut R,
        disk: Arc<dyn Disk>,
        options: Options,
        mut locate: impl FnMut(&Blob, BlobSlot, &mut Batch),
    ) -> Result<Self, Error> {
        let names = disk.list().map_err(Error::io("list", "the directory"))?;
        if let Some(file) = names.into_iter().find(|name| is_of_a_store(name)) {
            return Err(Error::NotEmpty { file });
        }
        let until = take_rows(&*disk, from)?;
        // The journal comes after the rows: without it nothing opens, and with it all rows are there.
        make_segment(&*disk, Header { epoch: NO_EPOCH, ..new_header(&*disk, 1, until + 1)? }, 0)?;
        let store = Self::open_on(disk, options)?;
        take_blobs(&store, from, &mut locate)?;
        Ok(store)
    }
}

fn is_of_a_store(name: &str) -> bool {
    crate::frame::parse_name(name).is_some() || snapshot::parse_name(name).is_some() || name == crate::recover::INDEX
}

/// Writes the rows as a snapshot that is whole at the export's last seq, which it returns, once the export has verified.
fn take_rows<R: Read + Seek>(disk: &dyn Disk, from: &mut R) -> Result<u64, Error> {
    // The snapshot's head says what the export's end does: it is read twice, and nothing is believed before.
    let head: Summary = snapshot::read(from, EXPORT, |_| Ok(()))?;
    rewind(from)?;
    let name = snapshot::file_name(head.until);
    place(disk, &name, 0, |file| {
        let wrote = || Error::io("write", &*name);
        let mut writer = Writer::new(Appender::new(file), head.until, &head.epochs).map_err(wrote())?;
        let again = snapshot::read(from, EXPORT, |record| match record {
            Record::Row(key, value) => writer.row(&key, value.as_deref()).map_err(wrote()),
            Record::Blob(_) => Ok(()),
        })?;
        if again != head {
            return Err(Error::damaged(EXPORT, 0, "it changed while it was read"));
        }
        writer.finish(head.until).map_err(wrote())
    })?;
    rewind(from)?;
    Ok(head.until)
}

/// Commits the blobs, each with the rows that name it.
fn take_blobs<R: Read + Seek>(
    store: &Journaled,
    from: &mut R,
    locate: &mut impl FnMut(&Blob, BlobSlot, &mut Batch),
) -> Result<(), Error> {
    let mut flying: std::collections::VecDeque<Receipt> = std::collections::VecDeque::new();
    snapshot::read(from, EXPORT, |record| {
        let Record::Blob(blob) = record else { return Ok(()) };
        let mut batch = Batch::new();
        let slot = batch.blob_tagged(blob.tag.clone(), blob.bytes.clone());
        locate(&blob, slot, &mut batch);
        loop {
            let submitted = store.submit(batch.clone());
            let full = matches!(submitted, Err(Error::Busy)) || flying.len() >= IN_FLIGHT;
            // Room comes with the oldest; with none under way the queue is empty.
            let oldest = if full { flying.pop_front() } else { None };
            let waited = oldest.map(Receipt::wait).transpose()?;
            match submitted {
                Ok(receipt) => {
                    flying.push_back(receipt);
                    return Ok(());
                }
                Err(Error::Busy) if waited.is_some() => {}
                Err(error) => return Err(error),
            }
        }
    })?;
    flying.into_iter().try_for_each(|receipt| receipt.wait().map(drop))
}

fn rewind(from: &mut impl Seek) -> Result<(), Error> {
    from.seek(SeekFrom::Start(0)).map(drop).map_err(Error::io("rewind", EXPORT))
}

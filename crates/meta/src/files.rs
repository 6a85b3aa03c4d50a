//! Small steps on a [`Disk`] that several modules take.

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::frame::{self, Header};

/// What a file is called until it is whole.
pub(crate) const TMP: &str = ".tmp";

/// Reads a whole file, which is bounded by the segment size or is small.
pub(crate) fn read_all(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, Error> {
    let file = disk.open(name).map_err(Error::io("open", name))?;
    let len = file.len().map_err(Error::io("stat", name))?;
    if len > u64::from(u32::MAX) {
        return Err(Error::damaged(name, 0, "the file is longer than any of its kind"));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(Error::io("read", name))?;
    Ok(bytes)
}

/// Makes a new file under its last name, whole and durable, or not at all; `fill` writes it.
pub(crate) fn place<T>(
    disk: &dyn Disk,
    name: &str,
    reserve: u64,
    fill: impl FnOnce(&dyn DiskFile) -> Result<T, Error>,
) -> Result<(Box<dyn DiskFile>, T), Error> {
    let tmp = format!("{name}{TMP}");
    let made = (|| {
        let file = disk.create(&tmp, reserve).map_err(Error::io("create", &*tmp))?;
        let filled = fill(&*file)?;
        file.sync().map_err(|error| Error::io("sync", &*tmp)(error).fatal())?;
        disk.rename(&tmp, name).map_err(Error::io("rename", &*tmp))?;
        disk.sync_dir().map_err(|error| Error::io("sync the directory of", name)(error).fatal())?;
        Ok((file, filled))
    })();
    if made.is_err()
        && let Err(error) = disk.remove(&tmp)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = %tmp, %error, "meta.tmp.left");
    }
    made
}

/// Makes a journal segment.
pub(crate) fn make_segment(disk: &dyn Disk, header: Header, reserve: u64) -> Result<Arc<dyn DiskFile>, Error> {
    let name = frame::file_name(header.segment);
    let (file, ()) = place(disk, &name, reserve, |file| {
        file.write_all_at(&header.to_bytes(), 0).map_err(Error::io("write", &*name))
    })?;
    Ok(file.into())
}

/// Reads a file from its beginning.
pub(crate) struct FileReader {
    file: Box<dyn DiskFile>,
    at: u64,
    len: u64,
}

impl FileReader {
    /// Opens a file for reading in large pieces.
    pub(crate) fn open(disk: &dyn Disk, name: &str) -> Result<io::BufReader<Self>, Error> {
        let file = disk.open(name).map_err(Error::io("open", name))?;
        let len = file.len().map_err(Error::io("stat", name))?;
        Ok(io::BufReader::with_capacity(1 << 18, Self { file, at: 0, len }))
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = (self.len - self.at).min(buffer.len() as u64) as usize;
        self.file.read_exact_at(&mut buffer[..len], self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// Appends to a file from its beginning.
pub(crate) struct Appender<'a> {
    file: &'a dyn DiskFile,
    at: u64,
}

impl<'a> Appender<'a> {
    /// Appends in large pieces.
    pub(crate) fn new(file: &'a dyn DiskFile) -> io::BufWriter<Self> {
        io::BufWriter::with_capacity(1 << 18, Self { file, at: 0 })
    }
}

impl Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

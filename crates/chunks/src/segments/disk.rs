//! The directory that a store lives in, as a small trait, so that tests can record and lose writes.
//!
//! This is the only module of the crate that names `std::fs` and the system's randomness.

use std::{
    fs::{self, File},
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, FlockOperation, fallocate, flock},
    io::{Errno, pwritev},
};

use crate::Error;

/// One flat directory of files.
pub(super) trait Disk: Send + Sync {
    /// The names of all files.
    fn list(&self) -> Result<Vec<String>, Error>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, Error>;
    /// Makes a new file, readable and writable by this user alone; one of that name must not exist.
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, Error>;
    /// Renames a file over another or none. Durable after [`Disk::sync`].
    fn rename(&self, from: &str, to: &str) -> Result<(), Error>;
    /// Removes a file. Durable after [`Disk::sync`].
    fn remove(&self, name: &str) -> Result<(), Error>;
    /// Makes creations, renames and removals durable.
    fn sync(&self) -> Result<(), Error>;
    /// 32 bytes that nobody can foresee.
    fn random(&self) -> Result<[u8; 32], Error>;
}

/// An open file.
pub(super) trait DiskFile: Send + Sync {
    /// Bytes of the file.
    fn len(&self) -> Result<u64, Error>;
    /// Reads until `out` is full or the file ends; returns how much was read.
    fn read(&self, out: &mut [u8], offset: u64) -> Result<usize, Error>;
    /// Writes all parts, one behind the other. Durable after [`DiskFile::sync`].
    fn write(&self, parts: &[&[u8]], offset: u64) -> Result<(), Error>;
    /// Cuts the file to `len` bytes, or lengthens it with zeros.
    fn set_len(&self, len: u64) -> Result<(), Error>;
    /// Lengthens the file to `len` bytes with zeros that have their room on the disk; a file system that cannot do so
    /// does nothing.
    fn allocate(&self, from: u64, len: u64) -> Result<(), Error>;
    /// Makes the file's bytes and length durable.
    fn sync(&self) -> Result<(), Error>;
}

/// A directory of the file system, locked against other processes.
pub(super) struct RealDisk {
    directory: PathBuf,
    handle: File,
    _lock: File,
}

impl RealDisk {
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let failed = |action| move |e| Error::io(action, directory, e);
        fs::create_dir_all(directory).map_err(failed("create"))?;
        let handle = File::open(directory).map_err(failed("open"))?;
        let path = directory.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| Error::io("open", &path, e))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { directory: directory.to_owned(), handle, _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(Error::Held(directory.to_owned())),
            Err(e) => Err(Error::io("lock", path, e.into())),
        }
    }
}

impl Disk for RealDisk {
    fn list(&self) -> Result<Vec<String>, Error> {
        let failed = |e| Error::io("list", &self.directory, e);
        let names = fs::read_dir(&self.directory).map_err(failed)?.map(|entry| {
            // Names that are not ours may be anything; ours are ASCII.
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(failed)
        });
        names.collect()
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, Error> {
        let path = self.directory.join(name);
        let file = File::options().read(true).write(true).open(&path);
        file.map_err(|e| Error::io("open", &path, e)).map(|file| Arc::new(RealFile { path, file }) as _)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, Error> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.directory.join(name);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
        file.map_err(|e| Error::io("create", &path, e)).map(|file| Arc::new(RealFile { path, file }) as _)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let path = self.directory.join(from);
        fs::rename(&path, self.directory.join(to)).map_err(|e| Error::io("rename", path, e))
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        fs::remove_file(&path).map_err(|e| Error::io("remove", path, e))
    }

    fn sync(&self) -> Result<(), Error> {
        self.handle.sync_all().map_err(|e| Error::io("sync", &self.directory, e))
    }

    fn random(&self) -> Result<[u8; 32], Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|e| Error::io("read", "the system's randomness", io::Error::other(e.to_string())))?;
        Ok(bytes)
    }
}

struct RealFile {
    path: PathBuf,
    file: File,
}

impl RealFile {
    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> Error {
        move |e| Error::io(action, &self.path, e)
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.file.metadata().map_err(self.failed("stat"))?.len())
    }

    fn read(&self, out: &mut [u8], offset: u64) -> Result<usize, Error> {
        let mut done = 0;
        while done < out.len() {
            match self.file.read_at(&mut out[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path, e)),
            }
        }
        Ok(done)
    }

    fn write(&self, parts: &[&[u8]], offset: u64) -> Result<(), Error> {
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let (mut rest, mut at) = (&mut slices[..], offset);
        while rest.iter().any(|slice| !slice.is_empty()) {
            match pwritev(&self.file, rest, at) {
                Ok(0) => return Err(Error::io("write", &self.path, io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    IoSlice::advance_slices(&mut rest, count);
                    at += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::io("write", &self.path, e.into())),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.file.set_len(len).map_err(self.failed("truncate"))
    }

    fn allocate(&self, from: u64, len: u64) -> Result<(), Error> {
        loop {
            return match fallocate(&self.file, FallocateFlags::empty(), from, len.saturating_sub(from)) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
                Err(Errno::INTR) => continue,
                Err(e) => Err(Error::io("allocate", &self.path, e.into())),
            };
        }
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(self.failed("sync"))
    }
}

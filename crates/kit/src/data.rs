//! A process's directory: who holds it, and how its small files are written.
//!
//! The directory has mode 0700 and a file `lock` ([`crate::lock`]), which the process that uses the directory holds as long
//! as it lives.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::lock::{self, Holder, Lock};

/// Says why a directory or one of its small files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process, or another handle of this one, uses the directory.
    #[error("{path} is in use by another process{}; stop it or choose another directory", pid_text(*.pid))]
    Held {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, where it said so.
        pid: Option<u32>,
    },
    /// A file or directory cannot be read, written or made.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried: `read`, `write`, `make`, ...
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is longer than such a file can be.
    #[error("{path} is longer than {limit} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The longest that is read, in bytes.
        limit: u64,
    },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

/// A data directory that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Lock,
}

impl DataDir {
    /// Makes the directory where it is missing (0700, parents included) and takes its lock.
    ///
    /// # Errors
    /// [`Error::Held`] if another process has it; [`Error::Io`] if it cannot be made, entered or locked.
    pub fn open(path: impl Into<PathBuf>) -> Result<DataDir, Error> {
        let path = path.into();
        make_private(&path)?;
        let path = path.canonicalize().map_err(failed("find", &path))?;
        let lock_path = lock_path(&path);
        match Lock::take(&lock_path).map_err(failed("lock", &lock_path))? {
            Ok(lock) => {
                remove_leftovers(&path)?;
                Ok(DataDir { path, _lock: lock })
            }
            Err(Holder { pid }) => Err(Error::Held { path, pid }),
        }
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path of a directory in it, made (0700) where it is missing.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made.
    pub fn dir(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        make_private(&path)?;
        Ok(path)
    }
}

/// Removes the temporary files of writes that were cut off by a crash; the lock says that nobody is writing.
fn remove_leftovers(path: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(path).map_err(failed("list", path))? {
        let entry = entry.map_err(failed("list", path))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(is_temporary) {
            fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Tells whether [`write_atomic`] makes temporary files of such names: `<name>.<12 digits>.tmp`.
fn is_temporary(name: &str) -> bool {
    let digits = name.strip_suffix(".tmp").and_then(|rest| rest.rsplit_once('.')).map(|(_, digits)| digits);
    digits.is_some_and(|digits| digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Makes a directory with mode 0700, parents included; one that is there gets that mode.
///
/// # Errors
/// [`Error::Io`] if that cannot be done.
pub fn make_private(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make the directory", path))?;
    let mode = fs::metadata(path).map_err(failed("look at", path))?.permissions().mode();
    if mode & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("protect", path))?;
    }
    Ok(())
}

/// Says who holds a data directory right now, if somebody does.
///
/// # Errors
/// [`Error::Io`] if that cannot be looked at.
pub fn holder(path: &Path) -> Result<Option<Holder>, Error> {
    let path = lock_path(path);
    lock::holder(&path).map_err(failed("look at", &path))
}

fn lock_path(directory: &Path) -> PathBuf {
    directory.join("lock")
}

/// Writes a small file so that it is there whole, as it was before or as it is now, whatever happens meanwhile.
///
/// `mode` is the file's permission bits. Two callers that write one path at a time do not mix: the last rename wins.
///
/// # Durability
/// On return file and directory entry are durable: temporary file, fsync, rename, fsync of the directory.
///
/// # Errors
/// [`Error::Io`]; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", data_encoding::HEXLOWER.encode(&crate::random::bytes::<6>())));
    let temporary = PathBuf::from(temporary);
    let written = write_and_rename(&temporary, path, bytes, mode);
    if written.is_err() {
        // What could not be put in place is of no use; that it stays is not the error to report.
        drop(fs::remove_file(&temporary));
    }
    written?;
    File::open(directory).and_then(|dir| dir.sync_all()).map_err(failed("sync", directory))
}

fn write_and_rename(temporary: &Path, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
        // The mode of `open` is narrowed by the umask.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(failed("write", temporary))?;
    fs::rename(temporary, path).map_err(failed("replace", path))
}

/// Reads a small file; `None` if there is none.
///
/// # Errors
/// [`Error::TooLong`] if it has more than `limit` bytes, [`Error::Io`] if it cannot be read.
pub fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLong { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

/// Removes a file durably; one that is not there is no error.
///
/// # Errors
/// [`Error::Io`] if it is there and stays.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("remove", path)(error)),
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|dir| dir.sync_all()).map_err(failed("sync", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_held_says_by_whom() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let held = DataDir::open(&path).unwrap();
        let refused = DataDir::open(&path).unwrap_err();
        assert!(matches!(&refused, Error::Held { pid: Some(pid), .. } if *pid == std::process::id()), "{refused}");
        assert!(refused.to_string().contains("in use by another process"));
        drop(held);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn what_a_crash_left_is_removed_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["ready.json.0123456789ab.tmp", "notes.tmp", "a.tmp.txt"] {
            fs::write(temp.path().join(name), b"x").unwrap();
        }
        let _data = DataDir::open(temp.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a.tmp.txt", "lock", "notes.tmp"]);
    }

    #[test]
    fn a_data_directory_is_private() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("wide");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let data = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(data.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(data.dir("sub").unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_small_file_is_replaced_whole_and_leaves_nothing_behind() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o640).unwrap();
        assert_eq!(read_small(&path, 3).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_old_one() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(matches!(write_atomic(&path, b"x", 0o600), Err(Error::Io { .. })));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "the temporary file is gone");
    }

    #[test]
    fn small_files_are_bounded_and_may_be_absent() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        assert!(read_small(&path, 9).unwrap().is_none());
        write_atomic(&path, b"0123456789", 0o600).unwrap();
        assert!(matches!(read_small(&path, 9), Err(Error::TooLong { limit: 9, .. })));
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}

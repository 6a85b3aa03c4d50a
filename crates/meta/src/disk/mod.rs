//! The file system as the store sees it: one flat directory, and a few facts about the host.
//!
//! Nothing else in this crate names `std::fs`, the boot id or a source of randomness, so that a test can stand in for all
//! of it, lose what was not synced and build the states that a power cut may leave (see [`SimDisk`]).

mod real;
mod sim;

use std::io;
use std::path::PathBuf;

pub use real::RealDisk;
pub use sim::SimDisk;

/// One flat directory of files.
///
/// # Durability
/// A file's bytes and length are durable after [`DiskFile::sync`]; which names there are, after [`Disk::sync_dir`].
pub trait Disk: Send + Sync + 'static {
    /// Makes a new file of length 0, or of `reserve` zero bytes where the file system can set room aside.
    ///
    /// # Errors
    /// `AlreadyExists`, `StorageFull`, or what the system says.
    fn create(&self, name: &str, reserve: u64) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Names everything in the directory, subdirectories too, in no order.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Renames a file or a subdirectory; a file in the way is replaced.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Removes a subdirectory (or a file) with all that is below it.
    ///
    /// # Errors
    /// What the system says.
    fn remove_tree(&self, name: &str) -> io::Result<()>;

    /// Makes the names of the directory durable.
    ///
    /// # Errors
    /// What the system says; it is not to be tried again.
    fn sync_dir(&self) -> io::Result<()>;

    /// Gives the path of a name for a library that opens files by itself; `None` where there is none.
    fn path_of(&self, name: &str) -> Option<PathBuf>;

    /// Names the running boot of the machine.
    ///
    /// # Errors
    /// What the system says.
    fn boot_id(&self) -> io::Result<String>;

    /// Gives 16 random bytes.
    ///
    /// # Errors
    /// What the system says.
    fn random(&self) -> io::Result<[u8; 16]>;
}

/// An open file.
#[allow(clippy::len_without_is_empty, reason = "a file that is asked for its length is not a collection")]
pub trait DiskFile: Send + Sync {
    /// Gives the length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Fills the buffer from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends first.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes at `offset`.
    ///
    /// # Errors
    /// What the system says; some of the bytes may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts or lengthens the file.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file's bytes and its length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the system says; it is not to be tried again, because the next answer may be a lie.
    fn sync(&self) -> io::Result<()>;
}

//! Why a folder cannot be added, opened or given up.

use std::{io, path::PathBuf};

use quics_types::RootId;
use thiserror::Error;

/// Why a folder cannot be added, opened or given up. What goes wrong with a single file is an [`io::Error`] of that
/// operation and not here.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The path leads to something else than a directory.
    #[error("{0} is not a directory")]
    NotADirectory(PathBuf),
    /// A file cannot be made in the directory.
    #[error("{path} cannot be written to: {source}")]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The directory lies inside a folder that is synced already.
    #[error("it lies inside {0}, which is synced already")]
    Inside(PathBuf),
    /// A directory that is synced already lies inside.
    #[error("{0} inside it is synced already")]
    Contains(PathBuf),
    /// The directory belongs to another root.
    #[error("{path} belongs to root {found} already")]
    OtherRoot {
        /// The directory.
        path: PathBuf,
        /// The root in its marker.
        found: RootId,
    },
    /// The directory has no marker: it was never added, or is not the one that was.
    #[error("{0} has no marker of a synced folder")]
    Unmarked(PathBuf),
    /// The marker is not readable as one.
    #[error("the marker of {path} is damaged: {reason}")]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The marker was written by a newer version of this program.
    #[error("{path} was set up by a newer version (format {found}; this program knows up to {known})")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format version.
        found: u8,
        /// The newest known one.
        known: u8,
    },
    /// Another process has the folder open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// The file system or kernel cannot do something that syncing without loss needs.
    #[error("{path}: {what}")]
    Unsupported {
        /// The directory.
        path: PathBuf,
        /// What is missing, for people.
        what: &'static str,
    },
    /// Files that belong to the user still lie in the folder's private directory.
    #[error("{0} files that were displaced or parked still wait in .quics")]
    NotEmpty(usize),
    /// A system call failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }
}

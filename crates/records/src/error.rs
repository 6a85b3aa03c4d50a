//! What can go wrong when records are read.

use thiserror::Error as ThisError;

/// Why a record could not be read.
///
/// Each service tells these in its own words: the list is complete, so that none is forgotten there.
#[derive(Debug, Clone, ThisError)]
pub enum Error {
    /// The store did not do its part.
    #[error("metadata: {0}")]
    Meta(#[from] quics_meta::Error),
    /// A stored record does not read.
    #[error("the stored record {key} is damaged")]
    Damaged {
        /// The record's key in hexadecimal.
        key: String,
    },
    /// A stored record was written by a newer version of this program.
    #[error("a stored record has format version {version}, newer than this program")]
    Newer {
        /// Its version.
        version: u8,
    },
}

impl Error {
    /// Says that the record under this key does not read.
    pub fn damaged(key: &[u8]) -> Self {
        Error::Damaged { key: key.iter().map(|byte| format!("{byte:02x}")).collect() }
    }
}

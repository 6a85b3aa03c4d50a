//! What can go wrong in this service.

use std::time::Duration;

use quics_kit::members;
use quics_kit::status::Domain;
use quics_meta::Error as MetaError;
use thiserror::Error as ThisError;
use tonic::Code;

/// Why the service did not do what was asked.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The metadata store did not do its part.
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
    /// A thread of the service has failed.
    #[error("a task of the service failed")]
    Task,
}

/// Why the process could not start or go on.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RunError {
    /// What all services need: directory, ports, identity, or a task that failed.
    #[error(transparent)]
    Host(#[from] quics_kit::service::Error),
    /// The port.
    #[error(transparent)]
    Quic(#[from] quics_quic::Error),
    /// The view of members.
    #[error(transparent)]
    Members(#[from] members::Error),
    /// The store.
    #[error(transparent)]
    Service(#[from] Error),
}

impl Error {
    pub(crate) fn damaged(key: &[u8]) -> Self {
        quics_records::Error::damaged(key).into()
    }
}

impl From<quics_records::Error> for Error {
    fn from(error: quics_records::Error) -> Self {
        match error {
            quics_records::Error::Meta(error) => Error::Meta(error),
            quics_records::Error::Damaged { key } => Error::Damaged { key },
            quics_records::Error::Newer { version } => Error::Newer { version },
        }
    }
}

impl Domain for Error {
    fn code(&self) -> Code {
        match self {
            Error::Meta(MetaError::Busy | MetaError::Closed) => Code::Unavailable,
            Error::Meta(MetaError::NoSpace) => Code::ResourceExhausted,
            Error::Meta(MetaError::Damaged { .. }) | Error::Damaged { .. } => Code::DataLoss,
            Error::Meta(_) | Error::Newer { .. } | Error::Task => Code::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Meta(MetaError::NoSpace) => Some(Duration::from_secs(30)),
            Error::Meta(MetaError::Busy) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

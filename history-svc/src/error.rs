//! What can go wrong in this service.

use std::time::Duration;

use quics_kit::status::Domain;
use quics_kit::{caller, members};
use quics_meta::Error as MetaError;
use quics_proto::Malformed;
use thiserror::Error as ThisError;
use tonic::Code;

/// Why the service did not do what was asked.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The metadata store did not do its part.
    #[error("metadata: {0}")]
    Meta(#[from] quics_meta::Error),
    /// A message has a field that cannot be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The caller's certificate does not allow the call.
    #[error(transparent)]
    Caller(#[from] caller::Error),
    /// The caller may not do this, in this root.
    #[error(transparent)]
    Denied(#[from] members::Denied),
    /// sync-svc cannot be reached.
    #[error("sync-svc is away")]
    SyncAway,
    /// The service is about to end.
    #[error("the service is shutting down")]
    Draining,
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

impl Domain for Error {
    fn code(&self) -> Code {
        match self {
            Error::Meta(MetaError::Busy | MetaError::Closed) => Code::Unavailable,
            Error::Meta(MetaError::NoSpace) => Code::ResourceExhausted,
            Error::Meta(MetaError::Damaged { .. }) => Code::DataLoss,
            Error::Malformed(_) => Code::InvalidArgument,
            Error::Caller(error) => error.code(),
            Error::Denied(error) => error.code(),
            Error::SyncAway | Error::Draining => Code::Unavailable,
            Error::Meta(_) | Error::Task => Code::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Meta(MetaError::NoSpace) => Some(Duration::from_secs(30)),
            Error::Meta(MetaError::Busy) | Error::Draining | Error::SyncAway => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

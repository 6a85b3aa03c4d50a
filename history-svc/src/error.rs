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
    /// A message has a field that cannot be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The caller's certificate does not allow the call.
    #[error(transparent)]
    Caller(#[from] caller::Error),
    /// The caller may not do this, in this root.
    #[error(transparent)]
    Denied(#[from] members::Denied),
    /// What is asked for cannot be.
    #[error("{0}")]
    Asked(&'static str),
    /// Nothing was there then, or ever.
    #[error("{0}")]
    Nothing(String),
    /// It was there, and its content cannot be had.
    #[error("{0}")]
    Gone(String),
    /// The policy was changed meanwhile.
    #[error("the policy has changed meanwhile; look at it again")]
    Changed,
    /// As many counts as may run at once are running.
    #[error("as much is counted already as may be at once")]
    Counting,
    /// A restore is asked for from a commit that is not known any more.
    #[error("what was shown is out of date; look at the preview again")]
    Outdated,
    /// A restore is about more entries than one can be.
    #[error("more entries have changed since than one restore can bring back; restore a part at a time")]
    TooMuch,
    /// A restore was begun and is on its way.
    #[error("this restore is being carried out; it will be finished by itself")]
    Unfinished,
    /// There is no such thing.
    #[error("{0} is not known")]
    NotFound(&'static str),
    /// The other side ended a stream before its proper end.
    #[error("the stream ended before its end")]
    Cut,
    /// A directory was asked for.
    #[error("it was no directory then")]
    NoDirectory,
    /// sync-svc cannot be reached.
    #[error("sync-svc is away")]
    SyncAway,
    /// share-svc is part of this installation and cannot be asked.
    #[error("share-svc cannot be asked what links show, so nothing is taken from history: {reason}")]
    ShareAway {
        /// What came of asking.
        reason: String,
    },
    /// sync-svc did not do its part.
    #[error("sync-svc: {message} ({code:?})")]
    Sync {
        /// What it ended the call with.
        code: Code,
        /// What it said.
        message: String,
    },
    /// sync-svc did not keep to the contract.
    #[error("sync-svc: {0}")]
    Relay(&'static str),
    /// Not everything that sync-svc has told is applied yet.
    #[error("history-svc is behind sync-svc")]
    Behind,
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

impl Error {
    pub(crate) fn damaged(key: &[u8]) -> Self {
        quics_records::Error::damaged(key).into()
    }

    /// Whether the store has failed for good, or holds what this program cannot read.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Error::Meta(MetaError::Fatal { .. } | MetaError::Closed) | Error::Damaged { .. } | Error::Newer { .. }
        )
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
            Error::Malformed(_) | Error::Asked(_) => Code::InvalidArgument,
            Error::Nothing(_) | Error::NotFound(_) => Code::NotFound,
            Error::Outdated | Error::Changed => Code::Aborted,
            Error::TooMuch | Error::Counting => Code::ResourceExhausted,
            Error::Unfinished => Code::Unavailable,
            Error::Cut => Code::Cancelled,
            Error::NoDirectory | Error::Gone(_) => Code::FailedPrecondition,
            Error::Caller(error) => error.code(),
            Error::Denied(error) => error.code(),
            Error::SyncAway | Error::ShareAway { .. } | Error::Behind | Error::Draining => Code::Unavailable,
            Error::Sync { code, .. } => *code,
            Error::Meta(_) | Error::Newer { .. } | Error::Relay(_) | Error::Task => Code::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Meta(MetaError::NoSpace) => Some(Duration::from_secs(30)),
            Error::Meta(MetaError::Busy) | Error::Draining | Error::Behind | Error::Counting => {
                Some(Duration::from_secs(1))
            }
            Error::SyncAway | Error::ShareAway { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

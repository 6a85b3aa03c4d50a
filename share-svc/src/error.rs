//! What can go wrong in this service.

use std::time::Duration;

use quics_kit::status::Domain;
use quics_kit::{caller, members, names, passwords};
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
    /// The caller may not call.
    #[error(transparent)]
    Caller(#[from] caller::Error),
    /// The caller may not do this in this root.
    #[error(transparent)]
    Denied(#[from] members::Denied),
    /// A message is malformed.
    #[error(transparent)]
    Malformed(#[from] quics_proto::Malformed),
    /// What is asked for cannot be.
    #[error("{0}")]
    Asked(String),
    /// A policy does not allow it.
    #[error("{0}")]
    Policy(String),
    /// The root's policy keeps this caller from making links.
    #[error("the policy of this root says that {0} may make links")]
    MayNotShare(&'static str),
    /// There is no such link, for this caller.
    #[error("no such link")]
    NoLink,
    /// Nothing is there that could be shared.
    #[error("nothing is there, or it is not uploaded yet")]
    Nothing,
    /// What is there cannot be shared.
    #[error("{0}")]
    Unfit(String),
    /// The id is another link's.
    #[error("this id is another link's")]
    Taken,
    /// The policy was changed meanwhile.
    #[error("the policy was changed meanwhile: look at it again")]
    Changed,
    /// More than fits.
    #[error("{0}")]
    TooMuch(&'static str),
    /// A password was not hashed or compared.
    #[error(transparent)]
    Password(#[from] passwords::Error),
    /// Another service is away.
    #[error("{0} is away")]
    Away(names::Service),
    /// Another service did not do its part.
    #[error("another service: {message} ({code:?})")]
    Sister {
        /// What it ended the call with.
        code: Code,
        /// What it said.
        message: String,
    },
    /// The other side ended a stream before its proper end.
    #[error("a stream ended before its end")]
    Cut,
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
    /// The certificate of the public side.
    #[error(transparent)]
    Certificate(#[from] crate::public::certificate::Error),
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
            Error::Caller(error) => error.code(),
            Error::Denied(error) => error.code(),
            Error::MayNotShare(_) => Code::PermissionDenied,
            Error::Malformed(_) | Error::Asked(_) | Error::Password(passwords::Error::TooLong) => Code::InvalidArgument,
            Error::NoLink | Error::Nothing => Code::NotFound,
            Error::Policy(_) | Error::Unfit(_) => Code::FailedPrecondition,
            Error::Taken => Code::AlreadyExists,
            Error::Changed => Code::Aborted,
            Error::TooMuch(_) => Code::ResourceExhausted,
            Error::Away(_) | Error::Cut | Error::Password(passwords::Error::Draining) => Code::Unavailable,
            Error::Sister { code, .. } => *code,
            Error::Meta(_) | Error::Newer { .. } | Error::Password(_) | Error::Task => Code::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Meta(MetaError::NoSpace) => Some(Duration::from_secs(30)),
            Error::Meta(MetaError::Busy) | Error::Away(_) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

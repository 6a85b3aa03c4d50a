//! What can go wrong in this service.

use std::time::Duration;

use quics_chunks::Error as ChunkError;
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
    /// The chunk store did not do its part, or what was sent is not a chunk.
    #[error(transparent)]
    Chunks(#[from] quics_chunks::Error),
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
    /// A message came where the contract has another one.
    #[error("{0}")]
    Protocol(&'static str),
    /// The bytes that came with a proposal are not the content that it names.
    #[error("the inline content is not what its content id and size say")]
    Inline,
    /// A proposal came from an incarnation that was not begun.
    #[error("an incarnation begins with resume")]
    ResumeFirst,
    /// A device does not record its verdicts.
    #[error("too many verdicts are not recorded yet")]
    TooManyUnrecorded,
    /// The caller's certificate does not allow the call.
    #[error(transparent)]
    Caller(#[from] caller::Error),
    /// The caller may not do this, in this root.
    #[error(transparent)]
    Denied(#[from] members::Denied),
    /// The device on whose behalf something is asked may not do it.
    #[error("the device may not change this root: {0}")]
    MayNot(members::Denied),
    /// There is no such thing.
    #[error("{0} is not known")]
    NotFound(&'static str),
    /// A change of settings was made from others than those that are there.
    #[error("the settings have changed meanwhile")]
    SettingsChanged,
    /// A brake was decided on otherwise.
    #[error("somebody has decided otherwise about this brake")]
    BrakeDecided,
    /// The disk has come to its reserve.
    #[error("the server's disk is full")]
    NoSpace,
    /// Chunks that were asked for have been lost to damage.
    #[error("{count} of the chunks are damaged")]
    ChunksLost {
        /// How many.
        count: usize,
    },
    /// A service that keeps references to contents cannot be asked.
    #[error("{holder}-svc cannot be asked which contents it still needs, so nothing was taken away: {reason}")]
    HolderAway {
        /// Which.
        holder: quics_kit::names::Service,
        /// Why.
        reason: String,
    },
    /// A page of a content of the root is lost, so that it is not known what is needed there.
    #[error(
        "the disk has lost a page of a content of this root, so that it is not known what is needed: verify the stores"
    )]
    RootTorn,
    /// Devices ask for what is to be taken away.
    #[error("devices ask for these contents just now; try again")]
    Wanted,
    /// A newer stream does what this one did.
    #[error("a newer stream has taken this one's place")]
    Replaced,
    /// The other side ended a stream before its proper end.
    #[error("the stream ended before its end")]
    Cut,
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
    /// The stores.
    #[error(transparent)]
    Service(#[from] Error),
}

impl Error {
    pub(crate) fn damaged(key: &[u8]) -> Self {
        quics_records::Error::damaged(key).into()
    }

    /// Whether the queue of commits was full: to be tried again when there is room.
    pub fn is_busy(&self) -> bool {
        matches!(self, Error::Meta(MetaError::Busy))
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
            Error::Meta(MetaError::NoSpace) | Error::NoSpace => Code::ResourceExhausted,
            Error::Meta(MetaError::Damaged { .. }) => Code::DataLoss,
            Error::Chunks(error) => chunk_code(error),
            Error::Damaged { .. } | Error::ChunksLost { .. } => Code::DataLoss,
            Error::Malformed(_) | Error::Protocol(_) | Error::Inline | Error::TooManyUnrecorded => {
                Code::InvalidArgument
            }
            Error::ResumeFirst | Error::MayNot(_) | Error::RootTorn => Code::FailedPrecondition,
            Error::Caller(error) => error.code(),
            Error::Denied(error) => error.code(),
            Error::NotFound(_) => Code::NotFound,
            Error::SettingsChanged | Error::BrakeDecided | Error::Replaced => Code::Aborted,
            // Only a caller who answers much at once can make one.
            Error::Meta(MetaError::TooLarge { .. }) => Code::InvalidArgument,
            Error::Cut => Code::Cancelled,
            Error::HolderAway { .. } | Error::Wanted | Error::Draining => Code::Unavailable,
            Error::Meta(_) | Error::Newer { .. } | Error::Task => Code::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::NoSpace | Error::Meta(MetaError::NoSpace) | Error::Chunks(ChunkError::NoSpace) => {
                Some(Duration::from_secs(30))
            }
            Error::Meta(MetaError::Busy) | Error::Draining => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

fn chunk_code(error: &ChunkError) -> Code {
    match error {
        ChunkError::Mismatch { .. }
        | ChunkError::Length { .. }
        | ChunkError::Unpack { .. }
        | ChunkError::Page { .. } => Code::InvalidArgument,
        ChunkError::Damaged { .. } => Code::DataLoss,
        ChunkError::NoSpace => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

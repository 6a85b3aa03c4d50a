//! What can go wrong at the other end.

use thiserror::Error;
use tonic::{Code, Status};

/// Why the other end did not do what was asked. Whoever decides on it lists every case.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// It cannot be reached, or went away; trying again makes sense when there is a connection.
    #[error("the server cannot be reached: {0}")]
    Offline(String),
    /// It will not, for this reason: no space, quota, no membership.
    #[error("the server refused: {0}")]
    Refused(String),
    /// It has not got what was asked for, or what it has is damaged.
    #[error("the server has not got all of it: {0}")]
    Absent(String),
    /// What came is not what was asked for.
    #[error("the server's answer is not possible: {0}")]
    Wrong(&'static str),
}

/// Decides what a status means for whoever moves contents.
impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let text = || format!("{} ({:?})", status.message(), status.code());
        match status.code() {
            Code::Ok => Failure::Wrong("an error that is none"),
            Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::Unauthenticated => Failure::Offline(text()),
            Code::NotFound | Code::OutOfRange | Code::DataLoss => Failure::Absent(text()),
            Code::InvalidArgument
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Unimplemented => Failure::Refused(text()),
        }
    }
}

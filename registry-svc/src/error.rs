//! What callers are refused for, and what goes wrong inside.

use std::time::Duration;

use quics_kit::status::Domain;
use quics_kit::{attempts, caller, data, identity, passwords, service};
use tonic::Code;

/// Says why registry-svc did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of a message is not what its comment asks for.
    #[error("{0}")]
    Malformed(&'static str),
    /// An id in a message is malformed.
    #[error("{0}")]
    Id(#[from] quics_types::Error),
    /// Ticket, password or service secret is wrong, used or expired: one answer for all.
    #[error("this ticket or password is wrong, used or expired")]
    Right,
    /// Too many attempts.
    #[error(transparent)]
    Limited(#[from] attempts::Limited),
    /// The caller may not call at all.
    #[error(transparent)]
    Caller(#[from] caller::Error),
    /// The caller's device is not known, was revoked, or has another key by now.
    #[error("this device is not known, was revoked, or has replaced this key")]
    Device,
    /// The caller's device was revoked and cannot be renewed.
    #[error("this device was revoked")]
    Revoked,
    /// The key of a request belongs to somebody else already.
    #[error("this key belongs to another device or was revoked; make a new key")]
    KeyTaken,
    /// No such device.
    #[error("no such device")]
    NoDevice,
    /// No such user.
    #[error("no such user")]
    NoUser,
    /// No user was named and there is not exactly one.
    #[error("there are several users; name one")]
    WhichUser,
    /// More than one thing has this name.
    #[error("more than one {0} has this name; use the id")]
    Ambiguous(&'static str),
    /// The name is taken.
    #[error("the name is taken")]
    NameTaken,
    /// The caller's user is no member of the root, or there is no such root.
    #[error("not a member of this root")]
    NotMember,
    /// No such root; for administrators only.
    #[error("no such root")]
    NoRoot,
    /// The root's password is wrong.
    #[error("the root's password is wrong")]
    RootPassword,
    /// A root needs an owner.
    #[error("a root cannot lose its last owner")]
    LastOwner,
    /// A bound of the installation is reached.
    #[error("there are too many {0}")]
    TooMany(&'static str),
    /// A call that changes something did not bring the admin token.
    #[error(transparent)]
    Admin(#[from] service::Denied),
    /// The service is shutting down.
    #[error("registry-svc is shutting down")]
    Draining,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] quics_meta::Error),
    /// A stored row is none of ours.
    #[error("a stored row is damaged: {0}")]
    Damaged(String),
    /// The data directory was written by a newer version.
    #[error("the data is of format {found}, and this program knows {known}; use a newer program")]
    Newer {
        /// What is stored.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// The CA failed.
    #[error("the certificate authority failed: {0}")]
    Authority(#[source] rcgen::Error),
    /// A password was not hashed or compared.
    #[error(transparent)]
    Password(#[from] passwords::Error),
    /// Key or certificate.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// A file of the data directory.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// The frame of the service.
    #[error(transparent)]
    Service(#[from] service::Error),
    /// A task was cut off.
    #[error("a task was cut off")]
    CutOff(#[from] tokio::task::JoinError),
}

/// What registry-svc's functions give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Domain for Error {
    fn code(&self) -> Code {
        match self {
            Error::Malformed(_) | Error::Id(_) | Error::Password(passwords::Error::TooLong) => Code::InvalidArgument,
            Error::Right | Error::Device | Error::RootPassword => Code::Unauthenticated,
            Error::Limited(_) | Error::TooMany(_) => Code::ResourceExhausted,
            Error::Caller(error) => error.code(),
            Error::Admin(error) => error.code(),
            Error::Revoked | Error::NotMember => Code::PermissionDenied,
            Error::KeyTaken | Error::NameTaken => Code::AlreadyExists,
            Error::NoDevice | Error::NoUser | Error::NoRoot => Code::NotFound,
            Error::WhichUser | Error::Ambiguous(_) | Error::LastOwner => Code::FailedPrecondition,
            Error::Draining
            | Error::Password(passwords::Error::Draining)
            | Error::Store(quics_meta::Error::NoSpace | quics_meta::Error::Closed) => Code::Unavailable,
            Error::Damaged(_) => Code::DataLoss,
            Error::Store(_)
            | Error::Newer { .. }
            | Error::Authority(_)
            | Error::Password(_)
            | Error::Identity(_)
            | Error::Data(_)
            | Error::Service(_)
            | Error::CutOff(_) => Code::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Limited(limited) => Some(limited.wait),
            _ => None,
        }
    }
}

//! What can go wrong with the agent, each in one sentence that says what to do.

use std::path::PathBuf;

use tonic::Status;

use crate::account;
use crate::text::{line, path};

/// Says why the agent cannot run, or cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] crate::home::Error),
    /// The account cannot be used, or the server refused.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// The state cannot be opened or kept.
    #[error("the agent's state in {} cannot be used: {source}", path(at))]
    State {
        /// The directory.
        at: PathBuf,
        /// Why.
        #[source]
        source: quics_meta::Error,
    },
    /// The local API's socket cannot be made.
    #[error("cannot listen on {}: {source}", path(at))]
    Socket {
        /// The socket.
        at: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The directory is not there.
    #[error("the directory {} does not exist: make it first, or give another", path(at))]
    Missing {
        /// The directory.
        at: PathBuf,
    },
    /// It is no directory.
    #[error("{} is not a directory: give the directory that is to be synced", path(at))]
    NotDirectory {
        /// The path.
        at: PathBuf,
    },
    /// The directory cannot be used.
    #[error("the directory {} cannot be synced: {}", path(at), line(reason))]
    Directory {
        /// The directory.
        at: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// One root may not lie in another.
    #[error(
        "{} lies inside {}, which is synced already: detach that one first (`quics detach`), or give a directory outside of it",
        path(inner),
        path(outer)
    )]
    Inside {
        /// The directory that was given.
        inner: PathBuf,
        /// The one that is synced.
        outer: PathBuf,
    },
    /// One root may not hold another.
    #[error(
        "{} holds {}, which is synced already: detach that one first (`quics detach`), or give a directory without it",
        path(outer),
        path(inner)
    )]
    Around {
        /// The directory that was given.
        outer: PathBuf,
        /// The one that is synced.
        inner: PathBuf,
    },
    /// The home may not be synced.
    #[error(
        "{} holds the home of quics, which cannot sync itself: give another directory, or move the home with --home",
        path(at)
    )]
    HoldsHome {
        /// The directory.
        at: PathBuf,
    },
    /// The name cannot be a root's.
    #[error("a root's name has 1 to 64 characters, no \"/\" and no control characters: give another with --name")]
    Name,
    /// Another root has the name.
    #[error(
        "there is a root \"{}\" already: give another name with --name, or attach that one with `quics clone`",
        line(name)
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// No such root.
    #[error("there is no root \"{}\" that you may see: `quics roots` lists them", line(name))]
    UnknownRoot {
        /// What was asked for.
        name: String,
    },
    /// Several roots have the name.
    #[error("several roots are named \"{}\": give the id instead, `quics roots --json` shows it", line(name))]
    Ambiguous {
        /// The name.
        name: String,
    },
    /// It is attached here.
    #[error("the root \"{}\" is synced here already, at {}", line(name), path(at))]
    Attached {
        /// The root's name.
        name: String,
        /// Where it is.
        at: PathBuf,
    },
    /// The root's password is wrong.
    #[error("the password of the root \"{}\" is wrong or missing: try again with --password", line(name))]
    RootPassword {
        /// The root's name.
        name: String,
    },
    /// The path is in no root.
    #[error("{} is not in a synced directory: `quics roots` lists them", path(at))]
    NoRoot {
        /// The path.
        at: PathBuf,
    },
    /// The root does not run.
    #[error("the root \"{}\" does not run: {}", line(name), line(reason))]
    Stopped {
        /// The root's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Something is off with the system.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl From<Error> for Status {
    /// The local API's form: the sentence, and a code that says whether the server was reached.
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Account(inner) if inner.is_unreachable() => Status::unavailable(text),
            Error::NoRoot { .. } | Error::UnknownRoot { .. } | Error::Missing { .. } => Status::not_found(text),
            Error::NameTaken { .. } | Error::Attached { .. } => Status::already_exists(text),
            Error::RootPassword { .. } => Status::unauthenticated(text),
            Error::Name | Error::NotDirectory { .. } => Status::invalid_argument(text),
            Error::State { .. } | Error::System { .. } | Error::Home(_) | Error::Socket { .. } => {
                Status::internal(text)
            }
            _ => Status::failed_precondition(text),
        }
    }
}

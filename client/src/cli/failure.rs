//! How a command ends.

use std::num::ParseIntError;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use tonic::{Code, Status};

use crate::{account, agent, home};

/// Done.
pub(super) const DONE: u8 = 0;
/// Failed.
pub(super) const FAILED: u8 = 1;
/// Wrong use of the command line.
pub(super) const USAGE: u8 = 2;
/// Something waits for a person.
pub(super) const WAITING: u8 = 3;
/// The server cannot be reached.
pub(super) const UNREACHABLE: u8 = 4;

/// Why a command ended without its result: one sentence and an exit code.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    /// Empty: nobody reads any more.
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { code: FAILED, text: text.into() }
    }

    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self { code: USAGE, text: text.into() }
    }

    pub(super) fn print(&self) {
        if !self.text.is_empty() {
            eprintln!("quics: {}", self.text);
        }
    }
}

/// What is wrong with a value on the command line, where that is all that is wrong.
pub(super) fn of_value(error: &clap::Error) -> Option<Failure> {
    let told = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    };
    let (ErrorKind::ValueValidation, Some(reason)) = (error.kind(), std::error::Error::source(error)) else {
        return None;
    };
    let argument = told(ContextKind::InvalidArg)?.split(' ').next()?;
    let value = crate::text::line(told(ContextKind::InvalidValue)?);
    // What numbers say of themselves does not name them.
    Some(Failure::usage(if reason.is::<ParseIntError>() {
        format!("{argument}: \"{value}\" cannot be: {reason}")
    } else {
        format!("{argument}: {reason}")
    }))
}

impl From<home::Error> for Failure {
    fn from(error: home::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<account::Error> for Failure {
    fn from(error: account::Error) -> Self {
        let code = if error.is_unreachable() { UNREACHABLE } else { FAILED };
        Self { code, text: error.to_string() }
    }
}

impl From<agent::Error> for Failure {
    fn from(error: agent::Error) -> Self {
        Status::from(error).into()
    }
}

impl From<Status> for Failure {
    /// What the agent said: its message is the sentence.
    fn from(status: Status) -> Self {
        // The connection to the agent itself broke: no sentence of the agent came.
        if std::error::Error::source(&status).is_some_and(|source| source.is::<tonic::transport::Error>()) {
            return Self::new(
                "the agent has gone away: look with `quics status`, or start it with `quics agent start`",
            );
        }
        let code = if status.code() == Code::Unavailable { UNREACHABLE } else { FAILED };
        let text = match status.message() {
            "" => format!("the agent failed ({:?})", status.code()),
            text => crate::text::line(text),
        };
        Self { code, text }
    }
}

impl From<std::io::Error> for Failure {
    /// Of writing to stdout: who does not read on has what it wants.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { code: DONE, text: String::new() };
        }
        Self::new(format!("cannot write the result: {error}"))
    }
}

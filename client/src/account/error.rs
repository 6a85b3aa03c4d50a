//! What can go wrong with an account, each in one sentence that says what to do.

use std::path::PathBuf;

use quics_kit::enrol::{self, Right};
use quics_kit::ticket::Fingerprint;
use tonic::{Code, Status};

use crate::text::{line, path};

/// Says why joining, renewing or leaving failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] crate::home::Error),
    /// Key or certificates cannot be used.
    #[error("the device's identity cannot be used: {0}")]
    Identity(#[from] quics_kit::identity::Error),
    /// The text is no ticket.
    #[error("{0}; a new one is made by `quics ticket` on a device of yours or by `quics-stack ticket` on the server")]
    Ticket(#[from] quics_kit::ticket::Error),
    /// The text is no address.
    #[error("\"{}\" is neither a ticket nor an address: give a ticket, or HOST:PORT with --password", line(text))]
    Address {
        /// What was given.
        text: String,
    },
    /// The device's name cannot be one.
    #[error("a device's name has 1 to 64 characters and no control characters: give another with --name")]
    DeviceName,
    /// This home has an account.
    #[error(
        "this home is joined already, as \"{}\" at {}: use --home for another, or `quics leave` first",
        line(device),
        line(server)
    )]
    AlreadyJoined {
        /// The device's name.
        device: String,
        /// The server's address.
        server: String,
    },
    /// This home has no account.
    #[error("the home {} has not joined a server: run `quics join TICKET` first", path(home))]
    NotJoined {
        /// The home.
        home: PathBuf,
    },
    /// Settings name an account whose key is not there.
    #[error(
        "the home {} has an account but no key: restore its identity directory, or move the home away and join again",
        path(home)
    )]
    NoIdentity {
        /// The home.
        home: PathBuf,
    },
    /// The server does not answer.
    #[error(
        "cannot reach the server at {}: check the address, that the server runs, and that its port is open to UDP or TCP ({})",
        line(address),
        line(reason)
    )]
    Unreachable {
        /// The address.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// By this computer's clock the server's certificate is not valid.
    #[error("by this computer's clock ({}) the certificate of the server at {} is {}: set the clock right, here or there", now(), line(address), if *early { "not valid yet" } else { "out of date" })]
    Clock {
        /// The address.
        address: String,
        /// Not yet valid, rather than expired.
        early: bool,
    },
    /// Another server than the one that was meant.
    #[error(
        "the server at {} is not the one that you were invited to: its fingerprint is {found}, and {expected} was expected; do not go on, ask its owner",
        line(address)
    )]
    Fingerprint {
        /// The address.
        address: String,
        /// The fingerprint that was given.
        expected: Fingerprint,
        /// The one that was shown.
        found: Fingerprint,
    },
    /// The ticket does not let in.
    #[error(
        "the server does not take this ticket: it was used or has expired; a new one is made by `quics ticket` on a device of yours or by `quics-stack ticket` on the server"
    )]
    TicketRefused,
    /// User or password are wrong.
    #[error("the server does not know this user with this password: check both and try again")]
    PasswordRefused,
    /// Too many attempts.
    #[error("the server has seen too many attempts: wait {seconds} s and try again")]
    TooMany {
        /// How long to wait.
        seconds: u64,
    },
    /// This device was revoked.
    #[error("this device was revoked: run `quics leave --force` and join again with a new ticket")]
    Revoked,
    /// The server refused for another reason.
    #[error("the server at {} refused: {}", line(address), line(reason))]
    Refused {
        /// The address.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The server's answer makes no sense.
    #[error(
        "the server at {} gave an answer that this quics does not understand: update the older of the two",
        line(server)
    )]
    Malformed {
        /// The address.
        server: String,
    },
}

impl Error {
    /// What a failed connect means.
    pub(super) fn of_connect(address: &str, status: &Status) -> Self {
        let (address, text) = (address.to_owned(), status.message().to_ascii_lowercase());
        if text.contains("not valid yet") || text.contains("notvalidyet") {
            Error::Clock { address, early: true }
        } else if text.contains("expired") && text.contains("certificate") {
            Error::Clock { address, early: false }
        } else {
            Error::Unreachable { address, reason: status.message().to_owned() }
        }
    }

    /// What a failed enrolment means.
    pub(super) fn of_enrol(address: &str, error: enrol::Error, right: Option<&Right>) -> Self {
        match error {
            enrol::Error::Unreachable { status, .. } => Error::of_connect(address, &status),
            enrol::Error::Fingerprint { address, expected, found } => Error::Fingerprint { address, expected, found },
            enrol::Error::Refused(status) if status.code() == Code::Unauthenticated => match right {
                Some(Right::Ticket(_)) => Error::TicketRefused,
                _ => Error::PasswordRefused,
            },
            enrol::Error::Limited { wait } => Error::TooMany { seconds: wait.as_secs().max(1) },
            enrol::Error::Revoked => Error::Revoked,
            enrol::Error::Refused(status) | enrol::Error::Failed(status) => Error::of_call(address, &status),
            enrol::Error::Identity(error) => Error::Identity(error),
            other => Error::Refused { address: address.to_owned(), reason: other.to_string() },
        }
    }

    /// What a failed call means.
    pub fn of_call(address: &str, status: &Status) -> Self {
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => Error::of_connect(address, status),
            Code::Unauthenticated if status.message().contains("revoked") => Error::Revoked,
            _ => Error::Refused { address: address.to_owned(), reason: status.message().to_owned() },
        }
    }

    /// Whether trying again, or at another address, can only end the same way.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Error::Unreachable { .. } | Error::Clock { .. })
    }

    /// Whether the server could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Error::Unreachable { .. })
    }
}

fn now() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_out_of_its_time_is_a_matter_of_the_clock() {
        for (text, early) in [
            (
                "cannot connect: the cryptographic handshake failed: error 45: invalid peer certificate: certificate expired: verification time 9 (UNIX)",
                false,
            ),
            ("cannot connect: invalid peer certificate: certificate not valid yet: verification time 1 (UNIX)", true),
            ("cannot connect: invalid peer certificate: NotValidYet", true),
        ] {
            let error = Error::of_connect("srv:6121", &Status::unavailable(text));
            assert!(matches!(error, Error::Clock { early: found, .. } if found == early), "{text}: {error}");
            assert!(error.to_string().contains("clock"));
        }
        let error = Error::of_connect("srv:6121", &Status::unavailable("cannot connect: timed out"));
        assert!(error.is_unreachable(), "{error}");
    }

    #[test]
    fn a_refused_right_says_which_one() {
        let refused = || enrol::Error::Refused(Box::new(Status::unauthenticated("no")));
        let ticket = Right::Ticket(quics_kit::secret::Secret::draw());
        assert!(matches!(Error::of_enrol("s:1", refused(), Some(&ticket)), Error::TicketRefused));
        let password = Right::Password { user: "ann".into(), password: quics_kit::secret::Secret::draw() };
        assert!(matches!(Error::of_enrol("s:1", refused(), Some(&password)), Error::PasswordRefused));
    }
}

//! How a device or service becomes known to registry-svc, and stays so.
//!
//! The first contact trusts nothing but a fingerprint that came by another way (a ticket, a person who compares): the
//! server has to show a CA with that fingerprint and a certificate that it signed, in the handshake, before the request
//! with the secret is sent. From then on the certificates that came with the answer are trusted.

mod renewal;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quics_proto::registry::v1 as registry;
use quics_proto::registry::v1::registry_service_client::RegistryServiceClient;
use quics_quic::{Channel, ChannelConfig, Tls};
use quics_types::{DeviceId, UserId};
use rustls_pki_types::CertificateDer;
use tonic::{Code, Status};

pub use renewal::{Renewal, renew};

use crate::identity::{self, Identity, Key};
use crate::names::{Service, Subject};
use crate::secret::Secret;
use crate::status::retry_after;
use crate::ticket::{Fingerprint, Ticket};

/// How long one call of enrolment or renewal may take, connecting included.
const CALL: Duration = Duration::from_secs(20);

/// Says why nothing came of an enrolment or renewal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No address answered.
    #[error("cannot reach the server{}: {}; check that it runs and that its address is right", at(addresses), status.message())]
    Unreachable {
        /// What was tried; nothing where a channel was used that knows.
        addresses: Vec<String>,
        /// What the last attempt ended with.
        status: Box<Status>,
    },
    /// Somebody else answers at the server's address. Nothing secret was sent.
    #[error("{address} is not the server that is expected: it shows the fingerprint {found} instead of {expected}")]
    Fingerprint {
        /// Who was asked.
        address: String,
        /// What the ticket or the person says.
        expected: Fingerprint,
        /// What the server showed.
        found: Fingerprint,
    },
    /// Ticket, password or service secret is wrong, used or expired.
    #[error("the server refuses: {}", .0.message())]
    Refused(Box<Status>),
    /// Too many attempts.
    #[error("too many attempts; wait {} seconds", wait.as_secs().max(1))]
    Limited {
        /// How long to wait.
        wait: Duration,
    },
    /// This device was revoked; only a new enrolment with a new key helps.
    #[error("this device was revoked; enrol it anew with a new ticket")]
    Revoked,
    /// The server could not do it.
    #[error("the server failed: {} ({:?})", .0.message(), .0.code())]
    Failed(Box<Status>),
    /// The answer cannot be used.
    #[error("the server's answer cannot be used: {0}")]
    Answer(&'static str),
    /// Key or certificate cannot be used or stored.
    #[error(transparent)]
    Identity(#[from] identity::Error),
}

/// Says by what right somebody asks to be enrolled.
#[derive(Debug, Clone)]
pub enum Right {
    /// A ticket's secret.
    Ticket(Secret),
    /// A user's server password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// The service secret.
    Service(Secret),
}

/// Where the server is and how it is known at first contact.
#[derive(Debug, Clone)]
pub struct FirstContact {
    /// `host:port` of registry-svc; tried in this order.
    pub addresses: Vec<String>,
    /// The CA that it has to show.
    pub fingerprint: Fingerprint,
}

impl From<&Ticket> for FirstContact {
    fn from(ticket: &Ticket) -> Self {
        Self { addresses: ticket.addresses.clone(), fingerprint: ticket.fingerprint }
    }
}

/// Somebody who has just become known.
#[derive(Debug)]
pub struct Enrolled {
    /// What it can show from now on; not stored yet.
    pub identity: Identity,
    /// The address that answered.
    pub address: String,
    /// For a device: itself, its user and the user's name.
    pub device: Option<(DeviceId, UserId, String)>,
    /// Where the services are.
    pub services: registry::Services,
}

/// Enrols `key` under `name` by `right`.
///
/// It may be repeated with the same key: within a ticket's life the server answers as it did the first time. Store the
/// key before ([`identity::pending_key`]) and the identity after ([`Identity::store`]).
///
/// # Errors
/// Every variant but [`Error::Revoked`] says what stopped it; nothing is enrolled unless the server had answered.
///
/// # Cancel safety
/// The server may have enrolled the key; repeat.
pub async fn enrol(first: &FirstContact, key: Key, name: &str, right: &Right) -> Result<Enrolled, Error> {
    let request = registry::EnrolRequest {
        version: Some(quics_proto::version(concat!("quics ", env!("CARGO_PKG_VERSION")))),
        certificate_request: key.request()?.into(),
        name: name.to_owned(),
        right: Some(to_proto(right)),
    };
    let (address, answer) = ask(first, request).await?;
    let credentials = answer.credentials.ok_or(Error::Answer("it holds no certificate"))?;
    let (chain, trust) = certificates(credentials);
    if !trust.iter().any(|ca| Fingerprint::of(ca) == first.fingerprint) {
        return Err(Error::Answer("the CA that was checked is not among those to trust"));
    }
    let identity = Identity::new(key, chain, trust)?;
    let device = match (identity.subject(), right) {
        (Subject::Device(device), Right::Ticket(_) | Right::Password { .. }) => {
            let user = UserId::from_slice(&answer.user_id).map_err(|_| Error::Answer("the user's id is malformed"))?;
            Some((device, user, answer.user_name))
        }
        (Subject::Service(service), Right::Service(_)) if service.as_str() == name => None,
        _ => return Err(Error::Answer("the certificate is for somebody else")),
    };
    Ok(Enrolled { identity, address, device, services: answer.services.unwrap_or_default() })
}

/// Asks a server for the fingerprint of its CA, for a person to compare; nothing is trusted and nothing is sent.
///
/// # Errors
/// [`Error::Unreachable`] if nobody answers, [`Error::Answer`] if who answers shows no CA.
pub async fn fingerprint(address: &str) -> Result<Fingerprint, Error> {
    let seen = Seen::default();
    let note = seen.clone();
    let tls = Tls::pinned(move |ca| {
        *note.lock() = Some(Fingerprint::of(ca));
        false
    });
    let channel = Channel::new(ChannelConfig::new(address, Service::Registry.server_name(), tls));
    let connected = tokio::time::timeout(CALL, channel.connect()).await;
    channel.close();
    let found = *seen.lock();
    match (found, connected) {
        (Some(found), _) => Ok(found),
        (None, Ok(Err(status))) => Err(unreachable(&[address.to_owned()], status)),
        (None, Err(_)) => Err(unreachable(&[address.to_owned()], Status::deadline_exceeded("no answer in time"))),
        (None, Ok(Ok(_))) => Err(Error::Answer("it shows no CA")),
    }
}

type Seen = Arc<Mutex<Option<Fingerprint>>>;

async fn ask(
    first: &FirstContact,
    request: registry::EnrolRequest,
) -> Result<(String, registry::EnrolResponse), Error> {
    let mut last = Status::unavailable("no address is known");
    let mut stranger = None;
    for address in &first.addresses {
        // Written only while no accepted CA was seen: what is there at the end belongs to somebody else.
        let seen = Seen::default();
        let note = seen.clone();
        let expected = first.fingerprint;
        let tls = Tls::pinned(move |ca| {
            let found = Fingerprint::of(ca);
            *note.lock() = (found != expected).then_some(found);
            found == expected
        });
        let channel = Channel::new(ChannelConfig::new(address.as_str(), Service::Registry.server_name(), tls));
        let mut message = tonic::Request::new(request.clone());
        message.set_timeout(CALL);
        let answer = RegistryServiceClient::new(channel.clone()).enrol(message).await;
        channel.close();
        match answer {
            Ok(answer) => return Ok((address.clone(), answer.into_inner())),
            Err(status) => match *seen.lock() {
                // In another network an address may be somebody else's; the next one may still be the right one.
                Some(found) => stranger = Some(Error::Fingerprint { address: address.clone(), expected, found }),
                None if is_unreachable(&status) => last = status,
                None => return Err(refusal(status)),
            },
        }
    }
    Err(stranger.unwrap_or_else(|| unreachable(&first.addresses, last)))
}

fn is_unreachable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

fn at(addresses: &[String]) -> String {
    if addresses.is_empty() { String::new() } else { format!(" at {}", addresses.join(", ")) }
}

fn unreachable(addresses: &[String], status: Status) -> Error {
    Error::Unreachable { addresses: addresses.to_vec(), status: Box::new(status) }
}

fn refusal(status: Status) -> Error {
    match status.code() {
        Code::Unauthenticated | Code::InvalidArgument | Code::AlreadyExists => Error::Refused(Box::new(status)),
        Code::ResourceExhausted => Error::Limited { wait: retry_after(&status).unwrap_or(Duration::from_secs(1)) },
        Code::PermissionDenied => Error::Revoked,
        _ => Error::Failed(Box::new(status)),
    }
}

fn to_proto(right: &Right) -> registry::enrol_request::Right {
    use registry::enrol_request::Right as Proto;
    match right {
        Right::Ticket(secret) => Proto::Ticket(Bytes::copy_from_slice(secret.expose())),
        Right::Password { user, password } => Proto::Password(registry::PasswordRight {
            user: user.clone(),
            password: String::from_utf8_lossy(password.expose()).into_owned(),
        }),
        Right::Service(secret) => Proto::ServiceSecret(Bytes::copy_from_slice(secret.expose())),
    }
}

type Certificates = Vec<CertificateDer<'static>>;

fn certificates(credentials: registry::Credentials) -> (Certificates, Certificates) {
    let read = |list: Vec<Bytes>| list.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    (read(credentials.certificate_chain), read(credentials.trust))
}

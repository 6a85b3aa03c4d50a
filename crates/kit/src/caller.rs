//! Who is calling, as the certificate of the connection says.

use std::time::SystemTime;

use quics_quic::Peer;
use quics_types::DeviceId;
use tonic::{Code, Request};

use crate::names::{Service, Subject};
use crate::status::Domain;

/// Says why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection shows no certificate.
    #[error("this call needs a client certificate")]
    Anonymous,
    /// The certificate has run out.
    #[error("the client certificate has expired; renew it")]
    Expired,
    /// The certificate names neither a device nor a service.
    #[error("the client certificate names neither a device nor a service")]
    Nobody,
    /// The call is for devices and a service makes it, or the other way about.
    #[error("this call is for {0} only")]
    Kind(&'static str),
}

impl Domain for Error {
    fn code(&self) -> Code {
        match self {
            Error::Anonymous | Error::Expired | Error::Nobody => Code::Unauthenticated,
            Error::Kind(_) => Code::PermissionDenied,
        }
    }
}

/// The device or service at the other end, proven by its certificate.
///
/// That it was not revoked since is for the handler to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// A device.
    Device(DeviceId),
    /// One of our services.
    Service(Service),
}

impl Caller {
    /// Finds out who makes a request; `now` decides whether the certificate has run out.
    ///
    /// # Errors
    /// [`Error::Anonymous`], [`Error::Expired`], [`Error::Nobody`].
    pub fn of<T>(request: &Request<T>, now: SystemTime) -> Result<Caller, Error> {
        let (caller, expired) = Caller::of_expired_too(request, now)?;
        if expired { Err(Error::Expired) } else { Ok(caller) }
    }

    /// As [`of`](Self::of), for the one call that takes an expired certificate; says too whether it is one.
    ///
    /// # Errors
    /// [`Error::Anonymous`], [`Error::Nobody`].
    pub fn of_expired_too<T>(request: &Request<T>, now: SystemTime) -> Result<(Caller, bool), Error> {
        let peer = request.extensions().get::<Peer>().ok_or(Error::Anonymous)?;
        Caller::of_peer(peer, now)
    }

    /// Finds out who a connection's peer is, and whether its certificate has run out.
    ///
    /// # Errors
    /// [`Error::Anonymous`], [`Error::Nobody`].
    pub fn of_peer(peer: &Peer, now: SystemTime) -> Result<(Caller, bool), Error> {
        if peer.certificate.is_none() {
            return Err(Error::Anonymous);
        }
        let expired = peer.not_after.is_none_or(|end| now > end);
        match Subject::among(&peer.uris).ok_or(Error::Nobody)? {
            Subject::Device(device) => Ok((Caller::Device(device), expired)),
            Subject::Service(service) => Ok((Caller::Service(service), expired)),
        }
    }

    /// The device.
    ///
    /// # Errors
    /// [`Error::Kind`] if it is a service.
    pub fn device(self) -> Result<DeviceId, Error> {
        match self {
            Caller::Device(device) => Ok(device),
            Caller::Service(_) => Err(Error::Kind("devices")),
        }
    }

    /// The service.
    ///
    /// # Errors
    /// [`Error::Kind`] if it is a device.
    pub fn service(self) -> Result<Service, Error> {
        match self {
            Caller::Service(service) => Ok(service),
            Caller::Device(_) => Err(Error::Kind("services")),
        }
    }
}

/// Tells whether a connection is a device's: what a service closes when the device was revoked.
pub fn is_device(peer: &Peer, device: DeviceId) -> bool {
    Subject::among(&peer.uris) == Some(Subject::Device(device))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use quics_quic::Transport;

    use super::*;

    fn peer(uri: &str, until: u64) -> Peer {
        let mut peer = Peer::anonymous(([127, 0, 0, 1], 9).into(), Transport::Quic);
        peer.certificate = Some(vec![0].into());
        peer.uris = vec![uri.to_owned()];
        peer.not_after = Some(UNIX_EPOCH + Duration::from_secs(until));
        peer
    }

    fn asked(peer: Option<Peer>, now: u64) -> Result<Caller, Error> {
        let mut request = Request::new(());
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        Caller::of(&request, UNIX_EPOCH + Duration::from_secs(now))
    }

    #[test]
    fn callers_are_who_their_certificates_name() {
        let device = DeviceId::from_bytes([3; 16]);
        assert_eq!(asked(Some(peer(&format!("quics:device:{device}"), 10)), 9), Ok(Caller::Device(device)));
        assert_eq!(asked(Some(peer("quics:service:sync", 10)), 9), Ok(Caller::Service(Service::Sync)));
    }

    #[test]
    fn strangers_and_expired_certificates_are_refused() {
        assert_eq!(asked(None, 0), Err(Error::Anonymous));
        let anonymous = Peer::anonymous(([127, 0, 0, 1], 9).into(), Transport::Tcp);
        assert_eq!(asked(Some(anonymous), 0), Err(Error::Anonymous));
        assert_eq!(asked(Some(peer("https://example.org", 10)), 9), Err(Error::Nobody));
        assert_eq!(asked(Some(peer("quics:service:sync", 10)), 11), Err(Error::Expired));
        let mut timeless = peer("quics:service:sync", 10);
        timeless.not_after = None;
        assert_eq!(asked(Some(timeless), 9), Err(Error::Expired));
    }
}

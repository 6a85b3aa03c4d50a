//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Names the transport that carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP/3 over QUIC (UDP).
    Quic,
    /// HTTP/2 over TLS over TCP, where UDP is blocked.
    Tcp,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Transport::Quic => "quic",
            Transport::Tcp => "tcp",
        })
    }
}

/// Describes the peer of a connection; every request carries it as an extension, over QUIC and over TCP alike.
///
/// The certificate chain was verified against the trust list during the handshake and the peer proved that it has
/// the key. It is [`expired`](Self::expired) only where the server allows that
/// ([`ClientAuth::OptionalAllowExpired`](crate::ClientAuth)), or when it ran out while the connection lived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The peer's own (leaf) certificate; `None` if it showed none.
    pub certificate: Option<CertificateDer<'static>>,
    /// The certificate's URI subject alternative names, in its order.
    pub uris: Vec<String>,
    /// When the certificate stops being valid.
    pub not_after: Option<SystemTime>,
    /// Whether the certificate had run out when this request began.
    pub expired: bool,
    /// Where the peer's packets came from when this request began; changes when a QUIC connection migrates.
    pub remote: SocketAddr,
    /// What carries the connection.
    pub transport: Transport,
}

impl Peer {
    /// Describes a peer without a certificate.
    pub fn anonymous(remote: SocketAddr, transport: Transport) -> Self {
        Peer { certificate: None, uris: Vec::new(), not_after: None, expired: false, remote, transport }
    }

    /// Describes a peer by the certificate chain that it showed, leaf first; an empty chain is no certificate.
    ///
    /// A leaf that cannot be parsed gives no names and counts as expired, so that nobody is let in by it.
    pub fn with_certificates(chain: &[CertificateDer<'_>], remote: SocketAddr, transport: Transport) -> Self {
        let Some(leaf) = chain.first() else { return Peer::anonymous(remote, transport) };
        let (uris, not_after) = match X509Certificate::from_der(leaf) {
            Ok((_, parsed)) => (uri_names(&parsed), Some(not_after(&parsed))),
            Err(_) => (Vec::new(), None),
        };
        let certificate = Some(leaf.clone().into_owned());
        Peer { certificate, uris, not_after, expired: false, remote, transport }.at(SystemTime::now())
    }

    /// Gives the same peer with [`expired`](Self::expired) judged at `now`.
    pub fn at(mut self, now: SystemTime) -> Self {
        self.expired = self.certificate.is_some() && self.not_after.is_none_or(|end| now > end);
        self
    }
}

/// Reads when a certificate ends; `None` if it is not a certificate.
pub fn certificate_end(der: &CertificateDer<'_>) -> Option<SystemTime> {
    X509Certificate::from_der(der).ok().map(|(_, parsed)| not_after(&parsed))
}

fn not_after(parsed: &X509Certificate<'_>) -> SystemTime {
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn uri_names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
        .collect()
}

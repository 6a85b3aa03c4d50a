//! What can go wrong before a call: configuration, binding, TLS material.

use std::io;
use std::net::SocketAddr;

/// Describes why a server or channel could not be set up or went down.
///
/// Calls never fail with this type: a [`Channel`](crate::Channel) answers with [`tonic::Status`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The trust list, certificate chain or private key cannot be used.
    #[error("unusable TLS material: {0}")]
    Tls(#[source] rustls::Error),
    /// The trust list holds no usable certificate.
    #[error("the trust list is empty or unusable: {0}")]
    Trust(#[source] rustls::server::VerifierBuilderError),
    /// A server was given no certificate of its own.
    #[error("a server needs an identity (certificate chain and private key)")]
    NoIdentity,
    /// The cryptographic provider cannot do QUIC's initial cipher suite.
    #[error("the TLS configuration cannot be used for QUIC: {0}")]
    QuicCrypto(#[source] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The UDP or TCP port could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A socket could not be prepared, or the driver thread could not be started.
    #[error("cannot set up a socket: {0}")]
    Socket(#[source] io::Error),
}

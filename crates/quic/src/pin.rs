//! First contact: a server is trusted because it shows the CA that the client was told of, and for nothing else.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::Tls;
use crate::tls::provider;

/// The most certificates that are looked at behind a server's own.
const MAX_CHAIN: usize = 4;

impl Tls {
    /// Makes a client's side without an identity that trusts nothing but a CA that the server itself shows and that
    /// `accept` recognises, usually by its fingerprint.
    ///
    /// `accept` is asked in the handshake, before anything of a call is sent, for each certificate behind the server's
    /// own; the first one that it accepts becomes the only root by which the server's certificate is then judged as
    /// always: signature, name, validity. If it accepts none, the handshake fails. It may note what it was shown.
    pub fn pinned(accept: impl Fn(&CertificateDer<'_>) -> bool + Send + Sync + 'static) -> Tls {
        Tls::judging_by(Arc::new(Pin { accept: Box::new(accept) }))
    }
}

type Accept = Box<dyn Fn(&CertificateDer<'_>) -> bool + Send + Sync>;

struct Pin {
    accept: Accept,
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let shown = &intermediates[..intermediates.len().min(MAX_CHAIN)];
        let accepted = shown.iter().find(|certificate| (self.accept)(certificate)).ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(accepted.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|_| unknown())?;
        verifier.verify_server_cert(leaf, shown, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

//! TLS identity and trust, exchangeable while in use.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::Error;
use crate::peer::certificate_end;

/// Says which clients a server lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Only clients with a valid certificate of a trusted CA.
    Required,
    /// Clients with a valid certificate, and clients without any; handlers judge by [`Peer`](crate::Peer).
    Optional,
    /// As [`Optional`](Self::Optional), and clients whose certificate of a trusted CA has run out.
    OptionalAllowExpired,
    /// Anybody, and nobody is asked for a certificate: browsers would ask their user for one.
    NotAsked,
}

/// Holds an identity and a trust list; clones share it, and [`replace`](Self::replace) acts on all of them.
#[derive(Clone)]
pub struct Tls {
    current: Arc<RwLock<Arc<Material>>>,
}

/// A certificate chain (leaf first) and its private key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

struct Material {
    key: Option<Arc<CertifiedKey>>,
    servers: Arc<dyn ServerCertVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Tls {
    /// Takes the CA certificates that are trusted and, where this side has one, its own certificate chain and key (DER).
    ///
    /// # Errors
    /// [`Error::Trust`] if no trusted certificate is usable, [`Error::Tls`] if chain or key are not, or do not belong
    /// together.
    pub fn new(trust: Vec<CertificateDer<'static>>, identity: Option<Identity>) -> Result<Self, Error> {
        Ok(Tls { current: Arc::new(RwLock::new(Arc::new(Material::new(trust, identity)?))) })
    }

    /// The side of a server that anybody may come to: its certificate chain and key (DER), and nobody whom it trusts.
    ///
    /// # Errors
    /// [`Error::Tls`] if chain or key are not usable, or do not belong together.
    pub fn public(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, Error> {
        Ok(Tls { current: Arc::new(RwLock::new(Arc::new(Material::public((chain, key))?))) })
    }

    /// Exchanges the certificate of a [`public`](Self::public) server; connections made from now on see it.
    ///
    /// # Errors
    /// As [`public`](Self::public); then nothing is changed.
    pub fn replace_public(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), Error> {
        let material = Arc::new(Material::public((chain, key))?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = material;
        Ok(())
    }

    /// Exchanges trust list and identity; connections made from now on use them, existing ones go on.
    ///
    /// # Errors
    /// As [`new`](Self::new); then nothing is changed.
    pub fn replace(&self, trust: Vec<CertificateDer<'static>>, identity: Option<Identity>) -> Result<(), Error> {
        let material = Arc::new(Material::new(trust, identity)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = material;
        Ok(())
    }

    /// A client's side without an identity that judges servers by `servers`.
    pub(crate) fn judging_by(servers: Arc<dyn ServerCertVerifier>) -> Self {
        let clients = WebPkiClientVerifier::no_client_auth();
        let algorithms = provider().signature_verification_algorithms;
        let material = Material { key: None, servers, clients, algorithms };
        Tls { current: Arc::new(RwLock::new(Arc::new(material))) }
    }

    fn material(&self) -> Arc<Material> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Builds the client's side with what is held now.
    pub(crate) fn client_config(&self, alpn: &[u8]) -> Result<ClientConfig, Error> {
        let material = self.material();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(material.servers.clone());
        let mut config = match &material.key {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(key)))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(config)
    }

    /// Builds the server's side; it looks at what is held at each handshake.
    pub(crate) fn server_config(&self, auth: ClientAuth, alpn: &[&[u8]]) -> Result<ServerConfig, Error> {
        if self.material().key.is_none() {
            return Err(Error::NoIdentity);
        }
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::Tls)?
            .with_client_cert_verifier(Arc::new(Doorman { tls: self.clone(), auth }))
            .with_cert_resolver(Arc::new(CurrentIdentity(self.clone())));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // AES-128-GCM where the client has it, whatever the client's order.
        config.ignore_client_order = true;
        // A resumed session would carry a certificate that nobody looked at again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Material {
    fn public((chain, key): Identity) -> Result<Self, Error> {
        let provider = provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(Error::Tls)?;
        let algorithms = provider.signature_verification_algorithms;
        let clients = WebPkiClientVerifier::no_client_auth();
        Ok(Material { key: Some(Arc::new(key)), servers: Arc::new(TrustsNobody), clients, algorithms })
    }

    fn new(trust: Vec<CertificateDer<'static>>, identity: Option<Identity>) -> Result<Self, Error> {
        let provider = provider();
        let mut roots = RootCertStore::empty();
        for certificate in trust {
            roots.add(certificate).map_err(Error::Tls)?;
        }
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(Error::Trust)?;
        let servers =
            WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build().map_err(Error::Trust)?;
        let key = match identity {
            None => None,
            Some((chain, key)) => Some(Arc::new(CertifiedKey::from_der(chain, key, &provider).map_err(Error::Tls)?)),
        };
        Ok(Material { key, servers, clients, algorithms: provider.signature_verification_algorithms })
    }
}

/// ring's suites, AES-128-GCM first: it is the fastest where the processor has AES, and strong enough.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
        ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

/// Shows the certificate that is held at the moment of the handshake.
#[derive(Debug)]
struct CurrentIdentity(Tls);

impl ResolvesServerCert for CurrentIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.material().key.clone()
    }
}

/// Takes no server for what it says it is.
#[derive(Debug)]
struct TrustsNobody;

impl ServerCertVerifier for TrustsNobody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Vec::new()
    }
}

/// Judges clients by the trust list that is held at the moment of the handshake.
#[derive(Debug)]
struct Doorman {
    tls: Tls,
    auth: ClientAuth,
}

impl ClientCertVerifier for Doorman {
    fn offer_client_auth(&self) -> bool {
        self.auth != ClientAuth::NotAsked
    }

    fn client_auth_mandatory(&self) -> bool {
        self.auth == ClientAuth::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // The list may change while the server runs, and clients have one certificate only.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let clients = self.tls.material().clients.clone();
        let verdict = clients.verify_client_cert(leaf, intermediates, now);
        let ran_out = matches!(
            verdict,
            Err(rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }))
        );
        if !ran_out || self.auth != ClientAuth::OptionalAllowExpired {
            return verdict;
        }
        // Everything but its age must be right: the chain is judged again at the end of the leaf's validity.
        let Some(end) = certificate_end(leaf) else { return verdict };
        let Ok(since_epoch) = end.duration_since(std::time::UNIX_EPOCH) else { return verdict };
        clients.verify_client_cert(leaf, intermediates, UnixTime::since_unix_epoch(since_epoch))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.tls.material().algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.tls.material().algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.tls.material().algorithms.supported_schemes()
    }
}

//! A server of which only the handshake and one answer are real.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use quics_kit::identity::{Identity, Key};
use quics_kit::names::Service;
use quics_kit::secret::Secret;
use quics_kit::ticket::{Fingerprint, Ticket};
use quics_quic::{ClientAuth, Server, ServerConfig, Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

fn ca() -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let certificate = params.self_signed(&key).unwrap().der().clone();
    Ca { issuer: Issuer::new(params, key), certificate }
}

fn valid(params: &mut CertificateParams, from: SystemTime) {
    params.not_before = from.into();
    params.not_after = (from + Duration::from_secs(3600)).into();
}

fn hour_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(60)
}

/// A device's identity of a CA that nobody else knows, and the device.
pub(crate) fn identity() -> (Identity, [u8; 16]) {
    let ca = ca();
    let key = Key::generate().unwrap();
    let mut params = CertificateParams::default();
    valid(&mut params, hour_ago());
    let uri = format!("quics:device:{}", "5a".repeat(16));
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    let leaf = params.signed_by(key.pair(), &ca.issuer).unwrap();
    let identity = Identity::new(key, vec![leaf.der().clone()], vec![ca.certificate]).unwrap();
    (identity, [0x5a; 16])
}

/// A registry that refuses every call in one way.
pub(crate) struct Refusing {
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: Fingerprint,
    _stop: DropGuard,
}

impl Refusing {
    /// A server whose certificate is valid now.
    pub(crate) fn start(code: Code) -> Self {
        Self::start_at(code, hour_ago())
    }

    /// A server whose certificate is valid from a moment on, for an hour.
    pub(crate) fn start_at(code: Code, from: SystemTime) -> Self {
        let ca = ca();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![Service::Registry.server_name().to_owned()]).unwrap();
        valid(&mut params, from);
        let leaf = params.signed_by(&key, &ca.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialized_der().to_vec().into());
        let chain = vec![leaf, ca.certificate.clone()];
        let tls = Tls::new(vec![ca.certificate.clone()], Some((chain, key))).unwrap();
        let (stop, bound) = (CancellationToken::new(), std::sync::mpsc::channel());
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut config = ServerConfig::new(tls);
                config.client_auth = ClientAuth::OptionalAllowExpired;
                let server = Server::bind(config, "127.0.0.1:0".parse().unwrap()).unwrap();
                bound.0.send(server.local_addr()).unwrap();
                server.serve(tonic::service::Routes::new(Refuse(code)), stopped).await.unwrap();
            });
        });
        let address = bound.1.recv().unwrap();
        Self { address, fingerprint: Fingerprint::of(&ca.certificate), _stop: stop.drop_guard() }
    }

    /// A ticket for this server.
    pub(crate) fn ticket(&self) -> String {
        ticket(&self.address.to_string(), self.fingerprint)
    }
}

/// A ticket that no server has made.
pub(crate) fn ticket(address: &str, fingerprint: Fingerprint) -> String {
    Ticket { addresses: vec![address.to_owned()], fingerprint, secret: Secret::draw() }.to_string()
}

#[derive(Clone)]
struct Refuse(Code);

impl NamedService for Refuse {
    const NAME: &'static str = "quics.registry.v1.RegistryService";
}

impl tower::Service<http::Request<Body>> for Refuse {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        std::future::ready(Ok(Status::new(self.0, "no").into_http()))
    }
}

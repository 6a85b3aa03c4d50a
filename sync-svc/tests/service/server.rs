//! A certificate authority, a view of members that the test moves, and the service on a free port.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quics_chunks::Segments;
use quics_kit::clock::SystemClock;
use quics_kit::members::Change;
use quics_kit::names;
use quics_meta::{Journaled, MetaStore};
use quics_proto::sync::v1::relay_service_client::RelayServiceClient;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_quic::{Channel, ChannelConfig, Server, ServerConfig, Tls};
use quics_types::{DeviceId, Role, RootId, UserId, limits};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sync_svc::{Access, Holders, Parts, Service};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use crate::access::{A, B, ROOT, Roles};

pub(crate) const OTHER: RootId = RootId::from_bytes([2; 16]);
pub(crate) const READER: DeviceId = DeviceId::from_bytes([0xc; 16]);
pub(crate) const STRANGER: DeviceId = DeviceId::from_bytes([0xd; 16]);

pub(crate) type Client = SyncServiceClient<Channel>;

impl Roles {
    /// A and B write both roots, READER reads the first one, STRANGER is nobody.
    pub(crate) fn usual() -> Arc<Self> {
        Self::new([
            ((ROOT, A), Role::Owner),
            ((ROOT, B), Role::Writer),
            ((ROOT, READER), Role::Reader),
            ((OTHER, A), Role::Owner),
            ((OTHER, B), Role::Writer),
        ])
    }

    pub(crate) fn set(&self, root: RootId, device: DeviceId, role: Option<Role>) {
        match role {
            Some(role) => self.roles.lock().insert((root, device), role),
            None => self.roles.lock().remove(&(root, device)),
        };
        let user = UserId::from_bytes(*device.as_bytes());
        drop(self.changes.send(Change::Membership { root, user, role }));
    }

    /// The device may do nothing any more.
    pub(crate) fn revoke(&self, device: DeviceId) {
        self.roles.lock().retain(|(_, of), _| *of != device);
        drop(self.changes.send(Change::Device { device, revoked: true }));
    }
}

/// A certificate authority whose key can be kept in a directory, so that another process issues by it too.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    fn issue(&self, uri: String, dns: &str) -> (Vec<CertificateDer<'static>>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            vec![SanType::DnsName(dns.try_into().unwrap()), SanType::URI(uri.try_into().unwrap())];
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(3600)).into();
        params.not_after = (now + Duration::from_secs(86_400)).into();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (vec![leaf.der().clone()], key.serialize_der())
    }

    fn tls(&self, (chain, key): (Vec<CertificateDer<'static>>, Vec<u8>)) -> Tls {
        tls(self.issuer.der().clone(), chain, key)
    }

    pub(crate) fn server(&self) -> Tls {
        self.serving(names::Service::Sync)
    }

    /// What a service is known by.
    pub(crate) fn serving(&self, service: names::Service) -> Tls {
        self.tls(self.issue(names::Subject::Service(service).to_string(), service.server_name()))
    }

    /// Writes what a server process needs.
    pub(crate) fn write_server(&self, directory: &Path) {
        let (chain, key) = self.issue("quics:service:sync".into(), names::Service::Sync.server_name());
        std::fs::write(directory.join("ca"), self.issuer.der()).unwrap();
        std::fs::write(directory.join("leaf"), &chain[0]).unwrap();
        std::fs::write(directory.join("key"), key).unwrap();
    }

    fn channel(&self, subject: names::Subject, address: SocketAddr) -> Channel {
        let tls = self.tls(self.issue(subject.to_string(), "client.test"));
        Channel::new(ChannelConfig::new(address.to_string(), names::Service::Sync.server_name(), tls))
    }

    pub(crate) fn relay(&self, subject: names::Subject, address: SocketAddr) -> RelayServiceClient<Channel> {
        RelayServiceClient::new(self.channel(subject, address)).max_decoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn client(&self, device: DeviceId, address: SocketAddr) -> Client {
        SyncServiceClient::new(self.channel(names::Subject::Device(device), address))
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES)
    }
}

/// Reads what [`Ca::write_server`] wrote.
pub(crate) fn read_server(directory: &Path) -> Tls {
    let read = |name| std::fs::read(directory.join(name)).unwrap();
    tls(read("ca").into(), vec![read("leaf").into()], read("key"))
}

fn tls(ca: CertificateDer<'static>, chain: Vec<CertificateDer<'static>>, key: Vec<u8>) -> Tls {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    Tls::new(vec![ca], Some((chain, key))).unwrap()
}

/// The service in this process.
pub(crate) struct Running {
    pub(crate) ca: Ca,
    pub(crate) roles: Arc<Roles>,
    pub(crate) address: SocketAddr,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) meta: Arc<Journaled>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::with_reserve(0).await
    }

    /// Starts with so many bytes of the disk to be kept free.
    pub(crate) async fn with_reserve(reserve: u64) -> Self {
        Self::with(reserve, Arc::new(())).await
    }

    /// Starts with these who keep references.
    pub(crate) async fn with(reserve: u64, holders: Arc<dyn Holders>) -> Self {
        let (ca, roles, directory) = (Ca::new(), Roles::usual(), tempfile::tempdir().unwrap());
        let shutdown = CancellationToken::new();
        let server = Server::bind(ServerConfig::new(ca.server()), ([127, 0, 0, 1], 0).into()).unwrap();
        let address = server.local_addr();
        let (service, meta) = open(directory.path(), roles.clone(), holders, reserve, &shutdown);
        let serving = server.serve(sync_svc::routes(&service), shutdown.clone());
        tokio::spawn(service.clone().announcing());
        let serving = tokio::spawn(async move {
            serving.await.unwrap();
            service.ended().await;
        });
        Self { ca, roles, address, directory, meta, shutdown, serving }
    }

    pub(crate) fn client(&self, device: DeviceId) -> Client {
        self.ca.client(device, self.address)
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
        let meta = self.meta;
        tokio::task::spawn_blocking(move || meta.close().unwrap()).await.unwrap();
    }
}

/// Opens the stores of a directory and puts the service together.
pub(crate) fn open(
    directory: &Path,
    access: Arc<dyn Access>,
    holders: Arc<dyn Holders>,
    reserve: u64,
    shutdown: &CancellationToken,
) -> (Arc<Service>, Arc<Journaled>) {
    let meta = Arc::new(Journaled::open(directory.join("meta"), quics_meta::Options::default()).unwrap());
    let chunks = Arc::new(Segments::open(directory.join("chunks"), quics_chunks::Options::default()).unwrap());
    let parts = Parts {
        meta: meta.clone(),
        chunks,
        access,
        holders,
        clock: Arc::new(SystemClock),
        directory: directory.to_owned(),
        reserve,
        shutdown: shutdown.clone(),
    };
    (Service::new(parts), meta)
}

//! A registry-svc in this process, on free ports of the loopback interface, with a clock that tests move.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quics_kit::clock::{Clock, ManualClock};
use quics_kit::data;
use quics_kit::enrol::{self, Enrolled, FirstContact, Right};
use quics_kit::identity::{Identity, Key};
use quics_kit::names::Service;
use quics_kit::secret::Secret;
use quics_kit::service::Ready;
use quics_kit::ticket::Ticket;
use quics_proto::registry::v1 as proto;
use quics_proto::registry::v1::admin_service_client::AdminServiceClient;
use quics_proto::registry::v1::registry_service_client::RegistryServiceClient;
use quics_quic::{Channel, ChannelConfig, Tls};
use quics_types::DeviceId;
use registry_svc::Config;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Request;

pub(crate) type Client = RegistryServiceClient<Channel>;

/// Waits for a condition; fails after ten seconds.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let limit = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < limit, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) struct Registry {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ready: Ready,
    data: PathBuf,
    _temp: Option<tempfile::TempDir>,
    shutdown: CancellationToken,
    running: JoinHandle<registry_svc::Result<()>>,
}

impl Registry {
    pub(crate) async fn start() -> Registry {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("registry");
        let clock = Arc::new(ManualClock::at(SystemTime::now()));
        let mut registry = Self::start_in(&data, clock).await;
        registry._temp = Some(temp);
        registry
    }

    pub(crate) async fn start_in(data: &Path, clock: Arc<ManualClock>) -> Registry {
        Self::start_with(Config::new(quics_kit::service::Config::on_free_ports(data)), clock).await
    }

    /// Starts with a configuration of the test's; `clock` shows the registry its time.
    pub(crate) async fn start_with(config: Config, clock: Arc<ManualClock>) -> Registry {
        let data = &config.common.data.clone();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(registry_svc::run_at(config, clock.clone() as Arc<dyn Clock>, shutdown.clone()));
        let mut running = Some(running);
        let ready = until("registry-svc is ready", async || {
            if running.as_ref().unwrap().is_finished() {
                panic!("it ended: {:?}", running.take().unwrap().await);
            }
            Ready::read(data).unwrap()
        })
        .await;
        Registry { clock, ready, data: data.to_owned(), _temp: None, shutdown, running: running.unwrap() }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Stops it, as SIGTERM would, and gives the directory's keeper back.
    pub(crate) async fn stop(self) -> Option<tempfile::TempDir> {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        assert!(Ready::read(&self.data).unwrap().is_none(), "ready.json is gone");
        self._temp
    }

    pub(crate) async fn restart(self) -> Registry {
        let (data, clock) = (self.data.clone(), self.clock.clone());
        let temp = self.stop().await;
        let mut registry = Self::start_in(&data, clock).await;
        registry._temp = temp;
        registry
    }

    pub(crate) async fn admin(&self) -> AdminServiceClient<tonic::transport::Channel> {
        let endpoint = tonic::transport::Endpoint::try_from(format!("http://{}", self.ready.ops)).unwrap();
        AdminServiceClient::new(endpoint.connect().await.unwrap())
    }

    /// A request that brings the admin token.
    pub(crate) fn authorized<T>(&self, message: T) -> Request<T> {
        let token = data::read_small(&self.data.join("admin.token"), 256).unwrap().unwrap();
        let mut request = Request::new(message);
        let value = format!("Bearer {}", String::from_utf8(token).unwrap().trim());
        request.metadata_mut().insert("authorization", value.parse().unwrap());
        request
    }

    pub(crate) async fn ticket(&self, user: &str) -> Ticket {
        let request = self.authorized(proto::IssueTicketRequest { user: user.to_owned() });
        self.admin().await.issue_ticket(request).await.unwrap().into_inner().ticket.parse().unwrap()
    }

    pub(crate) async fn add_user(&self, name: &str) {
        let request = self.authorized(proto::AddUserRequest { name: name.to_owned() });
        self.admin().await.add_user(request).await.unwrap();
    }

    pub(crate) async fn set_member(&self, root: &str, user: &str, role: i32) -> Result<(), tonic::Status> {
        let request = proto::SetMemberRequest {
            root_id: bytes::Bytes::new(),
            root_name: root.to_owned(),
            user: user.to_owned(),
            role,
        };
        self.admin().await.set_member(self.authorized(request)).await.map(drop)
    }

    pub(crate) fn first_contact(&self, ticket: &Ticket) -> FirstContact {
        FirstContact { addresses: vec![self.ready.address.to_string()], fingerprint: ticket.fingerprint }
    }

    /// Enrols a device of the only user.
    pub(crate) async fn device(&self, name: &str) -> Device {
        self.device_of("", name).await
    }

    pub(crate) async fn device_of(&self, user: &str, name: &str) -> Device {
        let ticket = self.ticket(user).await;
        Device::new(self, by_ticket(&ticket, Key::generate().unwrap(), name).await.unwrap())
    }

    pub(crate) fn service_ticket(&self) -> Ticket {
        let text = data::read_small(&self.data.join("service.ticket"), 4096).unwrap().unwrap();
        String::from_utf8(text).unwrap().parse().unwrap()
    }

    pub(crate) async fn service(&self, service: Service) -> (Identity, Client) {
        let ticket = self.service_ticket();
        let right = Right::Service(ticket.secret.clone());
        let key = Key::generate().unwrap();
        let enrolled = enrol::enrol(&self.first_contact(&ticket), key, service.as_str(), &right).await.unwrap();
        let client = RegistryServiceClient::new(self.channel(&enrolled.identity.tls().unwrap()));
        (enrolled.identity, client)
    }

    pub(crate) fn channel(&self, tls: &Tls) -> Channel {
        let address = self.ready.address.to_string();
        Channel::new(ChannelConfig::new(address, Service::Registry.server_name(), tls.clone()))
    }
}

pub(crate) async fn by_ticket(ticket: &Ticket, key: Key, name: &str) -> Result<Enrolled, enrol::Error> {
    enrol::enrol(&FirstContact::from(ticket), key, name, &Right::Ticket(ticket.secret.clone())).await
}

pub(crate) async fn by_password(
    registry: &Registry,
    ca: quics_kit::ticket::Fingerprint,
    user: &str,
    password: &str,
) -> Result<Enrolled, enrol::Error> {
    let first = FirstContact { addresses: vec![registry.ready.address.to_string()], fingerprint: ca };
    let password = Secret::from(password.as_bytes().to_vec());
    let right = Right::Password { user: user.to_owned(), password };
    enrol::enrol(&first, Key::generate().unwrap(), "tablet", &right).await
}

/// The same key once more: keys are not copied elsewhere.
pub(crate) fn same_key(key: &Key) -> Key {
    Key::from_pem(key.to_pem().as_bytes()).unwrap()
}

pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) identity: Identity,
    pub(crate) channel: Channel,
    pub(crate) client: Client,
}

impl Device {
    pub(crate) fn new(registry: &Registry, enrolled: Enrolled) -> Device {
        let channel = registry.channel(&enrolled.identity.tls().unwrap());
        let client = RegistryServiceClient::new(channel.clone());
        Device { id: enrolled.device.unwrap().0, identity: enrolled.identity, channel, client }
    }

    pub(crate) async fn list_devices(&mut self) -> Result<Vec<proto::Device>, tonic::Status> {
        Ok(self.client.list_devices(proto::ListDevicesRequest::default()).await?.into_inner().devices)
    }

    pub(crate) async fn create_root(
        &mut self,
        id: [u8; 16],
        name: &str,
        password: &str,
    ) -> Result<proto::Root, tonic::Status> {
        let request = proto::CreateRootRequest {
            root_id: bytes::Bytes::copy_from_slice(&id),
            name: name.to_owned(),
            password: password.to_owned(),
            ..Default::default()
        };
        Ok(self.client.create_root(request).await?.into_inner().root.unwrap())
    }

    pub(crate) async fn attach(&mut self, id: [u8; 16], password: &str) -> Result<proto::Root, tonic::Status> {
        let request =
            proto::AttachRootRequest { root_id: bytes::Bytes::copy_from_slice(&id), password: password.to_owned() };
        Ok(self.client.attach_root(request).await?.into_inner().root.unwrap())
    }

    pub(crate) async fn roots(&mut self) -> Vec<proto::Root> {
        self.client.list_roots(proto::ListRootsRequest {}).await.unwrap().into_inner().roots
    }
}

//! A certificate authority, a relay that tells what it is given, and history-svc in front of it.

#![allow(dead_code, reason = "the tests and the benchmark each use a part")]

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::Stream;
use history_svc::{Access, Error, Finder, Parts, Service, Shares};
use quics_kit::clock::SystemClock;
use quics_kit::members::{Change, Denied};
use quics_kit::names;
use quics_kit::telemetry::{Link, link};
use quics_meta::{Journaled, MetaStore};
use quics_proto::common::v1 as common;
use quics_proto::history::v1::history_service_client::HistoryServiceClient;
use quics_proto::history::v1::keeping_service_client::KeepingServiceClient;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::references_service_server::{ReferencesService, ReferencesServiceServer};
use quics_proto::sync::v1::relay_service_server::{RelayService, RelayServiceServer};
use quics_quic::{Channel, ChannelConfig, Server, ServerConfig, Tls};
use quics_types::{DeviceId, Role, RootId, UserId, limits};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

pub(crate) const ROOT: RootId = RootId::from_bytes([1; 16]);
pub(crate) const WRITER: DeviceId = DeviceId::from_bytes([2; 16]);
pub(crate) const READER: DeviceId = DeviceId::from_bytes([3; 16]);
pub(crate) const STRANGER: DeviceId = DeviceId::from_bytes([4; 16]);
pub(crate) const OWNER: DeviceId = DeviceId::from_bytes([5; 16]);
const EPOCH: u64 = 7;

/// One event: a new version of one of `files` files.
pub(crate) fn event(number: u64, files: u64) -> sync::Event {
    let (file, time) = (number % files, number / files + 1);
    let row = |time: u64| common::Row {
        entry_id: Bytes::copy_from_slice(&(u128::from(file) + 1).to_be_bytes()),
        place: Some(common::Place { parent_id: vec![0; 16].into(), name: format!("document {file}.txt").into() }),
        value: Some(common::Value {
            kind: Some(common::value::Kind::File(common::File { content_id: vec![time as u8; 32].into(), size: time })),
        }),
        mode: 0o644,
        modified_at: Some(prost_types::Timestamp { seconds: 1_700_000_000 + number as i64, nanos: 0 }),
        time,
        content_time: time,
        place_time: 1,
        attributes_time: 1,
        ..Default::default()
    };
    let at = Some(prost_types::Timestamp { seconds: 1_700_000_000 + number as i64, nanos: 0 });
    sync::Event {
        position: Some(sync::EventPosition { epoch: EPOCH, number: number + 1 }),
        root_id: Bytes::copy_from_slice(ROOT.as_bytes()),
        cursor: Some(common::Cursor { epoch: EPOCH, seq: number + 1 }),
        device_id: Bytes::copy_from_slice(WRITER.as_bytes()),
        accepted_at: at,
        changed_at: at,
        cause: sync::EventCause::Proposal as i32,
        before: (time > 1).then(|| row(time - 1)),
        after: Some(row(time)),
        ..Default::default()
    }
}

/// Tells events from where it is asked to, in messages of `at_once`; a stream is cut after `cut` messages.
pub(crate) struct Relay {
    pub(crate) events: u64,
    pub(crate) files: u64,
    pub(crate) at_once: u64,
    pub(crate) cut: u64,
    /// Positions with which streams were opened.
    pub(crate) opened: Mutex<Vec<Option<u64>>>,
    pub(crate) acknowledged: watch::Sender<u64>,
    /// What purges are answered, one after the other; then they are finished.
    pub(crate) purges: Mutex<VecDeque<Result<sync::ReferencedBy, Status>>>,
    /// How many contents each purge was asked for.
    pub(crate) purged: watch::Sender<Vec<usize>>,
    /// What a share-svc says of what links show, before its stream ends; not set: there is none.
    /// What groups are after each ApplyGroup, which is cut off then; without any it is not served.
    pub(crate) applied: Mutex<VecDeque<sync::GroupState>>,
    /// What GetGroup says.
    pub(crate) group: Mutex<Option<sync::GroupState>>,
    pub(crate) links: Mutex<Option<Vec<sync::references_response::Message>>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the relay is to whoever calls it.
struct Telling(Arc<Relay>);

#[tonic::async_trait]
impl ReferencesService for Telling {
    type ReferencesStream = Answers<sync::ReferencesResponse>;

    async fn references(
        &self,
        _: Request<sync::ReferencesRequest>,
    ) -> Result<Response<Self::ReferencesStream>, Status> {
        let told = self.0.links.lock().unwrap().clone().unwrap_or_default();
        let told = told.into_iter().map(|message| Ok(sync::ReferencesResponse { message: Some(message) }));
        Ok(Response::new(Box::pin(futures_util::stream::iter(told))))
    }
}

#[tonic::async_trait]
impl RelayService for Telling {
    type FollowEventsStream = Answers<sync::FollowEventsResponse>;

    async fn follow_events(
        &self,
        request: Request<Streaming<sync::FollowEventsRequest>>,
    ) -> Result<Response<Self::FollowEventsStream>, Status> {
        use sync::follow_events_request::Message as Said;
        use sync::follow_events_response::Message;
        let mut said = request.into_inner();
        let Some(Said::Open(open)) = said.message().await?.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("a stream begins with open"));
        };
        let from = open.position.map(|position| position.number);
        self.0.opened.lock().unwrap().push(from);
        let (out, answers) = mpsc::channel(4);
        let relay = self.0.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = said.message().await {
                if let Some(Said::Acknowledge(position)) = message.message {
                    // A stream that was cut may be read to its end after the next one has begun.
                    relay.acknowledged.send_modify(|told| *told = position.number.max(*told));
                }
            }
        });
        let relay = self.0.clone();
        tokio::spawn(async move {
            let say = async |message| {
                let response = sync::FollowEventsResponse { message: Some(message) };
                out.send(Ok(response)).await.is_ok()
            };
            let continuity = sync::Continuity::Whole as i32;
            say(Message::Opened(sync::FollowOpened { version: None, continuity })).await;
            let mut next = from.unwrap_or(0);
            for _ in 0..relay.cut {
                let end = (next + relay.at_once).min(relay.events);
                if next == end {
                    let position = Some(sync::EventPosition { epoch: EPOCH, number: next });
                    say(Message::Level(sync::FollowLevel { position })).await;
                    std::future::pending::<()>().await;
                }
                let events = (next..end).map(|number| event(number, relay.files)).collect();
                next = end;
                if !say(Message::Events(sync::Events { events })).await {
                    return;
                }
            }
            drop(out.send(Err(Status::unavailable("cut"))).await);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn apply_group(
        &self,
        _: Request<Streaming<sync::ApplyGroupRequest>>,
    ) -> Result<Response<sync::ApplyGroupResponse>, Status> {
        match self.0.applied.lock().unwrap().pop_front() {
            Some(state) => *self.0.group.lock().unwrap() = Some(state),
            None => return Err(Status::unimplemented("no group")),
        }
        Err(Status::unavailable("cut"))
    }

    type PurgeContentsStream = Answers<sync::PurgeContentsResponse>;

    async fn purge_contents(
        &self,
        request: Request<sync::PurgeContentsRequest>,
    ) -> Result<Response<Self::PurgeContentsStream>, Status> {
        let contents = request.into_inner().content_ids;
        let answer = self.0.purges.lock().unwrap().pop_front();
        self.0.purged.send_modify(|purged| purged.push(contents.len()));
        let still = |by: sync::ReferencedBy| sync::StillReferenced { by: by as i32, ..Default::default() };
        let still_referenced = answer.transpose()?.map(still).into_iter().collect();
        let finish = sync::PurgeFinish { still_referenced, ..Default::default() };
        let message = Some(sync::purge_contents_response::Message::Finish(finish));
        let told = futures_util::stream::iter([Ok(sync::PurgeContentsResponse { message })]);
        Ok(Response::new(Box::pin(told)))
    }

    async fn get_group(&self, _: Request<sync::GetGroupRequest>) -> Result<Response<sync::GetGroupResponse>, Status> {
        match self.0.group.lock().unwrap().clone() {
            Some(state) => Ok(Response::new(sync::GetGroupResponse { state: Some(state) })),
            None => Err(Status::not_found("no group")),
        }
    }
}

/// WRITER writes, READER reads, others are nobody.
struct Roles;

impl Access for Roles {
    fn role(&self, root: RootId, device: DeviceId) -> Result<Role, Denied> {
        match (root, device) {
            (ROOT, WRITER) => Ok(Role::Writer),
            (ROOT, READER) => Ok(Role::Reader),
            (ROOT, OWNER) => Ok(Role::Owner),
            _ => Err(Denied::NotMember),
        }
    }
    fn role_soon(
        &self,
        root: RootId,
        device: DeviceId,
    ) -> Pin<Box<dyn Future<Output = Result<Role, Denied>> + Send + '_>> {
        Box::pin(std::future::ready(self.role(root, device)))
    }
    fn attached(&self, _: RootId) -> Vec<DeviceId> {
        Vec::new()
    }
    fn roots(&self) -> Vec<RootId> {
        vec![ROOT]
    }
    fn changes(&self) -> broadcast::Receiver<Change> {
        broadcast::channel(1).1
    }
    fn seen(&self, _: DeviceId) {}
    fn user(&self, _: DeviceId) -> Option<UserId> {
        None
    }
    fn device_name(&self, device: DeviceId) -> Option<String> {
        BTreeMap::from([(WRITER, "desk"), (READER, "tablet"), (OWNER, "throne")])
            .get(&device)
            .map(|name| (*name).to_owned())
    }
    fn user_name(&self, _: DeviceId) -> Option<String> {
        Some("ada".into())
    }
}

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

    pub(crate) fn tls(&self, subject: names::Subject, dns: &str) -> Tls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = SanType::URI(subject.to_string().try_into().unwrap());
        params.subject_alt_names = vec![SanType::DnsName(dns.try_into().unwrap()), uri];
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(3600)).into();
        params.not_after = (now + Duration::from_secs(86_400)).into();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Tls::new(vec![self.issuer.der().clone()], Some((vec![leaf], key))).unwrap()
    }

    fn service(&self, service: names::Service) -> Tls {
        self.tls(names::Subject::Service(service), service.server_name())
    }
}

/// Where the relay is.
struct There(Link);

impl Finder for There {
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Link, Error>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

/// A share-svc, at the same place, if there is one.
struct Showing(Arc<Relay>, Link);

impl Shares for Showing {
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Option<Link>, Error>> + Send + '_>> {
        let is_there = self.0.links.lock().unwrap().is_some();
        Box::pin(std::future::ready(Ok(is_there.then(|| self.1.clone()))))
    }
}

/// The relay and history-svc in this process.
pub(crate) struct Running {
    pub(crate) ca: Ca,
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    service: Arc<Service>,
    meta: Arc<Journaled>,
}

impl Running {
    pub(crate) fn start(relay: Arc<Relay>, directory: &Path) -> Self {
        let (ca, shutdown) = (Ca::new(), CancellationToken::new());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(ServerConfig::new(ca.service(names::Service::Sync)), any).unwrap();
        let sync = server.local_addr();
        let routes = RelayServiceServer::new(Telling(relay.clone())).max_encoding_message_size(limits::MESSAGE_BYTES);
        let routes = Routes::new(routes).add_service(ReferencesServiceServer::new(Telling(relay.clone())));
        let relaying = server.serve(routes, shutdown.clone());

        let name = names::Service::Sync.server_name();
        let config = ChannelConfig::new(sync.to_string(), name, ca.service(names::Service::History));
        let there = link(Channel::new(config));
        let meta = Arc::new(Journaled::open(directory.join("meta"), quics_meta::Options::default()).unwrap());
        let service = Service::new(Parts {
            meta: meta.clone(),
            access: Arc::new(Roles),
            sync: Arc::new(There(there.clone())),
            shares: Arc::new(Showing(relay, there)),
            clock: Arc::new(SystemClock),
            shutdown: shutdown.clone(),
        });
        let server = Server::bind(ServerConfig::new(ca.service(names::Service::History)), any).unwrap();
        let address = server.local_addr();
        let serving = server.serve(history_svc::routes(&service), shutdown.clone());
        let following = service.clone().following();
        let purging = service.clone().purging();
        let tasks = vec![
            tokio::spawn(async { purging.await.unwrap() }),
            tokio::spawn(async { relaying.await.unwrap() }),
            tokio::spawn(async { serving.await.unwrap() }),
            tokio::spawn(async { following.await.unwrap() }),
        ];
        Self { ca, address, shutdown, tasks, service, meta }
    }

    pub(crate) fn client(&self, device: DeviceId) -> HistoryServiceClient<Channel> {
        let tls = self.ca.tls(names::Subject::Device(device), "device.test");
        let name = names::Service::History.server_name();
        HistoryServiceClient::new(Channel::new(ChannelConfig::new(self.address.to_string(), name, tls)))
            .max_decoding_message_size(limits::MESSAGE_BYTES)
    }

    pub(crate) fn keeping(&self, device: DeviceId) -> KeepingServiceClient<Channel> {
        let tls = self.ca.tls(names::Subject::Device(device), "device.test");
        let name = names::Service::History.server_name();
        KeepingServiceClient::new(Channel::new(ChannelConfig::new(self.address.to_string(), name, tls)))
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.service.ended().await;
        let meta = self.meta;
        tokio::task::spawn_blocking(move || meta.close().unwrap()).await.unwrap();
    }
}

impl Relay {
    pub(crate) fn new(events: u64, files: u64, at_once: u64, cut: u64) -> Arc<Self> {
        let (opened, acknowledged) = (Mutex::default(), watch::channel(0).0);
        let (links, applied, group) = Default::default();
        let (purges, purged) = (Mutex::default(), watch::channel(Vec::new()).0);
        Arc::new(Self { events, files, at_once, cut, opened, acknowledged, purges, purged, links, applied, group })
    }

    /// Waits until events up to this one are acknowledged.
    pub(crate) async fn acknowledged(&self, number: u64) {
        self.acknowledged.subscribe().wait_for(|told| *told >= number).await.unwrap();
    }
}

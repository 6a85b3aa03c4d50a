//! The process: store, members, routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use quics_kit::clock::{Clock, SystemClock};
use quics_kit::members::{self, Members};
use quics_kit::names;
use quics_kit::service::{Host, Sister, close_store};
use quics_meta::{Batch, MetaStore};
use quics_quic::{ClientAuth, Limits, PlainServer, Server, ServerConfig};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::clerk::Clerk;
use crate::db::keys;
use crate::grpc::Grpc;
use crate::grpc::admin::Admin;
use crate::grpc::references::References;
use crate::public::certificate::{self, Files};
use crate::service::{Parts, Service};
use crate::session::Sessions;
use crate::upstream::Upstream;
use crate::{Config, Error, RunError, public, sums, tidy};

/// Below this key stands the view of members.
const MEMBERS: &[u8] = b"M";

/// Runs the service until `shutdown`, or until it fails.
///
/// # Errors
/// [`RunError`] says what kept it from starting or going on. In every case the store is closed.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let host = Host::open(names::Service::Share, config.service.clone(), clock.clone())?;
    let joined = host.join(&shutdown).await?;
    let server = host.bind(&joined.tls, ClientAuth::Required)?;
    let meta = host.open_store().await?;
    let members = Members::load(meta.clone(), members::Options::new(MEMBERS, clock.clone()))?;

    host.follow(&members, &joined, &server, shutdown.clone());
    host.watch_store(meta.clone(), shutdown.clone());

    let outside = Outside::bind(&config, clock.now())?;
    if config.links.only_here(outside.address()) {
        tracing::warn!("public.only_here: say with --public-url how this server is reached from outside");
    }
    let sessions = sessions(&*meta).await?;
    let sister = |service, told| Arc::new(Sister::new(joined.clone(), service, told));
    let upstream = Upstream {
        history: sister(names::Service::History, config.history.clone()),
        sync: sister(names::Service::Sync, config.sync.clone()),
    };
    let service = Service::new(Parts {
        meta: meta.clone(),
        access: Arc::new(members),
        upstream,
        sessions,
        policy: config.links.policy(),
        url_base: format!("{}/s/", config.links.url(outside.address())),
        clock: clock.clone(),
        shutdown: shutdown.clone(),
    });
    outside.serve(&host, &service, &config, clock, shutdown.clone());
    let served = serve(host, server, service.clone(), shutdown).await;
    // Said now, registry-svc need not wait for a connection that is silent.
    joined.registry.close();
    service.ended().await;
    drop(service);
    let closed = close_store(meta).await;
    served?;
    Ok(closed?)
}

/// Connections of one address at a time; browsers open about six, and people share addresses.
const PER_ADDRESS: usize = 256;

/// A server with a certificate, and where that came from.
struct Tls {
    server: Server,
    files: Files,
    read: certificate::Read,
    tls: quics_quic::Tls,
}

/// The side on which strangers are served, before it serves.
enum Outside {
    Tls(Box<Tls>),
    Plain(PlainServer),
}

impl Outside {
    fn bind(config: &Config, now: SystemTime) -> Result<Self, RunError> {
        let mut limits = Limits::default();
        (limits.per_address, limits.trusted) = (PER_ADDRESS, config.links.proxies());
        let address = config.public_address();
        let Some(files) = config.links.certificate() else {
            let server = PlainServer::bind(limits, address)?;
            let address = server.local_addr();
            tracing::warn!(%address, "public.plain_http: there is no certificate, so only a proxy on this machine is served");
            return Ok(Outside::Plain(server));
        };
        let read = files.read()?;
        let tls = files.tls(&read, now)?;
        let mut config = ServerConfig::new(tls.clone());
        (config.client_auth, config.limits) = (ClientAuth::NotAsked, limits);
        let server = Server::bind(config, address)?;
        tracing::info!(address = %server.local_addr(), "public.https");
        Ok(Outside::Tls(Box::new(Tls { server, files, read, tls })))
    }

    fn address(&self) -> SocketAddr {
        match self {
            Outside::Tls(tls) => tls.server.local_addr(),
            Outside::Plain(server) => server.local_addr(),
        }
    }

    fn serve(
        self,
        host: &Host,
        service: &Arc<Service>,
        config: &Config,
        clock: Arc<dyn Clock>,
        shutdown: CancellationToken,
    ) {
        let desk = Arc::new(Clerk::new(service.clone()));
        let mut serving = public::Serving {
            port: None,
            secure: service.url_base.starts_with("https:"),
            proxies: config.links.proxies(),
            limits: config.links.limits(),
        };
        match self {
            Outside::Plain(server) => {
                let routes = public::routes(desk, serving);
                host.spawn("public", server.serve(routes, shutdown));
            }
            Outside::Tls(it) => {
                let Tls { server, files, read, tls } = *it;
                serving.port = Some(config.links.outer_port(server.local_addr()));
                let routes = public::routes(desk, serving);
                let following = certificate::follow(files, read, tls, move || clock.now(), shutdown.clone());
                host.spawn("certificate", following);
                host.spawn("public", server.serve(routes, shutdown));
            }
        }
    }
}

/// Serves the calls until `shutdown`.
async fn serve(host: Host, server: Server, service: Arc<Service>, shutdown: CancellationToken) -> Result<(), RunError> {
    host.spawn("tidy", tidy::tidy(service.clone()));
    host.spawn("sums", sums::work(service.clone()));
    let routes = Routes::new(Grpc::server(service.clone())).add_service(References::server(service.clone()));
    let admin = Routes::new(Admin::server(service));
    Ok(host.serve(server, routes, admin, shutdown).await?)
}

/// The key of sessions: drawn once.
async fn sessions(meta: &dyn MetaStore) -> Result<Sessions, Error> {
    if let Some(key) = meta.get(keys::SESSIONS)?.and_then(|key| key[..].try_into().ok()) {
        return Ok(Sessions::new(key));
    }
    let key = quics_kit::random::bytes::<32>();
    let mut batch = Batch::new();
    batch.put(Bytes::from_static(keys::SESSIONS), key.to_vec());
    meta.submit(batch)?.await?;
    Ok(Sessions::new(key))
}

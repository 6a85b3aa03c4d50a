//! The process: store, members, routes.

use std::sync::Arc;
use std::time::Duration;

use quics_kit::caller::is_device;
use quics_kit::clock::{Clock, SystemClock};
use quics_kit::data::DataDir;
use quics_kit::members::{self, Follow, Members};
use quics_kit::names;
use quics_kit::service::Host;
use quics_kit::telemetry::link;
use quics_meta::{Journaled, MetaStore};
use quics_quic::{ClientAuth, Server};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::grpc::admin::Admin;
use crate::service::{Parts, Service};
use crate::{Config, Error, RunError};

/// Below this key stands the view of members.
const MEMBERS: &[u8] = b"M";
/// Between two looks at the store's health.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the service until `shutdown`, or until it fails.
///
/// # Errors
/// [`RunError`] says what kept it from starting or going on. In every case the store is closed.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let host = Host::open(names::Service::Share, config.service.clone(), clock.clone())?;
    let joined = host.join(&shutdown).await?;
    let server = host.bind(&joined.tls, ClientAuth::Required)?;
    let meta = open(host.data()).await?;
    let members = Members::load(meta.clone(), members::Options::new(MEMBERS, clock.clone()))?;

    let connections = server.connections();
    let trusting = joined.clone();
    let follow = Follow {
        members: members.clone(),
        registry: link(joined.registry.clone()),
        address: format!(":{}", server.local_addr().port()),
        on_revoked: Box::new(move |device| {
            connections.close(|peer| is_device(peer, device), "this device was revoked");
        }),
        on_trust: Box::new(move |list| {
            if let Err(error) = trusting.trust(list) {
                tracing::error!(%error, "trust.not_taken");
            }
        }),
    };
    host.spawn("members", follow.run(shutdown.clone()));

    let service = Service::new(Parts { meta: meta.clone(), shutdown: shutdown.clone() });
    let served = serve(host, server, service.clone(), shutdown).await;
    // Said now, registry-svc need not wait for a connection that is silent.
    joined.registry.close();
    let closed = close(meta).await;
    served?;
    closed
}

/// Serves the calls until `shutdown`.
async fn serve(host: Host, server: Server, service: Arc<Service>, shutdown: CancellationToken) -> Result<(), RunError> {
    host.spawn("store", look(service.clone()));
    let routes = Routes::default();
    let admin = Routes::new(Admin::server(service));
    Ok(host.serve(server, routes, admin, shutdown).await?)
}

/// Looks at the store until shutdown.
///
/// # Errors
/// The store's last word, if it has failed: the service has to end.
async fn look(service: Arc<Service>) -> Result<(), Error> {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => service.meta.health()?,
        }
    }
}

/// Opens the store; it may have to look through what a crash left.
async fn open(data: &DataDir) -> Result<Arc<Journaled>, RunError> {
    let directory = data.path().join("meta");
    let opening = move || {
        let meta = Journaled::open(directory, quics_meta::Options::default()).map_err(Error::from)?;
        tracing::info!(epoch = meta.epoch(), "store.open");
        Ok(Arc::new(meta))
    };
    tokio::task::spawn_blocking(opening).await.map_err(|_| Error::Task)?
}

/// Makes everything durable and closes the store.
async fn close(meta: Arc<Journaled>) -> Result<(), RunError> {
    let closing = move || Ok(meta.close().map_err(Error::from)?);
    tokio::task::spawn_blocking(closing).await.map_err(|_| Error::Task)?
}

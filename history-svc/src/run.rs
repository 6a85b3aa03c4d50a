//! The process: store, members, relay, routes.

use std::sync::Arc;

use quics_kit::clock::{Clock, SystemClock};
use quics_kit::members::{self, Members};
use quics_kit::names;
use quics_kit::service::{Host, Sister, close_store};
use quics_quic::{ClientAuth, Server};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::grpc::Grpc;
use crate::grpc::admin::Admin;
use crate::grpc::references::References;
use crate::service::{Parts, Service};
use crate::{Config, RunError};

/// Below this key stands the view of members.
const MEMBERS: &[u8] = b"M";

/// Runs the service until `shutdown`, or until it fails.
///
/// # Errors
/// [`RunError`] says what kept it from starting or going on. In every case the store is closed.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let host = Host::open(names::Service::History, config.service.clone(), clock.clone())?;
    let joined = host.join(&shutdown).await?;
    let server = host.bind(&joined.tls, ClientAuth::Required)?;
    let meta = host.open_store().await?;
    let members = Members::load(meta.clone(), members::Options::new(MEMBERS, clock.clone()))?;

    host.follow(&members, &joined, &server, shutdown.clone());
    host.watch_store(meta.clone(), shutdown.clone());

    let service = Service::new(Parts {
        meta: meta.clone(),
        access: Arc::new(members),
        sync: Arc::new(Sister::new(joined.clone(), names::Service::Sync, config.sync)),
        shares: Arc::new(Sister::new(joined.clone(), names::Service::Share, config.share)),
        clock,
        shutdown: shutdown.clone(),
    });
    let served = serve(host, server, service.clone(), shutdown).await;
    // Said now, registry-svc need not wait for a connection that is silent.
    joined.registry.close();
    service.ended().await;
    drop(service);
    let closed = close_store(meta).await;
    served?;
    Ok(closed?)
}

/// Serves the calls and follows sync-svc until `shutdown`.
async fn serve(host: Host, server: Server, service: Arc<Service>, shutdown: CancellationToken) -> Result<(), RunError> {
    service.metrics.export();
    host.spawn("relay", service.clone().following());
    host.spawn("retention", service.clone().keeping());
    host.spawn("purges", service.clone().purging());
    let routes = routes(&service);
    let admin = Routes::new(Admin::server(service));
    Ok(host.serve(server, routes, admin, shutdown).await?)
}

/// The service's calls, to be served by whatever serves routes.
pub fn routes(service: &Arc<Service>) -> Routes {
    Routes::new(Grpc::server(service.clone()))
        .add_service(Grpc::keeping(service.clone()))
        .add_service(References::server(service.clone()))
}

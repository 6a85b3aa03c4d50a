//! The process: stores, members, upkeep, routes.

use std::sync::Arc;

use quics_chunks::{ChunkStore, Segments};
use quics_kit::clock::{Clock, SystemClock};
use quics_kit::data::DataDir;
use quics_kit::members::{self, Members};
use quics_kit::names;
use quics_kit::service::{Host, Sister, close_store};
use quics_meta::Journaled;
use quics_quic::{ClientAuth, Server};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::grpc::Grpc;
use crate::grpc::admin::Admin;
use crate::grpc::relay::Relay;
use crate::reclaim::{Schedule, Sisters};
use crate::service::{Parts, Service};
use crate::{Config, Error, RunError, group, reclaim, upkeep};

/// Below this key stands the view of members.
const MEMBERS: &[u8] = b"M";

/// Runs the service until `shutdown`, or until it fails.
///
/// # Errors
/// [`RunError`] says what kept it from starting or going on. In every case the stores are closed.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let host = Host::open(names::Service::Sync, config.service.clone(), clock.clone())?;
    let joined = host.join(&shutdown).await?;
    let server = host.bind(&joined.tls, ClientAuth::Required)?;
    let meta = host.open_store().await?;
    let chunks = open_chunks(host.data()).await?;
    let members = Members::load(meta.clone(), members::Options::new(MEMBERS, clock.clone()))?;

    host.follow(&members, &joined, &server, shutdown.clone());

    let directory = host.data().path().to_owned();
    let history = Sister::new(joined.clone(), names::Service::History, config.history);
    let share = Sister::new(joined.clone(), names::Service::Share, config.share);
    let service = Service::new(Parts {
        meta: meta.clone(),
        chunks: chunks.clone(),
        access: Arc::new(members),
        holders: Arc::new(Sisters { history, share }),
        clock,
        directory,
        reserve: config.reserve,
        shutdown: shutdown.clone(),
    });
    let schedule = Schedule::of_seconds(config.reclaim_every, config.reclaim_grace);
    let served = serve(host, server, service.clone(), schedule, shutdown).await;
    // Said now, registry-svc need not wait for a connection that is silent.
    joined.registry.close();
    service.ended().await;
    drop(service);
    let closed = close(meta, chunks).await;
    served?;
    closed
}

/// Serves the calls and keeps the stores in order until `shutdown`.
async fn serve(
    host: Host,
    server: Server,
    service: Arc<Service>,
    schedule: Schedule,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    service.metrics.export();
    let announcing = service.clone().announcing();
    host.spawn("announcer", async {
        announcing.await;
        Ok::<_, Error>(())
    });
    host.spawn("room", upkeep::look(service.clone()));
    host.spawn("mover", upkeep::move_contents(service.clone()));
    host.spawn("upkeep", upkeep::tidy(service.clone()));
    host.spawn("reclaim", reclaim::on_schedule(service.clone(), schedule));
    host.spawn("groups", group::resume(service.clone()));
    let routes = routes(&service);
    let admin = Routes::new(Admin::server(service, host.admin()));
    Ok(host.serve(server, routes, admin, shutdown).await?)
}

/// The service's calls, to be served by whatever serves routes.
pub fn routes(service: &Arc<Service>) -> Routes {
    Routes::new(Grpc::server(service.clone())).add_service(Relay::server(service.clone()))
}

/// Opens the chunk store; it may have to look through what a crash left.
async fn open_chunks(data: &DataDir) -> Result<Arc<Segments>, RunError> {
    let directory = data.path().join("chunks");
    let opening = move || {
        let chunks = Segments::open(directory, quics_chunks::Options::default()).map_err(Error::from)?;
        let report = chunks.opened();
        tracing::info!(segments = report.segments, records = report.records, "chunks.open");
        if !report.damaged.is_empty() || !report.lost_segments.is_empty() || report.skipped_bytes > 0 {
            let (damaged, lost) = (report.damaged.len(), report.lost_segments.len());
            tracing::error!(damaged, lost, skipped = report.skipped_bytes, "chunks.damaged_at_open");
        }
        Ok(Arc::new(chunks))
    };
    tokio::task::spawn_blocking(opening).await.map_err(|_| Error::Task)?
}

/// Makes everything durable and closes both stores.
async fn close(meta: Arc<Journaled>, chunks: Arc<Segments>) -> Result<(), RunError> {
    let flushing = move || chunks.flush().map_err(Error::from);
    tokio::task::spawn_blocking(flushing).await.map_err(|_| Error::Task)??;
    Ok(close_store(meta).await?)
}

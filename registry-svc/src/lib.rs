//! registry-svc: who. Users, their devices and certificates, roots and who may see them.
//!
//! ```text
//!   device ── ticket, CSR ──> Enrol ─┐                     ┌─ authority   the CA: signs
//!   device ── certificate ──> calls ─┼─ grpc ─> Registry ──┼─ store       rows in a journal, durable before the answer
//!   service ─ certificate ──> Watch ─┘   admin ┘    │      └─ attempts    how often secrets may be guessed
//!                                <─── events ───────┘
//! ```
//!
//! # Invariants
//! - An answer is given when what it says is durable; a watcher is told of a change after that, in the order of changes.
//! - A ticket makes one device; a certificate names one device or service; a revoked device gets nothing any more.
//! - Who is no member of a root cannot tell whether it exists.
//! - Secrets are kept as hashes, and neither logged nor shown.
//!
//! # What it deliberately does not do
//! It knows nothing of files, and is not asked in a file's way: services keep a view of it ([`quics_kit::members`]) that
//! serves while it is away.

mod admin;
mod authority;
mod config;
mod db;
mod devices;
mod enrol;
mod error;
mod grpc;
mod members;
mod metrics;
mod names;
mod own;
mod roots;
mod service;
mod tickets;
mod users;
mod watch;

use std::sync::Arc;

use quics_kit::clock::{Clock, SystemClock};
use quics_kit::names::Service;
use quics_kit::service::Host;
use quics_meta::{Journaled, MetaStore, Options};
use quics_proto::registry::v1::admin_service_server::AdminServiceServer;
use quics_proto::registry::v1::registry_service_server::RegistryServiceServer;
use quics_quic::ClientAuth;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use config::Config;
pub use error::{Error, Result};

use authority::Authority;
use service::{Parts, Place, Registry};

/// The largest request, in bytes: enough for a report of 4096 devices.
const MAX_MESSAGE: usize = 256 << 10;

/// Runs registry-svc until `shutdown`.
///
/// # Errors
/// Whatever keeps it from starting or going on; each variant's text says what to do.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    run_at(config, Arc::new(SystemClock), shutdown).await
}

/// As [`run`], with a clock of the caller's.
///
/// # Errors
/// As [`run`].
pub async fn run_at(config: Config, clock: Arc<dyn Clock>, shutdown: CancellationToken) -> Result<()> {
    let host = Host::open(Service::Registry, config.common.clone(), clock.clone())?;
    let authority = Authority::open(&host.data().dir("ca")?, config.certificate_life(), clock.now())?;
    let own = own::Identity::issue(&authority, clock.as_ref())?;
    let server = host.bind(own.tls(), ClientAuth::OptionalAllowExpired)?;

    let address = server.local_addr();
    let place =
        Place { addresses: config.addresses(address), port: address.port(), port_base: config.common.port_base };
    let service_secret = own::service_ticket(host.data(), &authority, address)?;
    let directory = host.data().dir("meta")?;
    let store = tokio::task::spawn_blocking(move || Journaled::open(directory, Options::default())).await??;
    let store: Arc<dyn MetaStore> = Arc::new(store);

    let parts = Parts { store: store.clone(), clock, authority, place, service_secret, shutdown: shutdown.clone() };
    let registry = Registry::open(parts, &config.first_user).await?;
    host.spawn("own certificate", own.keep(registry.clone(), shutdown.clone()));

    let connections = server.connections();
    let grpc = grpc::Grpc::new(registry.clone(), connections.clone());
    let routes = Routes::new(RegistryServiceServer::new(grpc).max_decoding_message_size(MAX_MESSAGE));
    let admin = admin::Admin::new(registry, connections, host.admin());
    let admin = Routes::new(AdminServiceServer::new(admin).max_decoding_message_size(MAX_MESSAGE));
    let served = host.serve(server, routes, admin, shutdown).await;

    // Blocks until the disk has everything.
    let closed = tokio::task::spawn_blocking(move || store.close()).await?;
    served?;
    Ok(closed?)
}

//! The frame in which every service runs.
//!
//! ```text
//! let host = Host::open(Service::Sync, config, clock)?;      data directory, lock, ops port
//! let joined = host.join(&shutdown).await?;                  identity, kept renewed; the way to registry-svc
//! let server = host.bind(&joined.tls, ClientAuth::Required)?;
//! ...                                                        stores, domain, members
//! host.serve(server, routes, admin, shutdown).await?         until the token is cancelled or a task fails
//! ```
//!
//! The ops port is plain HTTP/2 (loopback by default): gRPC health, reflection and the service's `AdminService`, whose
//! changing calls ask for the [`AdminToken`]. While a service serves, `ready.json` in its data directory says where.

mod admin;
mod config;
mod join;
mod ops;
mod ready;
mod sister;
mod store;
mod tasks;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use quics_quic::{ClientAuth, Server, ServerConfig, Tls};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use admin::{AdminToken, Denied};
pub use config::Config;
pub use join::Joined;
pub use ready::Ready;
pub use sister::Sister;
pub use store::close_store;

use crate::caller::is_device;
use crate::clock::Clock;
use crate::data::{self, DataDir};
use crate::members::{Follow, Members};
use crate::names::Service;
use crate::{descriptors, enrol, identity, members, telemetry, ticket};
use tasks::Tasks;

/// Says why a service cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data directory or a file in it.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// Key or certificate.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// Becoming known to registry-svc, or staying so.
    #[error(transparent)]
    Enrol(#[from] enrol::Error),
    /// The file with the service's ticket.
    #[error("the service ticket in {path} cannot be used: {source}")]
    Ticket {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ticket::Error,
    },
    /// The service was not told how to enrol.
    #[error("this service is not enrolled yet and was not given a service ticket (--join FILE)")]
    NoTicket,
    /// The data directory was enrolled with another installation.
    #[error("{path} belongs to another installation: its registry-svc has another CA than the ticket names")]
    OtherInstallation {
        /// The data directory.
        path: PathBuf,
    },
    /// The service's port.
    #[error(transparent)]
    Quic(#[from] quics_quic::Error),
    /// The ops port is taken or not ours.
    #[error("cannot listen on {address} for operations: {source}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The ops port stopped serving.
    #[error("the operations port failed: {0}")]
    Ops(#[from] tonic::transport::Error),
    /// Reflection could not be set up.
    #[error("the embedded descriptors cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The view of members.
    #[error(transparent)]
    Members(#[from] members::Error),
    /// The metadata store.
    #[error("metadata: {0}")]
    Store(#[from] quics_meta::Error),
    /// Logging or exporting.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// A background task ended that must not.
    #[error("{task}: {reason}")]
    Task {
        /// Its name.
        task: &'static str,
        /// What it ended with.
        reason: String,
    },
    /// Waiting was ended by the shutdown.
    #[error("shut down before it had started")]
    Interrupted,
}

/// A service process: what it holds from its start to its end.
#[derive(Debug)]
pub struct Host {
    service: Service,
    config: Config,
    data: DataDir,
    clock: Arc<dyn Clock>,
    ops: std::net::TcpListener,
    ops_address: SocketAddr,
    admin: AdminToken,
    tasks: Tasks,
}

impl Host {
    /// Takes the data directory and the ops port, and as many descriptors as the system gives.
    ///
    /// # Errors
    /// [`Error::Data`] if another process has the directory, [`Error::Bind`] if the ops port is taken.
    pub fn open(service: Service, config: Config, clock: Arc<dyn Clock>) -> Result<Host, Error> {
        let data = DataDir::open(&config.data)?;
        descriptors::raise();
        data::remove(&data.file(ready::FILE))?;
        let address = config.ops_address(service);
        let bind = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let (ops, ops_address) = bind().map_err(|source| Error::Bind { address, source })?;
        let admin = AdminToken::load(&data)?;
        Ok(Host { service, config, data, clock, ops, ops_address, admin, tasks: Tasks::default() })
    }

    /// The data directory.
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// What the service's `AdminService` asks for in its changing calls.
    pub fn admin(&self) -> AdminToken {
        self.admin.clone()
    }

    /// Where the ops port is.
    pub fn ops_address(&self) -> SocketAddr {
        self.ops_address
    }

    /// Takes the service's port, UDP and TCP.
    ///
    /// Clients may come from now on; they wait until [`serve`](Self::serve) takes them. The server's `connections()` and
    /// `local_addr()` are known already.
    ///
    /// # Errors
    /// [`Error::Quic`] if the port is taken, [`Error::Data`] if the key for connection resets cannot be kept.
    pub fn bind(&self, tls: &Tls, client_auth: ClientAuth) -> Result<Server, Error> {
        let mut config = ServerConfig::new(tls.clone());
        config.client_auth = client_auth;
        config.reset_key = Some(self.reset_key()?);
        Ok(Server::bind(config, self.config.address(self.service))?)
    }

    /// Keeps the view of members as registry-svc tells it until `shutdown`, tells registry-svc where `server` is, and cuts the
    /// connections of devices that are revoked.
    pub fn follow(&self, members: &Members, joined: &Joined, server: &Server, shutdown: CancellationToken) {
        let (connections, trusting) = (server.connections(), joined.clone());
        let follow = Follow {
            members: members.clone(),
            registry: telemetry::link(joined.registry.clone()),
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
        self.spawn("members", follow.run(shutdown));
    }

    /// Runs a background task until it ends by itself; one that ends with an error ends the service.
    ///
    /// The task has to end soon after the service's shutdown token is cancelled.
    pub fn spawn<E: std::error::Error + Send + 'static>(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.tasks.spawn(name, task);
    }

    /// Serves `routes` on the service's port and `admin` on the ops port, each with gRPC health (and reflection on the
    /// ops port), until `shutdown`, or until a background task fails.
    ///
    /// Health on the service's port needs a valid certificate.
    ///
    /// # Errors
    /// The first thing that failed. In every case the calls in flight had their grace period, and the tasks have ended.
    pub async fn serve(
        self,
        server: Server,
        routes: Routes,
        admin: Routes,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let (reporter, health) = tonic_health::server::health_reporter();
        let guarded = tonic::service::interceptor::InterceptedService::new(health.clone(), ops::known(self.clock()));
        let routes = telemetry::instrumented(routes.add_service(guarded));
        let admin = ops::routes(admin.add_service(health))?;

        let ready = Ready::new(self.service, server.local_addr(), self.ops_address);
        let path = self.data.file(ready::FILE);
        // Cancelled with `shutdown`, and by the first failure.
        let stop = shutdown.child_token();
        let serving = async {
            let done = server.serve(routes, stop.clone()).await;
            stop.cancel();
            done.map_err(Error::from)
        };
        let operating = async {
            let done = ops::serve(self.ops, admin, stop.clone()).await;
            stop.cancel();
            done
        };
        let watching = async {
            let done = self.tasks.watch(&stop).await;
            // Background tasks watch the outer token.
            shutdown.cancel();
            self.tasks.ended().await;
            done
        };
        let announcing = async {
            ready.write(&path)?;
            reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
            tracing::info!(service = %self.service, address = %ready.address, ops = %ready.ops, "service.ready");
            stop.cancelled().await;
            reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
            data::remove(&path)?;
            Ok::<_, Error>(())
        };
        let announcing = async {
            let done = announcing.await;
            stop.cancel();
            done
        };
        let (served, operated, watched, announced) = tokio::join!(serving, operating, watching, announcing);
        watched.and(served).and(operated).and(announced)?;
        tracing::info!(service = %self.service, "service.stopped");
        Ok(())
    }

    /// A secret that lives as long as the data directory, so that a restarted server can tell its former clients.
    fn reset_key(&self) -> Result<[u8; 32], Error> {
        let path = self.data.file("reset.key");
        if let Some(bytes) = data::read_small(&path, 64)?
            && let Ok(key) = <[u8; 32]>::try_from(bytes)
        {
            return Ok(key);
        }
        let key = crate::random::bytes::<32>();
        data::write_atomic(&path, &key, 0o600)?;
        Ok(key)
    }
}

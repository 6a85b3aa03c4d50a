//! What the tests of the transport share: a certificate authority, a gRPC service and its client, servers and channels.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test ends on any error")]

pub(crate) mod ca;
pub(crate) mod client;
pub(crate) mod messages;
pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod service;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use quics_quic::{Channel, ChannelConfig, Connections, Fallback, Server, ServerConfig, Transport};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use ca::Ca;
use service::{Seen, TestService};

/// Nothing in a test takes longer than this; it is a limit, never a pause.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Fails the test if `future` takes longer than [`LIMIT`].
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("the test takes too long")
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Connections,
    pub(crate) seen: Seen,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), quics_quic::Error>>,
}

impl Running {
    /// Shuts down and waits for it.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        within(self.task).await.unwrap().unwrap();
    }
}

/// The loopback address with `port`.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Serves `routes` with `config`.
pub(crate) fn serve_routes(config: ServerConfig, port: u16, routes: Routes, seen: Seen) -> Running {
    let server = Server::bind(config, loopback(port)).unwrap();
    let (address, connections) = (server.local_addr(), server.connections());
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.serve(routes, shutdown.clone()));
    Running { address, connections, seen, shutdown, task }
}

/// Serves the test service with `config`.
pub(crate) fn serve_with(config: ServerConfig) -> Running {
    let seen = Seen::default();
    serve_routes(config, 0, Routes::new(TestService::new(seen.clone())), seen)
}

/// Serves the test service with the defaults.
pub(crate) fn serve(ca: &Ca) -> Running {
    serve_with(ServerConfig::new(ca.server()))
}

/// Configures a channel of one transport with a client certificate.
pub(crate) fn channel_config(ca: &Ca, address: SocketAddr, transport: Transport) -> ChannelConfig {
    let mut config = ChannelConfig::new(address.to_string(), "localhost", ca.client("quics://device/1"));
    config.fallback = match transport {
        Transport::Quic => Fallback::QuicOnly,
        Transport::Tcp => Fallback::TcpOnly,
    };
    config
}

/// Makes a channel of one transport with a client certificate.
pub(crate) fn channel(ca: &Ca, address: SocketAddr, transport: Transport) -> Channel {
    Channel::new(channel_config(ca, address, transport))
}

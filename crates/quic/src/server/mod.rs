//! The server: one port, QUIC and TCP, the same routes; and one for a proxy on the same machine.

mod call;
mod connections;
mod dispatch;
mod limits;
mod pace;
mod quic;
mod tcp;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use connections::Connections;
pub use limits::{Limits, ServerConfig};

use crate::driver::Driver;
use crate::endpoint::{bind_pair, bind_tcp, endpoint_config};
use crate::{ClientAuth, Error, Tuning};

/// Serves tonic's routes over QUIC (HTTP/3) and TCP (HTTP/2), both with TLS 1.3.
///
/// ```no_run
/// # async fn run(tls: quics_quic::Tls, routes: tonic::service::Routes) -> Result<(), quics_quic::Error> {
/// let server = quics_quic::Server::bind(quics_quic::ServerConfig::new(tls), ([0, 0, 0, 0], 6122).into())?;
/// let shutdown = tokio_util::sync::CancellationToken::new();
/// server.serve(routes, shutdown).await
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    address: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
    connections: Connections,
}

impl Server {
    /// Binds UDP and TCP at `address`; port 0 finds a port that is free on both.
    ///
    /// From now on the kernel takes packets and connections in, so that clients may come before
    /// [`serve`](Self::serve) is called.
    ///
    /// # Errors
    /// [`Error::Bind`] if the address is taken or not ours.
    pub fn bind(config: ServerConfig, address: SocketAddr) -> Result<Server, Error> {
        let (udp, tcp) = bind_pair(address, &config.tuning).map_err(|source| Error::Bind { address, source })?;
        let address = udp.local_addr().map_err(Error::Socket)?;
        Ok(Server { config, address, udp, tcp, connections: Connections::default() })
    }

    /// The address that is bound, with the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The list of live connections; it stays valid while and after the server runs.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Serves until `shutdown`, then drains: nothing new is accepted, clients are told (GOAWAY), calls in flight may
    /// end within [`Limits::shutdown_grace`], what is left is closed, and this returns.
    ///
    /// # Errors
    /// [`Error::NoIdentity`], [`Error::Tls`], [`Error::QuicCrypto`] or [`Error::Socket`] if serving cannot begin.
    ///
    /// # Cancel safety
    /// Dropping the future ends everything at once, without draining.
    pub async fn serve(self, routes: Routes, shutdown: CancellationToken) -> Result<(), Error> {
        let ServerConfig { tls, client_auth, limits, tuning, reset_key, tcp } = self.config;
        let quic_tls = tls.server_config(client_auth, &[b"h3"])?;
        let quic_tls = QuicServerConfig::try_from(quic_tls).map_err(Error::QuicCrypto)?;
        let mut quic_config = quinn::ServerConfig::with_crypto(Arc::new(quic_tls));
        quic_config.transport_config(tuning.transport(limits.streams, false));
        quic_config.max_incoming(limits.handshakes);

        let driver = Driver::start("quic-server").map_err(Error::Socket)?;
        let endpoint = quinn::Endpoint::new(endpoint_config(reset_key), Some(quic_config), self.udp, driver.runtime())
            .map_err(Error::Socket)?;

        let shared = Arc::new(quic::Shared::new(routes, limits, self.connections, shutdown));
        let quic = quic::accept(endpoint, shared.clone());
        if tcp {
            // Browsers may know neither HTTP/3 nor HTTP/2.
            let web = client_auth == ClientAuth::NotAsked;
            let protocols: &[&[u8]] = if web { &[tcp::HTTP2, tcp::HTTP1] } else { &[tcp::HTTP2] };
            let tcp_tls = TlsAcceptor::from(Arc::new(tls.server_config(client_auth, protocols)?));
            let listener = tokio::net::TcpListener::from_std(self.tcp).map_err(Error::Socket)?;
            tokio::join!(quic, tcp::accept(listener, tcp::Door::Tls(tcp_tls), tuning, shared));
        } else {
            drop(self.tcp);
            quic.await;
        }
        // Whoever binds the port next finds it free.
        driver.stop().await;
        Ok(())
    }
}

/// Serves routes as HTTP/1.1 without TLS: for a proxy on the same machine, which is why it is bound on loopback only.
#[derive(Debug)]
pub struct PlainServer {
    limits: Limits,
    address: SocketAddr,
    listener: TcpListener,
}

impl PlainServer {
    /// Binds TCP at a loopback address.
    ///
    /// # Errors
    /// [`Error::Bind`] if the address is taken, not ours, or not loopback.
    pub fn bind(limits: Limits, address: SocketAddr) -> Result<PlainServer, Error> {
        let bound = || {
            if !address.ip().is_loopback() {
                let said = "without a certificate only loopback is served";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, said));
            }
            let listener = bind_tcp(address)?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = bound().map_err(|source| Error::Bind { address, source })?;
        Ok(PlainServer { limits, address, listener })
    }

    /// The address that is bound, with the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then drains, as [`Server::serve`].
    ///
    /// # Errors
    /// [`Error::Socket`] if serving cannot begin.
    pub async fn serve(self, routes: Routes, shutdown: CancellationToken) -> Result<(), Error> {
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(Error::Socket)?;
        let shared = Arc::new(quic::Shared::new(routes, self.limits, Connections::default(), shutdown));
        tcp::accept(listener, tcp::Door::Plain, Tuning::default(), shared).await;
        Ok(())
    }
}

//! Making a connection: names, addresses, QUIC and TCP.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tonic::Status;

use super::config::{ChannelConfig, Fallback};
use super::connection::{Connection, QuicConnection, TcpConnection};
use super::gate::Gate;
use crate::Error;
use crate::driver::Driver;
use crate::endpoint::{bind_client, endpoint_config};
use crate::tasks::Tasks;
use crate::wire::{Link, Side};

/// Bytes of a response's headers or trailers that are accepted.
const HEADER_BYTES: u32 = 64 << 10;
/// HTTP/2's frame size; large frames cost less.
const FRAME_SIZE: u32 = 1 << 20;

/// Makes connections to one server.
pub(crate) struct Connector {
    config: ChannelConfig,
    quic: Mutex<Option<Sockets>>,
}

/// The driver and the endpoints of both address families, made when first used.
struct Sockets {
    driver: Driver,
    v4: Option<quinn::Endpoint>,
    v6: Option<quinn::Endpoint>,
}

impl Drop for Sockets {
    /// Lets the last packets out: without them the server would learn of the end by its idle timeout only.
    fn drop(&mut self) {
        for endpoint in [self.v4.take(), self.v6.take()].into_iter().flatten() {
            let driver = self.driver.clone();
            self.driver.handle().spawn(async move {
                endpoint.wait_idle().await;
                drop(driver);
            });
        }
    }
}

impl Connector {
    pub(crate) fn new(config: ChannelConfig) -> Self {
        Connector { config, quic: Mutex::new(None) }
    }

    pub(crate) fn config(&self) -> &ChannelConfig {
        &self.config
    }

    /// Makes a connection by the configured transports.
    ///
    /// # Errors
    /// UNAVAILABLE with what was tried, or INVALID_ARGUMENT where trying again is of no use.
    pub(crate) async fn connect(&self) -> Result<Connection, Status> {
        let connecting = async {
            match self.config.fallback {
                Fallback::QuicOnly => self.quic().await,
                Fallback::TcpOnly => self.tcp().await,
                Fallback::Auto => self.either().await,
            }
        };
        match timeout(self.config.timeouts.connect, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(Status::unavailable(format!("no answer from {}", self.config.address))),
        }
    }

    /// Tries QUIC, after a while TCP beside it, and takes the first that works.
    async fn either(&self) -> Result<Connection, Status> {
        let quic = self.quic();
        tokio::pin!(quic);
        let first = timeout(self.config.timeouts.fallback, &mut quic).await;
        let quic_error = match first {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let tcp = self.tcp();
        tokio::pin!(tcp);
        if let Some(error) = quic_error {
            return tcp.await.map_err(|_| error);
        }
        tokio::select! {
            biased;
            connected = &mut quic => match connected {
                Ok(connection) => Ok(connection),
                Err(error) => tcp.await.map_err(|_| error),
            },
            connected = &mut tcp => match connected {
                Ok(connection) => Ok(connection),
                Err(_) => quic.await,
            },
        }
    }

    /// Makes a QUIC connection, trying every address.
    pub(crate) async fn quic(&self) -> Result<Connection, Status> {
        let tls = self.config.tls.client_config(b"h3").map_err(unusable)?;
        let tls = QuicClientConfig::try_from(tls).map_err(|error| unusable(Error::QuicCrypto(error)))?;
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        // Servers do not open requests.
        config.transport_config(self.config.tuning.transport(0, true));
        let addresses = self.resolve().await?;
        let (connection, driver) = race(addresses, self.config.timeouts.stagger, |address| {
            let config = config.clone();
            async move {
                let (endpoint, driver) = self.endpoint(address).map_err(unreachable)?;
                let connecting =
                    endpoint.connect_with(config, address, &self.config.server_name).map_err(|error| match error {
                        quinn::ConnectError::InvalidServerName(name) => {
                            Status::invalid_argument(format!("{name:?} cannot be a server's name"))
                        }
                        other => unreachable(other),
                    })?;
                Ok((connecting.await.map_err(unreachable)?, driver))
            }
        })
        .await?;
        let link = Link::new(connection.clone(), Side::Client);
        let (mut http, requests) = h3::client::builder()
            .send_grease(false)
            .max_field_section_size(u64::from(HEADER_BYTES))
            .build(link)
            .await
            .map_err(unreachable)?;
        // Ends with the connection, which the last `QuicConnection` closes.
        driver.handle().spawn(async move {
            let end = http.wait_idle().await;
            tracing::debug!(%end, "quic.connection.ended");
        });
        Ok(Connection::Quic(QuicConnection::new(connection, requests, driver)))
    }

    /// Makes a TCP connection with TLS, trying every address.
    async fn tcp(&self) -> Result<Connection, Status> {
        let tls = TlsConnector::from(Arc::new(self.config.tls.client_config(b"h2").map_err(unusable)?));
        let name = ServerName::try_from(self.config.server_name.clone()).map_err(|_| {
            Status::invalid_argument(format!("{:?} cannot be a server's name", self.config.server_name))
        })?;
        let addresses = self.resolve().await?;
        let stream = race(addresses, self.config.timeouts.stagger, |address| {
            let (tls, name) = (tls.clone(), name.clone());
            async move {
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                tls.connect(name, stream).await.map_err(unreachable)
            }
        })
        .await?;
        let tuning = &self.config.tuning;
        let tasks = Tasks::default();
        let (requests, driving) = hyper::client::conn::http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(tuning.stream_window)
            .initial_connection_window_size(tuning.connection_window)
            .max_frame_size(FRAME_SIZE)
            .max_header_list_size(HEADER_BYTES)
            .max_send_buf_size(FRAME_SIZE as usize)
            .keep_alive_interval(tuning.keep_alive)
            .keep_alive_timeout(tuning.idle_timeout.saturating_sub(tuning.keep_alive))
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(unreachable)?;
        let gate = Gate::default();
        let driving = gate.guard(driving);
        tasks.execute(async move {
            if let Err(error) = driving.await {
                tracing::debug!(%error, "tcp.connection.ended");
            }
        });
        Ok(Connection::Tcp(TcpConnection::new(requests, gate, tasks)))
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, Status> {
        let found = lookup_host(self.config.address.as_str())
            .await
            .map_err(|error| Status::unavailable(format!("cannot resolve {}: {error}", self.config.address)))?;
        Ok(found.collect())
    }

    /// Gives the endpoint for the family of `address`, and the driver that runs it.
    fn endpoint(&self, address: SocketAddr) -> std::io::Result<(quinn::Endpoint, Driver)> {
        let mut sockets = self.quic.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets = match &mut *sockets {
            Some(sockets) => sockets,
            empty => empty.insert(Sockets { driver: Driver::of_clients()?, v4: None, v6: None }),
        };
        let slot = if address.is_ipv4() { &mut sockets.v4 } else { &mut sockets.v6 };
        if let Some(endpoint) = slot {
            return Ok((endpoint.clone(), sockets.driver.clone()));
        }
        let socket = bind_client(address, &self.config.tuning)?;
        let config = endpoint_config(None);
        let endpoint = quinn::Endpoint::new(config, None, socket, sockets.driver.runtime())?;
        *slot = Some(endpoint.clone());
        Ok((endpoint, sockets.driver.clone()))
    }

    /// Moves all QUIC connections to fresh local sockets.
    pub(crate) fn rebind(&self) -> std::io::Result<()> {
        let sockets = self.quic.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sockets) = &*sockets else { return Ok(()) };
        for endpoint in [&sockets.v4, &sockets.v6].into_iter().flatten() {
            endpoint.rebind(bind_client(endpoint.local_addr()?, &self.config.tuning)?)?;
        }
        Ok(())
    }
}

/// Tries the addresses in turn, each beside those before it once these have failed or `stagger` has passed, and takes
/// the first that works.
async fn race<T, F>(
    addresses: Vec<SocketAddr>,
    stagger: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut addresses = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut failure = Status::unavailable("the name has no address");
    loop {
        let next = addresses.next();
        let more = next.is_some();
        running.extend(next.map(|address| {
            let attempt = attempt(address);
            async move { attempt.await.map_err(|error| (address, error)) }
        }));
        tokio::select! {
            ended = running.next() => match ended {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err((address, error))) => {
                    tracing::debug!(%address, %error, "connect.failed");
                    failure = error;
                }
                None => return Err(failure),
            },
            () = sleep(stagger), if more => {}
        }
    }
}

fn unreachable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("cannot connect: {error}"))
}

fn unusable(error: Error) -> Status {
    Status::failed_precondition(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn addresses() -> Vec<SocketAddr> {
        (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
    }

    #[tokio::test]
    async fn an_address_that_fails_is_followed_by_the_next_without_a_pause() {
        let attempt = |address: SocketAddr| async move {
            if address.port() == 3 { Ok(address.port()) } else { Err(Status::unavailable("no")) }
        };
        let won = timeout(Duration::from_secs(30), race(addresses(), Duration::from_secs(3_600), attempt)).await;
        assert_eq!(won.unwrap().unwrap(), 3);
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_is_overtaken() {
        let attempt =
            |address: SocketAddr| async move { if address.port() == 2 { Ok(address.port()) } else { pending().await } };
        let won = timeout(Duration::from_secs(30), race(addresses(), Duration::from_millis(1), attempt)).await;
        assert_eq!(won.unwrap().unwrap(), 2);
    }

    #[tokio::test]
    async fn the_last_error_is_told_when_every_address_fails() {
        let attempt = |address: SocketAddr| async move { Err::<(), _>(Status::unavailable(address.to_string())) };
        let lost = race(addresses(), Duration::ZERO, attempt).await.unwrap_err();
        assert_eq!(lost.message(), "127.0.0.1:3");
        assert!(race(Vec::new(), Duration::ZERO, attempt).await.is_err());
    }
}

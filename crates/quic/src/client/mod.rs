//! The client's side: a channel that connects by itself.

mod call;
mod config;
mod connect;
mod connection;
mod gate;
mod revocable;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tonic::Status;
use tonic::body::Body;

pub use config::{ChannelConfig, Fallback, Timeouts};

use crate::peer::Transport;
use crate::timeout::{Bounded, Side, deadline, expired};
use config::jitter;
use connect::Connector;
use connection::{Connection, Failure};

/// How often a request that no server has seen is sent again on a new connection.
const RESENDS: usize = 2;

/// Carries calls to one server; a tower `Service` for generated tonic clients.
///
/// Cheap to clone; all clones share one connection, which is made at the first call, kept, and made anew with growing,
/// jittered pauses when it is lost. Calls that come while a connection is being made wait for it; calls in the pause
/// after a failed one fail at once with UNAVAILABLE (see [`ChannelConfig::wait_for_ready`]). A request that was not
/// handed to a server when its connection went down is sent again by itself; any other is the caller's to repeat.
///
/// Needs a tokio runtime when called.
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

/// Says what a channel is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// No connection, and none is needed.
    Idle,
    /// A connection is being made.
    Connecting,
    /// A connection is there.
    Ready(Transport),
    /// The last connect failed; the next is made by the first call after a pause.
    Failing,
    /// The channel was closed.
    Closed,
}

struct Inner {
    connector: Connector,
    authority: Authority,
    slot: Mutex<Slot>,
}

struct Slot {
    now: Now,
    /// Failed connects in a row.
    failures: u32,
    /// Looks for a way from TCP back to QUIC.
    probe: Option<AbortHandle>,
}

enum Now {
    Idle,
    Connecting(Connecting),
    Ready(Connection),
    Failed { until: Instant, why: Status },
    Closed,
}

type Connecting = Shared<BoxFuture<'static, Result<Connection, Status>>>;

impl Channel {
    /// Makes a channel; nothing is connected until the first call or [`connect`](Self::connect).
    pub fn new(config: ChannelConfig) -> Channel {
        let authority = authority(&config);
        let slot = Mutex::new(Slot { now: Now::Idle, failures: 0, probe: None });
        Channel { inner: Arc::new(Inner { connector: Connector::new(config), authority, slot }) }
    }

    /// Connects if there is no connection, and says over what.
    ///
    /// # Errors
    /// UNAVAILABLE if the server is not reached, FAILED_PRECONDITION if the TLS material cannot be used,
    /// INVALID_ARGUMENT if the server's name cannot be one.
    pub async fn connect(&self) -> Result<Transport, Status> {
        Ok(self.inner.connection(None).await?.transport())
    }

    /// What carries calls now; `None` without a connection.
    pub fn transport(&self) -> Option<Transport> {
        match self.state() {
            State::Ready(transport) => Some(transport),
            _ => None,
        }
    }

    /// What the channel is doing now.
    pub fn state(&self) -> State {
        match &self.inner.lock().now {
            Now::Idle => State::Idle,
            Now::Connecting(_) => State::Connecting,
            Now::Ready(connection) if connection.is_open() => State::Ready(connection.transport()),
            Now::Ready(_) => State::Idle,
            Now::Failed { .. } => State::Failing,
            Now::Closed => State::Closed,
        }
    }

    /// Drops the connection, so that the next call makes a new one with the [`Tls`](crate::Tls) as it is then; calls in
    /// flight end on the old one.
    pub fn reconnect(&self) {
        let mut slot = self.inner.lock();
        if !matches!(slot.now, Now::Closed | Now::Connecting(_)) {
            slot.stop_probe();
            slot.now = Now::Idle;
            slot.failures = 0;
        }
    }

    /// Moves the QUIC connection to a fresh local socket, calls in flight included, without a handshake.
    ///
    /// For a device that has changed networks.
    ///
    /// # Errors
    /// Whatever the system says about a new socket; the old one then stays in use.
    pub fn rebind(&self) -> io::Result<()> {
        self.inner.connector.rebind()
    }

    /// Closes the channel for good: calls in flight and later ones end with UNAVAILABLE.
    pub fn close(&self) {
        let mut slot = self.inner.lock();
        slot.stop_probe();
        if let Now::Ready(connection) = std::mem::replace(&mut slot.now, Now::Closed) {
            connection.close();
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = &self.inner.connector.config().address;
        f.debug_struct("Channel").field("address", address).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// The `:authority` of requests: the server's name where it can be one.
fn authority(config: &ChannelConfig) -> Authority {
    let by_name = Authority::try_from(config.server_name.as_str());
    by_name
        .or_else(|_| Authority::try_from(config.address.as_str()))
        .unwrap_or_else(|_| Authority::from_static("localhost"))
}

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        Box::pin(async move {
            let deadline = deadline(request.headers());
            let calling = inner.call(request);
            let response = match deadline {
                None => calling.await?,
                Some(at) => timeout_at(at, calling).await.map_err(|_| expired())??,
            };
            Ok(response.map(|body| Bounded::wrap(body, deadline, Side::Client)))
        })
    }
}

impl Inner {
    async fn call(self: &Arc<Self>, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        self.complete(&mut request)?;
        let mut broken: Option<Connection> = None;
        for _ in 0..RESENDS {
            let connection = self.connection(broken.take()).await?;
            match connection.call(request).await {
                Ok(response) => return Ok(response),
                Err(Failure::Answer(status)) => return Err(status),
                Err(Failure::Unsent(unsent, status)) => {
                    tracing::debug!(%status, "call.unsent");
                    request = *unsent;
                    broken = Some(connection);
                }
            }
        }
        match self.connection(broken).await?.call(request).await {
            Ok(response) => Ok(response),
            Err(Failure::Answer(status) | Failure::Unsent(_, status)) => Err(status),
        }
    }

    /// Adds to a request what HTTP/2 and HTTP/3 want: scheme and authority.
    fn complete(&self, request: &mut Request<Body>) -> Result<(), Status> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        *request.uri_mut() =
            Uri::from_parts(parts).map_err(|error| Status::internal(format!("the call has no path: {error}")))?;
        // HTTP/3 has no version of its own in tonic's requests.
        *request.version_mut() = http::Version::HTTP_2;
        Ok(())
    }

    /// Gives the connection, made if there is none or only `broken`.
    async fn connection(self: &Arc<Self>, broken: Option<Connection>) -> Result<Connection, Status> {
        loop {
            let connecting = {
                let mut slot = self.lock();
                let wanted = match &slot.now {
                    Now::Ready(connection) => {
                        let usable = connection.is_open() && !broken.as_ref().is_some_and(|one| connection.is(one));
                        if usable {
                            return Ok(connection.clone());
                        }
                        None
                    }
                    Now::Connecting(connecting) => Some(Ok(connecting.clone())),
                    Now::Failed { until, why } if *until > Instant::now() => Some(Err((*until, why.clone()))),
                    Now::Idle | Now::Failed { .. } => None,
                    Now::Closed => return Err(Status::unavailable("the channel is closed")),
                };
                match wanted {
                    Some(wanted) => wanted,
                    None => Ok(self.begin(&mut slot)),
                }
            };
            match connecting {
                Ok(connecting) => return connecting.await,
                Err((_, why)) if !self.connector.config().wait_for_ready => return Err(why),
                Err((until, _)) => sleep_until(until).await,
            }
        }
    }

    /// Begins to connect, in a task of its own: callers that give up do not undo it.
    fn begin(self: &Arc<Self>, slot: &mut Slot) -> Connecting {
        slot.stop_probe();
        let inner = self.clone();
        let task = tokio::spawn(async move {
            let connected = inner.connector.connect().await;
            inner.settle(connected)
        });
        let connecting = async move {
            task.await.unwrap_or_else(|error| Err(Status::unavailable(format!("connecting was cut off: {error}"))))
        };
        let connecting = connecting.boxed().shared();
        slot.now = Now::Connecting(connecting.clone());
        connecting
    }

    /// Notes how connecting ended.
    fn settle(self: &Arc<Self>, connected: Result<Connection, Status>) -> Result<Connection, Status> {
        let mut slot = self.lock();
        if matches!(slot.now, Now::Closed) {
            return Err(Status::unavailable("the channel is closed"));
        }
        match connected {
            Ok(connection) => {
                tracing::debug!(transport = %connection.transport(), "connect.done");
                slot.failures = 0;
                slot.now = Now::Ready(connection.clone());
                if connection.transport() == Transport::Tcp && self.connector.config().fallback == Fallback::Auto {
                    slot.probe = Some(tokio::spawn(probe(Arc::downgrade(self))).abort_handle());
                }
                Ok(connection)
            }
            Err(why) => {
                slot.failures = slot.failures.saturating_add(1);
                let pause = self.connector.config().timeouts.pause(slot.failures);
                slot.now = Now::Failed { until: Instant::now() + pause, why: why.clone() };
                Err(why)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn stop_probe(&mut self) {
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.stop_probe();
    }
}

/// Tries QUIC from time to time and, when it works, takes it for the calls to come; calls in flight end over TCP.
async fn probe(inner: Weak<Inner>) {
    loop {
        let Some(pause) = inner.upgrade().map(|inner| inner.connector.config().timeouts.probe) else { return };
        sleep(jitter(pause)).await;
        let Some(inner) = inner.upgrade() else { return };
        let limit = Instant::now() + inner.connector.config().timeouts.connect;
        let Ok(Ok(connection)) = timeout_at(limit, inner.connector.quic()).await else { continue };
        let mut slot = inner.lock();
        if matches!(&slot.now, Now::Ready(current) if current.transport() == Transport::Tcp) {
            tracing::info!("connect.quic_again");
            slot.now = Now::Ready(connection);
        }
        slot.probe = None;
        return;
    }
}

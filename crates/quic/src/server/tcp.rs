//! The same calls over TCP: with TLS (HTTP/2) where a network blocks UDP, with TLS (HTTP/2 or HTTP/1.1) for browsers, and
//! without (HTTP/1.1) for a proxy on the same machine.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::connections::Line;
use super::quic::Shared;
use crate::Tuning;
use crate::peer::{Peer, Transport};
use crate::tasks::Tasks;

/// The pause after a failed accept, which comes from a lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// HTTP/2's frame size; large frames cost less.
const FRAME_SIZE: u32 = 1 << 20;

/// ALPN's names of HTTP/1.1 and HTTP/2.
pub(crate) const HTTP1: &[u8] = b"http/1.1";
pub(crate) const HTTP2: &[u8] = b"h2";

/// What every connection begins with.
#[derive(Clone)]
pub(crate) enum Door {
    /// TLS, which says what is spoken.
    Tls(TlsAcceptor),
    /// HTTP/1.1 at once.
    Plain,
}

/// What is spoken on a connection.
#[derive(Clone, Copy)]
enum Speaks {
    Http1,
    Http2,
}

/// Accepts until shutdown, then returns when every connection has ended.
pub(crate) async fn accept(listener: TcpListener, door: Door, tuning: Tuning, shared: Arc<Shared>) {
    let tuning = Arc::new(tuning);
    let handshakes = Arc::new(Semaphore::new(shared.limits.handshakes));
    let connections = Arc::new(Semaphore::new(shared.limits.connections));
    let mut running = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shared.shutdown.cancelled() => break,
            Some(_) = running.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "tcp.accept.failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(admitted) = shared.connections.admit(remote.ip(), &shared.limits) else {
            tracing::debug!(%remote, "tcp.connection.too_many_of_address");
            continue;
        };
        let permits = (handshakes.clone().try_acquire_owned(), connections.clone().try_acquire_owned());
        let (Ok(handshaking), Ok(connected)) = permits else {
            tracing::debug!(%remote, "tcp.connection.refused");
            continue;
        };
        let (door, shared, tuning) = (door.clone(), shared.clone(), tuning.clone());
        running.spawn(async move {
            let _counted = (connected, admitted);
            serve(stream, remote, door, handshaking, &tuning, &shared).await;
        });
    }
    drop(listener);
    while running.join_next().await.is_some() {}
}

async fn serve(
    stream: TcpStream,
    remote: SocketAddr,
    door: Door,
    handshaking: OwnedSemaphorePermit,
    tuning: &Tuning,
    shared: &Shared,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "tcp.handshake.failed");
        return;
    }
    let tls = match door {
        Door::Tls(tls) => tls,
        Door::Plain => {
            drop(handshaking);
            return drive(stream, Peer::anonymous(remote, Transport::Tcp), Speaks::Http1, tuning, shared).await;
        }
    };
    let stream = match timeout(shared.limits.handshake_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%remote, %error, "tcp.handshake.failed"),
        Err(_) => return tracing::debug!(%remote, "tcp.handshake.late"),
    };
    drop(handshaking);
    let session = stream.get_ref().1;
    // Who says nothing speaks what was spoken before anybody could say (RFC 9113, 3.2).
    let speaks = if session.alpn_protocol() == Some(HTTP2) { Speaks::Http2 } else { Speaks::Http1 };
    let peer = Peer::with_certificates(session.peer_certificates().unwrap_or_default(), remote, Transport::Tcp);
    drive(stream, peer, speaks, tuning, shared).await;
}

/// Serves the calls of a connection until it ends, is cut, or shutdown and the grace period have passed.
async fn drive<S>(stream: S, peer: Peer, speaks: Speaks, tuning: &Tuning, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let cut = CancellationToken::new();
    let _listed = shared.connections.add(peer.clone(), Line::Tcp(cut.clone()));
    let tasks = Tasks::default();
    let conversing = async {
        match speaks {
            Speaks::Http1 => converse_http1(stream, &peer, shared).await,
            Speaks::Http2 => converse(stream, &peer, tuning, shared, tasks.clone()).await,
        }
    };
    tokio::select! {
        () = conversing => {}
        () = cut.cancelled() => tracing::debug!(remote = %peer.remote, "tcp.connection.cut"),
    }
    // What is left of the calls belongs to nobody any more.
    tasks.stop();
    tasks.gone().await;
}

/// HTTP/1.1: one call after the other.
async fn converse_http1<S>(stream: S, peer: &Peer, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (dispatch, peer) = (shared.dispatch.clone(), peer.clone());
        async move { Ok::<_, Infallible>(dispatch.call(request, peer).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.header_timeout)
        // hyper refuses less than this.
        .max_buf_size((shared.limits.header_bytes as usize).max(8192))
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        () = shared.shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            timeout(shared.limits.shutdown_grace, &mut serving).await.ok()
        }
    };
    said(peer, ended);
}

/// HTTP/2.
async fn converse<S>(stream: S, peer: &Peer, tuning: &Tuning, shared: &Shared, tasks: Tasks)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (dispatch, peer) = (shared.dispatch.clone(), peer.clone());
        async move { Ok::<_, Infallible>(dispatch.call(request, peer).await) }
    });
    let serving = http2::Builder::new(tasks)
        .timer(TokioTimer::new())
        .max_concurrent_streams(shared.limits.streams)
        .max_header_list_size(shared.limits.header_bytes)
        .initial_stream_window_size(tuning.stream_window)
        .initial_connection_window_size(tuning.connection_window)
        .max_frame_size(FRAME_SIZE)
        .max_send_buf_size(FRAME_SIZE as usize)
        .keep_alive_interval(tuning.idle_timeout / 2)
        .keep_alive_timeout(tuning.idle_timeout / 2)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        () = shared.shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            timeout(shared.limits.shutdown_grace, &mut serving).await.ok()
        }
    };
    said(peer, ended);
}

/// Notes how a connection ended; `None`: its grace period was over.
fn said(peer: &Peer, ended: Option<hyper::Result<()>>) {
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(remote = %peer.remote, %error, "tcp.connection.ended"),
        None => tracing::warn!(remote = %peer.remote, "tcp.shutdown.grace_over"),
    }
}

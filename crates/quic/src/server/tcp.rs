//! The same calls over TCP with TLS (HTTP/2), where a network blocks UDP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
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

/// Accepts until shutdown, then returns when every connection has ended.
pub(crate) async fn accept(listener: TcpListener, tls: TlsAcceptor, tuning: Tuning, shared: Arc<Shared>) {
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
        let permits = (handshakes.clone().try_acquire_owned(), connections.clone().try_acquire_owned());
        let (Ok(handshaking), Ok(connected)) = permits else {
            tracing::debug!(%remote, "tcp.connection.refused");
            continue;
        };
        let (tls, shared, tuning) = (tls.clone(), shared.clone(), tuning.clone());
        running.spawn(async move {
            let _connected = connected;
            if let Some(stream) = handshake(stream, remote, tls, handshaking, &shared).await {
                drive(stream, remote, &tuning, &shared).await;
            }
        });
    }
    drop(listener);
    while running.join_next().await.is_some() {}
}

async fn handshake(
    stream: TcpStream,
    remote: SocketAddr,
    tls: TlsAcceptor,
    _permit: OwnedSemaphorePermit,
    shared: &Shared,
) -> Option<TlsStream<TcpStream>> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "tcp.handshake.failed");
        return None;
    }
    match timeout(shared.limits.handshake_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "tcp.handshake.failed");
            None
        }
        Err(_) => {
            tracing::debug!(%remote, "tcp.handshake.late");
            None
        }
    }
}

/// Serves the calls of a connection until it ends, is cut, or shutdown and the grace period have passed.
async fn drive(stream: TlsStream<TcpStream>, remote: SocketAddr, tuning: &Tuning, shared: &Shared) {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = Peer::with_certificates(chain, remote, Transport::Tcp);
    let cut = CancellationToken::new();
    let _listed = shared.connections.add(peer.clone(), Line::Tcp(cut.clone()));
    let tasks = Tasks::default();
    tokio::select! {
        () = converse(stream, &peer, tuning, shared, tasks.clone()) => {}
        () = cut.cancelled() => tracing::debug!(%remote, "tcp.connection.cut"),
    }
    // What is left of the calls belongs to nobody any more.
    tasks.stop();
    tasks.gone().await;
}

async fn converse(stream: TlsStream<TcpStream>, peer: &Peer, tuning: &Tuning, shared: &Shared, tasks: Tasks) {
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
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(remote = %peer.remote, %error, "tcp.connection.ended"),
        None => tracing::warn!(remote = %peer.remote, "tcp.shutdown.grace_over"),
    }
}

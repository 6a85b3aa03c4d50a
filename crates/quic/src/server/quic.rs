//! Accepting QUIC connections and the calls on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quinn::{Incoming, VarInt};
use rustls_pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::Limits;
use super::call::{Caller, serve};
use super::connections::{Connections, Line};
use super::dispatch::Dispatch;
use crate::congestion::close;
use crate::peer::{Peer, Transport};
use crate::wire::{Link, Side};

/// HTTP/3's code for an end without an error, which is what a server that goes down says.
const H3_NO_ERROR: u32 = 0x100;

/// What all connections of a server share.
pub(crate) struct Shared {
    pub(crate) dispatch: Dispatch,
    pub(crate) limits: Arc<Limits>,
    pub(crate) connections: Connections,
    pub(crate) shutdown: CancellationToken,
    handshakes: AtomicUsize,
    established: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(routes: Routes, limits: Limits, connections: Connections, shutdown: CancellationToken) -> Self {
        let limits = Arc::new(limits);
        Shared {
            dispatch: Dispatch::new(routes, limits.clone()),
            limits,
            connections,
            shutdown,
            handshakes: AtomicUsize::new(0),
            established: AtomicUsize::new(0),
        }
    }
}

/// Counts something as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until shutdown, then returns when every connection has ended.
///
/// Connections drain by themselves: each watches the same shutdown.
pub(crate) async fn accept(endpoint: quinn::Endpoint, shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.shutdown.cancelled() => break,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => admit(incoming, &shared, &mut running),
                None => break,
            },
            Some(_) = running.join_next() => {}
        }
    }
    // New clients are turned away at once instead of being left to time out.
    endpoint.set_server_config(None);
    while running.join_next().await.is_some() {}
    endpoint.close(VarInt::from_u32(H3_NO_ERROR), b"shutting down");
    endpoint.wait_idle().await;
}

/// Decides on a newcomer: refused above the limits, sent back to prove its address under load, else let in.
fn admit(incoming: Incoming, shared: &Arc<Shared>, running: &mut JoinSet<()>) {
    let handshakes = shared.handshakes.load(Ordering::Relaxed);
    let connections = shared.established.load(Ordering::Relaxed) + handshakes;
    let limits = &shared.limits;
    if handshakes >= limits.handshakes || connections >= limits.connections {
        tracing::debug!(handshakes, connections, "quic.connection.refused");
        incoming.refuse();
    } else if handshakes >= limits.retry_above && incoming.may_retry() {
        // The newcomer is let in when it comes back with the token, whatever the load is then.
        let _ = incoming.retry();
    } else {
        let address = incoming.remote_address().ip();
        let Some(admitted) = shared.connections.admit(address, limits) else {
            tracing::debug!(%address, "quic.connection.too_many_of_address");
            return incoming.refuse();
        };
        shared.handshakes.fetch_add(1, Ordering::Relaxed);
        let shared = shared.clone();
        running.spawn(async move {
            let _admitted = admitted;
            let established = handshake(incoming, &shared).await;
            shared.handshakes.fetch_sub(1, Ordering::Relaxed);
            if let Some(connection) = established {
                let _counted = Counted::new(&shared.established);
                drive(connection, &shared).await;
            }
        });
    }
}

async fn handshake(incoming: Incoming, shared: &Shared) -> Option<quinn::Connection> {
    let remote = incoming.remote_address();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => {
            tracing::debug!(%remote, %error, "quic.handshake.failed");
            return None;
        }
    };
    match timeout(shared.limits.handshake_timeout, connecting).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "quic.handshake.failed");
            None
        }
        Err(_) => {
            tracing::debug!(%remote, "quic.handshake.late");
            None
        }
    }
}

fn describe(connection: &quinn::Connection) -> Peer {
    let chain =
        connection.peer_identity().and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    let chain = chain.as_ref().map_or(&[][..], |chain| chain.as_slice());
    Peer::with_certificates(chain, connection.remote_address(), Transport::Quic)
}

/// Serves the calls of a connection until it ends, or until shutdown and the grace period have passed.
async fn drive(connection: quinn::Connection, shared: &Shared) {
    let peer = describe(&connection);
    let _listed = shared.connections.add(peer.clone(), Line::Quic(connection.clone()));
    let caller = Arc::new(Caller {
        dispatch: shared.dispatch.clone(),
        limits: shared.limits.clone(),
        connection: connection.clone(),
        peer,
    });
    let link = Link::new(connection.clone(), Side::Server);
    let stopped = link.stopped();
    let built = h3::server::builder()
        .send_grease(false)
        .max_field_section_size(u64::from(shared.limits.header_bytes))
        .build(link)
        .await;
    let mut http = match built {
        Ok(http) => http,
        Err(error) => return tracing::debug!(error = %error, "quic.connection.failed"),
    };
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            accepted = http.accept() => match accepted {
                Ok(Some(resolver)) => {
                    calls.spawn(serve(caller.clone(), resolver, stopped.take()));
                }
                Ok(None) => break,
                // The connection is gone: dropping the calls cancels their handlers.
                Err(error) => return tracing::debug!(error = %error, "quic.connection.ended"),
            },
            Some(_) = calls.join_next() => {}
            () = shared.shutdown.cancelled() => break,
        }
    }
    drain(&mut http, calls, shared).await;
    close(&connection, VarInt::from_u32(H3_NO_ERROR), b"shutting down");
}

/// Sends GOAWAY and lets the calls in flight end within the grace period; new ones are rejected.
async fn drain(http: &mut h3::server::Connection<Link, crate::wire::Payload>, mut calls: JoinSet<()>, shared: &Shared) {
    let drained = async {
        http.shutdown(0).await?;
        loop {
            tokio::select! {
                joined = calls.join_next() => if joined.is_none() { return Ok(()) },
                // h3 rejects what was opened after GOAWAY; what was opened before it but arrives late is dropped, which
                // resets it. Both are safe to repeat elsewhere.
                accepted = http.accept() => match accepted {
                    Ok(Some(resolver)) => drop(resolver),
                    Ok(None) => while calls.join_next().await.is_some() {},
                    Err(error) => return Err(error),
                },
            }
        }
    };
    match timeout(shared.limits.shutdown_grace, drained).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = %error, "quic.connection.ended"),
        Err(_) => tracing::warn!(calls = calls.len(), "quic.shutdown.grace_over"),
    }
}

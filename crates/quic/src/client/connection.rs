//! One connection, and a call on it.

use std::sync::Arc;

use http::{Request, Response};
use hyper::client::conn::http2;
use quinn::VarInt;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::call;
use super::gate::Gate;
use super::revocable::Revocable;
use crate::congestion::close;
use crate::driver::Driver;
use crate::peer::Transport;
use crate::status::from_http2;
use crate::tasks::Tasks;
use crate::wire::{Opener, Payload};

/// HTTP/3's code for an end without an error.
const H3_NO_ERROR: u32 = 0x100;

/// A live connection; clones share it, and the last one closes it.
#[derive(Clone)]
pub(crate) enum Connection {
    Quic(QuicConnection),
    Tcp(TcpConnection),
}

/// A call that failed.
pub(crate) enum Failure {
    /// The server has not seen the request, which can be sent on another connection.
    Unsent(Box<Request<Body>>, Status),
    /// The call's answer.
    Answer(Status),
}

impl Connection {
    /// What carries it.
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Connection::Quic(_) => Transport::Quic,
            Connection::Tcp(_) => Transport::Tcp,
        }
    }

    /// Whether new calls can be made on it, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Connection::Quic(quic) => quic.alive.connection.close_reason().is_none(),
            Connection::Tcp(tcp) => !tcp.requests.is_closed(),
        }
    }

    /// Whether both are the same connection.
    pub(crate) fn is(&self, other: &Connection) -> bool {
        match (self, other) {
            (Connection::Quic(a), Connection::Quic(b)) => Arc::ptr_eq(&a.alive, &b.alive),
            (Connection::Tcp(a), Connection::Tcp(b)) => Arc::ptr_eq(&a.owner, &b.owner),
            _ => false,
        }
    }

    /// Closes it at once; its calls end with UNAVAILABLE.
    pub(crate) fn close(&self) {
        match self {
            Connection::Quic(quic) => close(&quic.alive.connection, VarInt::from_u32(H3_NO_ERROR), b"closed"),
            Connection::Tcp(tcp) => tcp.owner.0.stop(),
        }
    }

    /// Makes a call.
    pub(crate) async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        match self {
            Connection::Quic(quic) => call::call(quic.clone(), request).await,
            Connection::Tcp(tcp) => tcp.call(request).await,
        }
    }
}

/// A QUIC connection.
#[derive(Clone)]
pub(crate) struct QuicConnection {
    pub(super) requests: h3::client::SendRequest<Opener, Payload>,
    alive: Arc<Alive>,
}

/// Closes the connection when nobody has use for it, calls included.
struct Alive {
    connection: quinn::Connection,
    _driver: Driver,
}

impl QuicConnection {
    pub(crate) fn new(
        connection: quinn::Connection,
        requests: h3::client::SendRequest<Opener, Payload>,
        driver: Driver,
    ) -> Self {
        QuicConnection { requests, alive: Arc::new(Alive { connection, _driver: driver }) }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        close(&self.connection, VarInt::from_u32(H3_NO_ERROR), b"done");
    }
}

/// An HTTP/2 connection over TCP.
#[derive(Clone)]
pub(crate) struct TcpConnection {
    requests: http2::SendRequest<Body>,
    gate: Gate,
    owner: Arc<Owner>,
}

/// Closes the connection when nobody has use for it, calls included.
struct Owner(Tasks);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl TcpConnection {
    /// Takes the two ends of hyper's queue: where requests go in, and the gate of the future that takes them out.
    pub(super) fn new(requests: http2::SendRequest<Body>, gate: Gate, tasks: Tasks) -> Self {
        TcpConnection { requests, gate, owner: Arc::new(Owner(tasks)) }
    }

    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let mut requests = self.requests.clone();
        // hyper goes on sending a request whose response nobody waits for any more.
        let given_up = CancellationToken::new();
        let request = request.map(|body| Revocable::wrap(body, given_up.clone()));
        let given_up = given_up.drop_guard();
        // The request is put into the queue here, not when the answer is awaited.
        let answering = self.gate.pass(|| requests.try_send_request(request));
        match answering.await {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let body = call::Complete::new(body, &parts, (given_up, self.owner.clone()));
                Ok(Response::from_parts(parts, Body::new(body)))
            }
            Err(mut error) => match error.take_message() {
                Some(request) => {
                    given_up.disarm();
                    Err(Failure::Unsent(Box::new(request), from_http2(error.into_error())))
                }
                None => Err(Failure::Answer(from_http2(error.into_error()))),
            },
        }
    }
}

//! One call on a request stream of HTTP/3.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h3::error::Code;
use h3::server::{RequestResolver, RequestStream};
use http::{Request, Response};
use http_body::Frame;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;

use super::Limits;
use super::dispatch::Dispatch;
use crate::peer::{Peer, Transport};
use crate::wire::body::{self, Unsent};
use crate::wire::{Link, Payload, RecvStream, SendStream, Stopped};

/// What a call needs to know of its connection.
pub(crate) struct Caller {
    pub(crate) dispatch: Dispatch,
    pub(crate) limits: Arc<Limits>,
    pub(crate) connection: quinn::Connection,
    pub(crate) peer: Peer,
}

impl Caller {
    fn peer(&self) -> Peer {
        debug_assert_eq!(self.peer.transport, Transport::Quic);
        Peer { remote: self.connection.remote_address(), ..self.peer.clone() }
    }
}

/// Serves a request stream from its headers to the acknowledgement of its last byte.
///
/// The handler is dropped as soon as the client has given the call up. Whatever ends the call before its response is
/// complete resets the stream.
pub(crate) async fn serve(caller: Arc<Caller>, resolver: RequestResolver<Link, Payload>, stopped: Option<Stopped>) {
    let resolved = timeout(caller.limits.header_timeout, resolver.resolve_request()).await;
    let (request, stream) = match resolved {
        Ok(Ok(resolved)) => resolved,
        Ok(Err(error)) => return tracing::debug!(error = %error, "quic.request.malformed"),
        Err(_) => return tracing::debug!("quic.request.headers_late"),
    };
    let (mut send, recv) = stream.split();
    let mut stopped = stopped.unwrap_or_else(|| Box::pin(pending()));
    let request = request.map(|()| RequestBody { stream: Some(recv) });
    let finished = tokio::select! {
        biased;
        finished = respond(&caller, request, &mut send) => finished,
        _ = &mut stopped => return tracing::trace!("quic.call.cancelled"),
    };
    match finished {
        // Until the client has all of it, closing the connection would lose it.
        Ok(()) => drop(stopped.await),
        Err(Unsent::Body(status)) => {
            tracing::debug!(error = %status, "quic.response.failed");
            send.stop_stream(Code::H3_INTERNAL_ERROR);
        }
        Err(Unsent::Stream(error)) => tracing::trace!(error = %error, "quic.response.cut"),
    }
}

async fn respond(
    caller: &Caller,
    request: Request<RequestBody>,
    send: &mut RequestStream<SendStream, Payload>,
) -> Result<(), Unsent> {
    let response: Response<Body> = caller.dispatch.call(request, caller.peer()).await;
    let (parts, mut body) = response.into_parts();
    send.send_response(Response::from_parts(parts, ())).await?;
    body::send(send, &mut body).await
}

/// A request's body as it arrives.
struct RequestBody {
    /// `None` once it has ended or failed.
    stream: Option<RequestStream<RecvStream, Payload>>,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let frame = ready!(body::poll(stream, cx));
        if !body::goes_on(&frame) {
            self.stream = None;
        }
        Poll::Ready(frame)
    }
}

//! One call over HTTP/3, from the client's side.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h3::client::RequestStream;
use h3::error::StreamError;
use http::response::Parts;
use http::{Request, Response};
use http_body::Frame;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::StdError;

use super::connection::{Failure, QuicConnection};
use crate::status::from_stream;
use crate::wire::body::{self, Unsent};
use crate::wire::{Payload, RecvStream};

/// Makes a call: sends the request, gives the response once its headers are here.
///
/// The rest of a streamed request is sent by a task of its own, which ends with the response body.
///
/// # Cancel safety
/// Dropping the future, or the response body before its end, resets the stream.
pub(super) async fn call(mut connection: QuicConnection, request: Request<Body>) -> Result<Response<Body>, Failure> {
    let (parts, mut body) = request.into_parts();
    let head = Request::from_parts(parts.clone(), ());
    let stream = match connection.requests.send_request(head).await {
        Ok(stream) => stream,
        Err(error @ (StreamError::RemoteClosing | StreamError::ConnectionError(_))) => {
            return Err(Failure::Unsent(Box::new(Request::from_parts(parts, body)), from_stream(error)));
        }
        Err(error) => return Err(Failure::Answer(from_stream(error))),
    };
    let (mut send, mut recv) = stream.split();
    let mut sending = Box::pin(async move { body::send(&mut send, &mut body).await });
    let mut sent = None;
    let response = loop {
        tokio::select! {
            biased;
            end = &mut sending, if sent.is_none() => match end {
                // The stream was refused or lost; the response tells why.
                Ok(()) | Err(Unsent::Stream(_)) => sent = Some(()),
                Err(Unsent::Body(status)) => return Err(Failure::Answer(status)),
            },
            response = recv.recv_response() => break response,
        }
    };
    let response = response.map_err(|error| Failure::Answer(from_stream(error)))?;
    let uploading = match sent {
        Some(()) => None,
        None => Some(AbortOnDropHandle::new(tokio::spawn(async move {
            match sending.await {
                Ok(()) | Err(Unsent::Stream(_)) => None,
                Err(Unsent::Body(status)) => Some(status),
            }
        }))),
    };
    let (parts, ()) = response.into_parts();
    let body = ResponseBody { stream: Some(recv), uploading };
    let body = Complete::new(body, &parts, connection);
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// A response's body as it arrives.
struct ResponseBody {
    /// `None` once it has ended or failed.
    stream: Option<RequestStream<RecvStream, Payload>>,
    /// The rest of the request.
    uploading: Option<AbortOnDropHandle<Option<Status>>>,
}

impl ResponseBody {
    /// The error of the request's own body, which is what the call ends with.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Option<Status> {
        let uploading = self.uploading.as_mut()?;
        let Poll::Ready(joined) = Pin::new(uploading).poll(cx) else { return None };
        self.uploading = None;
        match joined {
            Ok(failed) => failed,
            Err(error) => Some(Status::internal(format!("the request's body could not be sent: {error}"))),
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(status) = self.poll_upload(cx) {
            self.stream = None;
            return Poll::Ready(Some(Err(status)));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let frame = ready!(body::poll(stream, cx));
        if body::goes_on(&frame) {
            return Poll::Ready(frame);
        }
        self.stream = None;
        // What is left of the request is of no use any more.
        self.uploading = None;
        Poll::Ready(frame)
    }
}

/// Demands that a response ends with a gRPC status, and keeps its connection alive until it has ended.
pub(super) struct Complete<B> {
    inner: Option<B>,
    status_seen: bool,
    keep: Option<Box<dyn Any + Send>>,
}

impl<B> Complete<B> {
    /// Wraps the body of the response whose headers are `parts`.
    pub(super) fn new(inner: B, parts: &Parts, keep: impl Any + Send) -> Self {
        // Without HTTP 200 tonic makes a status from the HTTP one.
        let status_seen = parts.headers.contains_key("grpc-status") || parts.status != http::StatusCode::OK;
        Complete { inner: Some(inner), status_seen, keep: Some(Box::new(keep)) }
    }

    fn end(&mut self) {
        self.inner = None;
        self.keep = None;
    }
}

impl<B> http_body::Body for Complete<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        match ready!(Pin::new(inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.status_seen |= frame.trailers_ref().is_some_and(|map| map.contains_key("grpc-status"));
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.end();
                Poll::Ready(Some(Err(lost(error.into()))))
            }
            None => {
                self.end();
                let complete = self.status_seen;
                self.status_seen = true;
                Poll::Ready((!complete).then(|| Err(Status::internal("the response ended without a status"))))
            }
        }
    }
}

/// The status of a response body that failed: a lost connection is UNAVAILABLE, not UNKNOWN.
fn lost(error: StdError) -> Status {
    match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => crate::status::from_http2(*error),
            Err(error) => Status::unavailable(format!("the response was lost: {error}")),
        },
    }
}

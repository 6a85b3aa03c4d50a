//! A request body that ends with its call.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;

/// Fails when its call was given up, which resets the stream.
pub(super) struct Revocable {
    inner: Body,
    given_up: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Revocable {
    /// Wraps `body` unless it is at its end already.
    pub(super) fn wrap(body: Body, given_up: CancellationToken) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Revocable { inner: body, given_up: Box::pin(given_up.cancelled_owned()) })
    }
}

impl http_body::Body for Revocable {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.given_up.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Status::cancelled("the call was given up"))));
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

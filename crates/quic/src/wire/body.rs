//! A message's body on a stream of `h3`: a client's request and a server's response are written alike, and read alike.

use std::future::Future;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::StreamError;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;

use super::{Payload, RecvStream, SendStream};
use crate::status::from_stream;

/// What a body is written to; `h3` has a type of its own for each side.
pub(crate) trait Outgoing: Send {
    fn data(&mut self, payload: Payload) -> impl Future<Output = Result<(), StreamError>> + Send;
    fn trailers(&mut self, trailers: HeaderMap) -> impl Future<Output = Result<(), StreamError>> + Send;
    fn end(&mut self) -> impl Future<Output = Result<(), StreamError>> + Send;
}

/// What a body is read from.
pub(crate) trait Incoming {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>>;
    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, StreamError>>;
}

macro_rules! stream_of {
    ($side:ident) => {
        impl Outgoing for h3::$side::RequestStream<SendStream, Payload> {
            async fn data(&mut self, payload: Payload) -> Result<(), StreamError> {
                self.send_data(payload).await
            }

            async fn trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
                self.send_trailers(trailers).await
            }

            async fn end(&mut self) -> Result<(), StreamError> {
                self.finish().await
            }
        }

        impl Incoming for h3::$side::RequestStream<RecvStream, Payload> {
            fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
                // The opaque buffer is a `Bytes`, whose rest is taken without a copy.
                self.poll_recv_data(cx)
                    .map(|data| data.map(|data| data.map(|mut data| data.copy_to_bytes(data.remaining()))))
            }

            fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, StreamError>> {
                self.poll_recv_trailers(cx)
            }
        }
    };
}

stream_of!(client);
stream_of!(server);

/// Why a body did not come to its proper end; its stream is to be reset.
pub(crate) enum Unsent {
    /// The body itself failed.
    Body(Status),
    /// The peer does not want the rest, or the stream was lost.
    Stream(StreamError),
}

impl From<StreamError> for Unsent {
    fn from(error: StreamError) -> Self {
        Unsent::Stream(error)
    }
}

/// Writes a body and its trailers, and ends the stream.
pub(crate) async fn send(stream: &mut impl Outgoing, body: &mut Body) -> Result<(), Unsent> {
    while let Some(frame) = body.frame().await {
        match frame.map_err(Unsent::Body)?.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => stream.data(Payload::new(data)).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    stream.trailers(trailers).await?;
                    break;
                }
            }
        }
    }
    Ok(stream.end().await?)
}

/// Reads the next frame of a body. After anything but data there is no more, and the stream is to be dropped.
pub(crate) fn poll(stream: &mut impl Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
    Poll::Ready(match ready!(stream.poll_data(cx)) {
        Ok(Some(bytes)) => Some(Ok(Frame::data(bytes))),
        Ok(None) => match ready!(stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(from_stream(error))),
        },
        Err(error) => Some(Err(from_stream(error))),
    })
}

/// Whether a frame that was read is not the last one.
pub(crate) fn goes_on(frame: &Option<Result<Frame<Bytes>, Status>>) -> bool {
    matches!(frame, Some(Ok(frame)) if frame.is_data())
}

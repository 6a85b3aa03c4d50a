//! The cut-off for peers that send a message, or a body that is no gRPC, too slowly.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::codegen::StdError;
use tonic::{Code, Status};

use super::Limits;

/// gRPC's prefix of a message: one byte of flags, four of length.
const PREFIX: usize = 5;

/// Bounds a request body by a minimum rate within each message.
///
/// Time counts only while the handler waits for bytes of a message that has begun; neither a handler that does not read
/// nor the pause between messages is held against the peer.
pub(crate) struct Paced<B> {
    inner: B,
    rate: u32,
    grace: Duration,
    message: Message,
    /// What this message has cost the handler in waiting so far.
    waited: Duration,
    /// Since when the handler waits.
    waiting: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// Follows the length-prefixed messages of a body.
#[derive(Debug, Default)]
struct Message {
    prefix: [u8; PREFIX],
    filled: usize,
    left: u64,
    received: u64,
}

/// Whether a request is a gRPC call.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

impl Message {
    /// A body without messages in it: it has begun, and ends with the stream.
    fn whole_body() -> Self {
        Message { filled: PREFIX, left: u64::MAX, ..Message::default() }
    }

    /// Whether a message has begun and has not ended.
    fn begun(&self) -> bool {
        self.filled > 0
    }

    /// Follows `data`; says whether a message ended in it.
    fn follow(&mut self, mut data: &[u8]) -> bool {
        let mut ended = false;
        while !data.is_empty() {
            if self.filled < PREFIX {
                self.prefix[self.filled] = data.get_u8();
                self.filled += 1;
                self.received += 1;
                if self.filled == PREFIX {
                    let [_, length @ ..] = self.prefix;
                    self.left = u64::from(u32::from_be_bytes(length));
                }
            } else {
                let taken = self.left.min(data.len() as u64);
                data.advance(usize::try_from(taken).unwrap_or(data.len()));
                self.left -= taken;
                self.received += taken;
            }
            if self.filled == PREFIX && self.left == 0 {
                *self = Message::default();
                ended = true;
            }
        }
        ended
    }
}

impl<B> Paced<B> {
    /// Wraps the body of a request with these headers.
    pub(crate) fn new(inner: B, headers: &HeaderMap, limits: &Limits) -> Self {
        Paced {
            inner,
            rate: limits.min_rate,
            grace: limits.min_rate_grace,
            message: if is_grpc(headers) { Message::default() } else { Message::whole_body() },
            waited: Duration::ZERO,
            waiting: None,
            alarm: None,
        }
    }

    /// What the message may cost in waiting, by what has arrived of it.
    fn allowed(&self) -> Duration {
        match self.rate {
            0 => Duration::MAX,
            rate => self.grace.saturating_add(Duration::from_secs(self.message.received / u64::from(rate))),
        }
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if let Some(since) = this.waiting.take() {
            this.waited += since.elapsed();
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.alarm = None;
            let frame = frame.map(|result| result.map_err(|error| cut_off(Status::from_error(error.into()))));
            let data = frame.as_ref().and_then(|result| result.as_ref().ok()).and_then(Frame::data_ref);
            if data.is_some_and(|data| this.message.follow(data)) {
                this.waited = Duration::ZERO;
            }
            return Poll::Ready(frame);
        }
        if !this.message.begun() || this.rate == 0 {
            return Poll::Pending;
        }
        let now = Instant::now();
        let Some(left) = this.allowed().checked_sub(this.waited).filter(|left| !left.is_zero()) else {
            return Poll::Ready(Some(Err(too_slow())));
        };
        this.waiting = Some(now);
        let at = now + left;
        let alarm = this.alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
        alarm.as_mut().reset(at);
        if alarm.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(too_slow())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The error of a request whose client gave it up, as a handler sees it.
///
/// tonic's `Streaming` reports CANCELLED of a request as its proper end. A truncated request must not look like that, so
/// it becomes ABORTED.
fn cut_off(status: Status) -> Status {
    match status.code() {
        Code::Cancelled => Status::aborted(format!("the request was cut off: {}", status.message())),
        _ => status,
    }
}

fn too_slow() -> Status {
    Status::deadline_exceeded("the message arrives more slowly than the minimum rate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let mut stream = vec![0, 0, 0, 0, 3, 1, 2, 3];
        stream.extend([0, 0, 0, 0, 0]);
        stream.extend([0, 0, 0, 0, 2, 1, 2]);
        for step in 1..=stream.len() {
            let mut message = Message::default();
            let ended = stream.chunks(step).filter(|piece| message.follow(piece)).count();
            assert!(!message.begun(), "step {step}");
            assert!((1..=3).contains(&ended), "step {step}");
        }
        let mut message = Message::default();
        assert!(!message.follow(&stream[..7]));
        assert!(message.begun());
        assert_eq!((message.received, message.left), (7, 1));
    }
}

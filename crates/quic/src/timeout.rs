//! Deadlines: the `grpc-timeout` header, and bodies that end when it passes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;

/// Reads the deadline that a call's headers ask for; a header that is not one is ignored, as gRPC does.
pub(crate) fn deadline(headers: &HeaderMap) -> Option<Instant> {
    let timeout = parse(headers.get("grpc-timeout")?)?;
    Instant::now().checked_add(timeout)
}

/// Parses `1*8DIGIT (H / M / S / m / u / n)`.
fn parse(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// The status of a call whose deadline passed.
pub(crate) fn expired() -> Status {
    Status::deadline_exceeded("the call's deadline passed")
}

/// Who watches the deadline, which decides how the body ends when it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The reader gets an error.
    Client,
    /// The wire gets trailers with DEADLINE_EXCEEDED.
    Server,
}

/// Bounds a response body by a deadline; at the deadline what is behind it is dropped, which cancels it.
pub(crate) struct Bounded {
    inner: Option<Body>,
    sleep: Pin<Box<Sleep>>,
    side: Side,
}

impl Bounded {
    /// Wraps `body` if there is a deadline.
    pub(crate) fn wrap(body: Body, deadline: Option<Instant>, side: Side) -> Body {
        match deadline {
            None => body,
            Some(at) if !body.is_end_stream() => {
                Body::new(Bounded { inner: Some(body), sleep: Box::pin(sleep_until(at)), side })
            }
            Some(_) => body,
        }
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if this.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.inner = None;
        Poll::Ready(Some(match this.side {
            Side::Client => Err(expired()),
            Side::Server => crate::status::trailers(&expired()).map(Frame::trailers),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), |inner| inner.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_a_timeout_is_understood() {
        let cases = [
            ("3H", Duration::from_secs(10_800)),
            ("2M", Duration::from_secs(120)),
            ("1S", Duration::from_secs(1)),
            ("99999999m", Duration::from_millis(99_999_999)),
            ("5u", Duration::from_micros(5)),
            ("7n", Duration::from_nanos(7)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(&HeaderValue::from_static(text)), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_malformed_timeout_is_no_timeout() {
        for text in ["", "S", "1", "1s", "123456789S", "-1S", "+1S", " 1S", "1.5S", "oneS"] {
            assert_eq!(parse(&HeaderValue::from_static(text)), None, "{text:?}");
        }
    }
}

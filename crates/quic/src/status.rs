//! From transport failures to gRPC status codes, after the gRPC proposal for HTTP/3 (G2).

use std::error::Error as _;

use h3::error::{Code as H3, StreamError};
use http::HeaderMap;
use tonic::{Code, Status};

use crate::wire::Fault;

/// Encodes a status as trailers.
///
/// # Errors
/// INTERNAL if the message or metadata cannot be a header.
pub(crate) fn trailers(status: &Status) -> Result<HeaderMap, Status> {
    let mut map = HeaderMap::with_capacity(3);
    status.add_header(&mut map)?;
    Ok(map)
}

/// What a stream that the peer reset means.
pub(crate) fn from_code(code: H3) -> Status {
    let message = format!("the peer ended the stream: {code}");
    match code {
        H3::H3_REQUEST_REJECTED => Status::unavailable(message),
        H3::H3_REQUEST_CANCELLED => Status::cancelled(message),
        H3::H3_EXCESSIVE_LOAD => Status::resource_exhausted(message),
        H3::H3_VERSION_FALLBACK => Status::unimplemented(message),
        _ => Status::internal(message),
    }
}

/// What a failed stream means to the call on it.
pub(crate) fn from_stream(error: StreamError) -> Status {
    match error {
        StreamError::RemoteTerminate { code, .. } => from_code(code),
        StreamError::ConnectionError(error) => Status::unavailable(format!("the connection was lost: {error}")),
        StreamError::RemoteClosing => Status::unavailable("the server is shutting down"),
        StreamError::HeaderTooBig { actual_size, max_size, .. } => {
            Status::resource_exhausted(format!("{actual_size} bytes of headers, where {max_size} are allowed"))
        }
        StreamError::Undefined(error) => match error.downcast_ref::<Fault>() {
            Some(fault) => Status::internal(fault.to_string()),
            None => Status::unavailable(format!("the stream was lost: {error}")),
        },
        other => Status::internal(format!("HTTP/3: {other}")),
    }
}

/// What a failure of HTTP/2 over TCP means to the call on it.
///
/// tonic's own mapping knows streams that were reset; what ended with its connection is UNAVAILABLE here, not INTERNAL or
/// UNKNOWN.
pub(crate) fn from_http2(error: hyper::Error) -> Status {
    let http2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    let gone = http2.is_some_and(|error| error.is_go_away() || error.is_io());
    if gone || error.is_closed() || error.is_canceled() || error.is_incomplete_message() {
        return Status::unavailable(format!("the connection was lost: {error}"));
    }
    let text = error.to_string();
    let status = Status::from_error(Box::new(error));
    match status.code() {
        Code::Unknown => Status::unavailable(format!("the connection was lost: {text}")),
        _ => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_http3_become_those_of_grpc() {
        let cases = [
            (H3::H3_REQUEST_REJECTED, Code::Unavailable),
            (H3::H3_REQUEST_CANCELLED, Code::Cancelled),
            (H3::H3_EXCESSIVE_LOAD, Code::ResourceExhausted),
            (H3::H3_VERSION_FALLBACK, Code::Unimplemented),
            (H3::H3_NO_ERROR, Code::Internal),
            (H3::H3_INTERNAL_ERROR, Code::Internal),
            (H3::H3_MESSAGE_ERROR, Code::Internal),
        ];
        for (code, expected) in cases {
            assert_eq!(from_code(code).code(), expected, "{code}");
        }
    }

    #[test]
    fn a_fault_in_framing_is_internal_and_a_lost_stream_unavailable() {
        let fault = from_stream(StreamError::Undefined(Box::new(Fault::Truncated)));
        assert_eq!(fault.code(), Code::Internal);
        let lost = from_stream(StreamError::Undefined("gone".into()));
        assert_eq!(lost.code(), Code::Unavailable);
    }
}

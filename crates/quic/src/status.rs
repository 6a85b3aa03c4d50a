//! From transport failures to gRPC status codes, after the gRPC proposal for HTTP/3 (G2).

use h3::error::{Code, StreamError};
use http::HeaderMap;
use tonic::Status;

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
pub(crate) fn from_code(code: Code) -> Status {
    let message = format!("the peer ended the stream: {code}");
    match code {
        Code::H3_REQUEST_REJECTED => Status::unavailable(message),
        Code::H3_REQUEST_CANCELLED => Status::cancelled(message),
        Code::H3_EXCESSIVE_LOAD => Status::resource_exhausted(message),
        Code::H3_VERSION_FALLBACK => Status::unimplemented(message),
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
pub(crate) fn from_http2(error: hyper::Error) -> Status {
    let (closed, text) = (error.is_closed() || error.is_canceled(), error.to_string());
    let status = Status::from_error(Box::new(error));
    match status.code() {
        tonic::Code::Unknown => Status::unavailable(format!("the connection was lost: {text}")),
        tonic::Code::Cancelled if closed => Status::unavailable(format!("the connection was lost: {text}")),
        _ => status,
    }
}

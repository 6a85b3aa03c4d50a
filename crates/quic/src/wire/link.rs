//! A QUIC connection as `h3` wants it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, StoppedError, VarInt};

use crate::congestion::close;

use super::frames::Frames;
use super::payload::Payload;
use super::recv::RecvStream;
use super::send::SendStream;

type Pending<T> = Option<Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send + Sync>>>;

/// Completes when the peer no longer reads a stream: `Some` code if it refuses it, `None` when it has all of it.
pub(crate) type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Sends requests.
    Client,
    /// Answers requests.
    Server,
}

impl Side {
    /// The codes for a send stream and a receive stream that are given up before their end.
    fn abandon(self) -> (VarInt, VarInt) {
        match self {
            Side::Client => (varint(Code::H3_REQUEST_CANCELLED.value()), varint(Code::H3_REQUEST_CANCELLED.value())),
            // A server may answer before it has read the whole request, which is no error (RFC 9114, section 4.1).
            Side::Server => (varint(Code::H3_REQUEST_CANCELLED.value()), varint(Code::H3_NO_ERROR.value())),
        }
    }
}

/// A connection that `h3` drives.
pub(crate) struct Link {
    opener: Opener,
    accepting_bi: Pending<(quinn::SendStream, quinn::RecvStream)>,
    accepting_uni: Pending<quinn::RecvStream>,
    stopped: Arc<Mutex<Option<Stopped>>>,
}

impl Link {
    /// Wraps a connection.
    pub(crate) fn new(connection: quinn::Connection, side: Side) -> Self {
        let opener = Opener { connection, side, opening_bi: None, opening_uni: None };
        Link { opener, accepting_bi: None, accepting_uni: None, stopped: Arc::default() }
    }

    /// Where the [`Stopped`] of the stream that was accepted last is found.
    pub(crate) fn stopped(&self) -> LastStopped {
        LastStopped(self.stopped.clone())
    }
}

/// Gives the [`Stopped`] of the stream that was accepted last.
pub(crate) struct LastStopped(Arc<Mutex<Option<Stopped>>>);

impl LastStopped {
    /// Takes it; to be called once after each request that `h3` accepted.
    pub(crate) fn take(&self) -> Option<Stopped> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl quic::Connection<Payload> for Link {
    type RecvStream = RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<RecvStream, ConnectionErrorIncoming>> {
        let connection = &self.opener.connection;
        let accepting = self.accepting_uni.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_uni().await })
        });
        let accepted = ready!(accepting.as_mut().poll(cx));
        self.accepting_uni = None;
        let stream = accepted.map_err(lost)?;
        Poll::Ready(Ok(RecvStream::new(stream, Frames::unidirectional(), self.opener.side.abandon().1)))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream, ConnectionErrorIncoming>> {
        let connection = &self.opener.connection;
        let accepting = self.accepting_bi.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_bi().await })
        });
        let accepted = ready!(accepting.as_mut().poll(cx));
        self.accepting_bi = None;
        let (send, recv) = accepted.map_err(lost)?;
        let stopped: Stopped = Box::pin(send.stopped());
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(stopped);
        Poll::Ready(Ok(BidiStream::new(send, recv, self.opener.side)))
    }

    fn opener(&self) -> Opener {
        self.opener.clone()
    }
}

impl quic::OpenStreams<Payload> for Link {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

/// Opens streams.
pub(crate) struct Opener {
    connection: quinn::Connection,
    side: Side,
    opening_bi: Pending<(quinn::SendStream, quinn::RecvStream)>,
    opening_uni: Pending<quinn::SendStream>,
}

impl Clone for Opener {
    fn clone(&self) -> Self {
        Opener { connection: self.connection.clone(), side: self.side, opening_bi: None, opening_uni: None }
    }
}

impl quic::OpenStreams<Payload> for Opener {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        let opening = self.opening_bi.get_or_insert_with(|| {
            let connection = self.connection.clone();
            Box::pin(async move { connection.open_bi().await })
        });
        let opened = ready!(opening.as_mut().poll(cx));
        self.opening_bi = None;
        let (send, recv) =
            opened.map_err(|error| StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) })?;
        Poll::Ready(Ok(BidiStream::new(send, recv, self.side)))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        let opening = self.opening_uni.get_or_insert_with(|| {
            let connection = self.connection.clone();
            Box::pin(async move { connection.open_uni().await })
        });
        let opened = ready!(opening.as_mut().poll(cx));
        self.opening_uni = None;
        let stream =
            opened.map_err(|error| StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) })?;
        Poll::Ready(Ok(SendStream::new(stream, self.side.abandon().0)))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        close(&self.connection, varint(code.value()), reason);
    }
}

/// A request's stream.
pub(crate) struct BidiStream {
    send: SendStream,
    recv: RecvStream,
}

impl BidiStream {
    fn new(send: quinn::SendStream, recv: quinn::RecvStream, side: Side) -> Self {
        let (abandon_send, abandon_recv) = side.abandon();
        BidiStream {
            send: SendStream::new(send, abandon_send),
            recv: RecvStream::new(recv, Frames::request(), abandon_recv),
        }
    }
}

impl quic::BidiStream<Payload> for BidiStream {
    type SendStream = SendStream;
    type RecvStream = RecvStream;

    fn split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }
}

impl quic::SendStream<Payload> for BidiStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Payload>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl quic::RecvStream for BidiStream {
    type Buf = bytes::Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<bytes::Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.recv.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

/// Translates the loss of a connection.
pub(super) fn lost(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

/// Translates a code; codes are at most 62 bits wide, what is not becomes the largest.
pub(super) fn varint(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

/// Translates a stream's id, which has 62 bits in both worlds.
pub(super) fn stream_id(id: quinn::StreamId) -> StreamId {
    StreamId::try_from(u64::from(id)).expect("a QUIC stream id has 62 bits")
}

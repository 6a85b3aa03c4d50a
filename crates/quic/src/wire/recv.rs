//! The receiving half of a QUIC stream.

use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h3::quic::{self, StreamErrorIncoming, StreamId};
use quinn::VarInt;

use super::frames::{Fault, Frames};
use super::link::{lost, stream_id, varint};

/// Packets' worth of data that are taken under one lock of the connection.
const BATCH: usize = 16;

/// Hands `h3` a stream piece by piece, cut at frame borders; dropped before its end, it asks the peer to stop.
pub(crate) struct RecvStream {
    stream: quinn::RecvStream,
    frames: Frames,
    batch: [Bytes; BATCH],
    /// The first piece of `batch` that may hold data.
    next: usize,
    ended: bool,
    /// The code that the peer is asked to stop with.
    abandon: VarInt,
}

impl RecvStream {
    pub(super) fn new(stream: quinn::RecvStream, frames: Frames, abandon: VarInt) -> Self {
        RecvStream { stream, frames, batch: [const { Bytes::new() }; BATCH], next: BATCH, ended: false, abandon }
    }

    /// Takes the next piece out of what was read.
    fn buffered(&mut self) -> Result<Option<Bytes>, Fault> {
        while let Some(input) = self.batch.get_mut(self.next) {
            if let Some(piece) = self.frames.next(input)? {
                return Ok(Some(piece));
            }
            self.next += 1;
        }
        Ok(None)
    }
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            if let Some(piece) = self.buffered().map_err(fault)? {
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            let read = ready!(pin!(self.stream.read_chunks(&mut self.batch)).poll(cx)).map_err(read_error)?;
            match read {
                Some(count) => {
                    for unused in &mut self.batch[count..] {
                        *unused = Bytes::new();
                    }
                    self.next = 0;
                }
                None => {
                    self.ended = true;
                    if !self.frames.may_end() {
                        return Poll::Ready(Err(fault(Fault::Truncated)));
                    }
                }
            }
        }
    }

    fn stop_sending(&mut self, code: u64) {
        // Fails only for a stream that has ended.
        let _ = self.stream.stop(varint(code));
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.stream.stop(self.abandon);
        }
    }
}

fn fault(fault: Fault) -> StreamErrorIncoming {
    StreamErrorIncoming::Unknown(Box::new(fault))
}

fn read_error(error: quinn::ReadError) -> StreamErrorIncoming {
    match error {
        quinn::ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        quinn::ReadError::ConnectionLost(error) => {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
        }
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

//! The sending half of a QUIC stream.

use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::quic::{self, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::VarInt;

use super::link::{lost, stream_id, varint};
use super::payload::{Payload, lift};

/// The first byte of a DATA frame.
const DATA: u8 = 0x00;

/// Sends what `h3` writes; dropped before [`finish`](quic::SendStream::poll_finish), it resets the stream.
pub(crate) struct SendStream {
    stream: quinn::SendStream,
    /// A frame's head and payload, what is left to write of them.
    writing: [Bytes; 2],
    finished: bool,
    /// The code that an improper end is reported with.
    abandon: VarInt,
}

impl SendStream {
    pub(super) fn new(stream: quinn::SendStream, abandon: VarInt) -> Self {
        SendStream { stream, writing: [Bytes::new(), Bytes::new()], finished: false, abandon }
    }
}

impl quic::SendStream<Payload> for SendStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while self.writing.iter().any(|part| !part.is_empty()) {
            let first = usize::from(self.writing[0].is_empty());
            let write = pin!(self.stream.write_chunks(&mut self.writing[first..]));
            ready!(write.poll(cx)).map_err(write_error)?;
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Payload>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.iter().any(|part| !part.is_empty()) {
            return Err(StreamErrorIncoming::Unknown("a frame is begun before the one before it is written".into()));
        }
        let mut data: WriteBuf<Payload> = data.into();
        let head = Bytes::copy_from_slice(data.chunk());
        data.advance(head.len());
        let body = match (data.remaining(), head.first()) {
            (0, _) => Bytes::new(),
            (_, Some(&DATA)) => lift(&mut data).ok_or_else(|| {
                StreamErrorIncoming::Unknown("the payload of a DATA frame is not in one piece".into())
            })?,
            (length, _) => data.copy_to_bytes(length),
        };
        self.writing = [head, body];
        Ok(())
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.finished = true;
        Poll::Ready(self.stream.finish().map_err(|closed| StreamErrorIncoming::Unknown(Box::new(closed))))
    }

    fn reset(&mut self, code: u64) {
        self.finished = true;
        // Fails only for a stream that was reset or acknowledged as a whole, where nothing is left to say.
        let _ = self.stream.reset(varint(code));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.stream.reset(self.abandon);
        }
    }
}

fn write_error(error: quinn::WriteError) -> StreamErrorIncoming {
    match error {
        quinn::WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        quinn::WriteError::ConnectionLost(error) => {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
        }
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

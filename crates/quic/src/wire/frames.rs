//! Where HTTP/3 frames begin and end in a stream of bytes.

use bytes::{Buf, Bytes};

/// The largest HEADERS or control frame that is accepted, in bytes.
pub(crate) const MAX_HEADERS: u64 = 64 << 10;

const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
/// A WebTransport stream has no length; it is not spoken here.
const WEBTRANSPORT: u64 = 0x41;
/// Frames that HTTP/3 defines or reserves; h3 knows what to say to those that are out of place.
const KNOWN: [u64; 10] = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0d];
/// The type of a unidirectional control stream.
const CONTROL_STREAM: u64 = 0x00;
/// Two variable-length integers of eight bytes each.
const MAX_HEAD: usize = 16;

/// Describes a stream that breaks the rules of HTTP/3 framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Fault {
    /// The stream ended properly for QUIC, but in the middle of a frame.
    #[error("the stream ended within a frame")]
    Truncated,
    /// A frame that has to be kept in memory is larger than we keep.
    #[error("a frame of type {kind:#x} has {length} bytes")]
    TooLarge {
        /// The frame's type.
        kind: u64,
        /// Its announced length, bytes.
        length: u64,
    },
    /// A frame that we do not speak and that has no length to skip.
    #[error("a frame of type {0:#x} is not supported")]
    Unsupported(u64),
}

/// Cuts a stream at frame borders.
#[derive(Debug)]
pub(crate) struct Frames {
    state: State,
    head: [u8; MAX_HEAD],
    filled: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the type of a unidirectional stream.
    StreamType,
    /// At, or within, a frame's type and length.
    Head,
    /// Within a payload that is handed on.
    Payload(u64),
    /// Within a payload that nobody wants.
    Skip(u64),
    /// In a stream that has no frames.
    Raw,
}

impl Frames {
    /// Begins a request stream.
    pub(crate) fn request() -> Self {
        Frames { state: State::Head, head: [0; MAX_HEAD], filled: 0 }
    }

    /// Begins a unidirectional stream, whose type comes first.
    pub(crate) fn unidirectional() -> Self {
        Frames { state: State::StreamType, head: [0; MAX_HEAD], filled: 0 }
    }

    /// Whether the stream may end here.
    pub(crate) fn may_end(&self) -> bool {
        self.filled == 0 && matches!(self.state, State::Head | State::Raw | State::StreamType)
    }

    /// Takes the next piece from `input`: a whole frame head, or payload that does not cross a frame's end.
    ///
    /// `None` means that `input` is used up. Empty DATA frames and unknown frames leave no trace: `h3` takes the first
    /// for the end of the body.
    ///
    /// # Errors
    /// [`Fault`] for what is not accepted; the stream cannot be read on.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Fault> {
        while !input.is_empty() {
            match self.state {
                State::Raw => return Ok(Some(std::mem::take(input))),
                State::Payload(left) => return Ok(Some(self.payload(left, input))),
                State::Skip(left) => {
                    let skipped = left.min(input.len() as u64);
                    input.advance(usize::try_from(skipped).unwrap_or(input.len()));
                    self.state = if skipped == left { State::Head } else { State::Skip(left - skipped) };
                }
                State::StreamType => {
                    self.head[self.filled] = input.get_u8();
                    self.filled += 1;
                    if let Some((kind, _)) = varint(&self.head[..self.filled]) {
                        self.state = if kind == CONTROL_STREAM { State::Head } else { State::Raw };
                        return Ok(Some(self.take_head()));
                    }
                }
                State::Head => {
                    self.head[self.filled] = input.get_u8();
                    self.filled += 1;
                    if let Some(head) = self.finish_head()? {
                        return Ok(Some(head));
                    }
                }
            }
        }
        Ok(None)
    }

    fn payload(&mut self, left: u64, input: &mut Bytes) -> Bytes {
        let taken = left.min(input.len() as u64);
        self.state = if taken == left { State::Head } else { State::Payload(left - taken) };
        input.split_to(usize::try_from(taken).unwrap_or(input.len()))
    }

    fn take_head(&mut self) -> Bytes {
        let head = Bytes::copy_from_slice(&self.head[..self.filled]);
        self.filled = 0;
        head
    }

    /// Decides on a frame once its type and length are complete.
    fn finish_head(&mut self) -> Result<Option<Bytes>, Fault> {
        let head = &self.head[..self.filled];
        let Some((kind, used)) = varint(head) else { return Ok(None) };
        if kind == WEBTRANSPORT {
            return Err(Fault::Unsupported(kind));
        }
        let Some((length, _)) = varint(&head[used..]) else { return Ok(None) };
        if kind != DATA && KNOWN.contains(&kind) && length > MAX_HEADERS {
            return Err(Fault::TooLarge { kind, length });
        }
        let wanted = kind == DATA && length > 0 || KNOWN.contains(&kind);
        if !wanted {
            self.filled = 0;
            self.state = if length == 0 { State::Head } else { State::Skip(length) };
            return Ok(None);
        }
        debug_assert!(kind == DATA || kind == HEADERS || KNOWN.contains(&kind));
        self.state = if length == 0 { State::Head } else { State::Payload(length) };
        Ok(Some(self.take_head()))
    }
}

/// Decodes a variable-length integer (RFC 9000, section 16) and says how many bytes it has; `None` if incomplete.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let size = 1_usize << (first >> 6);
    let rest = bytes.get(1..size)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `stream` in pieces of `step` bytes and joins what comes out.
    fn cut(mut frames: Frames, stream: &[u8], step: usize) -> Result<(Vec<Bytes>, bool), Fault> {
        let mut out = Vec::new();
        for piece in stream.chunks(step) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(part) = frames.next(&mut input)? {
                out.push(part);
            }
        }
        Ok((out, frames.may_end()))
    }

    #[test]
    fn heads_and_payloads_come_apart_and_never_cross_a_frame() {
        let stream = [0x01, 2, b'h', b'i', 0x00, 3, b'a', b'b', b'c', 0x00, 1, b'd'];
        let (parts, end) = cut(Frames::request(), &stream, 64).unwrap();
        let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        assert_eq!(parts, [&[0x01, 2][..], b"hi", &[0x00, 3], b"abc", &[0x00, 1], b"d"]);
        assert!(end);
    }

    #[test]
    fn the_bytes_are_the_same_however_the_stream_arrives() {
        let mut stream = vec![0x01, 0x40, 70];
        stream.extend([7; 70]);
        stream.extend([0x00, 0x80, 0, 1, 0]);
        stream.extend([9; 256]);
        for step in 1..stream.len() {
            let (parts, end) = cut(Frames::request(), &stream, step).unwrap();
            assert_eq!(parts.concat(), stream, "step {step}");
            assert!(end);
        }
    }

    #[test]
    fn empty_data_and_unknown_frames_leave_no_trace() {
        // A reserved type (0x21) with payload, an empty DATA frame, an empty unknown frame.
        let stream = [0x21, 3, 1, 2, 3, 0x00, 0, 0x40, 0x40, 0, 0x00, 1, b'x'];
        for step in 1..stream.len() {
            let (parts, end) = cut(Frames::request(), &stream, step).unwrap();
            assert_eq!(parts.concat(), [0x00, 1, b'x'], "step {step}");
            assert!(end);
        }
    }

    #[test]
    fn an_end_within_a_frame_is_seen() {
        let stream = [0x00, 3, b'a', b'b', b'c'];
        for length in 1..stream.len() {
            let (_, end) = cut(Frames::request(), &stream[..length], 64).unwrap();
            assert!(!end, "{length} bytes");
        }
    }

    #[test]
    fn a_headers_frame_of_gigabytes_is_refused_by_its_head() {
        let stream = [0x01, 0xc0, 0, 0, 1, 0, 0, 0, 0];
        let refused = cut(Frames::request(), &stream, 64).unwrap_err();
        assert_eq!(refused, Fault::TooLarge { kind: HEADERS, length: 1 << 32 });
    }

    #[test]
    fn a_data_frame_may_be_larger_than_any_buffer() {
        let stream = [0x00, 0xc0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3];
        let (parts, end) = cut(Frames::request(), &stream, 64).unwrap();
        assert_eq!(parts.len(), 2);
        assert!(!end);
    }

    #[test]
    fn control_streams_have_frames_and_others_are_handed_on() {
        let (parts, _) = cut(Frames::unidirectional(), &[0x00, 0x04, 1, 9], 64).unwrap();
        assert_eq!(parts.len(), 3);
        let (parts, _) = cut(Frames::unidirectional(), &[0x02, 0xff, 0xff, 0xff], 64).unwrap();
        assert_eq!(parts.concat(), [0x02, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn the_integers_of_the_standard_are_decoded() {
        // RFC 9000, appendix A.1.
        let long = [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c];
        assert_eq!(varint(&long), Some((151_288_809_941_952_652, 8)));
        assert_eq!(varint(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(varint(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(varint(&[0x25]), Some((37, 1)));
        assert_eq!(varint(&[0x7b]), None);
    }
}

//! The bytes of journal segments: a header, then frames.
//!
//! # Segment file, `<number, 20 digits>.journal`
//!
//! Integers are big-endian.
//!
//! ```text
//! header, 64 bytes: magic "QUICSJRN" | version u32 = 1 | flags u32 = 0 | segment u64 | first seq u64 | epoch u64
//!                   | salt [u8; 16] | check [u8; 8] (first bytes of the BLAKE3 of the 56 before)
//! frame:            magic "QJF1" | payload length u32 | seq u64 | durable u64
//!                   | head check [u8; 8] | hash [u8; 32] | payload | zeros up to a multiple of 8
//! ```
//!
//! Both the head check (cut to 8 bytes) and the hash are keyed BLAKE3; the key is derived from the whole segment header,
//! and both cover the frame's place. So a copy of a frame inside somebody's content verifies nowhere, and a frame that
//! lies at a wrong place is none. `durable` is the last seq whose sync had returned before the frame was written.
//!
//! # Torn or damaged
//!
//! A power cut may leave any part of what was written since the last sync; only the frames of one group are written
//! between two syncs. Where the last segment stops making sense although frame `n` should follow, the frames behind that
//! place are searched for: if one of them says that `n` was durable, the segment is damaged and the store refuses to open;
//! otherwise it is the torn tail of a group that was never acknowledged, and it is cut off. In every other segment all
//! frames up to the first seq of the next one must be there.

use crate::batch::{Located, MAX_BATCH, Reader};
use crate::error::Error;

pub(crate) const HEADER_LEN: usize = 64;
pub(crate) const FRAME_HEAD: usize = 64;
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"QUICSJRN";
const FRAME_MAGIC: &[u8; 4] = b"QJF1";
const ALIGN: usize = 8;
const HEAD_CHECK: usize = 24;
const HASH: usize = 32;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) segment: u64,
    pub(crate) first_seq: u64,
    pub(crate) epoch: u64,
    pub(crate) salt: [u8; 16],
}

/// Names the file of a segment.
pub(crate) fn file_name(segment: u64) -> String {
    format!("{segment:020}.journal")
}

/// Reads the number of a segment from its file's name.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".journal")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_be_bytes());
        out[16..24].copy_from_slice(&self.segment.to_be_bytes());
        out[24..32].copy_from_slice(&self.first_seq.to_be_bytes());
        out[32..40].copy_from_slice(&self.epoch.to_be_bytes());
        out[40..56].copy_from_slice(&self.salt);
        let check = blake3::hash(&out[..56]);
        out[56..].copy_from_slice(&check.as_bytes()[..8]);
        out
    }

    /// Decodes the head of the file of segment `number`.
    pub(crate) fn decode(bytes: &[u8], number: u64) -> Result<Self, Error> {
        let file = file_name(number);
        let bad = |offset, reason| Error::damaged(file.clone(), offset, reason);
        let Some(bytes) = bytes.get(..HEADER_LEN) else {
            return Err(bad(bytes.len() as u64, "the header is cut short"));
        };
        let mut reader = Reader::new(bytes);
        let short = || bad(0, "the header is cut short");
        if reader.take(8) != Some(MAGIC) {
            return Err(bad(0, "the header has no magic"));
        }
        let version = reader.u32().ok_or_else(short)?;
        if blake3::hash(&bytes[..56]).as_bytes()[..8] != bytes[56..] {
            return Err(bad(56, "the header does not match its check"));
        }
        let flags = reader.u32().ok_or_else(short)?;
        if version != VERSION || flags != 0 {
            return Err(Error::Newer { file, version, known: VERSION });
        }
        let header = Header {
            segment: reader.u64().ok_or_else(short)?,
            first_seq: reader.u64().ok_or_else(short)?,
            epoch: reader.u64().ok_or_else(short)?,
            salt: reader.array().ok_or_else(short)?,
        };
        if header.segment != number {
            return Err(bad(16, "the header names another segment"));
        }
        Ok(header)
    }

    pub(crate) fn key(&self) -> FrameKey {
        FrameKey(blake3::derive_key("quics-meta journal frame v1", &self.to_bytes()))
    }
}

/// Keys the checks of one segment's frames.
#[derive(Clone, Copy)]
pub(crate) struct FrameKey([u8; 32]);

/// Gives the room that a payload takes as a frame.
pub(crate) fn frame_len(payload: usize) -> usize {
    (FRAME_HEAD + payload).next_multiple_of(ALIGN)
}

impl FrameKey {
    fn head_check(&self, offset: u64, head: &[u8]) -> [u8; 8] {
        let hash = blake3::Hasher::new_keyed(&self.0).update(&offset.to_be_bytes()).update(head).finalize();
        let mut check = [0; 8];
        check.copy_from_slice(&hash.as_bytes()[..8]);
        check
    }

    /// Appends the frame of a batch to the buffer of a group, which will be written at byte `group` of the segment.
    pub(crate) fn append(&self, out: &mut Vec<u8>, group: u64, seq: u64, durable: u64, batch: &Located) {
        let start = out.len();
        let offset = group + start as u64;
        out.resize(start + FRAME_HEAD, 0);
        batch.encode(out);
        let payload = out.len() - start - FRAME_HEAD;
        out.resize(start + frame_len(payload), 0);
        let (head, rest) = out[start..].split_at_mut(FRAME_HEAD);
        head[..4].copy_from_slice(FRAME_MAGIC);
        // A payload is at most MAX_BATCH (`Batch::check`).
        head[4..8].copy_from_slice(&(payload as u32).to_be_bytes());
        head[8..16].copy_from_slice(&seq.to_be_bytes());
        head[16..24].copy_from_slice(&durable.to_be_bytes());
        let check = self.head_check(offset, &head[..HEAD_CHECK]);
        head[HEAD_CHECK..HASH].copy_from_slice(&check);
        let hash = self.hash(offset, &head[..HASH], &rest[..payload]);
        head[HASH..].copy_from_slice(hash.as_bytes());
    }

    fn hash(&self, offset: u64, head: &[u8], payload: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.0).update(&offset.to_be_bytes()).update(head).update(payload).finalize()
    }

    /// Decodes the frame at byte `offset` of a segment's bytes; `None` where there is no whole and true frame.
    pub(crate) fn decode<'a>(&self, segment: &'a [u8], offset: usize) -> Option<Frame<'a>> {
        let head = segment.get(offset..offset.checked_add(FRAME_HEAD)?)?;
        if &head[..4] != FRAME_MAGIC || self.head_check(offset as u64, &head[..HEAD_CHECK]) != head[HEAD_CHECK..HASH] {
            return None;
        }
        let mut reader = Reader::new(&head[4..HEAD_CHECK]);
        let (len, seq, durable) = (reader.u32()? as usize, reader.u64()?, reader.u64()?);
        if len > MAX_BATCH {
            return None;
        }
        let end = offset + frame_len(len);
        let (payload, padding) = segment.get(offset + FRAME_HEAD..end)?.split_at(len);
        if padding.iter().any(|byte| *byte != 0) || self.hash(offset as u64, &head[..HASH], payload) != head[HASH..] {
            return None;
        }
        Some(Frame {
            seq,
            durable,
            payload,
            payload_offset: (offset + FRAME_HEAD) as u64,
            end: offset + frame_len(len),
        })
    }

    /// Searches for the frame from byte `from` on that says most about what was durable.
    pub(crate) fn newest_durable(&self, segment: &[u8], from: usize) -> Option<u64> {
        let mut newest = None;
        let mut at = from.next_multiple_of(ALIGN);
        while at + FRAME_HEAD <= segment.len() {
            match self.decode(segment, at) {
                Some(frame) => {
                    newest = newest.max(Some(frame.durable));
                    at = frame.end;
                }
                None => at += ALIGN,
            }
        }
        newest
    }
}

/// A frame whose hash holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) seq: u64,
    pub(crate) durable: u64,
    pub(crate) payload: &'a [u8],
    pub(crate) payload_offset: u64,
    pub(crate) end: usize,
}

/// A segment's bytes with its header.
pub(crate) struct Segment {
    pub(crate) header: Header,
    bytes: Vec<u8>,
}

impl Segment {
    pub(crate) fn new(number: u64, bytes: Vec<u8>) -> Result<Self, Error> {
        Ok(Self { header: Header::decode(&bytes, number)?, bytes })
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Gives the bytes between two places that [`Segment::frames`] named.
    pub(crate) fn between(&self, from: usize, to: usize) -> &[u8] {
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// Visits the frames in order, up to the first place where there is none, and says where that is and which seq is due.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a true frame that is out of order or no batch, and what `visit` gives.
    pub(crate) fn frames(&self, mut visit: impl FnMut(&Frame<'_>, Located) -> Result<(), Error>) -> Result<End, Error> {
        let key = self.header.key();
        let mut end = End { offset: HEADER_LEN, seq: self.header.first_seq, group: HEADER_LEN };
        let mut durable = None;
        while let Some(frame) = key.decode(&self.bytes, end.offset) {
            let damaged = |reason| Error::damaged(file_name(self.header.segment), end.offset as u64, reason);
            if frame.seq != end.seq {
                return Err(damaged("a frame is out of order"));
            }
            let batch = Located::decode(frame.payload, self.header.segment, frame.payload_offset)
                .ok_or_else(|| damaged("a frame holds no batch"))?;
            visit(&frame, batch)?;
            let group = if durable == Some(frame.durable) { end.group } else { end.offset };
            durable = Some(frame.durable);
            end = End { offset: frame.end, seq: end.seq + 1, group };
        }
        Ok(end)
    }

    /// Judges whether what lies behind the last frame was ever acknowledged.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a later frame proves that it was.
    pub(crate) fn check_tail(&self, end: End) -> Result<(), Error> {
        match self.header.key().newest_durable(&self.bytes, end.offset) {
            Some(durable) if durable >= end.seq => Err(Error::damaged(
                file_name(self.header.segment),
                end.offset as u64,
                "a frame that was durable does not match its hash",
            )),
            _ => Ok(()),
        }
    }
}

/// Where a segment's frames end, the seq that would come next, and where the frames of the last group begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) offset: usize,
    pub(crate) seq: u64,
    pub(crate) group: usize,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::batch::{Batch, Located};

    fn header() -> Header {
        Header { segment: 3, first_seq: 41, epoch: 0x0102_0304_0506_0708, salt: *b"saltsaltsaltsalt" }
    }

    fn located(offset: u64) -> Located {
        let mut batch = Batch::new();
        let slot = batch.blob_tagged("t", "blob");
        batch.put("key", "value").delete("gone").put_located("at", "h", slot);
        batch.locate(3, offset)
    }

    /// A segment of three frames in two groups.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let (header, mut bytes, mut starts) = (header(), header().to_bytes().to_vec(), Vec::new());
        for (seq, durable) in [(41, 40), (42, 40), (43, 42)] {
            starts.push(bytes.len());
            let mut frame = Vec::new();
            header.key().append(
                &mut frame,
                bytes.len() as u64,
                seq,
                durable,
                &located((bytes.len() + FRAME_HEAD) as u64),
            );
            bytes.extend(frame);
        }
        starts.push(bytes.len());
        (bytes, starts)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_header_has_these_bytes() {
        assert_eq!(hex(&header().to_bytes()), GOLDEN_HEADER);
        assert_eq!(Header::decode(&header().to_bytes(), 3).unwrap(), header());
    }

    #[test]
    fn a_frame_has_these_bytes() {
        let mut out = Vec::new();
        header().key().append(&mut out, 64, 41, 40, &located(128));
        assert_eq!(hex(&out), GOLDEN_FRAME);
    }

    #[test]
    fn frames_read_back_as_they_were_written() {
        let (bytes, starts) = segment();
        let mut seen = Vec::new();
        let end = Segment::new(3, bytes)
            .unwrap()
            .frames(|frame, batch| {
                assert_eq!(batch, located(frame.payload_offset));
                seen.push((frame.seq, frame.durable));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [(41, 40), (42, 40), (43, 42)]);
        assert_eq!(end, End { offset: starts[3], seq: 44, group: starts[2] });
    }

    #[test]
    fn every_flipped_bit_of_a_frame_hides_it() {
        let (bytes, starts) = segment();
        let key = header().key();
        for at in starts[1]..starts[2] {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                assert!(key.decode(&bytes, starts[1]).is_none(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_refused() {
        for at in 0..HEADER_LEN {
            for bit in 0..8 {
                let mut bytes = header().to_bytes();
                bytes[at] ^= 1 << bit;
                assert!(Header::decode(&bytes, 3).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_is_none_at_another_place_or_in_another_segment() {
        let (bytes, starts) = segment();
        let frame = &bytes[starts[0]..starts[1]];
        let mut moved = header().to_bytes().to_vec();
        moved.extend([0; 8]);
        moved.extend_from_slice(frame);
        assert!(header().key().decode(&moved, 72).is_none());
        let other = Header { salt: [0; 16], ..header() };
        assert!(other.key().decode(&bytes, 64).is_none());
    }

    #[test]
    fn a_tail_is_torn_unless_a_later_frame_says_that_it_was_durable() {
        let (bytes, starts) = segment();
        let judge = |broken: usize| {
            let mut bytes = bytes.clone();
            bytes[starts[broken] + FRAME_HEAD] ^= 1;
            let segment = Segment::new(3, bytes).unwrap();
            let end = segment.frames(|_, _| Ok(())).unwrap();
            assert_eq!(end.offset, starts[broken]);
            segment.check_tail(end)
        };
        assert!(matches!(judge(0), Err(Error::Damaged { offset, .. }) if offset == starts[0] as u64));
        assert!(matches!(judge(1), Err(Error::Damaged { offset, .. }) if offset == starts[1] as u64));
        assert!(judge(2).is_ok());
    }

    #[test]
    fn a_newer_segment_is_refused_by_name() {
        let mut bytes = header().to_bytes();
        bytes[11] = 2;
        let check = blake3::hash(&bytes[..56]);
        bytes[56..].copy_from_slice(&check.as_bytes()[..8]);
        assert!(matches!(Header::decode(&bytes, 3), Err(Error::Newer { version: 2, known: 1, .. })));
    }

    #[test]
    fn names_sort_as_their_numbers_do() {
        assert_eq!(parse_name(&file_name(17)), Some(17));
        assert_eq!(parse_name(&file_name(u64::MAX)), Some(u64::MAX));
        for other in ["17.journal", "0000000000000000001x.journal", "00000000000000000017.snapshot"] {
            assert_eq!(parse_name(other), None);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_fail_otherwise_than_by_none() {
        let mut payload = Vec::new();
        located(0).encode(&mut payload);
        for cut in 0..payload.len() {
            assert_eq!(Located::decode(&payload[..cut], 3, 0), None);
        }
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] = 0xff;
            drop(Located::decode(&changed, 3, 0));
        }
        assert_eq!(Located::decode(&payload, 3, 0), Some(located(0)));
        assert_eq!(located(0).blobs[0].bytes, Bytes::from("blob"));
    }

    const GOLDEN_HEADER: &str = concat!(
        "51554943534a524e000000010000000000000000000000030000000000000029010203040506070873616c7473616c74",
        "73616c7473616c740fc3424335bdc50b",
    );
    const GOLDEN_FRAME: &str = concat!(
        "514a46310000006700000000000000290000000000000028a395fa92c7a6e0cc62939bc1c5370206a8a410f1b88b1b6a",
        "9e19715a594ad119029c2ec81433065101000000000000030000000101000300056b657976616c75650000040000676f",
        "6e6501000200216174680000000000000003000000e30000000423f82a295328e116801fc5ebb9b84c3c000100000000",
        "000423f82a295328e116801fc5ebb9b84c3c74626c6f6200",
    );
}

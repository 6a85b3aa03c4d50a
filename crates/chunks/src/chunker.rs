//! Cuts a stream of bytes into chunks by its content.
//!
//! The algorithm is FastCDC with normalized chunking, level 1 (Xia et al., "The Design of Fast Content-Defined
//! Chunking for Data Deduplication Based Storage Systems", IEEE TPDS 2020), from the crate `fastcdc`. The boundaries
//! depend on the bytes alone, never on how the reader hands them out: two devices cut the same file alike.

use std::io::{self, Read};

use bytes::Bytes;
use fastcdc::v2020;
use quics_types::{Digest, limits};

use crate::Packed;

/// Bytes that one read asks for.
const READ_BYTES: usize = 1024 * 1024;

/// How long chunks are, in bytes: at least, on average, at most. Only the last chunk of a stream may be shorter.
///
/// The sizes are part of what devices have in common: other sizes give other chunks and find fewer duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    min: usize,
    average: usize,
    max: usize,
}

impl Sizes {
    /// What all devices use: 16, 64 and 256 KiB, chosen by measurement (`cargo bench --bench chunk_sizes`).
    pub const DEFAULT: Sizes = Sizes { min: limits::INLINE_BYTES, average: 64 * 1024, max: limits::CHUNK_BYTES };

    /// Takes other sizes, for measurements.
    ///
    /// Returns `None` unless `64 <= min < average < max <= 4 MiB` and all three are even (the scan tests bytes in
    /// pairs). Chunks longer than [`limits::CHUNK_BYTES`] are refused by everything else in this crate.
    pub const fn new(min: usize, average: usize, max: usize) -> Option<Self> {
        let ordered = 64 <= min && min < average && average < max && max <= 4 * 1024 * 1024 && average >= 256;
        let even = min.is_multiple_of(2) && average.is_multiple_of(2) && max.is_multiple_of(2);
        if ordered && even { Some(Self { min, average, max }) } else { None }
    }

    /// Bytes of the shortest chunk, the last one of a stream excepted.
    pub const fn min(&self) -> usize {
        self.min
    }

    /// Bytes of a chunk on average.
    pub const fn average(&self) -> usize {
        self.average
    }

    /// Bytes of the longest chunk.
    pub const fn max(&self) -> usize {
        self.max
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A chunk as it was cut, still in the chunker's buffer.
#[derive(Debug, Clone, Copy)]
pub struct Cut<'a> {
    /// Where the chunk starts in the stream, in bytes.
    pub offset: u64,
    /// The bytes, never empty.
    pub data: &'a [u8],
}

/// A chunk with its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawChunk {
    /// Where the chunk starts in the stream, in bytes.
    pub offset: u64,
    /// The bytes, never empty.
    pub data: Bytes,
    /// The chunk's name.
    pub digest: Digest,
}

impl RawChunk {
    /// Compresses the chunk where that pays, without hashing it again.
    pub fn pack(&self) -> Packed {
        Packed::of(self.digest, self.data.clone())
    }
}

/// Cuts what a reader yields into chunks.
///
/// It holds one buffer of 1 MiB and one chunk, whatever the length of the stream, and reads in pieces of up to 1 MiB:
/// a `File` needs no `BufReader`. As an iterator it hashes and copies each chunk; [`Chunker::cut`] lends the bytes
/// instead, for callers that hash elsewhere or only compare. After an error or the end it yields nothing more.
#[derive(Debug)]
pub struct Chunker<R> {
    reader: R,
    sizes: Sizes,
    /// Strict and relaxed masks, and both shifted left by one, as `fastcdc` wants them.
    masks: [u64; 4],
    buffer: Vec<u8>,
    /// The bytes of `buffer` that are read and not yet cut.
    start: usize,
    end: usize,
    offset: u64,
    finished: bool,
}

impl<R: Read> Chunker<R> {
    /// Starts with the sizes that all devices use.
    pub fn new(reader: R) -> Self {
        Self::with_sizes(reader, Sizes::DEFAULT)
    }

    /// Starts with other sizes.
    pub fn with_sizes(reader: R, sizes: Sizes) -> Self {
        let (strict, relaxed) = v2020::select_masks(sizes.average, v2020::Normalization::Level1);
        Self {
            reader,
            sizes,
            masks: [strict, relaxed, strict << 1, relaxed << 1],
            buffer: vec![0; READ_BYTES + sizes.max],
            start: 0,
            end: 0,
            offset: 0,
            finished: false,
        }
    }

    /// Starts anew with another reader and keeps the buffer: for many files in turn.
    pub fn restart(&mut self, reader: R) -> R {
        (self.start, self.end, self.offset, self.finished) = (0, 0, 0, false);
        std::mem::replace(&mut self.reader, reader)
    }

    /// Cuts the next chunk and lends its bytes; `None` at the end of the stream. Nothing is hashed or copied.
    ///
    /// # Errors
    /// The reader's own, except for interruptions, which are retried.
    pub fn cut(&mut self) -> io::Result<Option<Cut<'_>>> {
        if self.end - self.start < self.sizes.max && !self.finished {
            self.fill()?;
        }
        if self.start == self.end {
            return Ok(None);
        }
        let [strict, relaxed, strict_shifted, relaxed_shifted] = self.masks;
        let (_, length) = v2020::cut(
            &self.buffer[self.start..self.end],
            self.sizes.min,
            self.sizes.average,
            self.sizes.max,
            strict,
            relaxed,
            strict_shifted,
            relaxed_shifted,
        );
        let (start, offset) = (self.start, self.offset);
        self.start += length;
        self.offset += length as u64;
        Ok(Some(Cut { offset, data: &self.buffer[start..self.start] }))
    }

    /// Moves what is left to the front and reads until the buffer is full or the stream ends, so that a boundary
    /// never depends on how much one read returned.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < self.buffer.len() {
            let room = self.end..self.buffer.len().min(self.end + READ_BYTES);
            match self.reader.read(&mut self.buffer[room]) {
                Ok(0) => {
                    self.finished = true;
                    return Ok(());
                }
                Ok(count) => self.end += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    (self.finished, self.start, self.end) = (true, 0, 0);
                    return Err(e);
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Iterator for Chunker<R> {
    type Item = io::Result<RawChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        let cut = self.cut().transpose()?;
        Some(cut.map(|Cut { offset, data }| RawChunk {
            offset,
            data: Bytes::copy_from_slice(data),
            digest: Digest::of(data),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, RngCore, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashSet;

    use super::*;

    fn random(seed: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut data);
        data
    }

    fn chunks(data: &[u8]) -> Vec<RawChunk> {
        Chunker::new(data).map(|c| c.unwrap()).collect()
    }

    /// Hands out one to a few thousand bytes a read, with interruptions, as a pipe would.
    struct Dribble<'a>(&'a [u8], ChaCha8Rng);

    impl Read for Dribble<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.1.random_ratio(1, 20) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = self.1.random_range(1..5000).min(out.len()).min(self.0.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn sizes_that_the_scan_cannot_keep_are_refused() {
        assert!(Sizes::new(16, 64, 256).is_none());
        assert!(Sizes::new(16384, 65535, 262144).is_none());
        assert!(Sizes::new(65536, 65536, 262144).is_none());
        assert_eq!(Sizes::new(16384, 65536, 262144), Some(Sizes::DEFAULT));
    }

    #[test]
    fn an_empty_stream_has_no_chunks() {
        assert!(chunks(b"").is_empty());
    }

    #[test]
    fn contents_that_ride_inline_are_exactly_one_chunk() {
        for length in [1, 100, limits::INLINE_BYTES - 1, limits::INLINE_BYTES] {
            assert_eq!(chunks(&random(length as u64, length)).len(), 1, "{length}");
        }
    }

    #[test]
    fn chunks_cover_the_stream_in_order_and_within_the_sizes() {
        let data = random(1, 5_000_001);
        let chunks = chunks(&data);
        let mut at = 0;
        for (i, chunk) in chunks.iter().enumerate() {
            assert_eq!(chunk.offset as usize, at);
            assert_eq!(chunk.digest, Digest::of(&chunk.data));
            assert!(chunk.data.len() <= limits::CHUNK_BYTES);
            assert!(chunk.data.len() >= limits::INLINE_BYTES || i + 1 == chunks.len());
            assert_eq!(chunk.data, data[at..at + chunk.data.len()]);
            at += chunk.data.len();
        }
        assert_eq!(at, data.len());
    }

    #[test]
    fn boundaries_are_fixed_for_all_time() {
        // Other boundaries would send every file again: a change here is a change of the format.
        let lengths: Vec<_> = chunks(&random(7, 600_000)).iter().map(|c| c.data.len()).collect();
        assert_eq!(lengths, GOLDEN_LENGTHS);
    }

    const GOLDEN_LENGTHS: &[usize] = &[127485, 80440, 66911, 23350, 142765, 69291, 69649, 20109];

    #[test]
    fn a_reader_that_fails_ends_the_stream_with_its_error() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let data = random(3, 300_000);
        let mut chunker = Chunker::new((&data[..]).chain(Fails));
        assert!(chunker.next().unwrap().is_err());
        assert!(chunker.next().is_none());
    }

    #[test]
    fn a_restarted_chunker_cuts_as_a_new_one() {
        let (one, two) = (random(4, 700_000), random(5, 300_000));
        let mut chunker = Chunker::new(&one[..]);
        while chunker.cut().unwrap().is_some() {}
        chunker.restart(&two[..]);
        assert_eq!(chunker.map(|c| c.unwrap()).collect::<Vec<_>>(), chunks(&two));
    }

    #[test]
    fn how_the_reader_hands_out_bytes_does_not_move_a_boundary() {
        let data = random(2, 3_000_000);
        for seed in 0..4 {
            let dribble = Dribble(&data, ChaCha8Rng::seed_from_u64(seed));
            assert_eq!(Chunker::new(dribble).map(|c| c.unwrap()).collect::<Vec<_>>(), chunks(&data));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn boundaries_meet_again_after_an_insert(seed: u64, at in 0usize..4_000_000, inserted in 1usize..2000) {
            let before = random(seed, 4_000_000);
            let mut after = before.clone();
            after.splice(at..at, random(!seed, inserted));
            let known: HashSet<_> = chunks(&before).into_iter().map(|c| c.digest).collect();
            let new: usize = chunks(&after).iter().filter(|c| !known.contains(&c.digest)).map(|c| c.data.len()).sum();
            // Usually one or two chunks; a dozen would mean that the cuts do not find back.
            prop_assert!(new <= inserted + 12 * Sizes::DEFAULT.average(), "{} bytes are new", new);
        }
    }
}

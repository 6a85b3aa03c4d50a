//! Packs a chunk into the form in which it travels and rests.
//!
//! A chunk is compressed once, by its sender, and stored and served in that form. Whether to try is decided from a
//! sample of about 1 KiB: where bytes are spread as evenly as in noise (media, archives, ciphertext), zstd is not
//! even called.

use std::{cell::RefCell, io, sync::Arc};

use bytes::Bytes;
use quics_types::{Digest, limits};
use zstd::bulk::{Compressor, Decompressor};

use crate::Error;

/// zstd's fastest regular level: a sender compresses on the way, beside hashing and encryption.
const LEVEL: i32 = 1;
/// Below this many bytes nothing is tried.
const SHORTEST: usize = 128;
/// Bytes of the sample.
const SAMPLE: usize = 1024;
/// The sample is made of stretches of this many bytes, evenly spaced.
const STRETCH: usize = 64;

/// How a chunk's bytes are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One or more zstd frames, without dictionary.
    Zstd,
}

impl Codec {
    /// The codec's number in stored records.
    pub const fn to_u8(self) -> u8 {
        match self {
            Codec::Raw => 0,
            Codec::Zstd => 1,
        }
    }

    /// The codec of a number from a stored record; `None` for one that is not known.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Codec::Raw),
            1 => Some(Codec::Zstd),
            _ => None,
        }
    }
}

/// A chunk as it travels and rests. One that came from outside proves nothing until [`Packed::unpack`] or
/// [`Packed::verify`] has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The name of the chunk: the digest of its unpacked bytes.
    pub digest: Digest,
    /// How `data` is encoded.
    pub codec: Codec,
    /// Bytes of the unpacked chunk, 1 to [`limits::CHUNK_BYTES`].
    pub length: u32,
    /// The encoded bytes; never more than `length`.
    pub data: Bytes,
}

/// Hashes `data` and compresses it where a sample says that this pays.
///
/// `data` has 1 to [`limits::CHUNK_BYTES`] bytes; anything else comes back in a form that every receiver refuses.
pub fn pack(data: &[u8]) -> Packed {
    let digest = Digest::of(data);
    compress(data).map_or_else(|| raw(digest, Bytes::copy_from_slice(data)), |packed| zstd(digest, data.len(), packed))
}

fn raw(digest: Digest, data: Bytes) -> Packed {
    Packed { digest, codec: Codec::Raw, length: to_u32(data.len()), data }
}

fn zstd(digest: Digest, length: usize, packed: Vec<u8>) -> Packed {
    Packed { digest, codec: Codec::Zstd, length: to_u32(length), data: packed.into() }
}

/// Lengths past the limit stay past the limit.
fn to_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Packed {
    /// Packs bytes whose digest is known, without copying those that do not compress.
    pub fn of(digest: Digest, data: Bytes) -> Self {
        match compress(&data) {
            Some(packed) => zstd(digest, data.len(), packed),
            None => raw(digest, data),
        }
    }

    /// Takes bytes whose digest is known as they are, without trying to compress them.
    pub fn raw(digest: Digest, data: Bytes) -> Self {
        raw(digest, data)
    }

    /// Unpacks and verifies the chunk. It allocates at most `length` bytes, itself at most
    /// [`limits::CHUNK_BYTES`], whatever the packed bytes claim.
    ///
    /// # Errors
    /// [`Error::Length`] for impossible lengths, [`Error::Unpack`] if zstd refuses, [`Error::Mismatch`] if the bytes
    /// have another length or digest.
    pub fn unpack(&self) -> Result<Bytes, Error> {
        self.check_lengths()?;
        let plain = match self.codec {
            Codec::Raw => self.data.clone(),
            Codec::Zstd => Bytes::from(decompress(&self.data, self.length as usize).map_err(|e| self.unpacking(e))?),
        };
        if plain.len() != self.length as usize || Digest::of(&plain) != self.digest {
            return Err(Error::Mismatch { digest: self.digest });
        }
        Ok(plain)
    }

    /// Checks what [`Packed::unpack`] checks.
    ///
    /// # Errors
    /// As [`Packed::unpack`].
    pub fn verify(&self) -> Result<(), Error> {
        self.unpack().map(drop)
    }

    /// Checks the lengths alone, before anything is allocated or hashed.
    pub(crate) fn check_lengths(&self) -> Result<(), Error> {
        let (plain, packed) = (self.length as usize, self.data.len());
        let possible = match self.codec {
            Codec::Raw => packed == plain,
            Codec::Zstd => packed > 0 && packed < plain,
        };
        if plain == 0 || plain > limits::CHUNK_BYTES || !possible {
            return Err(Error::Length { digest: self.digest, length: plain.max(packed) as u64 });
        }
        Ok(())
    }

    fn unpacking(&self, source: io::Error) -> Error {
        Error::Unpack { digest: self.digest, source: Arc::new(source) }
    }
}

thread_local! {
    // A context is some hundred kilobytes to set up; each thread that packs keeps one.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses `data` if the sample promises and the result delivers: at least a sixteenth must be saved.
fn compress(data: &[u8]) -> Option<Vec<u8>> {
    if data.len() > limits::CHUNK_BYTES || !promises(data) {
        return None;
    }
    let packed = COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Compressor::new(LEVEL).ok();
        }
        slot.as_mut()?.compress(data).ok()
    })?;
    (packed.len() < data.len() - data.len() / 16).then_some(packed)
}

fn decompress(packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let context = match slot {
            Some(context) => context,
            None => slot.insert(Decompressor::new()?),
        };
        let mut plain = Vec::with_capacity(length);
        context.decompress_to_buffer(packed, &mut plain)?;
        Ok(plain)
    })
}

/// Says whether a sample of the bytes is spread unevenly enough that compressing is worth a try.
///
/// The measure is the sum of squared counts of each byte value (collision entropy): for `n` evenly spread bytes it
/// is about `n + n²/256`; a quarter more is far outside of chance for samples of this size (fourteen times the
/// standard deviation).
fn promises(data: &[u8]) -> bool {
    if data.len() < SHORTEST {
        return false;
    }
    let mut counts = [0u32; 256];
    let mut taken: u64 = 0;
    let stride = (data.len() / (SAMPLE / STRETCH)).max(STRETCH);
    for stretch in data.chunks(stride) {
        let stretch = &stretch[..stretch.len().min(STRETCH)];
        taken += stretch.len() as u64;
        for &byte in stretch {
            counts[byte as usize] += 1;
        }
    }
    let squares: u64 = counts.iter().map(|&c| u64::from(c) * u64::from(c)).sum();
    let even = taken + taken * taken / 256;
    squares > even + even / 4
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngCore, SeedableRng};

    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        rand_chacha::ChaCha8Rng::seed_from_u64(length as u64).fill_bytes(&mut data);
        data
    }

    fn text(length: usize) -> Vec<u8> {
        let words = b"the quick brown fox jumps over the lazy dog and then some more; ";
        words.iter().copied().cycle().take(length).collect()
    }

    #[test]
    fn text_is_compressed_and_noise_is_not_tried() {
        for length in [300, 4096, 16 * 1024, 64 * 1024, limits::CHUNK_BYTES] {
            assert_eq!(pack(&text(length)).codec, Codec::Zstd, "{length}");
            assert!(!promises(&noise(length)), "{length}");
            assert_eq!(pack(&noise(length)).codec, Codec::Raw, "{length}");
        }
    }

    #[test]
    fn what_does_not_compress_is_not_copied() {
        let data = Bytes::from(noise(64 * 1024));
        assert_eq!(Packed::of(Digest::of(&data), data.clone()).data.as_ptr(), data.as_ptr());
    }

    #[test]
    fn a_bomb_is_refused_without_being_inflated() {
        let zeros = vec![0; 64 * 1024 * 1024];
        let bomb = Bytes::from(zstd::bulk::compress(&zeros, 1).unwrap());
        let digest = Digest::of(&zeros);
        let mut packed = Packed { digest, codec: Codec::Zstd, length: limits::CHUNK_BYTES as u32, data: bomb };
        assert!(matches!(packed.unpack(), Err(Error::Unpack { .. })));
        packed.length = zeros.len() as u32;
        assert!(matches!(packed.unpack(), Err(Error::Length { .. })));
    }

    #[test]
    fn wrong_lengths_and_wrong_bytes_are_refused() {
        let good = pack(&text(5000));
        assert_eq!(good.unpack().unwrap(), text(5000));
        for length in [0, 1, 4999, 5001, u32::MAX] {
            assert!(Packed { length, ..good.clone() }.unpack().is_err(), "{length}");
        }
        assert!(Packed { codec: Codec::Raw, ..good.clone() }.unpack().is_err());
        let raw = pack(&noise(5000));
        let mut bytes = raw.data.to_vec();
        bytes[77] ^= 1;
        assert!(matches!(Packed { data: bytes.into(), ..raw }.unpack(), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn codec_numbers_are_fixed_and_others_are_unknown() {
        assert_eq!((Codec::Raw.to_u8(), Codec::Zstd.to_u8()), (0, 1));
        assert_eq!((0..=255).filter_map(Codec::from_u8).collect::<Vec<_>>(), [Codec::Raw, Codec::Zstd]);
    }

    proptest! {
        #[test]
        fn packing_round_trips(data in prop::collection::vec(prop_oneof![Just(7u8), any::<u8>()], 1..20_000)) {
            prop_assert_eq!(pack(&data).unpack().unwrap(), data);
        }

        #[test]
        fn hostile_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..2000), length: u32, raw: bool) {
            let codec = if raw { Codec::Raw } else { Codec::Zstd };
            let packed = Packed { digest: Digest::of(b"other"), codec, length, data: data.into() };
            prop_assert!(packed.unpack().is_err());
        }
    }
}

//! Contents that share chunks.

use bytes::Bytes;
use quics_chunks::{ManifestBuilder, Packed, inline_content};
use quics_reconcile::Value;
use quics_types::Digest;

pub(super) const CONTENTS: u64 = 18;
/// Chunks of which the contents are made, so that they share some.
const PIECES: u64 = 8;

/// A content, and how it travels.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) value: Value,
    /// Its bytes, of a small one.
    pub(super) inline: Option<Bytes>,
    /// Its chunks and its page.
    pub(super) packed: Vec<Packed>,
}

fn piece(number: u64) -> Bytes {
    let mut bytes = vec![0; 300];
    noise(number, &mut bytes);
    bytes.into()
}

/// Bytes that differ from number to number.
fn noise(number: u64, bytes: &mut [u8]) {
    let mut seed = Digest::of(&number.to_be_bytes());
    for part in bytes.chunks_mut(Digest::LEN) {
        part.copy_from_slice(&seed.as_bytes()[..part.len()]);
        seed = Digest::of(seed.as_bytes());
    }
}

/// Small ones are a piece each; the others have three.
pub(super) fn content(number: u64) -> Content {
    if number < PIECES / 2 {
        let bytes = piece(number);
        let (id, page, chunk) = inline_content(&bytes).unwrap();
        let packed = vec![Packed::of(chunk.unwrap(), bytes.clone()), Packed::raw(id, page)];
        let value = Value::File { content: id, size: bytes.len() as u64 };
        return Content { value, inline: Some(bytes), packed };
    }
    let (mut builder, mut pages, mut packed) = (ManifestBuilder::new(), Vec::new(), Vec::new());
    for at in [number % PIECES, (number * 3 + 1) % PIECES, (number * 5 + number / PIECES) % PIECES] {
        let bytes = piece(at);
        builder.push(Digest::of(&bytes), bytes.len() as u32, &mut pages).unwrap();
        packed.push(Packed::of(Digest::of(&bytes), bytes));
    }
    let manifest = builder.finish(&mut pages).unwrap();
    packed.extend(pages.into_iter().map(|(digest, page)| Packed::raw(digest, page)));
    Content { value: Value::File { content: manifest.content, size: manifest.size }, inline: None, packed }
}

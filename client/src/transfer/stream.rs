//! Reads a content in its order, from the server and from a local file.

use std::{fs::File, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use quics_chunks::Leaf;
use quics_reader::{Failure, Near, Source};
use quics_types::Digest;

/// The bytes of a content of `size` bytes, as [`quics_reader::read`] gives them. What the file `like` has at the same places
/// is not fetched.
///
/// # Cancel safety
/// Dropping the stream ends its work.
pub fn stream<S: Source>(
    source: S,
    like: Option<File>,
    content: Digest,
    size: u64,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    let near = like.map(|file| -> Near {
        Arc::new(move |leaf: &Leaf| {
            let mut buffer = vec![0; leaf.length as usize];
            file.read_exact_at(&mut buffer, leaf.offset).ok()?;
            Some(buffer.into())
        })
    });
    quics_reader::read(source, near, content, size, 0..size)
}

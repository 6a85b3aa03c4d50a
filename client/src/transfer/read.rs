//! Reads a file or unit once: cut by its content and hashed, off the async threads.

use std::{io, io::Read};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use quics_chunks::Chunker;
use quics_types::{Digest, limits};
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::folder::Body;

/// Batches that wait between reading and hashing.
const WAITING: usize = 2;
/// Batches that are hashed side by side.
const HASHERS: usize = 3;

/// A piece of a file.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) digest: Digest,
    pub(super) data: Bytes,
}

/// The pieces of a file, in its order, in batches of about [`limits::BATCH_BYTES`]. It reads one byte more than
/// `size` at most, so that a file that grows for ever comes to an end.
pub(super) fn pieces(body: Body, size: u64) -> impl Stream<Item = io::Result<Vec<Piece>>> + Send {
    let (sender, receiver) = mpsc::channel(WAITING);
    spawn_blocking(move || {
        if let Err(error) = read(body, size, &sender) {
            // If nobody listens any more there is nobody to tell.
            _ = sender.blocking_send(Err(error));
        }
    });
    let batches = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    batches
        .map(|batch| async { spawn_blocking(move || hash(batch?)).await.map_err(io::Error::other)? })
        .buffered(HASHERS)
}

/// Cuts the file; ends early when nobody listens any more.
fn read(body: Body, size: u64, batches: &mpsc::Sender<io::Result<Vec<Bytes>>>) -> io::Result<()> {
    body.read_ahead();
    let mut chunker = Chunker::new(body.take(size.saturating_add(1)));
    let room = usize::try_from(size).unwrap_or(usize::MAX).min(limits::BATCH_BYTES + limits::CHUNK_BYTES);
    let (mut buffer, mut lengths) = (BytesMut::with_capacity(room), Vec::new());
    loop {
        let cut = chunker.cut()?;
        if let Some(cut) = &cut {
            buffer.extend_from_slice(cut.data);
            lengths.push(cut.data.len());
        }
        let ended = cut.is_none();
        if !lengths.is_empty() && (ended || buffer.len() >= limits::BATCH_BYTES) {
            let mut bytes = std::mem::replace(&mut buffer, BytesMut::with_capacity(room)).freeze();
            let batch = lengths.drain(..).map(|length| bytes.split_to(length)).collect();
            if batches.blocking_send(Ok(batch)).is_err() {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
    }
}

fn hash(batch: Vec<Bytes>) -> io::Result<Vec<Piece>> {
    Ok(batch.into_iter().map(|data| Piece { digest: Digest::of(&data), data }).collect())
}

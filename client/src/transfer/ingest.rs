//! Brings a file's content to the server, in one pass over the file.

use std::{collections::HashSet, io, sync::Arc};

use futures_util::{StreamExt, stream::FuturesUnordered};
use quics_chunks::{ManifestBuilder, Packed};
use quics_types::{Digest, limits};
use tokio::task::spawn_blocking;

use super::{Failure, Progress, Remote, Transfer, read, read::Piece, upload::Uploader};
use crate::{
    engine::{IngestFailure, Ingested},
    folder::{Body, Spot, Stat},
};

/// Bytes of chunks about which the server is asked at once.
const ASK_BYTES: usize = 4 * limits::BATCH_BYTES;
/// Questions in flight.
const ASKING: usize = 3;
/// Digests that are remembered so that the server is not asked about them twice (a sparse file repeats one chunk).
const REMEMBERED: usize = 64 * 1024;

impl<R: Remote> Transfer<R> {
    /// Cuts and hashes a file and brings to the server what it lacks of it. What comes back is durable there.
    ///
    /// # Errors
    /// [`IngestFailure::Changed`] when the file is not as expected, before or after; the others say themselves.
    ///
    /// # Cancel safety
    /// Dropping the future breaks everything off; what was sent is not sent again the next time.
    pub async fn ingest(&self, at: &Spot, expected: &Stat) -> Result<Ingested, IngestFailure> {
        let tree = self.tree.clone();
        let spot = at.clone();
        let opened = blocking(move || tree.body(&spot)).await?;
        let (body, before) = opened.ok_or(IngestFailure::Changed)?;
        if !before.same_content(expected) {
            return Err(IngestFailure::Changed);
        }
        let content = send(&self.remote, &self.progress, body, before.size).await?;
        let (tree, spot) = (self.tree.clone(), at.clone());
        // The same inode, unchanged. The change time counts as well: a write whose modification time was set back shows
        // in it.
        if blocking(move || tree.stat(&spot)).await? != Some(before) {
            return Err(IngestFailure::Changed);
        }
        Ok(Ingested { content, size: before.size, stat: before })
    }
}

/// Cuts and hashes a file or unit of `size` bytes and brings to the server what it lacks of it, durably. Gives the content's id.
///
/// # Errors
/// [`IngestFailure::Changed`] when the file has another size; the others say themselves.
///
/// # Cancel safety
/// As [`Transfer::ingest`].
pub async fn send<R: Remote>(
    remote: &R,
    progress: &Arc<Progress>,
    body: Body,
    size: u64,
) -> Result<Digest, IngestFailure> {
    let mut pieces = Box::pin(read::pieces(body, size));
    let mut uploader = Uploader::new(remote.clone(), progress.clone());
    let mut asking = FuturesUnordered::new();
    let mut builder = Some(ManifestBuilder::new());
    let mut manifest = None;
    let (mut pages, mut group, mut group_bytes) = (Vec::new(), Vec::new(), 0);
    let (mut seen, mut came, mut ended) = (HashSet::new(), 0u64, false);
    loop {
        tokio::select! {
            Some(missing) = asking.next() => uploader.send(missing?).await.map_err(failed)?,
            batch = pieces.next(), if !ended && asking.len() < ASKING => {
                let batch = batch.transpose().map_err(unreadable)?;
                ended = batch.is_none();
                for piece in batch.into_iter().flatten() {
                    let length = piece.data.len();
                    came += length as u64;
                    progress.scanned(length);
                    if let Some(builder) = &mut builder {
                        // Never above the limit of a chunk.
                        builder.push(piece.digest, length as u32, &mut pages).map_err(impossible)?;
                    }
                    if remember(&mut seen, piece.digest) {
                        group_bytes += length;
                        group.push(piece);
                    }
                }
                if came > size || ended && came < size {
                    return Err(IngestFailure::Changed);
                }
                // The last pages go with the last chunks: a small file is one question.
                if let Some(builder) = builder.take_if(|_| ended) {
                    manifest = Some(builder.finish(&mut pages).map_err(impossible)?);
                }
                for (digest, data) in pages.drain(..) {
                    group_bytes += data.len();
                    group.push(Piece { digest, data });
                }
                if group_bytes >= ASK_BYTES || ended && !group.is_empty() {
                    group_bytes = 0;
                    asking.push(ask(remote.clone(), std::mem::take(&mut group)));
                }
            }
            else => break,
        }
    }
    let manifest = manifest.ok_or(IngestFailure::Changed)?;
    uploader.finish().await.map_err(failed)?;
    Ok(manifest.content)
}

/// Whether a digest is new. What is remembered is bounded: then it starts anew.
fn remember(seen: &mut HashSet<Digest>, digest: Digest) -> bool {
    if seen.len() >= REMEMBERED {
        seen.clear();
    }
    seen.insert(digest)
}

/// Asks which pieces are missing and packs those.
async fn ask<R: Remote>(remote: R, mut pieces: Vec<Piece>) -> Result<Vec<Packed>, IngestFailure> {
    let digests = pieces.iter().map(|piece| piece.digest).collect();
    let missing: HashSet<Digest> = remote.find_missing(digests).await.map_err(failed)?.into_iter().collect();
    pieces.retain(|piece| missing.contains(&piece.digest));
    if pieces.is_empty() {
        return Ok(Vec::new());
    }
    let pack = move || pieces.into_iter().map(|piece| Packed::of(piece.digest, piece.data)).collect();
    spawn_blocking(pack).await.map_err(|error| unreadable(io::Error::other(error)))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, IngestFailure> {
    spawn_blocking(work).await.map_err(io::Error::other).and_then(|result| result).map_err(unreadable)
}

fn unreadable(error: io::Error) -> IngestFailure {
    match error.kind() {
        io::ErrorKind::NotFound => IngestFailure::Changed,
        _ => IngestFailure::Unreadable(error.to_string()),
    }
}

fn impossible(error: quics_chunks::Error) -> IngestFailure {
    IngestFailure::Unreadable(error.to_string())
}

fn failed(failure: Failure) -> IngestFailure {
    match failure {
        Failure::Offline(_) | Failure::Wrong(_) | Failure::Absent(_) => IngestFailure::Offline,
        Failure::Refused(reason) => IngestFailure::Refused(reason),
    }
}

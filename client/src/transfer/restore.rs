//! Sends chunks that the server has lost to damage, where a local file has them.

use std::{collections::HashSet, io};

use futures_util::StreamExt;
use quics_chunks::{ManifestBuilder, Packed};
use quics_types::Digest;
use tokio::task::spawn_blocking;

use super::{Failure, Remote, Transfer, read, upload::Uploader};
use crate::folder::{Spot, Stat};

/// Why a file could not be looked through to its end.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFailure {
    /// The server did not take what was found.
    #[error(transparent)]
    Server(#[from] Failure),
    /// The file cannot be read; another may have the same chunks.
    #[error("a file cannot be read: {0}")]
    File(#[from] io::Error),
}

impl<R: Remote> Transfer<R> {
    /// Reads a file, if it still is as `expected`, and sends what it has of `wanted`: its chunks, and the pages of its
    /// manifest. Returns what was sent, which is durable at the other end then.
    ///
    /// # Errors
    /// [`RestoreFailure`].
    ///
    /// # Cancel safety
    /// Dropping the future breaks the upload off; what came is kept.
    pub async fn restore(
        &self,
        at: &Spot,
        expected: &Stat,
        wanted: &HashSet<Digest>,
    ) -> Result<Vec<Digest>, RestoreFailure> {
        let (tree, spot) = (self.tree.clone(), at.clone());
        let opened = spawn_blocking(move || tree.body(&spot)).await.map_err(io::Error::other)??;
        let Some((body, stat)) = opened.filter(|(_, stat)| stat.same_content(expected)) else { return Ok(Vec::new()) };
        let mut pieces = Box::pin(read::pieces(body, stat.size));
        let mut uploader = None;
        let mut sent = HashSet::new();
        let (mut builder, mut pages) = (ManifestBuilder::new(), Vec::new());
        loop {
            let batch = pieces.next().await.transpose()?;
            let ended = batch.is_none();
            let mut found = Vec::new();
            for piece in batch.into_iter().flatten() {
                // Never above the limit of a chunk.
                builder.push(piece.digest, piece.data.len() as u32, &mut pages).map_err(io::Error::other)?;
                found.push((piece.digest, piece.data));
            }
            if ended {
                std::mem::take(&mut builder).finish(&mut pages).map_err(io::Error::other)?;
            }
            found.append(&mut pages);
            found.retain(|(digest, _)| wanted.contains(digest) && sent.insert(*digest));
            if !found.is_empty() {
                let pack = move || found.into_iter().map(|(digest, data)| Packed::of(digest, data)).collect();
                let packed = spawn_blocking(pack).await.map_err(io::Error::other)?;
                let new = || Uploader::new(self.remote.clone(), self.progress.clone());
                uploader.get_or_insert_with(new).send(packed).await?;
            }
            if ended {
                break;
            }
        }
        if let Some(uploader) = uploader {
            uploader.finish().await?;
        }
        Ok(sent.into_iter().collect())
    }
}

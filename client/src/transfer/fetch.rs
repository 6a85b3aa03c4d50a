//! Brings a content into the folder's incoming directory.

use std::{collections::HashMap, io, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use quics_chunks::{Leaf, Packed};
use quics_reader::{Failure, Kept, LeafPage, Source as _, leaf_pages, leaves};
use quics_types::{Digest, Name, limits};
use tokio::task::spawn_blocking;

use super::{Remote, Transfer, local::Similar, part::Part, progress::Counted};
use crate::{engine::FetchFailure, folder::Spot};

/// Leaf pages that are worked on at once (about 512 MiB of content).
const WINDOW: usize = 16;
/// Bytes of chunks that are asked for at once.
const ASK_BYTES: usize = 8 * limits::BATCH_BYTES;
/// Questions in flight.
const ASKING: usize = 4;
/// Bytes of pages that are kept, because the similar file's manifest probably lists them too.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// Why a fetch ends, before it is told to the engine.
#[derive(Debug)]
enum Ended {
    Remote(Failure),
    Disk(io::Error),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Remote(failure)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<Ended> for FetchFailure {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Remote(Failure::Offline(_)) => FetchFailure::Offline,
            Ended::Remote(_) => FetchFailure::Absent,
            Ended::Disk(error) => FetchFailure::Unwritable(error.to_string()),
        }
    }
}

impl<R: Remote> Transfer<R> {
    /// Brings a content into `incoming/` and returns its name there; it is complete, verified and durable. What an
    /// earlier attempt brought is not fetched again, nor what the file at `like` (whose content was the one named)
    /// still has. Two fetches of one content wait for each other and get two files.
    ///
    /// # Errors
    /// As [`FetchFailure`] says.
    ///
    /// # Cancel safety
    /// Dropping the future breaks off; what came is kept for the next attempt.
    pub async fn fetch(&self, content: Digest, size: u64, like: Option<(Spot, Digest)>) -> Result<Name, FetchFailure> {
        let _turn = self.turns.take(content).await;
        let result = self.bring(content, size, like).await;
        if let Err(ended) = &result {
            tracing::debug!(%content, ?ended, "fetch.ended");
        }
        Ok(result?)
    }

    async fn bring(&self, content: Digest, size: u64, like: Option<(Spot, Digest)>) -> Result<Name, Ended> {
        if let Some(name) = self.tree.take_finished(content) {
            self.progress.reused(size);
            return Ok(name);
        }
        let tree = self.tree.clone();
        let part = Arc::new(blocking(move || Part::open(tree, content, size)).await?);
        let mut kept = Kept::at_most(KEPT_BYTES);
        let similar = match like {
            Some((at, like)) => self.similar(&mut kept, at, like).await?.map(Arc::new),
            None => None,
        };
        let source = &self.counted();
        let pages = leaf_pages(source, &mut kept, content, Some(size), &(0..size)).await?;
        let windows: Vec<Vec<LeafPage>> = pages.chunks(WINDOW).map(<[_]>::to_vec).collect();
        let kept = Arc::new(tokio::sync::Mutex::new(kept));
        let (part, similar, kept) = (&part, &similar, &kept);
        // While the chunks of one window are on their way, the next window is looked through.
        let questions = stream::iter(windows)
            .map(|window| async move {
                let leaves = {
                    let mut kept = kept.lock().await;
                    leaves(source, &mut kept, &window).await?
                };
                let (part, similar) = (part.clone(), similar.clone());
                let (missing, reused) = blocking(move || part.fill(leaves, similar.as_deref())).await?;
                self.progress.reused(reused);
                Ok::<_, Ended>(stream::iter(questions(missing).into_iter().map(Ok)))
            })
            .buffered(2)
            .try_flatten();
        questions.try_for_each_concurrent(ASKING, |wanted| ask(source, part.clone(), wanted)).await?;
        let part = part.clone();
        blocking(move || part.finish()).await
    }

    /// Finds out which chunks a local file probably has; `None` when it cannot be read or the server does not know
    /// what was in it.
    async fn similar(&self, kept: &mut Kept, at: Spot, like: Digest) -> Result<Option<Similar>, Ended> {
        let tree = self.tree.clone();
        let Ok(Some((body, _))) = blocking(move || tree.body(&at)).await else { return Ok(None) };
        let mut similar = Similar::new(body);
        let source = &self.counted();
        let pages = match leaf_pages(source, kept, like, None, &(0..u64::MAX)).await {
            Ok(pages) => pages,
            Err(Failure::Offline(reason)) => return Err(Failure::Offline(reason).into()),
            // It is only a help: without it everything is fetched.
            Err(_) => return Ok(None),
        };
        for window in pages.chunks(WINDOW) {
            match leaves(source, kept, window).await {
                Ok(leaves) if similar.add(&leaves) => {}
                Err(Failure::Offline(reason)) => return Err(Failure::Offline(reason).into()),
                _ => break,
            }
        }
        Ok(Some(similar))
    }
}

/// Chunks that are asked for at once, in the order of the file: both disks read and write best so.
#[derive(Default)]
struct Wanted {
    digests: Vec<Digest>,
    places: HashMap<Digest, Vec<Leaf>>,
}

/// Puts chunks together into questions; a chunk that is needed at several places is asked for once.
fn questions(missing: Vec<Leaf>) -> Vec<Wanted> {
    let mut questions: Vec<Wanted> = Vec::new();
    let mut bytes = usize::MAX;
    for leaf in missing {
        let full =
            bytes >= ASK_BYTES || questions.last().is_some_and(|q| q.digests.len() >= limits::DIGESTS_PER_MESSAGE);
        if full {
            questions.push(Wanted::default());
            bytes = 0;
        }
        bytes += leaf.length as usize;
        if let Some(question) = questions.last_mut() {
            let places = question.places.entry(leaf.digest).or_default();
            if places.is_empty() {
                question.digests.push(leaf.digest);
            }
            places.push(leaf);
        }
    }
    questions
}

/// Fetches chunks and writes them to all their places.
async fn ask<R: Remote>(source: &Counted<R>, part: Arc<Part>, wanted: Wanted) -> Result<(), Ended> {
    let Wanted { digests, places: mut wanted } = wanted;
    let mut answers = source.fetch(digests).await?;
    while let Some(chunks) = answers.next().await {
        let mut placed: Vec<(Packed, Vec<Leaf>)> = Vec::new();
        for chunk in chunks? {
            let places = wanted.remove(&chunk.digest).ok_or(Failure::Wrong("a chunk that was not asked for"))?;
            placed.push((chunk, places));
        }
        let part = part.clone();
        let stored = spawn_blocking(move || place(&part, placed)).await;
        stored.map_err(|error| io::Error::other(error.to_string()))??;
    }
    if wanted.is_empty() { Ok(()) } else { Err(Failure::Absent("not every chunk came".to_owned()).into()) }
}

fn place(part: &Part, chunks: Vec<(Packed, Vec<Leaf>)>) -> Result<(), Ended> {
    for (chunk, places) in chunks {
        let plain = chunk.unpack().map_err(|error| Failure::Absent(error.to_string()))?;
        for leaf in places {
            if plain.len() != leaf.length as usize {
                return Err(Failure::Absent("a chunk has another length than its manifest says".to_owned()).into());
            }
            part.write(leaf.offset, &plain)?;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Ended> {
    Ok(spawn_blocking(work).await.map_err(io::Error::other)??)
}

//! Reads a content from its beginning to its end, without keeping it anywhere.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use quics_chunks::Leaf;
use quics_types::{Digest, limits};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{Failure, Progress, Remote, local, manifest};

/// Leaf pages that are read at once.
const PAGES: usize = 4;
/// Bytes that are asked for at once, and wait at most until they are taken.
const WINDOW: usize = 4 * limits::BATCH_BYTES;
/// Pieces that wait to be taken.
const WAITING: usize = 4;

/// The bytes of a content of `size` bytes in their order, each piece verified. What the file `like` has at the same
/// places is not fetched. After an error nothing comes any more; a stream that ends without one has given everything.
///
/// # Cancel safety
/// Dropping the stream ends its work.
pub fn stream<R: Remote>(
    remote: R,
    like: Option<File>,
    content: Digest,
    size: u64,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    let (pieces, receiver) = mpsc::channel(WAITING);
    let work = async move {
        let told = pieces.clone();
        if let Err(failure) = read(remote, like.map(Arc::new), content, size, pieces).await {
            // Whoever does not read on does not miss it.
            let _gone = told.send(Err(failure)).await;
        }
    };
    // The work is polled with the stream, so it ends with it.
    let work = Box::pin(stream::once(work).filter_map(|()| async { None }));
    let pieces = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    stream::select(pieces, work)
}

type Pieces = mpsc::Sender<Result<Bytes, Failure>>;

async fn read<R: Remote>(
    remote: R,
    like: Option<Arc<File>>,
    content: Digest,
    size: u64,
    pieces: Pieces,
) -> Result<(), Failure> {
    let (progress, mut kept) = (Progress::default(), manifest::Kept::default());
    let pages = manifest::leaf_pages(&remote, &progress, &mut kept, content, Some(size)).await?;
    for pages in pages.chunks(PAGES) {
        let leaves = manifest::leaves(&remote, &progress, &mut kept, pages).await?;
        let mut rest = leaves.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|leaf| {
                bytes += leaf.length as usize;
                bytes <= WINDOW
            });
            let (window, behind) = rest.split_at(fits.count().max(1));
            rest = behind;
            for piece in bring(&remote, &like, window.to_vec()).await? {
                if pieces.send(Ok(piece)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// The bytes of some chunks, in their order.
async fn bring<R: Remote>(remote: &R, like: &Option<Arc<File>>, leaves: Vec<Leaf>) -> Result<Vec<Bytes>, Failure> {
    let broken = |_| Failure::Offline("reading was broken off".to_owned());
    let mut there: HashMap<Digest, Bytes> = HashMap::new();
    if let Some(file) = like.clone() {
        let wanted = leaves.clone();
        let local = move || {
            let mut found = HashMap::new();
            for leaf in wanted {
                let mut buffer = Vec::new();
                if local::read_verified(|bytes, at| file.read_exact_at(bytes, at), leaf.offset, &leaf, &mut buffer) {
                    found.insert(leaf.digest, Bytes::from(buffer));
                }
            }
            found
        };
        there = spawn_blocking(local).await.map_err(broken)?;
    }
    let mut missing: Vec<Digest> = leaves.iter().map(|leaf| leaf.digest).filter(|it| !there.contains_key(it)).collect();
    missing.sort_unstable();
    missing.dedup();
    for digests in missing.chunks(limits::DIGESTS_PER_MESSAGE) {
        let mut answers = remote.fetch(digests.to_vec()).await?;
        while let Some(chunks) = answers.next().await {
            let chunks = chunks?;
            let unpack = move || {
                let unpack = |chunk: quics_chunks::Packed| {
                    let digest = chunk.digest;
                    chunk.unpack().map(|plain| (digest, plain)).map_err(|error| Failure::Absent(error.to_string()))
                };
                chunks.into_iter().map(unpack).collect::<Result<Vec<_>, _>>()
            };
            there.extend(spawn_blocking(unpack).await.map_err(broken)??);
        }
    }
    let take = |leaf: Leaf| match there.get(&leaf.digest) {
        Some(plain) if plain.len() == leaf.length as usize => Ok(plain.clone()),
        Some(_) => Err(Failure::Absent("a chunk has another length than its manifest says".to_owned())),
        None => Err(Failure::Absent("not every chunk came".to_owned())),
    };
    leaves.into_iter().map(take).collect()
}

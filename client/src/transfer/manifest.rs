//! Reads a content's manifest from the server, level by level, keeping the leaf pages' names only.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::StreamExt;
use quics_chunks::{Leaf, Page};
use quics_types::{Digest, limits};
use tokio::task::spawn_blocking;

use super::{Failure, Progress, Remote};

/// Pages that are asked for at once.
const PAGES: usize = 16;
/// Bytes of pages that are kept because another manifest may list them too.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// A leaf page that has not been read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeafPage {
    pub(super) digest: Digest,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Pages that were read, by digest.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pages: HashMap<Digest, Bytes>,
    bytes: usize,
}

impl Kept {
    fn keep(&mut self, digest: Digest, page: &Bytes) {
        if self.bytes + page.len() <= KEPT_BYTES && self.pages.insert(digest, page.clone()).is_none() {
            self.bytes += page.len();
        }
    }
}

/// The leaf pages of a content, in order; of `size` bytes, where that is known.
///
/// # Errors
/// [`Failure::Absent`] also when the manifest is damaged, contradicts itself or is of another size.
pub(super) async fn leaf_pages<R: Remote>(
    remote: &R,
    progress: &Progress,
    kept: &mut Kept,
    content: Digest,
    size: Option<u64>,
) -> Result<Vec<LeafPage>, Failure> {
    let mut first = pages(remote, progress, kept, &[content]).await?.pop();
    let (total, mut level) = first.as_ref().map_or((0, 0), |top| (top.total(), top.level()));
    if size.is_some_and(|size| size != total) {
        return Err(Failure::Absent(format!("content {content} has another size")));
    }
    // Pages are many entries long; a manifest that lists more of them than that is made to fill memory.
    let most = total / limits::INLINE_BYTES as u64 + 64;
    let mut list = vec![LeafPage { digest: content, offset: 0, length: total }];
    while level > 0 {
        let mut below = Vec::new();
        for window in list.chunks(PAGES) {
            let read = match first.take() {
                Some(top) => vec![top],
                None => read_checked(remote, progress, kept, window, level).await?,
            };
            for (above, page) in window.iter().zip(read) {
                let mut offset = above.offset;
                for entry in page.entries() {
                    below.push(LeafPage { digest: entry.digest, offset, length: entry.length });
                    offset += entry.length; // The page's total was checked to be its length.
                }
            }
            if below.len() as u64 > most {
                return Err(Failure::Absent(format!("content {content} has too many pages")));
            }
        }
        list = below;
        level -= 1;
    }
    Ok(list)
}

/// The chunks of some leaf pages, in order.
///
/// # Errors
/// As [`leaf_pages`].
pub(super) async fn leaves<R: Remote>(
    remote: &R,
    progress: &Progress,
    kept: &mut Kept,
    leaf_pages: &[LeafPage],
) -> Result<Vec<Leaf>, Failure> {
    let mut leaves = Vec::new();
    for window in leaf_pages.chunks(PAGES) {
        let read = read_checked(remote, progress, kept, window, 0).await?;
        for (above, page) in window.iter().zip(read) {
            let mut offset = above.offset;
            for entry in page.entries() {
                // A leaf page's lengths are within the limit of a chunk.
                leaves.push(Leaf { offset, digest: entry.digest, length: entry.length as u32 });
                offset += entry.length;
            }
        }
    }
    Ok(leaves)
}

/// Reads pages and checks them against what the pages above say.
async fn read_checked<R: Remote>(
    remote: &R,
    progress: &Progress,
    kept: &mut Kept,
    wanted: &[LeafPage],
    level: u8,
) -> Result<Vec<Page>, Failure> {
    let digests: Vec<Digest> = wanted.iter().map(|page| page.digest).collect();
    let pages = pages(remote, progress, kept, &digests).await?;
    for (above, page) in wanted.iter().zip(&pages) {
        if page.level() != level || page.total() != above.length {
            return Err(Failure::Absent(format!("page {} is not what the page above says", above.digest)));
        }
    }
    Ok(pages)
}

/// Pages in the order asked, from memory or the server.
async fn pages<R: Remote>(
    remote: &R,
    progress: &Progress,
    kept: &mut Kept,
    wanted: &[Digest],
) -> Result<Vec<Page>, Failure> {
    let mut found: HashMap<Digest, Bytes> = HashMap::new();
    let mut missing: Vec<Digest> = Vec::new();
    for digest in wanted {
        match kept.pages.get(digest) {
            Some(page) => _ = found.insert(*digest, page.clone()),
            None => missing.push(*digest),
        }
    }
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        let mut waiting: HashSet<Digest> = missing.iter().copied().collect();
        let mut answers = remote.fetch(missing).await?;
        while let Some(chunks) = answers.next().await {
            for chunk in chunks? {
                if !waiting.remove(&chunk.digest) {
                    return Err(Failure::Wrong("a page that was not asked for"));
                }
                progress.received(chunk.data.len());
                let digest = chunk.digest;
                let page = chunk.unpack().map_err(|error| Failure::Absent(error.to_string()))?;
                kept.keep(digest, &page);
                found.insert(digest, page);
            }
        }
    }
    let wanted = wanted.to_vec();
    let decode = move || {
        let decode = |digest: &Digest| {
            let bytes = found.get(digest).ok_or_else(|| Failure::Absent(format!("page {digest}")))?;
            Page::decode(*digest, bytes).map_err(|error| Failure::Absent(error.to_string()))
        };
        wanted.iter().map(decode).collect()
    };
    spawn_blocking(decode).await.map_err(|_| Failure::Offline("reading a page was broken off".to_owned()))?
}

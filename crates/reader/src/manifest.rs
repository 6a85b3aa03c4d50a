//! Reads a content's manifest from the server, level by level, keeping the leaf pages' names only.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use bytes::Bytes;
use futures_util::StreamExt;
use quics_chunks::{Leaf, Page};
use quics_types::{Digest, limits};
use tokio::task::spawn_blocking;

use crate::{Failure, Source};

/// Pages that are asked for at once.
const PAGES: usize = 16;

/// A leaf page that has not been read yet, and its place in the content.
#[derive(Debug, Clone, Copy)]
pub struct LeafPage {
    digest: Digest,
    offset: u64,
    length: u64,
}

impl LeafPage {
    /// Whether it has bytes of a range.
    fn covers(&self, range: &Range<u64>) -> bool {
        self.offset < range.end && range.start < self.offset + self.length
    }
}

/// Pages that were read, by digest, because the same or another manifest may list them again.
#[derive(Debug)]
pub struct Kept {
    pages: HashMap<Digest, Bytes>,
    room: usize,
}

impl Kept {
    /// Keeps pages of at most so many bytes; the ones that came first.
    pub fn at_most(bytes: usize) -> Self {
        Self { pages: HashMap::new(), room: bytes }
    }

    fn keep(&mut self, digest: Digest, page: &Bytes) {
        if page.len() <= self.room && self.pages.insert(digest, page.clone()).is_none() {
            self.room -= page.len();
        }
    }
}

/// The leaf pages of a content that cover a range of its bytes, in order; of `size` bytes, where that is known.
///
/// # Errors
/// [`Failure::Absent`] also when the manifest is damaged, contradicts itself or is of another size.
pub async fn leaf_pages<S: Source>(
    source: &S,
    kept: &mut Kept,
    content: Digest,
    size: Option<u64>,
    range: &Range<u64>,
) -> Result<Vec<LeafPage>, Failure> {
    let mut first = pages(source, kept, &[content]).await?.pop();
    let (total, mut level) = first.as_ref().map_or((0, 0), |top| (top.total(), top.level()));
    if size.is_some_and(|size| size != total) {
        return Err(Failure::Absent(format!("content {content} has another size")));
    }
    // Pages are many entries long; a manifest that lists more of them than that is made to fill memory.
    let most = total / limits::INLINE_BYTES as u64 + 64;
    let mut list = vec![LeafPage { digest: content, offset: 0, length: total }];
    list.retain(|page| page.covers(range));
    while level > 0 && !list.is_empty() {
        let mut below = Vec::new();
        for window in list.chunks(PAGES) {
            let read = match first.take() {
                Some(top) => vec![top],
                None => read_checked(source, kept, window, level).await?,
            };
            for (above, page) in window.iter().zip(read) {
                let mut offset = above.offset;
                for entry in page.entries() {
                    let page = LeafPage { digest: entry.digest, offset, length: entry.length };
                    offset += entry.length; // The page's total was checked to be its length.
                    if page.covers(range) {
                        below.push(page);
                    }
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
pub async fn leaves<S: Source>(source: &S, kept: &mut Kept, leaf_pages: &[LeafPage]) -> Result<Vec<Leaf>, Failure> {
    let mut leaves = Vec::new();
    for window in leaf_pages.chunks(PAGES) {
        let read = read_checked(source, kept, window, 0).await?;
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
async fn read_checked<S: Source>(
    source: &S,
    kept: &mut Kept,
    wanted: &[LeafPage],
    level: u8,
) -> Result<Vec<Page>, Failure> {
    let digests: Vec<Digest> = wanted.iter().map(|page| page.digest).collect();
    let pages = pages(source, kept, &digests).await?;
    for (above, page) in wanted.iter().zip(&pages) {
        if page.level() != level || page.total() != above.length {
            return Err(Failure::Absent(format!("page {} is not what the page above says", above.digest)));
        }
    }
    Ok(pages)
}

/// Pages in the order asked, from memory or the server.
async fn pages<S: Source>(source: &S, kept: &mut Kept, wanted: &[Digest]) -> Result<Vec<Page>, Failure> {
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
        let mut answers = source.fetch(missing).await?;
        while let Some(chunks) = answers.next().await {
            for chunk in chunks? {
                if !waiting.remove(&chunk.digest) {
                    return Err(Failure::Wrong("a page that was not asked for"));
                }
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

//! Writes a manifest while its chunks come in.

use bytes::Bytes;
use quics_types::{Digest, limits};

use super::page::{MAX_LEVEL, Page, PageEntry};
use crate::Error;

/// A finished manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifest {
    /// The content id: the digest of the top page.
    pub content: Digest,
    /// Bytes of content.
    pub size: u64,
    /// Number of chunks, repeated ones counted each time, pages not.
    pub chunks: u64,
}

/// Builds a manifest from chunks in the order of the content.
///
/// Pages are handed out as they fill, those of a level before the page that lists them; at most one open page a level
/// is kept, a few hundred kilobytes for any file.
#[derive(Debug, Default)]
pub struct ManifestBuilder {
    levels: Vec<Page>,
    chunks: u64,
}

impl ManifestBuilder {
    /// Starts an empty manifest.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a chunk and appends the pages that it fills to `pages`, with their digests.
    ///
    /// # Errors
    /// [`Error::Length`] unless `length` is 1 to [`limits::CHUNK_BYTES`] and the sum fits 64 bits.
    pub fn push(&mut self, digest: Digest, length: u32, pages: &mut Vec<(Digest, Bytes)>) -> Result<(), Error> {
        if length == 0 || length as usize > limits::CHUNK_BYTES {
            return Err(Error::Length { digest, length: length.into() });
        }
        self.chunks += 1;
        self.add(0, PageEntry { digest, length: length.into() }, pages)
    }

    /// Closes the open pages, appends them to `pages` and names the content.
    ///
    /// # Errors
    /// [`Error::Length`] for a content that passes 64 bits or [`MAX_LEVEL`] levels.
    pub fn finish(mut self, pages: &mut Vec<(Digest, Bytes)>) -> Result<Manifest, Error> {
        let mut level = 0;
        loop {
            let top = level + 1 >= self.levels.len();
            match self.levels.get(level).map(|page| &page.entries[..]) {
                // A level of one page needs no page above it.
                Some([only]) if top && level > 0 => {
                    return Ok(Manifest { content: only.digest, size: only.length, chunks: self.chunks });
                }
                // The page below ended exactly with the content.
                Some([]) if !top => {}
                _ if top => {
                    let page = self.levels.pop().unwrap_or_default();
                    let bytes = page.encode();
                    let content = Digest::of(&bytes);
                    pages.push((content, bytes));
                    return Ok(Manifest { content, size: page.total, chunks: self.chunks });
                }
                _ => self.close(level, pages)?,
            }
            level += 1;
        }
    }

    fn add(&mut self, level: usize, entry: PageEntry, pages: &mut Vec<(Digest, Bytes)>) -> Result<(), Error> {
        let too_long = Error::Length { digest: entry.digest, length: u64::MAX };
        if level >= self.levels.len() {
            if level > usize::from(MAX_LEVEL) {
                return Err(too_long);
            }
            self.levels.push(Page { level: level as u8, ..Page::default() });
        }
        let page = &mut self.levels[level];
        page.total = page.total.checked_add(entry.length).ok_or(too_long)?;
        page.entries.push(entry);
        if page.is_full() { self.close(level, pages) } else { Ok(()) }
    }

    /// Hands out the open page of a level and lists it in the level above.
    fn close(&mut self, level: usize, pages: &mut Vec<(Digest, Bytes)>) -> Result<(), Error> {
        let open = &mut self.levels[level];
        let bytes = open.encode();
        let (digest, length) = (Digest::of(&bytes), open.total);
        open.entries.clear();
        open.total = 0;
        pages.push((digest, bytes));
        self.add(level + 1, PageEntry { digest, length }, pages)
    }
}

/// Names a content that rides inline: the content id, its one page, and its one chunk's digest (`None` if empty).
///
/// # Errors
/// [`Error::Length`] for more than [`limits::INLINE_BYTES`] bytes.
pub fn inline_content(data: &[u8]) -> Result<(Digest, Bytes, Option<Digest>), Error> {
    let chunk = Digest::of(data);
    if data.len() > limits::INLINE_BYTES {
        return Err(Error::Length { digest: chunk, length: data.len() as u64 });
    }
    let page = match data.len() as u64 {
        0 => Page::default(),
        length => Page { level: 0, total: length, entries: vec![PageEntry { digest: chunk, length }] },
    };
    let bytes = page.encode();
    Ok((Digest::of(&bytes), bytes, (!data.is_empty()).then_some(chunk)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn digest(i: u64) -> Digest {
        Digest::of(&i.to_le_bytes())
    }

    fn build(chunks: impl Iterator<Item = Digest>) -> (Manifest, Vec<(Digest, Bytes)>) {
        let (mut builder, mut pages) = (ManifestBuilder::new(), Vec::new());
        for chunk in chunks {
            builder.push(chunk, 1000, &mut pages).unwrap();
        }
        (builder.finish(&mut pages).unwrap(), pages)
    }

    #[test]
    fn an_empty_file_is_an_empty_page_with_a_fixed_name() {
        let (manifest, pages) = build(std::iter::empty());
        assert_eq!((manifest.size, manifest.chunks, pages.len()), (0, 0, 1));
        assert_eq!(inline_content(b"").unwrap(), (manifest.content, pages[0].1.clone(), None));
        assert_eq!(manifest.content.to_string(), GOLDEN_EMPTY);
    }

    const GOLDEN_EMPTY: &str = "3b9cdf6a036f5ba78bae454bd99c9adff76527ce79477a05193fdc743fa43bb4";
    const GOLDEN_LARGE: &str = "505bf17ebfe34025c4b120e1a0c38daed41a187bbf35ebd13a04b8f8f5f01319";

    #[test]
    fn an_inline_content_has_the_name_that_the_chunker_and_builder_give_it() {
        for data in [&b"x"[..], &[7; limits::INLINE_BYTES]] {
            let (mut builder, mut pages) = (ManifestBuilder::new(), Vec::new());
            for chunk in crate::Chunker::new(data) {
                let chunk = chunk.unwrap();
                builder.push(chunk.digest, chunk.data.len() as u32, &mut pages).unwrap();
            }
            let manifest = builder.finish(&mut pages).unwrap();
            assert_eq!(inline_content(data).unwrap(), (manifest.content, pages[0].1.clone(), Some(Digest::of(data))));
        }
        assert!(inline_content(&[0; limits::INLINE_BYTES + 1]).is_err());
    }

    #[test]
    fn page_boundaries_are_fixed_for_all_time() {
        let (manifest, pages) = build((0..50_000).map(digest));
        assert_eq!((manifest.size, manifest.chunks), (50_000_000, 50_000));
        let most = pages.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
        assert!((60..150).contains(&pages.len()), "{} pages", pages.len());
        assert!(most <= limits::CHUNK_BYTES);
        assert_eq!(manifest.content.to_string(), GOLDEN_LARGE);
    }

    #[test]
    fn an_insert_at_the_head_changes_one_or_two_pages_a_level() {
        let (_, before) = build((0..100_000).map(digest));
        let (_, after) = build([digest(u64::MAX)].into_iter().chain((0..100_000).map(digest)));
        let known: HashSet<_> = before.into_iter().map(|(d, _)| d).collect();
        let new = after.iter().filter(|(d, _)| !known.contains(d)).count();
        assert!(new <= 5, "{new} of {} pages are new", after.len());
    }

    #[test]
    fn equal_chunks_make_equal_pages_and_every_level_shrinks() {
        // Both a digest that never ends a page and one that always does.
        let ends = (0..).map(digest).find(|d| d.as_bytes()[31] == 0 && d.as_bytes()[30] & 1 == 0).unwrap();
        for chunk in [digest(1), ends] {
            let (manifest, pages) = build(std::iter::repeat_n(chunk, 300_000));
            assert_eq!(manifest.chunks, 300_000);
            assert!(pages.iter().collect::<HashSet<_>>().len() <= 6);
        }
    }

    #[test]
    fn chunks_that_cannot_be_are_refused() {
        let (mut builder, mut pages) = (ManifestBuilder::new(), Vec::new());
        assert!(builder.push(digest(0), 0, &mut pages).is_err());
        assert!(builder.push(digest(0), limits::CHUNK_BYTES as u32 + 1, &mut pages).is_err());
        assert!(pages.is_empty());
    }
}

//! Reads a manifest page by page, believing nothing.

use quics_types::Digest;

use super::{ChunkSource, page::Page};
use crate::Error;

/// A chunk of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Where the chunk starts in the content, in bytes.
    pub offset: u64,
    /// The chunk's name.
    pub digest: Digest,
    /// Bytes of the chunk, 1 to [`quics_types::limits::CHUNK_BYTES`].
    pub length: u32,
}

/// A page or chunk of a content, in the order in which they are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A page that is about to be read. [`ManifestReader::skip_page`] passes over it.
    Page {
        /// The page's name.
        digest: Digest,
        /// Its level.
        level: u8,
        /// Where its content starts, in bytes.
        offset: u64,
        /// Bytes of content below it.
        length: u64,
    },
    /// A chunk.
    Chunk(Leaf),
}

#[derive(Debug)]
struct Frame {
    page: Page,
    next: usize,
    /// Where the next entry's content starts.
    offset: u64,
}

/// Iterates over the chunks of a content, pulling pages from a source.
///
/// It holds one page a level. Each page is verified against its digest and against what the page above says of its
/// level and length. A page can list the same page many times, so a few kilobytes may describe a content of any
/// size: compare [`ManifestReader::size`] with what you are ready to take before you iterate.
pub struct ManifestReader<'a> {
    source: &'a dyn ChunkSource,
    /// The top page's level and total.
    top: (u8, u64),
    content: Digest,
    stack: Vec<Frame>,
    /// A page that was announced and not yet read: name, level, offset, length.
    announced: Option<(Digest, u8, u64, u64)>,
}

impl<'a> ManifestReader<'a> {
    /// Reads the top page of a content.
    ///
    /// # Errors
    /// [`Error::Absent`] if the source does not have it, [`Error::Mismatch`] or [`Error::Page`] if it is not a page,
    /// and the source's own.
    pub fn open(source: &'a dyn ChunkSource, content: Digest) -> Result<Self, Error> {
        let page = load(source, content)?;
        let top = (page.level, page.total);
        Ok(Self { source, top, content, stack: vec![Frame { page, next: 0, offset: 0 }], announced: None })
    }

    /// Bytes of the content, as its top page says. Every page below is checked against it.
    pub fn size(&self) -> u64 {
        self.top.1
    }

    /// The level of the top page.
    pub fn level(&self) -> u8 {
        self.top.0
    }

    /// The content id.
    pub fn content(&self) -> Digest {
        self.content
    }

    /// Continues with the chunk that holds the byte at `offset`; at or past the end there is none.
    ///
    /// # Errors
    /// As [`ManifestReader::next_node`].
    pub fn seek(&mut self, offset: u64) -> Result<(), Error> {
        self.announced = None;
        self.stack.clear();
        self.stack.push(Frame { page: load(self.source, self.content)?, next: 0, offset: 0 });
        while let Some(frame) = self.stack.last_mut() {
            while let Some(entry) = frame.page.entries.get(frame.next) {
                if frame.offset + entry.length > offset {
                    break;
                }
                frame.offset += entry.length;
                frame.next += 1;
            }
            if frame.page.level == 0 || frame.next == frame.page.entries.len() {
                return Ok(());
            }
            self.announce();
            self.enter()?;
        }
        Ok(())
    }

    /// The next page or chunk; `None` at the end. A page is announced before it is read, so that its absence can be
    /// handled or its content passed over.
    ///
    /// # Errors
    /// [`Error::Absent`] for a page that the source does not have; the next call goes on behind it, so that all absent
    /// pages can be found. Any other error ends the iteration.
    pub fn next_node(&mut self) -> Result<Option<Node>, Error> {
        if self.announced.is_some() {
            self.enter()?;
        }
        while let Some(frame) = self.stack.last_mut() {
            if frame.next == frame.page.entries.len() {
                self.stack.pop();
                continue;
            }
            if frame.page.level > 0 {
                return Ok(self.announce());
            }
            let entry = frame.page.entries[frame.next];
            // A leaf's lengths were checked against the limit of a chunk.
            let leaf = Leaf { offset: frame.offset, digest: entry.digest, length: entry.length as u32 };
            frame.next += 1;
            frame.offset += entry.length;
            return Ok(Some(Node::Chunk(leaf)));
        }
        Ok(None)
    }

    /// Passes over the page that was announced last.
    pub fn skip_page(&mut self) {
        self.announced = None;
    }

    /// Announces the page that the innermost frame lists next.
    fn announce(&mut self) -> Option<Node> {
        let frame = self.stack.last_mut()?;
        let entry = *frame.page.entries.get(frame.next)?;
        let (level, offset) = (frame.page.level.checked_sub(1)?, frame.offset);
        frame.next += 1;
        frame.offset += entry.length; // Within the top page's total, which fits 64 bits.
        self.announced = Some((entry.digest, level, offset, entry.length));
        Some(Node::Page { digest: entry.digest, level, offset, length: entry.length })
    }

    /// Reads the page that was announced last.
    fn enter(&mut self) -> Result<(), Error> {
        let Some((digest, level, offset, length)) = self.announced.take() else { return Ok(()) };
        let page = load(self.source, digest).and_then(|page| {
            let wrong = |reason| Err(Error::Page { digest, reason });
            match (page.level == level, page.total == length) {
                (true, true) => Ok(page),
                (false, _) => wrong("its level does not follow from the page above"),
                (_, false) => wrong("its length is not what the page above says"),
            }
        });
        match page {
            Ok(page) => self.stack.push(Frame { page, next: 0, offset }),
            Err(e @ Error::Absent { .. }) => return Err(e),
            Err(e) => {
                self.stack.clear();
                return Err(e);
            }
        }
        Ok(())
    }
}

impl Iterator for ManifestReader<'_> {
    type Item = Result<Leaf, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_node() {
                Ok(Some(Node::Chunk(leaf))) => return Some(Ok(leaf)),
                Ok(Some(Node::Page { .. })) => {}
                Ok(None) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

impl std::fmt::Debug for ManifestReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManifestReader").field("content", &self.content).field("top", &self.top).finish_non_exhaustive()
    }
}

pub(super) fn load(source: &dyn ChunkSource, digest: Digest) -> Result<Page, Error> {
    let bytes = source.chunk(digest)?.ok_or(Error::Absent { digest })?;
    Page::decode(digest, &bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{ManifestBuilder, PageEntry};

    type Source = HashMap<Digest, Bytes>;

    fn digest(i: u64) -> Digest {
        Digest::of(&i.to_le_bytes())
    }

    fn length(i: u64) -> u32 {
        (i % 1000) as u32 + 1
    }

    fn build(chunks: u64) -> (Digest, Source) {
        let (mut builder, mut pages) = (ManifestBuilder::new(), Vec::new());
        for i in 0..chunks {
            builder.push(digest(i), length(i), &mut pages).unwrap();
        }
        let manifest = builder.finish(&mut pages).unwrap();
        (manifest.content, pages.into_iter().collect())
    }

    fn put(source: &mut Source, level: u8, entries: Vec<PageEntry>) -> PageEntry {
        let total = entries.iter().fold(0u64, |sum, e| sum.wrapping_add(e.length));
        let bytes = Page { level, total, entries }.encode();
        let digest = Digest::of(&bytes);
        source.insert(digest, bytes);
        PageEntry { digest, length: total }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn manifests_round_trip(chunks in prop_oneof![0u64..3, 60u64..700, 2000u64..100_000]) {
            let (content, source) = build(chunks);
            let reader = ManifestReader::open(&source, content).unwrap();
            let size = reader.size();
            let (mut i, mut offset) = (0, 0);
            for leaf in reader {
                prop_assert_eq!(leaf.unwrap(), Leaf { offset, digest: digest(i), length: length(i) });
                offset += u64::from(length(i));
                i += 1;
            }
            prop_assert_eq!((i, offset), (chunks, size));
        }

        #[test]
        fn a_seek_finds_the_chunk_that_holds_the_byte(chunks in 1u64..60_000, part in 0.0f64..1.1) {
            let (content, source) = build(chunks);
            let mut reader = ManifestReader::open(&source, content).unwrap();
            let offset = (reader.size() as f64 * part) as u64;
            reader.seek(offset).unwrap();
            match reader.next() {
                Some(leaf) => {
                    let leaf = leaf.unwrap();
                    prop_assert!(leaf.offset <= offset && offset < leaf.offset + u64::from(leaf.length));
                    let rest: u64 = reader.by_ref().map(|leaf| u64::from(leaf.unwrap().length)).sum();
                    prop_assert_eq!(leaf.offset + u64::from(leaf.length) + rest, reader.size());
                }
                None => prop_assert!(offset >= reader.size()),
            }
        }
    }

    #[test]
    fn all_absent_pages_are_found_in_one_pass() {
        let (content, mut source) = build(20_000);
        let all: Vec<_> = source.keys().copied().filter(|d| *d != content).collect();
        let gone: Vec<_> = all.iter().copied().step_by(3).collect();
        for digest in &gone {
            source.remove(digest);
        }
        let reader = ManifestReader::open(&source, content).unwrap();
        let mut absent: Vec<_> = reader
            .filter_map(|leaf| match leaf {
                Ok(_) => None,
                Err(Error::Absent { digest }) => Some(digest),
                Err(e) => panic!("{e}"),
            })
            .collect();
        absent.sort();
        let mut gone = gone;
        gone.sort();
        assert_eq!(absent, gone);
    }

    #[test]
    fn a_page_that_contradicts_the_page_above_ends_the_reading() {
        let mut source = Source::new();
        let leaf = put(&mut source, 0, vec![PageEntry { digest: digest(1), length: 10 }]);
        for (level, claimed) in [(1, PageEntry { length: 11, ..leaf }), (2, leaf)] {
            let top = put(&mut source, level, vec![claimed, leaf]);
            let results: Vec<_> = ManifestReader::open(&source, top.digest).unwrap().collect();
            assert!(matches!(results[..], [Err(Error::Page { .. })]), "{results:?}");
        }
    }

    #[test]
    fn a_small_manifest_of_an_absurd_content_costs_nothing_until_it_is_read() {
        let mut source = Source::new();
        let mut entry = PageEntry { digest: digest(1), length: 200_000 };
        for level in 0..=2 {
            entry = put(&mut source, level, vec![entry; 4000]);
        }
        let mut reader = ManifestReader::open(&source, entry.digest).unwrap();
        assert_eq!(reader.size(), 200_000 * 4000u64.pow(3));
        assert_eq!(reader.by_ref().take(10_000).filter(|leaf| leaf.is_ok()).count(), 10_000);
        reader.seek(reader.size() - 1).unwrap();
        assert_eq!(reader.count(), 1);
    }

    #[test]
    fn bytes_that_are_not_the_page_are_refused() {
        let (content, mut source) = build(10);
        source.insert(content, Bytes::from_static(b"something else"));
        assert!(matches!(ManifestReader::open(&source, content), Err(Error::Mismatch { .. })));
        source.remove(&content);
        assert!(matches!(ManifestReader::open(&source, content), Err(Error::Absent { .. })));
    }
}

//! Visits everything that a content needs, each page once.

use std::collections::HashMap;

use quics_types::Digest;

use super::{ChunkSource, ManifestReader, Node};
use crate::Error;

/// A chunk that a content needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// A page of the manifest.
    Page(Digest),
    /// A chunk of the content, with its length in bytes.
    Chunk(Digest, u32),
}

/// Visits the pages and chunks that a content needs and returns the content's size: for the check that a commit's
/// chunks are there, and for marking.
///
/// A page that is listed many times is read and visited once, so the work is bounded by the pages that are stored and
/// not by the size that they describe; what is kept is one digest a page. A chunk is visited as often as its pages
/// list it. A page is visited before it is read, those above before those below.
///
/// # Errors
/// The visitor's own, which end the visit; [`Error::Absent`], [`Error::Page`] and [`Error::Mismatch`] for pages that
/// are absent or contradict each other; and the source's.
pub fn references<E: From<Error>>(
    source: &dyn ChunkSource,
    content: Digest,
    mut visit: impl FnMut(Reference) -> Result<(), E>,
) -> Result<u64, E> {
    visit(Reference::Page(content))?;
    let mut reader = ManifestReader::open(source, content)?;
    let mut seen = HashMap::new();
    while let Some(node) = reader.next_node()? {
        match node {
            Node::Chunk(leaf) => visit(Reference::Chunk(leaf.digest, leaf.length))?,
            Node::Page { digest, level, length, .. } => match seen.insert(digest, (level, length)) {
                None => visit(Reference::Page(digest))?,
                Some(before) if before == (level, length) => reader.skip_page(),
                Some(_) => {
                    let reason = "it is listed with two lengths or levels";
                    return Err(Error::Page { digest, reason }.into());
                }
            },
        }
    }
    Ok(reader.size())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ManifestBuilder;

    #[test]
    fn repeated_pages_are_visited_once() {
        let (mut builder, mut pages) = (ManifestBuilder::new(), Vec::new());
        let zeros = Digest::of(&[0; 1000]);
        for _ in 0..50_000 {
            builder.push(zeros, 1000, &mut pages).unwrap();
        }
        let manifest = builder.finish(&mut pages).unwrap();
        let source: HashMap<Digest, Bytes> = pages.into_iter().collect();
        let (mut seen, mut chunks) = (Vec::new(), 0);
        let size = references(&source, manifest.content, |reference| {
            match reference {
                Reference::Page(digest) => seen.push(digest),
                Reference::Chunk(digest, 1000) if digest == zeros => chunks += 1,
                other => panic!("{other:?}"),
            }
            Ok::<_, Error>(())
        });
        assert_eq!(size.unwrap(), 50_000_000);
        assert_eq!(seen.len(), source.len());
        assert!(chunks < 5000, "{chunks}");
    }

    #[test]
    fn a_visitor_can_stop_the_visit() {
        let (content, page, _) = crate::inline_content(b"x").unwrap();
        let source = HashMap::from([(content, page)]);
        let stop = |_| Err(Error::Absent { digest: content });
        assert!(references(&source, content, stop).is_err());
    }
}

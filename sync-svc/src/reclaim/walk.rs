//! Marks a content: its pages and chunks, each page that was walked in this mark once.

use std::collections::HashSet;

use quics_chunks::{Error as ChunkError, ManifestReader, Marks, Node};
use quics_types::{Digest, RootId};

use crate::{Contents, Error};

/// What a walk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    /// Everything below it is marked, as far as it is there.
    Whole,
    /// The content's own page is not there, or is none.
    Absent,
    /// A page below is not there: what it lists is not known. The page was found damaged now if it is named.
    Torn(Option<Digest>),
    /// It was interrupted.
    Stopped,
}

/// Marks everything that a content needs. A page is marked as walked when everything below it is marked; it is read where it
/// is, and may be long: `stopped` is asked at every page.
///
/// # Errors
/// Those of the stores, but for damage.
pub(super) fn walk(
    contents: &Contents,
    marks: &Marks,
    root: RootId,
    content: Digest,
    stopped: &dyn Fn() -> bool,
) -> Result<Walked, Error> {
    let chunks = contents.chunks();
    if contents.is_empty_content(content) || chunks.is_walked(marks, root, content)? {
        return Ok(Walked::Whole);
    }
    let source = contents.of(root);
    let mut reader = match ManifestReader::open(&source, content) {
        Ok(reader) => reader,
        Err(ChunkError::Damaged { digest, .. }) => return Ok(Walked::Torn(Some(digest))),
        Err(error) if is_no_page(&error) => return Ok(Walked::Absent),
        Err(error) => return Err(error.into()),
    };
    // The pages that are being walked, from the top, each with its level.
    let mut open = vec![(content, reader.level())];
    // Those that a mark does not cover are walked once for each content.
    let mut seen = HashSet::new();
    loop {
        match reader.next_node() {
            Ok(Some(Node::Chunk(leaf))) => drop(chunks.mark(marks, root, leaf.digest)?),
            Ok(Some(Node::Page { digest, level, length, .. })) => {
                while let Some(&(ended, of)) = open.last().filter(|(_, of)| *of <= level) {
                    debug_assert!(of <= level);
                    chunks.mark_walked(marks, root, ended)?;
                    open.pop();
                }
                if chunks.is_walked(marks, root, digest)? || !seen.insert((digest, level, length)) {
                    reader.skip_page();
                } else {
                    open.push((digest, level));
                }
                if stopped() {
                    return Ok(Walked::Stopped);
                }
            }
            Ok(None) => break,
            Err(ChunkError::Damaged { digest, .. }) => return Ok(Walked::Torn(Some(digest))),
            Err(error) if is_no_page(&error) => return Ok(Walked::Torn(None)),
            Err(error) => return Err(error.into()),
        }
    }
    for (ended, _) in open.into_iter().rev() {
        chunks.mark_walked(marks, root, ended)?;
    }
    Ok(Walked::Whole)
}

fn is_no_page(error: &ChunkError) -> bool {
    matches!(
        error,
        ChunkError::Absent { .. }
            | ChunkError::Page { .. }
            | ChunkError::Mismatch { .. }
            | ChunkError::Length { .. }
            | ChunkError::Unpack { .. }
    )
}

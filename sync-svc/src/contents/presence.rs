//! Whether everything that a content needs is there.

use std::collections::HashSet;

use quics_chunks::{Error as ChunkError, ManifestReader, Node, Position};
use quics_types::{Digest, RootId, limits};

use super::{Contents, Found};
use crate::Error;

/// What is there of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// All of it. A commit that names it waits until the chunk store is durable up to the position.
    Complete(Position),
    /// These chunks or pages are not there; at most [`limits::DIGESTS_PER_MESSAGE`] are named, and absent pages may hide
    /// more.
    Missing(Vec<Digest>),
    /// It is not a content of that size.
    Malformed,
}

impl Contents {
    /// Looks for every page and chunk of a content. It reads the pages, so it may take a while for a large file.
    ///
    /// Pages that are listed again are not read again: the work is bounded by the pages that were uploaded, whatever size
    /// they claim to describe.
    ///
    /// # Errors
    /// Those of the two stores.
    pub fn presence(&self, root: RootId, content: Digest, size: u64) -> Result<Presence, Error> {
        let mut walk =
            Walk { contents: self, root, missing: Vec::new(), named: HashSet::new(), position: Position::START };
        match walk.run(content, size) {
            Ok(()) if walk.missing.is_empty() => Ok(Presence::Complete(walk.position)),
            Ok(()) => Ok(Presence::Missing(walk.missing)),
            Err(Error::Chunks(ChunkError::Page { .. } | ChunkError::Mismatch { .. } | ChunkError::Length { .. })) => {
                Ok(Presence::Malformed)
            }
            Err(error) => Err(error),
        }
    }
}

struct Walk<'a> {
    contents: &'a Contents,
    root: RootId,
    missing: Vec<Digest>,
    named: HashSet<Digest>,
    position: Position,
}

impl Walk<'_> {
    fn run(&mut self, content: Digest, size: u64) -> Result<(), Error> {
        let source = self.contents.of(self.root);
        let mut reader = match ManifestReader::open(&source, content) {
            Err(ChunkError::Absent { digest } | ChunkError::Damaged { digest, .. }) => {
                self.name(digest);
                return Ok(());
            }
            other => other?,
        };
        if reader.size() != size {
            return Err(ChunkError::Page { digest: content, reason: "it is of another size" }.into());
        }
        self.look_for(content)?;
        let mut pages = HashSet::new();
        while self.missing.len() < limits::DIGESTS_PER_MESSAGE {
            match reader.next_node() {
                Ok(None) => break,
                Ok(Some(Node::Chunk(leaf))) => self.look_for(leaf.digest)?,
                Ok(Some(Node::Page { digest, level, length, .. })) => {
                    if pages.insert((digest, level, length)) {
                        self.look_for(digest)?;
                    } else {
                        reader.skip_page();
                    }
                }
                Err(ChunkError::Absent { digest } | ChunkError::Damaged { digest, .. }) => self.name(digest),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn look_for(&mut self, digest: Digest) -> Result<(), Error> {
        match self.contents.find(self.root, digest, true)? {
            Some(Found::Stored(position)) => self.position = self.position.max(position),
            Some(Found::Journaled) => {}
            None => self.name(digest),
        }
        Ok(())
    }

    fn name(&mut self, digest: Digest) {
        if self.named.insert(digest) {
            self.missing.push(digest);
        }
    }
}

//! Contents that a commit names: whether they are there, and those that ride in it.

use bytes::Bytes;
use quics_chunks::{Position, inline_content};
use quics_reconcile::Value;
use quics_types::{Digest, RootId};

use super::Ledger;
use super::write::Write;
use crate::Error;
use crate::contents::Presence;
use crate::db::keys;
use crate::db::records::{BlobTag, Inline};

/// What a commit has to bring so that the content that it names is there.
pub(super) enum Content {
    Nothing,
    Inline { content: Digest, chunk: Digest, bytes: Bytes },
}

/// Why a content cannot be named yet, or not at all.
pub(super) enum Lacking {
    /// These chunks or pages are not there.
    Missing(Vec<Digest>),
    /// It is there, but not durable up to this position.
    Unflushed(Position),
    /// It is not a content of that size.
    Malformed,
}

impl Ledger {
    /// Looks for a content that a commit is to name, with the bytes that came along. Reads the pages of a large one.
    ///
    /// # Errors
    /// [`Error::Inline`]: the bytes are not what the value says. Those of the stores.
    pub(super) fn content(
        &self,
        root: RootId,
        value: Option<&Value>,
        inline: Option<&Bytes>,
    ) -> Result<Result<Content, Lacking>, Error> {
        let Some((content, size)) = value.and_then(Value::content) else {
            return if inline.is_some() { Err(Error::Inline) } else { Ok(Ok(Content::Nothing)) };
        };
        if let Some(bytes) = inline {
            let (id, _, chunk) = inline_content(bytes)?;
            if id != content || bytes.len() as u64 != size {
                return Err(Error::Inline);
            }
            let Some(chunk) = chunk else { return Ok(Ok(Content::Nothing)) };
            // A content that is there already, its page and its chunk, is not written again.
            let there = (self.contents.find(root, id, true)?, self.contents.find(root, chunk, true)?);
            return Ok(match there {
                (Some(page), Some(data)) => self.flushed(page.position().max(data.position())),
                _ => Ok(Content::Inline { content: id, chunk, bytes: bytes.clone() }),
            });
        }
        Ok(match self.contents.presence(root, content, size)? {
            Presence::Complete(position) => self.flushed(position),
            Presence::Missing(digests) => Err(Lacking::Missing(digests)),
            Presence::Malformed => Err(Lacking::Malformed),
        })
    }

    fn flushed(&self, position: Position) -> Result<Content, Lacking> {
        let durable = position <= self.contents.chunks().durable_up_to();
        if durable { Ok(Content::Nothing) } else { Err(Lacking::Unflushed(position)) }
    }
}

impl Write<'_> {
    /// Lets a content ride in the commit.
    pub(super) fn bring(&mut self, content: Content) {
        let Content::Inline { content, chunk, bytes } = content else { return };
        let root = self.root;
        let slot = self.batch.blob_tagged(BlobTag { root, content, chunk }.encode(), bytes);
        self.batch.put_located(keys::blob(root, content), Inline::head(true), slot);
        self.batch.put_located(keys::blob(root, chunk), Inline::head(false), slot);
    }
}

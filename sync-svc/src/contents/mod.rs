//! Where contents are: in the chunk store, or (small ones, for a while) in the journal beside their commits.
//!
//! A small content is one chunk and one page. It rides in the journal frame of its commit, so that a small edit costs one
//! sync; two rows say where it is, one under the chunk's digest and one under the page's, which is derived from the
//! chunk. A [`mover`](Mover) copies such contents to the chunk store before their journal segment is dropped. The content of
//! every empty file is known without being stored.

mod gate;
mod lease;
mod mover;
mod presence;
mod wanted;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use quics_chunks::{ChunkSource, ChunkStore, Packed, Position, inline_content};
use quics_meta::MetaStore;
use quics_records::Reads;
use quics_types::{Digest, RootId};

pub(crate) use gate::{Asking, Gate, Running};
pub use mover::Mover;
pub use presence::Presence;

use crate::Error;
use crate::db::keys;
use crate::db::records::Inline;

/// The page of an empty content, which is its content id.
static EMPTY: LazyLock<(Digest, Bytes)> = LazyLock::new(|| match inline_content(&[]) {
    Ok((content, page, _)) => (content, page),
    // Nothing is not longer than the limit.
    Err(_) => unreachable!(),
});

/// How often a blob is looked up again because it was moved meanwhile.
const TRIES: usize = 8;

/// The contents of all roots.
#[derive(Clone)]
pub struct Contents {
    meta: Arc<dyn MetaStore>,
    chunks: Arc<dyn ChunkStore>,
    /// Held while a lease is read and written.
    leases: Arc<parking_lot::Mutex<()>>,
    gate: Arc<Gate>,
}

/// Where a chunk or page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// In the chunk store; durable when its watermark has reached the position.
    Stored(Position),
    /// In the journal, in a commit that is durable or ahead of the next one.
    Journaled,
}

impl Found {
    /// Up to where the chunk store has to be durable.
    pub(crate) fn position(self) -> Position {
        match self {
            Found::Stored(position) => position,
            Found::Journaled => Position::START,
        }
    }
}

impl Contents {
    /// Takes the two stores.
    pub fn new(meta: Arc<dyn MetaStore>, chunks: Arc<dyn ChunkStore>) -> Self {
        Self { meta, chunks, leases: Arc::default(), gate: Arc::default() }
    }

    /// A token for who is about to ask whether chunks are there, to be held until what refers to them is submitted.
    pub(crate) fn asking(&self) -> Asking {
        self.gate.asking()
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Puts a chunk, and has it kept while marks run, also where it was there already.
    ///
    /// # Errors
    /// Those of the chunk store.
    pub(crate) fn put(&self, root: RootId, chunk: &Packed) -> Result<Position, Error> {
        for _ in 0..TRIES {
            self.chunks.put(root, chunk)?;
            // One that was there may just have been given up.
            if let Some(position) = self.gate.find(&*self.chunks, root, chunk.digest)? {
                return Ok(position);
            }
        }
        Err(quics_chunks::Error::Absent { digest: chunk.digest }.into())
    }

    /// The metadata store.
    pub(crate) fn meta(&self) -> &dyn MetaStore {
        &*self.meta
    }

    /// Whether this is the content of every empty file, which is known without being stored.
    pub(crate) fn is_empty_content(&self, content: Digest) -> bool {
        content == EMPTY.0
    }

    /// The chunk store.
    pub fn chunks(&self) -> &Arc<dyn ChunkStore> {
        &self.chunks
    }

    /// Looks for a chunk or page, in commits that are not durable yet too if `latest` says so.
    pub(crate) fn find(&self, root: RootId, digest: Digest, latest: bool) -> Result<Option<Found>, Error> {
        if digest == EMPTY.0 {
            return Ok(Some(Found::Journaled));
        }
        let stored = || Ok::<_, Error>(self.gate.find(&*self.chunks, root, digest)?.map(Found::Stored));
        if let Some(found) = stored()? {
            return Ok(Some(found));
        }
        let reads = if latest { Reads::latest(&*self.meta) } else { Reads::durable(&*self.meta) };
        if reads.raw(&keys::blob(root, digest))?.is_some() {
            return Ok(Some(Found::Journaled));
        }
        // It may have been moved between the two looks.
        stored()
    }

    /// Reads a chunk or page in the form in which it is to be sent; `None` if it is absent. It may read the disk.
    ///
    /// # Errors
    /// [`quics_chunks::Error::Damaged`] once for a chunk that does not verify; it is quarantined.
    pub fn read(&self, root: RootId, digest: Digest) -> Result<Option<Packed>, Error> {
        if digest == EMPTY.0 {
            return Ok(Some(Packed::raw(digest, EMPTY.1.clone())));
        }
        if let Some(packed) = self.chunks.get(root, digest)? {
            return Ok(Some(packed));
        }
        match self.read_journaled(root, digest)? {
            Some(bytes) => Ok(Some(Packed::raw(digest, bytes))),
            None => Ok(self.chunks.get(root, digest)?),
        }
    }

    /// Reads a small content as a whole; `None` if it has more than [`quics_types::limits::INLINE_BYTES`] bytes or is not
    /// all there.
    ///
    /// # Errors
    /// As [`Contents::read`].
    pub fn read_small(&self, root: RootId, content: Digest, size: u64) -> Result<Option<Bytes>, Error> {
        if size > quics_types::limits::INLINE_BYTES as u64 {
            return Ok(None);
        }
        if content == EMPTY.0 {
            return Ok(Some(Bytes::new()));
        }
        if let Some(bytes) = self.read_blob(root, content)?.map(|(_, bytes)| bytes) {
            return Ok(Some(bytes));
        }
        let source = self.of(root);
        let mut reader = match quics_chunks::ManifestReader::open(&source, content) {
            Ok(reader) if reader.size() == size => reader,
            Ok(_) | Err(quics_chunks::Error::Absent { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match (reader.next().transpose()?, reader.next()) {
            (Some(only), None) => Ok(source.chunk(only.digest)?),
            _ => Ok(None),
        }
    }

    /// The chunks of one root as a source of manifest pages.
    pub fn of(&self, root: RootId) -> RootSource<'_> {
        RootSource { contents: self, root }
    }

    fn read_journaled(&self, root: RootId, digest: Digest) -> Result<Option<Bytes>, Error> {
        Ok(match self.read_blob(root, digest)? {
            Some((inline, bytes)) if inline.page => Some(inline_content(&bytes)?.1),
            Some((_, bytes)) => Some(bytes),
            None => None,
        })
    }

    /// Reads the small content that a digest belongs to, as its chunk or as its page.
    fn read_blob(&self, root: RootId, digest: Digest) -> Result<Option<(Inline, Bytes)>, Error> {
        let key = keys::blob(root, digest);
        for _ in 0..TRIES {
            let Some(row) = Reads::latest(&*self.meta).raw(&key)? else { return Ok(None) };
            let inline = Inline::decode(&key, &row)?;
            match self.meta.read_blob(inline.at) {
                Ok(bytes) => return Ok(Some((inline, bytes))),
                Err(quics_meta::Error::Gone { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::damaged(&key))
    }
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").field("stats", &self.chunks.stats()).finish()
    }
}

/// The chunks and pages of one root, wherever they are.
#[derive(Debug, Clone, Copy)]
pub struct RootSource<'a> {
    contents: &'a Contents,
    root: RootId,
}

impl ChunkSource for RootSource<'_> {
    fn chunk(&self, digest: Digest) -> Result<Option<Bytes>, quics_chunks::Error> {
        match self.contents.read(self.root, digest) {
            Ok(packed) => packed.map(|packed| packed.unpack()).transpose(),
            Err(Error::Chunks(error)) => Err(error),
            Err(error) => Err(quics_chunks::Error::Failed(error.to_string().into())),
        }
    }
}

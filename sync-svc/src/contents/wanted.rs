//! Chunks that were lost to damage, and how they come back.

use quics_chunks::Error as ChunkError;
use quics_meta::Batch;
use quics_records::Reads;
use quics_types::{Digest, RootId, limits};

use super::Contents;
use crate::db::keys;
use crate::{Error, WallTime};

impl Contents {
    /// Writes down that a chunk is wanted back. The chunk store has it in quarantine already.
    ///
    /// # Errors
    /// Those of the store.
    pub fn want(&self, root: RootId, digest: Digest, now: WallTime) -> Result<(), Error> {
        tracing::error!(%root, chunk = %digest, "chunk.damaged");
        let mut batch = Batch::new();
        let mut value = vec![1];
        value.extend_from_slice(&now.0.to_be_bytes());
        batch.put(keys::wanted(root, digest), value);
        // Lost in a crash, it is found again by the next read.
        drop(self.meta.submit(batch)?);
        Ok(())
    }

    /// The chunks of a root that are wanted back; at most [`limits::DIGESTS_PER_MESSAGE`].
    ///
    /// # Errors
    /// Those of the store.
    pub fn wanted(&self, root: RootId) -> Result<Vec<Digest>, Error> {
        let (from, to) = keys::all(b'w', Some(root));
        let rows = Reads::latest(&*self.meta).raw_range(&from, &to, limits::DIGESTS_PER_MESSAGE)?;
        let digest = |key: &[u8]| keys::tail(key).and_then(|tail| Digest::from_slice(tail).ok());
        rows.iter().map(|(key, _)| digest(key).ok_or_else(|| Error::damaged(key))).collect()
    }

    /// How many chunks of all roots are wanted back.
    ///
    /// # Errors
    /// Those of the store.
    pub fn wanted_count(&self) -> Result<u64, Error> {
        let (mut from, to) = keys::all(b'w', None);
        let mut count = 0;
        loop {
            let page = Reads::latest(&*self.meta).raw_range(&from, &to, limits::DIGESTS_PER_MESSAGE)?;
            let Some((last, _)) = page.last() else { return Ok(count) };
            count += page.len() as u64;
            from = keys::behind(last);
        }
    }

    /// Writes down that chunks have come back, after they are durable.
    ///
    /// # Errors
    /// Those of the store.
    pub fn healed(&self, root: RootId, digests: &[Digest]) -> Result<(), Error> {
        let reads = Reads::latest(&*self.meta);
        let (from, to) = keys::all(b'w', Some(root));
        if reads.raw_range(&from, &to, 1)?.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for digest in digests {
            let key = keys::wanted(root, *digest);
            if reads.raw(&key)?.is_some() {
                tracing::info!(%root, chunk = %digest, "chunk.healed");
                batch.delete(key);
            }
        }
        if !batch.is_empty() {
            drop(self.meta.submit(batch)?);
        }
        Ok(())
    }

    /// Tells which chunk an error says is damaged.
    pub fn damaged(error: &Error) -> Option<Digest> {
        match error {
            Error::Chunks(ChunkError::Damaged { digest, .. }) => Some(*digest),
            _ => None,
        }
    }
}

//! Which cursors are of this server.
//!
//! A server that was restored from an older backup has the same commit numbers again for other commits. It has another
//! epoch for them, and knows for each root with which commit each epoch began: a cursor is its own if the epoch is in the
//! store's chain and the number is none that a later epoch gave.

use quics_types::{Cursor, Epoch, RootId};

use super::Ledger;
use crate::Error;
use crate::db::keys;

impl Ledger {
    /// Whether this server gave this cursor, and can go on from it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn knows(&self, root: RootId, cursor: Cursor) -> Result<bool, Error> {
        // Before the first commit nothing can differ, whoever says so.
        if cursor.seq == 0 {
            return Ok(true);
        }
        let Some(place) = self.chain.get(&cursor.epoch) else { return Ok(false) };
        let state = self.root(self.durable(), root)?.record;
        if cursor.seq > state.seq || cursor.seq < state.pruned {
            return Ok(false);
        }
        let (from, to) = keys::all(b'n', Some(root));
        for (key, value) in self.durable().raw_range(&from, &to, quics_meta::MAX_PAGE)? {
            let first: Option<u64> = keys::tail(&key).and_then(|tail| tail.try_into().ok()).map(u64::from_be_bytes);
            let epoch = value.as_ref().try_into().ok().map(|bytes| Epoch(u64::from_be_bytes(bytes)));
            let (Some(first), Some(epoch)) = (first, epoch) else { return Err(Error::damaged(&key)) };
            if self.chain.get(&epoch).is_none_or(|later| later > place) {
                return Ok(cursor.seq < first);
            }
        }
        Ok(true)
    }

    /// The cursor of a commit, in the server's present epoch.
    pub fn cursor(&self, seq: u64) -> Cursor {
        Cursor { epoch: self.epoch, seq }
    }
}

//! Forgets answers to conflicts before their time, because what they name is purged.

use std::collections::HashSet;

use bytes::Bytes;
use quics_meta::{Batch, Receipt};
use quics_records::wide;
use quics_types::{Digest, ResolutionId, RootId};

use super::Ledger;
use crate::Error;
use crate::db::answers::{Answered, ResolutionEntry};
use crate::db::keys;
use crate::db::records;
use crate::reclaim::names;

/// Records of one look at the store.
const STEP: usize = 256;

impl Ledger {
    /// Forgets the next answer that names one of these contents, with everything that was answered with it: it cannot be
    /// undone any more. `None` if there is none.
    ///
    /// # Durability
    /// When the receipt has resolved.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn forget_answers(&self, root: RootId, contents: &HashSet<Digest>) -> Result<Option<Receipt>, Error> {
        let (mut from, to) = keys::all(b'u', Some(root));
        loop {
            let page = self.latest().range(&from, &to, STEP)?;
            let Some((last, _)) = page.last() else { return Ok(None) };
            from = keys::behind(last);
            for (key, stored) in page {
                let answered = records::decode::<Answered>(&key, stored)?.record;
                if names(&answered).iter().any(|content| contents.contains(content)) {
                    let id = keys::parse_answered(&key).ok_or_else(|| Error::damaged(&key))?;
                    return self.forget_resolution(root, id).map(Some);
                }
            }
        }
    }

    fn forget_resolution(&self, root: RootId, id: ResolutionId) -> Result<Receipt, Error> {
        let memo = self.memo(root);
        let _one_at_a_time = memo.lock();
        let mut batch = Batch::new();
        if let Some(whole) = self.remove_resolution(&mut batch, root, id)? {
            batch.delete(keys::resolved(root, whole.seq));
            let mut state = self.root(self.latest(), root)?;
            state.record.resolutions = state.record.resolutions.saturating_sub(1);
            records::put(&mut batch, keys::root(root), &state.record, state.pieces);
        }
        Ok(self.meta.submit(batch)?)
    }

    /// Removes what was answered at once, but for its place in the order.
    pub(super) fn remove_resolution(
        &self,
        batch: &mut Batch,
        root: RootId,
        id: ResolutionId,
    ) -> Result<Option<ResolutionEntry>, Error> {
        let key = keys::resolution(root, id);
        let Some(kept) = records::get::<ResolutionEntry>(self.latest(), &key)? else { return Ok(None) };
        wide::delete(batch, key, kept.pieces);
        for entry in &kept.record.entries {
            let key: Bytes = keys::answered(root, id, *entry);
            if let Some(stored) = self.latest().get(&key)? {
                wide::delete(batch, key, stored.pieces);
            }
        }
        Ok(Some(kept.record))
    }
}

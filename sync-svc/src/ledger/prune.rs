//! Removes tombstones and closed conflicts that every device has been told of.

use quics_meta::{Batch, Receipt};
use quics_records::wide;
use quics_types::{DeviceId, EntryId, RootId};

use super::Ledger;
use crate::Error;
use crate::db::keys::{self, Kind};
use crate::db::records::{self, ConflictEntry, Entry};

use super::write::remove_tombstone;

/// Records of the feed that one step looks at.
const STEP: usize = 1024;

impl Ledger {
    /// Removes the tombstones and closed conflicts that all `attached` devices have acknowledged, a bounded number; `None`
    /// when there is nothing to remove. Without a device nothing is removed.
    ///
    /// A tombstone with an open conflict stays, and everything behind it.
    ///
    /// # Durability
    /// When the receipt has resolved.
    ///
    /// # Errors
    /// Those of the store.
    pub fn prune(&self, root: RootId, attached: &[DeviceId]) -> Result<Option<Receipt>, Error> {
        if attached.is_empty() {
            return Ok(None);
        }
        let memo = self.memo(root);
        let _one_at_a_time = memo.lock();
        let kept = self.root(self.latest(), root)?;
        let mut state = kept.record;
        let until = self.acknowledged_by_all(root, attached)?.min(state.seq);
        if until <= state.pruned {
            return Ok(None);
        }
        let ((from, _), (to, _)) = (keys::feed_after(root, state.pruned), keys::feed_after(root, until));
        let page = self.latest().raw_range(&from, &to, STEP)?;
        let mut batch = Batch::new();
        let (mut done, mut held) = (state.pruned, false);
        for (key, id) in &page {
            let (seq, kind) = keys::parse_feed(key).ok_or_else(|| Error::damaged(key))?;
            let id = EntryId::from_slice(id).map_err(|_| Error::damaged(key))?;
            // The commit of the last record may go on in the next page.
            done = seq - 1;
            held = !self.prune_one(&mut batch, root, kind, id, &mut state.tombstones)?;
            if held {
                break;
            }
        }
        if !held && page.len() < STEP {
            done = until;
        }
        if done <= state.pruned && batch.is_empty() {
            return Ok(None);
        }
        state.pruned = done;
        records::put(&mut batch, keys::root(root), &state, kept.pieces);
        Ok(Some(self.meta.submit(batch)?))
    }

    /// Removes one record's entry or conflict if it is dead or closed; `false` if it has to stay and holds up the rest.
    fn prune_one(
        &self,
        batch: &mut Batch,
        root: RootId,
        kind: Kind,
        id: EntryId,
        tombstones: &mut u64,
    ) -> Result<bool, Error> {
        let conflict = records::get::<ConflictEntry>(self.latest(), &keys::conflict(root, id))?;
        let is_open = conflict.as_ref().is_some_and(|kept| kept.record.is_open());
        match kind {
            Kind::Row => {
                let entry = records::get::<Entry>(self.latest(), &keys::entry(root, id))?;
                let Some(entry) = entry.filter(|kept| kept.record.row.dead) else { return Ok(true) };
                if is_open {
                    return Ok(false);
                }
                remove_tombstone(batch, root, &entry);
                let at = keys::tombstone(root, &entry.record.row.place);
                if self.latest().raw(&at)?.as_deref() == Some(id.as_bytes()) {
                    batch.delete(at);
                }
                *tombstones = tombstones.saturating_sub(1);
            }
            Kind::Settings | Kind::Brakes => {}
            Kind::Conflict => {
                if let Some(conflict) = conflict.filter(|_| !is_open) {
                    batch.delete(keys::feed(root, conflict.record.seq, Kind::Conflict));
                    wide::delete(batch, keys::conflict(root, id), conflict.pieces);
                }
            }
        }
        Ok(true)
    }
}

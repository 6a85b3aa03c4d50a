//! Up to where each device has durably taken the feed.

use quics_meta::{Batch, Receipt};
use quics_types::{Cursor, DeviceId, RootId};

use super::Ledger;
use crate::Error;
use crate::db::keys;
use crate::db::records::{self, pieces};

/// Acknowledgements that one commit writes.
const AT_ONCE: usize = 4096;

impl Ledger {
    /// Notes that a device has durably taken everything up to a cursor. One that this server did not give counts for
    /// nothing; a lower one than before too.
    ///
    /// # Durability
    /// None until [`Ledger::write_acknowledged`]; a lost one only keeps tombstones longer.
    ///
    /// # Errors
    /// Those of the store.
    pub fn acknowledge(&self, root: RootId, device: DeviceId, cursor: Cursor) -> Result<(), Error> {
        if self.knows(root, cursor)? {
            let mut waiting = self.acknowledged.lock();
            let entry = waiting.entry((root, device)).or_insert(cursor);
            if entry.seq < cursor.seq {
                *entry = cursor;
            }
        }
        Ok(())
    }

    /// Writes what was acknowledged since the last time; `None` if there is nothing to write.
    ///
    /// # Errors
    /// Those of the store; what was not written stays noted.
    pub fn write_acknowledged(&self) -> Result<Option<Receipt>, Error> {
        let mut waiting = self.acknowledged.lock();
        if waiting.is_empty() {
            return Ok(None);
        }
        let mut batch = Batch::new();
        let mut written = Vec::new();
        for ((root, device), cursor) in waiting.iter().take(AT_ONCE) {
            let key = keys::acknowledged(*root, *device);
            let before = records::get::<Cursor>(self.latest(), &key)?;
            if before.as_ref().is_none_or(|kept| kept.record.seq < cursor.seq) {
                records::put(&mut batch, key, cursor, pieces(&before));
            }
            written.push((*root, *device));
        }
        let receipt = if batch.is_empty() { None } else { Some(self.meta.submit(batch)?) };
        for key in written {
            waiting.remove(&key);
        }
        Ok(receipt)
    }

    /// Up to which commit all of these devices have durably acknowledged; 0 if one never did.
    pub(super) fn acknowledged_by_all(&self, root: RootId, devices: &[DeviceId]) -> Result<u64, Error> {
        let mut all = u64::MAX;
        for device in devices {
            let kept = records::get::<Cursor>(self.durable(), &keys::acknowledged(root, *device))?;
            let cursor = match kept {
                Some(kept) if self.knows(root, kept.record)? => kept.record.seq,
                _ => 0,
            };
            all = all.min(cursor);
        }
        Ok(all)
    }
}

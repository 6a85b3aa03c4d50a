//! Open conflicts, for those who answer them.

use quics_types::{EntryId, RootId};

use super::Ledger;
use crate::Error;
use crate::db::keys;
use crate::db::records::{self, ConflictEntry};

/// A page of open conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictPage {
    /// The conflicts by entry.
    pub conflicts: Vec<(EntryId, ConflictEntry)>,
    /// Behind which entry to go on, where there may be more.
    pub next: Option<EntryId>,
}

/// Closed conflicts that one page passes over at most.
const STEP: usize = 1024;

impl Ledger {
    /// The durable open conflict of an entry.
    ///
    /// # Errors
    /// Those of the store.
    pub fn conflict(&self, root: RootId, id: EntryId) -> Result<Option<ConflictEntry>, Error> {
        let kept = records::get::<ConflictEntry>(self.durable(), &keys::conflict(root, id))?;
        Ok(kept.map(|kept| kept.record).filter(ConflictEntry::is_open))
    }

    /// The durable open conflicts of a root by entry id, those behind `after`, at most `limit`.
    /// A page may be empty before the end.
    ///
    /// # Errors
    /// Those of the store.
    pub fn conflicts(&self, root: RootId, after: Option<EntryId>, limit: usize) -> Result<ConflictPage, Error> {
        let (first, to) = keys::all(b'c', Some(root));
        let from = after.map_or(first, |id| keys::behind(&keys::conflict(root, id)));
        let page = self.durable().range(&from, &to, STEP)?;
        let (count, mut found, mut last) = (page.len(), Vec::new(), None);
        for (key, stored) in page {
            if found.len() == limit {
                return Ok(ConflictPage { conflicts: found, next: last });
            }
            let id = keys::tail(&key).and_then(|tail| EntryId::from_slice(tail).ok());
            let id = id.ok_or_else(|| Error::damaged(&key))?;
            let entry = records::decode::<ConflictEntry>(&key, stored)?.record;
            last = Some(id);
            if entry.is_open() {
                found.push((id, entry));
            }
        }
        Ok(ConflictPage { conflicts: found, next: last.filter(|_| count == STEP) })
    }
}

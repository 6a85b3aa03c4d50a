//! The live tree in pages.

use bytes::Bytes;
use quics_types::{EntryId, RootId};

use super::{Change, Ledger, Told};
use crate::Error;
use crate::db::keys;
use crate::db::records::{self, Entry};

/// Rows that one page looks at.
const STEP: usize = 512;

/// Where the reading of a snapshot is.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    from: Option<Bytes>,
}

impl Ledger {
    /// Reads the next durable live rows by entry id; `None` at the end. A page may be empty before.
    ///
    /// Each row is as it is when it is read: what is committed meanwhile is in the feed behind the level that was taken
    /// before the first page.
    ///
    /// # Errors
    /// Those of the stores.
    pub fn snapshot(
        &self,
        root: RootId,
        at: &mut Scan,
        bytes: usize,
        inline: bool,
    ) -> Result<Option<Vec<Told>>, Error> {
        let (first, to) = keys::all(b'e', Some(root));
        let from = at.from.clone().unwrap_or(first);
        let page = self.durable().range(&from, &to, STEP)?;
        if page.is_empty() {
            return Ok(None);
        }
        let (mut rows, mut size) = (Vec::with_capacity(page.len()), 0);
        for (key, stored) in page {
            if size >= bytes {
                break;
            }
            let entry = records::decode::<Entry>(&key, stored)?.record;
            at.from = Some(keys::behind(&key));
            if !entry.row.dead {
                let inline = if inline { self.inline(root, &entry)? } else { None };
                let told = Told { seq: entry.seq, change: Change::Row { entry, inline } };
                size += told.size();
                rows.push(told);
            }
        }
        Ok(Some(rows))
    }

    /// The durable row of an entry, live or a tombstone.
    ///
    /// # Errors
    /// Those of the store.
    pub fn entry(&self, root: RootId, id: EntryId) -> Result<Option<Entry>, Error> {
        Ok(records::get::<Entry>(self.durable(), &keys::entry(root, id))?.map(|kept| kept.record))
    }
}

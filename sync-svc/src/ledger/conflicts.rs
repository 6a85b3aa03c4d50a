//! Conflicts, for those who answer them.

use quics_types::{EntryId, RootId};

use super::{Ledger, Told};
use crate::Error;
use crate::db::keys::{self, Kind};
use crate::db::records::{self, ConflictEntry};

/// A page of open conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictPage {
    /// The conflicts by entry.
    pub conflicts: Vec<(EntryId, ConflictEntry)>,
    /// Behind which entry to go on, where there may be more.
    pub next: Option<EntryId>,
}

/// A page of news of conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictNews {
    /// Conflicts that changed, open or closed, in the order of their newest commits.
    pub conflicts: Vec<(EntryId, ConflictEntry)>,
    /// Everything up to this commit is told.
    pub seq: u64,
    /// Whether there may be more at once.
    pub more: bool,
}

/// Closed conflicts that one page passes over at most, and records of the feed.
const STEP: usize = 1024;
/// About the bytes of a page.
const PAGE_BYTES: usize = 1 << 20;

impl Ledger {
    /// The durable conflict of an entry, open or closed. A closed one is kept until every device has been told of it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn conflict(&self, root: RootId, id: EntryId) -> Result<Option<ConflictEntry>, Error> {
        Ok(records::get::<ConflictEntry>(self.durable(), &keys::conflict(root, id))?.map(|kept| kept.record))
    }

    /// The durable open conflicts of a root by entry id, those behind `after`, at most `limit` and about a megabyte.
    /// A page may be empty before the end.
    ///
    /// # Errors
    /// Those of the store.
    pub fn conflicts(&self, root: RootId, after: Option<EntryId>, limit: usize) -> Result<ConflictPage, Error> {
        let (first, to) = keys::all(b'c', Some(root));
        let from = after.map_or(first, |id| keys::behind(&keys::conflict(root, id)));
        let page = self.durable().raw_range(&from, &to, STEP)?;
        let (count, mut found, mut last, mut size) = (page.len(), Vec::new(), None, 0);
        for (key, _) in page {
            if found.len() == limit || size > PAGE_BYTES {
                return Ok(ConflictPage { conflicts: found, next: last });
            }
            let id = keys::tail(&key).and_then(|tail| EntryId::from_slice(tail).ok());
            let id = id.ok_or_else(|| Error::damaged(&key))?;
            last = Some(id);
            if let Some(entry) = self.conflict(root, id)?.filter(ConflictEntry::is_open) {
                size += Told::conflict_size(&entry);
                found.push((id, entry));
            }
        }
        Ok(ConflictPage { conflicts: found, next: last.filter(|_| count == STEP) })
    }

    /// The durable conflicts that changed behind a commit, with their newest state; about a megabyte.
    ///
    /// # Errors
    /// Those of the store.
    pub fn conflict_news(&self, root: RootId, after: u64) -> Result<ConflictNews, Error> {
        let state = self.root(self.durable(), root)?.record;
        let (from, to) = keys::feed_after(root, after);
        let rows = self.durable().raw_range(&from, &to, STEP)?;
        let full = rows.len() == STEP;
        let (mut news, mut size) = (ConflictNews { conflicts: Vec::new(), seq: after, more: false }, 0);
        for (key, id) in rows {
            if size > PAGE_BYTES {
                return Ok(ConflictNews { more: true, ..news });
            }
            let (seq, kind) = keys::parse_feed(&key).ok_or_else(|| Error::damaged(&key))?;
            let id = EntryId::from_slice(&id).map_err(|_| Error::damaged(&key))?;
            // One that changed again meanwhile comes later.
            if kind == Kind::Conflict
                && let Some(entry) = self.conflict(root, id)?.filter(|entry| entry.seq == seq)
            {
                size += Told::conflict_size(&entry);
                news.conflicts.push((id, entry));
            }
            news.seq = seq;
        }
        if full {
            // The last commit may go on in the next page: it is told as a whole there.
            let last = news.seq;
            news.conflicts.retain(|(_, entry)| entry.seq < last);
            (news.seq, news.more) = (last - 1, true);
        } else {
            news.seq = news.seq.max(state.seq);
        }
        Ok(news)
    }
}

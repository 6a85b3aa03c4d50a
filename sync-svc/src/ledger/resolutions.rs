//! The resolutions that are kept: the newest of each root, for whoever wants to take one back.

use quics_reconcile::Row;
use quics_types::{ResolutionId, RootId};

use super::Ledger;
use super::write::Write;
use crate::Error;
use crate::db::answers::ResolutionEntry;
use crate::db::keys;
use crate::db::records::{self, Entry};

/// How many resolutions of a root are kept; with one more, the oldest is forgotten and cannot be taken back.
pub const RESOLUTIONS: u64 = 1024;

/// Bytes of entry ids that one page names, about.
const PAGE_BYTES: usize = 1 << 20;

/// A page of resolutions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolutionPage {
    /// The resolutions, the newest first.
    pub resolutions: Vec<(ResolutionId, ResolutionEntry)>,
    /// Before which commit to go on, where there may be more.
    pub next: Option<u64>,
}

impl Ledger {
    /// The durable resolutions of a root, the newest first: those whose last commit is before `before`, at most `limit`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn resolutions(&self, root: RootId, before: Option<u64>, limit: usize) -> Result<ResolutionPage, Error> {
        let (from, end) = keys::all(b't', Some(root));
        let to = before.map_or(end, |seq| keys::resolved(root, seq));
        let rows = self.durable().raw_range_back(&from, &to, limit)?;
        let (mut page, mut size) = (ResolutionPage { resolutions: Vec::new(), next: None }, 0);
        let full = rows.len() == limit;
        for (key, id) in rows {
            let seq = seq_of(&key)?;
            if size > PAGE_BYTES {
                return Ok(page);
            }
            page.next = Some(seq);
            let id = ResolutionId::from_slice(&id).map_err(|_| Error::damaged(&key))?;
            // It may have been forgotten between the two reads.
            if let Some(kept) = records::get::<ResolutionEntry>(self.durable(), &keys::resolution(root, id))? {
                size += 64 + kept.record.entries.len() * 18;
                page.resolutions.push((id, kept.record));
            }
        }
        page.next = page.next.filter(|_| full);
        Ok(page)
    }
}

fn seq_of(key: &[u8]) -> Result<u64, Error> {
    let seq = keys::tail(key).and_then(|tail| tail.try_into().ok()).map(u64::from_be_bytes);
    seq.ok_or_else(|| Error::damaged(key))
}

impl Write<'_> {
    /// Sets a row, and says what it was and what it is.
    pub(super) fn change_row(&mut self, row: Row) -> Result<(Option<Row>, Entry), Error> {
        let id = row.id;
        let before = self.entry(id)?.map(|kept| kept.record.row);
        self.row(row)?;
        let after = self.entry(id)?.ok_or_else(|| Error::damaged(id.as_bytes()))?;
        Ok((before, after.record))
    }

    /// Keeps a new resolution, and forgets the oldest where there are too many.
    pub(super) fn keep_resolution(&mut self, id: ResolutionId, whole: &ResolutionEntry) -> Result<(), Error> {
        let root = self.root;
        records::put(&mut self.batch, keys::resolution(root, id), whole, 0);
        self.batch.put(keys::resolved(root, whole.seq), id.as_bytes().to_vec());
        if self.state.resolutions < RESOLUTIONS {
            self.state.resolutions += 1;
            return Ok(());
        }
        let (from, to) = keys::all(b't', Some(root));
        let latest = self.ledger.latest();
        let Some((key, oldest)) = latest.raw_range(&from, &to, 1)?.into_iter().next() else { return Ok(()) };
        let oldest = ResolutionId::from_slice(&oldest).map_err(|_| Error::damaged(&key))?;
        self.batch.delete(key);
        self.ledger.remove_resolution(&mut self.batch, root, oldest)?;
        Ok(())
    }
}

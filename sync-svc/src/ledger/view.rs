//! The latest state of a root as the judge sees it.

use quics_reconcile::{Conflict, Row, View};
use quics_types::{EntryId, Place, RootId};

use crate::Error;
use crate::db::keys;
use crate::db::records::{self, ConflictEntry, Entry};
use crate::db::wide::Reads;

/// One root, durable or not.
pub(super) struct Latest<'a> {
    pub(super) reads: Reads<'a>,
    pub(super) root: RootId,
}

impl Latest<'_> {
    fn id_at(&self, key: &[u8]) -> Result<Option<EntryId>, Error> {
        let id = |value: bytes::Bytes| EntryId::from_slice(&value).map_err(|_| Error::damaged(key));
        self.reads.raw(key)?.map(id).transpose()
    }
}

impl View for Latest<'_> {
    type Error = Error;

    fn row(&self, id: EntryId) -> Result<Option<Row>, Error> {
        Ok(records::get::<Entry>(self.reads, &keys::entry(self.root, id))?.map(|kept| kept.record.row))
    }

    fn live_at(&self, place: &Place) -> Result<Option<EntryId>, Error> {
        self.id_at(&keys::place(self.root, place))
    }

    fn tombstone_at(&self, place: &Place) -> Result<Option<EntryId>, Error> {
        self.id_at(&keys::tombstone(self.root, place))
    }

    fn has_children(&self, id: EntryId) -> Result<bool, Error> {
        let (from, to) = keys::children(self.root, id);
        Ok(!self.reads.raw_range(&from, &to, 1)?.is_empty())
    }

    fn conflict(&self, id: EntryId) -> Result<Option<Conflict>, Error> {
        let kept = records::get::<ConflictEntry>(self.reads, &keys::conflict(self.root, id))?;
        Ok(kept.map(|kept| kept.record).filter(ConflictEntry::is_open).map(|entry| entry.conflict))
    }
}

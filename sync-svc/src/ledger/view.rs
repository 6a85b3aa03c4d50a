//! The latest state of a root, with what a write has changed so far, as the judge sees it.

use quics_reconcile::{Conflict, Row, View};
use quics_types::{EntryId, Place};

use super::write::Write;
use crate::Error;
use crate::db::keys;

impl Write<'_> {
    fn id_at(&self, key: &[u8]) -> Result<Option<EntryId>, Error> {
        let id = |value: bytes::Bytes| EntryId::from_slice(&value).map_err(|_| Error::damaged(key));
        self.ledger.latest().raw(key)?.map(id).transpose()
    }
}

impl View for Write<'_> {
    type Error = Error;

    fn row(&self, id: EntryId) -> Result<Option<Row>, Error> {
        Ok(self.entry(id)?.map(|kept| kept.record.row))
    }

    fn live_at(&self, place: &Place) -> Result<Option<EntryId>, Error> {
        match self.places.get(place) {
            Some(there) => Ok(*there),
            None => self.id_at(&keys::place(self.root, place)),
        }
    }

    fn tombstone_at(&self, place: &Place) -> Result<Option<EntryId>, Error> {
        match self.graves.get(place) {
            Some(there) => Ok(*there),
            None => self.id_at(&keys::tombstone(self.root, place)),
        }
    }

    fn has_children(&self, id: EntryId) -> Result<bool, Error> {
        let here = || self.places.iter().filter(|(place, _)| place.parent == id);
        if here().any(|(_, there)| there.is_some()) {
            return Ok(true);
        }
        let (from, to) = keys::children(self.root, id);
        // Those that this write took away may come first.
        let page = self.ledger.latest().raw_range(&from, &to, here().count() + 1)?;
        let gone = |key: &[u8]| here().any(|(place, _)| keys::place(self.root, place) == key);
        Ok(page.iter().any(|(key, _)| !gone(key)))
    }

    fn conflict(&self, id: EntryId) -> Result<Option<Conflict>, Error> {
        let kept = self.conflict_entry(id)?.map(|kept| kept.record);
        Ok(kept.filter(|entry| entry.is_open()).map(|entry| entry.conflict))
    }
}

//! Leases: an upload's hold on chunks that no commit names yet.
//!
//! A lease is a row of its own and lists of digests, each in a row that is written once. It is over seven days after it was
//! heard of last; then its rows are removed in bounded steps.

use bytes::{BufMut, Bytes, BytesMut};
use quics_kit::members::Denied;
use quics_meta::{Batch, Receipt};
use quics_records::Reads;
use quics_types::{DeviceId, Digest, LeaseId, RootId};

use super::Contents;
use crate::db::keys;
use crate::db::records::{self, Lease, pieces};
use crate::{Error, WallTime};

/// How long a lease outlives its last contact: seven days, in microseconds.
const LEASE_MICROS: u64 = 7 * 24 * 3600 * 1_000_000;
/// Digests of one row.
const DIGESTS: usize = 120;
/// Rows that one step removes.
const STEP: usize = 1024;

/// The first byte of a list of digests: its format.
const VERSION: u8 = 1;

impl Contents {
    /// Fails if the lease is another device's.
    ///
    /// # Errors
    /// [`Error::Denied`]; those of the store.
    pub fn may_hold(&self, root: RootId, lease: LeaseId, device: DeviceId) -> Result<(), Error> {
        match records::get::<Lease>(Reads::latest(&*self.meta), &keys::lease(root, lease))? {
            Some(kept) if kept.record.device != device => Err(Denied::NotMember.into()),
            _ => Ok(()),
        }
    }

    /// Takes digests into a lease, which begins with this if there is none, and renews it.
    ///
    /// # Durability
    /// When the receipt has resolved.
    ///
    /// # Errors
    /// [`Error::Denied`] for another device's lease; those of the store.
    pub fn hold(
        &self,
        root: RootId,
        lease: LeaseId,
        device: DeviceId,
        digests: &[Digest],
        now: WallTime,
    ) -> Result<Receipt, Error> {
        let key = keys::lease(root, lease);
        // Two calls on one lease must not draw the same list numbers.
        let _one_at_a_time = self.leases.lock();
        let before = records::get::<Lease>(Reads::latest(&*self.meta), &key)?;
        let mut record = before.as_ref().map_or(Lease { device, touched: now, lists: 0 }, |kept| kept.record);
        if record.device != device {
            return Err(Denied::NotMember.into());
        }
        let mut batch = Batch::new();
        for list in digests.chunks(DIGESTS) {
            let mut value = BytesMut::with_capacity(1 + list.len() * Digest::LEN);
            value.put_u8(VERSION);
            list.iter().for_each(|digest| value.put_slice(digest.as_bytes()));
            batch.put(keys::leased(root, lease, record.lists), value.freeze());
            record.lists += 1;
        }
        record.touched = now;
        records::put(&mut batch, key, &record, pieces(&before));
        Ok(self.meta.submit(batch)?)
    }

    /// Reads a list of digests that a lease holds.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Newer`].
    pub(crate) fn leased(&self, key: &[u8], list: &[u8]) -> Result<Vec<Digest>, Error> {
        match list {
            [VERSION, digests @ ..] if digests.len() % Digest::LEN == 0 => {
                let digest = |bytes| Digest::from_slice(bytes).map_err(|_| Error::damaged(key));
                digests.chunks(Digest::LEN).map(digest).collect()
            }
            [version, ..] if *version > VERSION => Err(Error::Newer { version: *version }),
            _ => Err(Error::damaged(key)),
        }
    }

    /// Ends the leases of a root, a bounded number of rows; `None` when there are none.
    ///
    /// # Durability
    /// When the receipt has resolved.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn end_leases(&self, root: RootId) -> Result<Option<Receipt>, Error> {
        let _one_at_a_time = self.leases.lock();
        let reads = Reads::latest(&*self.meta);
        let mut batch = Batch::new();
        let (from, to) = keys::all(b'm', Some(root));
        for (list, _) in reads.raw_range(&from, &to, STEP)? {
            batch.delete(list);
        }
        let (from, to) = keys::all(b'l', Some(root));
        for (key, stored) in reads.range(&from, &to, STEP)? {
            quics_records::wide::delete(&mut batch, key, stored.pieces);
        }
        if batch.is_empty() { Ok(None) } else { Ok(Some(self.meta.submit(batch)?)) }
    }

    /// Removes leases that are over, a bounded number of rows; says where to go on, `None` at the end.
    ///
    /// # Errors
    /// Those of the store.
    pub fn expire_leases(&self, from: Option<Bytes>, now: WallTime) -> Result<Option<Bytes>, Error> {
        let (first, end) = keys::all(b'l', None);
        let page = Reads::durable(&*self.meta).range(&from.unwrap_or(first), &end, STEP)?;
        let mut next = (page.len() == STEP).then(|| page.last().map(|(key, _)| keys::behind(key))).flatten();
        let _one_at_a_time = self.leases.lock();
        let mut batch = Batch::new();
        for (key, _) in page {
            // Read again: it may have been renewed.
            let Some(kept) = records::get::<Lease>(Reads::latest(&*self.meta), &key)? else { continue };
            let Some((root, lease)) = keys::parse_lease(&key) else { return Err(Error::damaged(&key)) };
            if now.micros_since(kept.record.touched) < LEASE_MICROS {
                continue;
            }
            let (from, to) = (keys::leased(root, lease, 0), keys::leased(root, lease, u64::MAX));
            let lists = Reads::latest(&*self.meta).raw_range(&from, &to, STEP)?;
            let whole = lists.len() < STEP;
            for (list, _) in lists {
                batch.delete(list);
            }
            if whole {
                quics_records::wide::delete(&mut batch, key, kept.pieces);
            } else {
                next = Some(key);
            }
            if batch.len() >= STEP {
                break;
            }
        }
        if !batch.is_empty() {
            // Durable at some time is enough: what is left of an expired lease is removed again.
            drop(self.meta.submit(batch)?);
        }
        Ok(next)
    }
}

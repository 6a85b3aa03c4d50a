//! A new incarnation of a device's agent: it fences the older ones and takes the verdicts that they did not record.

use std::collections::BTreeMap;

use bytes::Bytes;
use quics_meta::{Batch, Receipt};
use quics_types::{DeviceId, RootId};

use super::Ledger;
use crate::Error;
use crate::db::keys;
use crate::db::records::{self, VerdictEntry, pieces};

/// An incarnation that has begun.
#[derive(Debug)]
pub enum Resumed {
    /// The verdicts may be read when the receipt has resolved.
    Begun(Receipt),
    /// A newer one has begun before.
    Fenced,
}

/// A verdict with the incarnation and seq of its proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The incarnation that proposed.
    pub incarnation: u64,
    /// The proposal's number in it.
    pub seq: u64,
    /// The verdict and the proposal.
    pub entry: VerdictEntry,
}

/// Where the reading of unrecorded verdicts is.
#[derive(Debug, Clone, Default)]
pub struct Unrecorded {
    from: Option<Bytes>,
    /// Per incarnation, up to which seq verdicts are recorded.
    recorded: BTreeMap<u64, u64>,
    counted: bool,
}

/// Verdicts that one step looks at.
const STEP: usize = 256;

impl Ledger {
    /// Begins an incarnation. Beginning the same one again changes nothing.
    ///
    /// # Durability
    /// When the receipt has resolved; so are then all verdicts of older incarnations.
    ///
    /// # Errors
    /// Those of the store.
    pub fn resume(&self, root: RootId, device: DeviceId, incarnation: u64) -> Result<Resumed, Error> {
        let memo = self.memo(root);
        let _no_proposal_meanwhile = memo.lock();
        let key = keys::device(root, device);
        let before = records::get::<u64>(self.latest(), &key)?;
        let mut batch = Batch::new();
        match before.as_ref().map(|kept| kept.record) {
            Some(newest) if newest > incarnation => return Ok(Resumed::Fenced),
            Some(newest) if newest == incarnation => {}
            _ => drop(records::put(&mut batch, key, &incarnation, pieces(&before))),
        }
        Ok(Resumed::Begun(self.meta.submit(batch)?))
    }

    /// Reads the next durable verdicts of a device that it has not recorded, in their order.
    /// `None` at the end; a page may be empty before.
    ///
    /// # Errors
    /// Those of the store.
    pub fn unrecorded(&self, root: RootId, device: DeviceId, at: &mut Unrecorded) -> Result<Option<Vec<Given>>, Error> {
        if !at.counted {
            // What is recorded is told by any of an incarnation's proposals, not only by the last one that arrived.
            while let Some(page) = self.verdicts(root, device, at)? {
                for Given { incarnation, entry, .. } in page {
                    let recorded = at.recorded.entry(incarnation).or_default();
                    *recorded = entry.recorded.max(*recorded);
                }
            }
            (at.counted, at.from) = (true, None);
        }
        let Some(mut page) = self.verdicts(root, device, at)? else { return Ok(None) };
        page.retain(|given| at.recorded.get(&given.incarnation).is_none_or(|recorded| given.seq > *recorded));
        Ok(Some(page))
    }

    fn verdicts(&self, root: RootId, device: DeviceId, at: &mut Unrecorded) -> Result<Option<Vec<Given>>, Error> {
        let from = at.from.clone().unwrap_or_else(|| keys::verdict(root, device, 0, 0));
        let to = keys::behind(&keys::verdict(root, device, u64::MAX, u64::MAX));
        let page = self.durable().range(&from, &to, STEP)?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        at.from = Some(keys::behind(last));
        let verdict = |(key, stored): (Bytes, _)| {
            let (incarnation, seq) = keys::parse_verdict(&key).ok_or_else(|| Error::damaged(&key))?;
            Ok(Given { incarnation, seq, entry: records::decode(&key, stored)?.record })
        };
        page.into_iter().map(verdict).collect::<Result<_, Error>>().map(Some)
    }
}

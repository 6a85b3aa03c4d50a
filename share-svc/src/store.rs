//! Reads and writes of links.

use std::collections::BTreeMap;

use quics_records::{Reads, decode};
use quics_types::RootId;

use crate::Error;
use crate::db::keys;
use crate::db::records::Link;

/// Links of one look at the store.
const STEP: usize = 1024;

/// How many links a root has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Those that are not revoked.
    pub(crate) links: u64,
    pub(crate) revoked: u64,
}

/// Counts the links of each root.
pub(crate) fn count(reads: Reads<'_>) -> Result<BTreeMap<RootId, Count>, Error> {
    let (mut from, to) = keys::all_links();
    let mut counts = BTreeMap::<_, Count>::new();
    loop {
        let page = reads.range(&from, &to, STEP)?;
        let Some((last, _)) = page.last() else { return Ok(counts) };
        from = keys::behind(last);
        for (key, stored) in page {
            let link = decode::<Link>(&key, stored)?.record;
            let root = keys::parse_link(&key).ok_or_else(|| Error::damaged(&key))?;
            let count = counts.entry(root).or_default();
            if link.revoked.is_some() { count.revoked += 1 } else { count.links += 1 }
        }
    }
}

//! Reads and writes of links.

use std::collections::BTreeMap;

use bytes::Bytes;
use quics_meta::Batch;
use quics_records::{Kept, Reads, decode, get, pieces, put, wide};
use quics_types::{Digest, RootId, WallTime};

use crate::Error;
use crate::db::keys;
use crate::db::records::{self, Download, Policy, Usage};
use crate::desk::Link;

/// Rows of one look at the store.
pub(crate) const STEP: usize = 1024;
/// Lines of a link's log that are kept.
const LINES: u64 = 1000;
/// How long after its end what a link shows is kept, in microseconds: downloads that have begun end well.
pub(crate) const GRACE: u64 = 24 * 3600 * 1_000_000;

/// How many links a root has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Those that are not revoked.
    pub(crate) links: u64,
    pub(crate) revoked: u64,
}

/// A link, whose it is, and how often it was used.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) root: RootId,
    pub(crate) id: Link,
    pub(crate) link: records::Link,
    pub(crate) usage: Usage,
}

/// Whether a link lets anybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Making,
    Open,
    Expired,
    UsedUp,
    Revoked,
}

impl Known {
    pub(crate) fn state(&self, now: WallTime) -> State {
        match &self.link {
            link if link.revoked.is_some() => State::Revoked,
            link if link.making => State::Making,
            link if link.expires.is_some_and(|expires| expires <= now) => State::Expired,
            link if link.limit.is_some_and(|limit| self.usage.downloads >= u64::from(limit)) => State::UsedUp,
            _ => State::Open,
        }
    }

    /// Whether what it shows has to be kept.
    pub(crate) fn needs_its_content(&self, now: WallTime) -> bool {
        let recent = |time: WallTime| time.0.saturating_add(GRACE) > now.0;
        match self.state(now) {
            State::Making | State::Open => true,
            State::Expired => self.link.expires.is_some_and(recent),
            State::UsedUp => self.usage.last.is_some_and(recent),
            State::Revoked => false,
        }
    }
}

/// Counts the links of each root.
pub(crate) fn count(reads: Reads<'_>) -> Result<BTreeMap<RootId, Count>, Error> {
    let mut counts = BTreeMap::<_, Count>::new();
    each(reads, keys::all(b'l'), |key, link: records::Link| {
        let (root, _) = keys::parse_link(key).ok_or_else(|| Error::damaged(key))?;
        let count = counts.entry(root).or_default();
        if link.revoked.is_some() {
            count.revoked += 1
        } else {
            count.links += 1
        }
        Ok(true)
    })?;
    Ok(counts)
}

/// Goes through records in the order of their keys until `take` wants no more.
pub(crate) fn each<T: quics_records::Code>(
    reads: Reads<'_>,
    (mut from, to): (Bytes, Bytes),
    mut take: impl FnMut(&Bytes, T) -> Result<bool, Error>,
) -> Result<(), Error> {
    loop {
        let page = reads.range(&from, &to, STEP)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = keys::behind(last);
        for (key, stored) in page {
            let record = decode::<T>(&key, stored)?.record;
            if !take(&key, record)? {
                return Ok(());
            }
        }
    }
}

/// A link by its id.
pub(crate) fn by_id(reads: Reads<'_>, id: Link) -> Result<Option<Known>, Error> {
    match reads.raw(&keys::root_of(id))? {
        Some(root) => known(reads, RootId::from_slice(&root).map_err(|_| Error::damaged(&keys::root_of(id)))?, id),
        None => Ok(None),
    }
}

/// The link that a token opens.
pub(crate) fn by_token(reads: Reads<'_>, hash: &Digest) -> Result<Option<Known>, Error> {
    let key = keys::token(hash);
    let Some(value) = reads.raw(&key)? else { return Ok(None) };
    let root = value.get(..16).and_then(|root| RootId::from_slice(root).ok());
    let id = value.get(16..).and_then(|id| id.try_into().ok()).map(Link);
    let (Some(root), Some(id)) = (root, id) else { return Err(Error::damaged(&key)) };
    known(reads, root, id)
}

pub(crate) fn known(reads: Reads<'_>, root: RootId, id: Link) -> Result<Option<Known>, Error> {
    let Some(kept) = get::<records::Link>(reads, &keys::link(root, id))? else { return Ok(None) };
    let usage = usage(reads, id)?.map(|kept| kept.record).unwrap_or_default();
    Ok(Some(Known { root, id, link: kept.record, usage }))
}

fn usage(reads: Reads<'_>, id: Link) -> Result<Option<Kept<Usage>>, Error> {
    Ok(get(reads, &keys::usage(id))?)
}

/// Sets a link.
pub(crate) fn set(reads: Reads<'_>, batch: &mut Batch, known: &Known) -> Result<(), Error> {
    let key = keys::link(known.root, known.id);
    let before = get::<records::Link>(reads, &key)?;
    put(batch, key, &known.link, pieces(&before));
    batch.put(keys::root_of(known.id), Bytes::copy_from_slice(known.root.as_bytes()));
    let value = [known.root.as_bytes().as_slice(), &known.id.0].concat();
    batch.put(keys::token(&known.link.token), value);
    Ok(())
}

/// Sets how often a link was used.
pub(crate) fn set_usage(reads: Reads<'_>, batch: &mut Batch, id: Link, record: &Usage) -> Result<(), Error> {
    let before = usage(reads, id)?;
    put(batch, keys::usage(id), record, pieces(&before));
    Ok(())
}

/// Writes a line into a link's log, and forgets the oldest one that is too many.
pub(crate) fn log(batch: &mut Batch, id: Link, usage: &mut Usage, line: &Download) {
    put(batch, keys::download(id, usage.lines), line, 0);
    if let Some(old) = usage.lines.checked_sub(LINES) {
        batch.delete(keys::download(id, old));
    }
    usage.lines += 1;
}

/// Sets a root's policy.
pub(crate) fn set_policy(reads: Reads<'_>, batch: &mut Batch, root: RootId, policy: &Policy) -> Result<(), Error> {
    let key = keys::policy(root);
    let before = get::<Policy>(reads, &key)?;
    put(batch, key, policy, pieces(&before));
    Ok(())
}

/// Removes some of what goes with a link, and the link itself when nothing else is left; says whether that was all.
pub(crate) fn remove(reads: Reads<'_>, batch: &mut Batch, known: &Known) -> Result<bool, Error> {
    for (from, to) in [keys::members(known.id, b""), keys::downloads(known.id)] {
        let page = reads.range(&from, &to, STEP)?;
        let full = page.len() == STEP;
        for (key, stored) in page {
            wide::delete(batch, key, stored.pieces);
        }
        if full {
            return Ok(false);
        }
    }
    batch.delete(keys::usage(known.id));
    batch.delete(keys::token(&known.link.token));
    batch.delete(keys::root_of(known.id));
    let key = keys::link(known.root, known.id);
    let before = get::<records::Link>(reads, &key)?;
    wide::delete(batch, key, pieces(&before));
    Ok(true)
}

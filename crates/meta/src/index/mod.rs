//! The index of the journal: ordered rows that can always be rebuilt, and so are never the truth.

mod btree;
mod sled_tree;

use std::collections::BTreeMap;

use bytes::Bytes;

pub(crate) use btree::{BTree, bounds};
pub(crate) use sled_tree::SledTree;

use crate::batch::Located;
use crate::error::Error;
use crate::store::{MAX_PAGE, Row};

/// The first key that a caller may use; what lies before is the store's own.
const FIRST: &[u8] = &[1];

/// A range of keys: from `start` on, up to but without `end`; an empty `end` is no end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span<'a> {
    pub(crate) start: &'a [u8],
    pub(crate) end: &'a [u8],
}

impl<'a> Span<'a> {
    pub(crate) const ALL: Span<'static> = Span { start: FIRST, end: &[] };

    pub(crate) fn new(start: &'a [u8], end: &'a [u8]) -> Self {
        Self { start: start.max(FIRST), end }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.end.is_empty() && self.start >= self.end
    }
}

/// The order of a page's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

/// What an index has to be able to do. Only its owner writes.
pub(crate) trait Index: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Gives rows of a span that is not empty, in order, at most `limit`.
    fn page(&self, span: Span<'_>, order: Order, limit: usize) -> Result<Vec<Row>, Error>;

    /// Sets or removes a row and gives what was there.
    fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Option<Bytes>, Error>;

    /// Records how far the index has come.
    fn set_mark(&mut self, mark: Mark) -> Result<(), Error>;

    /// Gives the last mark; `None` for a new index.
    fn mark(&self) -> Result<Option<Mark>, Error>;

    /// Writes out what is in memory, as far as the index ever does, and gives its files free.
    fn close(&mut self) -> Result<(), Error>;
}

/// How far an index has come, and what its rows add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) applied: u64,
    pub(crate) rows: u64,
    pub(crate) sum: u128,
}

impl Mark {
    pub(crate) const LEN: usize = 32;

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..8].copy_from_slice(&self.applied.to_be_bytes());
        out[8..16].copy_from_slice(&self.rows.to_be_bytes());
        out[16..].copy_from_slice(&self.sum.to_be_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = crate::batch::Reader::new(bytes);
        let mark = Mark { applied: reader.u64()?, rows: reader.u64()?, sum: reader.array().map(u128::from_be_bytes)? };
        reader.is_done().then_some(mark)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(row_hash(key, value));
    }

    fn take(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(row_hash(key, value));
    }
}

/// The rows' sum is free of order, so that a page of changes costs the changed rows only.
fn row_hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_be_bytes()).update(key).update(value);
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_be_bytes(first)
}

/// An index with the mark of how far it has come.
pub(crate) struct Table {
    index: Box<dyn Index>,
    mark: Mark,
}

impl Table {
    pub(crate) fn new(index: Box<dyn Index>) -> Result<Self, Error> {
        let mark = index.mark()?.unwrap_or_default();
        Ok(Self { index, mark })
    }

    /// Makes the table of a map in memory.
    pub(crate) fn in_memory(index: BTree) -> Self {
        Self { index: Box::new(index), mark: Mark::default() }
    }

    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if key < FIRST { Ok(None) } else { self.index.get(key) }
    }

    pub(crate) fn page(&self, span: Span<'_>, order: Order, limit: usize) -> Result<Vec<Row>, Error> {
        if span.is_empty() || limit == 0 { Ok(Vec::new()) } else { self.index.page(span, order, limit.min(MAX_PAGE)) }
    }

    /// Applies a group of batches; readers are kept out by whoever owns the table.
    pub(crate) fn apply<'a>(&mut self, group: impl Iterator<Item = &'a Located>, applied: u64) -> Result<(), Error> {
        let mut changes: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        for batch in group {
            for (key, value) in &batch.operations {
                changes.insert(key, value.as_deref());
            }
        }
        for (key, value) in changes {
            self.set(key, value)?;
        }
        self.finish(applied)
    }

    /// Sets one row while an index is rebuilt; [`Table::finish`] ends it.
    pub(crate) fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        if let Some(old) = self.index.set(key, value)? {
            self.mark.take(key, &old);
        }
        if let Some(value) = value {
            self.mark.add(key, value);
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, applied: u64) -> Result<(), Error> {
        self.mark.applied = applied;
        self.index.set_mark(self.mark)
    }

    /// Reads every row and tells whether they are what was applied.
    pub(crate) fn adds_up(&self) -> Result<bool, Error> {
        let mut found = Mark { applied: self.mark.applied, ..Mark::default() };
        let mut from = Bytes::from_static(FIRST);
        loop {
            let page = self.index.page(Span::new(&from, &[]), Order::Ascending, MAX_PAGE)?;
            for (key, value) in &page {
                found.add(key, value);
            }
            match page.last() {
                Some((last, _)) if page.len() == MAX_PAGE => from = behind(last),
                _ => return Ok(found == self.mark),
            }
        }
    }

    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.index.close()
    }
}

/// Gives the first key behind this one.
pub(crate) fn behind(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

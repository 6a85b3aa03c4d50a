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
    audit: Option<Audit>,
    /// Why nothing may be read: the table was closed, or a change stopped half way.
    shut: Option<Error>,
}

/// A walk over all rows that sums them, while rows go on to change.
struct Audit {
    /// Every row before it is in the sum.
    cursor: Bytes,
    found: Mark,
}

/// How far an audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audited {
    More,
    /// Whether the rows are what was applied.
    Done(bool),
}

impl Table {
    pub(crate) fn new(index: Box<dyn Index>) -> Result<Self, Error> {
        let mark = index.mark()?.unwrap_or_default();
        Ok(Self { index, mark, audit: None, shut: None })
    }

    /// Makes the table of a map in memory.
    pub(crate) fn in_memory(index: BTree) -> Self {
        Self { index: Box::new(index), mark: Mark::default(), audit: None, shut: None }
    }

    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    fn readable(&self) -> Result<(), Error> {
        self.shut.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.readable()?;
        if key < FIRST { Ok(None) } else { self.index.get(key) }
    }

    pub(crate) fn page(&self, span: Span<'_>, order: Order, limit: usize) -> Result<Vec<Row>, Error> {
        self.readable()?;
        if span.is_empty() || limit == 0 { Ok(Vec::new()) } else { self.index.page(span, order, limit.min(MAX_PAGE)) }
    }

    /// Applies a group of batches; readers are kept out by whoever owns the table. If it fails half way, also by a panic,
    /// nobody reads from the table any more.
    pub(crate) fn apply<'a>(&mut self, group: impl Iterator<Item = &'a Located>, applied: u64) -> Result<(), Error> {
        self.readable()?;
        let mut changes: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        for batch in group {
            for (key, value) in &batch.operations {
                changes.insert(key, value.as_deref());
            }
        }
        self.shut = Some(Error::damaged("index", 0, "a group was applied in part").fatal());
        for (key, value) in changes {
            self.set(key, value)?;
        }
        self.finish(applied)?;
        self.shut = None;
        Ok(())
    }

    /// Sets one row while an index is rebuilt; [`Table::finish`] ends it.
    pub(crate) fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let old = self.index.set(key, value)?;
        let audited = self.audit.as_mut().filter(|audit| key < &*audit.cursor).map(|audit| &mut audit.found);
        for sum in [Some(&mut self.mark), audited].into_iter().flatten() {
            if let Some(old) = &old {
                sum.take(key, old);
            }
            if let Some(value) = value {
                sum.add(key, value);
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, applied: u64) -> Result<(), Error> {
        self.mark.applied = applied;
        self.index.set_mark(self.mark)
    }

    /// Begins an audit; one that was under way is forgotten.
    pub(crate) fn begin_audit(&mut self) {
        self.audit = Some(Audit { cursor: Bytes::from_static(FIRST), found: Mark::default() });
    }

    /// Sums the next page of rows. Changes may be applied between the pages.
    pub(crate) fn audit_page(&mut self) -> Result<Audited, Error> {
        self.readable()?;
        let Some(mut audit) = self.audit.take() else { return Ok(Audited::Done(false)) };
        let page = self.index.page(Span::new(&audit.cursor, &[]), Order::Ascending, MAX_PAGE / 4)?;
        for (key, value) in &page {
            audit.found.add(key, value);
        }
        match page.last() {
            Some((last, _)) => {
                audit.cursor = behind(last);
                self.audit = Some(audit);
                Ok(Audited::More)
            }
            None => Ok(Audited::Done((audit.found.rows, audit.found.sum) == (self.mark.rows, self.mark.sum))),
        }
    }

    /// Reads every row and tells whether they are what was applied.
    pub(crate) fn adds_up(&mut self) -> Result<bool, Error> {
        self.begin_audit();
        loop {
            if let Audited::Done(good) = self.audit_page()? {
                return Ok(good);
            }
        }
    }

    /// Closes the index; whoever reads from now on is told so.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.shut.get_or_insert(Error::Closed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_adds_up_while_rows_change_behind_and_before_it() {
        let mut table = Table::in_memory(BTree::default());
        for n in 0..5000_u32 {
            table.set(&[&b"k"[..], &n.to_be_bytes()].concat(), Some(b"v")).unwrap();
        }
        table.begin_audit();
        assert_eq!(table.audit_page().unwrap(), Audited::More);
        table.set(b"a", Some(b"new, behind it")).unwrap();
        table.set(b"k\0\0\0\0", None).unwrap();
        table.set(b"k\0\0\0\x01", Some(b"changed, behind it")).unwrap();
        table.set(b"z", Some(b"new, before it")).unwrap();
        let mut last = Audited::More;
        while last == Audited::More {
            last = table.audit_page().unwrap();
        }
        assert_eq!(last, Audited::Done(true));
        table.mark.sum ^= 1;
        assert!(!table.adds_up().unwrap());
    }
}

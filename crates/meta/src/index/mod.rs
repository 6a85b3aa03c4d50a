//! The index of the journal: ordered rows that can always be rebuilt, and so are never the truth.
//!
//! What has just become durable is kept in memory over the index ([`Recent`]) and put into it later, a few rows at a time:
//! a row that is overwritten or removed soon never reaches it, and readers wait for no tree.

mod btree;
mod recent;
mod sled_tree;

use bytes::Bytes;

pub(crate) use btree::{BTree, bounds};
use recent::Recent;
pub(crate) use sled_tree::SledTree;

use crate::batch::Located;
use crate::error::Error;
use crate::overlay::lay_over;
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

/// An index with the mark of how far it has come, and the durable rows that are not in it yet.
pub(crate) struct Table {
    index: Box<dyn Index>,
    /// What the index's own rows add up to.
    mark: Mark,
    recent: Recent,
    /// The bytes of recent rows above which some have to be put into the index.
    room: usize,
    /// The seq up to which readers see everything.
    applied: u64,
    audit: Option<Audit>,
    /// Why nothing may be read: the table was closed, or a change stopped half way.
    shut: Option<Error>,
}

/// A walk over all rows of the index that sums them, while rows go on to change.
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
    /// Takes an index, and the bytes of rows that may wait to be put into it.
    pub(crate) fn new(index: Box<dyn Index>, room: usize) -> Result<Self, Error> {
        let mark = index.mark()?.unwrap_or_default();
        let (recent, applied) = (Recent::default(), mark.applied);
        Ok(Self { index, mark, recent, room, applied, audit: None, shut: None })
    }

    /// Makes the table of a map in memory.
    pub(crate) fn in_memory(index: BTree, room: usize) -> Self {
        let (mark, recent) = (Mark::default(), Recent::default());
        Self { index: Box::new(index), mark, recent, room, applied: 0, audit: None, shut: None }
    }

    /// What the rows of the index add up to; they are all rows once nothing is left to [spill](Table::spill).
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// The seq up to which readers see everything.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    fn readable(&self) -> Result<(), Error> {
        self.shut.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.readable()?;
        match self.recent.get(key) {
            Some(value) => Ok(value.clone()),
            None if key < FIRST => Ok(None),
            None => self.index.get(key),
        }
    }

    pub(crate) fn page(&self, span: Span<'_>, order: Order, limit: usize) -> Result<Vec<Row>, Error> {
        self.readable()?;
        let limit = limit.min(MAX_PAGE);
        if span.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        if self.recent.is_empty() {
            return self.index.page(span, order, limit);
        }
        let below = |span: Span<'_>, limit| self.index.page(span, order, limit);
        lay_over(below, |span| self.recent.range(span), span, order, limit)
    }

    /// Shows a group of batches to readers, who are kept out meanwhile by whoever owns the table. They are not in the
    /// index yet.
    pub(crate) fn apply<'a>(&mut self, group: impl Iterator<Item = &'a Located>, applied: u64) -> Result<(), Error> {
        self.readable()?;
        // Should it panic, nobody reads half a group.
        self.shut = Some(Error::damaged("index", 0, "a group was applied in part").fatal());
        for batch in group {
            for (key, value) in &batch.operations {
                self.recent.put(key.clone(), value.clone());
            }
        }
        self.applied = applied;
        self.shut = None;
        Ok(())
    }

    /// Whether rows have to be put into the index before more come.
    pub(crate) fn is_full(&self) -> bool {
        self.recent.bytes() > self.room
    }

    /// Whether the index has all rows.
    pub(crate) fn is_settled(&self) -> bool {
        self.recent.is_empty()
    }

    /// Puts up to so many recent rows into the index. If it fails half way, also by a panic, nobody reads from the table any
    /// more.
    pub(crate) fn spill(&mut self, rows: usize) -> Result<(), Error> {
        self.readable()?;
        self.shut = Some(Error::damaged("index", 0, "rows were put into it in part").fatal());
        for _ in 0..rows {
            let Some((key, value)) = self.recent.pop() else { break };
            self.set(&key, value.as_deref())?;
        }
        self.shut = None;
        Ok(())
    }

    /// Sets one row of the index while it is rebuilt; [`Table::finish`] ends it.
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

    /// Notes in the index that it has every row up to a seq.
    pub(crate) fn finish(&mut self, applied: u64) -> Result<(), Error> {
        (self.applied, self.mark.applied) = (applied, applied);
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

    /// Puts all rows into the index, reads them and tells whether they are what was applied.
    pub(crate) fn adds_up(&mut self) -> Result<bool, Error> {
        self.spill(usize::MAX)?;
        self.begin_audit();
        loop {
            if let Audited::Done(good) = self.audit_page()? {
                return Ok(good);
            }
        }
    }

    /// Puts all rows into the index and closes it; whoever reads from now on is told so. Gives the mark that the index has
    /// then.
    pub(crate) fn close(&mut self) -> Result<Mark, Error> {
        let settled = self.spill(usize::MAX).and_then(|()| self.finish(self.applied));
        self.shut.get_or_insert(Error::Closed);
        self.index.close()?;
        settled.map(|()| self.mark)
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
        let mut table = Table::in_memory(BTree::default(), 0);
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

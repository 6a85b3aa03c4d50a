//! What queued batches change, laid over the index.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::batch::{Batch, Key, Located};
use crate::error::Error;
use crate::index::{Order, Span, Table, behind, bounds};
use crate::store::{MAX_PAGE, Row};

/// The newest queued value of each key that a queued batch touches.
#[derive(Default)]
pub(crate) struct Overlay {
    rows: BTreeMap<Key, (u64, Option<Bytes>)>,
}

impl Overlay {
    pub(crate) fn get(&self, table: &Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.rows.get(key) {
            Some((_, value)) => Ok(value.clone()),
            None => table.get(key),
        }
    }

    /// Judges the preconditions of a batch that would come next.
    pub(crate) fn judge(&self, table: &Table, batch: &Batch) -> Result<(), Error> {
        for (key, expected) in batch.expectations() {
            if self.get(table, key)? != *expected {
                return Err(Error::Precondition { key: key.clone() });
            }
        }
        Ok(())
    }

    pub(crate) fn stage(&mut self, seq: u64, batch: &Located) {
        for (key, value) in &batch.operations {
            self.rows.insert(key.clone(), (seq, value.clone()));
        }
    }

    /// Forgets what a batch staged, because it is in the index now; what a later one staged over it stays.
    pub(crate) fn retire(&mut self, seq: u64, batch: &Located) {
        for (key, _) in &batch.operations {
            if self.rows.get(key).is_some_and(|(staged, _)| *staged == seq) {
                self.rows.remove(key);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
    }

    /// Gives a page of the index with the overlay on it.
    pub(crate) fn page(&self, table: &Table, span: Span<'_>, order: Order, limit: usize) -> Result<Vec<Row>, Error> {
        let below = |span: Span<'_>, limit| table.page(span, order, limit);
        let above =
            |span: Span<'_>| self.rows.range::<[u8], _>(bounds(span)).map(|(key, (_, value))| (key, value.as_ref()));
        lay_over(below, above, span, order, limit)
    }
}

/// Gives a page of the rows below with those above laid over them; one without a value is removed.
pub(crate) fn lay_over<'a, A: DoubleEndedIterator<Item = (&'a Key, Option<&'a Bytes>)>>(
    below: impl Fn(Span<'_>, usize) -> Result<Vec<Row>, Error>,
    above: impl Fn(Span<'_>) -> A,
    span: Span<'_>,
    order: Order,
    limit: usize,
) -> Result<Vec<Row>, Error> {
    let limit = limit.min(MAX_PAGE);
    let mut out = Vec::new();
    let (mut start, mut end) = (Bytes::copy_from_slice(span.start), Bytes::copy_from_slice(span.end));
    loop {
        let rest = Span { start: &start, end: &end };
        if rest.is_empty() || out.len() >= limit {
            return Ok(out);
        }
        let wanted = limit - out.len();
        let below = below(rest, wanted)?;
        // A full page tells nothing about what lies behind its last row.
        let seen = match (below.len() == wanted, below.last(), order) {
            (true, Some((last, _)), Order::Ascending) => (start.clone(), behind(last)),
            (true, Some((last, _)), Order::Descending) => (last.clone(), end.clone()),
            _ => (start.clone(), end.clone()),
        };
        let above = above(Span { start: &seen.0, end: &seen.1 });
        match order {
            Order::Ascending => merge(&mut out, limit, order, below, above),
            Order::Descending => merge(&mut out, limit, order, below, above.rev()),
        }
        if seen == (start.clone(), end.clone()) {
            return Ok(out);
        }
        match order {
            Order::Ascending => start = seen.1,
            Order::Descending => end = seen.0,
        }
    }
}

/// Lays rows over others, both in the same order, until there are `limit`.
fn merge<'a>(
    out: &mut Vec<Row>,
    limit: usize,
    order: Order,
    below: Vec<Row>,
    above: impl Iterator<Item = (&'a Key, Option<&'a Bytes>)>,
) {
    let mut below = below.into_iter().peekable();
    let mut above = above.peekable();
    while out.len() < limit {
        let first = match (below.peek(), above.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((low, _)), Some((high, _))) if order == Order::Ascending => low.cmp(high),
            (Some((low, _)), Some((high, _))) => (*high).cmp(low),
        };
        if first == Ordering::Less {
            out.extend(below.next());
            continue;
        }
        if first == Ordering::Equal {
            below.next();
        }
        if let Some((key, Some(value))) = above.next() {
            out.push((key.clone(), value.clone()));
        }
    }
}

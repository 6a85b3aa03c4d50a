//! The index of simulations and tests: a map in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Index, Mark, Order, Span};
use crate::error::Error;
use crate::store::Row;

/// Rows in memory. A store that uses it reads its snapshot and journal at each opening.
#[derive(Default)]
pub(crate) struct BTree {
    rows: BTreeMap<Bytes, Bytes>,
    mark: Option<Mark>,
}

/// Turns a span into the bounds of a map of `Bytes`.
pub(crate) fn bounds(span: Span<'_>) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = if span.end.is_empty() { Bound::Unbounded } else { Bound::Excluded(span.end) };
    (Bound::Included(span.start), end)
}

impl Index for BTree {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.rows.get(key).cloned())
    }

    fn page(&self, span: Span<'_>, order: Order, limit: usize) -> Result<Vec<Row>, Error> {
        let range = self.rows.range::<[u8], _>(bounds(span)).map(|(key, value)| (key.clone(), value.clone()));
        Ok(match order {
            Order::Ascending => range.take(limit).collect(),
            Order::Descending => range.rev().take(limit).collect(),
        })
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Option<Bytes>, Error> {
        Ok(match value {
            // A copy, because a slice would keep the whole frame alive.
            Some(value) => self.rows.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)),
            None => self.rows.remove(key),
        })
    }

    fn set_mark(&mut self, mark: Mark) -> Result<(), Error> {
        self.mark = Some(mark);
        Ok(())
    }

    fn mark(&self) -> Result<Option<Mark>, Error> {
        Ok(self.mark)
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

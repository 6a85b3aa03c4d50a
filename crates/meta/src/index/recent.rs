//! Durable rows that wait to be put into the index.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Span, bounds};
use crate::batch::Key;

/// About what a row costs beside its bytes: two reference counts, its part of a node of the map.
const ROW: usize = 128;

/// The newest value of each key that changed lately; `None` for one that was removed.
#[derive(Default)]
pub(super) struct Recent {
    rows: BTreeMap<Key, Option<Bytes>>,
    bytes: usize,
    /// The last key that was taken out: the next one is behind it, so that all of them have their turn, neighbours
    /// together.
    taken: Key,
}

fn size(key: &Key, value: &Option<Bytes>) -> usize {
    ROW + key.len() + value.as_ref().map_or(0, Bytes::len)
}

impl Recent {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// About the bytes of memory that the rows take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives what became of a key; `None` where it did not change lately.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.rows.get(key)
    }

    pub(super) fn range(&self, span: Span<'_>) -> impl DoubleEndedIterator<Item = (&Key, Option<&Bytes>)> + use<'_> {
        self.rows.range::<[u8], _>(bounds(span)).map(|(key, value)| (key, value.as_ref()))
    }

    pub(super) fn put(&mut self, key: Key, value: Option<Bytes>) {
        let (new, key_len) = (size(&key, &value), key.len());
        self.bytes += new;
        if let Some(old) = self.rows.insert(key, value) {
            self.bytes -= ROW + key_len + old.as_ref().map_or(0, Bytes::len);
        }
    }

    /// Takes the next row out.
    pub(super) fn pop(&mut self) -> Option<(Key, Option<Bytes>)> {
        let behind = (Bound::Excluded(&*self.taken), Bound::Unbounded);
        let next = self.rows.range::<[u8], _>(behind).next().or_else(|| self.rows.iter().next());
        let key = next.map(|(key, _)| key.clone())?;
        let value = self.rows.remove(&key)?;
        self.bytes -= size(&key, &value);
        self.taken = key.clone();
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(recent: &mut Recent, key: &'static str, value: Option<&'static str>) {
        recent.put(Bytes::from(key), value.map(Bytes::from));
    }

    #[test]
    fn every_row_has_its_turn_whatever_is_written_meanwhile() {
        let mut recent = Recent::default();
        for key in ["b", "d", "f"] {
            put(&mut recent, key, Some("value"));
        }
        let mut order = Vec::new();
        while let Some((key, _)) = recent.pop() {
            // A key at the front that changes all the time keeps no other one waiting.
            if order.len() < 4 {
                put(&mut recent, "a", None);
            }
            order.push(key);
        }
        assert_eq!(order, ["b", "d", "f", "a", "a"]);
        assert_eq!(recent.bytes(), 0);
    }

    #[test]
    fn a_row_that_is_written_over_counts_once() {
        let mut recent = Recent::default();
        put(&mut recent, "key", Some("a long value"));
        put(&mut recent, "key", None);
        assert_eq!((recent.bytes(), recent.get(b"key")), (ROW + 3, Some(&None)));
        assert_eq!(recent.pop(), Some((Bytes::from("key"), None)));
        assert_eq!((recent.bytes(), recent.get(b"key")), (0, None));
    }
}

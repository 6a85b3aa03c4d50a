//! The index of production: one sled tree.
//!
//! sled 0.34.7 is used as an index that may be lost at any time. Its `flush` is not an fsync, a kill while it opens can
//! leave a snapshot that it later believes, and it keeps big values in files that it does not sync: so rows are short,
//! nothing is believed that was not closed cleanly in this boot, and the journal is the truth.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::btree::bounds;
use super::{Index, Mark, Order, Span};
use crate::error::Error;
use crate::store::Row;

/// Lies before every key that a caller may use.
const MARK: &[u8] = b"\0mark";

/// The default tree of a sled database.
pub(crate) struct SledTree {
    db: Option<sled::Db>,
}

fn refused(op: &'static str) -> impl FnOnce(sled::Error) -> Error {
    move |source| Error::Index { op, source: Arc::new(source) }
}

impl SledTree {
    pub(crate) fn open(path: &Path, cache: u64) -> Result<Self, Error> {
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(cache)
            .flush_every_ms(Some(5_000))
            .open()
            .map_err(refused("open"))?;
        Ok(Self { db: Some(db) })
    }

    fn db(&self) -> Result<&sled::Db, Error> {
        self.db.as_ref().ok_or(Error::Closed)
    }
}

impl Index for SledTree {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.db()?.get(key).map_err(refused("get"))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn page(&self, span: Span<'_>, order: Order, limit: usize) -> Result<Vec<Row>, Error> {
        let mut range = self.db()?.range::<&[u8], _>(bounds(span));
        let mut rows = Vec::with_capacity(limit.min(64));
        while rows.len() < limit {
            let next = match order {
                Order::Ascending => range.next(),
                Order::Descending => range.next_back(),
            };
            let Some(row) = next else { break };
            let (key, value) = row.map_err(refused("range"))?;
            rows.push((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)));
        }
        Ok(rows)
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Option<Bytes>, Error> {
        let db = self.db()?;
        let old = match value {
            Some(value) => db.insert(key, value).map_err(refused("insert"))?,
            None => db.remove(key).map_err(refused("remove"))?,
        };
        Ok(old.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn set_mark(&mut self, mark: Mark) -> Result<(), Error> {
        self.db()?.insert(MARK, &mark.to_bytes()[..]).map(drop).map_err(refused("insert"))
    }

    fn mark(&self) -> Result<Option<Mark>, Error> {
        let Some(value) = self.db()?.get(MARK).map_err(refused("get"))? else { return Ok(None) };
        Mark::from_bytes(&value).map(Some).ok_or(Error::Damaged {
            file: "index".to_owned(),
            offset: 0,
            reason: "its mark is not one",
        })
    }

    fn close(&mut self) -> Result<(), Error> {
        match self.db.take() {
            Some(db) => db.flush().map(drop).map_err(refused("flush")),
            None => Ok(()),
        }
    }
}

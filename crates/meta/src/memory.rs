//! The store of simulations: the same trait, no threads and no I/O, and a crash whenever the simulation says so.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::batch::{Batch, Blob, BlobRef};
use crate::error::Error;
use crate::frame::{HEADER_LEN, file_name};
use crate::index::{BTree, Order, Span, Table, behind};
use crate::options::Options;
use crate::queue::{Phase, Place, Queue, answer};
use crate::receipt::Receipt;
use crate::snapshot::Writer;
use crate::store::{Epoch, MAX_PAGE, MetaStore, Report, Room, Row};

/// Bytes of rows that may be laid over the others; few, so that simulations see both.
const RECENT: usize = 64 << 10;

struct Inner {
    table: Table,
    queue: Queue,
    blobs: BTreeMap<(u64, u32), Blob>,
    current: u64,
    place: Place,
    epochs: Vec<Epoch>,
    applied: watch::Sender<u64>,
    incarnation: u64,
    at_once: bool,
    segment_size: u64,
    bound: usize,
}

/// A store in memory whose batches become durable when the simulation calls [`Memory::sync`].
///
/// Equal calls give equal answers. A handle is one opening of the store: after [`Memory::crash`] or [`MetaStore::close`]
/// it answers [`Error::Closed`], and the durable state is in the next handle. Clones of a handle are the same opening.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
    room: Arc<Notify>,
    incarnation: u64,
}

impl Memory {
    /// Makes an empty store whose first opening has this epoch; nothing becomes durable by itself.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        let options = Options::default();
        Self::with(epoch, options.segment_size, options.queue_bytes, false)
    }

    /// Makes an empty store in which every batch is durable as soon as it was submitted: for tests of other things.
    #[must_use]
    pub fn synced(epoch: u64) -> Self {
        let options = Options::default();
        Self::with(epoch, options.segment_size, options.queue_bytes, true)
    }

    /// Makes an empty store with segments and a queue of chosen sizes in bytes.
    #[must_use]
    pub fn with(epoch: u64, segment_size: u64, queue_bytes: usize, at_once: bool) -> Self {
        let place = Place { segment: 1, offset: HEADER_LEN as u64 };
        let inner = Inner {
            table: Table::in_memory(BTree::default(), RECENT),
            queue: Queue::new(1, place, segment_size, queue_bytes),
            blobs: BTreeMap::new(),
            current: 1,
            place,
            epochs: vec![Epoch { id: epoch, first_seq: 1 }],
            applied: watch::Sender::new(0),
            incarnation: 0,
            at_once,
            segment_size,
            bound: queue_bytes,
        };
        Self { inner: Arc::new(Mutex::new(inner)), room: Arc::new(Notify::new()), incarnation: 0 }
    }

    /// Counts the batches that wait for a sync.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.inner.lock().queue.waiting()
    }

    /// Makes everything that is queued durable and resolves its receipts.
    ///
    /// # Errors
    /// [`Error::Closed`] on a handle of an earlier opening.
    pub fn sync(&self) -> Result<(), Error> {
        self.sync_some(usize::MAX)
    }

    /// Makes the first `count` queued batches durable and resolves their receipts.
    ///
    /// # Errors
    /// [`Error::Closed`] on a handle of an earlier opening.
    pub fn sync_some(&self, count: usize) -> Result<(), Error> {
        let mut inner = self.alive()?;
        inner.sync(count, true)?;
        drop(inner);
        self.room.notify_waiters();
        Ok(())
    }

    /// Crashes the store and opens it anew: of what is queued, the first `keep` batches turn out to be durable although
    /// nobody was told, and the rest is lost. Their receipts resolve to [`Error::Closed`], like all calls of old handles.
    ///
    /// # Errors
    /// [`Error::Closed`] on a handle of an earlier opening.
    pub fn crash(&self, keep: usize, epoch: u64) -> Result<Memory, Error> {
        let mut inner = self.alive()?;
        inner.sync(keep, false)?;
        let durable = inner.table.applied();
        let place = Place { segment: inner.place.segment + 1, offset: HEADER_LEN as u64 };
        let lost = inner.queue.take_back(durable, place);
        answer(lost, &Err(Error::Closed));
        inner.reopen(epoch, place);
        let incarnation = inner.incarnation;
        drop(inner);
        self.room.notify_waiters();
        Ok(Memory { inner: self.inner.clone(), room: self.room.clone(), incarnation })
    }

    /// Opens the store anew after it was closed.
    ///
    /// # Errors
    /// [`Error::Held`] while it is open.
    pub fn reopen(&self, epoch: u64) -> Result<Memory, Error> {
        let mut inner = self.inner.lock();
        if !matches!(inner.queue.phase, Phase::Closed) {
            return Err(Error::Held { dir: "memory".to_owned() });
        }
        let place = Place { segment: inner.place.segment + 1, offset: HEADER_LEN as u64 };
        inner.reopen(epoch, place);
        Ok(Memory { inner: self.inner.clone(), room: self.room.clone(), incarnation: inner.incarnation })
    }

    fn alive(&self) -> Result<parking_lot::MutexGuard<'_, Inner>, Error> {
        let inner = self.inner.lock();
        if inner.incarnation != self.incarnation || !matches!(inner.queue.phase, Phase::Running) {
            return Err(Error::Closed);
        }
        Ok(inner)
    }
}

impl Inner {
    fn reopen(&mut self, epoch: u64, place: Place) {
        let applied = self.table.applied();
        self.incarnation += 1;
        self.current = place.segment;
        self.place = place;
        self.epochs.push(Epoch { id: epoch, first_seq: applied + 1 });
        self.queue = Queue::new(applied + 1, place, self.segment_size, self.bound);
        self.applied = watch::Sender::new(applied);
    }

    fn sync(&mut self, mut count: usize, tell: bool) -> Result<(), Error> {
        while count > 0 {
            let group = self.queue.take(usize::MAX, count);
            let Some(last) = group.last() else { return Ok(()) };
            count -= group.len();
            self.current = last.place.segment;
            self.place = Place { segment: last.place.segment, offset: last.place.offset + last.size as u64 };
            self.table.apply(group.iter().map(|queued| &queued.batch), last.seq)?;
            if self.table.is_full() {
                self.table.spill(usize::MAX)?;
            }
            for blob in group.iter().flat_map(|queued| &queued.batch.blobs) {
                self.blobs.insert((blob.at.segment, blob.at.offset), blob.clone());
            }
            self.queue.retire(&group);
            self.applied.send_replace(last.seq);
            answer(group, &if tell { Ok(()) } else { Err(Error::Closed) });
        }
        Ok(())
    }
}

impl MetaStore for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.alive()?.table.get(key)
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error> {
        self.alive()?.table.page(Span::new(start, end), Order::Ascending, limit)
    }

    fn range_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error> {
        self.alive()?.table.page(Span::new(start, end), Order::Descending, limit)
    }

    fn latest_get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let inner = self.alive()?;
        inner.queue.overlay.get(&inner.table, key)
    }

    fn latest_range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error> {
        let inner = self.alive()?;
        inner.queue.overlay.page(&inner.table, Span::new(start, end), Order::Ascending, limit)
    }

    fn latest_range_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error> {
        let inner = self.alive()?;
        inner.queue.overlay.page(&inner.table, Span::new(start, end), Order::Descending, limit)
    }

    fn submit(&self, batch: Batch) -> Result<Receipt, Error> {
        batch.check()?;
        let mut guard = self.alive()?;
        let inner = &mut *guard;
        let receipt = inner.queue.admit(&inner.table, batch)?;
        if inner.at_once {
            inner.sync(usize::MAX, true)?;
        }
        Ok(receipt)
    }

    fn room(&self) -> Room {
        let this = self.clone();
        Room(Box::pin(async move {
            loop {
                let mut notified = std::pin::pin!(this.room.notified());
                notified.as_mut().enable();
                if this.alive().map_or(true, |inner| inner.queue.has_room()) {
                    return;
                }
                notified.await;
            }
        }))
    }

    fn read_blob(&self, at: BlobRef) -> Result<Bytes, Error> {
        let inner = self.alive()?;
        if let Some(bytes) = inner.queue.blob(at) {
            return Ok(bytes);
        }
        match inner.blobs.get(&(at.segment, at.offset)) {
            Some(blob) if blob.at == at => Ok(blob.bytes.clone()),
            Some(_) => {
                Err(Error::damaged(file_name(at.segment), u64::from(at.offset), "a blob does not match its check"))
            }
            None => Err(Error::Gone { at }),
        }
    }

    fn draining(&self, limit: usize) -> Vec<u64> {
        let Ok(inner) = self.alive() else { return Vec::new() };
        let mut segments: Vec<u64> =
            inner.blobs.keys().map(|(segment, _)| *segment).filter(|segment| *segment < inner.current).collect();
        segments.dedup();
        segments.truncate(limit);
        segments
    }

    fn blobs(&self, segment: u64, after: Option<BlobRef>, limit: usize) -> Result<Vec<Blob>, Error> {
        let inner = self.alive()?;
        if segment >= inner.current {
            return Err(Error::Missing { file: file_name(segment), reason: "no such segment is sealed" });
        }
        let from = after.map_or(0, |at| at.offset.saturating_add(1));
        Ok(inner.blobs.range((segment, from)..=(segment, u32::MAX)).map(|(_, blob)| blob.clone()).take(limit).collect())
    }

    fn release(&self, segment: u64) -> Result<(), Error> {
        let mut inner = self.alive()?;
        if segment >= inner.current {
            return Err(Error::Missing { file: file_name(segment), reason: "no such segment is sealed" });
        }
        inner.blobs.retain(|(of, _), _| *of != segment);
        Ok(())
    }

    fn seal(&self) -> Result<Receipt, Error> {
        let mut inner = self.alive()?;
        let Inner { queue, table, .. } = &mut *inner;
        let receipt = queue.seal(table)?;
        if inner.at_once {
            inner.sync(usize::MAX, true)?;
        }
        Ok(receipt)
    }

    fn snapshot(&self) -> Result<(), Error> {
        // There is no journal behind it.
        self.alive().map(drop)
    }

    fn epoch(&self) -> u64 {
        self.inner.lock().epochs.get(self.incarnation as usize).map_or(0, |epoch| epoch.id)
    }

    fn epochs(&self) -> Vec<Epoch> {
        let inner = self.inner.lock();
        inner.epochs.iter().take(self.incarnation as usize + 1).copied().collect()
    }

    fn applied(&self) -> u64 {
        self.inner.lock().table.applied()
    }

    fn watch_applied(&self) -> watch::Receiver<u64> {
        self.inner.lock().applied.subscribe()
    }

    fn health(&self) -> Result<(), Error> {
        self.alive().map(drop)
    }

    fn export(&self, to: &mut dyn Write) -> Result<u64, Error> {
        let inner = self.alive()?;
        let applied = inner.table.applied();
        let wrote = || Error::io("write", "the export");
        let mut writer = Writer::new(to, applied, &inner.epochs).map_err(wrote())?;
        let mut from = Span::ALL.start.to_vec();
        loop {
            let page = inner.table.page(Span::new(&from, &[]), Order::Ascending, MAX_PAGE)?;
            for (key, value) in &page {
                writer.row(key, Some(value)).map_err(wrote())?;
            }
            match page.last() {
                Some((last, _)) => from = behind(last).to_vec(),
                None => break,
            }
        }
        for blob in inner.blobs.values() {
            writer.blob(blob).map_err(wrote())?;
        }
        writer.finish(applied).map_err(wrote())?;
        Ok(applied)
    }

    fn verify(&self) -> Result<Report, Error> {
        let mut inner = self.alive()?;
        if !inner.table.adds_up()? {
            return Err(Error::damaged("memory", 0, "the rows are not what was applied"));
        }
        let mark = inner.table.mark();
        let blobs = inner.blobs.len() as u64;
        Ok(Report { rows: mark.rows, applied: inner.table.applied(), blobs, ..Report::default() })
    }

    fn close(&self) -> Result<(), Error> {
        let Ok(mut inner) = self.alive() else { return Ok(()) };
        inner.sync(usize::MAX, true)?;
        inner.queue.phase = Phase::Closed;
        drop(inner);
        self.room.notify_waiters();
        Ok(())
    }
}

//! The store of production: a journal, an index, two threads.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::batch::{Batch, Blob, BlobRef};
use crate::core::{Core, Errand, SegmentInfo, Segments};
use crate::disk::{Disk, RealDisk};
use crate::error::Error;
use crate::files::{make_segment, read_all};
use crate::frame::{HEADER_LEN, Segment, file_name};
use crate::index::{Order, Span};
use crate::marker::Marker;
use crate::options::Options;
use crate::queue::{Phase, Place, Queue};
use crate::receipt::Receipt;
use crate::recover::{NO_EPOCH, new_header, recover};
use crate::store::{BLOB_PAGE, Epoch, MetaStore, Report, Room, Row};
use crate::upkeep;
use crate::writer::{self, Tail};

/// A store whose batches are durable in a journal of its own.
///
/// Its directory is locked until the value is dropped. Dropping it closes it; [`MetaStore::close`] says what went wrong.
pub struct Journaled {
    core: Arc<Core>,
    threads: Mutex<Option<(JoinHandle<()>, JoinHandle<()>)>>,
}

impl Journaled {
    /// Opens the store in a directory, which is made where it is missing, and starts a new epoch.
    ///
    /// It reads the journal (and, where the index is not to be believed, rebuilds that), so it may take seconds: not for
    /// a runtime's worker thread.
    ///
    /// # Durability
    /// The new epoch is durable, and so is everything that readers see, when it returns.
    ///
    /// # Errors
    /// [`Error::Held`] where another process has the store; [`Error::Damaged`], [`Error::Missing`] and [`Error::Newer`]
    /// where stored bytes cannot be believed: nothing is skipped; [`Error::NoSpace`] where no segment can be made;
    /// [`Error::Io`], [`Error::Index`].
    pub fn open(dir: impl Into<PathBuf>, options: Options) -> Result<Self, Error> {
        options.check()?;
        Self::open_on(Arc::new(RealDisk::lock(dir)?), options)
    }

    /// Opens the store on a disk of the caller's, which nobody else may use meanwhile.
    ///
    /// # Errors
    /// As [`Journaled::open`].
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, Error> {
        options.check()?;
        let found = recover(&*disk, &options)?;
        let next_seq = found.last_seq + 1;
        let header = loop {
            let header = new_header(&*disk, found.last_segment + 1, next_seq)?;
            if header.epoch != NO_EPOCH && found.epochs.iter().all(|epoch| epoch.id != header.epoch) {
                break header;
            }
        };
        let reserve = if options.preallocate { options.segment_size } else { 0 };
        let file = make_segment(&*disk, header, reserve)
            .map_err(|error| if error.is_no_space() { Error::NoSpace } else { error })?;
        let mut epochs = found.epochs;
        epochs.push(Epoch { id: header.epoch, first_seq: next_seq });

        let place = Place { segment: header.segment, offset: HEADER_LEN as u64 };
        let segments = Segments {
            sealed: found.sealed,
            current: header.segment,
            current_info: SegmentInfo { first_seq: next_seq, last_seq: found.last_seq, ..SegmentInfo::default() },
            current_file: file.clone(),
            snapshot: found.snapshot,
            uncovered: found.uncovered,
        };
        let core = Arc::new(Core {
            queue: Mutex::new(Queue::new(next_seq, place, options.segment_size, options.queue_bytes)),
            disk,
            options,
            epochs,
            epoch: header.epoch,
            work: Condvar::new(),
            room: Arc::new(Notify::new()),
            table: RwLock::new(found.table),
            segments: Mutex::new(segments),
            applied: watch::Sender::new(found.last_seq),
            maintenance: Mutex::new(()),
            errand: Mutex::new(Errand { look: true, stop: false }),
            errands: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let tail = Tail { file, key: header.key(), place, durable: found.last_seq };
        let writer = spawn("meta-writer", core.clone(), move |core| writer::run(core, tail))?;
        let keeper = match spawn("meta-upkeep", core.clone(), upkeep::run) {
            Ok(keeper) => keeper,
            Err(error) => {
                core.queue.lock().phase = Phase::Closing;
                core.work.notify_all();
                join(writer);
                return Err(error);
            }
        };
        Ok(Self { core, threads: Mutex::new(Some((writer, keeper))) })
    }

    fn page(&self, start: &[u8], end: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, Error> {
        self.core.table.read().page(Span::new(start, end), order, limit)
    }

    fn latest_page(&self, start: &[u8], end: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, Error> {
        let queue = self.core.queue.lock();
        queue.overlay.page(&self.core.table.read(), Span::new(start, end), order, limit)
    }
}

fn spawn(name: &str, core: Arc<Core>, run: impl FnOnce(&Core) + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let body = move || {
        // A panic must not leave receipts waiting for ever.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&core))).is_err() {
            core.fail(Error::io("run", "a thread of the store")(io::Error::other("it panicked")));
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(body).map_err(Error::io("start a thread for", name))
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("meta.thread.panicked");
    }
}

impl MetaStore for Journaled {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.core.table.read().get(key)
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error> {
        self.page(start, end, Order::Ascending, limit)
    }

    fn range_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error> {
        self.page(start, end, Order::Descending, limit)
    }

    fn latest_get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let queue = self.core.queue.lock();
        queue.overlay.get(&self.core.table.read(), key)
    }

    fn latest_range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error> {
        self.latest_page(start, end, Order::Ascending, limit)
    }

    fn latest_range_back(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<Row>, Error> {
        self.latest_page(start, end, Order::Descending, limit)
    }

    fn submit(&self, batch: Batch) -> Result<Receipt, Error> {
        batch.check()?;
        let mut queue = self.core.queue.lock();
        let receipt = queue.admit(&self.core.table.read(), batch)?;
        drop(queue);
        self.core.work.notify_one();
        Ok(receipt)
    }

    fn room(&self) -> Room {
        let core = self.core.clone();
        Room(Box::pin(async move {
            loop {
                let mut notified = std::pin::pin!(core.room.notified());
                notified.as_mut().enable();
                if core.queue.lock().has_room() {
                    return;
                }
                notified.await;
            }
        }))
    }

    fn read_blob(&self, at: BlobRef) -> Result<Bytes, Error> {
        if let Some(bytes) = self.core.queue.lock().blob(at) {
            return Ok(bytes);
        }
        let name = file_name(at.segment);
        let current = {
            let segments = self.core.segments.lock();
            if segments.current == at.segment {
                Some(segments.current_file.clone())
            } else if segments.sealed.contains_key(&at.segment) {
                None
            } else {
                return Err(Error::Gone { at });
            }
        };
        let file = match current {
            Some(file) => file,
            None => match self.core.disk.open(&name) {
                Ok(file) => file.into(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::Gone { at }),
                Err(error) => return Err(Error::io("open", name)(error)),
            },
        };
        let len = file.len().map_err(Error::io("stat", &*name))?;
        if u64::from(at.offset) + u64::from(at.len) > len {
            return Err(Error::damaged(name, u64::from(at.offset), "a blob lies behind the end"));
        }
        let mut bytes = vec![0; at.len as usize];
        file.read_exact_at(&mut bytes, u64::from(at.offset)).map_err(Error::io("read", &*name))?;
        if !at.verifies(&bytes) {
            return Err(Error::damaged(name, u64::from(at.offset), "a blob does not match its check"));
        }
        Ok(bytes.into())
    }

    fn draining(&self, limit: usize) -> Vec<u64> {
        let segments = self.core.segments.lock();
        segments.sealed.iter().filter(|(_, info)| info.holds_blobs()).map(|(number, _)| *number).take(limit).collect()
    }

    fn blobs(&self, segment: u64, after: Option<BlobRef>, limit: usize) -> Result<Vec<Blob>, Error> {
        let name = file_name(segment);
        let Some(info) = self.core.segments.lock().sealed.get(&segment).copied() else {
            return Err(Error::Missing { file: name, reason: "no such segment is sealed" });
        };
        let after = after.map_or(0, |at| u64::from(at.offset) + 1);
        let read = Segment::new(segment, read_all(&*self.core.disk, &name)?)?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        let end = read.frames(|_, batch| {
            for blob in batch.blobs {
                let wanted = u64::from(blob.at.offset) >= after && page.len() < limit && bytes < BLOB_PAGE;
                if wanted {
                    bytes += blob.bytes.len();
                    page.push(blob);
                }
            }
            Ok(())
        })?;
        if end.seq != info.last_seq + 1 {
            return Err(Error::damaged(name, end.offset as u64, "a durable frame does not match its hash"));
        }
        match page.iter().find(|blob| !blob.at.verifies(&blob.bytes)) {
            Some(blob) => Err(Error::damaged(name, u64::from(blob.at.offset), "a blob does not match its check")),
            None => Ok(page),
        }
    }

    fn release(&self, segment: u64) -> Result<(), Error> {
        match self.core.segments.lock().sealed.get_mut(&segment) {
            Some(info) => info.released = true,
            None => return Err(Error::Missing { file: file_name(segment), reason: "no such segment is sealed" }),
        }
        self.core.look_after();
        Ok(())
    }

    fn seal(&self) -> Result<Receipt, Error> {
        let mut queue = self.core.queue.lock();
        let receipt = queue.seal(&self.core.table.read())?;
        drop(queue);
        self.core.work.notify_one();
        Ok(receipt)
    }

    fn snapshot(&self) -> Result<(), Error> {
        self.core.queue.lock().health()?;
        upkeep::take_snapshot(&self.core).map_err(|error| match error {
            fatal @ Error::Fatal { .. } => self.core.fail(fatal),
            other => other,
        })
    }

    fn epoch(&self) -> u64 {
        self.core.epoch
    }

    fn epochs(&self) -> Vec<Epoch> {
        self.core.epochs.clone()
    }

    fn applied(&self) -> u64 {
        *self.core.applied.borrow()
    }

    fn watch_applied(&self) -> watch::Receiver<u64> {
        self.core.applied.subscribe()
    }

    fn health(&self) -> Result<(), Error> {
        self.core.queue.lock().health()
    }

    fn export(&self, to: &mut dyn Write) -> Result<u64, Error> {
        upkeep::export(&self.core, to)
    }

    fn verify(&self) -> Result<Report, Error> {
        upkeep::verify(&self.core)
    }

    fn close(&self) -> Result<(), Error> {
        let mut threads = self.threads.lock();
        let Some((writer, keeper)) = threads.take() else { return Ok(()) };
        self.core.stopping.store(true, Ordering::Relaxed);
        {
            let mut queue = self.core.queue.lock();
            if matches!(queue.phase, Phase::Running) {
                queue.phase = Phase::Closing;
            }
        }
        self.core.work.notify_all();
        self.core.room.notify_waiters();
        join(writer);
        self.core.errand.lock().stop = true;
        self.core.errands.notify_all();
        join(keeper);
        let _guard = self.core.maintenance.lock();
        let closed = self.core.table.write().close();
        {
            let mut queue = self.core.queue.lock();
            if let Phase::Failed(error) = &queue.phase {
                return Err(error.clone());
            }
            queue.phase = Phase::Closed;
        }
        let mark = closed?;
        let boot = self.core.disk.boot_id().map_err(Error::io("read", "the boot id"))?;
        Marker { mark, boot }.write(&*self.core.disk)
    }
}

impl Drop for Journaled {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, cause = ?error, "meta.close.failed");
        }
    }
}

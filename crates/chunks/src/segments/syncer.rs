//! The one thread that syncs, and those who wait for it.
//!
//! Whoever wants something durable asks for a position; the thread takes whatever is written by then, syncs it once for
//! all, and moves the watermark. A write or sync that fails ends it: the kernel may have dropped the pages, so that a
//! second sync that succeeds would prove nothing. From then on every request fails.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use parking_lot::{Condvar, Mutex};

use super::{Shared, log::Batch, open::write_side};
use crate::{Error, FlushCallback, Position};

/// The handle of the thread.
pub(super) struct Syncer {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// There is something to do.
    work: Condvar,
    /// The watermark has moved, or will not move any more.
    moved: Condvar,
    syncs: AtomicU64,
}

struct State {
    requested: Position,
    durable: Position,
    /// The segments that were full at this position are sealed, or cannot be.
    sealed: Position,
    closing: bool,
    failed: Option<Arc<str>>,
    waiting: Vec<(Position, FlushCallback)>,
}

impl State {
    fn check(&self) -> Result<(), Error> {
        self.failed.as_ref().map_or(Ok(()), |reason| Err(Error::Failed(reason.clone())))
    }
}

impl Syncer {
    /// Starts the thread; everything up to `durable` is durable already.
    pub(super) fn start(shared: Arc<Shared>, durable: Position) -> Result<Self, Error> {
        let state =
            State { requested: durable, durable, sealed: durable, closing: false, failed: None, waiting: Vec::new() };
        let inner = Arc::new(Inner {
            shared,
            state: Mutex::new(state),
            work: Condvar::new(),
            moved: Condvar::new(),
            syncs: AtomicU64::new(0),
        });
        let run = inner.clone();
        let thread = std::thread::Builder::new()
            .name("chunks-sync".into())
            .spawn(move || run.run())
            .map_err(|e| Error::io("start", "the syncing thread", e))?;
        Ok(Self { inner, thread: Some(thread) })
    }

    /// Refuses if a write or sync has failed.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.inner.state.lock().check()
    }

    /// Takes note of an error of a put or rewriting: one that leaves a file or the directory in doubt ends the store.
    /// That a file could not be made, allocated or removed leaves nothing in doubt.
    pub(super) fn note(&self, error: &Error) {
        if matches!(error, Error::Io { action: "write" | "sync", .. }) {
            self.inner.fail(error);
        }
    }

    pub(super) fn durable(&self) -> Position {
        self.inner.state.lock().durable
    }

    pub(super) fn syncs(&self) -> u64 {
        self.inner.syncs.load(Ordering::Relaxed)
    }

    /// Asks for a sync without waiting.
    pub(super) fn request(&self, position: Position) {
        let mut state = self.inner.state.lock();
        if state.requested < position {
            state.requested = position;
            self.inner.work.notify_one();
        }
    }

    /// Waits until `position` is durable.
    pub(super) fn wait(&self, position: Position) -> Result<Position, Error> {
        self.request(position);
        let mut state = self.inner.state.lock();
        loop {
            if state.durable >= position {
                // What is durable stays so, but a failed store must not look healthy.
                return state.check().map(|()| state.durable);
            }
            state.check()?;
            self.inner.moved.wait(&mut state);
        }
    }

    /// Waits until the segments that were full at `position` are sealed, where there was room for that.
    pub(super) fn wait_sealed(&self, position: Position) -> Result<(), Error> {
        self.request(position);
        let mut state = self.inner.state.lock();
        while state.sealed < position {
            state.check()?;
            self.inner.moved.wait(&mut state);
        }
        state.check()
    }

    /// Calls back once `position` is durable, or never will be.
    pub(super) fn notify(&self, position: Position, callback: FlushCallback) {
        let result = {
            let mut state = self.inner.state.lock();
            let result = state.check();
            if result.is_ok() && state.durable < position {
                state.waiting.push((position, callback));
                state.requested = state.requested.max(position);
                self.inner.work.notify_one();
                return;
            }
            result
        };
        callback(result);
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        {
            let mut state = self.inner.state.lock();
            state.requested = state.requested.max(self.inner.shared.log.end());
            state.closing = true;
        }
        self.inner.work.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("chunks.syncer_panicked");
        }
    }
}

impl Inner {
    fn run(&self) {
        while self.wait_for_work() {
            let batch = self.shared.log.take_batch();
            if let Err(e) = self.sync(&batch) {
                return self.fail(&e);
            }
            self.move_to(batch.end);
            let end = batch.end;
            for full in batch.full {
                match write_side(self.shared.disk.as_ref(), full.number, &full.side) {
                    Ok(()) => self.shared.files.seal(full.number),
                    // Opening scans segments without side index. On a full disk that is better than to stop.
                    Err(Error::NoSpace) => tracing::warn!(segment = full.number, "chunks.side_index_without_room"),
                    Err(e) => return self.fail(&e),
                }
            }
            self.state.lock().sealed = end;
            self.moved.notify_all();
        }
    }

    /// Waits until something is asked for; false when the store closes and everything is done.
    fn wait_for_work(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.failed.is_some() {
                return false;
            }
            if state.requested > state.durable {
                return true;
            }
            if state.closing {
                return false;
            }
            self.work.wait(&mut state);
        }
    }

    fn sync(&self, batch: &Batch) -> Result<(), Error> {
        for full in &batch.full {
            // What was allocated ahead is given back.
            full.file.set_len(full.side.end.into())?;
            full.file.sync()?;
        }
        batch.file.sync()?;
        if batch.new_file {
            self.shared.disk.sync()?;
        }
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn move_to(&self, durable: Position) {
        let ready: Vec<_> = {
            let mut state = self.state.lock();
            state.durable = durable;
            state.waiting.extract_if(.., |(position, _)| *position <= durable).collect()
        };
        self.moved.notify_all();
        for (_, callback) in ready {
            call(callback, Ok(()));
        }
    }

    fn fail(&self, error: &Error) {
        let reason: Arc<str> = error.to_string().into();
        tracing::error!(%reason, "chunks.failed");
        let waiting = {
            let mut state = self.state.lock();
            state.failed.get_or_insert(reason.clone());
            std::mem::take(&mut state.waiting)
        };
        self.work.notify_all();
        self.moved.notify_all();
        for (_, callback) in waiting {
            call(callback, Err(Error::Failed(reason.clone())));
        }
    }
}

/// Runs a caller's code on the syncer's thread, which must outlive it.
fn call(callback: FlushCallback, result: Result<(), Error>) {
    if catch_unwind(AssertUnwindSafe(|| callback(result))).is_err() {
        tracing::error!("chunks.flush_callback_panicked");
    }
}

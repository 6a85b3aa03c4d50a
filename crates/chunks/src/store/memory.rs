//! A store in memory that forgets like a disk, for simulations.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use parking_lot::Mutex;
use quics_types::{Digest, RootId};

use super::{
    ChunkStore, Condemned, FlushCallback, Marks, Position, Progress, Reclaimable, RecordInfo, Rewritten, Stats,
    Verification,
};
use crate::{Error, Packed};

/// Positions of a segment, for reclaiming.
const SEGMENT: u64 = 16;

/// Keeps chunks in memory; what is not synced is lost in a crash.
///
/// It has no thread, clock or randomness: syncing happens when the simulation says so, by [`MemoryChunks::sync`], and
/// [`ChunkStore::flush_notify`] callbacks run inside of it, in their order. [`ChunkStore::flush`] syncs at once. Clones
/// share their contents, so that a service that "restarts" finds what was durable. For reclaiming, every 16 puts are a
/// segment; rewriting one is durable at once.
#[derive(Clone, Default)]
pub struct MemoryChunks {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    chunks: BTreeMap<(RootId, Digest), Stored>,
    last: u64,
    durable: u64,
    syncs: u64,
    damaged: u64,
    failed: Option<Arc<str>>,
    waiting: Vec<FlushCallback>,
    /// Quarantined and not synced yet: a crash brings them back, as a disk would.
    removed: BTreeMap<(RootId, Digest), Stored>,
}

struct Stored {
    packed: Packed,
    position: u64,
    damaged: bool,
}

impl Stored {
    /// The segment, and the place in it.
    fn place(&self) -> (u32, u32) {
        ((self.position / SEGMENT) as u32, (self.position % SEGMENT) as u32)
    }

    fn bytes(&self) -> u64 {
        self.packed.data.len() as u64
    }
}

impl MemoryChunks {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes everything durable that was put so far, and runs the callbacks that wait for it.
    pub fn sync(&self) -> Position {
        let (callbacks, durable) = {
            let mut state = self.state.lock();
            (state.sync(), state.durable)
        };
        for callback in callbacks {
            callback(Ok(()));
        }
        Position(durable)
    }

    /// Whether a [`MemoryChunks::sync`] would change anything or call anybody.
    pub fn needs_sync(&self) -> bool {
        let state = self.state.lock();
        state.durable < state.last || !state.waiting.is_empty()
    }

    /// Loses what is not synced, drops the callbacks that wait uncalled, and forgets a failure.
    pub fn crash(&self) {
        let waiting = {
            let mut state = self.state.lock();
            let durable = state.durable;
            state.chunks.retain(|_, stored| stored.position <= durable);
            let back = std::mem::take(&mut state.removed);
            state.chunks.extend(back.into_iter().filter(|(_, stored)| stored.position <= durable));
            state.last = durable;
            state.failed = None;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }

    /// Lets every write and sync fail from now on, until the next crash, as a disk does that is dying.
    pub fn fail(&self, reason: &str) {
        let waiting = {
            let mut state = self.state.lock();
            state.failed = Some(reason.into());
            std::mem::take(&mut state.waiting)
        };
        for callback in waiting {
            callback(Err(Error::Failed(reason.into())));
        }
    }

    /// Damages a stored chunk: the next read finds it. Returns whether it was there.
    pub fn damage(&self, root: RootId, digest: Digest) -> bool {
        self.state.lock().chunks.get_mut(&(root, digest)).map(|stored| stored.damaged = true).is_some()
    }
}

impl State {
    fn check(&self) -> Result<(), Error> {
        self.failed.as_ref().map_or(Ok(()), |reason| Err(Error::Failed(reason.clone())))
    }

    /// Returns the callbacks that are to be told.
    fn sync(&mut self) -> Vec<FlushCallback> {
        self.durable = self.last;
        self.syncs += 1;
        self.removed.clear();
        std::mem::take(&mut self.waiting)
    }

    /// The segment that is appended to.
    fn open_segment(&self) -> u32 {
        ((self.last + 1) / SEGMENT) as u32
    }

    fn see(&self, root: RootId, digest: Digest, seen: impl FnOnce(u32, u32)) -> Option<Position> {
        let stored = self.chunks.get(&(root, digest))?;
        let (segment, unit) = stored.place();
        seen(segment, unit);
        Some(Position(stored.position))
    }

    /// Moves or drops what is in a segment; `None` if it is the open one or there is nothing in it.
    fn rewrite(&mut self, number: u32, condemned: &Condemned) -> Option<Rewritten> {
        let in_it = |(key, stored): (&(RootId, Digest), &Stored)| (stored.place().0 == number).then_some(*key);
        let keys: Vec<_> = self.chunks.iter().filter_map(in_it).collect();
        if number >= self.open_segment() || keys.is_empty() {
            return None;
        }
        let mut done = Rewritten::default();
        for key in keys {
            let Some(mut stored) = self.chunks.remove(&key) else { continue };
            let bytes = stored.bytes();
            done.freed_bytes += bytes;
            if condemned.has(number, stored.place().1) {
                done.dropped += 1;
                done.dropped_bytes += bytes;
            } else if stored.damaged {
                self.damaged += 1;
                done.damaged_count += 1;
                done.damaged.push(key);
            } else {
                self.last += 1;
                stored.position = self.last;
                self.chunks.insert(key, stored);
                done.copied += 1;
                done.copied_bytes += bytes;
            }
        }
        Some(done)
    }

    fn remove(&mut self, key: (RootId, Digest)) -> bool {
        let Some(stored) = self.chunks.remove(&key) else { return false };
        self.last += 1;
        self.removed.entry(key).or_insert(stored);
        true
    }
}

impl ChunkStore for MemoryChunks {
    fn put(&self, root: RootId, chunk: &Packed) -> Result<Position, Error> {
        chunk.verify()?;
        let mut state = self.state.lock();
        state.check()?;
        if let Some(stored) = state.chunks.get(&(root, chunk.digest)) {
            return Ok(Position(stored.position));
        }
        state.last += 1;
        let position = state.last;
        state.chunks.insert((root, chunk.digest), Stored { packed: chunk.clone(), position, damaged: false });
        Ok(Position(position))
    }

    fn get(&self, root: RootId, digest: Digest) -> Result<Option<Packed>, Error> {
        let mut state = self.state.lock();
        let Some(stored) = state.chunks.get(&(root, digest)) else { return Ok(None) };
        if !stored.damaged {
            return Ok(Some(stored.packed.clone()));
        }
        state.remove((root, digest));
        state.damaged += 1;
        Err(Error::Damaged { root, digest, segment: 0, offset: 0 })
    }

    fn find(&self, root: RootId, digest: Digest) -> Result<Option<Position>, Error> {
        Ok(self.state.lock().chunks.get(&(root, digest)).map(|stored| Position(stored.position)))
    }

    fn durable_up_to(&self) -> Position {
        Position(self.state.lock().durable)
    }

    fn flush(&self) -> Result<Position, Error> {
        self.state.lock().check()?;
        Ok(self.sync())
    }

    fn flush_notify(&self, callback: FlushCallback) {
        let failed = {
            let mut state = self.state.lock();
            match state.check() {
                Ok(()) => {
                    state.waiting.push(callback);
                    return;
                }
                Err(e) => e,
            }
        };
        callback(Err(failed));
    }

    fn quarantine(&self, root: RootId, digest: Digest) -> Result<bool, Error> {
        Ok(self.state.lock().remove((root, digest)))
    }

    fn stats(&self) -> Stats {
        let state = self.state.lock();
        let bytes = state.chunks.values().map(|stored| stored.packed.data.len() as u64).sum();
        Stats {
            chunks: state.chunks.len() as u64,
            live_bytes: bytes,
            stored_bytes: bytes,
            damaged: state.damaged,
            syncs: state.syncs,
            ..Stats::default()
        }
    }

    fn verify_all(&self, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Verification, Error> {
        let keys: Vec<_> = self.state.lock().chunks.keys().copied().collect();
        let mut found = Verification { complete: true, ..Verification::default() };
        let mut so_far = Progress { total_bytes: self.stats().live_bytes, ..Progress::default() };
        for (root, digest) in keys {
            match self.get(root, digest) {
                Ok(Some(packed)) => {
                    found.verified += 1;
                    so_far.bytes += packed.data.len() as u64;
                }
                Ok(None) => {}
                Err(_) => {
                    found.damaged_count += 1;
                    found.damaged.push((root, digest));
                }
            }
            so_far.chunks += 1;
            if progress(so_far).is_break() {
                found.complete = false;
                break;
            }
        }
        Ok(found)
    }

    fn records(&self, visit: &mut dyn FnMut(RecordInfo) -> ControlFlow<()>) -> Result<(), Error> {
        let records: Vec<_> = {
            let state = self.state.lock();
            let info = |(&(root, digest), stored): (&(RootId, Digest), &Stored)| RecordInfo {
                root,
                digest,
                length: stored.packed.length,
                stored: stored.packed.data.len() as u32,
            };
            state.chunks.iter().map(info).collect()
        };
        let _ = records.into_iter().try_for_each(visit);
        Ok(())
    }

    fn begin_marks(&self) -> Marks {
        let state = self.state.lock();
        let mut records = BTreeMap::<u32, Vec<u32>>::new();
        for (segment, unit) in state.chunks.values().map(Stored::place) {
            if segment < state.open_segment() {
                records.entry(segment).or_default().push(unit);
            }
        }
        Marks::new(records)
    }

    fn begin_marks_of(&self, root: RootId) -> Result<Marks, Error> {
        let state = self.state.lock();
        let mut records = BTreeMap::<u32, Vec<u32>>::new();
        for ((of, _), stored) in &state.chunks {
            let (segment, unit) = stored.place();
            if *of == root && segment < state.open_segment() {
                records.entry(segment).or_default().push(unit);
            }
        }
        Ok(Marks::new(records))
    }

    fn seal(&self) -> Result<(), Error> {
        {
            let mut state = self.state.lock();
            state.check()?;
            // The next put is the first one of a segment.
            state.last = (state.last + 1).next_multiple_of(SEGMENT) - 1;
        }
        self.flush().map(drop)
    }

    fn remains(&self, root: RootId, condemned: &Condemned) -> Result<Vec<u32>, Error> {
        let state = self.state.lock();
        let mut found = std::collections::BTreeSet::new();
        for ((of, _), stored) in &state.chunks {
            let (segment, unit) = stored.place();
            if *of == root && condemned.has(segment, unit) {
                found.insert(segment);
            }
        }
        Ok(found.into_iter().collect())
    }

    fn mark(&self, marks: &Marks, root: RootId, digest: Digest) -> Result<Option<Position>, Error> {
        Ok(self.state.lock().see(root, digest, |segment, unit| marks.set(segment, unit)))
    }

    fn mark_walked(&self, marks: &Marks, root: RootId, digest: Digest) -> Result<Option<Position>, Error> {
        Ok(self.state.lock().see(root, digest, |segment, unit| marks.set_walked(segment, unit)))
    }

    fn is_walked(&self, marks: &Marks, root: RootId, digest: Digest) -> Result<bool, Error> {
        let mut walked = false;
        self.state.lock().see(root, digest, |segment, unit| walked = marks.is_walked(segment, unit));
        Ok(walked)
    }

    fn reclaimable(&self, condemned: &Condemned) -> Result<Vec<Reclaimable>, Error> {
        let state = self.state.lock();
        let mut found = BTreeMap::new();
        for stored in state.chunks.values() {
            let (number, unit) = stored.place();
            if number < state.open_segment() {
                let nothing = Reclaimable { number, bytes: 0, kept_bytes: 0, unneeded_bytes: 0 };
                let one = found.entry(number).or_insert(nothing);
                one.bytes += stored.bytes();
                *if condemned.has(number, unit) { &mut one.unneeded_bytes } else { &mut one.kept_bytes } +=
                    stored.bytes();
            }
        }
        Ok(found.into_values().collect())
    }

    fn rewrite(&self, number: u32, condemned: &Condemned) -> Result<Option<Rewritten>, Error> {
        let (done, callbacks) = {
            let mut state = self.state.lock();
            state.check()?;
            let Some(done) = state.rewrite(number, condemned) else { return Ok(None) };
            (done, state.sync())
        };
        for callback in callbacks {
            callback(Ok(()));
        }
        Ok(Some(done))
    }
}

impl std::fmt::Debug for MemoryChunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryChunks").field("stats", &self.stats()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::pack;

    const ROOT: RootId = RootId::from_bytes([1; 16]);

    #[test]
    fn a_crash_loses_what_was_not_synced_and_nothing_else() {
        let store = MemoryChunks::new();
        let (kept, lost) = (pack(b"kept"), pack(b"lost"));
        let called = Arc::new(AtomicUsize::new(0));
        let count = |called: &Arc<AtomicUsize>| {
            let called = called.clone();
            Box::new(move |_| _ = called.fetch_add(1, Ordering::Relaxed)) as FlushCallback
        };
        store.put(ROOT, &kept).unwrap();
        store.flush_notify(count(&called));
        assert_eq!(called.load(Ordering::Relaxed), 0);
        store.sync();
        assert_eq!(called.load(Ordering::Relaxed), 1);
        store.put(ROOT, &lost).unwrap();
        store.flush_notify(count(&called));
        assert!(store.quarantine(ROOT, kept.digest).unwrap());
        store.crash();
        assert_eq!(called.load(Ordering::Relaxed), 1);
        assert_eq!(store.get(ROOT, kept.digest).unwrap(), Some(kept));
        assert_eq!(store.get(ROOT, lost.digest).unwrap(), None);
    }

    #[test]
    fn what_a_rewritten_segment_kept_outlives_a_crash_and_what_it_dropped_stays_gone() {
        let store = MemoryChunks::new();
        let chunks: Vec<_> = (0..40u8).map(|i| pack(&[i; 100])).collect();
        for chunk in &chunks {
            store.put(ROOT, chunk).unwrap();
        }
        store.sync();
        let first = store.begin_marks();
        store.mark(&first, ROOT, chunks[0].digest).unwrap();
        store.damage(ROOT, chunks[1].digest);
        store.mark(&first, ROOT, chunks[1].digest).unwrap();
        let condemned = first.again().condemn().unwrap();
        let done = store.rewrite(0, &condemned).unwrap().unwrap();
        assert_eq!((done.copied, done.dropped), (1, 13), "positions begin at 1");
        assert_eq!(done.damaged, [(ROOT, chunks[1].digest)]);
        assert!(!store.needs_sync());
        store.crash();
        let there = |i: usize| store.get(ROOT, chunks[i].digest).unwrap().is_some();
        assert!(there(0) && (1..15).all(|i| !there(i)) && (15..40).all(there));
        assert_eq!(store.rewrite(0, &condemned).unwrap(), None);
        assert_eq!(store.rewrite(2, &condemned).unwrap(), None, "it is appended to");
        store.fail("the disk is gone");
        assert!(matches!(store.rewrite(1, &condemned), Err(Error::Failed(_))));
    }

    #[test]
    fn a_failed_store_refuses_to_promise_anything_until_it_is_opened_again() {
        let store = MemoryChunks::new();
        let chunk = pack(b"chunk");
        store.put(ROOT, &chunk).unwrap();
        store.fail("the disk is gone");
        assert!(matches!(store.put(ROOT, &pack(b"other")), Err(Error::Failed(_))));
        assert!(matches!(store.flush(), Err(Error::Failed(_))));
        store.crash();
        assert!(store.put(ROOT, &chunk).is_ok());
    }
}

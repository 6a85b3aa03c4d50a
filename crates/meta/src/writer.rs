//! The one thread that writes the journal.
//!
//! A group is whatever was submitted while the last group was synced: written with one call, made durable with one
//! `fdatasync`, shown to readers, then acknowledged. Nothing of the next group is written before, which is what lets
//! recovery tell a torn tail from damage. Its rows are put into the index when nothing else is to be done, or when too many
//! wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::MutexGuard;

use crate::core::{Core, SegmentInfo};
use crate::disk::DiskFile;
use crate::error::Error;
use crate::files::make_segment;
use crate::frame::{FrameKey, HEADER_LEN, Header, file_name};
use crate::queue::{Phase, Place, Queued, answer};

/// The most bytes of one group.
const GROUP_BYTES: usize = 8 << 20;
/// The most batches of one group. Readers wait while a group is shown, less than a microsecond for each row.
const GROUP_BATCHES: usize = 1024;
/// The most rows that are put into the index while readers wait, some microseconds for each.
pub(crate) const SLICE: usize = 128;
/// After so long without work, rows are put into the index.
const REST: Duration = Duration::from_secs(1);

/// The end of the journal.
pub(crate) struct Tail {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) key: FrameKey,
    pub(crate) place: Place,
    /// The last seq that is durable.
    pub(crate) durable: u64,
}

/// Why a group did not become durable.
enum Refusal {
    /// Nothing was written; the store goes on.
    NoSpace,
    Fatal(Error),
}

/// Writes until the store is closed and the queue is empty, or until something fails.
pub(crate) fn run(core: &Core, mut tail: Tail) {
    let mut buffer = Vec::new();
    loop {
        let group = match next(core) {
            Ok(group) => group,
            Err(error) => {
                core.fail(error);
                return;
            }
        };
        if group.is_empty() {
            return;
        }
        match write(core, &mut tail, &group, &mut buffer) {
            Ok(()) => {
                core.queue.lock().retire(&group);
                core.room.notify_waiters();
                core.applied.send_replace(tail.durable);
                answer(group, &Ok(()));
                if core.segments.lock().wants_snapshot(&core.options) {
                    core.look_after();
                }
                if let Err(error) = make_room(core) {
                    core.fail(error);
                    return;
                }
            }
            Err(Refusal::NoSpace) => {
                tracing::warn!(seq = tail.durable, "meta.journal.no_space");
                let rest = core.queue.lock().take_back(tail.durable, tail.place);
                core.room.notify_waiters();
                answer(group, &Err(Error::NoSpace));
                answer(rest, &Err(Error::NoSpace));
            }
            Err(Refusal::Fatal(error)) => {
                let error = core.fail(error);
                answer(group, &Err(error));
                return;
            }
        }
        buffer.clear();
        buffer.shrink_to(GROUP_BYTES / 4);
    }
}

/// Waits for the next group; an empty one is the end. Where none comes for a while, the index is brought up to date.
fn next(core: &Core) -> Result<Vec<Queued>, Error> {
    let mut queue = core.queue.lock();
    let mut rest = REST;
    while queue.is_empty() && matches!(queue.phase, Phase::Running) {
        if core.table.read().is_settled() {
            core.work.wait(&mut queue);
        } else if core.work.wait_for(&mut queue, rest).timed_out() {
            MutexGuard::unlocked(&mut queue, || core.table.write().spill(SLICE))?;
            rest = Duration::ZERO;
        }
    }
    Ok(match queue.phase {
        Phase::Failed(_) => Vec::new(),
        _ => queue.take(GROUP_BYTES, GROUP_BATCHES),
    })
}

/// Puts rows into the index until there is room for more.
fn make_room(core: &Core) -> Result<(), Error> {
    while core.table.read().is_full() {
        core.table.write().spill(SLICE)?;
    }
    Ok(())
}

fn write(core: &Core, tail: &mut Tail, group: &[Queued], buffer: &mut Vec<u8>) -> Result<(), Refusal> {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
    if first.place.segment != tail.place.segment {
        roll(core, tail, first).map_err(|error| match error {
            full if full.is_no_space() => Refusal::NoSpace,
            other => Refusal::Fatal(other),
        })?;
    }
    if first.place != tail.place || first.seq != tail.durable + 1 {
        let name = file_name(tail.place.segment);
        return Err(Refusal::Fatal(Error::damaged(name, tail.place.offset, "a batch was given another place")));
    }
    for queued in group {
        tail.key.append(buffer, tail.place.offset, queued.seq, tail.durable, &queued.batch);
    }
    let name = || file_name(tail.place.segment);
    tail.file
        .write_all_at(buffer, tail.place.offset)
        .and_then(|()| tail.file.sync())
        .map_err(|error| Refusal::Fatal(Error::io("write and sync", name())(error)))?;
    tail.place.offset += buffer.len() as u64;
    tail.durable = last.seq;
    {
        let mut segments = core.segments.lock();
        segments.uncovered += buffer.len() as u64;
        segments.current_info.last_seq = last.seq;
        segments.current_info.blobs += group.iter().map(|queued| queued.batch.blobs.len() as u64).sum::<u64>();
    }
    core.table.write().apply(group.iter().map(|queued| &queued.batch), last.seq).map_err(Refusal::Fatal)
}

/// Ends the segment, all of which is durable, and begins the next.
fn roll(core: &Core, tail: &mut Tail, first: &Queued) -> Result<(), Error> {
    let salt = core.disk.random().map_err(Error::io("read random bytes for", "the journal"))?;
    let header = Header { segment: first.place.segment, first_seq: first.seq, epoch: core.epoch, salt };
    let reserve =
        if core.options.preallocate { core.options.segment_size.max((HEADER_LEN + first.size) as u64) } else { 0 };
    let file = make_segment(&*core.disk, header, reserve)?;
    let fresh = SegmentInfo { first_seq: first.seq, last_seq: first.seq - 1, ..SegmentInfo::default() };
    {
        let mut segments = core.segments.lock();
        let (number, info) = (segments.current, segments.current_info);
        segments.sealed.insert(number, info);
        segments.current = header.segment;
        segments.current_info = fresh;
        segments.current_file = file.clone();
    }
    tail.file = file;
    tail.key = header.key();
    tail.place = Place { segment: header.segment, offset: HEADER_LEN as u64 };
    if !core.stopping.load(Ordering::Relaxed) {
        core.look_after();
    }
    Ok(())
}

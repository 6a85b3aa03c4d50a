//! Snapshots, dropping journal segments behind them, exports and verification.

use std::io::Write;
use std::sync::atomic::Ordering;

use crate::core::{Core, SnapshotInfo};
use crate::error::Error;
use crate::files::{Appender, FileReader, place, read_all};
use crate::frame::{Segment, file_name};
use crate::index::{Audited, Order, Span, behind};
use crate::snapshot::{self, Writer};
use crate::store::{MAX_PAGE, Report, Row};
use crate::writer::SLICE;

/// Looks after the journal until the store is closed.
pub(crate) fn run(core: &Core) {
    loop {
        {
            let mut errand = core.errand.lock();
            while !errand.look && !errand.stop {
                core.errands.wait(&mut errand);
            }
            if errand.stop {
                return;
            }
            errand.look = false;
        }
        match tidy(core) {
            Ok(()) | Err(Error::Closed) => {}
            Err(error @ Error::Fatal { .. }) => {
                core.fail(error);
                return;
            }
            // The journal is whole without it, only longer; the next segment asks again.
            Err(error) => tracing::warn!(%error, cause = ?error, "meta.upkeep.failed"),
        }
    }
}

fn tidy(core: &Core) -> Result<(), Error> {
    let wanted = core.segments.lock().wants_snapshot(&core.options);
    if wanted {
        take_snapshot(core)?;
    }
    let guard = core.maintenance.lock();
    drop_covered(core)?;
    drop(guard);
    Ok(())
}

/// Visits every row, a page at a time, while commits go on.
fn every_row(core: &Core, mut visit: impl FnMut(&Row) -> Result<(), Error>) -> Result<(), Error> {
    let mut from = Span::ALL.start.to_vec();
    loop {
        if core.stopping.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        let page = core.table.read().page(Span::new(&from, &[]), Order::Ascending, MAX_PAGE / 4)?;
        for row in &page {
            visit(row)?;
        }
        match page.last() {
            Some((last, _)) => from = behind(last).to_vec(),
            None => return Ok(()),
        }
    }
}

/// Writes a snapshot, verifies it, and drops what it covers.
///
/// # Durability
/// The snapshot is read back and synced before it has its name, and its name is durable before anything is dropped.
pub(crate) fn take_snapshot(core: &Core) -> Result<(), Error> {
    let guard = core.maintenance.lock();
    let from = core.table.read().applied();
    if core.segments.lock().snapshot.is_some_and(|snapshot| snapshot.from == from) {
        return drop_covered(core);
    }
    let uncovered = core.segments.lock().uncovered;
    let name = snapshot::file_name(from);
    let (_, bytes) = place(&*core.disk, &name, 0, |file| {
        let write = Error::io("write", &*name);
        let result = (|| {
            let mut writer =
                Writer::new(Appender::new(file), from, &core.epochs).map_err(Error::io("write", &*name))?;
            every_row(core, |(key, value)| writer.row(key, Some(value)).map_err(Error::io("write", &*name)))?;
            Ok(writer)
        })();
        let until = core.table.read().applied();
        let bytes = result.and_then(|writer: Writer<_>| writer.finish(until).map_err(write))?;
        let tmp = format!("{name}{}", crate::files::TMP);
        let summary = snapshot::read(&mut FileReader::open(&*core.disk, &tmp)?, &tmp, |_| Ok(()))?;
        if (summary.from, summary.until, summary.bytes) != (from, until, bytes) {
            return Err(Error::damaged(tmp, 0, "the snapshot reads back as another one"));
        }
        Ok(bytes)
    })?;
    {
        let mut segments = core.segments.lock();
        segments.snapshot = Some(SnapshotInfo { from, bytes });
        segments.uncovered = segments.uncovered.saturating_sub(uncovered);
    }
    tracing::info!(from, bytes, "meta.snapshot.taken");
    let names = core.disk.list().map_err(Error::io("list", "the directory"))?;
    for older in names.iter().filter_map(|name| snapshot::parse_name(name)).filter(|other| *other < from) {
        let name = snapshot::file_name(older);
        core.disk.remove(&name).map_err(Error::io("remove", name))?;
    }
    let dropped = drop_covered(core);
    drop(guard);
    dropped
}

/// Drops the oldest segments as long as the snapshot covers them and their blobs were released. `maintenance` is held.
fn drop_covered(core: &Core) -> Result<(), Error> {
    loop {
        let Some(number) = core.segments.lock().droppable() else { return Ok(()) };
        let name = file_name(number);
        core.disk.remove(&name).map_err(Error::io("remove", &*name))?;
        // One after the other, so that no power cut can leave a gap in the numbers.
        core.disk.sync_dir().map_err(|error| Error::io("sync the directory of", &*name)(error).fatal())?;
        core.segments.lock().sealed.remove(&number);
        tracing::debug!(segment = number, "meta.journal.dropped");
    }
}

/// Visits the batches of the journal with a seq from `first` to `last`, in order. `maintenance` is held.
fn every_batch(
    core: &Core,
    first: u64,
    last: u64,
    mut visit: impl FnMut(u64, crate::batch::Located) -> Result<(), Error>,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let (sealed, current) = {
        let segments = core.segments.lock();
        (segments.sealed.clone(), segments.current)
    };
    for number in sealed.keys().copied().chain([current]) {
        if sealed.get(&number).is_some_and(|info| info.last_seq < first) {
            continue;
        }
        let name = file_name(number);
        let segment = Segment::new(number, read_all(&*core.disk, &name)?)?;
        report.segments += 1;
        let end = segment.frames(|frame, batch| {
            // Behind `last` the writer may be at work.
            if frame.seq < first || frame.seq > last {
                return Ok(());
            }
            report.frames += 1;
            for blob in &batch.blobs {
                if !blob.at.verifies(&blob.bytes) {
                    return Err(Error::damaged(&*name, u64::from(blob.at.offset), "a blob does not match its check"));
                }
                report.blobs += 1;
            }
            visit(frame.seq, batch)
        })?;
        let due = sealed.get(&number).map_or(last, |info| info.last_seq);
        if end.seq <= due.min(last) {
            return Err(Error::damaged(name, end.offset as u64, "a durable frame does not match its hash"));
        }
    }
    Ok(report)
}

/// Writes everything, whole at the seq that it gives.
pub(crate) fn export(core: &Core, to: &mut dyn Write) -> Result<u64, Error> {
    let _guard = core.maintenance.lock();
    let from = core.table.read().applied();
    let wrote = || Error::io("write", "the export");
    let mut writer = Writer::new(to, from, &core.epochs).map_err(wrote())?;
    every_row(core, |(key, value)| writer.row(key, Some(value)).map_err(wrote()))?;
    let until = core.table.read().applied();
    every_batch(core, 0, until, |seq, batch| {
        if seq > from {
            for (key, value) in &batch.operations {
                writer.row(key, value.as_deref()).map_err(wrote())?;
            }
        }
        batch.blobs.iter().try_for_each(|blob| writer.blob(blob).map_err(wrote()))
    })?;
    writer.finish(until).map_err(wrote())?;
    Ok(until)
}

/// Reads and checks everything.
pub(crate) fn verify(core: &Core) -> Result<Report, Error> {
    let _guard = core.maintenance.lock();
    let applied = core.table.read().applied();
    let mut report = every_batch(core, 0, applied, |_, _| Ok(()))?;
    let snapshot = core.segments.lock().snapshot;
    if let Some(snapshot) = snapshot {
        let name = snapshot::file_name(snapshot.from);
        snapshot::read(&mut FileReader::open(&*core.disk, &name)?, &name, |_| Ok(()))?;
        report.snapshots = 1;
    }
    while !core.table.read().is_settled() {
        core.table.write().spill(SLICE)?;
    }
    core.table.write().begin_audit();
    loop {
        let mut table = core.table.write();
        match table.audit_page()? {
            Audited::More => {}
            Audited::Done(false) => return Err(Error::damaged("index", 0, "the rows are not what was applied")),
            Audited::Done(true) => {
                report.rows = table.mark().rows;
                report.applied = table.applied();
                return Ok(report);
            }
        }
    }
}

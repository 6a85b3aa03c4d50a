//! Opening a store: what the files say, in which order they are believed, and what is rebuilt.
//!
//! The journal and the newest snapshot are the truth. Every segment that is there is read and verified at each opening
//! (their number is bounded by snapshots and by the mover of blobs). The index is believed only with a clean marker of this
//! boot whose mark it has; otherwise it is moved aside and a new one is filled.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::batch::Located;
use crate::core::{SegmentInfo, SnapshotInfo};
use crate::disk::Disk;
use crate::error::Error;
use crate::files::{FileReader, TMP, make_segment, read_all};
use crate::frame::{End, Header, Segment, file_name, parse_name};
use crate::index::{BTree, Index, SledTree, Table};
use crate::marker::{self, Marker};
use crate::options::{IndexKind, Options};
use crate::snapshot::{self, Record, Summary};
use crate::store::Epoch;

pub(crate) const INDEX: &str = "index";
const ASIDE: &str = "index.aside-";
/// Stands in the first segment of a store, which holds no frame.
pub(crate) const NO_EPOCH: u64 = 0;
/// The most batches that are applied to the index at once while the journal is replayed.
const REPLAY_BATCHES: usize = 1024;
/// About the most bytes of them.
const REPLAY_BYTES: usize = 4 << 20;

/// What was found.
pub(crate) struct Recovered {
    pub(crate) table: Table,
    pub(crate) sealed: BTreeMap<u64, SegmentInfo>,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) last_seq: u64,
    pub(crate) last_segment: u64,
    pub(crate) snapshot: Option<SnapshotInfo>,
    pub(crate) uncovered: u64,
}

/// Recovers a store and leaves its last segment cut to what is valid, and durable.
pub(crate) fn recover(disk: &dyn Disk, options: &Options) -> Result<Recovered, Error> {
    let names = disk.list().map_err(Error::io("list", "the directory"))?;
    for tmp in names.iter().filter(|name| name.ends_with(TMP)) {
        disk.remove_tree(tmp).map_err(Error::io("remove", &**tmp))?;
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_name(name)).collect();
    numbers.sort_unstable();
    let mut snapshots: Vec<u64> = names.iter().filter_map(|name| snapshot::parse_name(name)).collect();
    snapshots.sort_unstable();
    let marked = names.iter().any(|name| name == marker::NAME);
    let indexed = names.iter().any(|name| name == INDEX);
    if numbers.is_empty() {
        if marked || indexed || !snapshots.is_empty() {
            return Err(Error::Missing {
                file: file_name(1),
                reason: "there are other files of a store, but no journal",
            });
        }
        // A journal exists before anything else does, so that its loss is told from a new store. It is no opening yet.
        make_segment(disk, Header { epoch: NO_EPOCH, ..new_header(disk, 1, 1)? }, 0)?;
        numbers.push(1);
    }
    for pair in numbers.windows(2) {
        if pair[0] + 1 != pair[1] {
            return Err(Error::Missing { file: file_name(pair[0] + 1), reason: "later journal segments follow on it" });
        }
    }

    let summary = newest_snapshot(disk, &snapshots)?;
    let marker = if marked { Marker::take(disk)? } else { None };
    let mut table = open_index(disk, options, &names, marker.as_ref(), summary.as_ref())?;
    let mut found = read_journal(disk, &numbers, summary.as_ref(), &mut table)?;

    let wanted = summary.as_ref().map_or(0, |s| s.until).max(marker.map_or(0, |m| m.mark.applied));
    if found.last_seq < wanted || found.last_seq < table.applied() {
        return Err(Error::damaged(
            file_name(found.last_segment),
            found.end.offset as u64,
            "the journal ends before a seq that was durable",
        ));
    }
    let excess = found.epochs.len().saturating_sub(crate::MAX_EPOCHS - 1);
    found.epochs.drain(..excess);
    Ok(Recovered {
        table,
        sealed: found.sealed,
        epochs: found.epochs,
        last_seq: found.last_seq,
        last_segment: found.last_segment,
        snapshot: summary.map(|s| SnapshotInfo { from: s.from, bytes: s.bytes }),
        uncovered: found.uncovered,
    })
}

/// Makes the header of a new opening's segment, with a random epoch.
pub(crate) fn new_header(disk: &dyn Disk, segment: u64, first_seq: u64) -> Result<Header, Error> {
    let random = || disk.random().map_err(Error::io("read random bytes for", "the journal"));
    let (salt, wide) = (random()?, random()?);
    let mut epoch = [0; 8];
    epoch.copy_from_slice(&wide[..8]);
    Ok(Header { segment, first_seq, epoch: u64::from_be_bytes(epoch), salt })
}

/// Verifies the newest snapshot; one that is damaged gives way to an older one, which needs more of the journal.
fn newest_snapshot(disk: &dyn Disk, snapshots: &[u64]) -> Result<Option<Summary>, Error> {
    let mut first_error = None;
    for from in snapshots.iter().rev() {
        let name = snapshot::file_name(*from);
        match FileReader::open(disk, &name).and_then(|mut file| snapshot::read(&mut file, &name, |_| Ok(()))) {
            Ok(summary) if summary.from == *from => return Ok(Some(summary)),
            Ok(_) => {
                first_error.get_or_insert(Error::damaged(name, 16, "the snapshot has another seq than its name"));
            }
            Err(error @ Error::Damaged { .. }) => {
                tracing::error!(%error, "meta.snapshot.damaged");
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => Ok(None),
    }
}

fn open_index(
    disk: &dyn Disk,
    options: &Options,
    names: &[String],
    marker: Option<&Marker>,
    summary: Option<&Summary>,
) -> Result<Table, Error> {
    if options.index == IndexKind::Sled && names.iter().any(|name| name == INDEX) {
        match believe(disk, options, marker) {
            Ok(table) => return Ok(table),
            Err(reason) => {
                tracing::warn!(%reason, "meta.index.aside");
                move_aside(disk, names)?;
            }
        }
    }
    let index: Box<dyn Index> = match options.index {
        IndexKind::Sled => Box::new(SledTree::open(&index_path(disk)?, options.cache)?),
        IndexKind::BTree => Box::<BTree>::default(),
    };
    let mut table = Table::new(index, options.recent_bytes)?;
    if let Some(summary) = summary {
        let name = snapshot::file_name(summary.from);
        let mut file = FileReader::open(disk, &name)?;
        snapshot::read(&mut file, &name, |record| match record {
            Record::Row(key, value) => table.set(&key, value.as_deref()),
            Record::Blob(_) => Ok(()),
        })?;
        table.finish(summary.from)?;
    }
    if options.index == IndexKind::Sled {
        prune_aside(disk, options.keep_aside)?;
    }
    Ok(table)
}

fn index_path(disk: &dyn Disk) -> Result<PathBuf, Error> {
    let none = || std::io::Error::new(std::io::ErrorKind::Unsupported, "sled needs a real directory");
    disk.path_of(INDEX).ok_or_else(none).map_err(Error::io("open", INDEX))
}

/// Opens the index that is there if there is every reason to believe it; otherwise says which reason is missing.
fn believe(disk: &dyn Disk, options: &Options, marker: Option<&Marker>) -> Result<Table, String> {
    let marker = marker.ok_or("it was not closed cleanly")?;
    if disk.boot_id().map_err(|error| error.to_string())? != marker.boot {
        return Err("it was closed in another boot".to_owned());
    }
    let open = || -> Result<(Table, bool), Error> {
        let mut table = Table::new(Box::new(SledTree::open(&index_path(disk)?, options.cache)?), options.recent_bytes)?;
        let good = table.mark() == marker.mark && (!options.verify_index || table.adds_up()?);
        Ok((table, good))
    };
    // sled asserts where it reads nonsense; that is no reason for the store not to open.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)) {
        Err(_) => Err("it panics".to_owned()),
        Ok(Ok((table, true))) => Ok(table),
        Ok(Ok((mut table, false))) => {
            let closed = table.close().err().map(|error| format!(" ({error})")).unwrap_or_default();
            Err(format!("it does not verify{closed}"))
        }
        Ok(Err(error)) => Err(format!("it does not open: {error}")),
    }
}

fn asides(names: &[String]) -> Vec<u64> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.strip_prefix(ASIDE)?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

fn move_aside(disk: &dyn Disk, names: &[String]) -> Result<(), Error> {
    let number = asides(names).last().map_or(1, |last| last + 1);
    disk.rename(INDEX, &format!("{ASIDE}{number}")).map_err(Error::io("move aside", INDEX))?;
    disk.sync_dir().map_err(Error::io("sync the directory of", INDEX))
}

/// Removes the oldest of the indexes that were moved aside. A new one is filled by then; they are no truth.
fn prune_aside(disk: &dyn Disk, keep: usize) -> Result<(), Error> {
    let names = disk.list().map_err(Error::io("list", "the directory"))?;
    let numbers = asides(&names);
    for number in &numbers[..numbers.len().saturating_sub(keep)] {
        let name = format!("{ASIDE}{number}");
        tracing::info!(name, "meta.index.aside.pruned");
        disk.remove_tree(&name).map_err(Error::io("remove", name))?;
    }
    Ok(())
}

struct Journal {
    sealed: BTreeMap<u64, SegmentInfo>,
    epochs: Vec<Epoch>,
    last_seq: u64,
    last_segment: u64,
    end: End,
    uncovered: u64,
}

fn read_journal(
    disk: &dyn Disk,
    numbers: &[u64],
    summary: Option<&Summary>,
    table: &mut Table,
) -> Result<Journal, Error> {
    let covered = summary.map_or(0, |s| s.from);
    let mut journal = Journal {
        sealed: BTreeMap::new(),
        epochs: summary.map(|s| s.epochs.clone()).unwrap_or_default(),
        last_seq: 0,
        last_segment: 0,
        end: End::default(),
        uncovered: 0,
    };
    let mut replay = Replay::default();
    for (index, number) in numbers.iter().enumerate() {
        let name = file_name(*number);
        let segment = Segment::new(*number, read_all(disk, &name)?)?;
        let header = segment.header;
        if index == 0 && header.first_seq > covered + 1 {
            return Err(Error::Missing { file: file_name(number - 1), reason: "no snapshot covers what it held" });
        }
        if index > 0 && header.first_seq != journal.end.seq {
            let before = file_name(journal.last_segment);
            return Err(Error::damaged(
                before,
                journal.end.offset as u64,
                "frames before the next segment are missing",
            ));
        }
        if header.epoch != NO_EPOCH && journal.epochs.iter().all(|epoch| epoch.id != header.epoch) {
            journal.epochs.push(Epoch { id: header.epoch, first_seq: header.first_seq });
        }
        let mut blobs = 0;
        let end = segment.frames(|frame, batch| {
            blobs += batch.blobs.len() as u64;
            if frame.seq > covered {
                journal.uncovered += frame.payload.len() as u64;
            }
            if frame.seq > table.applied() { replay.push(table, frame.seq, batch) } else { Ok(()) }
        })?;
        if index + 1 == numbers.len() {
            segment.check_tail(end)?;
            settle(disk, &name, &segment, end)?;
        }
        let info = SegmentInfo { first_seq: header.first_seq, last_seq: end.seq - 1, blobs, released: false };
        journal.sealed.insert(*number, info);
        journal.last_segment = *number;
        journal.end = end;
        journal.last_seq = end.seq - 1;
    }
    replay.flush(table)?;
    Ok(journal)
}

/// Cuts the torn tail off the last segment, and makes durable what is left: a killed process may not have.
///
/// The last group is written again as it is. Its process may have ended because its sync failed, and then the pages count
/// as clean although the disk never got them: another sync alone would say nothing about them. Equal bytes over equal
/// bytes cannot tear.
fn settle(disk: &dyn Disk, name: &str, segment: &Segment, end: End) -> Result<(), Error> {
    let file = disk.open(name).map_err(Error::io("open", name))?;
    if segment.len() > end.offset as u64 {
        tracing::debug!(segment = name, offset = end.offset, "meta.journal.cut");
        file.set_len(end.offset as u64).map_err(Error::io("cut", name))?;
    }
    file.write_all_at(segment.between(end.group, end.offset), end.group as u64).map_err(Error::io("write", name))?;
    file.sync().map_err(Error::io("sync", name))
}

/// Batches that wait to be applied together.
#[derive(Default)]
struct Replay {
    batches: Vec<Located>,
    bytes: usize,
    last: u64,
}

impl Replay {
    fn push(&mut self, table: &mut Table, seq: u64, mut batch: Located) -> Result<(), Error> {
        batch.blobs.clear();
        self.bytes += batch
            .operations
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, |v| v.len()))
            .sum::<usize>();
        self.batches.push(batch);
        self.last = seq;
        if self.batches.len() >= REPLAY_BATCHES || self.bytes >= REPLAY_BYTES { self.flush(table) } else { Ok(()) }
    }

    fn flush(&mut self, table: &mut Table) -> Result<(), Error> {
        if !self.batches.is_empty() {
            table.apply(self.batches.iter(), self.last)?;
            if table.is_full() {
                table.spill(usize::MAX)?;
            }
            self.batches.clear();
            self.bytes = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Batch, Disk, Journaled, MetaStore, Options, SimDisk, snapshot};

    #[test]
    fn a_snapshot_that_holds_only_some_later_changes_is_made_whole_from_its_first_seq_on() {
        let disk = SimDisk::new(1);
        let open = || Journaled::open_on(Arc::new(disk.clone()), Options::in_memory_index()).unwrap();
        let store = open();
        for n in 1..=6_u8 {
            let mut batch = Batch::new();
            batch.put("k", vec![n]).put(vec![b'n', n], vec![n]);
            store.submit(batch).unwrap().wait().unwrap();
        }
        let rows = store.range(b"", b"", 100).unwrap();
        let mut bytes = Vec::new();
        let mut writer = snapshot::Writer::new(&mut bytes, 3, &store.epochs()).unwrap();
        drop(store);
        // Written while 4 to 6 were committed: it saw `k` before them and `n6` after them.
        for (key, value) in [(&b"k"[..], 3), (b"n\x01", 1), (b"n\x02", 2), (b"n\x03", 3), (b"n\x06", 6)] {
            writer.row(key, Some(&[value])).unwrap();
        }
        writer.finish(6).unwrap();
        let file = disk.create(&snapshot::file_name(3), 0).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        assert_eq!(open().range(b"", b"", 100).unwrap(), rows);
    }
}

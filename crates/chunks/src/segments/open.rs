//! Opening a store: which segments there are, what they hold, and where to go on.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    OpenReport, Options, Shared,
    disk::{Disk, DiskFile},
    header::{self, DATA_START, Found, Key},
    index::{Index, LAST_SEGMENT, Place, position},
    log::{Log, Writer},
    read::{Files, read_side},
    record::{LONGEST, Spot},
    scan::{self, Scanned},
    side::{Side, What},
};
use crate::{Error, Position};

/// How many damaged chunks a report names.
pub(super) const NAMED_DAMAGE: usize = 10_000;

/// Opens the store and makes durable what it finds.
pub(super) fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Shared, Position, OpenReport), Error> {
    let names: BTreeSet<String> = disk.list()?.into_iter().collect();
    for name in names.iter().filter(|name| name.ends_with(".index.new")) {
        disk.remove(name)?;
    }
    let mut opening = Opening {
        index: Index::new(disk.random()?),
        files: Files::new(options.open_files),
        report: OpenReport::default(),
        disk,
    };
    let numbers: Vec<u32> = names.iter().filter_map(|name| header::parse_segment_name(name)).collect();
    let last = numbers.last().copied().unwrap_or(0);
    // Numbers of segments that were lost are not used again, nor those that only a side index still has.
    let next = names.iter().filter_map(|name| header::number_of(name)).max().unwrap_or(0).min(LAST_SEGMENT) + 1;
    let mut open_end = None;
    for number in numbers {
        if number > LAST_SEGMENT {
            continue;
        }
        let sealed = names.contains(&header::side_name(number));
        if let Some(unsealed) = opening.segment(number, sealed)? {
            let room = unsealed.side.end.saturating_add(LONGEST) <= options.segment_bytes;
            if number == last && next == last + 1 && room {
                open_end = Some(unsealed);
            } else {
                opening.seal(number, &unsealed)?;
            }
        }
    }
    let writer = match open_end {
        Some(unsealed) => opening.go_on(last, unsealed)?,
        None => opening.begin(next)?,
    };
    opening.disk.sync()?;
    let Opening { disk, index, files, report } = opening;
    log(&report);
    let durable = position(writer.number, writer.side.end);
    Ok((Shared { disk, options, index, files, log: Log::new(writer) }, durable, report))
}

fn log(report: &OpenReport) {
    let OpenReport { segments, records, indexes_rebuilt, skipped_bytes, torn_bytes, .. } = *report;
    tracing::info!(segments, records, indexes_rebuilt, torn_bytes, "chunks.opened");
    let (lost_segments, damaged) = (report.lost_segments.len(), report.damaged.len());
    if skipped_bytes > 0 || lost_segments > 0 || damaged > 0 {
        tracing::error!(skipped_bytes, lost_segments, damaged, "chunks.opened_with_damage");
    }
}

struct Opening {
    disk: Arc<dyn Disk>,
    index: Index,
    files: Files,
    report: OpenReport,
}

struct Unsealed {
    file: Arc<dyn DiskFile>,
    key: Key,
    side: Side,
}

impl Opening {
    /// Reads one segment into the index; returns it if it has no side index that can be believed.
    fn segment(&mut self, number: u32, sealed: bool) -> Result<Option<Unsealed>, Error> {
        let file = self.disk.open(&header::segment_name(number))?;
        let key = match header::read(file.as_ref(), number)? {
            Found::Header(key) => key,
            Found::Nothing if !sealed && is_blank(file.as_ref())? => {
                self.disk.remove(&header::segment_name(number))?;
                return Ok(None);
            }
            Found::Nothing | Found::Damaged => {
                self.set_aside(number)?;
                return Ok(None);
            }
        };
        let side = if sealed { read_side(self.disk.as_ref(), number)? } else { None };
        self.report.segments += 1;
        if let Some(side) = side {
            self.files.add(number, key, side.end, true);
            self.apply(number, &side);
            return Ok(None);
        }
        let Scanned { side, skipped, damaged, torn } = scan::scan(file.as_ref(), number, &key)?;
        self.report.indexes_rebuilt += u64::from(sealed);
        self.report.skipped_bytes += skipped;
        self.report.torn_bytes += torn;
        let room = NAMED_DAMAGE.saturating_sub(self.report.damaged.len());
        self.report.damaged.extend(damaged.into_iter().take(room));
        self.files.add(number, key, side.end, false);
        self.apply(number, &side);
        Ok(Some(Unsealed { file, key, side }))
    }

    /// Keeps a segment whose key is lost out of the way. Its bytes stay for those who want to look.
    fn set_aside(&mut self, number: u32) -> Result<(), Error> {
        let name = header::segment_name(number);
        self.disk.rename(&name, &format!("{name}.lost"))?;
        self.report.lost_segments.push(number);
        Ok(())
    }

    /// Enters the records of a segment into the index, in their order; later ones win.
    fn apply(&mut self, number: u32, side: &Side) {
        for entry in &side.entries {
            self.report.records += 1;
            let key = self.index.key(entry.root, entry.digest);
            match entry.what {
                What::Chunk { .. } => {
                    let place = Place { spot: Spot { segment: number, offset: entry.offset }, span: entry.span() };
                    self.files.add_live(place);
                    if let Some(superseded) = self.index.insert(key, place) {
                        self.files.drop_superseded(superseded);
                    }
                }
                What::Void(spot) => {
                    if let Some(place) = self.index.get(key).filter(|place| place.spot == spot) {
                        self.index.remove(key);
                        self.files.drop_superseded(place);
                    }
                }
            }
        }
    }

    /// Syncs a segment that will not be appended to, and writes its side index.
    fn seal(&mut self, number: u32, unsealed: &Unsealed) -> Result<(), Error> {
        unsealed.file.sync()?;
        write_side(self.disk.as_ref(), number, &unsealed.side)?;
        self.files.seal(number);
        Ok(())
    }

    /// Cuts what is torn from the open segment and goes on behind its last record.
    fn go_on(&mut self, number: u32, unsealed: Unsealed) -> Result<Writer, Error> {
        let Unsealed { file, key, side } = unsealed;
        // Cut, so that what is allocated again behind the end reads as zeros.
        file.set_len(u64::from(side.end))?;
        file.sync()?;
        Ok(self.writer(number, file, key, side))
    }

    /// Begins the next segment.
    fn begin(&mut self, number: u32) -> Result<Writer, Error> {
        if number > LAST_SEGMENT {
            return Err(Error::NoSpace);
        }
        let (file, key) = header::create(self.disk.as_ref(), number)?;
        file.sync()?;
        self.files.add(number, key, DATA_START, false);
        Ok(self.writer(number, file, key, Side { entries: Vec::new(), end: DATA_START }))
    }

    fn writer(&mut self, number: u32, file: Arc<dyn DiskFile>, key: Key, side: Side) -> Writer {
        self.files.keep(number, file.clone());
        let allocated = side.end;
        Writer { number, file, key, side, allocated, full: Vec::new(), new_file: false, unsynced: 0 }
    }
}

/// Writes a side index so that it is there whole or not at all.
pub(super) fn write_side(disk: &dyn Disk, number: u32, side: &Side) -> Result<(), Error> {
    let name = header::side_name(number);
    let new = format!("{name}.new");
    let file = disk.create(&new)?;
    file.write(&[&side.encode(number)], 0)?;
    file.sync()?;
    disk.rename(&new, &name)?;
    disk.sync()
}

/// Whether a file has nothing but zeros.
fn is_blank(file: &dyn DiskFile) -> Result<bool, Error> {
    let length = file.len()?;
    let mut piece = vec![0; 1024 * 1024];
    let mut at = 0;
    while at < length {
        let count = file.read(&mut piece, at)?;
        if count == 0 {
            break;
        }
        if piece[..count].iter().any(|&b| b != 0) {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

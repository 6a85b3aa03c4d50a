//! Giving back the room of what nobody needs: a sealed segment is rewritten without it.
//!
//! ```text
//! each record   condemned  -> out of the index, unless it was marked at the last moment
//!               in service -> read, verified, appended to the open segment, and served from there at once
//!               a mark (kind 2) of a segment that still exists -> appended again
//!               superseded -> nothing
//! flush         the copies and their segments are durable
//! unlink        the side index, then the segment; the directory is synced
//! ```
//!
//! # Crashes
//! Up to the unlinking the segment is as it was. After a crash its records and their copies are both there; the copy,
//! which comes later, is the one in service, as always, and what was condemned is back, for the next round. Between the
//! two unlinks the segment is one without side index: opening scans it.
//!
//! # Races
//! A record changes its place, or goes, under the log's lock as with every put; a question that marks and the decision
//! to drop exclude each other by the index's lock. So a question is answered with "absent", or keeps the chunk. Readers
//! that had the old place read on from the open file, or look up again when it is gone.

use std::{collections::BTreeMap, io};

use quics_types::{Digest, RootId};

use super::{
    Segments,
    header::{DATA_START, segment_name, side_name},
    index::Place,
    open::NAMED_DAMAGE,
    record::{ALIGN, Spot},
    side::{Entry, What},
};
use crate::{Condemned, Error, Marks, Position, Reclaimable, Rewritten};

impl Spot {
    pub(super) fn unit(self) -> u32 {
        self.offset / ALIGN
    }
}

impl Segments {
    pub(super) fn cover(&self) -> Marks {
        let sealed = self.segments().into_iter().filter(|segment| segment.sealed);
        let mut records: BTreeMap<u32, Vec<u32>> = sealed.map(|segment| (segment.number, Vec::new())).collect();
        self.shared.index.each(&mut |_, place| {
            if let Some(units) = records.get_mut(&place.spot.segment) {
                units.push(place.spot.unit());
            }
        });
        Marks::new(records)
    }

    pub(super) fn cover_root(&self, root: RootId) -> Result<Marks, Error> {
        let mut records = BTreeMap::new();
        for segment in self.segments().into_iter().filter(|segment| segment.sealed) {
            let mut units = Vec::new();
            self.records_of(segment.number, root, |place, in_service| {
                if in_service {
                    units.push(place.spot.unit());
                }
            })?;
            records.insert(segment.number, units);
        }
        Ok(Marks::new(records))
    }

    pub(super) fn holding(&self, root: RootId, condemned: &Condemned) -> Result<Vec<u32>, Error> {
        let mut found = Vec::new();
        // The last one is appended to.
        let ended = self.segments().into_iter().rev().skip(1).rev();
        for segment in ended {
            let mut holds = false;
            self.records_of(segment.number, root, |place, in_service| {
                holds |= !in_service || condemned.has(segment.number, place.spot.unit());
            })?;
            if holds {
                found.push(segment.number);
            }
        }
        Ok(found)
    }

    /// Visits the chunks of a root in a segment, each with whether it is in service there.
    fn records_of(&self, number: u32, root: RootId, mut visit: impl FnMut(Place, bool)) -> Result<(), Error> {
        for entry in self.shared.entries(number)? {
            if entry.root == root && matches!(entry.what, What::Chunk { .. }) {
                let place = Place { spot: Spot { segment: number, offset: entry.offset }, span: entry.span() };
                visit(place, self.shared.index.get(self.shared.index.key(root, entry.digest)) == Some(place));
            }
        }
        Ok(())
    }

    pub(super) fn find_with(&self, root: RootId, digest: Digest, seen: impl FnOnce(Spot)) -> Option<Position> {
        let key = self.shared.index.key(root, digest);
        self.shared.index.get_with(key, |place| seen(place.spot)).map(|place| place.position())
    }

    pub(super) fn worth(&self, condemned: &Condemned) -> Vec<Reclaimable> {
        let mut kept = BTreeMap::<u32, u64>::new();
        self.shared.index.each(&mut |_, place| {
            if !condemned.has(place.spot.segment, place.spot.unit()) {
                *kept.entry(place.spot.segment).or_default() += u64::from(place.span);
            }
        });
        let worth = |segment: super::SegmentInfo| {
            let kept_bytes = kept.get(&segment.number).copied().unwrap_or(0);
            let records = segment.bytes.saturating_sub(DATA_START.into());
            let unneeded_bytes = records.saturating_sub(kept_bytes);
            Reclaimable { number: segment.number, bytes: segment.bytes, kept_bytes, unneeded_bytes }
        };
        self.segments().into_iter().filter(|segment| segment.sealed).map(worth).collect()
    }

    pub(super) fn rewrite_segment(&self, number: u32, condemned: &Condemned) -> Result<Option<Rewritten>, Error> {
        let _one_at_a_time = self.rewriting.lock();
        self.syncer.check()?;
        let Some(bytes) = self.shared.files.sealed(number) else { return Ok(None) };
        let mut done = Rewritten { freed_bytes: bytes, ..Rewritten::default() };
        for entry in self.shared.entries(number)? {
            match entry.what {
                What::Chunk { .. } => self.rewrite_chunk(number, &entry, condemned, &mut done)?,
                What::Void(spot) if spot.segment != number && self.shared.files.has(spot.segment) => {
                    let appended = self.shared.mark_again(entry.root, entry.digest, spot);
                    self.pace(appended.inspect_err(|e| self.syncer.note(e))?);
                }
                What::Void(_) => {}
            }
        }
        self.give_up(number, &mut done);
        self.syncer.wait(self.shared.log.end())?;
        self.unlink(number)?;
        let Rewritten { copied, dropped, damaged_count: damaged, .. } = done;
        tracing::info!(segment = number, bytes, copied, dropped, damaged, "chunks.rewritten");
        Ok(Some(done))
    }

    /// Lets the syncer begin once there is enough for it.
    fn pace(&self, unsynced: u64) {
        if unsynced >= u64::from(self.shared.options.sync_bytes) {
            self.syncer.request(self.shared.log.end());
        }
    }

    fn rewrite_chunk(
        &self,
        number: u32,
        entry: &Entry,
        condemned: &Condemned,
        done: &mut Rewritten,
    ) -> Result<(), Error> {
        let Entry { root, digest, offset, .. } = *entry;
        let place = Place { spot: Spot { segment: number, offset }, span: entry.span() };
        let key = self.shared.index.key(root, digest);
        if self.shared.index.get(key) != Some(place) {
            return Ok(());
        }
        if self.shared.drop_if(key, place, || condemned.has(number, place.spot.unit())) {
            done.dropped += 1;
            done.dropped_bytes += u64::from(place.span);
            return Ok(());
        }
        match self.shared.read(place, root, digest) {
            Ok(Some(chunk)) => {
                let moved = self.shared.relocate(key, place, root, &chunk).inspect_err(|e| self.syncer.note(e))?;
                if let Some(unsynced) = moved {
                    done.copied += 1;
                    done.copied_bytes += u64::from(place.span);
                    self.pace(unsynced);
                }
            }
            // Another record than the side index says: this one is lost.
            Ok(None) | Err(Error::Damaged { .. }) => {
                tracing::error!(%root, %digest, segment = number, offset, "chunks.damaged");
                let taken = self.take_out(key, place, root, digest).unwrap_or_else(|e| {
                    // It is out of service, and its segment goes in any case.
                    tracing::error!(error = %e, "chunks.quarantine_not_recorded");
                    true
                });
                if taken {
                    done.damaged_count += 1;
                    if done.damaged.len() < NAMED_DAMAGE {
                        done.damaged.push((root, digest));
                    }
                }
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Takes out what the index still has in a segment: records that are listed nowhere any more, because the side index
    /// and their headers are damaged. Their names are lost.
    fn give_up(&self, number: u32, done: &mut Rewritten) {
        let mut left = Vec::new();
        self.shared.index.each(&mut |key, place| {
            if place.spot.segment == number {
                left.push((key, place));
            }
        });
        for (key, place) in left {
            if self.shared.drop_if(key, place, || true) {
                tracing::error!(segment = number, offset = place.spot.offset, "chunks.record_lost");
                self.shared.files.count_damaged();
                done.damaged_count += 1;
            }
        }
    }

    fn unlink(&self, number: u32) -> Result<(), Error> {
        // Forgotten first, so that whoever does not find a file can tell why.
        let Some(segment) = self.shared.files.forget(number) else { return Ok(()) };
        if let Err(e) = self.remove_files(number) {
            self.shared.files.remember(number, segment);
            return Err(e);
        }
        // A later sync that succeeds would prove nothing about the segments that were made since.
        self.shared.disk.sync().inspect_err(|e| self.syncer.note(e))
    }

    fn remove_files(&self, number: u32) -> Result<(), Error> {
        let disk = self.shared.disk.as_ref();
        // The side index first: one without its segment would stay for ever.
        match disk.remove(&side_name(number)) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        disk.remove(&segment_name(number))
    }
}

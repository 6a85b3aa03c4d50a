//! The batches that were submitted and are not durable yet, each with its seq and its place in the journal.
//!
//! Seqs and places are given when a batch is submitted, so that the rows of a batch can name its blobs, and a blob can be
//! read, before anything is written. The writer takes batches in order and cannot move them.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::batch::{Batch, BlobRef, Located};
use crate::error::Error;
use crate::frame::{FRAME_HEAD, HEADER_LEN, frame_len};
use crate::index::Table;
use crate::overlay::Overlay;
use crate::receipt::{Promise, Receipt};

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// A batch on its way.
pub(crate) struct Queued {
    pub(crate) seq: u64,
    pub(crate) place: Place,
    pub(crate) size: usize,
    pub(crate) batch: Located,
    pub(crate) promise: Promise,
}

/// Whether batches are taken.
#[derive(Clone)]
pub(crate) enum Phase {
    Running,
    Closing,
    Closed,
    Failed(Error),
}

/// Batches that wait, and those that the writer has in its hands.
pub(crate) struct Queue {
    pub(crate) overlay: Overlay,
    pub(crate) phase: Phase,
    waiting: VecDeque<Queued>,
    blobs: HashMap<(u64, u32), Bytes>,
    bytes: usize,
    next_seq: u64,
    place: Place,
    segment_size: u64,
    bound: usize,
}

impl Queue {
    pub(crate) fn new(next_seq: u64, place: Place, segment_size: u64, bound: usize) -> Self {
        Self {
            overlay: Overlay::default(),
            phase: Phase::Running,
            waiting: VecDeque::new(),
            blobs: HashMap::new(),
            bytes: 0,
            next_seq,
            place,
            segment_size,
            bound,
        }
    }

    /// Answers whether the store still works.
    pub(crate) fn health(&self) -> Result<(), Error> {
        match &self.phase {
            Phase::Running => Ok(()),
            Phase::Closing | Phase::Closed => Err(Error::Closed),
            Phase::Failed(error) => Err(error.clone()),
        }
    }

    /// Tells whether a waiter for room can go on: there is room for half a queue, or there will never be any.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes <= self.bound / 2 || !matches!(self.phase, Phase::Running)
    }

    /// Ends the segment that batches are given places in, unless it is empty, by an empty batch in the next one.
    pub(crate) fn seal(&mut self, table: &Table) -> Result<Receipt, Error> {
        let before = self.place;
        if before.offset > HEADER_LEN as u64 {
            self.place = Place { segment: before.segment + 1, offset: HEADER_LEN as u64 };
        }
        self.admit(table, Batch::new()).inspect_err(|_| self.place = before)
    }

    /// Judges a batch that was checked, and gives it its seq and its place.
    pub(crate) fn admit(&mut self, table: &Table, batch: Batch) -> Result<Receipt, Error> {
        self.health()?;
        let size = frame_len(batch.encoded_len());
        // An empty queue takes a batch of any legal size.
        if self.bytes > 0 && self.bytes + size > self.bound {
            return Err(Error::Busy);
        }
        self.overlay.judge(table, &batch)?;
        let empty = self.place.offset <= HEADER_LEN as u64;
        if !empty && self.place.offset + size as u64 > self.segment_size {
            self.place = Place { segment: self.place.segment + 1, offset: HEADER_LEN as u64 };
        }
        let place = self.place;
        self.place.offset += size as u64;
        let batch = batch.locate(place.segment, place.offset + FRAME_HEAD as u64);
        let seq = self.next_seq;
        self.next_seq += 1;
        self.bytes += size;
        self.overlay.stage(seq, &batch);
        for blob in &batch.blobs {
            self.blobs.insert((blob.at.segment, blob.at.offset), blob.bytes.clone());
        }
        let (promise, receipt) = Receipt::new(seq, batch.blobs.iter().map(|blob| blob.at).collect());
        self.waiting.push_back(Queued { seq, place, size, batch, promise });
        Ok(receipt)
    }

    /// Gives the bytes of a queued blob.
    pub(crate) fn blob(&self, at: BlobRef) -> Option<Bytes> {
        self.blobs.get(&(at.segment, at.offset)).filter(|bytes| at.verifies(bytes)).cloned()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the next batches: of one segment, at most about `bytes` and at most `count`, but at least one if there is one.
    pub(crate) fn take(&mut self, bytes: usize, count: usize) -> Vec<Queued> {
        let mut group: Vec<Queued> = Vec::new();
        let mut taken = 0;
        while let Some(next) = self.waiting.front() {
            let fits = group.len() < count && taken + next.size <= bytes;
            if group.first().is_some_and(|first| first.place.segment != next.place.segment || !fits) {
                break;
            }
            taken += next.size;
            group.extend(self.waiting.pop_front());
        }
        group
    }

    /// Forgets batches that are durable and in the index.
    pub(crate) fn retire(&mut self, group: &[Queued]) {
        for queued in group {
            self.overlay.retire(queued.seq, &queued.batch);
            for blob in &queued.batch.blobs {
                self.blobs.remove(&(blob.at.segment, blob.at.offset));
            }
            self.bytes -= queued.size;
        }
    }

    /// Takes back everything that is queued, as if it had never been submitted; the next batch follows `durable` at `place`.
    pub(crate) fn take_back(&mut self, durable: u64, place: Place) -> Vec<Queued> {
        self.overlay.clear();
        self.blobs.clear();
        self.bytes = 0;
        self.next_seq = durable + 1;
        self.place = place;
        self.waiting.drain(..).collect()
    }
}

/// Answers every batch of a group alike. A receipt that nobody holds any more needs no answer.
pub(crate) fn answer(group: Vec<Queued>, answer: &Result<(), Error>) {
    for queued in group {
        drop(queued.promise.send(answer.clone()));
    }
}

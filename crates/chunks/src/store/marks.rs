//! Which records are still needed: what a walk over all references has reached.
//!
//! ```text
//! begin_marks ── walk, mark ──> Marks ── again, a grace period later ── walk, mark ──> condemn ──> Condemned ──> rewrite
//!                  ^ every question whether a chunk is there marks it too, until the sweep is over
//! ```
//!
//! A mark covers the records that were in service in sealed segments when it began, and a bit for each says whether the
//! walk has been there. Whatever it does not cover counts as marked: what is appended later, what lies in the open
//! segment, and a record that was moved. So a mistake of the store's can only keep too much.
//!
//! Two marks condemn, not one: between two walks everything that was about to be referenced when the first one passed
//! has become a reference that the second one finds, or was asked for and is marked by that.
//!
//! Marks live in memory only. Losing them costs a round and never data. They take 4 bytes and two bits for each record,
//! and two bits more for the second mark: 45 MB for ten million records. (One bit for every 64 bytes of a segment would
//! need no list of records, but 2 GB for each terabyte.)

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What the walks over all references have reached so far.
///
/// It is begun by [`ChunkStore::begin_marks`](crate::ChunkStore::begin_marks) and filled by
/// [`ChunkStore::mark`](crate::ChunkStore::mark), by several threads at once. Clones share their bits. A mark whose walk
/// did not come to its end is worth nothing and has to be dropped.
#[derive(Clone)]
pub struct Marks {
    cover: Arc<Cover>,
    now: Arc<Round>,
    earlier: Option<Arc<Round>>,
}

/// The records that two marks, or one, have not reached.
///
/// It looks at the marks whenever it is asked, so that what is marked during the sweep is condemned no longer.
#[derive(Clone)]
pub struct Condemned {
    marks: Marks,
}

/// The covered records by segment, numbered throughout.
struct Cover {
    segments: BTreeMap<u32, Covered>,
    records: usize,
}

struct Covered {
    /// The number of its first record.
    first: usize,
    /// Where its records stand, in order.
    units: Box<[u32]>,
}

struct Round {
    marked: Bits,
    walked: Bits,
}

struct Bits(Box<[AtomicU64]>);

impl Marks {
    /// Covers records, given by segment as their places in it, which may be in any unit and order.
    pub(crate) fn new(records: BTreeMap<u32, Vec<u32>>) -> Self {
        let mut count = 0;
        let mut cover = |(number, mut units): (u32, Vec<u32>)| {
            units.sort_unstable();
            let first = count;
            count += units.len();
            (number, Covered { first, units: units.into_boxed_slice() })
        };
        let segments = records.into_iter().map(&mut cover).collect();
        let cover = Arc::new(Cover { segments, records: count });
        Self { now: Arc::new(Round::new(count)), cover, earlier: None }
    }

    /// Begins the next mark, which covers the same records; this one has come to its end.
    ///
    /// What is marked in this one from now on counts as well, so whoever still has it may go on with it.
    pub fn again(&self) -> Self {
        let now = Arc::new(Round::new(self.cover.records));
        Self { cover: self.cover.clone(), now, earlier: Some(self.now.clone()) }
    }

    /// What neither this mark nor the one before it has reached; both have come to their end. `None` for a first mark,
    /// which condemns nothing.
    pub fn condemn(&self) -> Option<Condemned> {
        self.earlier.as_ref().map(|_| Condemned { marks: self.clone() })
    }

    /// As [`Marks::condemn`], by this mark alone.
    ///
    /// Only for who knows that whatever was asked for before the mark began had become a reference, or was given up,
    /// before its walk began.
    pub fn condemn_at_once(&self) -> Condemned {
        Condemned { marks: self.clone() }
    }

    /// How many records it covers.
    pub fn covered(&self) -> u64 {
        self.cover.records as u64
    }

    /// How many of the covered records it has reached.
    pub fn marked(&self) -> u64 {
        self.now.marked.count()
    }

    pub(crate) fn set(&self, segment: u32, unit: u32) {
        if let Some(record) = self.cover.record(segment, unit) {
            self.now.marked.set(record);
        }
    }

    pub(crate) fn set_walked(&self, segment: u32, unit: u32) {
        if let Some(record) = self.cover.record(segment, unit) {
            self.now.marked.set(record);
            self.now.walked.set(record);
        }
    }

    /// False for what is not covered: that is walked each time.
    pub(crate) fn is_walked(&self, segment: u32, unit: u32) -> bool {
        self.cover.record(segment, unit).is_some_and(|record| self.now.walked.get(record))
    }
}

impl Condemned {
    pub(crate) fn has(&self, segment: u32, unit: u32) -> bool {
        let Marks { cover, now, earlier } = &self.marks;
        let Some(record) = cover.record(segment, unit) else { return false };
        earlier.as_ref().is_none_or(|earlier| !earlier.marked.get(record)) && !now.marked.get(record)
    }
}

impl Cover {
    fn record(&self, segment: u32, unit: u32) -> Option<usize> {
        let covered = self.segments.get(&segment)?;
        covered.units.binary_search(&unit).ok().map(|at| covered.first + at)
    }
}

impl Round {
    fn new(records: usize) -> Self {
        Self { marked: Bits::new(records), walked: Bits::new(records) }
    }
}

// The store sets and asks for the same bit under one lock, so that no order is needed here.
impl Bits {
    fn new(count: usize) -> Self {
        Self((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn set(&self, at: usize) {
        if let Some(word) = self.0.get(at / 64) {
            word.fetch_or(1 << (at % 64), Ordering::Relaxed);
        }
    }

    fn get(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word.load(Ordering::Relaxed) & 1 << (at % 64) != 0)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.earlier.is_some();
        let mut out = f.debug_struct("Marks");
        out.field("covered", &self.covered()).field("marked", &self.marked()).field("second", &second).finish()
    }
}

impl fmt::Debug for Condemned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condemned").field(&self.marks).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn covering(records: &BTreeSet<(u32, u32)>) -> Marks {
        let mut by_segment = BTreeMap::<u32, Vec<u32>>::new();
        for &(segment, unit) in records.iter().rev() {
            by_segment.entry(segment).or_default().push(unit);
        }
        Marks::new(by_segment)
    }

    #[test]
    fn a_first_mark_condemns_nothing() {
        let marks = covering(&[(1, 5)].into());
        assert!(marks.condemn().is_none());
        assert!(marks.again().condemn().unwrap().has(1, 5));
        let at_once = marks.condemn_at_once();
        assert!(at_once.has(1, 5) && !at_once.has(1, 6));
        marks.set(1, 5);
        assert!(!at_once.has(1, 5));
    }

    #[test]
    fn what_is_marked_late_or_in_the_earlier_mark_is_condemned_no_longer() {
        let first = covering(&[(1, 5), (1, 6), (2, 5)].into());
        let second = first.again();
        let condemned = second.condemn().unwrap();
        assert!([(1, 5), (1, 6), (2, 5)].iter().all(|&(segment, unit)| condemned.has(segment, unit)));
        first.set(1, 5);
        second.clone().set(2, 5);
        assert_eq!([condemned.has(1, 5), condemned.has(1, 6), condemned.has(2, 5)], [false, true, false]);
        // A third mark forgets the first.
        assert!(second.again().condemn().unwrap().has(1, 5));
    }

    #[test]
    fn each_mark_walks_anew_and_a_mark_alone_is_no_walk() {
        let first = covering(&[(1, 5), (1, 6)].into());
        first.set(1, 5);
        first.set_walked(1, 6);
        first.set_walked(1, 7);
        assert_eq!([5, 6, 7].map(|unit| first.is_walked(1, unit)), [false, true, false]);
        assert_eq!((first.covered(), first.marked()), (2, 2));
        assert!(!first.again().is_walked(1, 6));
    }

    proptest! {
        #[test]
        fn condemned_is_what_is_covered_and_in_neither_mark(
            covered in prop::collection::btree_set((0u32..4, 0u32..200), 0..300),
            one in prop::collection::btree_set((0u32..4, 0u32..200), 0..300),
            two in prop::collection::btree_set((0u32..4, 0u32..200), 0..300),
        ) {
            let first = covering(&covered);
            one.iter().for_each(|&(segment, unit)| first.set(segment, unit));
            let second = first.again();
            two.iter().for_each(|&(segment, unit)| second.set(segment, unit));
            let condemned = second.condemn().unwrap();
            for at in (0..4).flat_map(|segment| (0..200).map(move |unit| (segment, unit))) {
                let expected = covered.contains(&at) && !one.contains(&at) && !two.contains(&at);
                prop_assert_eq!(condemned.has(at.0, at.1), expected);
            }
        }
    }
}

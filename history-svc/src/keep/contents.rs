//! Distinct contents, counted in bounded memory.
//!
//! All are counted up to a number of them; above it only those whose digest ends in so many zero bits, which are as good as
//! drawn by lot (a digest is BLAKE3's), and sums are multiplied: adaptive sampling (Wegman; Flajolet, "On adaptive
//! sampling", 1990). With a million contents in hand the error of a sum over equal sizes is about 0.1 %.

use std::collections::HashMap;
use std::hash::Hash;

use quics_types::{Digest, WallTime};

/// Contents in hand, at most: about 80 MB.
const MOST: usize = 1 << 20;

/// What is known of contents, each under a key: the digest, perhaps with what it is counted for.
#[derive(Debug)]
pub(crate) struct Contents<K, T> {
    most: usize,
    /// Bits that have to be zero.
    bits: u32,
    seen: HashMap<(K, u64), T>,
}

impl<K: Copy + Eq + Hash, T: Default> Contents<K, T> {
    pub(crate) fn new() -> Self {
        Self::with(MOST)
    }

    fn with(most: usize) -> Self {
        Self { most, bits: 0, seen: HashMap::new() }
    }

    /// What is known of a content; `None` if it is not one of those that are counted.
    pub(crate) fn of(&mut self, kind: K, content: &Digest) -> Option<&mut T> {
        let (first, _) = content.as_bytes().split_first_chunk::<8>()?;
        let number = u64::from_be_bytes(*first);
        if number.trailing_zeros() < self.bits {
            return None;
        }
        if self.seen.len() >= self.most && !self.seen.contains_key(&(kind, number)) {
            self.bits += 1;
            let bits = self.bits;
            self.seen.retain(|(_, number), _| number.trailing_zeros() >= bits);
            if number.trailing_zeros() < bits {
                return None;
            }
        }
        Some(self.seen.entry((kind, number)).or_default())
    }

    /// Everything that is counted.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&K, &T)> {
        self.seen.iter().map(|((kind, _), seen)| (kind, seen))
    }

    /// What a sum over those that are counted is over all.
    pub(crate) fn scaled(&self, sum: u64) -> u64 {
        sum.checked_shl(self.bits).filter(|scaled| scaled >> self.bits == sum).unwrap_or(u64::MAX)
    }

    /// Whether sums are estimates.
    pub(crate) fn is_estimate(&self) -> bool {
        self.bits > 0
    }
}

/// A content of which some versions go.
#[derive(Debug, Default)]
pub(crate) struct Going {
    pub(crate) size: u64,
    /// A version that stays has it.
    pub(crate) stays: bool,
    /// The end of the last version that may go.
    pub(crate) until: WallTime,
}

impl<K: Copy + Eq + Hash> Contents<K, Going> {
    /// Bytes of contents that no version has that stays.
    pub(crate) fn going(&self) -> u64 {
        self.scaled(self.all().filter(|(_, going)| !going.stays).map(|(_, going)| going.size).sum())
    }

    /// The moment such that the contents that no version has that stays fit a limit, if all that ended up to then go; `None`
    /// if they fit as they are.
    pub(crate) fn cut(&self, limit: u64) -> Option<WallTime> {
        let mut going: Vec<(WallTime, u64)> =
            self.all().filter(|(_, going)| !going.stays).map(|(_, going)| (going.until, going.size)).collect();
        going.sort_unstable_by(|a, b| b.cmp(a));
        let mut sum = 0u64;
        going.into_iter().find_map(|(until, size)| {
            sum = sum.saturating_add(size);
            (self.scaled(sum) > limit).then_some(until)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    #[test]
    fn a_content_counts_once_and_not_if_a_version_that_stays_has_it() {
        let mut contents = Contents::<(), Going>::new();
        for number in [1, 2, 2, 3] {
            let going = contents.of((), &digest(number)).unwrap();
            (going.size, going.stays) = (10 * number, number == 3);
        }
        assert_eq!((contents.going(), contents.is_estimate()), (30, false));
    }

    #[test]
    fn what_ended_first_goes_until_the_rest_fits() {
        let mut contents = Contents::<(), Going>::new();
        for number in 1..=5 {
            *contents.of((), &digest(number)).unwrap() = Going { size: 10, stays: false, until: WallTime(number) };
        }
        *contents.of((), &digest(6)).unwrap() = Going { size: 1000, stays: true, until: WallTime(9) };
        assert_eq!(contents.cut(50), None);
        assert_eq!(contents.cut(49), Some(WallTime(1)));
        assert_eq!(contents.cut(20), Some(WallTime(3)));
        assert_eq!(contents.cut(9), Some(WallTime(5)));
    }

    #[test]
    fn more_contents_than_fit_are_estimated_closely() {
        let mut contents = Contents::<u8, Going>::with(1024);
        for number in 0..40_000 {
            if let Some(going) = contents.of(0, &digest(number)) {
                going.size = 1000;
            }
        }
        let sum = contents.going();
        assert!(contents.is_estimate() && contents.seen.len() <= 1024);
        assert!((36_000_000..44_000_000).contains(&sum), "{sum}");
    }
}

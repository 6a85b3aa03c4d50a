//! How often secrets may be guessed.
//!
//! Each attempt counts as failed when it begins and is forgiven when it succeeds, so that many at once are no way around
//! the limit. The counts are kept in memory only: a restart forgets them, and nobody outside can cause one; kept on disk,
//! they would let strangers write there.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::clock::Clock;

/// Whose attempts are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who<S> {
    /// All from one address (of IPv6, one /64); generous, because many may share one.
    Address(IpAddr),
    /// At one secret, from anywhere.
    Secret(S),
}

/// Somebody has to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts; wait {} seconds", wait.as_secs().max(1))]
pub struct Limited {
    /// How long.
    pub wait: Duration,
}

/// The most names that are counted; the least recent is forgotten for a new one.
const MAX_WHO: usize = 16_384;
/// After this time without an attempt all is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);

impl<S> Who<S> {
    fn counted(self) -> Self {
        match self {
            Who::Address(address) => Who::Address(quics_quic::neighbourhood(address)),
            secret => secret,
        }
    }

    /// Failures without a delay, and the longest delay.
    fn limits(&self) -> (u32, Duration) {
        match self {
            Who::Address(_) => (20, Duration::from_secs(60)),
            Who::Secret(_) => (3, Duration::from_secs(15 * 60)),
        }
    }

    /// The pause after so many failures: one second, doubled by each further one.
    fn pause(&self, failures: u32) -> Duration {
        let (free, longest) = self.limits();
        match failures.checked_sub(free) {
            None | Some(0) => Duration::ZERO,
            Some(over) => Duration::from_secs(1_u64.checked_shl(over - 1).unwrap_or(u64::MAX)).min(longest),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    last: SystemTime,
}

/// Counts attempts. Clones count together.
#[derive(Debug, Clone)]
pub struct Attempts<S> {
    counts: Arc<Mutex<HashMap<Who<S>, Count>>>,
    clock: Arc<dyn Clock>,
}

/// An attempt that counts as failed unless [`succeeded`](Attempt::succeeded) is called.
#[must_use]
pub struct Attempt<S: Clone + Eq + Hash> {
    of: Attempts<S>,
    who: Vec<Who<S>>,
}

impl<S: Clone + Eq + Hash> Attempts<S> {
    /// Counts nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { counts: Arc::default(), clock }
    }

    /// Begins an attempt that counts for each of `who`.
    ///
    /// # Errors
    /// [`Limited`] if one of them has to wait; then nothing is counted.
    pub fn begin(&self, who: Vec<Who<S>>) -> Result<Attempt<S>, Limited> {
        let now = self.clock.now();
        let who: Vec<_> = who.into_iter().map(Who::counted).collect();
        let mut counts = self.counts.lock();
        for one in &who {
            let Some(count) = counts.get(one) else { continue };
            // A clock that was set back does not lengthen the wait.
            let since = now.duration_since(count.last).unwrap_or(FORGOTTEN);
            if let Some(wait) = one.pause(count.failures).checked_sub(since).filter(|wait| !wait.is_zero()) {
                return Err(Limited { wait });
            }
        }
        for one in &who {
            if counts.len() >= MAX_WHO && !counts.contains_key(one) {
                make_room(&mut counts, now);
            }
            let count = counts.entry(one.clone()).or_insert(Count { failures: 0, last: now });
            if now.duration_since(count.last).is_ok_and(|since| since >= FORGOTTEN) {
                count.failures = 0;
            }
            *count = Count { failures: count.failures.saturating_add(1), last: now };
        }
        drop(counts);
        Ok(Attempt { of: self.clone(), who })
    }
}

fn make_room<S: Clone + Eq + Hash>(counts: &mut HashMap<Who<S>, Count>, now: SystemTime) {
    counts.retain(|_, count| now.duration_since(count.last).is_ok_and(|since| since < FORGOTTEN));
    if counts.len() >= MAX_WHO
        && let Some(oldest) = counts.iter().min_by_key(|(_, count)| count.last).map(|(who, _)| who.clone())
    {
        counts.remove(&oldest);
    }
}

impl<S: Clone + Eq + Hash> Attempt<S> {
    /// Forgives: an address its own attempt only, so that one success does not pay for guesses elsewhere; a secret
    /// everything.
    pub fn succeeded(self) {
        let mut counts = self.of.counts.lock();
        for one in &self.who {
            match one {
                Who::Address(_) => {
                    if let Some(count) = counts.get_mut(one) {
                        count.failures = count.failures.saturating_sub(1);
                    }
                }
                Who::Secret(_) => drop(counts.remove(one)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::ManualClock;

    use super::*;

    fn attempts() -> (Attempts<String>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)));
        (Attempts::new(clock.clone()), clock)
    }

    fn ada() -> Vec<Who<String>> {
        vec![Who::Secret("ada".to_owned())]
    }

    #[test]
    fn the_delay_doubles_with_each_failure_up_to_a_limit() {
        let (attempts, clock) = attempts();
        let mut waits = Vec::new();
        for _ in 0..16 {
            match attempts.begin(ada()) {
                Ok(_failed) => {}
                Err(Limited { wait }) => {
                    waits.push(wait.as_secs());
                    clock.advance(wait - Duration::from_millis(1));
                    assert!(attempts.begin(ada()).is_err(), "a moment too early");
                    clock.advance(Duration::from_millis(1));
                    let _failed = attempts.begin(ada()).unwrap();
                }
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    }

    #[test]
    fn attempts_at_the_same_time_count_before_they_end() {
        let (attempts, _) = attempts();
        let together: Vec<_> = (0..4).map_while(|_| attempts.begin(ada()).ok()).collect();
        assert_eq!(together.len(), 4);
        assert!(matches!(attempts.begin(ada()), Err(Limited { .. })));
    }

    #[test]
    fn success_forgives_and_time_forgets() {
        let (attempts, clock) = attempts();
        for _ in 0..10 {
            attempts.begin(ada()).unwrap().succeeded();
        }
        for _ in 0..4 {
            let _failed = attempts.begin(ada()).unwrap();
        }
        assert!(attempts.begin(ada()).is_err());
        clock.advance(FORGOTTEN);
        for _ in 0..4 {
            let _failed = attempts.begin(ada()).unwrap();
        }
    }

    #[test]
    fn an_address_is_not_forgiven_its_guesses_by_one_success() {
        let (attempts, _) = attempts();
        let address = || vec![Who::Address(IpAddr::from([192, 0, 2, 1]))];
        for _ in 0..20 {
            let _failed = attempts.begin(address()).unwrap();
        }
        attempts.begin(address()).unwrap().succeeded();
        let _failed = attempts.begin(address()).unwrap();
        assert!(attempts.begin(address()).is_err());
    }

    #[test]
    fn the_table_stays_bounded() {
        let (attempts, _) = attempts();
        for n in 0..MAX_WHO + 100 {
            let _failed = attempts.begin(vec![Who::Secret(n.to_string())]).unwrap();
        }
        assert_eq!(attempts.counts.lock().len(), MAX_WHO);
    }
}

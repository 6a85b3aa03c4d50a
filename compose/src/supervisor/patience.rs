//! How long to wait before a service that ended is started again, and when to give up.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// A service that ran for so long starts with a clean record.
const FORGIVEN: Duration = Duration::from_secs(60);

/// So many ends in a row are no accident.
const TRIES: u32 = 12;

/// Growing pauses: at once, then 100 ms, doubled each time, at most 10 s; and an end of patience.
#[derive(Debug)]
pub(super) struct Patience {
    tries: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { tries: 0 }
    }

    /// The pause after a service that had run for `ran` ended; `None` when it is not to be started again.
    pub(super) fn after(&mut self, ran: Duration) -> Option<Duration> {
        if ran >= FORGIVEN {
            self.tries = 0;
        }
        if self.is_over() {
            return None;
        }
        let doubled = self.tries.checked_sub(1).map(|doublings| FIRST.saturating_mul(1 << doublings.min(16)));
        self.tries += 1;
        Some(doubled.unwrap_or(Duration::ZERO).min(LONGEST))
    }

    pub(super) fn is_over(&self) -> bool {
        self.tries >= TRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_end() {
        let mut patience = Patience::new();
        let pauses: Vec<Duration> = std::iter::from_fn(|| patience.after(Duration::ZERO)).take(100).collect();
        assert_eq!(pauses.len(), TRIES as usize);
        assert_eq!(pauses[..4], [Duration::ZERO, FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(*pauses.last().unwrap(), LONGEST);
        assert!(pauses.is_sorted());
    }

    #[test]
    fn a_service_that_ran_long_is_forgiven() {
        let mut patience = Patience::new();
        while patience.after(Duration::ZERO).is_some() {}
        assert_eq!(patience.after(FORGIVEN), Some(Duration::ZERO));
    }
}

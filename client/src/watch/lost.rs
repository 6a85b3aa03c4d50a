//! When it is said that events were lost: the first time at once, and less often the more it repeats.

use std::time::Duration;

/// The pause after a report, and the longest that it grows to.
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// Lost events that are to be reported. Times are since any fixed moment.
#[derive(Debug, Default)]
pub(super) struct Lost {
    due: Option<Duration>,
    last: Option<(Duration, Duration)>,
}

impl Lost {
    /// Events were lost.
    pub(super) fn note(&mut self, now: Duration) {
        let due = self.last.map_or(now, |(at, pause)| now.max(at + pause));
        self.due.get_or_insert(due);
    }

    /// When the report is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.due
    }

    /// Whether it is to be reported now; it counts as reported then.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        if self.due.take_if(|due| *due <= now).is_none() {
            return false;
        }
        let pause = match self.last {
            Some((at, pause)) if now.saturating_sub(at) < 2 * pause => (2 * pause).min(LONGEST),
            _ => PAUSE,
        };
        self.last = Some((now, pause));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_loss_is_reported_at_once_and_the_next_no_sooner_than_ten_seconds_later() {
        let mut lost = Lost::default();
        assert!(!lost.take(s(5)) && lost.next().is_none());
        lost.note(s(5));
        lost.note(s(5));
        assert!(lost.take(s(5)) && !lost.take(s(5)));
        lost.note(s(6));
        assert_eq!(lost.next(), Some(s(15)));
        assert!(!lost.take(s(14)) && lost.take(s(15)));
        assert_eq!(lost.next(), None);
    }

    #[test]
    fn one_that_repeats_is_reported_less_and_less_but_always_in_the_end() {
        let mut lost = Lost::default();
        let mut reports = Vec::new();
        for now in 0..7200 {
            lost.note(s(now));
            if lost.take(s(now)) {
                reports.push(now);
            }
        }
        assert_eq!(reports[..5], [0, 10, 30, 70, 150]);
        assert!(reports.windows(2).all(|pair| pair[1] - pair[0] <= 600), "{reports:?}");
        lost.note(s(7200));
        assert!(lost.next().unwrap() <= s(7800));
        assert!(lost.take(s(7800)));
        lost.note(s(20_000));
        assert!(lost.take(s(20_000)), "after a quiet time it is at once again");
        lost.note(s(20_001));
        assert_eq!(lost.next(), Some(s(20_010)));
    }
}

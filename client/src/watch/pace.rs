//! When a touched directory is reported: the first time at once, over and over with pauses.

use std::{collections::HashMap, time::Duration};

use crate::folder::RelPath;

/// What a directory waits for after a file in it was made: usually the file is closed before, which counts at once.
const AFTER_MADE: Duration = Duration::from_millis(50);
/// What it waits for while a file in it is being written.
const WHILE_WRITING: Duration = Duration::from_secs(1);
/// The pause after a report, and the longest that it grows to.
const PAUSE: Duration = Duration::from_millis(30);
const LONGEST: Duration = Duration::from_millis(250);
/// So many directories are remembered after their report, unless their pause is over.
const REMEMBERED: usize = 1024;

/// How soon a change is worth a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// It is complete.
    Settled,
    /// A file was made; its writer will close it.
    Made,
    /// A file is being written.
    Writing,
}

#[derive(Debug)]
struct Waiting {
    due: Duration,
    settled: bool,
}

#[derive(Debug)]
struct Reported {
    at: Duration,
    pause: Duration,
}

/// Directories to be reported. Times are since any fixed moment.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waiting: HashMap<RelPath, Waiting>,
    reported: HashMap<RelPath, Reported>,
}

/// What is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) settled: Vec<RelPath>,
    pub(super) writing: Vec<RelPath>,
}

impl Pace {
    pub(super) fn touch(&mut self, dir: RelPath, urgency: Urgency, now: Duration) {
        let wanted = match urgency {
            Urgency::Settled => now,
            Urgency::Made => now + AFTER_MADE,
            Urgency::Writing => now + WHILE_WRITING,
        };
        let due = self.reported.get(&dir).map_or(wanted, |last| wanted.max(last.at + last.pause));
        let settled = urgency == Urgency::Settled;
        let waiting = self.waiting.entry(dir).or_insert(Waiting { due, settled });
        waiting.due = waiting.due.min(due);
        waiting.settled |= settled;
    }

    /// When the next directory is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.waiting.values().map(|waiting| waiting.due).min()
    }

    /// Takes what is due, in the order of the paths.
    pub(super) fn take(&mut self, now: Duration) -> Due {
        let mut due = Due::default();
        for (dir, waiting) in self.waiting.extract_if(|_, waiting| waiting.due <= now) {
            let pause = match self.reported.get(&dir) {
                Some(last) if now.saturating_sub(last.at) < 2 * last.pause => (2 * last.pause).min(LONGEST),
                _ => PAUSE,
            };
            self.reported.insert(dir.clone(), Reported { at: now, pause });
            if waiting.settled { &mut due.settled } else { &mut due.writing }.push(dir);
        }
        if self.reported.len() > REMEMBERED {
            self.reported.retain(|_, last| now.saturating_sub(last.at) < 2 * last.pause);
        }
        due.settled.sort_unstable();
        due.writing.sort_unstable();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn dir(name: &'static str) -> RelPath {
        RelPath::root().join(&quics_types::Name::new(name).unwrap())
    }

    fn settled(pace: &mut Pace, now: u64) -> usize {
        pace.take(ms(now)).settled.len()
    }

    #[test]
    fn a_change_is_reported_at_once_and_only_once() {
        let mut pace = Pace::default();
        pace.touch(dir("a"), Urgency::Settled, ms(5));
        pace.touch(dir("a"), Urgency::Settled, ms(5));
        assert_eq!(pace.take(ms(5)), Due { settled: vec![dir("a")], writing: vec![] });
        assert_eq!((pace.take(ms(5)), pace.next()), (Due::default(), None));
    }

    #[test]
    fn edits_every_tenth_of_a_second_are_not_held_back() {
        let mut pace = Pace::default();
        for now in (0..2000).step_by(100) {
            pace.touch(dir("a"), Urgency::Settled, ms(now));
            assert_eq!(settled(&mut pace, now), 1, "{now}");
        }
    }

    #[test]
    fn a_directory_that_changes_all_the_time_is_reported_a_few_times_a_second_and_in_the_end() {
        let mut pace = Pace::default();
        let mut reports = 0;
        for now in 0..5000 {
            pace.touch(dir("a"), Urgency::Settled, ms(now));
            reports += settled(&mut pace, now);
        }
        assert!((15..40).contains(&reports), "{reports}");
        let due = pace.next().unwrap();
        assert!(due <= ms(5250));
        assert_eq!(pace.take(due).settled, [dir("a")]);
    }

    #[test]
    fn a_file_that_is_made_and_closed_is_reported_at_its_close() {
        let mut pace = Pace::default();
        pace.touch(dir("a"), Urgency::Made, ms(0));
        pace.touch(dir("a"), Urgency::Writing, ms(1));
        assert_eq!(pace.take(ms(1)), Due::default());
        pace.touch(dir("a"), Urgency::Settled, ms(2));
        assert_eq!(pace.take(ms(2)).settled, [dir("a")]);
    }

    #[test]
    fn what_is_only_being_written_is_reported_later_and_as_such() {
        let mut pace = Pace::default();
        pace.touch(dir("a"), Urgency::Writing, ms(0));
        assert_eq!(pace.next(), Some(ms(1000)));
        assert_eq!(pace.take(ms(1000)), Due { settled: vec![], writing: vec![dir("a")] });
        pace.touch(dir("b"), Urgency::Made, ms(2000));
        assert_eq!(pace.take(ms(2050)).writing, [dir("b")]);
    }
}

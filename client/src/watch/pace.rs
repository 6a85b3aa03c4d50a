//! When a touched path is reported: at once for the first few times, then with pauses that grow.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use crate::folder::RelPath;

/// What a file waits for after it was made: usually it is closed before, which counts at once.
const AFTER_MADE: Duration = Duration::from_millis(50);
/// What it waits for while it is being written.
const WHILE_WRITING: Duration = Duration::from_secs(1);
/// Reports in close succession that are not held back: a person who saves again, a program that saves in steps.
const BURST: u32 = 8;
/// The pause after the reports that follow, and the longest that it grows to. Reports are in close succession where less
/// than twice the pause lies between them.
const PAUSE: Duration = Duration::from_millis(30);
const LONGEST: Duration = Duration::from_millis(250);
/// Reports that are remembered at most, as long as they matter; the oldest go first.
const REMEMBERED: usize = 16 * 1024;
/// Paths that wait to be reported at most.
const WAITING: usize = 64 * 1024;

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

/// There is no room for another path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug)]
struct Waiting {
    due: Duration,
    settled: bool,
}

#[derive(Debug)]
struct Reported {
    at: Duration,
    /// How many reports in close succession this was the last of.
    run: u32,
    pause: Duration,
}

impl Reported {
    /// When the next report may be made.
    fn until(&self) -> Duration {
        if self.run < BURST { self.at } else { self.at + self.pause }
    }

    /// The report that follows at `now`.
    fn next(&self, now: Duration) -> Self {
        if now.saturating_sub(self.at) >= 2 * self.pause {
            return Self::first(now);
        }
        let pause = if self.run < BURST { self.pause } else { (2 * self.pause).min(LONGEST) };
        Self { at: now, run: self.run.saturating_add(1), pause }
    }

    fn first(now: Duration) -> Self {
        Self { at: now, run: 1, pause: PAUSE }
    }
}

/// Paths to be reported. Times are since any fixed moment.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waiting: HashMap<RelPath, Waiting>,
    /// What waits, by the time that it is due.
    order: BTreeSet<(Duration, RelPath)>,
    reported: HashMap<RelPath, Reported>,
    /// What was reported, the oldest first; a path that was reported again since is in it twice.
    history: VecDeque<(Duration, RelPath)>,
}

/// What is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) settled: Vec<RelPath>,
    pub(super) writing: Vec<RelPath>,
}

impl Pace {
    /// A path was touched.
    ///
    /// # Errors
    /// [`Full`]: it is not going to be reported.
    pub(super) fn touch(&mut self, path: RelPath, urgency: Urgency, now: Duration) -> Result<(), Full> {
        let wanted = match urgency {
            Urgency::Settled => now,
            Urgency::Made => now + AFTER_MADE,
            Urgency::Writing => now + WHILE_WRITING,
        };
        let due = self.reported.get(&path).map_or(wanted, |last| wanted.max(last.until()));
        let settled = urgency == Urgency::Settled;
        if let Some(waiting) = self.waiting.get_mut(&path) {
            waiting.settled |= settled;
            if due < waiting.due {
                let before = std::mem::replace(&mut waiting.due, due);
                self.order.remove(&(before, path.clone()));
                self.order.insert((due, path));
            }
            return Ok(());
        }
        if self.waiting.len() >= WAITING {
            return Err(Full);
        }
        self.order.insert((due, path.clone()));
        self.waiting.insert(path, Waiting { due, settled });
        Ok(())
    }

    /// When the next path is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.order.first().map(|(due, _)| *due)
    }

    /// Takes what is due, in the order of the paths.
    pub(super) fn take(&mut self, now: Duration) -> Due {
        let mut all = Due::default();
        while self.order.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, path)) = self.order.pop_first() else { break };
            let Some(waiting) = self.waiting.remove(&path) else { continue };
            let report = self.reported.get(&path).map_or_else(|| Reported::first(now), |last| last.next(now));
            self.reported.insert(path.clone(), report);
            self.history.push_back((now, path.clone()));
            if waiting.settled { &mut all.settled } else { &mut all.writing }.push(path);
        }
        self.forget(now);
        all.settled.sort_unstable();
        all.writing.sort_unstable();
        all
    }

    /// Forgets reports that cannot hold back anything any more, and the oldest where they are too many.
    fn forget(&mut self, now: Duration) {
        while let Some((at, _)) = self.history.front()
            && (self.history.len() > REMEMBERED || now.saturating_sub(*at) >= 2 * LONGEST)
        {
            let Some((at, path)) = self.history.pop_front() else { break };
            if self.reported.get(&path).is_some_and(|last| last.at == at) {
                self.reported.remove(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn path(name: &str) -> RelPath {
        RelPath::from_checked(name.as_bytes())
    }

    fn settled(pace: &mut Pace, now: u64) -> usize {
        pace.take(ms(now)).settled.len()
    }

    #[test]
    fn a_change_is_reported_at_once_and_only_once() {
        let mut pace = Pace::default();
        pace.touch(path("a"), Urgency::Settled, ms(5)).unwrap();
        pace.touch(path("a"), Urgency::Settled, ms(5)).unwrap();
        assert_eq!(pace.take(ms(5)), Due { settled: vec![path("a")], writing: vec![] });
        assert_eq!((pace.take(ms(5)), pace.next()), (Due::default(), None));
    }

    #[test]
    fn edits_every_tenth_of_a_second_are_not_held_back() {
        let mut pace = Pace::default();
        for now in (0..2000).step_by(100) {
            pace.touch(path("a"), Urgency::Settled, ms(now)).unwrap();
            assert_eq!(settled(&mut pace, now), 1, "{now}");
        }
    }

    #[test]
    fn a_few_edits_in_close_succession_are_not_held_back_and_more_are() {
        let mut pace = Pace::default();
        let mut reports = 0;
        for now in 0..u64::from(BURST) + 2 {
            pace.touch(path("a"), Urgency::Settled, ms(now)).unwrap();
            reports += settled(&mut pace, now);
        }
        assert_eq!(reports, BURST as usize);
        assert_eq!(pace.next(), Some(ms(u64::from(BURST) - 1) + PAUSE), "the last of them is reported, too");
        assert_eq!(settled(&mut pace, 1000), 1);
        // After a quiet time it begins anew.
        pace.touch(path("a"), Urgency::Settled, ms(2000)).unwrap();
        assert_eq!(settled(&mut pace, 2000), 1);
    }

    #[test]
    fn a_path_that_changes_all_the_time_is_reported_a_few_times_a_second_and_in_the_end() {
        let mut pace = Pace::default();
        let mut reports = 0;
        for now in 0..5000 {
            pace.touch(path("a"), Urgency::Settled, ms(now)).unwrap();
            reports += settled(&mut pace, now);
        }
        assert!((20..50).contains(&reports), "{reports}");
        let due = pace.next().unwrap();
        assert!(due <= ms(5250));
        assert_eq!(pace.take(due).settled, [path("a")]);
    }

    #[test]
    fn one_busy_path_does_not_hold_back_another() {
        let mut pace = Pace::default();
        for now in 0..1000 {
            pace.touch(path("busy"), Urgency::Settled, ms(now)).unwrap();
            pace.take(ms(now));
        }
        pace.touch(path("other"), Urgency::Settled, ms(1000)).unwrap();
        assert!(pace.take(ms(1000)).settled.contains(&path("other")));
    }

    #[test]
    fn a_file_that_is_made_and_closed_is_reported_at_its_close() {
        let mut pace = Pace::default();
        pace.touch(path("a"), Urgency::Made, ms(0)).unwrap();
        pace.touch(path("a"), Urgency::Writing, ms(1)).unwrap();
        assert_eq!(pace.take(ms(1)), Due::default());
        pace.touch(path("a"), Urgency::Settled, ms(2)).unwrap();
        assert_eq!(pace.take(ms(2)).settled, [path("a")]);
        assert_eq!(pace.next(), None);
    }

    #[test]
    fn what_is_only_being_written_is_reported_later_and_as_such() {
        let mut pace = Pace::default();
        pace.touch(path("a"), Urgency::Writing, ms(0)).unwrap();
        assert_eq!(pace.next(), Some(ms(1000)));
        assert_eq!(pace.take(ms(1000)), Due { settled: vec![], writing: vec![path("a")] });
        pace.touch(path("b"), Urgency::Made, ms(2000)).unwrap();
        assert_eq!(pace.take(ms(2050)).writing, [path("b")]);
    }

    #[test]
    fn it_remembers_so_much_and_no_more_and_nothing_after_a_quiet_time() {
        let mut pace = Pace::default();
        for i in 0..WAITING {
            pace.touch(path(&i.to_string()), Urgency::Settled, ms(0)).unwrap();
        }
        assert_eq!(pace.touch(path("more"), Urgency::Settled, ms(0)), Err(Full));
        assert_eq!(pace.touch(path("0"), Urgency::Settled, ms(0)), Ok(()), "it waits already");
        assert_eq!(settled(&mut pace, 0), WAITING);
        assert_eq!((pace.reported.len(), pace.history.len()), (REMEMBERED, REMEMBERED));
        for now in 1..2000 {
            pace.touch(path("a"), Urgency::Settled, ms(now)).unwrap();
            pace.take(ms(now));
        }
        assert!(pace.reported.len() == 1 && pace.history.len() < 20, "{}", pace.history.len());
        assert_eq!(pace.waiting.len(), pace.order.len());
    }
}

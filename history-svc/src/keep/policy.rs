//! How long versions are kept, as a root's owner says: what a policy is, which ones cannot be, and its words.

use quics_records::{fields, get};
use quics_types::{DeviceId, WallTime};

use crate::Error;
use crate::db::keys;
use crate::globs::Globs;
use crate::view::View;

/// Rules of a policy, and bytes of a rule's pattern.
const RULES: usize = 64;
const GLOB_BYTES: usize = 1024;
/// Days that are for ever.
pub(crate) const FOREVER: u32 = u32::MAX;
const DAY: u64 = 86_400 * 1_000_000;
/// 1970 began on a Thursday: weeks begin three days before.
const WEEK_BEGAN: u64 = 3;

/// The policy of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Raised with every change; 0 is the default.
    pub(crate) revision: u64,
    /// The first one that fits counts; the last one is for all.
    pub(crate) rules: Vec<Rule>,
    /// Bytes that removable versions may have.
    pub(crate) cap: Option<u64>,
    /// Who set it.
    pub(crate) device: DeviceId,
    pub(crate) device_name: String,
    pub(crate) user_name: String,
    pub(crate) at: WallTime,
}

/// How long the versions of some files are kept; all in days, 0 is not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Empty: for every file.
    pub(crate) glob: String,
    pub(crate) every: u32,
    pub(crate) daily: u32,
    pub(crate) weekly: u32,
}

fields!(Policy { revision, rules, cap, device, device_name, user_name, at });
fields!(Rule { glob, every, daily, weekly });

/// The time in which a version was the newest one: from its acceptance to that of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: WallTime,
    pub(crate) until: WallTime,
}

fn day(time: WallTime) -> u64 {
    time.0 / DAY
}

fn week(time: WallTime) -> u64 {
    (day(time) + WEEK_BEGAN) / 7
}

impl Rule {
    /// Whether a version is kept. It is what was there at the end of a day if it was the newest one at midnight (UTC), and of
    /// a week on the night to a Monday.
    pub(crate) fn keeps(&self, span: Span, now: WallTime) -> bool {
        let age = now.micros_since(span.until);
        let within = |days: u32| days == FOREVER || (days > 0 && age <= u64::from(days) * DAY);
        within(self.every)
            || (day(span.from) != day(span.until) && within(self.daily))
            || (week(span.from) != week(span.until) && within(self.weekly))
    }

    /// The rule in words: "every version for 30 days, then the last of each day for a year".
    pub(crate) fn words(&self) -> String {
        let (mut words, mut until) = (String::new(), 0);
        for (what, days) in [
            ("every version", self.every),
            ("the last of each day", self.daily),
            ("the last of each week", self.weekly),
        ] {
            if days > until {
                let then = if words.is_empty() { "" } else { ", then " };
                words = format!("{words}{then}{what} {}", period(days));
                until = days;
            }
        }
        words
    }

    /// Why this rule took a version.
    pub(crate) fn why(&self) -> String {
        let of = if self.glob.is_empty() { String::new() } else { format!(" of {}", self.glob) };
        format!("retention{of}: {}", self.words())
    }
}

fn period(days: u32) -> String {
    match days {
        FOREVER => "for ever".to_owned(),
        1 => "for a day".to_owned(),
        365 => "for a year".to_owned(),
        days if days % 365 == 0 => format!("for {} years", days / 365),
        days => format!("for {days} days"),
    }
}

impl Default for Policy {
    fn default() -> Self {
        let rule = Rule { glob: String::new(), every: 30, daily: 365, weekly: FOREVER };
        Self {
            revision: 0,
            rules: vec![rule],
            cap: None,
            device: DeviceId::SERVER,
            device_name: String::new(),
            user_name: String::new(),
            at: WallTime::default(),
        }
    }
}

impl Policy {
    /// The policy of a root.
    pub(crate) fn of(view: View<'_>) -> Result<Self, Error> {
        Ok(get(view.reads, &keys::policy(view.root))?.map(|kept| kept.record).unwrap_or_default())
    }

    /// Refuses what cannot be, and what would keep nothing.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Some((last, named)) = self.rules.split_last() else {
            return Err(Error::Asked("a policy has at least one rule"));
        };
        if self.rules.len() > RULES || self.rules.iter().any(|rule| rule.glob.len() > GLOB_BYTES) {
            return Err(Error::Asked("a policy has at most 64 rules, with patterns of at most 1024 bytes"));
        }
        if !last.glob.is_empty() || named.iter().any(|rule| rule.glob.is_empty()) {
            return Err(Error::Asked("the last rule of a policy is for all files, and those before it have a pattern"));
        }
        for (number, rule) in named.iter().enumerate() {
            if named[..number].iter().any(|before| before.glob == rule.glob) {
                return Err(Error::Asked("two rules of the policy have the same pattern"));
            }
            let globs = Globs::new([rule.glob.as_str()].into_iter())?;
            if globs.is_empty() || rule.glob.starts_with('!') {
                return Err(Error::Asked("a rule's pattern has to name files, in gitignore's syntax"));
            }
        }
        if self.rules.iter().any(|rule| rule.words().is_empty()) || self.cap == Some(0) {
            return Err(Error::Asked(
                "this would keep nothing: a file that is overwritten by mistake could not be brought back",
            ));
        }
        Ok(())
    }

    /// Why the size cap took a version.
    pub(crate) fn why_cap(&self) -> String {
        format!("retention: history may have {} bytes, and the oldest go first", self.cap.unwrap_or_default())
    }
}

/// A policy's rules, ready to be asked.
pub(crate) struct Rules {
    pub(crate) policy: Policy,
    globs: Vec<Globs>,
}

impl Rules {
    pub(crate) fn new(policy: Policy) -> Result<Self, Error> {
        let named = policy.rules.iter().filter(|rule| !rule.glob.is_empty());
        let globs: Result<_, _> = named.map(|rule| Globs::new([rule.glob.as_str()].into_iter())).collect();
        Ok(Self { globs: globs?, policy })
    }

    /// Whether paths matter.
    pub(crate) fn by_path(&self) -> bool {
        !self.globs.is_empty()
    }

    /// The number of the rule that is for a file with this path.
    pub(crate) fn of(&self, path: &[u8]) -> usize {
        // The globs are those of the rules before the last one, in their order.
        self.globs.iter().position(|globs| globs.matches(path, false)).unwrap_or(self.globs.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days, hours and minutes since Thursday, 1970-01-01.
    fn at(days: u64, hours: u64, minutes: u64) -> WallTime {
        WallTime(days * DAY + (hours * 60 + minutes) * 60 * 1_000_000)
    }

    fn rule(every: u32, daily: u32, weekly: u32) -> Rule {
        Rule { glob: String::new(), every, daily, weekly }
    }

    #[test]
    fn versions_thin_out_at_the_borders_of_days_and_weeks() {
        let usual = rule(30, 365, FOREVER);
        // Day 4 of 1970 was a Monday.
        let (noon, evening, midnight) = (at(4, 12, 0), at(4, 23, 59), at(5, 0, 0));
        let (sunday, monday) = (at(10, 23, 59), at(11, 0, 0));
        let table = [
            // from, until, the age at which it goes in days (and a microsecond); none: never
            ("replaced within a day", noon, evening, Some(30)),
            ("there at midnight", noon, midnight, Some(365)),
            ("there at midnight, by a minute", evening, midnight, Some(365)),
            ("there from midnight on, and not to the next", midnight, at(5, 23, 59), Some(30)),
            ("there from Monday to Sunday", noon, sunday, Some(365)),
            ("there in the night to a Monday", noon, monday, None),
            ("by a minute", sunday, monday, None),
            ("replaced at the moment at which it came", noon, noon, Some(30)),
        ];
        for (what, from, until, goes) in table {
            let span = Span { from, until };
            let later = |days: u64, micros: u64| WallTime(until.0 + days * DAY + micros);
            match goes {
                Some(days) => {
                    assert!(usual.keeps(span, later(days, 0)), "{what}: to the last moment");
                    assert!(!usual.keeps(span, later(days, 1)), "{what}: no longer");
                }
                None => assert!(usual.keeps(span, later(100_000, 0)), "{what}"),
            }
        }
    }

    #[test]
    fn a_stage_of_no_days_is_none_and_a_clock_that_went_back_takes_nothing() {
        let span = Span { from: at(4, 12, 0), until: at(40, 12, 0) };
        assert!(!rule(0, 0, 0).keeps(span, span.until));
        assert!(rule(0, 1, 0).keeps(span, at(41, 12, 0)) && !rule(0, 1, 0).keeps(span, at(41, 12, 1)));
        assert!(rule(0, 0, 7).keeps(span, at(47, 12, 0)) && !rule(0, 0, 7).keeps(span, at(47, 12, 1)));
        assert!(rule(1, 0, 0).keeps(span, at(3, 0, 0)));
    }

    #[test]
    fn rules_are_told_in_words_without_what_adds_nothing() {
        assert_eq!(
            Policy::default().rules[0].why(),
            "retention: every version for 30 days, then the last of each day for a year, then the last of each week for ever"
        );
        assert_eq!(rule(FOREVER, 365, FOREVER).words(), "every version for ever");
        assert_eq!(rule(0, 1, 730).words(), "the last of each day for a day, then the last of each week for 2 years");
        let isos = Rule { glob: "*.iso".into(), ..rule(7, 7, 3) };
        assert_eq!(isos.why(), "retention of *.iso: every version for 7 days");
    }

    #[test]
    fn a_policy_that_would_keep_nothing_or_cannot_be_is_refused() {
        let policy = |rules: Vec<Rule>| Policy { rules, ..Policy::default() };
        let named = |glob: &str| Rule { glob: glob.into(), ..rule(1, 0, 0) };
        let refused = |policy: Policy| policy.check().unwrap_err().to_string();
        assert!(Policy::default().check().is_ok());
        assert!(policy(vec![named("*.iso"), rule(1, 0, 0)]).check().is_ok());
        assert!(refused(policy(vec![rule(0, 0, 0)])).contains("keep nothing"));
        assert!(refused(Policy { cap: Some(0), ..Policy::default() }).contains("keep nothing"));
        assert!(refused(policy(vec![named("*.iso")])).contains("for all files"));
        assert!(refused(policy(vec![])).contains("at least one"));
        assert!(refused(policy(vec![rule(1, 0, 0), rule(2, 0, 0)])).contains("for all files"));
        assert!(refused(policy(vec![named("a"), named("a"), rule(1, 0, 0)])).contains("same pattern"));
        assert!(refused(policy(vec![named("# no"), rule(1, 0, 0)])).contains("name files"));
        assert!(refused(policy(vec![named("!a"), rule(1, 0, 0)])).contains("name files"));
        assert!(refused(policy(vec![rule(1, 0, 0); 65])).contains("at most 64"));
    }

    #[test]
    fn the_first_rule_that_fits_a_path_counts() {
        let named = |glob: &str| Rule { glob: glob.into(), ..rule(1, 0, 0) };
        let rules = vec![named("/photos/"), named("*.iso"), rule(30, 0, 0)];
        let rules = Rules::new(Policy { rules, ..Policy::default() }).unwrap();
        assert_eq!(rules.of(b"photos/a/b.iso"), 0);
        assert_eq!(rules.of(b"a/photos/b.iso"), 1);
        assert_eq!(rules.of(b"a/photos/b.jpg"), 2);
    }

    #[test]
    fn the_format_is_fixed() {
        quics_records::testing::golden(
            Policy { revision: 3, cap: Some(300), device_name: "pc".into(), at: WallTime(5), ..Policy::default() },
            "010301001eed02ffffffff0f01ac02000000000000000000000000000000000270630005",
        );
    }
}

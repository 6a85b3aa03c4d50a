//! Which versions go: what of the walk's versions is never taken, what the rules keep, and what they take.

use quics_types::{Digest, EntryId, WallTime};

use super::open::Spared;
use super::pins::Pins;
use super::policy::Rules;
use super::walk::Met;
use crate::Error;
use crate::db::keys::Point;
use crate::view::{Paths, View};

/// What becomes of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has no content that could go: no file, a deletion, or its content is gone.
    Empty,
    /// It is never taken: the newest one of a file that is there, pinned, of an entry whose conflict is open, or shown by a
    /// link.
    Held,
    /// The rules keep it, for now. Versions in a row with one content (a move, other permissions) have one fate.
    Kept,
    /// By the rule with this number.
    ByRule(usize),
    /// By the size cap.
    ByCap,
}

/// What the judge remembers of an entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    id: EntryId,
    rule: usize,
    /// The content of the accepted version behind and its fate, if it stays.
    stays: Option<(Digest, Fate)>,
}

/// Judges the versions of a walk, in its order.
pub(crate) struct Judge<'a> {
    view: View<'a>,
    rules: &'a Rules,
    now: WallTime,
    /// What ended up to then goes, by the size cap.
    cut: Option<WallTime>,
    spared: &'a Spared,
    pins: Pins<'a>,
    paths: Paths<'a>,
    pub(crate) entry: Option<Entry>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        view: View<'a>,
        rules: &'a Rules,
        now: WallTime,
        cut: Option<WallTime>,
        spared: &'a Spared,
    ) -> Result<Self, Error> {
        let latest = Point { generation: u32::MAX, seq: u64::MAX };
        let (pins, paths) = (Pins::of(view)?, Paths::new(view, latest));
        Ok(Self { view, rules, now, cut, spared, pins, paths, entry: None })
    }

    /// Judges the next version. An entry's newest one has to be the first that is met of it.
    pub(crate) fn fate(&mut self, met: &Met) -> Result<Fate, Error> {
        let mut entry = match self.entry.take() {
            Some(entry) if entry.id == met.entry => entry,
            _ => Entry { id: met.entry, rule: self.rule(met)?, stays: None },
        };
        let version = &met.kept.record;
        let content = version.row.value.content().filter(|_| !version.row.dead && version.removed.is_none());
        let fate = match (content, met.span) {
            (None, _) => Fate::Empty,
            (Some(_), None) => Fate::Held,
            (Some(_), Some(_)) if self.spared.conflicts.contains(&met.entry) => Fate::Held,
            (Some((content, _)), Some(_)) if self.spared.shown.holds(&content) => Fate::Held,
            (Some(_), Some(_)) if self.pins.holds(met.entry, met.point, met.side)? => Fate::Held,
            (Some((content, _)), Some(span)) => match (&entry.stays, self.rules.policy.rules.get(entry.rule)) {
                (Some((same, fate)), _) if met.side == 0 && *same == content => fate.clone(),
                _ if self.spared.asked.is_some_and(|asked| span.until > asked) => Fate::Kept,
                (_, Some(rule)) if !rule.keeps(span, self.now) => Fate::ByRule(entry.rule),
                _ if self.cut.is_some_and(|cut| span.until <= cut) => Fate::ByCap,
                _ => Fate::Kept,
            },
        };
        if met.side == 0 {
            let stays = matches!(fate, Fate::Held | Fate::Kept);
            entry.stays = content.filter(|_| stays).map(|(content, _)| (content, fate.clone()));
        }
        self.entry = Some(entry);
        Ok(fate)
    }

    /// The rule for an entry, by its newest path.
    fn rule(&mut self, met: &Met) -> Result<usize, Error> {
        if !self.rules.by_path() {
            return Ok(self.rules.of(b""));
        }
        // A loser of a conflict may be met first: it has the entry's place, too.
        let newest = match met.side {
            0 => None,
            _ => self.view.at(met.entry, met.point)?,
        };
        let place = newest.as_ref().map_or(&met.kept.record.row.place, |at| &at.row().place);
        let path = self.paths.of(place)?;
        Ok(self.rules.of(&path))
    }
}

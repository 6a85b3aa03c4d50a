//! The brake: tells a burst of changes that destroy from what people and their tools do.
//!
//! A device's changes of the last [`WINDOW`] minutes are counted by entry, however often one changed:
//!
//! | change | counts as |
//! |---|---|
//! | a file becomes noise that does not begin as it did ([`is_scrambled`]), or nearly nothing is left of it | destroyed |
//! | files that were all different become one and the same (`alike`) | destroyed |
//! | a file gets another extension | destroyed |
//! | a deleted file, for each new one in the same directory that is noise | destroyed |
//! | another name in the same directory | five eighths of one that is unusual |
//! | another delete | half of one that is unusual |
//! | any other new content; another directory | a quarter of one that is unusual |
//! | something new, permission bits, times | nothing |
//!
//! A burst is one if so many entries were destroyed that they are a share of the root that its owner has set ([`SHARE`]
//! percent), and at least [`MANY`] or, in a small root, half of it and no fewer than [`LEAST`]; or if [`MANY`] and
//! [`UNUSUAL`] percent are unusual: then four fifths have another name. A branch that is checked out replaces texts by texts,
//! an archive brings new files, and a removed `node_modules` is deletes only: none of them comes near.

mod alike;

use std::collections::{HashMap, VecDeque};

use quics_types::{Digest, EntryId, limits};

use crate::{Row, Value};
use alike::Alike;

/// Minutes after which a change does not count any more.
pub const WINDOW: u64 = 10;
/// Fewer entries than this are a burst only if half of the root is destroyed …
pub const MANY: u64 = 200;
/// … and fewer than this never are.
pub const LEAST: u64 = 30;
/// Percent of a root that may be destroyed, where its owner has said nothing.
pub const SHARE: u32 = 20;
/// Percent of a root whose unusual changes are a burst.
pub const UNUSUAL: u64 = 50;
/// Contents are not looked into before so many entries have changed.
const CURIOUS: usize = 8;
/// Bytes of a file's beginning that tell whether it is noise …
pub const SAMPLE: usize = 4096;
/// … and how many it has to have.
const SAMPLE_LEAST: usize = 64;
/// Bytes by which files of one format begin alike.
const MAGIC: usize = 4;

/// What an entry that is destroyed counts.
const WHOLE: u64 = 8;

/// What a change does to what there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Nothing is left of it that a program could read.
    Destroyed,
    /// It is gone.
    Deleted,
    /// It has another name.
    Renamed,
    /// It is a file as before, with another content.
    Rewritten {
        /// What it was.
        was: Digest,
        /// What it is.
        is: Digest,
    },
    /// It is something else, or elsewhere.
    Changed,
    /// It is new, and noise.
    Noise,
}

impl Harm {
    /// In eighths of one that is unusual.
    fn weight(self) -> u64 {
        match self {
            Harm::Destroyed => WHOLE,
            Harm::Renamed => 5,
            Harm::Deleted => 4,
            Harm::Rewritten { .. } | Harm::Changed => 2,
            Harm::Noise => 0,
        }
    }
}

/// What a change of an entry does, before its content is looked into; `None`: nothing that counts.
pub fn harm(before: Option<&Row>, after: &Row) -> Option<Harm> {
    let before = before.filter(|before| !before.dead)?;
    if after.dead {
        return Some(Harm::Deleted);
    }
    if before.value != after.value {
        return Some(match (&before.value, &after.value) {
            (Value::File { size: was, .. }, Value::File { size: is, .. }) if is_gutted(*was, *is) => Harm::Destroyed,
            (Value::File { content: was, .. }, Value::File { content: is, .. }) => {
                Harm::Rewritten { was: *was, is: *is }
            }
            _ => Harm::Changed,
        });
    }
    if before.place == after.place {
        return None;
    }
    let is_file = matches!(after.value, Value::File { .. });
    let (was, is) = (before.place.name.as_bytes(), after.place.name.as_bytes());
    Some(match () {
        () if is_file && !extension(was).eq_ignore_ascii_case(extension(is)) => Harm::Destroyed,
        () if before.place.parent == after.place.parent => Harm::Renamed,
        () => Harm::Changed,
    })
}

fn is_gutted(was: u64, is: u64) -> bool {
    was > 0 && (is == 0 || (was >= 1024 && is.saturating_mul(16) <= was))
}

fn extension(name: &[u8]) -> &[u8] {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    dot.and_then(|dot| name.get(dot + 1..)).unwrap_or_default()
}

/// Whether a file that began with `was` and begins with `is` (at most [`SAMPLE`] bytes of each) has become noise. Compressed
/// formats are noise too, but begin as they did.
pub fn is_scrambled(was: &[u8], is: &[u8]) -> bool {
    is_noise(is) && was.get(..MAGIC) != is.get(..MAGIC)
}

/// Whether bytes look drawn at random: nearly as many different ones as chance gives.
pub fn is_noise(bytes: &[u8]) -> bool {
    if bytes.len() < SAMPLE_LEAST {
        return false;
    }
    let mut seen = [false; 256];
    bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let different = seen.iter().filter(|seen| **seen).count() as f64;
    let expected = 256.0 * (1.0 - (-(bytes.len() as f64) / 256.0).exp());
    different >= 0.8 * expected
}

/// The recent changes of one device in one root.
#[derive(Debug, Default)]
pub struct Burst {
    minutes: VecDeque<Minute>,
    touched: HashMap<EntryId, Touched>,
    /// By directory.
    pairs: HashMap<EntryId, Pairs>,
    alike: Alike,
}

/// What has no counterpart in a directory: new files that are noise, or deleted ones.
#[derive(Debug, Default)]
struct Pairs {
    noise: u64,
    deletes: u64,
}

/// What a device changed in one minute.
#[derive(Debug)]
struct Minute {
    minute: u64,
    /// The first commit in it.
    seq: u64,
    /// Entries that it deleted.
    gone: u64,
    destroyed: u64,
    weight: u64,
}

#[derive(Debug, Clone, Copy)]
struct Touched {
    minute: u64,
    weight: u64,
}

/// A burst that is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tripped {
    /// The commit with which it began.
    pub since: u64,
    /// Entries that it changed.
    pub changed: u64,
    /// The live entries of the root, with those that it deleted.
    pub of: u64,
}

impl Burst {
    /// Whether so much has changed that contents are worth a look.
    pub fn is_curious(&self) -> bool {
        self.touched.len() >= CURIOUS
    }

    /// Counts a change of an entry in a directory that was committed as `seq` in a minute of the clock, after which so many
    /// entries of the root live. Says when it is a burst: `share` percent may be destroyed.
    pub fn note(
        &mut self,
        (id, directory): (EntryId, EntryId),
        harm: Harm,
        seq: u64,
        minute: u64,
        live: u64,
        share: u32,
    ) -> Option<Tripped> {
        self.forget(minute);
        if self.minutes.back().is_none_or(|last| last.minute != minute) {
            self.minutes.push_back(Minute { minute, seq, gone: 0, destroyed: 0, weight: 0 });
        }
        if harm == Harm::Deleted
            && self.touched.get(&id).is_none_or(|before| before.weight < harm.weight())
            && let Some(last) = self.minutes.back_mut()
        {
            last.gone += 1;
        }
        let mut harm = harm;
        if matches!(harm, Harm::Noise | Harm::Deleted) && self.pairs.len() < limits::BURST {
            let pairs = self.pairs.entry(directory).or_default();
            match harm {
                Harm::Noise if pairs.deletes > 0 => {
                    // A delete that was counted by half is a file that was replaced.
                    pairs.deletes -= 1;
                    if let Some(last) = self.minutes.back_mut() {
                        (last.destroyed, last.weight) =
                            (last.destroyed + 1, last.weight + WHOLE - Harm::Deleted.weight());
                    }
                }
                Harm::Noise => pairs.noise += 1,
                _ if pairs.noise > 0 => (pairs.noise, harm) = (pairs.noise - 1, Harm::Destroyed),
                _ => pairs.deletes += 1,
            }
        }
        let weight = harm.weight();
        if weight > 0 {
            self.touch(id, weight, minute);
        }
        if let Harm::Rewritten { was, is } = harm {
            for id in self.alike.note(id, (&was, &is), minute) {
                // What has aged meanwhile does not count again.
                if self.touched.contains_key(&id) {
                    self.touch(id, WHOLE, minute);
                }
            }
        }
        self.judge(live, share)
    }

    fn touch(&mut self, id: EntryId, weight: u64, minute: u64) {
        let before = self.touched.get(&id).copied().unwrap_or(Touched { minute, weight: 0 });
        if weight <= before.weight {
            return;
        }
        // Behind the limit entries are not told apart any more: a root that large has no burst that small.
        if before.weight > 0 || self.touched.len() < limits::BURST {
            self.touched.insert(id, Touched { minute: before.minute, weight });
        }
        if let Some(of) = self.minutes.iter_mut().find(|it| it.minute == before.minute) {
            of.weight += weight - before.weight;
            of.destroyed += u64::from(weight == WHOLE);
        }
    }

    fn judge(&self, live: u64, share: u32) -> Option<Tripped> {
        let (mut destroyed, mut weight, mut of) = (0, 0, live);
        for it in &self.minutes {
            (destroyed, weight, of) = (destroyed + it.destroyed, weight + it.weight, of + it.gone);
        }
        let first = self.minutes.front()?;
        let least = (of / 2).clamp(LEAST, MANY);
        let tripped = (destroyed >= least && destroyed * 100 >= of * u64::from(share))
            || (weight >= WHOLE * MANY && weight * 100 >= WHOLE * of * UNUSUAL);
        tripped.then_some(Tripped { since: first.seq, changed: self.touched.len() as u64, of })
    }

    /// Whether nothing of it counts any more.
    pub fn is_over(&self, minute: u64) -> bool {
        self.minutes.back().is_none_or(|last| last.minute + WINDOW <= minute)
    }

    fn forget(&mut self, minute: u64) {
        let old = |it: &Minute| it.minute + WINDOW <= minute;
        if !self.minutes.front().is_some_and(old) {
            return;
        }
        self.minutes.retain(|it| !old(it));
        self.touched.retain(|_, touched| touched.minute + WINDOW > minute);
        self.alike.forget(minute);
        if self.touched.is_empty() {
            self.pairs.clear();
        }
    }
}

#[cfg(test)]
mod tests;

//! What something costs: now, and in history.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use quics_proto::history::v1 as history;
use quics_types::{EntryId, WallTime, limits};

use super::contents::Contents;
use super::judge::{Fate, Judge};
use super::open::Spared;
use super::pins::Pins;
use super::policy::{Policy, Rules};
use super::walk::{Met, Stand, Walk};
use crate::Error;
use crate::db::keys::Point;
use crate::encode::Subject;
use crate::query;
use crate::view::{At, Paths, View};

/// Children that are told.
const CHILDREN: usize = 1000;
/// Children that are counted one by one: about 200 bytes each.
const MOST: usize = 200_000;
/// Entries of which it is remembered in which child they are.
const KNOWN: usize = 1 << 19;
/// What the policy takes within this time is told.
const SOON: u64 = 30 * 86_400 * 1_000_000;
/// The newest point of all.
const LATEST: Point = Point { generation: u32::MAX, seq: u64::MAX };

/// What has a content: in bits.
const NOW: u8 = 1;
const HISTORY: u8 = 2;
const PINNED: u8 = 4;
/// Something in history that the policy does not take soon.
const LONG: u8 = 8;

/// A content of the subject, or of one of its children.
#[derive(Debug, Default)]
struct Seen {
    size: u64,
    has: u8,
}

/// Versions, counted.
#[derive(Debug, Default, Clone)]
struct Counts {
    now: u64,
    history: u64,
    pinned: u64,
    soon: u64,
    removed: u64,
}

/// Where an entry is: in this child, in none, or it is the subject itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Child(u32),
    Itself,
    Outside,
    /// There are more children than are counted.
    Beyond,
}

/// Finds the child of a directory in which an entry is, or was last.
struct Family<'a> {
    view: View<'a>,
    of: EntryId,
    children: Vec<EntryId>,
    known: HashMap<EntryId, Where>,
}

impl Family<'_> {
    fn place(&mut self, entry: EntryId, newest: Option<&At>) -> Result<Where, Error> {
        let (mut at, mut way) = (entry, Vec::new());
        let found = loop {
            if at == self.of {
                // Who is directly in it is a child.
                break match way.last() {
                    None => return Ok(Where::Itself),
                    Some(_) if self.children.len() >= MOST => Where::Beyond,
                    Some(child) => {
                        self.children.push(*child);
                        Where::Child(self.children.len() as u32 - 1)
                    }
                };
            }
            if let Some(known) = self.known.get(&at) {
                break *known;
            }
            if at == EntryId::TOP || way.len() > limits::DEPTH {
                break Where::Outside;
            }
            way.push(at);
            let parent = match newest.filter(|_| at == entry) {
                Some(newest) => Some(newest.row().place.parent),
                None => self.view.at(at, LATEST)?.map(|at| at.version.row.place.parent),
            };
            match parent {
                Some(parent) => at = parent,
                None => break Where::Outside,
            }
        };
        if self.known.len() >= KNOWN {
            // The children stay known: each has its number once.
            let children: HashSet<EntryId> = self.children.iter().copied().collect();
            self.known.retain(|entry, _| children.contains(entry));
        }
        self.known.extend(way.into_iter().map(|entry| (entry, found)));
        Ok(found)
    }
}

/// Counts what a subject costs.
pub(crate) fn usage(view: View<'_>, subject: &Subject, now: WallTime) -> Result<history::GetUsageResponse, Error> {
    let newest = view.newest_point()?;
    let of = query::entry(view, subject, newest)?;
    let rules = Rules::new(Policy::of(view)?)?;
    let spared = Spared::default();
    let soon = WallTime(now.0.saturating_add(SOON));
    let (mut judge, pins) = (Judge::new(view, &rules, soon, None, &spared)?, Pins::of(view)?);
    let mut family = Family { view, of, children: Vec::new(), known: HashMap::new() };
    let mut contents: Contents<Option<u32>, Seen> = Contents::new();
    let (mut total, mut each): (Counts, Vec<Counts>) = (Counts::default(), Vec::new());
    let is_directory = of == EntryId::TOP || view.at(of, newest)?.is_some_and(|at| at.row().value.is_directory());
    let mut walk = if is_directory { Walk::new(view, Stand::begin(view)) } else { Walk::entry(view, of) };
    let mut place = Where::Outside;
    while let Some(met) = walk.next()? {
        let fate = judge.fate(&met)?;
        if met.begins {
            let at = if met.side == 0 { None } else { view.at(met.entry, met.point)? };
            let at = at.unwrap_or_else(|| At { point: met.point, side: 0, version: met.kept.record.clone() });
            place = family.place(met.entry, Some(&at))?;
        }
        let child = match place {
            Where::Outside => continue,
            Where::Itself | Where::Beyond => None,
            Where::Child(number) => Some(number),
        };
        each.resize(family.children.len(), Counts::default());
        let (size, has) = count(&mut total, &met, &fate, &pins)?;
        if let Some(counts) = child.and_then(|child| each.get_mut(child as usize)) {
            count(counts, &met, &fate, &pins)?;
        }
        let Some((content, _)) = met.kept.record.row.value.content().filter(|_| has > 0) else { continue };
        for kind in [None, child].into_iter().take(1 + usize::from(child.is_some())) {
            if let Some(seen) = contents.of(kind, &content) {
                (seen.size, seen.has) = (size, seen.has | has);
            }
        }
    }
    let bytes = sums(&contents, each.len());
    let mut response = history::GetUsageResponse {
        total: Some(message(&total, &bytes[0], contents.is_estimate())),
        ..Default::default()
    };
    let mut biggest: Vec<usize> = (0..each.len()).filter(|child| each[*child].any()).collect();
    biggest.sort_by_key(|child| std::cmp::Reverse(bytes[child + 1].now.saturating_add(bytes[child + 1].history)));
    response.more_children = biggest.len().saturating_sub(CHILDREN) as u64;
    let mut paths = Paths::new(view, LATEST);
    for child in biggest.into_iter().take(CHILDREN) {
        let mut usage = message(&each[child], &bytes[child + 1], contents.is_estimate());
        if let Some(at) = view.at(family.children[child], LATEST)? {
            usage.path = paths.of(&at.row().place)?;
            (usage.directory, usage.deleted) = (at.row().value.is_directory(), !at.is_live());
        }
        response.children.push(usage);
    }
    if let Some(total) = &mut response.total {
        total.directory = is_directory;
        total.path = match view.at(of, LATEST)? {
            Some(at) if of != EntryId::TOP => paths.of(&at.row().place)?,
            _ => Bytes::new(),
        };
    }
    Ok(response)
}

impl Counts {
    fn any(&self) -> bool {
        self.now + self.history + self.removed > 0
    }
}

/// Counts a version; says the size of its content, and what has it.
fn count(counts: &mut Counts, met: &Met, fate: &Fate, pins: &Pins<'_>) -> Result<(u64, u8), Error> {
    let version = &met.kept.record;
    let content = version.row.value.content().filter(|_| !version.row.dead);
    let Some((_, size)) = content else { return Ok((0, 0)) };
    if version.removed.is_some() {
        counts.removed += 1;
        return Ok((size, 0));
    }
    let mut has = 0;
    if met.span.is_none() {
        counts.now += 1;
        has |= NOW;
    } else {
        counts.history += 1;
        has |= HISTORY;
        if matches!(fate, Fate::ByRule(_)) {
            counts.soon += 1;
        } else {
            has |= LONG;
        }
    }
    if pins.holds(met.entry, met.point, met.side)? {
        counts.pinned += 1;
        has |= PINNED;
    }
    Ok((size, has))
}

/// Bytes of contents.
#[derive(Debug, Default, Clone)]
struct Bytesums {
    now: u64,
    history: u64,
    pinned: u64,
    soon: u64,
}

/// The sums of the subject, then of each child.
fn sums(contents: &Contents<Option<u32>, Seen>, children: usize) -> Vec<Bytesums> {
    let mut sums = vec![Bytesums::default(); children + 1];
    for (kind, seen) in contents.all() {
        let Some(sum) = sums.get_mut(kind.map_or(0, |child| child as usize + 1)) else { continue };
        let is = |bits: u8| seen.has & bits > 0;
        if is(NOW) {
            sum.now += seen.size;
        } else {
            sum.history += seen.size;
        }
        if is(PINNED) && !is(NOW) {
            sum.pinned += seen.size;
        }
        if !is(NOW | LONG) {
            sum.soon += seen.size;
        }
    }
    for sum in &mut sums {
        for bytes in [&mut sum.now, &mut sum.history, &mut sum.pinned, &mut sum.soon] {
            *bytes = contents.scaled(*bytes);
        }
    }
    sums
}

fn message(counts: &Counts, bytes: &Bytesums, estimated: bool) -> history::Usage {
    let amount = |versions, bytes| Some(history::Amount { versions, bytes, estimated });
    history::Usage {
        now: amount(counts.now, bytes.now),
        history: amount(counts.history, bytes.history),
        pinned: amount(counts.pinned, bytes.pinned),
        soon: amount(counts.soon, bytes.soon),
        removed: counts.removed,
        ..Default::default()
    }
}

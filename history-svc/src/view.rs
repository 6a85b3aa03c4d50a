//! What was: lookups of versions, places and moments. Only what is durable is seen, but by the intake.

use std::collections::HashMap;

use quics_reconcile::Row;
use quics_records::{Kept, Reads, Stored, decode, get};
use quics_types::{EntryId, Name, Place, RootId, WallTime, limits};

use crate::Error;
use crate::db::keys::{self, Point};
use crate::db::records::{Applied, Group, Root, Version};

/// Rows of one look at the store.
pub(crate) const PAGE: usize = 512;
/// Rows of the first look for an entry's version: most have few.
const FEW: usize = 4;
/// Entries that one step of a path is looked for in.
const SAME_NAME: usize = 16;
/// Looks at the store that finding a path may take.
const LOOKS: usize = 512;

/// A version with its place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) point: Point,
    pub(crate) side: u32,
    pub(crate) version: Version,
}

impl At {
    pub(crate) fn row(&self) -> &Row {
        &self.version.row
    }

    pub(crate) fn is_live(&self) -> bool {
        !self.version.row.dead
    }
}

/// A root's history.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) reads: Reads<'a>,
    pub(crate) root: RootId,
}

/// How far the events are applied.
pub(crate) fn applied(reads: Reads<'_>) -> Result<Applied, Error> {
    Ok(get(reads, keys::APPLIED)?.map(|kept| kept.record).unwrap_or_default())
}

impl<'a> View<'a> {
    pub(crate) fn new(reads: Reads<'a>, root: RootId) -> Self {
        Self { reads, root }
    }

    /// How far the root is known; `None` if nothing ever happened in it.
    pub(crate) fn state(&self) -> Result<Option<Root>, Error> {
        Ok(get(self.reads, &keys::root(self.root))?.map(|kept| kept.record))
    }

    /// The newest point; before the first one if nothing ever happened.
    pub(crate) fn newest_point(&self) -> Result<Point, Error> {
        Ok(self.state()?.map_or(Point::BEGIN, |state| state.point))
    }

    pub(crate) fn group(&self, group: quics_types::GroupId) -> Result<Option<Kept<Group>>, Error> {
        Ok(get(self.reads, &keys::group(self.root, group))?)
    }

    /// Looks back through what an entry was, of all sides, from a point on, until `pick` gives something: at few versions first,
    /// then a page at a time.
    fn back<T>(&self, entry: EntryId, until: Point, mut pick: impl FnMut(At) -> Option<T>) -> Result<Option<T>, Error> {
        let (from, mut to) = keys::versions_until(self.root, entry, until);
        let mut limit = FEW;
        loop {
            let page = self.reads.range_back(&from, &to, limit)?;
            let full = page.len() == limit;
            for (key, stored) in page {
                if let Some(picked) = pick(parse(&key, || decode(&key, stored))?) {
                    return Ok(Some(picked));
                }
                to = key;
            }
            if !full {
                return Ok(None);
            }
            limit = PAGE;
        }
    }

    /// What an entry was at a point: its newest version up to it, live or a tombstone.
    pub(crate) fn at(&self, entry: EntryId, point: Point) -> Result<Option<At>, Error> {
        self.back(entry, point, |at| (at.side == 0).then_some(at))
    }

    /// What an entry was at two points, the later one first: most often it takes one look.
    pub(crate) fn at_both(&self, entry: EntryId, later: Point, earlier: Point) -> Result<[Option<At>; 2], Error> {
        let (from, to) = keys::versions_until(self.root, entry, later);
        let page = self.reads.range_back(&from, &to, FEW)?;
        let full = page.len() == FEW;
        let mut newest = None;
        for (key, stored) in page {
            let at = parse(&key, || decode(&key, stored))?;
            if at.side > 0 {
                continue;
            }
            if at.point <= earlier {
                let newest = newest.unwrap_or_else(|| at.clone());
                return Ok([Some(newest), Some(at)]);
            }
            newest.get_or_insert(at);
        }
        if !full {
            return Ok([newest, None]);
        }
        let newest = match newest {
            Some(newest) => Some(newest),
            None => self.at(entry, later)?,
        };
        Ok([newest, self.at(entry, earlier)?])
    }

    /// Whether one of the versions that an entry was behind one point and up to another is like this.
    pub(crate) fn any_between(
        &self,
        entry: EntryId,
        (after, until): (Point, Point),
        is_one: impl Fn(&Version) -> bool,
    ) -> Result<bool, Error> {
        let found = self.back(entry, until, |at| match at {
            at if at.point <= after => Some(false),
            at => (at.side == 0 && is_one(&at.version)).then_some(true),
        });
        Ok(found?.unwrap_or(false))
    }

    /// One version.
    pub(crate) fn version(&self, entry: EntryId, point: Point, side: u32) -> Result<Option<At>, Error> {
        let kept = get(self.reads, &keys::version(self.root, entry, point, side))?;
        Ok(kept.map(|kept| At { point, side, version: kept.record }))
    }

    /// The versions of an entry before a point and side, the newest first, of all sides.
    pub(crate) fn versions_before(
        &self,
        entry: EntryId,
        before: Option<(Point, u32)>,
        limit: usize,
    ) -> Result<Vec<At>, Error> {
        let (from, end) = keys::versions(self.root, entry);
        let to = before.map_or(end, |(point, side)| keys::version(self.root, entry, point, side));
        let page = self.reads.range_back(&from, &to, limit)?;
        page.into_iter().map(|(key, stored)| parse(&key, || decode(&key, stored))).collect()
    }

    /// The versions of an entry from a point and side on, the oldest first, of all sides.
    pub(crate) fn versions_from(&self, entry: EntryId, from: (Point, u32), limit: usize) -> Result<Vec<At>, Error> {
        let (_, to) = keys::versions(self.root, entry);
        let page = self.reads.range(&keys::version(self.root, entry, from.0, from.1), &to, limit)?;
        page.into_iter().map(|(key, stored)| parse(&key, || decode(&key, stored))).collect()
    }

    /// The version before one, of those that were accepted.
    pub(crate) fn before(&self, at: &At) -> Result<Option<At>, Error> {
        let mut before = (at.point, 0);
        loop {
            let page = self.versions_before(at.row().id, Some(before), FEW)?;
            let Some(last) = page.last() else { return Ok(None) };
            before = (last.point, last.side);
            if let Some(found) = page.into_iter().find(|at| at.side == 0) {
                return Ok(Some(found));
            }
        }
    }

    /// Who was at a place at a point, alive.
    pub(crate) fn occupant(&self, place: &Place, point: Point) -> Result<Option<At>, Error> {
        let (from, to) = keys::places_until(self.root, place, point);
        // Who came last: those before have left it before.
        let last = self.reads.raw_range_back(&from, &to, 1)?;
        let Some((key, value)) = last.first() else { return Ok(None) };
        let entry = entry_of(key, value)?;
        Ok(self.at(entry, point)?.filter(|at| at.is_live() && at.row().place == *place))
    }

    /// Who came to a place up to a point, the last one first, each once.
    fn came_to(&self, place: &Place, point: Point) -> Result<Vec<EntryId>, Error> {
        let (from, to) = keys::places_until(self.root, place, point);
        let mut came = Vec::new();
        for (key, value) in self.reads.raw_range_back(&from, &to, PAGE)? {
            let entry = entry_of(&key, &value)?;
            if !came.contains(&entry) && came.len() < SAME_NAME {
                came.push(entry);
            }
        }
        Ok(came)
    }

    /// The arrivals at a place before a point, the last one first: when, and who.
    pub(crate) fn arrivals(&self, place: &Place, until: Point, limit: usize) -> Result<Vec<(Point, EntryId)>, Error> {
        let (from, to) = keys::places_until(self.root, place, until);
        let rows = self.reads.raw_range_back(&from, &to, limit)?;
        let arrival = |(key, value): (bytes::Bytes, bytes::Bytes)| {
            let (_, point) = keys::parse_place(&key).ok_or_else(|| Error::damaged(&key))?;
            Ok((point, entry_of(&key, &value)?))
        };
        rows.into_iter().map(arrival).collect()
    }

    /// Who came last to each place in a directory up to a point, by name: whether they are still there is not looked at.
    pub(crate) fn last_in(&self, directory: EntryId, point: Point) -> Result<Vec<(Name, EntryId)>, Error> {
        let (mut from, to) = keys::places_in(self.root, directory);
        let mut found: Vec<(Name, EntryId)> = Vec::new();
        loop {
            let page = self.reads.raw_range(&from, &to, quics_meta::MAX_PAGE)?;
            let full = page.len() == quics_meta::MAX_PAGE;
            for (key, value) in &page {
                let (name, came) = keys::parse_place(key).ok_or_else(|| Error::damaged(key))?;
                if came > point {
                    continue;
                }
                let entry = entry_of(key, value)?;
                match found.last_mut() {
                    Some((last, who)) if last.as_bytes() == name => *who = entry,
                    _ => {
                        let name = Name::new(bytes::Bytes::copy_from_slice(name)).map_err(|_| Error::damaged(key))?;
                        found.push((name, entry));
                    }
                }
            }
            match page.last() {
                Some((key, _)) if full => from = keys::behind(key),
                _ => return Ok(found),
            }
        }
    }

    /// What was in a directory at a point, by name.
    pub(crate) fn members(&self, directory: EntryId, point: Point) -> Result<Vec<At>, Error> {
        let mut members = Vec::new();
        for (name, entry) in self.last_in(directory, point)? {
            let at = self.at(entry, point)?;
            let there = |at: &At| at.is_live() && at.row().place.parent == directory && at.row().place.name == name;
            members.extend(at.filter(there));
        }
        Ok(members)
    }

    /// The entry that was at a path at a point, alive; the top for the empty path.
    pub(crate) fn find(&self, path: &[Name], point: Point) -> Result<Option<EntryId>, Error> {
        let mut entry = EntryId::TOP;
        for name in path {
            match self.occupant(&Place { parent: entry, name: name.clone() }, point)? {
                Some(at) => entry = at.row().id,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }

    /// The entry that was at a path last, up to a point: the directories above it may have had other names since, or be gone.
    pub(crate) fn find_last(&self, path: &[Name], point: Point) -> Result<Option<EntryId>, Error> {
        let mut looks = LOOKS;
        self.find_below(EntryId::TOP, path, point, &mut looks)
    }

    fn find_below(
        &self,
        parent: EntryId,
        path: &[Name],
        point: Point,
        looks: &mut usize,
    ) -> Result<Option<EntryId>, Error> {
        let Some((name, rest)) = path.split_first() else { return Ok(Some(parent)) };
        for entry in self.came_to(&Place { parent, name: name.clone() }, point)? {
            let Some(left) = looks.checked_sub(1) else { return Ok(None) };
            *looks = left;
            if let Some(found) = self.find_below(entry, rest, point, looks)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether a place was somewhere below a directory at a point.
    pub(crate) fn is_below(&self, place: &Place, directory: EntryId, point: Point) -> Result<bool, Error> {
        let mut above = place.parent;
        for _ in 0..limits::DEPTH {
            if above == directory {
                return Ok(true);
            }
            match self.at(above, point)? {
                Some(at) if above != EntryId::TOP => above = at.row().place.parent,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The last point at which everything accepted until a moment had happened; `None` if nothing had.
    pub(crate) fn point_at(&self, moment: WallTime) -> Result<Option<Point>, Error> {
        let (from, mut to) = keys::all(b't', self.root);
        // The newest generation that had begun by then.
        let generation = loop {
            let last = self.reads.raw_range_back(&from, &to, 1)?;
            let Some((key, _)) = last.first() else { return Ok(None) };
            let (point, ..) = keys::parse_timeline(key).ok_or_else(|| Error::damaged(key))?;
            let begin = keys::timeline_at(self.root, Point { generation: point.generation, seq: 0 });
            let first = self.first_moment(&begin)?;
            if first.is_some_and(|(_, first)| first <= moment) {
                break (point, begin);
            }
            to = begin;
        };
        let (Point { generation, seq: mut behind }, begin) = generation;
        let Some((Point { seq: mut within, .. }, _)) = self.first_moment(&begin)? else { return Ok(None) };
        behind = behind.saturating_add(1);
        // `within` has happened by then; `behind` and what follows has not.
        while behind - within > 1 {
            let middle = within + (behind - within) / 2;
            let key = keys::timeline_at(self.root, Point { generation, seq: middle });
            match self.first_moment(&key)? {
                Some((at, then)) if at.generation == generation && at.seq < behind && then <= moment => within = at.seq,
                _ => behind = middle,
            }
        }
        Ok(Some(Point { generation, seq: within }))
    }

    /// The first point of the timeline from a key on, and its moment.
    fn first_moment(&self, from: &[u8]) -> Result<Option<(Point, WallTime)>, Error> {
        let (_, to) = keys::all(b't', self.root);
        let rows = self.reads.raw_range(from, &to, 1)?;
        rows.first().map(|(key, value)| moment_of(key, value)).transpose()
    }

    /// The latest acceptance up to a version; `None` if there is no such version.
    pub(crate) fn moment_of(&self, point: Point, entry: EntryId, side: u32) -> Result<Option<WallTime>, Error> {
        let key = keys::timeline(self.root, point, entry, side);
        let value = self.reads.raw(&key)?;
        Ok(value.map(|value| moment_of(&key, &value)).transpose()?.map(|(_, moment)| moment))
    }

    /// The latest acceptance up to a point; `None` before the first.
    pub(crate) fn moment_at(&self, point: Point) -> Result<Option<WallTime>, Error> {
        let (from, _) = keys::all(b't', self.root);
        let rows = self.reads.raw_range_back(&from, &keys::timeline_behind(self.root, point), 1)?;
        Ok(rows.first().map(|(key, value)| moment_of(key, value)).transpose()?.map(|(_, moment)| moment))
    }

    /// The version of an entry with this logical time: of the newest generation that has one.
    pub(crate) fn with_time(&self, entry: EntryId, time: u64) -> Result<Option<At>, Error> {
        let Some(newest) = self.at(entry, Point { generation: u32::MAX, seq: u64::MAX })? else { return Ok(None) };
        let mut newest = Some(newest);
        while let Some(last) = newest {
            let generation = last.point.generation;
            let (mut low, mut high) = (0, last.point.seq);
            // The first version whose time is not below lies in (low, high].
            let mut found = last;
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                match self.at(entry, Point { generation, seq: middle })? {
                    Some(at) if at.point.generation == generation && at.row().time.0 >= time => {
                        high = at.point.seq;
                        found = at;
                    }
                    _ => low = middle,
                }
            }
            if found.row().time.0 == time {
                return Ok(Some(found));
            }
            newest = match generation {
                0 => None,
                later => self.at(entry, Point { generation: later - 1, seq: u64::MAX })?,
            };
        }
        Ok(None)
    }
}

/// Looks for many entries in the order of their ids, by going through the versions: where most of them are wanted, that
/// takes a fraction of a look for each.
pub(crate) struct Sweep<'a> {
    view: View<'a>,
    page: std::vec::IntoIter<(bytes::Bytes, Stored)>,
    next: bytes::Bytes,
    ended: bool,
}

impl<'a> Sweep<'a> {
    /// Versions of one entry, on average, up to which going through them is faster: measured.
    pub(crate) const DENSE: u64 = 16;

    pub(crate) fn new(view: View<'a>) -> Self {
        Self { view, page: Vec::new().into_iter(), next: bytes::Bytes::new(), ended: false }
    }

    /// As [`View::at_both`]; the entry is behind the one before.
    pub(crate) fn both(&mut self, entry: EntryId, later: Point, earlier: Point) -> Result<[Option<At>; 2], Error> {
        let (from, to) = keys::versions(self.view.root, entry);
        let mut found: [Option<(bytes::Bytes, Stored)>; 2] = [None, None];
        loop {
            while let Some((key, _)) = self.page.as_slice().first() {
                if *key >= to {
                    return decoded(found);
                }
                let Some((key, stored)) = self.page.next() else { break };
                let (_, point, side) = keys::parse_version(&key).ok_or_else(|| Error::damaged(&key))?;
                if key < from || side > 0 || point > later {
                    continue;
                }
                if point <= earlier {
                    found[1] = Some((key.clone(), stored.clone()));
                }
                found[0] = Some((key, stored));
            }
            if self.ended {
                return decoded(found);
            }
            let (_, end) = keys::all(b'v', self.view.root);
            let page = self.view.reads.range(self.next.as_ref().max(&from), &end, PAGE)?;
            self.ended = page.len() < PAGE;
            if let Some((key, _)) = page.last() {
                self.next = keys::behind(key);
            }
            self.page = page.into_iter();
        }
    }
}

fn decoded([later, earlier]: [Option<(bytes::Bytes, Stored)>; 2]) -> Result<[Option<At>; 2], Error> {
    let at =
        |row: Option<(bytes::Bytes, Stored)>| row.map(|(key, stored)| parse(&key, || decode(&key, stored))).transpose();
    Ok([at(later)?, at(earlier)?])
}

/// Finds paths at one point, each directory's once.
pub(crate) struct Paths<'a> {
    view: View<'a>,
    point: Point,
    known: HashMap<EntryId, bytes::Bytes>,
}

/// Directories whose paths are remembered.
const KNOWN: usize = 65_536;

impl<'a> Paths<'a> {
    pub(crate) fn new(view: View<'a>, point: Point) -> Self {
        Self { view, point, known: HashMap::new() }
    }

    /// The path of a place. Directories that are not there any more count with their last names.
    pub(crate) fn of(&mut self, place: &Place) -> Result<bytes::Bytes, Error> {
        let mut above = Vec::new();
        let mut parent = place.parent;
        let mut path = Vec::new();
        for _ in 0..limits::DEPTH {
            if parent == EntryId::TOP {
                break;
            }
            if let Some(known) = self.known.get(&parent) {
                path.extend_from_slice(known);
                path.push(b'/');
                break;
            }
            let Some(at) = self.view.at(parent, self.point)? else { break };
            let at = at.version.row.place;
            above.push((parent, at.name));
            parent = at.parent;
        }
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        for (directory, name) in above.into_iter().rev() {
            path.extend_from_slice(name.as_bytes());
            self.known.insert(directory, bytes::Bytes::copy_from_slice(&path));
            path.push(b'/');
        }
        path.extend_from_slice(place.name.as_bytes());
        Ok(path.into())
    }
}

fn parse(key: &[u8], version: impl FnOnce() -> Result<Kept<Version>, quics_records::Error>) -> Result<At, Error> {
    let (_, point, side) = keys::parse_version(key).ok_or_else(|| Error::damaged(key))?;
    Ok(At { point, side, version: version()?.record })
}

fn entry_of(key: &[u8], value: &[u8]) -> Result<EntryId, Error> {
    EntryId::from_slice(value).map_err(|_| Error::damaged(key))
}

fn moment_of(key: &[u8], value: &[u8]) -> Result<(Point, WallTime), Error> {
    let (point, ..) = keys::parse_timeline(key).ok_or_else(|| Error::damaged(key))?;
    let moment = value.try_into().map(u64::from_be_bytes).map_err(|_| Error::damaged(key))?;
    Ok((point, WallTime(moment)))
}

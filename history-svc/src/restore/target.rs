//! What entries are to be again.

use std::collections::{BTreeSet, HashMap};

use quics_types::{DeviceId, EntryId, GroupId, LogicalTime, Place, WallTime};

use super::Looked;
use crate::Error;
use crate::db::keys::{self, Point};
use crate::db::records::Version;
use crate::encode::{Moment, Subject};
use crate::plan::{Node, Tree};
use crate::query;
use crate::view::{At, View};

/// Entries that one restore looks at, at most: about half a gigabyte of memory.
const MOST: usize = 2_000_000;
/// Rows of one look at the timeline.
const ROWS: usize = quics_meta::MAX_PAGE;

/// What entries are to be again.
pub(super) enum Target {
    /// What they were at a point: what is in this directory (the top: all), or this entry alone.
    Point { point: Point, of: EntryId, moment: Option<WallTime> },
    /// One entry's version; what is around it as of its point.
    Version(Box<At>),
    /// What they were before some changes, and the logical times that those gave them last.
    Undo(HashMap<EntryId, (Option<Point>, LogicalTime)>),
}

impl Target {
    pub(super) fn moment(
        view: View<'_>,
        subject: &Subject,
        moment: Moment,
        from: Point,
        now: WallTime,
    ) -> Result<Self, Error> {
        if let Moment::Version { .. } = moment {
            let at = query::version(view, subject, Some(moment), now)?;
            if at.point > from {
                return Err(Error::Outdated);
            }
            // What is in a directory has versions of its own: at the moment of its version it was empty, most often.
            if at.row().value.is_directory() {
                return Err(Error::Asked(
                    "a version of a directory says nothing of what is in it; say a time or a commit (#1200)",
                ));
            }
            if let Some(removed) = &at.version.removed {
                return Err(Error::Gone(format!(
                    "the content of that version is not kept any more: {}",
                    removed.told()
                )));
            }
            return Ok(Self::Version(Box::new(at)));
        }
        let point = query::point(view, Some(moment), now)?;
        let of = query::entry(view, subject, point)?;
        if of != EntryId::TOP && !view.at(of, point)?.is_some_and(|at| at.is_live()) {
            return Err(Error::Nothing("it was not there then: there is nothing to bring back".into()));
        }
        let moment = match moment {
            Moment::Time(time) => Some(time),
            _ => view.moment_at(point)?,
        };
        Ok(Self::Point { point, of, moment })
    }

    pub(super) fn undo(view: View<'_>, id: GroupId, from: Point) -> Result<Self, Error> {
        let group = view.group(id)?.ok_or_else(|| Error::Nothing("no restore of this root has this id".into()))?.record;
        if group.changes == 0 {
            return Err(Error::Nothing("this restore has changed nothing: there is nothing to take back".into()));
        }
        if group.first > from {
            return Err(Error::Outdated);
        }
        Self::before(view, (group.first, group.last.min(from)), |version| version.group == Some(id))
    }

    /// What a device has changed since a commit of the newest chain.
    pub(super) fn burst(view: View<'_>, device: DeviceId, since: u64, from: Point) -> Result<Self, Error> {
        let first = Point { seq: since, ..from };
        if first > from {
            return Err(Error::Outdated);
        }
        Self::before(view, (first, from), |version| version.device == device)
    }

    /// What was before those changes of a time that are chosen.
    fn before(view: View<'_>, (first, last): (Point, Point), chosen: impl Fn(&Version) -> bool) -> Result<Self, Error> {
        let mut before: HashMap<EntryId, (Option<Point>, LogicalTime)> = HashMap::new();
        let mut at = keys::timeline_at(view.root, first);
        let end = keys::timeline_behind(view.root, last);
        loop {
            let rows = view.reads.raw_range(&at, &end, ROWS)?;
            for (key, _) in &rows {
                let (point, entry, side) = keys::parse_timeline(key).ok_or_else(|| Error::damaged(key))?;
                if side > 0 {
                    continue;
                }
                let version = view.version(entry, point, side)?.ok_or_else(|| Error::damaged(key))?;
                if !chosen(&version.version) {
                    continue;
                }
                let time = version.row().time;
                if let Some((_, last)) = before.get_mut(&entry) {
                    *last = time;
                } else if before.len() >= MOST {
                    return Err(Error::TooMuch);
                } else {
                    before.insert(entry, (view.before(&version)?.map(|at| at.point), time));
                }
            }
            match rows.last() {
                Some((key, _)) if rows.len() == ROWS => at = keys::behind(key),
                _ => return Ok(Self::Undo(before)),
            }
        }
    }

    /// The entries that may be others than they are to be, by their ids.
    pub(super) fn entries(&self, view: View<'_>, from: Point) -> Result<Vec<EntryId>, Error> {
        let point = match self {
            Self::Version(at) => return Ok(vec![at.row().id]),
            Self::Undo(before) => {
                let mut entries: Vec<EntryId> = before.keys().copied().collect();
                entries.sort_unstable();
                return Ok(entries);
            }
            Self::Point { point, .. } => *point,
        };
        let mut entries = BTreeSet::new();
        let mut at = keys::timeline_behind(view.root, point);
        let end = keys::timeline_behind(view.root, from);
        while at < end {
            let rows = view.reads.raw_range(&at, &end, ROWS)?;
            for (key, _) in &rows {
                let (_, entry, side) = keys::parse_timeline(key).ok_or_else(|| Error::damaged(key))?;
                if side == 0 {
                    entries.insert(entry);
                }
            }
            if entries.len() > MOST {
                return Err(Error::TooMuch);
            }
            match rows.last() {
                Some((key, _)) if rows.len() == ROWS => at = keys::behind(key),
                _ => break,
            }
        }
        Ok(entries.into_iter().collect())
    }

    /// What an entry is and is to be, live or not.
    pub(super) fn both(&self, view: View<'_>, entry: EntryId, from: Point) -> Result<[Option<At>; 2], Error> {
        match self {
            Self::Point { point, .. } => view.at_both(entry, from, *point),
            Self::Version(_) | Self::Undo(_) => Ok([view.at(entry, from)?, self.then(view, entry, from)?]),
        }
    }

    /// What an entry is to be, live or not.
    pub(super) fn then(&self, view: View<'_>, entry: EntryId, from: Point) -> Result<Option<At>, Error> {
        match self {
            Self::Point { point, .. } => view.at(entry, *point),
            Self::Version(at) if at.row().id == entry => Ok(Some((**at).clone())),
            Self::Version(at) => view.at(entry, at.point),
            Self::Undo(before) => match before.get(&entry) {
                Some((Some(point), _)) => view.at(entry, *point),
                Some((None, _)) => Ok(None),
                None => view.at(entry, from),
            },
        }
    }

    /// The time up to which a device's own clock says that a change was made before the moment.
    pub(super) fn moment_of(&self) -> Option<WallTime> {
        match self {
            Self::Point { moment, .. } => *moment,
            Self::Version(_) | Self::Undo(_) => None,
        }
    }

    /// Whether an entry has changed since the restore that is undone.
    pub(super) fn has_changed(&self, entry: EntryId, now: Option<&At>) -> bool {
        match self {
            Self::Undo(before) => {
                before.get(&entry).is_some_and(|(_, time)| now.is_none_or(|now| now.row().time != *time))
            }
            Self::Point { .. } | Self::Version(_) => false,
        }
    }
}

/// The entry as the planner wants it; `None` where it is not there.
pub(super) fn node(at: Option<&At>) -> Option<Node> {
    let row = at.filter(|at| at.is_live())?.row();
    // A copy: the name would keep its whole row in memory.
    let name = quics_types::Name::new(bytes::Bytes::copy_from_slice(row.place.name.as_bytes())).ok()?;
    Some(Node { place: Place { parent: row.place.parent, name }, directory: row.value.is_directory() })
}

/// What is and what is to be, for the planner.
pub(super) struct Between<'a> {
    pub(super) view: View<'a>,
    pub(super) from: Point,
    pub(super) target: &'a Target,
    /// What was looked at.
    pub(super) known: &'a HashMap<EntryId, Looked>,
}

impl Tree for Between<'_> {
    type Error = Error;

    fn now(&mut self, id: EntryId) -> Result<Option<Node>, Error> {
        if id == EntryId::TOP {
            return Ok(None);
        }
        match self.known.get(&id) {
            Some(known) => Ok(known.now.clone()),
            None => Ok(node(self.view.at(id, self.from)?.as_ref())),
        }
    }

    fn then(&mut self, id: EntryId) -> Result<Option<Node>, Error> {
        Ok(node(self.target.then(self.view, id, self.from)?.as_ref()))
    }

    fn occupant(&mut self, place: &Place) -> Result<Option<EntryId>, Error> {
        let arrivals = self.view.arrivals(place, self.from, 1)?;
        let Some((_, entry)) = arrivals.first() else { return Ok(None) };
        Ok(self.now(*entry)?.filter(|now| now.place == *place).map(|_| *entry))
    }

    fn members(&mut self, directory: EntryId) -> Result<Vec<EntryId>, Error> {
        let mut members = Vec::new();
        for (name, entry) in self.view.last_in(directory, self.from)? {
            let place = Place { parent: directory, name };
            if self.now(entry)?.is_some_and(|now| now.place == place) {
                members.push(entry);
            }
        }
        Ok(members)
    }
}

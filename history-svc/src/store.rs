//! Writes events down: all of a batch, and the position behind it, in one commit.

use std::collections::HashMap;

use bytes::Bytes;
use quics_kit::access::Access;
use quics_meta::Batch;
use quics_reconcile::Row;
use quics_records::{Kept, Reads, get, pieces, put};
use quics_types::{DeviceId, EntryId, GroupId, Place, RootId};

use crate::Error;
use crate::db::keys::{self, Point};
use crate::db::records::{Applied, Cause, Group, Root, Version};
use crate::intake::{Names, Told};
use crate::view::{View, applied};

/// A batch in the making: reads what was submitted before, and itself.
pub(crate) struct Writer<'a> {
    reads: Reads<'a>,
    access: &'a dyn Access,
    batch: Batch,
    pub(crate) applied: Applied,
    applied_pieces: u16,
    roots: HashMap<RootId, Kept<Root>>,
    groups: HashMap<(RootId, GroupId), Kept<Group>>,
    /// What this batch made of entries.
    rows: HashMap<(RootId, EntryId), Row>,
    /// The newest side of an entry's newest time.
    sides: HashMap<(RootId, EntryId), u32>,
    names: HashMap<DeviceId, Names>,
    /// Roots that have to be compared with sync-svc.
    comparing: HashMap<RootId, bool>,
    pub(crate) versions: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(reads: Reads<'a>, access: &'a dyn Access) -> Result<Self, Error> {
        let kept = get::<Applied>(reads, keys::APPLIED)?;
        let applied_pieces = pieces(&kept);
        Ok(Self {
            reads,
            access,
            batch: Batch::new(),
            applied: kept.map(|kept| kept.record).unwrap_or_default(),
            applied_pieces,
            roots: HashMap::new(),
            groups: HashMap::new(),
            rows: HashMap::new(),
            sides: HashMap::new(),
            names: HashMap::new(),
            comparing: HashMap::new(),
            versions: 0,
        })
    }

    /// Takes an event in. One that was applied before changes nothing.
    pub(crate) fn event(&mut self, told: &Told) -> Result<(), Error> {
        let (epoch, number) = told.position;
        if self.applied.position.is_some_and(|(of, last)| of == epoch && number <= last) {
            return Ok(());
        }
        self.applied.position = Some(told.position);
        let point = Point { generation: self.applied.generation, seq: told.cursor.seq };
        let root = self.root(told.root)?;
        root.record.point = root.record.point.max(point);
        root.record.epoch = told.cursor.epoch;
        root.record.moment = root.record.moment.max(told.accepted);
        let names = self.names(told.device);
        if let Some(version) = told.version(names)
            && !self.is_known(told.root, &version)?
        {
            self.set(told.root, point, &version, told.came_to())?;
            if let Some(group) = told.group {
                self.group(told, group, point)?;
            }
        }
        let Some((entry, losers)) = &told.lost else { return Ok(()) };
        let Some(current) = self.row(told.root, *entry)? else { return Ok(()) };
        let mut side = self.sides(told.root, *entry, &current)?;
        for loser in losers {
            side += 1;
            let names = self.names(loser.key.0);
            let version = loser.version(told, &current, names);
            self.version(told.root, point, side, &version)?;
        }
        self.sides.insert((told.root, *entry), side);
        Ok(())
    }

    /// Sets what an entry is from a point on. Its moment is the one up to which the root is known, or, of what was found, the
    /// one of its acceptance.
    pub(crate) fn set(
        &mut self,
        root: RootId,
        point: Point,
        version: &Version,
        came_to: Option<&Place>,
    ) -> Result<(), Error> {
        let entry = version.row.id;
        if let Some(place) = came_to {
            self.came(root, place, point, entry);
        }
        self.rows.insert((root, entry), version.row.clone());
        self.sides.insert((root, entry), 0);
        self.version(root, point, 0, version)
    }

    /// Notes that an entry is at a place from a point on.
    pub(crate) fn came(&mut self, root: RootId, place: &Place, point: Point, entry: EntryId) {
        self.batch.put(keys::place(root, place, point), Bytes::copy_from_slice(entry.as_bytes()));
    }

    fn version(&mut self, root: RootId, point: Point, side: u32, version: &Version) -> Result<(), Error> {
        let state = self.root(root)?;
        state.record.versions += 1;
        let moment = if version.cause == Cause::Found { version.accepted } else { state.record.moment };
        self.versions += 1;
        let timeline = keys::timeline(root, point, version.row.id, side);
        self.batch.put(timeline, Bytes::copy_from_slice(&moment.0.to_be_bytes()));
        // A version that is there already had as many pieces: it is the same one.
        put(&mut self.batch, keys::version(root, version.row.id, point, side), version, 0);
        Ok(())
    }

    /// Whether a version that a server of another chain tells of is one that was applied before, in its old chain.
    fn is_known(&mut self, root: RootId, version: &Version) -> Result<bool, Error> {
        let comparing = match self.comparing.get(&root) {
            Some(comparing) => *comparing,
            None => {
                let comparing = self.reads.raw(&keys::repair(root))?.is_some();
                self.comparing.insert(root, comparing);
                comparing
            }
        };
        if !comparing || self.rows.contains_key(&(root, version.row.id)) {
            return Ok(false);
        }
        let last = Point { generation: u32::MAX, seq: u64::MAX };
        let known = View::new(self.reads, root).at(version.row.id, last)?;
        Ok(known.is_some_and(|known| *known.row() == version.row && known.version.accepted == version.accepted))
    }

    fn group(&mut self, told: &Told, id: GroupId, point: Point) -> Result<(), Error> {
        let key = (told.root, id);
        if !self.groups.contains_key(&key) {
            let kept = View::new(self.reads, told.root).group(id)?;
            let kept = match kept {
                Some(kept) => kept,
                None => {
                    self.batch.put(keys::group_order(told.root, point, id), Bytes::new());
                    let device_name = self.names(told.device).device;
                    let (device, at) = (told.device, told.accepted);
                    let record = Group { device, device_name, at, first: point, last: point, changes: 0 };
                    Kept { record, pieces: 0 }
                }
            };
            self.groups.insert(key, kept);
        }
        if let Some(kept) = self.groups.get_mut(&key) {
            kept.record.last = point;
            kept.record.changes += 1;
        }
        Ok(())
    }

    pub(crate) fn names(&mut self, device: DeviceId) -> Names {
        let access = self.access;
        let names = || Names {
            device: access.device_name(device).unwrap_or_default(),
            user: access.user_name(device).unwrap_or_default(),
        };
        self.names.entry(device).or_insert_with(names).clone()
    }

    pub(crate) fn root(&mut self, root: RootId) -> Result<&mut Kept<Root>, Error> {
        if !self.roots.contains_key(&root) {
            let none =
                Root { point: Point::BEGIN, epoch: quics_types::Epoch(0), moment: Default::default(), versions: 0 };
            let kept = get(self.reads, &keys::root(root))?.unwrap_or(Kept { record: none, pieces: 0 });
            self.roots.insert(root, kept);
        }
        self.roots.get_mut(&root).ok_or(Error::Task)
    }

    /// What an entry is now.
    fn row(&self, root: RootId, entry: EntryId) -> Result<Option<Row>, Error> {
        if let Some(row) = self.rows.get(&(root, entry)) {
            return Ok(Some(row.clone()));
        }
        let last = Point { generation: u32::MAX, seq: u64::MAX };
        Ok(View::new(self.reads, root).at(entry, last)?.map(|at| at.version.row))
    }

    /// The highest side that the entry's time has.
    fn sides(&self, root: RootId, entry: EntryId, current: &Row) -> Result<u32, Error> {
        if let Some(side) = self.sides.get(&(root, entry)) {
            return Ok(*side);
        }
        let versions = View::new(self.reads, root).versions_before(entry, None, quics_types::limits::CANDIDATES + 1)?;
        let of_time = versions.iter().filter(|at| at.row().time == current.time);
        Ok(of_time.map(|at| at.side).max().unwrap_or(0))
    }

    /// Notes that a root has to be compared with sync-svc.
    pub(crate) fn want_repair(&mut self, root: RootId) {
        self.batch.put(keys::repair(root), Bytes::from_static(&[1]));
    }

    /// Notes that it was.
    pub(crate) fn repaired(&mut self, root: RootId) {
        self.batch.delete(keys::repair(root));
    }

    /// How much the batch holds by now, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.batch.encoded_len()
    }

    /// Ends the batch.
    pub(crate) fn finish(mut self) -> Batch {
        for (root, kept) in &self.roots {
            put(&mut self.batch, keys::root(*root), &kept.record, kept.pieces);
        }
        for ((root, group), kept) in &self.groups {
            put(&mut self.batch, keys::group(*root, *group), &kept.record, kept.pieces);
        }
        put(&mut self.batch, Bytes::from_static(keys::APPLIED), &self.applied, self.applied_pieces);
        self.batch
    }
}

/// The roots that have to be compared with sync-svc.
pub(crate) fn to_repair(reads: Reads<'_>) -> Result<Vec<RootId>, Error> {
    let rows = reads.raw_range(b"x", &keys::after_prefix(b"x"), quics_meta::MAX_PAGE)?;
    Ok(rows.iter().filter_map(|(key, _)| keys::parse_root(key)).collect())
}

/// The roots of which something is known, from one on: a page of them, with their states.
pub(crate) fn roots(reads: Reads<'_>, after: Option<RootId>, limit: usize) -> Result<Vec<(RootId, Root)>, Error> {
    let from = after.map_or(Bytes::from_static(b"r"), |root| keys::behind(&keys::root(root)));
    let rows = reads.range(&from, &keys::after_prefix(b"r"), limit)?;
    let root = |(key, stored): (Bytes, _)| {
        let root = keys::parse_root(&key).ok_or_else(|| Error::damaged(&key))?;
        Ok((root, quics_records::decode(&key, stored)?.record))
    };
    rows.into_iter().map(root).collect()
}

/// How far the events are applied, durably.
pub(crate) fn durable(meta: &dyn quics_meta::MetaStore) -> Result<Applied, Error> {
    applied(Reads::durable(meta))
}

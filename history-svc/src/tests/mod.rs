//! A server that makes random lives, and a history of it in memory.

mod keeping;
mod lives;
mod purges;
mod queries;
mod repairs;
mod restores;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use quics_kit::members::{Change, Denied};
use quics_meta::{Memory, MetaStore};
use quics_proto::common::v1 as common;
use quics_proto::sync::v1 as sync;
use quics_reconcile::{Row, Value};
use quics_records::Reads;
use quics_types::{
    Cursor, DeviceId, Digest, EntryId, Epoch, LogicalTime, Mtime, Name, Place, Role, RootId, UserId, WallTime,
};
use tokio::sync::broadcast;

use crate::Access;
use crate::intake::Told;
use crate::store::Writer;
use crate::view::View;

pub(crate) const ROOT: RootId = RootId::from_bytes([1; 16]);
pub(crate) const DEVICE: DeviceId = DeviceId::from_bytes([2; 16]);

pub(crate) fn id(number: u64) -> EntryId {
    EntryId::from_bytes((u128::from(number) + 1).to_be_bytes())
}

pub(crate) fn place(parent: EntryId, name: &str) -> Place {
    Place { parent, name: Name::new(name.to_owned()).unwrap() }
}

pub(crate) fn file(content: u64) -> Value {
    Value::File { content: Digest::of(&content.to_be_bytes()), size: content }
}

/// Everybody may do everything.
pub(crate) struct Everybody;

impl Access for Everybody {
    fn role(&self, _: RootId, _: DeviceId) -> Result<Role, Denied> {
        Ok(Role::Owner)
    }
    fn role_soon(&self, _: RootId, _: DeviceId) -> Pin<Box<dyn Future<Output = Result<Role, Denied>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(Role::Owner)))
    }
    fn attached(&self, _: RootId) -> Vec<DeviceId> {
        Vec::new()
    }
    fn roots(&self) -> Vec<RootId> {
        vec![ROOT]
    }
    fn changes(&self) -> broadcast::Receiver<Change> {
        broadcast::channel(1).1
    }
    fn seen(&self, _: DeviceId) {}
    fn user(&self, _: DeviceId) -> Option<UserId> {
        None
    }
    fn device_name(&self, device: DeviceId) -> Option<String> {
        Some(format!("device {}", device.as_bytes()[0]))
    }
    fn user_name(&self, _: DeviceId) -> Option<String> {
        Some("ada".into())
    }
}

/// What is, under sync-svc's rules; it tells of each change.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) rows: BTreeMap<EntryId, Row>,
    pub(crate) seq: u64,
    pub(crate) events: Vec<sync::Event>,
    pub(crate) group: Bytes,
}

impl Server {
    pub(crate) fn live(&self, id: EntryId) -> Option<&Row> {
        self.rows.get(&id).filter(|row| !row.dead)
    }

    pub(crate) fn at(&self, place: &Place) -> Option<EntryId> {
        self.rows.values().find(|row| !row.dead && row.place == *place).map(|row| row.id)
    }

    fn has_members(&self, id: EntryId) -> bool {
        self.rows.values().any(|row| !row.dead && row.place.parent == id)
    }

    /// The moment at which a commit is accepted: a second each.
    pub(crate) fn moment(seq: u64) -> WallTime {
        WallTime((1_000_000 + seq) * 1_000_000)
    }

    /// Sets an entry as sync-svc would; `None` deletes it.
    pub(crate) fn set(&mut self, id: EntryId, to: Option<(Place, Value)>) -> Result<(), String> {
        let old = self.rows.get(&id).cloned();
        let ends = to.as_ref().is_none_or(|(_, value)| !value.is_directory());
        if ends && self.has_members(id) {
            return Err(format!("{id}: it is not empty"));
        }
        let mut row = match (&old, &to) {
            (Some(old), _) => old.clone(),
            (None, Some((place, value))) => Row {
                id,
                place: place.clone(),
                value: value.clone(),
                mode: 0o644,
                mtime: Mtime::default(),
                attributes: BTreeMap::new(),
                dead: true,
                time: LogicalTime::NEVER,
                content_time: LogicalTime::NEVER,
                place_time: LogicalTime::NEVER,
                attributes_time: LogicalTime::NEVER,
            },
            (None, None) => return Err(format!("{id}: it is not there")),
        };
        match to {
            Some((place, value)) => {
                let mut above = place.parent;
                while above != EntryId::TOP {
                    let parent = self.live(above).ok_or_else(|| format!("{id}: its parent is gone"))?;
                    if above == id || !parent.value.is_directory() {
                        return Err(format!("{id}: it cannot be there"));
                    }
                    above = parent.place.parent;
                }
                if self.at(&place).is_some_and(|other| other != id) {
                    return Err(format!("{id}: its place is taken"));
                }
                (row.place, row.value, row.dead) = (place, value, false);
            }
            None if row.dead => return Err(format!("{id}: it is dead")),
            None => row.dead = true,
        }
        row.time = row.time.next();
        (row.content_time, row.place_time, row.attributes_time) = (row.time, row.time, row.time);
        self.rows.insert(id, row.clone());
        self.tell(old, Some(row));
        Ok(())
    }

    pub(crate) fn tell(&mut self, before: Option<Row>, after: Option<Row>) -> &mut sync::Event {
        self.seq += 1;
        let accepted = Mtime::from(Self::moment(self.seq));
        self.events.push(sync::Event {
            position: Some(sync::EventPosition { epoch: 1, number: self.events.len() as u64 + 1 }),
            root_id: Bytes::copy_from_slice(ROOT.as_bytes()),
            cursor: Some(Cursor { epoch: Epoch(1), seq: self.seq }.into()),
            device_id: Bytes::copy_from_slice(DEVICE.as_bytes()),
            accepted_at: Some(quics_proto::timestamp(accepted)),
            cause: match self.group.is_empty() {
                true => sync::EventCause::Proposal as i32,
                false => sync::EventCause::Group as i32,
            },
            before: before.as_ref().map(common::Row::from),
            after: after.as_ref().map(common::Row::from),
            group_id: self.group.clone(),
            ..Default::default()
        });
        self.events.last_mut().unwrap()
    }

    pub(crate) fn path(&self, id: EntryId) -> String {
        let Some(row) = self.rows.get(&id) else { return String::new() };
        let above = if row.place.parent == EntryId::TOP { String::new() } else { self.path(row.place.parent) + "/" };
        format!("{above}{}", row.place.name)
    }

    /// What is there: by path, what it is and which entry.
    pub(crate) fn tree(&self) -> BTreeMap<String, (EntryId, Value)> {
        let live = self.rows.values().filter(|row| !row.dead);
        live.map(|row| (self.path(row.id), (row.id, row.value.clone()))).collect()
    }

    /// Something happens; what the rules forbid does not.
    pub(crate) fn live_on(&mut self, dice: &mut Dice) {
        let known: Vec<EntryId> = self.rows.keys().copied().collect();
        let pick = |dice: &mut Dice| known.get(dice.roll(known.len().max(1) as u64) as usize).copied();
        let parent = match pick(dice) {
            Some(id) if dice.roll(4) > 0 => id,
            _ => EntryId::TOP,
        };
        let to = place(parent, &format!("{}", dice.roll(4)));
        let value = if dice.roll(2) == 0 { Value::Directory } else { file(dice.roll(1 << 40)) };
        // What is not allowed does not happen.
        let _ = match pick(dice).filter(|_| dice.roll(3) > 0) {
            None => self.set(id(known.len() as u64), Some((to, value))),
            Some(id) => match (dice.roll(5), self.live(id).cloned()) {
                (0, _) => self.set(id, None),
                (1, Some(row)) => self.set(id, Some((row.place, value))),
                (2 | 3, Some(row)) => self.set(id, Some((to, row.value))),
                _ => self.set(id, Some((to, value))),
            },
        };
    }
}

pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What was.
pub(crate) struct History {
    pub(crate) meta: Arc<Memory>,
    applied: usize,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { meta: Arc::new(Memory::new(1)), applied: 0 }
    }

    /// Applies what the server tells, so many events a commit.
    pub(crate) fn follow(&mut self, server: &Server, at_once: usize) {
        for events in server.events[self.applied..].chunks(at_once) {
            self.apply(events);
        }
        self.applied = server.events.len();
    }

    pub(crate) fn apply(&self, events: &[sync::Event]) {
        let mut writer = Writer::new(Reads::latest(&*self.meta), &Everybody).unwrap();
        for event in events {
            writer.event(&Told::try_from(event.clone()).unwrap()).unwrap();
        }
        self.meta.submit(writer.finish()).unwrap();
        self.meta.sync().unwrap();
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::new(Reads::durable(&*self.meta), ROOT)
    }
}

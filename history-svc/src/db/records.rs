//! The records that are stored.

use quics_reconcile::Row;
use quics_records::{choices, fields};
use quics_types::{DeviceId, Epoch, Mtime, Place, WallTime};

use super::keys::Point;

/// What an entry was, from one commit on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) row: Row,
    /// The device's own time of the change, where it told one.
    pub(crate) changed_at: Option<Mtime>,
    pub(crate) device: DeviceId,
    /// What people called the device then, and its user.
    pub(crate) device_name: String,
    pub(crate) user_name: String,
    pub(crate) cause: Cause,
    /// The epoch of the commit.
    pub(crate) epoch: Epoch,
    pub(crate) accepted: WallTime,
    /// Where it was before, if it moved.
    pub(crate) moved_from: Option<Place>,
    /// The restore that made it.
    pub(crate) group: Option<quics_types::GroupId>,
    pub(crate) removed: Option<Removed>,
}

/// Why a version has no content any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) at: WallTime,
    pub(crate) why: String,
}

impl Removed {
    /// When and why, for a sentence.
    pub(crate) fn told(&self) -> String {
        let at = i64::try_from(self.at.0).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
        match at {
            Some(at) => format!("it went on {}, {}", at.strftime("%Y-%m-%d %H:%M UTC"), self.why),
            None => self.why.clone(),
        }
    }
}

/// What made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Create,
    Edit,
    Delete,
    Move,
    Attributes,
    Restore,
    Kept,
    Lost,
    Undone,
    Found,
    /// Held by a brake, and taken back.
    HeldBack,
}

/// How far a root is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    /// The newest commit.
    pub(crate) point: Point,
    /// The epoch in which it was made.
    pub(crate) epoch: Epoch,
    /// The latest acceptance.
    pub(crate) moment: WallTime,
    pub(crate) versions: u64,
}

/// How far the events are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Applied {
    /// Epoch and number of the last one.
    pub(crate) position: Option<(u64, u64)>,
    /// What the points of new commits have.
    pub(crate) generation: u32,
    /// How often events were missing.
    pub(crate) gaps: u64,
    /// How often another chain was found.
    pub(crate) chains: u64,
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) device: DeviceId,
    pub(crate) device_name: String,
    pub(crate) at: WallTime,
    pub(crate) first: Point,
    pub(crate) last: Point,
    pub(crate) changes: u64,
}

fields!(Version {
    row,
    changed_at,
    device,
    device_name,
    user_name,
    cause,
    epoch,
    accepted,
    moved_from,
    group,
    removed,
});
fields!(Removed { at, why });
choices!(Cause { Create, Edit, Delete, Move, Attributes, Restore, Kept, Lost, Undone, Found, HeldBack });
fields!(Root { point, epoch, moment, versions });
fields!(Applied { position, generation, gaps, chains });
fields!(Group { device, device_name, at, first, last, changes });
fields!(Point { generation, seq });

#[cfg(test)]
pub(crate) mod tests {
    use quics_reconcile::Value;
    use quics_records::testing::golden;
    use quics_types::{Digest, EntryId, GroupId, LogicalTime, Name};

    use super::*;

    pub(crate) fn version() -> Version {
        let place = Place { parent: EntryId::TOP, name: Name::new("a").unwrap() };
        Version {
            row: Row {
                id: EntryId::from_bytes([1; 16]),
                place: place.clone(),
                value: Value::File { content: Digest::from_bytes([2; 32]), size: 300 },
                mode: 0o640,
                mtime: Mtime { seconds: 5, nanos: 6 },
                attributes: Default::default(),
                dead: false,
                time: LogicalTime(1),
                content_time: LogicalTime(1),
                place_time: LogicalTime(1),
                attributes_time: LogicalTime(1),
            },
            changed_at: None,
            device: DeviceId::from_bytes([3; 16]),
            device_name: "pc".into(),
            user_name: "ada".into(),
            cause: Cause::Lost,
            epoch: Epoch(7),
            accepted: WallTime(1000),
            moved_from: Some(place),
            group: Some(GroupId::from_bytes([4; 16])),
            removed: Some(Removed { at: WallTime(9), why: "x".into() }),
        }
    }

    #[test]
    fn the_formats_are_fixed() {
        golden(version(), VERSION);
        golden(Cause::HeldBack, "010a");
        let point = Point { generation: 1, seq: 300 };
        golden(Root { point, epoch: Epoch(7), moment: WallTime(1000), versions: 2 }, "0101ac020000000000000007e80702");
        golden(Applied { position: Some((7, 300)), generation: 1, gaps: 2, chains: 3 }, "010107ac02010203");
        let group = Group {
            device: DeviceId::from_bytes([3; 16]),
            device_name: "pc".into(),
            at: WallTime(1000),
            first: Point::BEGIN,
            last: point,
            changes: 2,
        };
        golden(group, "0103030303030303030303030303030303027063e807000001ac0202");
    }

    const VERSION: &str = "010101010101010101010101010101010100000000000000000000000000000000016101020202020202020202020202\
        0202020202020202020202020202020202020202ac02a0030a0600000101010100030303030303030303030303030303\
        0302706303616461070000000000000007e8070100000000000000000000000000000000016101040404040404040404\
        0404040404040401090178";
}

//! The records of groups.

use quics_reconcile::{Refusal, Row};
use quics_records::{choices, fields};
use quics_types::{DeviceId, EntryId, LogicalTime};

use crate::WallTime;

/// How far a group is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// On whose behalf.
    pub device: DeviceId,
    /// Where it is.
    pub stage: Stage,
    /// Changes in all; 0 until it begins.
    pub changes: u64,
    /// Changes that were made.
    pub made: u64,
    /// Changes of entries that were so already.
    pub same: u64,
    /// Changes that were left out.
    pub left_out: u64,
    /// The first of those, with why.
    pub named: Vec<(EntryId, Refusal)>,
    /// The root's last commit when the last step was made.
    pub seq: u64,
    /// When it was finished.
    pub finished_at: WallTime,
}

impl GroupEntry {
    /// How many of its changes were looked at: they are gone.
    pub(crate) fn taken(&self) -> u64 {
        self.made + self.same + self.left_out
    }

    /// A group of which nothing is known yet.
    pub(crate) fn opened(device: DeviceId) -> Self {
        Self {
            device,
            stage: Stage::Open,
            changes: 0,
            made: 0,
            same: 0,
            left_out: 0,
            named: Vec::new(),
            seq: 0,
            finished_at: WallTime::default(),
        }
    }
}

/// Where a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its changes are coming. What is so after a restart is withdrawn.
    Open,
    /// It is carried out to its end.
    Begun,
    /// What could be done was done.
    Finished,
}

/// One change of a group: an entry is to be what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChange {
    /// The entry's logical time that the change was planned from; 0 if it never was.
    pub base_time: LogicalTime,
    /// Whether it was a tombstone then.
    pub base_dead: bool,
    /// What it is to be. Its times say nothing.
    pub target: Row,
}

fields!(GroupEntry { device, stage, changes, made, same, left_out, named, seq, finished_at });
choices!(Stage { Open, Begun, Finished });
fields!(GroupChange { base_time, base_dead, target });

#[cfg(test)]
mod tests {
    use quics_records::testing::golden;

    use super::super::records::tests::{DEVICE, row};
    use super::*;

    #[test]
    fn the_formats_are_fixed() {
        let entry = GroupEntry {
            stage: Stage::Begun,
            changes: 300,
            made: 2,
            same: 1,
            left_out: 1,
            named: vec![(row().id, Refusal::ContentGone)],
            seq: 9,
            finished_at: WallTime(1000),
            ..GroupEntry::opened(DEVICE)
        };
        golden(entry, GOLDEN_GROUP);
        golden(GroupChange { base_time: LogicalTime(300), base_dead: true, target: row() }, GOLDEN_CHANGE);
    }

    const GOLDEN_GROUP: &str =
        "010303030303030303030303030303030301ac0202010101010101010101010101010101010101010f09e807";
    const GOLDEN_CHANGE: &str = "01ac02010101010101010101010101010101010100000000000000000000000000000000036120620102020202020202\
        02020202020202020202020202020202020202020202020202ac02a00380c49fd50c0501016b01760004030104";
}

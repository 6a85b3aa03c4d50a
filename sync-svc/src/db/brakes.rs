//! The records of brakes, and of changes that they hold.

use quics_reconcile::Proposal;
use quics_records::{choices, fields};
use quics_types::DeviceId;

use crate::WallTime;

/// The brakes of a root, with their place in the feed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Brakes {
    /// Percent of the root that a device may destroy in a short time; 0: as where nobody has said anything, above 100: all.
    pub share: u32,
    /// Those on which an owner has not decided, or of which a device has not taken notice.
    pub brakes: Vec<Brake>,
    /// The commit that changed them last.
    pub(crate) seq: u64,
}

/// A brake on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brake {
    /// The device.
    pub device: DeviceId,
    /// The commit with which its burst began; with the device it names the brake.
    pub since: u64,
    /// When it was braked.
    pub at: WallTime,
    /// Entries that it changed before.
    pub changed: u64,
    /// The live entries that there were.
    pub of: u64,
    /// What was decided.
    pub stage: BrakeStage,
    /// Who decided; the device itself before.
    pub by: DeviceId,
}

/// What was decided on a brake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrakeStage {
    /// Nothing yet: changes of the device are held.
    On,
    /// They pass: the device proposes them again.
    Released,
    /// They are taken back: the device undoes them.
    TakenBack,
}

/// A change that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldEntry {
    /// What was proposed.
    pub proposal: Proposal,
    /// With which incarnation and seq.
    pub order: (u64, u64),
    /// When.
    pub at: WallTime,
    /// The root's last commit then.
    pub seq: u64,
}

impl Brakes {
    /// The brake on a device.
    pub(crate) fn on(&self, device: DeviceId) -> Option<&Brake> {
        self.brakes.iter().find(|brake| brake.device == device)
    }
}

choices!(BrakeStage { On, Released, TakenBack });
fields!(Brake { device, since, at, changed, of, stage, by });
fields!(Brakes { share, brakes, seq });
fields!(HeldEntry { proposal, order, at, seq });

#[cfg(test)]
mod tests {
    use quics_records::testing::golden;

    use super::super::records::tests::{DEVICE, row};
    use super::*;

    #[test]
    fn the_formats_are_fixed() {
        let (device, at, stage, by) = (DEVICE, WallTime(1000), BrakeStage::TakenBack, DEVICE);
        let brake = Brake { device, since: 300, at, changed: 201, of: 400, stage, by };
        golden(Brakes { share: 30, brakes: vec![brake], seq: 9 }, GOLDEN_BRAKES);
        let proposal = Proposal::Withdraw { id: row().id };
        golden(HeldEntry { proposal, order: (1, 2), at, seq: 9 }, GOLDEN_HELD);
    }

    const GOLDEN_BRAKES: &str =
        "011e0103030303030303030303030303030303ac02e807c9019003020303030303030303030303030303030309";
    const GOLDEN_HELD: &str = "0103010101010101010101010101010101010102e80709";
}

//! The records of answers to conflicts, and of a root's settings.

use std::collections::BTreeMap;

use bytes::Bytes;
use quics_reconcile::{Candidate, CandidateKey, Row};
use quics_records::{Code, Damaged, choices, fields};
use quics_types::{DeviceId, EntryId, ResolutionId, Settings};

use super::records::Entry;
use crate::WallTime;

/// What changed a conflict last, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A candidate came or changed.
    NewCandidate,
    /// The entry has a new version.
    NewVersion,
    /// A candidate was taken back.
    Withdrawn,
    /// Somebody answered.
    Resolved,
    /// An answer was taken back.
    Reopened,
}

/// What was answered about one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Shared by everything that was answered at once.
    pub id: ResolutionId,
    /// Who answered; [`DeviceId::SERVER`] for the server itself.
    pub device: DeviceId,
    /// When.
    pub resolved_at: WallTime,
    /// What was chosen.
    pub chosen: Chosen,
    /// What it settled, the chosen candidate included.
    pub settled: BTreeMap<CandidateKey, Settled>,
    /// The entries that it made.
    pub created: Vec<EntryId>,
}

/// A candidate that was settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What it was.
    pub candidate: Candidate,
    /// When it came.
    pub accepted_at: WallTime,
}

/// What was chosen, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// The server's state.
    Server,
    /// A candidate.
    Candidate(CandidateKey),
    /// All sides.
    Both,
    /// A content that a person made of the sides.
    Merged,
    /// To take this answer back.
    Undo(ResolutionId),
}

/// Everything that was answered at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolutionEntry {
    /// Who answered.
    pub device: DeviceId,
    /// When.
    pub resolved_at: WallTime,
    /// The last commit of it.
    pub seq: u64,
    /// The entries whose conflicts it closed or opened, in the order of the answers.
    pub entries: Vec<EntryId>,
    /// The resolution that it took back.
    pub undoes: Option<ResolutionId>,
    /// Entries that it could not take back.
    pub changed: Vec<EntryId>,
    /// The resolution that took it back.
    pub undone_by: Option<ResolutionId>,
}

/// What a resolution did about one of its entries: enough to say it again, and to take it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The rows in the order in which they changed, each as it was and as it is; the entry's own is last, also where it
    /// stayed as it was.
    pub(crate) rows: Vec<(Option<Row>, Entry)>,
    /// What the conflict's record says of it.
    pub(crate) resolution: Resolution,
    /// The candidates that it brought back.
    pub(crate) kept: Vec<CandidateKey>,
    /// The conflict's revision after it.
    pub(crate) revision: u64,
}

/// A root's settings, with their place in the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SettingsEntry {
    pub(crate) settings: Settings,
    pub(crate) seq: u64,
}

choices!(News { NewCandidate, NewVersion, Withdrawn, Resolved, Reopened });
fields!(Resolution { id, device, resolved_at, chosen, settled, created });
fields!(Settled { candidate, accepted_at });
fields!(ResolutionEntry { device, resolved_at, seq, entries, undoes, changed, undone_by });
fields!(Answered { rows, resolution, kept, revision });
fields!(SettingsEntry { settings, seq });

impl Code for Chosen {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Chosen::Server => out.push(0),
            Chosen::Candidate(key) => {
                out.push(1);
                key.write(out);
            }
            Chosen::Both => out.push(2),
            Chosen::Merged => out.push(3),
            Chosen::Undo(id) => {
                out.push(4);
                id.write(out);
            }
        }
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        Ok(match u8::read(from)? {
            0 => Chosen::Server,
            1 => Chosen::Candidate(Code::read(from)?),
            2 => Chosen::Both,
            3 => Chosen::Merged,
            4 => Chosen::Undo(Code::read(from)?),
            _ => return Err(Damaged),
        })
    }
}

#[cfg(test)]
mod tests {
    use quics_reconcile::{CandidateRole, CandidateState};
    use quics_records::testing::golden;
    use quics_types::{Answerers, Mtime};

    use super::super::records::tests::{DEVICE, row};
    use super::*;

    const ID: ResolutionId = ResolutionId::from_bytes([8; 16]);

    fn resolution(chosen: Chosen) -> Resolution {
        let state = CandidateState::Delete;
        let candidate = Candidate { order: (1, 2), state, mtime: Mtime::default(), mode: 0o600, base: None };
        let settled = Settled { candidate, accepted_at: WallTime(5) };
        Resolution {
            id: ID,
            device: DEVICE,
            resolved_at: WallTime(1000),
            chosen,
            settled: [((DEVICE, CandidateRole::Kept(3)), settled)].into(),
            created: vec![row().id],
        }
    }

    #[test]
    fn the_formats_are_fixed() {
        let key = (DEVICE, CandidateRole::Own);
        golden(resolution(Chosen::Candidate(key)), GOLDEN_RESOLUTION);
        golden(resolution(Chosen::Undo(ID)), GOLDEN_UNDO);
        let entry = Entry { row: row(), device: DEVICE, accepted_at: WallTime(1000), seq: 9 };
        let rows = vec![(Some(row()), entry.clone()), (None, entry)];
        let kept = vec![(DEVICE, CandidateRole::Kept(0))];
        golden(Answered { rows, resolution: resolution(Chosen::Both), kept, revision: 300 }, GOLDEN_ANSWERED);
        let (undoes, undone_by) = (Some(ID), None);
        let (entries, changed, resolved_at) = (vec![row().id], vec![row().id], WallTime(1000));
        let whole = ResolutionEntry { device: DEVICE, resolved_at, seq: 9, entries, undoes, changed, undone_by };
        golden(whole, GOLDEN_WHOLE);
        let settings =
            Settings { revision: 2, answerers: Answerers::Involved, reminder_hours: 300, ..Settings::default() };
        golden(SettingsEntry { settings, seq: 9 }, GOLDEN_SETTINGS);
    }

    const GOLDEN_RESOLUTION: &str = "010808080808080808080808080808080803030303030303030303030303030303e80701030303030303030303030303\
        030303030001030303030303030303030303030303030203010200000080030005010101010101010101010101010101\
        0101";
    const GOLDEN_UNDO: &str = "010808080808080808080808080808080803030303030303030303030303030303e80704080808080808080808080808\
        080808080103030303030303030303030303030303020301020000008003000501010101010101010101010101010101\
        01";
    const GOLDEN_ANSWERED: &str = "010201010101010101010101010101010101010000000000000000000000000000000003612062010202020202020202\
        020202020202020202020202020202020202020202020202ac02a00380c49fd50c0501016b0176000403010401010101\
        010101010101010101010101000000000000000000000000000000000361206201020202020202020202020202020202\
        0202020202020202020202020202020202ac02a00380c49fd50c0501016b017600040301040303030303030303030303\
        0303030303e8070900010101010101010101010101010101010000000000000000000000000000000003612062010202\
        020202020202020202020202020202020202020202020202020202020202ac02a00380c49fd50c0501016b0176000403\
        010403030303030303030303030303030303e80709080808080808080808080808080808080303030303030303030303\
        0303030303e8070201030303030303030303030303030303030203010200000080030005010101010101010101010101\
        010101010101030303030303030303030303030303030200ac02";
    const GOLDEN_WHOLE: &str = "0103030303030303030303030303030303e8070901010101010101010101010101010101010108080808080808080808\
        080808080808010101010101010101010101010101010100";
    const GOLDEN_SETTINGS: &str = "010201ac02000009";
}

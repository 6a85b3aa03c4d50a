//! The records that are stored.

use std::collections::BTreeMap;

use bytes::Bytes;
use quics_meta::BlobRef;
use quics_reconcile::{CandidateKey, Conflict, Proposal, RootDigest, Row, Verdict};
use quics_records::{Code, Damaged, Stored, VERSION, encode, fields};
use quics_types::{Cursor, DeviceId, Digest, EntryId, Epoch, GroupId, Mtime, RootId};

pub(crate) use quics_records::{Kept, decode, get, pieces, put};

use super::answers::{News, Resolution};
use crate::{Error, WallTime};

/// What is known of a root as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    /// The number of the last commit.
    pub(crate) seq: u64,
    /// The epoch in which it was made.
    pub(crate) epoch: Epoch,
    pub(crate) digest: RootDigest,
    /// Live rows, tombstones and open conflicts.
    pub(crate) live: u64,
    pub(crate) tombstones: u64,
    pub(crate) conflicts: u64,
    /// Up to here the feed was searched for tombstones that nobody needs: they are gone.
    pub(crate) pruned: u64,
    /// Resolutions that are kept.
    pub(crate) resolutions: u64,
}

impl Default for Root {
    fn default() -> Self {
        let (epoch, digest) = (Epoch(0), RootDigest::EMPTY);
        Self { seq: 0, epoch, digest, live: 0, tombstones: 0, conflicts: 0, pruned: 0, resolutions: 0 }
    }
}

/// An entry's row with what the server knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The row, live or a tombstone.
    pub row: Row,
    /// Which device made the last change.
    pub device: DeviceId,
    /// When the server accepted it.
    pub accepted_at: WallTime,
    /// The commit that made it: its place in the feed.
    pub seq: u64,
}

/// A conflict with what the server knows of it; without candidates it is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictEntry {
    /// Candidates and revision. The revision is the number of the commit that changed it last.
    pub conflict: Conflict,
    /// When it opened.
    pub opened_at: WallTime,
    /// When each candidate came.
    pub accepted: BTreeMap<CandidateKey, WallTime>,
    /// The commit that changed it last: its place in the feed.
    pub seq: u64,
    /// What that commit changed.
    pub news: News,
    /// The last answer to a conflict of this entry.
    pub resolution: Option<Resolution>,
}

impl ConflictEntry {
    /// Whether it still waits for an answer.
    pub fn is_open(&self) -> bool {
        !self.conflict.candidates.is_empty()
    }

    /// The answer that is told with it: the one that closed it, or the last one before it opened again. One that was taken
    /// back by its devices was closed by none.
    pub fn told(&self) -> Option<&Resolution> {
        self.resolution.as_ref().filter(|_| self.is_open() || self.news == News::Resolved)
    }
}

/// A verdict as it is kept until its device has recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictEntry {
    /// Up to which seq the device had recorded its verdicts when it proposed this.
    pub recorded: u64,
    /// What was proposed.
    pub proposal: Proposal,
    /// What was answered.
    pub verdict: Verdict,
    /// The root's cursor after the commit.
    pub cursor: Cursor,
    /// Who made the row that the verdict shows, and when it was accepted.
    pub author: Option<(DeviceId, WallTime)>,
}

/// What happened in one commit, for those who keep history.
///
/// A conflict's losers are versions too: the event that closes it has the resolution, whose settled candidates but for the
/// chosen one have lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The root.
    pub root: RootId,
    /// The root's cursor after the commit.
    pub cursor: Cursor,
    /// Who did it.
    pub device: DeviceId,
    /// Incarnation and seq of the proposal; 0 and 0 for what was none.
    pub order: (u64, u64),
    /// When the server accepted it.
    pub accepted_at: WallTime,
    /// The device's own time of the change.
    pub device_time: Mtime,
    /// What caused it.
    pub cause: Cause,
    /// The row before, if there was one and it changed.
    pub old: Option<Row>,
    /// The row after, if it changed.
    pub new: Option<Row>,
    /// The conflict after, if it changed; `None` inside when it was closed.
    pub conflict: Option<(EntryId, Option<Conflict>)>,
    /// The answer that closed that conflict, or whose undoing opened it again.
    pub resolution: Option<Resolution>,
}

/// An event's number in the outbox, from 1 and without gaps over all roots, with the epoch in which it was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPosition {
    /// The epoch.
    pub epoch: Epoch,
    /// The number.
    pub number: u64,
}

/// What caused a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A device proposed it.
    Proposal,
    /// A conflict was answered: what the row is now was kept.
    Answer,
    /// An answer was taken back.
    Undo,
    /// The root's settings changed.
    Settings,
    /// It is one of the changes of a group.
    Group(GroupId),
    /// What a brake held was taken back.
    Brake,
}

/// A chunk or page whose bytes are in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inline {
    /// Whether it is the page of the blob's content and not the blob itself.
    pub(crate) page: bool,
    pub(crate) at: BlobRef,
}

impl Inline {
    /// What precedes the encoded reference, which the store appends.
    pub(crate) fn head(page: bool) -> Bytes {
        Bytes::copy_from_slice(&[VERSION, u8::from(page)])
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self, Error> {
        match value {
            [VERSION, page @ (0 | 1), at @ ..] => match BlobRef::from_bytes(at) {
                Some(at) => Ok(Self { page: *page == 1, at }),
                None => Err(Error::damaged(key)),
            },
            [version, ..] if *version > VERSION => Err(Error::Newer { version: *version }),
            _ => Err(Error::damaged(key)),
        }
    }
}

/// What a blob in the journal is, in its tag: whoever moves it out needs no index for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobTag {
    pub(crate) root: RootId,
    /// The content id: the digest of its page.
    pub(crate) content: Digest,
    /// The digest of the bytes themselves.
    pub(crate) chunk: Digest,
}

impl BlobTag {
    pub(crate) fn encode(&self) -> Bytes {
        encode(self).into()
    }

    pub(crate) fn decode(tag: &Bytes) -> Result<Self, Error> {
        Ok(decode(b"tag", Stored { bytes: tag.clone(), pieces: 0 })?.record)
    }
}

/// An upload's hold on chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) device: DeviceId,
    /// When it was heard of last.
    pub(crate) touched: WallTime,
    /// How many lists of digests it has.
    pub(crate) lists: u64,
}

fields!(Root { seq, epoch, digest, live, tombstones, conflicts, pruned, resolutions });
fields!(Entry { row, device, accepted_at, seq });
fields!(ConflictEntry { conflict, opened_at, accepted, seq, news, resolution });
fields!(VerdictEntry { recorded, proposal, verdict, cursor, author });
fields!(Event { root, cursor, device, order, accepted_at, device_time, cause, old, new, conflict, resolution });
fields!(EventPosition { epoch, number });
fields!(BlobTag { root, content, chunk });
fields!(Lease { device, touched, lists });

impl Code for Cause {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Cause::Proposal => out.push(0),
            Cause::Answer => out.push(1),
            Cause::Undo => out.push(2),
            Cause::Settings => out.push(3),
            Cause::Group(group) => {
                out.push(4);
                group.write(out);
            }
            Cause::Brake => out.push(5),
        }
    }
    fn read(from: &mut Bytes) -> Result<Self, Damaged> {
        Ok(match u8::read(from)? {
            0 => Cause::Proposal,
            1 => Cause::Answer,
            2 => Cause::Undo,
            3 => Cause::Settings,
            4 => Cause::Group(Code::read(from)?),
            5 => Cause::Brake,
            _ => return Err(Damaged),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use quics_reconcile::{Accepted, Candidate, CandidateRole, CandidateState, Value};
    use quics_records::testing::golden;
    use quics_types::{LogicalTime, Name, Place};

    use super::*;

    pub(crate) fn row() -> Row {
        Row {
            id: EntryId::from_bytes([1; 16]),
            place: Place { parent: EntryId::TOP, name: Name::new("a b").unwrap() },
            value: Value::File { content: Digest::from_bytes([2; 32]), size: 300 },
            mode: 0o640,
            mtime: Mtime { seconds: 1_700_000_000, nanos: 5 },
            attributes: [(Bytes::from_static(b"k"), Bytes::from_static(b"v"))].into(),
            dead: false,
            time: LogicalTime(4),
            content_time: LogicalTime(3),
            place_time: LogicalTime(1),
            attributes_time: LogicalTime(4),
        }
    }

    pub(crate) const DEVICE: DeviceId = DeviceId::from_bytes([3; 16]);
    const CURSOR: Cursor = Cursor { epoch: Epoch(0x0102_0304_0506_0708), seq: 9 };

    fn conflict() -> Conflict {
        let candidate = Candidate {
            order: (1, 2),
            state: CandidateState::Delete,
            mtime: Mtime::default(),
            mode: 0o600,
            base: Some(Value::Directory),
        };
        Conflict { revision: 2, candidates: [((DEVICE, CandidateRole::New), candidate)].into() }
    }

    #[test]
    fn the_formats_are_fixed() {
        let root = Root {
            seq: 300,
            epoch: CURSOR.epoch,
            digest: RootDigest::from_slice(&[7; 32]).unwrap(),
            live: 2,
            tombstones: 1,
            conflicts: 0,
            pruned: 128,
            resolutions: 5,
        };
        golden(root, GOLDEN_ROOT);
        golden(Entry { row: row(), device: DEVICE, accepted_at: WallTime(1000), seq: 9 }, GOLDEN_ENTRY);
        let accepted = [((DEVICE, CandidateRole::New), WallTime(5))].into();
        let (opened_at, news, resolution) = (WallTime(4), News::NewVersion, None);
        let entry = ConflictEntry { conflict: conflict(), opened_at, accepted, seq: 9, news, resolution };
        golden(entry, GOLDEN_CONFLICT);
        let accepted = Accepted { row: row(), content: true, place: false, attributes: true, refused: None };
        let verdict = VerdictEntry {
            recorded: 1,
            proposal: Proposal::Withdraw { id: row().id },
            verdict: Verdict::Accepted(accepted),
            cursor: CURSOR,
            author: Some((DEVICE, WallTime(1000))),
        };
        golden(verdict, GOLDEN_VERDICT);
        let event = Event {
            root: RootId::from_bytes([4; 16]),
            cursor: CURSOR,
            device: DEVICE,
            order: (1, 2),
            accepted_at: WallTime(1000),
            device_time: Mtime { seconds: 5, nanos: 0 },
            cause: Cause::Answer,
            old: None,
            new: None,
            conflict: Some((row().id, None)),
            resolution: None,
        };
        golden(event.clone(), GOLDEN_EVENT);
        let cause = Cause::Group(GroupId::from_bytes([9; 16]));
        golden(Event { cause, new: Some(row()), ..event }, GOLDEN_GROUPED);
        golden(Cause::Brake, "0105");
        golden(EventPosition { epoch: CURSOR.epoch, number: 300 }, "010102030405060708ac02");
        let (root, content, chunk) =
            (RootId::from_bytes([4; 16]), Digest::from_bytes([5; 32]), Digest::from_bytes([6; 32]));
        golden(BlobTag { root, content, chunk }, GOLDEN_TAG);
        golden(Lease { device: DEVICE, touched: WallTime(1000), lists: 2 }, GOLDEN_LEASE);
    }

    const GOLDEN_ROOT: &str = "01ac02010203040506070807070707070707070707070707070707070707070707070707070707070707070201008001\
        05";
    const GOLDEN_ENTRY: &str = "010101010101010101010101010101010100000000000000000000000000000000036120620102020202020202020202\
        02020202020202020202020202020202020202020202ac02a00380c49fd50c0501016b01760004030104030303030303\
        03030303030303030303e80709";
    const GOLDEN_CONFLICT: &str = "010201030303030303030303030303030303030101020000008003010004010303030303030303030303030303030301\
        05090100";
    const GOLDEN_VERDICT: &str = "010103010101010101010101010101010101010001010101010101010101010101010101000000000000000000000000\
        0000000003612062010202020202020202020202020202020202020202020202020202020202020202ac02a00380c49f\
        d50c0501016b01760004030104010001000102030405060708090103030303030303030303030303030303e807";
    const GOLDEN_EVENT: &str = "0104040404040404040404040404040404010203040506070809030303030303030303030303030303030102e8070a00\
        01000001010101010101010101010101010101010000";
    const GOLDEN_GROUPED: &str = "0104040404040404040404040404040404010203040506070809030303030303030303030303030303030102e8070a00\
        040909090909090909090909090909090900010101010101010101010101010101010100000000000000000000000000\
        00000003612062010202020202020202020202020202020202020202020202020202020202020202ac02a00380c49fd5\
        0c0501016b0176000403010401010101010101010101010101010101010000";
    const GOLDEN_TAG: &str = "010404040404040404040404040404040405050505050505050505050505050505050505050505050505050505050505\
        050606060606060606060606060606060606060606060606060606060606060606";
    const GOLDEN_LEASE: &str = "0103030303030303030303030303030303e80702";
}

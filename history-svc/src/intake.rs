//! Events become versions: pure, without time or I/O.

use quics_proto::sync::v1 as sync;
use quics_proto::{Malformed, mtime};
use quics_reconcile::{Candidate, CandidateKey, CandidateState, Row};
use quics_types::{Cursor, DeviceId, EntryId, GroupId, Mtime, Place, RootId, WallTime};

use crate::db::records::{Cause, Version};

/// An event, checked.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Epoch and number.
    pub(crate) position: (u64, u64),
    pub(crate) root: RootId,
    pub(crate) cursor: Cursor,
    pub(crate) device: DeviceId,
    pub(crate) accepted: WallTime,
    pub(crate) changed_at: Option<Mtime>,
    pub(crate) cause: sync::EventCause,
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
    /// The entry whose conflict was answered, and those of its sides that were not chosen.
    pub(crate) lost: Option<(EntryId, Vec<Loser>)>,
    pub(crate) group: Option<GroupId>,
}

/// A side of a conflict that was not chosen.
#[derive(Debug, Clone)]
pub(crate) struct Loser {
    pub(crate) key: CandidateKey,
    pub(crate) candidate: Candidate,
    /// When the server accepted it.
    pub(crate) accepted: Option<WallTime>,
}

/// A moment from a message; before 1970 is 1970.
pub(crate) fn wall_time(time: Mtime) -> WallTime {
    let seconds = u64::try_from(time.seconds).unwrap_or_default();
    WallTime(seconds.saturating_mul(1_000_000).saturating_add(u64::from(time.nanos) / 1000))
}

impl TryFrom<sync::Event> for Told {
    type Error = Malformed;
    fn try_from(event: sync::Event) -> Result<Self, Malformed> {
        let position = event.position.ok_or(Malformed::Missing("the event's position"))?;
        let cause = event.cause();
        let lost = match event.resolution {
            Some(resolution) => {
                let entry = EntryId::from_slice(&event.answered_entry_id)?;
                Some((entry, losers(resolution)?)).filter(|(_, losers)| !losers.is_empty())
            }
            None => None,
        };
        let group = if event.group_id.is_empty() { None } else { Some(GroupId::from_slice(&event.group_id)?) };
        Ok(Self {
            position: (position.epoch, position.number),
            root: RootId::from_slice(&event.root_id)?,
            cursor: event.cursor.ok_or(Malformed::Missing("the event's cursor"))?.into(),
            device: DeviceId::from_slice(&event.device_id)?,
            accepted: wall_time(mtime(event.accepted_at)?),
            changed_at: event.changed_at.map(|time| mtime(Some(time))).transpose()?,
            cause,
            before: event.before.map(TryInto::try_into).transpose()?,
            after: event.after.map(TryInto::try_into).transpose()?,
            lost,
            group,
        })
    }
}

/// The sides of a conflict that an answer did not choose.
fn losers(resolution: sync::Resolution) -> Result<Vec<Loser>, Malformed> {
    use sync::ResolutionChoice as Choice;
    let chosen: Option<CandidateKey> = match resolution.choice() {
        Choice::Both | Choice::Undo | Choice::Unspecified => return Ok(Vec::new()),
        Choice::Server | Choice::Merged => None,
        Choice::Candidate => resolution.chosen.map(TryInto::try_into).transpose()?,
    };
    let mut losers = Vec::new();
    for candidate in resolution.settled {
        let accepted = candidate.accepted_at.map(|time| mtime(Some(time))).transpose()?.map(wall_time);
        let (key, candidate) = candidate.to_domain()?;
        if Some(key) != chosen {
            losers.push(Loser { key, candidate, accepted });
        }
    }
    Ok(losers)
}

/// What people call a device and its user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) device: String,
    pub(crate) user: String,
}

impl Told {
    /// The version that the event made of its entry, if it changed one.
    pub(crate) fn version(&self, names: Names) -> Option<Version> {
        let after = self.after.clone()?;
        let before = self.before.as_ref();
        Some(Version {
            changed_at: self.changed_at,
            device: self.device,
            device_name: names.device,
            user_name: names.user,
            cause: cause(self.cause, before, &after),
            epoch: self.cursor.epoch,
            accepted: self.accepted,
            moved_from: moved_from(before, &after),
            group: self.group,
            removed: None,
            row: after,
        })
    }

    /// The place that its entry came to with the event, if it did.
    pub(crate) fn came_to(&self) -> Option<&Place> {
        let after = self.after.as_ref().filter(|after| !after.dead)?;
        let stayed = self.before.as_ref().is_some_and(|before| !before.dead && before.place == after.place);
        (!stayed).then_some(&after.place)
    }
}

impl Loser {
    /// The version that a loser is, of the entry that is `current` after the answer.
    pub(crate) fn version(&self, told: &Told, current: &Row, names: Names) -> Version {
        let (value, dead) = match &self.candidate.state {
            CandidateState::Value(value) => (value.clone(), false),
            CandidateState::Delete => (current.value.clone(), true),
        };
        Version {
            row: Row { value, dead, mode: self.candidate.mode, mtime: self.candidate.mtime, ..current.clone() },
            changed_at: Some(self.candidate.mtime),
            device: self.key.0,
            device_name: names.device,
            user_name: names.user,
            cause: if told.cause == sync::EventCause::Brake { Cause::HeldBack } else { Cause::Lost },
            epoch: told.cursor.epoch,
            accepted: self.accepted.unwrap_or(told.accepted),
            moved_from: None,
            group: None,
            removed: None,
        }
    }
}

fn moved_from(before: Option<&Row>, after: &Row) -> Option<Place> {
    let before = before.filter(|before| !before.dead && !after.dead && before.place != after.place);
    before.map(|before| before.place.clone())
}

fn cause(cause: sync::EventCause, before: Option<&Row>, after: &Row) -> Cause {
    match cause {
        sync::EventCause::Answer => return Cause::Kept,
        sync::EventCause::Undo => return Cause::Undone,
        sync::EventCause::Group => return Cause::Restore,
        sync::EventCause::Unspecified
        | sync::EventCause::Proposal
        | sync::EventCause::Settings
        | sync::EventCause::Brake => {}
    }
    match before {
        _ if after.dead => Cause::Delete,
        None => Cause::Create,
        Some(before) if before.dead => Cause::Create,
        Some(before) if before.value != after.value => Cause::Edit,
        Some(before) if before.place != after.place => Cause::Move,
        Some(before) if before.mode != after.mode || before.attributes != after.attributes => Cause::Attributes,
        Some(_) => Cause::Edit,
    }
}

#[cfg(test)]
mod tests {
    use quics_types::{Epoch, LogicalTime, Name};

    use super::*;
    use crate::db::records::tests::version;

    fn told(before: Option<Row>, after: Option<Row>) -> Told {
        Told {
            position: (1, 1),
            root: RootId::from_bytes([1; 16]),
            cursor: Cursor { epoch: Epoch(1), seq: 5 },
            device: DeviceId::from_bytes([2; 16]),
            accepted: WallTime(7),
            changed_at: None,
            cause: sync::EventCause::Proposal,
            before,
            after,
            lost: None,
            group: None,
        }
    }

    #[test]
    fn what_changed_says_the_cause() {
        let row = version().row;
        let cause =
            |before: Option<Row>, after: Row| told(before, Some(after)).version(Names::default()).unwrap().cause;
        let moved = Row { place: Place { name: Name::new("b").unwrap(), ..row.place.clone() }, ..row.clone() };
        let edited = Row { value: quics_reconcile::Value::Directory, ..moved.clone() };
        let dead = Row { dead: true, ..row.clone() };
        assert_eq!(cause(None, row.clone()), Cause::Create);
        assert_eq!(cause(Some(dead.clone()), row.clone()), Cause::Create);
        assert_eq!(cause(Some(row.clone()), dead.clone()), Cause::Delete);
        assert_eq!(cause(Some(row.clone()), moved.clone()), Cause::Move);
        assert_eq!(cause(Some(row.clone()), edited.clone()), Cause::Edit);
        assert_eq!(cause(Some(row.clone()), Row { mode: 0o600, ..row.clone() }), Cause::Attributes);

        let both = told(Some(row.clone()), Some(edited));
        assert_eq!(both.version(Names::default()).unwrap().moved_from, Some(row.place.clone()));
        assert_eq!(both.came_to(), Some(&moved.place));
        assert_eq!(told(Some(row.clone()), Some(row.clone())).came_to(), None);
        assert_eq!(told(Some(dead.clone()), Some(row.clone())).came_to(), Some(&row.place));
        assert_eq!(told(Some(row), Some(dead)).came_to(), None);
    }

    #[test]
    fn only_what_was_not_chosen_has_lost() {
        let candidate = |device: u8| sync::Candidate {
            device_id: vec![device; 16].into(),
            role: sync::CandidateRole::Own as i32,
            value: Some((&version().row.value).into()),
            ..Default::default()
        };
        let resolution = |choice: sync::ResolutionChoice| sync::Resolution {
            choice: choice as i32,
            settled: vec![candidate(1), candidate(2)],
            chosen: Some(sync::CandidateKey {
                device_id: vec![2; 16].into(),
                role: sync::CandidateRole::Own as i32,
                number: 0,
            }),
            ..Default::default()
        };
        let lost = |choice| losers(resolution(choice)).unwrap().iter().map(|loser| loser.key.0).collect::<Vec<_>>();
        let (one, two) = (DeviceId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
        assert_eq!(lost(sync::ResolutionChoice::Candidate), [one]);
        assert_eq!(lost(sync::ResolutionChoice::Server), [one, two]);
        assert_eq!(lost(sync::ResolutionChoice::Merged), [one, two]);
        assert_eq!(lost(sync::ResolutionChoice::Both), []);
        assert_eq!(lost(sync::ResolutionChoice::Undo), []);
    }

    #[test]
    fn a_loser_has_the_time_of_what_it_lost_to_and_its_own_content() {
        let current = Row { time: LogicalTime(9), ..version().row };
        let candidate = Candidate {
            order: (1, 1),
            state: CandidateState::Delete,
            mtime: Mtime { seconds: 3, nanos: 0 },
            mode: 0o600,
            base: None,
        };
        let key = (DeviceId::from_bytes([8; 16]), quics_reconcile::CandidateRole::Own);
        let loser = Loser { key, candidate, accepted: None };
        let lost = loser.version(&told(None, None), &current, Names::default());
        assert_eq!((lost.row.time, lost.row.dead, lost.row.mode), (LogicalTime(9), true, 0o600));
        assert_eq!((lost.device, lost.cause), (DeviceId::from_bytes([8; 16]), Cause::Lost));
        let braked = Told { cause: sync::EventCause::Brake, ..told(None, None) };
        assert_eq!(loser.version(&braked, &current, Names::default()).cause, Cause::HeldBack);
    }
}

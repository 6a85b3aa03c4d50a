//! Conflicts, answers and settings: messages become domain types and back.

use bytes::Bytes;
use quics_reconcile::{Candidate, CandidateKey, CandidateRole, CandidateState, Choice, Conflict, Value};
use quics_types::{Answerers, DeviceId, EntryId, MergePolicy, Name, Settings, limits};

use crate::convert::{Malformed, mode, mtime, need, timestamp};
use crate::sync::v1 as sync;

fn role(role: CandidateRole) -> (sync::CandidateRole, u32) {
    match role {
        CandidateRole::Own => (sync::CandidateRole::Own, 0),
        CandidateRole::New => (sync::CandidateRole::New, 0),
        CandidateRole::Kept(number) => (sync::CandidateRole::Kept, number.into()),
    }
}

fn key_of(device: &[u8], role: i32, number: u32) -> Result<CandidateKey, Malformed> {
    let role = match sync::CandidateRole::try_from(role) {
        Ok(sync::CandidateRole::Own) => CandidateRole::Own,
        Ok(sync::CandidateRole::New) => CandidateRole::New,
        Ok(sync::CandidateRole::Kept) => {
            CandidateRole::Kept(u8::try_from(number).map_err(|_| Malformed::Range("the candidate's number"))?)
        }
        Ok(sync::CandidateRole::Unspecified) => return Err(Malformed::Missing("the candidate's role")),
        Err(_) => return Err(Malformed::Range("the candidate's role")),
    };
    Ok((DeviceId::from_slice(device)?, role))
}

impl From<CandidateKey> for sync::CandidateKey {
    fn from((device, of): CandidateKey) -> Self {
        let (role, number) = role(of);
        Self { device_id: Bytes::copy_from_slice(device.as_bytes()), role: role as i32, number }
    }
}

impl TryFrom<sync::CandidateKey> for CandidateKey {
    type Error = Malformed;
    fn try_from(key: sync::CandidateKey) -> Result<Self, Malformed> {
        key_of(&key.device_id, key.role, key.number)
    }
}

impl sync::Candidate {
    /// The message for a candidate; the time of its acceptance is the server's to add.
    pub fn from_domain((device, of): CandidateKey, candidate: &Candidate) -> Self {
        let (role, number) = role(of);
        Self {
            device_id: Bytes::copy_from_slice(device.as_bytes()),
            role: role as i32,
            number,
            incarnation: candidate.order.0,
            seq: candidate.order.1,
            value: match &candidate.state {
                CandidateState::Value(value) => Some(value.into()),
                CandidateState::Delete => None,
            },
            modified_at: Some(timestamp(candidate.mtime)),
            mode: candidate.mode,
            base: candidate.base.as_ref().map(Into::into),
            accepted_at: None,
        }
    }

    /// Which candidate it is, and what it is.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn to_domain(self) -> Result<(CandidateKey, Candidate), Malformed> {
        let key = key_of(&self.device_id, self.role, self.number)?;
        let state = match self.value {
            Some(value) => CandidateState::Value(value.try_into()?),
            None => CandidateState::Delete,
        };
        let base = self.base.map(TryInto::try_into).transpose()?;
        let order = (self.incarnation, self.seq);
        Ok((key, Candidate { order, state, mtime: mtime(self.modified_at)?, mode: mode(self.mode)?, base }))
    }
}

/// Candidates as a conflict of this revision.
fn candidates(revision: u64, candidates: Vec<sync::Candidate>) -> Result<Conflict, Malformed> {
    let candidates = candidates.into_iter().map(sync::Candidate::to_domain).collect::<Result<_, _>>()?;
    Ok(Conflict { revision, candidates })
}

impl sync::ConflictState {
    /// The message for a conflict; times and the last answer are the server's to add.
    pub fn from_domain(entry: EntryId, conflict: &Conflict) -> Self {
        let candidate = |(key, candidate): (&CandidateKey, _)| sync::Candidate::from_domain(*key, candidate);
        Self {
            entry_id: Bytes::copy_from_slice(entry.as_bytes()),
            revision: conflict.revision,
            candidates: conflict.candidates.iter().map(candidate).collect(),
            opened_at: None,
            resolution: None,
        }
    }

    /// The entry and its conflict.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn to_domain(self) -> Result<(EntryId, Conflict), Malformed> {
        Ok((EntryId::from_slice(&self.entry_id)?, candidates(self.revision, self.candidates)?))
    }
}

impl sync::Resolution {
    /// What the answer settled, as the conflict that it was.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn settled(self) -> Result<Conflict, Malformed> {
        candidates(0, self.settled)
    }
}

impl sync::answer::Choice {
    /// The message for a choice; the content of a merged file, where it is small, is the caller's to add.
    pub fn from_domain(choice: &Choice) -> Self {
        match choice {
            Choice::Server => Self::KeepServer(sync::KeepServer {}),
            Choice::Candidate(key) => Self::KeepCandidate((*key).into()),
            Choice::Both { names } => {
                let named = |(key, name): (&CandidateKey, &Name)| sync::NamedCandidate {
                    candidate: Some((*key).into()),
                    name: name.to_bytes(),
                };
                Self::KeepBoth(sync::KeepBoth { candidates: names.iter().map(named).collect() })
            }
            Choice::Merged { value, mtime } => Self::KeepMerged(sync::KeepMerged {
                value: Some(value.into()),
                modified_at: Some(timestamp(*mtime)),
                inline_content: None,
            }),
        }
    }

    /// The choice, and the content that came with it. `Err` inside: this name can be none.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn to_domain(self) -> Result<Result<(Choice, Option<Bytes>), Bytes>, Malformed> {
        Ok(Ok(match self {
            Self::KeepServer(_) => (Choice::Server, None),
            Self::KeepCandidate(key) => (Choice::Candidate(key.try_into()?), None),
            Self::KeepBoth(both) => {
                let mut names = std::collections::BTreeMap::new();
                if both.candidates.len() > limits::CANDIDATES {
                    return Err(Malformed::Range("the number of candidates"));
                }
                for named in both.candidates {
                    let key = need(named.candidate, "the candidate")?.try_into()?;
                    let Ok(name) = Name::of_entry(named.name.clone()) else { return Ok(Err(named.name)) };
                    if names.insert(key, name).is_some() {
                        return Err(Malformed::Range("a candidate that is named twice"));
                    }
                }
                (Choice::Both { names }, None)
            }
            Self::KeepMerged(merged) => {
                let value = need(merged.value, "the value")?.try_into()?;
                if value == Value::Directory {
                    return Err(Malformed::Range("the merged value"));
                }
                (Choice::Merged { value, mtime: mtime(merged.modified_at)? }, merged.inline_content)
            }
        }))
    }
}

impl From<&Settings> for sync::RootSettings {
    fn from(settings: &Settings) -> Self {
        let answerers = match settings.answerers {
            Answerers::Writers => sync::Answerers::Writers,
            Answerers::Involved => sync::Answerers::Involved,
            Answerers::Owners => sync::Answerers::Owners,
        };
        let merge = match settings.merge {
            MergePolicy::Ask => sync::MergePolicy::Ask,
            MergePolicy::AutoClean => sync::MergePolicy::AutoClean,
        };
        Self {
            revision: settings.revision,
            answerers: answerers as i32,
            reminder_hours: settings.reminder_hours,
            both_after_days: settings.both_after_days,
            merge: merge as i32,
        }
    }
}

impl TryFrom<sync::RootSettings> for Settings {
    type Error = Malformed;
    fn try_from(message: sync::RootSettings) -> Result<Self, Malformed> {
        let answerers = match sync::Answerers::try_from(message.answerers) {
            Ok(sync::Answerers::Unspecified | sync::Answerers::Writers) => Answerers::Writers,
            Ok(sync::Answerers::Involved) => Answerers::Involved,
            Ok(sync::Answerers::Owners) => Answerers::Owners,
            Err(_) => return Err(Malformed::Range("who may answer")),
        };
        let merge = match sync::MergePolicy::try_from(message.merge) {
            Ok(sync::MergePolicy::Unspecified | sync::MergePolicy::Ask) => MergePolicy::Ask,
            Ok(sync::MergePolicy::AutoClean) => MergePolicy::AutoClean,
            Err(_) => return Err(Malformed::Range("the merge policy")),
        };
        Ok(Self {
            revision: message.revision,
            answerers,
            reminder_hours: message.reminder_hours,
            both_after_days: message.both_after_days,
            merge,
        })
    }
}

#[cfg(test)]
mod tests {
    use quics_types::Mtime;

    use super::*;

    fn candidate(number: u64) -> Candidate {
        let (state, mtime) = (CandidateState::Delete, Mtime { seconds: 3, nanos: 4 });
        Candidate { order: (1, number), state, mtime, mode: 0o640, base: Some(Value::Directory) }
    }

    #[test]
    fn a_conflict_comes_back_with_every_role_and_number() {
        let device = DeviceId::from_bytes([7; 16]);
        let roles = [CandidateRole::Own, CandidateRole::New, CandidateRole::Kept(0), CandidateRole::Kept(255)];
        let candidates = roles.into_iter().zip(1..).map(|(role, number)| ((device, role), candidate(number))).collect();
        let conflict = Conflict { revision: 9, candidates };
        let id = EntryId::from_bytes([1; 16]);
        assert_eq!(sync::ConflictState::from_domain(id, &conflict).to_domain(), Ok((id, conflict.clone())));
        for key in conflict.candidates.keys() {
            assert_eq!(CandidateKey::try_from(sync::CandidateKey::from(*key)).as_ref(), Ok(key));
        }
        let beyond = sync::CandidateKey { device_id: vec![7; 16].into(), role: 3, number: 256 };
        assert!(CandidateKey::try_from(beyond).is_err());
    }

    #[test]
    fn choices_come_back_and_what_cannot_be_a_name_is_told_by_itself() {
        let key = (DeviceId::from_bytes([7; 16]), CandidateRole::New);
        let names = [(key, Name::new("a b").unwrap())].into();
        let merged = Choice::Merged { value: Value::Link { target: "t".into() }, mtime: Mtime::default() };
        for choice in [Choice::Server, Choice::Candidate(key), Choice::Both { names }, merged] {
            let back = sync::answer::Choice::from_domain(&choice).to_domain();
            assert_eq!(back, Ok(Ok((choice, None))));
        }
        let named = sync::NamedCandidate { candidate: Some(key.into()), name: "a/b".into() };
        let both = |named| sync::answer::Choice::KeepBoth(sync::KeepBoth { candidates: named });
        assert_eq!(both(vec![named.clone()]).to_domain(), Ok(Err("a/b".into())));
        let own = sync::NamedCandidate { name: ".quics".into(), ..named.clone() };
        assert_eq!(both(vec![own]).to_domain(), Ok(Err(".quics".into())), "every device's own");
        let named = sync::NamedCandidate { name: "x".into(), ..named };
        assert!(both(vec![named.clone(), named]).to_domain().is_err());
        let directory = sync::KeepMerged { value: Some((&Value::Directory).into()), ..Default::default() };
        assert!(sync::answer::Choice::KeepMerged(directory).to_domain().is_err());
    }

    #[test]
    fn settings_come_back_and_say_writers_where_they_say_nothing() {
        let settings =
            Settings { revision: 3, answerers: Answerers::Involved, both_after_days: 7, ..Settings::default() };
        let message = sync::RootSettings::from(&settings);
        assert_eq!(Settings::try_from(message), Ok(settings));
        assert_eq!(Settings::try_from(sync::RootSettings::default()).unwrap().answerers, Answerers::Writers);
    }
}

//! Whether this device could take what a restore asks of it. On others that is said there, and it comes when it can.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use quics_proto::common::v1::{Value, value::Kind};
use quics_proto::history::v1::{RestoreChange, RestoreKind};

use super::super::at::Place;
use crate::cli::Failure;
use crate::folder;
use crate::text;

/// What has been looked at.
pub(super) struct Fit<'a> {
    place: &'a Place,
    /// Directories, by their paths in the root: copies, which hold no message.
    seen: HashSet<Vec<u8>>,
    /// What cannot be written first, why, and how much else.
    closed: Option<(PathBuf, io::Error)>,
    more: u64,
    /// Bytes of the contents that come, of those that go, and of the largest that comes.
    comes: u64,
    goes: u64,
    largest: u64,
}

impl<'a> Fit<'a> {
    pub(super) fn new(place: &'a Place) -> Self {
        Self { place, seen: HashSet::new(), closed: None, more: 0, comes: 0, goes: 0, largest: 0 }
    }

    /// Looks at what a change needs here.
    pub(super) fn take(&mut self, change: &RestoreChange) {
        let kind = change.kind();
        if !matches!(kind, RestoreKind::Create | RestoreKind::Change | RestoreKind::Move | RestoreKind::Delete) {
            return;
        }
        if change.now != change.then {
            let comes = if kind == RestoreKind::Delete { 0 } else { size(change.then.as_ref()) };
            self.comes += comes;
            self.largest = self.largest.max(comes);
            self.goes += size(change.now.as_ref());
        }
        // Mostly it is one place, which is looked at once.
        let other = (change.path_then != change.path_now).then_some(&change.path_then);
        for path in [&change.path_now].into_iter().chain(other).filter(|path| !path.is_empty()) {
            let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |end| &path[..end]);
            let local = self.place.local(path);
            if let Some(error) = folder::pinned(&local) {
                self.note(local, error);
            }
            if !self.seen.contains(parent) {
                self.seen.insert(parent.to_vec());
                let local = self.place.local(parent);
                if let Some(error) = folder::closed(&local) {
                    self.note(local, error);
                }
            }
        }
    }

    fn note(&mut self, at: PathBuf, error: io::Error) {
        match &self.closed {
            None => self.closed = Some((at, error)),
            Some((known, _)) if *known == at => {}
            Some(_) => self.more += 1,
        }
    }

    /// Whether all of it can be done here.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn end(self) -> Result<(), Failure> {
        if let Some((at, error)) = self.closed {
            let more = if self.more > 0 { format!(", nor can {} more", self.more) } else { String::new() };
            return Err(Failure::new(format!(
                "{} cannot be written on this device ({error}){more}: nothing was changed",
                text::path(&at)
            )));
        }
        let needed = self.largest.max(self.comes.saturating_sub(self.goes));
        // Where that cannot be said, it is found out.
        let room = folder::room(&self.place.root.path).unwrap_or(u64::MAX);
        if needed > room {
            let (needed, room) = (text::size(needed), text::size(room));
            return Err(Failure::new(format!(
                "what comes back needs {needed}, and this device has room for {room} beside its reserve: nothing was changed"
            )));
        }
        Ok(())
    }
}

fn size(value: Option<&Value>) -> u64 {
    match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::File(file)) => file.size,
        Some(Kind::Unit(unit)) => unit.size,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quics_proto::common::v1::File;
    use quics_types::{LeaseId, Role, RootId, UnitNames};

    use super::*;
    use crate::home::RootEntry;

    fn place(path: PathBuf) -> Place {
        let root = RootEntry {
            id: RootId::from_bytes([1; 16]),
            name: "docs".into(),
            path,
            lease: LeaseId::from_bytes([1; 16]),
            role: Role::Owner,
            units: UnitNames::default(),
            paused: false,
        };
        Place { root, relative: Bytes::new() }
    }

    fn file(size: u64) -> Option<Value> {
        Some(Value { kind: Some(Kind::File(File { size, ..Default::default() })) })
    }

    fn change(kind: RestoreKind, now: u64, then: u64) -> RestoreChange {
        let (path_now, path_then) = ("a/f".into(), "a/f".into());
        RestoreChange { kind: kind as i32, path_now, path_then, now: file(now), then: file(then), ..Default::default() }
    }

    fn told(changes: &[RestoreChange]) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path().to_owned());
        let mut fit = Fit::new(&place);
        changes.iter().for_each(|change| fit.take(change));
        fit.end().map_err(|failure| failure.text)
    }

    #[test]
    fn what_comes_has_to_fit_beside_what_goes() {
        const HUGE: u64 = 1 << 60;
        assert_eq!(told(&[change(RestoreKind::Change, 1, 5)]), Ok(()));
        assert!(told(&[change(RestoreKind::Create, 0, HUGE)]).unwrap_err().contains("needs 1"));
        assert_eq!(told(&[change(RestoreKind::Delete, HUGE, 0), change(RestoreKind::Stays, 0, HUGE)]), Ok(()));
        // One that is larger than the room is staged before the other one goes.
        assert!(told(&[change(RestoreKind::Change, HUGE, HUGE - 1)]).is_err());
    }
}

//! People who answer: at once, too late, twice, and what happens around an answer.

use std::collections::BTreeMap;

use quics_reconcile::{Choice, Conflict, Unanswered, Value};
use quics_types::{EntryId, Mtime, Name};
use rand::Rng as _;

use crate::disk::TOP;
use crate::side::{Side, digest_of};
use crate::world::{World, say};

/// What a person saw, and has decided about it.
#[derive(Debug, Clone)]
pub(crate) struct Mind {
    id: EntryId,
    seen: Conflict,
    choice: Choice,
}

impl<S: Side> World<S> {
    /// A person looks at a conflict and answers, now or later; or gives an answer that is long decided.
    pub(crate) fn person(&mut self) {
        if !self.minds.is_empty() && self.chance(30) {
            let mind = self.minds.remove(0);
            self.give(&mind);
            return;
        }
        let Some(mind) = self.decide() else { return };
        if self.chance(25) {
            self.minds.push(mind);
        } else {
            self.give(&mind);
        }
    }

    /// Somebody answers one of the open conflicts.
    pub(crate) fn answer_one(&mut self) {
        if let Some(mind) = self.decide() {
            self.give(&mind);
        }
    }

    fn decide(&mut self) -> Option<Mind> {
        let open = self.server.open();
        let (id, seen) = self.pick(&open)?;
        let keys: Vec<_> = seen.candidates.keys().copied().collect();
        let choice = match self.random.random_range(0..100) {
            0..25 => Choice::Server,
            25..50 => {
                let mut names = BTreeMap::new();
                if self.chance(30)
                    && let Some(key) = self.pick(&keys)
                {
                    let name = self.pick(&["a", "w", "wished for"])?;
                    names.insert(key, Name::new(name).unwrap());
                }
                Choice::Both { names }
            }
            50..60 => {
                let (token, big, content) = self.fresh_content();
                self.server.ingest(&token, big);
                let size = if big { 20_000 } else { token.len() as u64 };
                Choice::Merged { value: Value::File { content, size }, mtime: Mtime { seconds: 77, nanos: 0 } }
            }
            _ => Choice::Candidate(self.pick(&keys)?),
        };
        Some(Mind { id, seen, choice })
    }

    fn give(&mut self, mind: &Mind) {
        let Mind { id, seen, choice } = mind;
        let (commits, row) = (self.server.len(), self.server.row(*id));
        let now = self.server.open().into_iter().find(|(open, _)| open == id).map(|(_, conflict)| conflict);
        let answered = self.server.resolve(*id, seen.revision, choice);
        say!(self, "answer {id} {choice:?}: {answered:?}");
        match &answered {
            Ok(()) => {
                assert_eq!(now.as_ref(), Some(seen), "an answer to another conflict than was seen");
                self.books.answered(row.as_ref(), seen, choice);
                if let Choice::Merged { value, .. } = choice {
                    self.all.extend(digest_of(value));
                }
                self.aftermath(mind);
            }
            Err(why) => {
                assert_eq!(self.server.len(), commits, "a refused answer commits nothing");
                let same = now.as_ref().is_some_and(|now| now.revision == seen.revision);
                let stale = matches!(why, Unanswered::Closed | Unanswered::Stale { .. });
                assert_eq!(stale, !same, "{why}, and the conflict is {now:?}");
            }
        }
    }

    /// What happens around an answer at the worst time.
    fn aftermath(&mut self, mind: &Mind) {
        if self.chance(20) {
            // Two answered at once: the other is told so.
            let commits = self.server.len();
            let again = self.server.resolve(mind.id, mind.seen.revision, &Choice::Server);
            assert!(matches!(again, Err(Unanswered::Closed | Unanswered::Stale { .. })), "{again:?}");
            assert_eq!(self.server.len(), commits);
        }
        if self.chance(20) && self.server.undo() {
            say!(self, "undo of the answer");
            self.books.undone(self.server.row(mind.id).as_ref());
        }
        let involved: Vec<_> = mind.seen.candidates.keys().map(|(device, _)| *device).collect();
        let Some(id) = self.pick(&involved) else { return };
        let Some(device) = self.devices.iter().position(|it| it.id == id) else { return };
        match self.random.random_range(0..10) {
            // Its user edits on, from what won or from what lost.
            0..2 => self.edits_on(device, mind.id),
            // It hears the answer, and is killed before, while or after it does what that means.
            2..5 => {
                self.hears(device);
                let operations = self.random.random_range(0..3);
                self.dies_within(device, operations);
            }
            // It does what the answer means, and its user edits on.
            5..7 => {
                self.hears(device);
                self.step(device);
                self.edits_on(device, mind.id);
            }
            7..8 => self.cut(device),
            _ => {}
        }
    }

    fn hears(&mut self, device: usize) {
        self.tell(device);
        while !self.devices[device].news.is_empty() {
            self.deliver_news(device);
        }
    }

    /// The user of a device writes the file of an entry, where the server has it, if that is a file there.
    fn edits_on(&mut self, device: usize, id: EntryId) {
        let (mut names, mut at) = (Vec::new(), id);
        while at != EntryId::TOP {
            let Some(row) = self.server.row(at) else { return };
            names.push(row.place.name.to_string());
            at = row.place.parent;
        }
        let Some((name, above)) = names.split_first() else { return };
        let mut dir = TOP;
        for part in above.iter().rev() {
            let Some(next) = self.devices[device].folder.tree().members(dir).get(part).copied() else { return };
            dir = next;
        }
        if self.devices[device].folder.tree().members(dir).contains_key(name) {
            self.writes(device, dir, name);
        }
    }
}

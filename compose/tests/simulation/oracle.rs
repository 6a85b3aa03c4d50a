//! The oracle: what must hold of every judgement, and of everything at the end.

use std::collections::{BTreeMap, BTreeSet};

use quics_client::folder::Kind;
use quics_reconcile::{CandidateRole, CandidateState, Choice, Conflict, Proposal, Row, Value, Verdict};
use quics_types::{DeviceId, Digest, EntryId, Mtime};

use crate::disk::{STAGE, content_of};
use crate::side::{Side, digest_of};
use crate::world::World;

/// What is noted of contents while a history runs.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// Every content that the server ever kept: in a row or a candidate.
    kept: BTreeSet<Digest>,
    /// Contents that a proposal took away.
    replaced: BTreeSet<Digest>,
    /// Contents that a person decided about.
    asked: BTreeSet<Digest>,
    /// Contents that stand again, at a later time, since an answer was taken back, or what it had settled was chosen then:
    /// a device that still has one cannot tell whether its user has gone on from it.
    returned: BTreeSet<Digest>,
    /// What a device's user wrote a content over, knowing it.
    over: BTreeMap<(DeviceId, Digest), BTreeSet<Digest>>,
}

impl Books {
    /// A user wrote a content over another.
    pub(crate) fn wrote(&mut self, device: DeviceId, content: Digest, over: Option<Digest>) {
        let Some(over) = over else { return };
        let mut all = self.over.get(&(device, over)).cloned().unwrap_or_default();
        all.insert(over);
        self.over.entry((device, content)).or_default().extend(all);
    }

    /// What a device made from a state that it had and that still stands is no question.
    pub(crate) fn check_question(&self, device: DeviceId, proposal: &Proposal, verdict: &Verdict, there: &Row) {
        if let (Verdict::Conflict { .. }, Some(content)) = (verdict, proposal.value().and_then(digest_of))
            && let (Some(stands), Some(over)) = (digest_of(&there.value), self.over.get(&(device, content)))
        {
            let needless = !there.dead && over.contains(&stands) && !self.returned.contains(&stands);
            assert!(!needless, "a needless question: {proposal:?} was made from {there:?}");
        }
    }

    /// A proposal was judged.
    pub(crate) fn judged(&mut self, proposal: &Proposal, verdict: &Verdict, before: Option<&Row>, after: Option<&Row>) {
        if let Verdict::Accepted(_) | Verdict::Conflict { .. } = verdict {
            self.kept.extend(proposal.value().and_then(digest_of));
        }
        let Some(old) = before.filter(|row| !row.dead) else { return };
        if after.is_some_and(|now| !now.dead && now.value == old.value) {
            return;
        }
        // No proposal takes away a value that its device has not had.
        assert_eq!(proposal.base(), Some(&old.value), "silent overwrite of {old:?} by {proposal:?}");
        self.replaced.extend(digest_of(&old.value));
    }

    /// An answer about an entry was taken back, which has this row now.
    pub(crate) fn undone(&mut self, row: Option<&Row>) {
        self.returned.extend(row.and_then(|row| digest_of(&row.value)));
    }

    /// A person answered.
    pub(crate) fn answered(&mut self, row: Option<&Row>, seen: &Conflict, choice: &Choice) {
        self.asked.extend(row.and_then(|row| digest_of(&row.value)));
        if let Choice::Candidate(key @ (_, CandidateRole::Kept(_))) = choice
            && let Some(CandidateState::Value(value)) = seen.candidates.get(key).map(|it| &it.state)
        {
            self.returned.extend(digest_of(value));
        }
        for candidate in seen.candidates.values() {
            if let CandidateState::Value(value) = &candidate.state {
                self.asked.extend(digest_of(value));
            }
        }
        if let Choice::Merged { value, .. } = choice {
            self.kept.extend(digest_of(value));
        }
    }
}

/// What is at a path: kind, content, permission bits, and of a file its modification time.
type Seen = (Kind, Digest, u32, Option<Mtime>);

impl<S: Side> World<S> {
    fn view(&self, device: usize) -> BTreeMap<String, Seen> {
        let tree = self.devices[device].folder.tree();
        let path = |dir: u64, name: &str| format!("{}/{name}", tree.path(dir).unwrap());
        let seen = |inode: u64| {
            let it = &tree.inodes[&inode];
            let mtime = (it.kind == Kind::File).then_some(it.mtime);
            (it.kind, it.content(), if it.kind == Kind::Link { 0o777 } else { it.mode }, mtime)
        };
        tree.walk().into_iter().map(|(dir, name, inode)| (path(dir, &name), seen(inode))).collect()
    }

    fn wanted(&self) -> BTreeMap<String, Seen> {
        let rows: BTreeMap<EntryId, Row> = self.server.rows().into_iter().map(|row| (row.id, row)).collect();
        let mut wanted = BTreeMap::new();
        for row in rows.values().filter(|row| !row.dead) {
            let (mut parts, mut at) = (vec![row.place.name.to_string()], row.place.parent);
            while at != EntryId::TOP {
                let above = &rows[&at];
                assert!(above.is_live_directory(), "a live entry below a dead directory: {row:?}");
                assert!(parts.len() < 100, "an entry is its own ancestor");
                parts.push(above.place.name.to_string());
                at = above.place.parent;
            }
            parts.push(String::new());
            parts.reverse();
            // The top's members have paths that begin with a slash, as in a view.
            let path = if parts.len() == 2 { format!("/{}", parts[1]) } else { parts[1..].join("/") };
            let seen = match &row.value {
                Value::Directory => (Kind::Directory, content_of("", false), row.mode, None),
                Value::File { content, .. } => (Kind::File, *content, row.mode, Some(row.mtime)),
                Value::Unit { content, .. } => (Kind::Unit, *content, row.mode, None),
                Value::Link { target } => {
                    (Kind::Link, content_of(std::str::from_utf8(target).unwrap(), false), 0o777, None)
                }
            };
            assert!(wanted.insert(path, seen).is_none(), "two entries of one name");
        }
        wanted
    }

    /// At rest, every question is about something that its device really has, and the server has not.
    pub(crate) fn check_questions(&self) {
        for (id, conflict) in self.server.open() {
            let row = self.server.row(id).expect("a conflict is about an entry");
            for ((device, role), candidate) in &conflict.candidates {
                let number = self.devices.iter().position(|it| it.id == *device).expect("a device of this history");
                match &candidate.state {
                    CandidateState::Value(value) => {
                        let same = !row.dead && row.value == *value;
                        assert!(!same, "a question about what is no difference: {row:?}");
                        let Some(content) = digest_of(value) else { continue };
                        // What an undone answer had settled is kept, wherever its device has gone since.
                        if let CandidateRole::Kept(_) = role {
                            continue;
                        }
                        let has = self.view(number).values().any(|it| it.1 == content);
                        assert!(has, "D{} has no {role:?} {content} any more: {row:?}", number + 1);
                    }
                    CandidateState::Delete => {
                        assert_ne!(*role, CandidateRole::New);
                        assert!(!row.dead, "a question whether to delete what is deleted: {row:?}");
                    }
                }
            }
        }
    }

    /// At the end: everybody has what the server has, and nothing is lost that nobody took away.
    pub(crate) fn check(&mut self) {
        let wanted = self.wanted();
        for device in 0..self.devices.len() {
            let view = self.view(device);
            assert_eq!(view, wanted, "D{} is not what the server has", device + 1);
            let tree = self.devices[device].folder.tree();
            assert!(tree.members(STAGE).is_empty(), "something was left on the stage");
        }
        let mut times = BTreeMap::new();
        for row in self.server.versions() {
            let last = times.insert(row.id, row.time.0).unwrap_or(0);
            assert_eq!(row.time.0, last + 1, "a gap in the logical times of {:?}", row.id);
        }
        let Books { kept, replaced, asked, .. } = &self.books;
        let lost: Vec<_> = self.all.iter().filter(|it| !self.known.contains(it) && !kept.contains(it)).collect();
        assert!(lost.is_empty(), "lost contents: {lost:?}");
        let live: BTreeSet<Digest> = wanted.values().map(|it| it.1).collect();
        let spared = |it: &&Digest| self.known.contains(it) || asked.contains(it) || live.contains(it);
        let gone: Vec<_> = replaced.iter().filter(|it| !spared(it)).collect();
        assert!(gone.is_empty(), "contents that nobody took away are gone: {gone:?}");
    }
}

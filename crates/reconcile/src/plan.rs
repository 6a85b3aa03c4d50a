//! The planner: what to do about one entry or one new node.
//!
//! Nothing here touches a disk or a server. A step says what to do; whoever does it looks again at what it touches,
//! gives up if that is not what the trees say, and tells the trees what came of it (see [`learn`](crate::learn)).
//! Where a step has to wait for another, nothing is planned; the entry is looked at again when the structure of a
//! tree changes.

use std::collections::BTreeSet;

use quics_types::{EntryId, LogicalTime, Place};

use crate::{
    AttributesChange, CandidateRole, CandidateState, Change, ContentChange, Node, NodeId, PlaceChange, Proposal, Row,
    Trees, Value,
};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Propose a change. A create has the id [`EntryId::TOP`]; whoever sends it draws one.
    Propose {
        /// The proposal.
        proposal: Box<Proposal>,
        /// The node that it tells of.
        node: Option<NodeId>,
    },
    /// Propose this change, once the content of its node is known.
    Hash {
        /// The node.
        node: NodeId,
    },
    /// Take the synced row out.
    Forget(EntryId),
    /// The disk has the server's state already: renew the synced row.
    Adopt(EntryId, Aspect),
    /// Make the server's entry here, where nothing is.
    Create(EntryId),
    /// Remove the entry's node, which is as synced or a settled loser.
    Remove(EntryId),
    /// Put the server's content in the place of the entry's node, which is as synced or a settled loser.
    Replace(EntryId),
    /// Move the entry's node to the server's place, where nothing is.
    Move(EntryId),
    /// Give the entry's node the server's attributes.
    SetAttributes(EntryId),
    /// Move the entry's node out of the way, into the staging directory.
    Park(EntryId),
    /// Remove a new file that lost its conflict and is unchanged since.
    Drop(NodeId),
    /// Give a directory whose name is another's (it lost its conflict, or was deleted and is made again) another name;
    /// bring something staged that is no live entry any more back in sight under a free name.
    Aside(NodeId),
}

/// One of the three things of an entry that change independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// Kind and content.
    Content,
    /// Parent and name.
    Place,
    /// Permission bits, modification time.
    Attributes,
}

/// What has to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    entries: BTreeSet<EntryId>,
    nodes: BTreeSet<NodeId>,
    /// Entries and nodes that wait for something else to happen first.
    waiting_entries: BTreeSet<EntryId>,
    waiting_nodes: BTreeSet<NodeId>,
    structure: bool,
}

impl Dirty {
    pub(crate) fn entry(&mut self, id: EntryId) {
        self.entries.insert(id);
    }

    pub(crate) fn node(&mut self, id: NodeId) {
        self.nodes.insert(id);
    }

    pub(crate) fn forget_node(&mut self, id: NodeId) {
        self.nodes.remove(&id);
        self.waiting_nodes.remove(&id);
    }

    /// The structure of a tree has changed: what waited may go on.
    pub(crate) fn structure(&mut self) {
        self.structure = true;
    }
}

/// What the planner was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An entry.
    Entry(EntryId),
    /// A new node.
    Node(NodeId),
}

enum Next {
    /// The trees agree, or a person has to answer.
    Rest,
    /// Something else has to happen first.
    Wait,
    Do(Step),
}

impl Trees {
    /// What has to be looked at next; `None` when nothing has.
    pub fn next_subject(&mut self) -> Option<Subject> {
        if std::mem::take(&mut self.dirty.structure) {
            self.dirty.entries.append(&mut self.dirty.waiting_entries);
            self.dirty.nodes.append(&mut self.dirty.waiting_nodes);
        }
        if let Some(id) = self.dirty.entries.pop_first() {
            return Some(Subject::Entry(id));
        }
        self.dirty.nodes.pop_first().map(Subject::Node)
    }

    /// Whether anything has to be looked at.
    pub fn has_subjects(&self) -> bool {
        let waiting = !self.dirty.waiting_entries.is_empty() || !self.dirty.waiting_nodes.is_empty();
        !self.dirty.entries.is_empty() || !self.dirty.nodes.is_empty() || (self.dirty.structure && waiting)
    }

    /// How many entries and nodes are known not to be at rest, without asking again.
    pub fn unsettled(&self) -> usize {
        let dirty = &self.dirty;
        dirty.entries.len() + dirty.nodes.len() + dirty.waiting_entries.len() + dirty.waiting_nodes.len()
    }

    /// Puts a subject back: it could not be done now.
    pub fn put_back(&mut self, subject: Subject) {
        match subject {
            Subject::Entry(id) => self.mark(id),
            Subject::Node(id) if self.nodes.contains_key(&id) => self.mark_node(id),
            Subject::Node(_) => {}
        }
    }

    /// What waits is looked at again.
    pub fn retry(&mut self) {
        self.dirty.structure();
    }

    /// Whether what is at a node waits, and nothing was seen since that could let it go on.
    pub fn waits(&self, node: NodeId) -> bool {
        let dirty = &self.dirty;
        match self.nodes.get(&node).map(|it| it.entry) {
            Some(Some(id)) => dirty.waiting_entries.contains(&id) && !dirty.entries.contains(&id),
            Some(None) => dirty.waiting_nodes.contains(&node) && !dirty.nodes.contains(&node),
            None => false,
        }
    }

    /// Lets a subject wait until the structure of a tree changes.
    pub fn wait(&mut self, subject: Subject) {
        match subject {
            Subject::Entry(id) => {
                self.dirty.waiting_entries.insert(id);
            }
            Subject::Node(id) if self.unbound.contains_key(&id) => {
                self.dirty.waiting_nodes.insert(id);
            }
            Subject::Node(_) => {}
        }
    }

    /// What to do about a subject now. `None`: nothing, or nothing yet; then it is kept waiting here.
    pub fn plan(&mut self, subject: Subject) -> Option<Step> {
        let next = match subject {
            Subject::Entry(id) => {
                self.spend(id);
                self.plan_entry(id)
            }
            Subject::Node(id) => self.plan_new(id),
        };
        let next = if self.held.is_empty() { next } else { self.beside_held(subject, next) };
        match next {
            Next::Do(step) => Some(step),
            Next::Rest => None,
            Next::Wait => {
                self.wait(subject);
                None
            }
        }
    }

    /// What the server keeps is not proposed again, and is taken back when the device has gone back from it. It rests: there
    /// may be very many, and what ends the waiting says so.
    fn beside_held(&self, subject: Subject, next: Next) -> Next {
        match (subject, next) {
            (_, Next::Do(Step::Propose { proposal, .. })) if self.held.waits(&proposal) => Next::Rest,
            (Subject::Entry(id), Next::Rest) => match self.held.of(id) {
                Some(Proposal::Create { place, .. }) if self.node_at(place).is_some() => Next::Rest,
                Some(_) => Next::Do(Step::Propose { proposal: Box::new(Proposal::Withdraw { id }), node: None }),
                None => Next::Rest,
            },
            (_, next) => next,
        }
    }

    fn own(&self, id: EntryId, role: CandidateRole) -> Option<&CandidateState> {
        Some(&self.conflicts.get(&id)?.candidates.get(&(self.device, role))?.state)
    }

    fn settled_state(&self, id: EntryId, role: CandidateRole) -> Option<&CandidateState> {
        self.settled.get(&(id, role)).map(|settled| &settled.state)
    }

    /// A newcomer that was settled and is gone is done with: what comes to its place later is something else.
    fn spend(&mut self, id: EntryId) {
        if !self.settled.contains_key(&(id, CandidateRole::New)) {
            return;
        }
        let Some((place, _)) = self.newcomers_at.iter().find(|(_, known)| **known == id) else { return };
        let there = self.node_at(place).is_some_and(|node| self.unbound.contains_key(&node));
        if !there {
            self.set_settled(id, CandidateRole::New, None);
        }
    }

    fn plan_entry(&self, id: EntryId) -> Next {
        let Some(remote) = self.remote.get(&id) else {
            return if self.synced.contains_key(&id) { Next::Wait } else { Next::Rest };
        };
        if let Some(withdraw) = self.plan_withdraw(id, remote) {
            return withdraw;
        }
        if !self.synced.contains_key(&id) {
            return self.plan_absent(remote);
        }
        match self.node_of(id) {
            None => self.plan_gone(id, remote),
            Some(node) => match self.nodes.get(&node) {
                Some(it) if remote.dead => self.plan_dead(id, node, it),
                Some(it) => self.plan_live(id, remote, node, it),
                None => Next::Wait,
            },
        }
    }

    /// What was a newcomer under the entry's name is gone from it.
    fn plan_withdraw(&self, id: EntryId, remote: &Row) -> Option<Next> {
        self.own(id, CandidateRole::New)?;
        let there = self.node_at(&remote.place).is_some_and(|node| self.unbound.contains_key(&node));
        (!there).then(|| Next::Do(Step::Propose { proposal: Box::new(Proposal::Withdraw { id }), node: None }))
    }

    /// On the server, not here, never was.
    fn plan_absent(&self, remote: &Row) -> Next {
        if remote.dead {
            return Next::Rest;
        }
        match self.way_to(&remote.place, None) {
            Way::Free => Next::Do(Step::Create(remote.id)),
            Way::Park(other) => Next::Do(Step::Park(other)),
            Way::Blocked => Next::Wait,
        }
    }

    /// Synced, and gone here.
    fn plan_gone(&self, id: EntryId, remote: &Row) -> Next {
        let Some(base) = self.synced.get(&id) else { return Next::Rest };
        let delete = Proposal::Delete { id, base_time: base.content_time, base: base.value.clone() };
        let delete = Next::Do(Step::Propose { proposal: Box::new(delete), node: None });
        let own = self.own(id, CandidateRole::Own);
        if remote.dead {
            // What was written over it has gone as well, or is something new: nobody has to be asked about it.
            return if matches!(own, Some(CandidateState::Value(_))) { delete } else { Next::Do(Step::Forget(id)) };
        }
        if own == Some(&CandidateState::Delete) {
            return Next::Wait;
        }
        if self.settled_state(id, CandidateRole::Own) == Some(&CandidateState::Delete) {
            return Next::Do(Step::Forget(id)); // the delete lost: it comes back
        }
        if self.maybe_moved(base) {
            return Next::Wait;
        }
        if base.value.is_directory() {
            let members = self.remote_children.get(&id);
            let stays = |member: &EntryId| self.node_of.contains_key(member) && !self.leaving(*member);
            let foreign = |member: &EntryId| !self.synced.contains_key(member) || stays(member);
            if members.is_some_and(|members| members.iter().any(foreign)) {
                return Next::Do(Step::Forget(id)); // others live in it: it comes back
            }
            if members.is_some() {
                return Next::Wait; // their moves and deletes, or answers, come first
            }
        }
        delete
    }

    /// Whether a new node with the inode of an entry that is gone is not known well enough yet to say what it is.
    fn maybe_moved(&self, base: &crate::Base) -> bool {
        self.unbound_by_inode
            .get(&base.inode)
            .is_some_and(|nodes| nodes.iter().any(|node| self.nodes.get(node).is_some_and(|node| node.value.is_none())))
    }

    /// Deleted on the server, and still here.
    fn plan_dead(&self, id: EntryId, node: NodeId, it: &Node) -> Next {
        let Some(base) = self.synced.get(&id) else { return Next::Rest };
        let Some(value) = &it.value else { return Next::Do(Step::Hash { node }) };
        let state = CandidateState::Value(value.clone());
        let own = self.own(id, CandidateRole::Own);
        if own == Some(&state) {
            return Next::Wait; // a candidate: a person answers
        }
        let untouched = *value == base.value || self.settled_state(id, CandidateRole::Own) == Some(&state);
        if !untouched || (own.is_some() && it.children.is_empty()) {
            return self.propose_content(id, node, it, value, false);
        }
        if it.children.is_empty() {
            Next::Do(Step::Remove(id))
        } else if self.lives(node) {
            self.plan_revival(node, it, value) // deleted there, alive here
        } else {
            Next::Wait
        }
    }

    /// A directory that was deleted elsewhere is made again for what is this device's own in it. It stays bound until it
    /// is: what was deleted with it keeps its entry, and goes, whichever comes first.
    fn plan_revival(&self, node: NodeId, it: &Node, value: &Value) -> Next {
        let Some(place) = self.place_of(it) else {
            // What is staged comes back in sight; else its own directory is made first.
            return if it.parent == NodeId::STAGE { Next::Do(Step::Aside(node)) } else { Next::Wait };
        };
        if !self.is_live_directory(place.parent) {
            return Next::Wait;
        }
        if self.remote_at(&place).is_some() {
            return Next::Do(Step::Aside(node)); // its name is another's
        }
        propose_create(place, node, it, value)
    }

    fn propose_content(&self, id: EntryId, node: NodeId, it: &Node, value: &Value, ask: bool) -> Next {
        let Some(base) = self.synced.get(&id) else { return Next::Rest };
        let content = Some(content_change(base, value, it, ask));
        let proposal = Proposal::Change(Change { id, content, place: None, attributes: None });
        Next::Do(Step::Propose { proposal: Box::new(proposal), node: Some(node) })
    }

    /// Live on the server, synced, and here.
    fn plan_live(&self, id: EntryId, remote: &Row, node: NodeId, it: &Node) -> Next {
        let Some(base) = self.synced.get(&id) else { return Next::Rest };
        let Some(value) = &it.value else { return Next::Do(Step::Hash { node }) };
        let mut wait = false;

        let content = match self.content_of(id, remote, node, it, value) {
            Content::Do(step) => return Next::Do(step),
            Content::Propose { ask } => Some(content_change(base, value, it, ask)),
            Content::Rest => None,
            Content::Wait => {
                wait = true;
                None
            }
        };

        let here = self.place_of(it);
        let mut place = None;
        if here.as_ref() == Some(&remote.place) {
            if base.place != remote.place || base.place_time != remote.place_time || self.revert.contains(&id) {
                return Next::Do(Step::Adopt(id, Aspect::Place));
            }
        } else if let Some(here) = here
            .filter(|here| *here != base.place && remote.place_time <= base.place_time && !self.revert.contains(&id))
        {
            if self.is_live_directory(here.parent) {
                place = Some(PlaceChange { base_time: base.place_time, place: here });
            } else {
                wait = true;
            }
        } else {
            match self.way_to(&remote.place, Some(node)) {
                Way::Free => return Next::Do(Step::Move(id)),
                Way::Park(other) => return Next::Do(Step::Park(other)),
                Way::Blocked => wait = true,
            }
        }

        let mut attributes = None;
        let is_link = |value: &Value| matches!(value, Value::Link { .. });
        let crosses = !value.is_like(&remote.value);
        let is_file = matches!(value, Value::File { .. });
        let times_count = is_file && *value == base.value && content.is_none();
        let changed_here = it.mode != base.seen_mode || (times_count && it.mtime != base.seen_mtime);
        let as_remote = it.mode == remote.mode && (!times_count || it.mtime == remote.mtime);
        if remote.attributes_time > base.attributes_time {
            let adopt = as_remote || crosses || is_link(value);
            let step = if adopt { Step::Adopt(id, Aspect::Attributes) } else { Step::SetAttributes(id) };
            return Next::Do(step);
        } else if changed_here && as_remote {
            return Next::Do(Step::Adopt(id, Aspect::Attributes));
        } else if !is_link(value) && if crosses { content.is_some() } else { changed_here } {
            attributes = Some(AttributesChange { base_time: base.attributes_time, mode: it.mode, mtime: it.mtime });
        }

        if content.is_some() || place.is_some() || attributes.is_some() {
            let proposal = Proposal::Change(Change { id, content, place, attributes });
            return Next::Do(Step::Propose { proposal: Box::new(proposal), node: Some(node) });
        }
        if wait { Next::Wait } else { Next::Rest }
    }

    fn content_of(&self, id: EntryId, remote: &Row, node: NodeId, it: &Node, value: &Value) -> Content {
        let Some(base) = self.synced.get(&id) else { return Content::Rest };
        let state = CandidateState::Value(value.clone());
        let own = self.own(id, CandidateRole::Own);
        let members = self.remote_children.get(&id);
        if *value == remote.value && own.is_none() {
            if base.value != remote.value || base.content_time != remote.content_time {
                return Content::Do(Step::Adopt(id, Aspect::Content));
            }
            return Content::Rest;
        }
        if own == Some(&state) {
            return Content::Wait; // a person answers
        }
        if *value != base.value {
            if self.settled_state(id, CandidateRole::Own) == Some(&state) {
                return Content::Do(Step::Replace(id));
            }
            return match members {
                Some(members) if !value.is_directory() => {
                    // A file here, a directory with others' things there: a person decides, unless they are leaving.
                    if members.iter().any(|member| self.leaving(*member)) {
                        Content::Wait
                    } else {
                        Content::Propose { ask: true }
                    }
                }
                _ => Content::Propose { ask: false },
            };
        }
        if own.is_some() {
            return Content::Propose { ask: false }; // back at the base: takes the candidate back
        }
        if remote.content_time > base.content_time {
            let lost = self.settled_state(id, CandidateRole::Own) == Some(&state);
            if it.children.is_empty() || lost {
                return Content::Do(Step::Replace(id));
            }
            // A file there, a directory with new things here: a person decides.
            return if self.lives(node) { Content::Propose { ask: true } } else { Content::Wait };
        }
        Content::Rest
    }

    /// On the disk, and no entry.
    fn plan_new(&self, node: NodeId) -> Next {
        let Some(it) = self.nodes.get(&node).filter(|it| it.entry.is_none()) else { return Next::Rest };
        if it.parent == NodeId::STAGE {
            return Next::Do(Step::Aside(node)); // nobody's any more: back in sight
        }
        let Some(place) = self.place_of(it) else { return Next::Wait };
        if !self.is_live_directory(place.parent) {
            return Next::Wait; // its directory is made, revived, or asked about, first
        }
        let Some(value) = &it.value else { return Next::Do(Step::Hash { node }) };
        if let Some(there) = self.remote_at(&place).and_then(|id| self.remote.get(&id)) {
            let state = CandidateState::Value(value.clone());
            let own = self.own(there.id, CandidateRole::New);
            if own == Some(&state) {
                return Next::Wait; // already a candidate
            }
            let lost = self.settled_state(there.id, CandidateRole::New) == Some(&state);
            if lost && own.is_none() && there.value != *value {
                return Next::Do(give_way(node, value));
            }
        } else if let Some(id) = self.newcomers_at.get(&place) {
            // What it lost to has gone since, and the answer stands.
            let lost = self.settled_state(*id, CandidateRole::New) == Some(&CandidateState::Value(value.clone()));
            if lost && self.own(*id, CandidateRole::New).is_none() {
                return Next::Do(give_way(node, value));
            }
        }
        propose_create(place, node, it, value)
    }

    /// Whether an entry can come to a place on this disk, and what is in the way.
    fn way_to(&self, place: &Place, moving: Option<NodeId>) -> Way {
        let Some(parent) = self.node_of(place.parent) else { return Way::Blocked };
        let Some(directory) = self.nodes.get(&parent) else { return Way::Blocked };
        if directory.value != Some(Value::Directory) || moving.is_some_and(|node| self.inside(parent, node)) {
            return Way::Blocked;
        }
        let Some(there) = directory.children.get(&place.name).and_then(|node| self.nodes.get(node)) else {
            return Way::Free;
        };
        // A newcomer's create proposal decides.
        let Some(other) = there.entry else { return Way::Blocked };
        let misplaced = self.remote.get(&other).is_some_and(|row| row.dead || row.place != *place);
        if misplaced && !self.conflicts.contains_key(&other) { Way::Park(other) } else { Way::Blocked }
    }

    /// Whether the server has a live directory of this id, as far as this device knows.
    pub(crate) fn is_live_directory(&self, id: EntryId) -> bool {
        id == EntryId::TOP || self.remote.get(&id).is_some_and(Row::is_live_directory)
    }

    /// Whether this device is about to propose that an entry goes from where it is: deleted, or moved by the user.
    fn leaving(&self, id: EntryId) -> bool {
        let (Some(base), Some(remote)) = (self.synced.get(&id), self.remote.get(&id)) else { return false };
        let Some(node) = self.node_of(id).and_then(|node| self.nodes.get(&node)) else { return true };
        // Without a place it is in a directory that is new.
        self.place_of(node).is_none_or(|here| here != base.place)
            && remote.place_time <= base.place_time
            && !self.revert.contains(&id)
            && self.will_be_directory(node.parent)
    }

    /// Whether a directory here is one on the server, or this device is about to make it one there: it is new, or was
    /// something else, and nothing stands in its way as far as is known.
    fn will_be_directory(&self, mut at: NodeId) -> bool {
        while at != NodeId::TOP {
            // What is parked is on its way to where the server has it.
            let here = self.nodes.get(&at).filter(|it| at != NodeId::STAGE && it.value == Some(Value::Directory));
            let Some(it) = here else { return false };
            if let Some(id) = it.entry {
                let changes = self.synced.get(&id).zip(self.remote.get(&id)).is_some_and(|(base, remote)| {
                    !remote.dead && remote.content_time <= base.content_time && !self.conflicts.contains_key(&id)
                });
                return changes || self.is_live_directory(id);
            }
            let taken = self.place_of(it).and_then(|place| self.remote_at(&place));
            if taken.is_some() {
                return false;
            }
            at = it.parent;
        }
        true
    }

    /// Whether something below a directory that was deleted elsewhere is this device's own: new here, or moved here by
    /// the user.
    fn lives(&self, directory: NodeId) -> bool {
        let mut below: Vec<NodeId> =
            self.nodes.get(&directory).map(|it| it.children.values().copied().collect()).unwrap_or_default();
        while let Some(node) = below.pop() {
            let Some(it) = self.nodes.get(&node) else { continue };
            let Some(entry) = it.entry else { return true };
            let moved = self.synced.get(&entry).is_some_and(|base| self.place_of(it).as_ref() != Some(&base.place));
            if moved && self.remote.get(&entry).is_some_and(|row| !row.dead) {
                return true;
            }
            below.extend(it.children.values());
        }
        false
    }
}

enum Content {
    Rest,
    Wait,
    Do(Step),
    /// `ask`: whatever the times, a person decides.
    Propose {
        ask: bool,
    },
}

enum Way {
    Free,
    Park(EntryId),
    Blocked,
}

fn give_way(node: NodeId, value: &Value) -> Step {
    if value.is_directory() { Step::Aside(node) } else { Step::Drop(node) }
}

fn propose_create(place: Place, node: NodeId, it: &Node, value: &Value) -> Next {
    let proposal = Proposal::Create { id: EntryId::TOP, place, value: value.clone(), mode: it.mode, mtime: it.mtime };
    Next::Do(Step::Propose { proposal: Box::new(proposal), node: Some(node) })
}

fn content_change(base: &crate::Base, value: &Value, it: &Node, ask: bool) -> ContentChange {
    if ask {
        ContentChange { base_time: LogicalTime::NEVER, base: None, value: value.clone(), mtime: it.mtime }
    } else {
        let (base_time, base) = (base.content_time, Some(base.value.clone()));
        ContentChange { base_time, base, value: value.clone(), mtime: it.mtime }
    }
}

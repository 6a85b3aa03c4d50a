//! What the trees learn: from verdicts, from the feed, and from steps that were done.

use quics_types::{EntryId, LogicalTime, Mtime};

use crate::{
    Accepted, Aspect, Base, Candidate, CandidateRole, CandidateState, Change, Conflict, NodeId, Proposal, Refusal, Row,
    Settled, Step, Trees, Value, Verdict,
};

/// What the disk showed of a node when something was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The inode number.
    pub inode: u64,
    /// Permission bits.
    pub mode: u32,
    /// Modification time.
    pub mtime: Mtime,
}

impl Base {
    /// A base that agrees with a row in every aspect.
    pub fn of(row: &Row, seen: Seen) -> Self {
        Self {
            place: row.place.clone(),
            value: row.value.clone(),
            mode: row.mode,
            mtime: row.mtime,
            content_time: row.content_time,
            place_time: row.place_time,
            attributes_time: row.attributes_time,
            inode: seen.inode,
            seen_mode: seen.mode,
            seen_mtime: seen.mtime,
        }
    }
}

impl Trees {
    /// Takes a record of the feed: an entry's newest row. Returns whether it was news.
    pub fn receive_row(&mut self, row: Row) -> bool {
        self.set_remote(row)
    }

    /// Takes a record of the feed: an open conflict as it is now, with what the last answer to an earlier one settled.
    /// An older one than is known is passed over.
    pub fn receive_conflict(&mut self, id: EntryId, conflict: Conflict, settled: Conflict) {
        let known = self.conflicts.get(&id);
        if known.is_some_and(|known| known.revision > conflict.revision) {
            return;
        }
        // The feed has each conflict once: of one that was answered and has opened again, this is all that comes. What
        // this device has still open was settled; all else it has heard of before.
        let mine = |(device, role), candidate: &Candidate| {
            let open = known.and_then(|known| known.candidates.get(&(device, role)));
            device == self.device && open.is_some_and(|open| open.order == candidate.order)
        };
        let settled = settled.candidates.into_iter().filter(|(key, candidate)| mine(*key, candidate));
        for ((_, role), candidate) in settled.collect::<Vec<_>>() {
            self.set_settled(id, role, Some(Settled { state: candidate.state, order: candidate.order }));
        }
        self.set_conflict(id, Some(conflict));
    }

    /// Takes a record of the feed: a conflict is over, with what the answer settled and the row that resulted.
    pub fn receive_closed(&mut self, id: EntryId, settled: Conflict, row: Option<Row>) {
        self.set_conflict(id, None);
        for ((device, role), candidate) in settled.candidates {
            // What the server kept of this device is not what it has now.
            if device != self.device || matches!(role, CandidateRole::Kept(_)) {
                continue;
            }
            if role == CandidateRole::Own
                && let (Some(row), Some(mut base)) = (&row, self.synced.get(&id).cloned())
                && !row.dead
                && candidate.state == CandidateState::Value(row.value.clone())
            {
                // This device's side won: later edits are made from it.
                (base.value, base.content_time) = (row.value.clone(), row.content_time);
                let nameless = !self.is_named(id);
                if nameless { self.set_nameless_base(id, base) } else { self.set_base(id, base) }
            }
            self.set_settled(id, role, Some(Settled { state: candidate.state, order: candidate.order }));
        }
        if let Some(row) = row {
            self.set_remote(row);
        }
    }

    /// Takes the verdict on a proposal. `node` is the thing on the disk that the proposal told of, if it is still
    /// there, and `seen` what the disk showed of it when the proposal was made. Returns what is to be done at once.
    pub fn take(
        &mut self,
        order: (u64, u64),
        proposal: &Proposal,
        verdict: &Verdict,
        node: Option<NodeId>,
        seen: Option<Seen>,
    ) -> Option<Step> {
        let id = proposal.id();
        self.mark(id);
        if let Some(node) = node {
            self.mark_node(node);
        }
        let mut at_once = None;
        match verdict {
            Verdict::Accepted(accepted) => match proposal {
                Proposal::Create { .. } => at_once = self.take_create(proposal, &accepted.row, false, node, seen),
                Proposal::Change(change) => self.take_change(change, accepted, seen),
                Proposal::Delete { .. } => self.take_delete(&accepted.row),
                Proposal::Withdraw { .. } => {}
            },
            Verdict::Current(row) => match proposal {
                Proposal::Create { .. } => at_once = self.take_create(proposal, row, true, node, seen),
                Proposal::Delete { .. } => self.take_delete(row),
                Proposal::Change(change) => {
                    self.set_remote(row.clone());
                    if change.content.is_some() {
                        self.drop_candidate(id, CandidateRole::Own); // it went back to its base: taken back
                    }
                }
                Proposal::Withdraw { .. } => drop(self.set_remote(row.clone())),
            },
            Verdict::Conflict { id, revision } => self.provisional(*id, *revision, order, proposal),
            Verdict::Refused(Refusal::TakenBack) => self.take_back(order, proposal),
            Verdict::Refused(why) => {
                if let Proposal::Change(Change { place: Some(_), .. }) = proposal
                    && *why != Refusal::ParentGone
                {
                    self.set_revert(id, true);
                }
            }
            Verdict::Withdrawn => self.drop_candidate(id, CandidateRole::New),
            Verdict::Held { seq } => self.held.keep(*seq, proposal),
            Verdict::Missing(_) => {}
        }
        if !matches!(verdict, Verdict::Missing(_) | Verdict::Held { .. }) {
            self.held.done(proposal);
        }
        self.bind();
        at_once
    }

    /// What this device did lost, and is undone as if an answer had settled it.
    fn take_back(&mut self, order: (u64, u64), proposal: &Proposal) {
        let state = match proposal {
            Proposal::Delete { .. } => Some(CandidateState::Delete),
            _ => proposal.value().cloned().map(CandidateState::Value),
        };
        if let Some(state) = state {
            self.set_settled(proposal.id(), CandidateRole::Own, Some(Settled { state, order }));
        }
        if matches!(proposal, Proposal::Change(Change { place: Some(_), .. })) {
            self.set_revert(proposal.id(), true);
        }
    }

    fn take_create(
        &mut self,
        proposal: &Proposal,
        row: &Row,
        current: bool,
        node: Option<NodeId>,
        seen: Option<Seen>,
    ) -> Option<Step> {
        let Proposal::Create { place, value, mode, mtime, .. } = proposal else { return None };
        self.set_remote(row.clone());
        if row.dead {
            return None;
        }
        let at_once = node.and_then(|node| self.leave(row.id, node));
        let seen = seen.unwrap_or(Seen { inode: 0, mode: *mode, mtime: *mtime });
        let base = Base {
            place: place.clone(),
            value: value.clone(),
            mode: if current { row.mode } else { *mode },
            // Of two that met, the server's attributes stand.
            attributes_time: if current { LogicalTime::NEVER } else { row.attributes_time },
            ..Base::of(row, seen)
        };
        self.set_settled(row.id, CandidateRole::New, None);
        self.set_settled(row.id, CandidateRole::Own, None); // what is here was agreed on anew
        self.drop_candidate(row.id, CandidateRole::New);
        self.set_base(row.id, base);
        if let Some(node) = node.filter(|node| self.nodes.contains_key(node)) {
            self.bind_to(node, row.id);
        }
        at_once
    }

    /// An entry takes the node that was proposed. The node that it had elsewhere goes if nobody touched it, and is
    /// something new otherwise.
    fn leave(&mut self, id: EntryId, node: NodeId) -> Option<Step> {
        let other = self.node_of(id).filter(|other| *other != node)?;
        let it = self.nodes.get(&other)?;
        let untouched = it.children.is_empty() && it.value.as_ref() == self.synced.get(&id).map(|base| &base.value);
        self.unbind(other);
        untouched.then_some(Step::Drop(other))
    }

    fn take_delete(&mut self, row: &Row) {
        if row.dead {
            self.remove_base(row.id);
            self.drop_candidate(row.id, CandidateRole::Own);
        }
        self.set_remote(row.clone());
    }

    fn take_change(&mut self, change: &Change, accepted: &Accepted, seen: Option<Seen>) {
        self.set_remote(accepted.row.clone());
        let id = change.id;
        if change.content.is_some() {
            self.drop_candidate(id, CandidateRole::Own);
        }
        let Some(mut base) = self.synced.get(&id).cloned() else { return };
        let mut nameless = !self.is_named(id);
        if let (true, Some(content)) = (accepted.content, &change.content) {
            (base.value, base.content_time) = (content.value.clone(), accepted.row.content_time);
            base.mtime = content.mtime;
            if let Some(seen) = seen {
                base.seen_mtime = seen.mtime;
            }
            self.settled.remove(&(id, CandidateRole::Own));
        }
        if let (true, Some(place)) = (accepted.place, &change.place) {
            (base.place, base.place_time) = (place.place.clone(), accepted.row.place_time);
            nameless = false;
        }
        if let (true, Some(attributes)) = (accepted.attributes, &change.attributes) {
            base.attributes_time = accepted.row.attributes_time;
            (base.mode, base.mtime) = (attributes.mode, attributes.mtime);
            (base.seen_mode, base.seen_mtime) = (attributes.mode, attributes.mtime);
        }
        if let Some(seen) = seen {
            base.inode = seen.inode; // else a later rename would be read as this entry's move
        }
        if nameless {
            self.set_nameless_base(id, base)
        } else {
            self.set_base(id, base)
        }
        if change.place.is_some() && !accepted.place {
            self.set_revert(id, true);
        }
    }

    /// The server keeps this device's state as a candidate; the feed will say so, and until then it is known from the
    /// verdict. If the feed has told already, and perhaps of the answer too, nothing is to be added.
    fn provisional(&mut self, id: EntryId, revision: u64, order: (u64, u64), proposal: &Proposal) {
        let role = if matches!(proposal, Proposal::Create { .. }) { CandidateRole::New } else { CandidateRole::Own };
        let key = (self.device, role);
        let known = self.conflicts.get(&id).and_then(|conflict| conflict.candidates.get(&key));
        let told = known.map(|candidate| candidate.order).max(self.settled.get(&(id, role)).map(|it| it.order));
        if told.is_some_and(|told| told >= order) {
            return;
        }
        let (state, mtime, mode, base) = match proposal {
            Proposal::Create { value, mode, mtime, .. } => (CandidateState::Value(value.clone()), *mtime, *mode, None),
            Proposal::Change(Change { content: Some(content), .. }) => {
                (CandidateState::Value(content.value.clone()), content.mtime, 0, content.base.clone())
            }
            Proposal::Delete { base, .. } => (CandidateState::Delete, Mtime::default(), 0, Some(base.clone())),
            Proposal::Change(_) | Proposal::Withdraw { .. } => return,
        };
        let mut conflict = self.conflicts.get(&id).cloned().unwrap_or_default();
        conflict.revision = conflict.revision.max(revision);
        conflict.candidates.insert(key, Candidate { order, state, mtime, mode, base });
        self.set_conflict(id, Some(conflict));
    }

    fn drop_candidate(&mut self, id: EntryId, role: CandidateRole) {
        let Some(mut conflict) = self.conflicts.get(&id).cloned() else { return };
        if conflict.candidates.remove(&(self.device, role)).is_some() {
            self.set_conflict(id, Some(conflict));
        }
    }

    /// A [`Step::Forget`] was done.
    pub fn forgotten(&mut self, id: EntryId) {
        self.remove_base(id);
        self.bind();
    }

    /// A [`Step::Adopt`] is done: the disk has the server's state of that aspect.
    pub fn adopted(&mut self, id: EntryId, aspect: Aspect, seen: Option<Seen>) {
        let (Some(mut base), Some(row)) = (self.synced.get(&id).cloned(), self.remote.get(&id)) else { return };
        let mut nameless = !self.is_named(id);
        match aspect {
            Aspect::Content => {
                (base.value, base.content_time, base.mtime) = (row.value.clone(), row.content_time, row.mtime);
                if let Some(seen) = seen {
                    base.seen_mtime = seen.mtime;
                }
                self.settled.remove(&(id, CandidateRole::Own));
            }
            Aspect::Place => {
                (base.place, base.place_time) = (row.place.clone(), row.place_time);
                self.set_revert(id, false);
                nameless = false;
            }
            Aspect::Attributes => {
                (base.mode, base.mtime, base.attributes_time) = (row.mode, row.mtime, row.attributes_time);
                let here = self.node_of(id).and_then(|node| self.nodes.get(&node)?.value.as_ref());
                let other = here.is_some_and(|it| matches!(it, Value::Link { .. }) || !it.is_like(&row.value));
                if let Some(seen) = seen {
                    // What a link or another kind shows is nothing that what has its place later would have agreed on.
                    (base.seen_mode, base.seen_mtime) = (if other { row.mode } else { seen.mode }, seen.mtime);
                }
            }
        }
        if let Some(seen) = seen {
            base.inode = seen.inode;
        }
        if nameless {
            self.set_nameless_base(id, base)
        } else {
            self.set_base(id, base)
        }
        self.bind();
    }

    /// A [`Step::Create`] was done from this row; the new node was made known by [`Trees::appear`].
    pub fn created(&mut self, row: &Row, node: NodeId, seen: Seen) {
        self.set_base(row.id, Base::of(row, seen));
        self.bind_to(node, row.id);
        self.bind();
    }

    /// A [`Step::Replace`] was done from this row; the node's change was made known by [`Trees::change`]. `mode_before`
    /// is what the displaced node had: a change of it that was not proposed yet is kept.
    pub fn replaced(&mut self, row: &Row, mode_before: u32, seen: Seen) {
        let Some(mut base) = self.synced.get(&row.id).cloned() else { return };
        (base.value, base.content_time, base.mtime) = (row.value.clone(), row.content_time, row.mtime);
        (base.inode, base.seen_mtime) = (seen.inode, seen.mtime);
        if mode_before == base.seen_mode {
            base.seen_mode = seen.mode;
        }
        self.set_settled(row.id, CandidateRole::Own, None);
        let nameless = !self.is_named(row.id);
        if nameless {
            self.set_nameless_base(row.id, base)
        } else {
            self.set_base(row.id, base)
        }
        self.bind();
    }

    /// A [`Step::Remove`] was done.
    pub fn removed(&mut self, id: EntryId) {
        if let Some(node) = self.node_of(id) {
            self.vanish(node);
        }
        self.remove_base(id);
        self.bind();
    }

    /// A [`Step::Move`] to this row's place was done; the node was moved with [`Trees::relocate`].
    pub fn moved(&mut self, row: &Row, seen: Seen) {
        let Some(mut base) = self.synced.get(&row.id).cloned() else { return };
        (base.place, base.place_time, base.inode) = (row.place.clone(), row.place_time, seen.inode);
        self.set_revert(row.id, false);
        self.set_base(row.id, base);
        self.bind();
    }

    /// A [`Step::SetAttributes`] from this row was done; the node's change was made known by [`Trees::change`].
    pub fn attributes_set(&mut self, row: &Row, seen: Seen) {
        let Some(mut base) = self.synced.get(&row.id).cloned() else { return };
        (base.mode, base.mtime, base.attributes_time) = (row.mode, row.mtime, row.attributes_time);
        (base.seen_mode, base.seen_mtime) = (seen.mode, seen.mtime);
        let nameless = !self.is_named(row.id);
        if nameless {
            self.set_nameless_base(row.id, base)
        } else {
            self.set_base(row.id, base)
        }
        self.bind();
    }

    /// The value of a node's entry as it was agreed on.
    pub fn agreed_value(&self, id: EntryId) -> Option<&Value> {
        self.synced.get(&id).map(|base| &base.value)
    }
}

#[cfg(test)]
mod tests {
    use quics_types::DeviceId;

    use super::*;
    use crate::testing::{Plain, device, entry, file, name, place};

    fn conflict(revision: u64, candidates: &[((DeviceId, CandidateRole), u64)]) -> Conflict {
        let candidate = |seq: u64| Candidate {
            order: (1, seq),
            state: CandidateState::Value(file(1)),
            mtime: Mtime::default(),
            mode: 0o644,
            base: None,
        };
        let candidates = candidates.iter().map(|(key, seq)| (*key, candidate(*seq))).collect();
        Conflict { revision, candidates }
    }

    #[test]
    fn what_was_settled_before_a_conflict_opened_again_counts_for_what_is_still_open_here() {
        let (mine, other) = ((device(1), CandidateRole::Own), (device(2), CandidateRole::Own));
        let mut trees = Trees::new(device(1));
        trees.receive_conflict(entry(1), conflict(3, &[(mine, 5)]), Conflict::default());
        trees.receive_conflict(entry(1), conflict(9, &[(other, 1)]), conflict(0, &[(mine, 5), (other, 0)]));
        let settled = trees.settled(entry(1), CandidateRole::Own).unwrap();
        assert_eq!((&settled.state, settled.order), (&CandidateState::Value(file(1)), (1, 5)));
        assert!(!trees.conflict(entry(1)).unwrap().is_disputed_by(device(1)));
    }

    #[test]
    fn what_was_settled_long_ago_or_kept_is_not_settled_again() {
        let (mine, kept) = ((device(1), CandidateRole::Own), (device(1), CandidateRole::Kept(0)));
        let mut trees = Trees::new(device(1));
        trees.receive_conflict(entry(1), conflict(9, &[(mine, 7)]), conflict(0, &[(mine, 5), (kept, 5)]));
        assert_eq!(trees.settled(entry(1), CandidateRole::Own), None);
        trees.receive_conflict(entry(1), conflict(10, &[(mine, 7), (kept, 5)]), conflict(0, &[(mine, 5)]));
        assert_eq!(trees.settled(entry(1), CandidateRole::Own), None, "a newer one is open");
        trees.receive_closed(entry(1), conflict(0, &[(kept, 5)]), None);
        assert_eq!(trees.settled(entry(1), CandidateRole::Own), None, "the device may have gone on");
        assert_eq!(trees.settled(entry(1), CandidateRole::Kept(0)), None);
    }

    /// A device with a newcomer at "a", content 2, that an answer has settled: the server has content 1 there.
    fn settled_newcomer(server: &mut Plain) -> (Trees, NodeId) {
        server.live(entry(1), place(EntryId::TOP, "a"), file(1));
        let mut trees = Trees::new(device(1));
        trees.receive_row(server.rows[&entry(1)].clone());
        let node = trees.appear(NodeId::TOP, name("a"), 7, Some(file(2)), 0o644, Mtime::default());
        trees.bind();
        let mut settled = conflict(0, &[((device(1), CandidateRole::New), 5)]);
        settled.candidates.values_mut().for_each(|candidate| candidate.state = CandidateState::Value(file(2)));
        trees.receive_closed(entry(1), settled, None);
        (trees, node)
    }

    fn steps(trees: &mut Trees) -> Vec<Step> {
        std::iter::from_fn(|| trees.next_subject())
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|it| trees.plan(it))
            .collect()
    }

    #[test]
    fn a_newcomer_that_lost_an_answer_goes_though_what_it_lost_to_is_gone_as_well() {
        for moved in [false, true] {
            let mut server = Plain::default();
            let (mut trees, node) = settled_newcomer(&mut server);
            server.kill(entry(1));
            if moved {
                let row = server.rows.get_mut(&entry(1)).unwrap();
                (row.dead, row.place) = (false, place(EntryId::TOP, "b"));
            }
            trees.receive_row(server.rows[&entry(1)].clone());
            assert!(steps(&mut trees).contains(&Step::Drop(node)), "{moved}");
        }
    }

    #[test]
    fn what_was_written_over_something_deleted_is_asked_about_no_more_when_it_is_gone() {
        let (mut server, id) = (Plain::default(), entry(1));
        server.live(id, place(EntryId::TOP, "a"), file(1));
        let mut trees = Trees::new(device(1));
        trees.receive_row(server.rows[&id].clone());
        let node = trees.appear(NodeId::TOP, name("a"), 7, Some(file(1)), 0o644, Mtime::default());
        trees.created(&server.rows[&id], node, Seen { inode: 7, mode: 0o644, mtime: Mtime::default() });
        server.kill(id);
        trees.receive_row(server.rows[&id].clone());
        trees.change(node, 7, Some(file(2)), 0o644, Mtime::default());
        let mut open = conflict(1, &[((device(1), CandidateRole::Own), 5)]);
        open.candidates.values_mut().for_each(|candidate| candidate.state = CandidateState::Value(file(2)));
        trees.receive_conflict(id, open, Conflict::default());
        assert_eq!(steps(&mut trees), [], "a person answers");

        trees.vanish(node);
        let [Step::Propose { proposal, .. }] = &steps(&mut trees)[..] else { panic!("it is taken back") };
        assert!(matches!(**proposal, Proposal::Delete { .. }));
        let verdict = Verdict::Current(server.rows[&id].clone());
        trees.take((1, 6), proposal, &verdict, None, None);
        assert!(trees.conflict(id).is_none() && trees.base(id).is_none());
    }

    #[test]
    fn what_comes_to_the_name_of_a_settled_newcomer_later_is_something_new() {
        let mut server = Plain::default();
        let (mut trees, node) = settled_newcomer(&mut server);
        server.kill(entry(1));
        trees.receive_row(server.rows[&entry(1)].clone());
        trees.vanish(node);
        assert_eq!(steps(&mut trees), []);
        assert_eq!(trees.settled(entry(1), CandidateRole::New), None);
        trees.appear(NodeId::TOP, name("a"), 8, Some(file(2)), 0o644, Mtime::default());
        trees.bind();
        let [Step::Propose { proposal, .. }] = &steps(&mut trees)[..] else { panic!("it is proposed") };
        assert!(matches!(**proposal, Proposal::Create { .. }));
    }
}

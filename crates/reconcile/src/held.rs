//! Changes that the server keeps, unmade, until an owner has decided about a brake.

use std::collections::HashMap;

use quics_types::{Digest, EntryId, Place};

use crate::{Proposal, Trees};

/// What the server keeps of this device, each with the commit since which it does.
///
/// It is not stored: a device that starts anew is told.
#[derive(Debug, Default)]
pub(crate) struct Held {
    changes: HashMap<EntryId, (Proposal, u64)>,
    /// The last commit with which a brake on this device ended. What was held before is proposed once more, and judged.
    ended: u64,
}

impl Proposal {
    /// The id under which a held proposal is kept: the entry's, and of something new one that follows from its place.
    pub fn held_id(&self) -> EntryId {
        match self {
            Proposal::Create { place, .. } => held_id(place),
            Proposal::Change(_) | Proposal::Delete { .. } | Proposal::Withdraw { .. } => self.id(),
        }
    }

    /// Whether it asks for the same; something new under whatever id it was drawn.
    fn asks_for(&self, other: &Proposal) -> bool {
        match (self, other) {
            (Proposal::Create { place, value, .. }, Proposal::Create { place: at, value: other, .. }) => {
                place == at && value == other
            }
            _ => self == other,
        }
    }
}

/// The id under which something new at a place is held.
pub(crate) fn held_id(place: &Place) -> EntryId {
    let digest = Digest::of(&[&place.parent.as_bytes()[..], place.name.as_bytes()].concat());
    let mut id = [0; EntryId::LEN];
    id.copy_from_slice(&digest.as_bytes()[..EntryId::LEN]);
    EntryId::from_bytes(id)
}

impl Held {
    /// Takes note of a change that the server keeps since a commit; 0 if it was held by a brake that is over. The end of
    /// a brake may have been told before.
    pub(crate) fn keep(&mut self, seq: u64, proposal: &Proposal) {
        self.changes.insert(proposal.held_id(), (proposal.clone(), seq));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What is kept under an id.
    pub(crate) fn of(&self, id: EntryId) -> Option<&Proposal> {
        self.changes.get(&id).map(|(proposal, _)| proposal)
    }

    /// Whether just this is kept, and still waits for an owner.
    pub(crate) fn waits(&self, asked: &Proposal) -> bool {
        let kept = self.changes.get(&asked.held_id());
        kept.is_some_and(|(proposal, since)| *since > self.ended && proposal.asks_for(asked))
    }

    pub(crate) fn done(&mut self, proposal: &Proposal) {
        self.changes.remove(&proposal.held_id());
    }
}

impl Trees {
    /// Takes a record of the feed: no brake is on this device since a commit.
    pub fn brake_over(&mut self, seq: u64) {
        self.held.ended = self.held.ended.max(seq);
        let kept: Vec<(EntryId, Option<Place>)> = self
            .held
            .changes
            .iter()
            .map(|(id, (proposal, _))| {
                let place = if let Proposal::Create { place, .. } = proposal { Some(place.clone()) } else { None };
                (*id, place)
            })
            .collect();
        for (id, place) in kept {
            self.mark(id);
            if let Some(node) = place.and_then(|place| self.node_at(&place)) {
                self.mark_node(node);
            }
        }
    }

    /// How many of this device's changes the server keeps.
    pub fn held(&self) -> usize {
        self.held.changes.len()
    }

    /// Whether the server keeps a change of an entry, or something new that is at a node.
    pub fn is_held(&self, id: Option<EntryId>, place: Option<&Place>) -> bool {
        let kept = |id| self.held.of(id).is_some();
        id.is_some_and(kept) || (!self.held.is_empty() && place.is_some_and(|place| kept(held_id(place))))
    }
}

#[cfg(test)]
mod tests {
    use quics_types::Mtime;

    use super::*;
    use crate::testing::{Plain, device, entry, file, name, place};
    use crate::{CandidateRole, NodeId, Refusal, Row, Seen, Step, Subject, Value, Verdict};

    /// A device with one file that is synced, and its node.
    fn synced() -> (Trees, Row, NodeId) {
        let mut plain = Plain::default();
        plain.live(entry(1), place(EntryId::TOP, "a"), file(1));
        let row = plain.rows[&entry(1)].clone();
        let mut trees = Trees::new(device(1));
        trees.receive_row(row.clone());
        let node = appear(&mut trees, "a", file(1));
        trees.created(&row, node, Seen { inode: 7, mode: row.mode, mtime: row.mtime });
        assert_eq!(steps(&mut trees), []);
        (trees, row, node)
    }

    fn appear(trees: &mut Trees, called: &str, value: Value) -> NodeId {
        let inode = u64::from(called.as_bytes()[0]);
        let node = trees.appear(NodeId::TOP, name(called), inode, Some(value), 0o644, Mtime { seconds: 1, nanos: 0 });
        trees.bind();
        node
    }

    fn edit(trees: &mut Trees, node: NodeId, value: Value) {
        trees.change(node, 7, Some(value), 0o644, Mtime { seconds: 9, nanos: 0 });
        trees.bind();
    }

    fn steps(trees: &mut Trees) -> Vec<Step> {
        std::iter::from_fn(|| trees.next_subject())
            .collect::<Vec<Subject>>()
            .into_iter()
            .filter_map(|it| trees.plan(it))
            .collect()
    }

    /// The one change that is proposed.
    fn proposed(trees: &mut Trees) -> Proposal {
        match &steps(trees)[..] {
            [Step::Propose { proposal, .. }] => (**proposal).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn hold(trees: &mut Trees, proposal: &Proposal, seq: u64) {
        trees.take((1, seq), proposal, &Verdict::Held { seq }, None, None);
    }

    #[test]
    fn what_is_held_is_not_proposed_again_until_the_brake_is_over() {
        let (mut trees, _, node) = synced();
        edit(&mut trees, node, file(2));
        let first = proposed(&mut trees);
        hold(&mut trees, &first, 5);
        trees.retry();
        assert_eq!((steps(&mut trees), trees.held()), (vec![], 1));
        edit(&mut trees, node, file(3));
        let second = proposed(&mut trees);
        assert_ne!(second, first, "a newer change takes its place");
        hold(&mut trees, &second, 6);
        trees.brake_over(4);
        assert_eq!(steps(&mut trees), [], "an older brake");
        trees.brake_over(7);
        assert_eq!(proposed(&mut trees), second);
    }

    #[test]
    fn the_end_of_a_brake_may_be_told_before_the_verdict() {
        let (mut trees, _, node) = synced();
        edit(&mut trees, node, file(2));
        let change = proposed(&mut trees);
        trees.brake_over(8);
        hold(&mut trees, &change, 5);
        assert_eq!(proposed(&mut trees), change);
        hold(&mut trees, &change, 9);
        assert_eq!(steps(&mut trees), [], "a newer brake");
    }

    #[test]
    fn what_the_device_goes_back_from_is_taken_back() {
        let (mut trees, row, node) = synced();
        edit(&mut trees, node, file(2));
        let change = proposed(&mut trees);
        hold(&mut trees, &change, 5);
        trees.change(node, 7, Some(row.value.clone()), row.mode, row.mtime);
        let withdraw = proposed(&mut trees);
        assert_eq!(withdraw, Proposal::Withdraw { id: row.id });
        trees.take((1, 6), &withdraw, &Verdict::Withdrawn, None, None);
        assert_eq!((steps(&mut trees), trees.held()), (vec![], 0));
    }

    #[test]
    fn something_new_is_held_by_its_place() {
        let (mut trees, ..) = synced();
        let node = appear(&mut trees, "b", file(5));
        let create = proposed(&mut trees);
        hold(&mut trees, &create, 5);
        trees.retry();
        assert_eq!(steps(&mut trees), []);
        assert!(trees.is_held(None, Some(&place(EntryId::TOP, "b"))) && !trees.is_held(Some(entry(1)), None));
        trees.brake_over(6);
        assert_eq!(proposed(&mut trees), create);
        trees.vanish(node);
        assert_eq!(proposed(&mut trees), Proposal::Withdraw { id: create.held_id() });
    }

    #[test]
    fn what_was_taken_back_is_undone_here() {
        let (mut trees, row, node) = synced();
        edit(&mut trees, node, file(2));
        let change = proposed(&mut trees);
        hold(&mut trees, &change, 5);
        trees.take((1, 6), &change, &Verdict::Refused(Refusal::TakenBack), Some(node), None);
        assert_eq!(steps(&mut trees), [Step::Replace(row.id)]);
        assert!(trees.settled(row.id, CandidateRole::Own).is_some());

        let (mut trees, row, node) = synced();
        trees.vanish(node);
        let delete = proposed(&mut trees);
        hold(&mut trees, &delete, 5);
        trees.take((1, 6), &delete, &Verdict::Refused(Refusal::TakenBack), None, None);
        assert_eq!(steps(&mut trees), [Step::Forget(row.id)]);
        trees.forgotten(row.id);
        assert_eq!(steps(&mut trees), [Step::Create(row.id)]);
    }
}

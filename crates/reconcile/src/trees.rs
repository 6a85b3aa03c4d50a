//! The three trees of one device for one root, with the open conflicts, and the indexes over them.
//!
//! - **remote**: what the server has, as far as this device was told.
//! - **synced**: what this device and the server agreed on last, per entry and aspect ([`Base`]).
//! - **local**: what is on the disk ([`Node`]). A node is *bound* to the entry that it is; an unbound node is new.
//!
//! Everything here is bookkeeping. The rules are in [`bind`](crate::bind), [`plan`](crate::plan) and
//! [`learn`](crate::learn).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use quics_types::{DeviceId, EntryId, LogicalTime, Mtime, Name, Place};

use crate::held::{Held, held_id};
use crate::{CandidateRole, CandidateState, Conflict, Row, Value};

/// Something on the disk, as long as it keeps its name in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

impl NodeId {
    /// The root directory itself.
    pub const TOP: NodeId = NodeId(0);
    /// The staging directory, out of the user's sight; its members are named by the text of their entries' ids.
    pub const STAGE: NodeId = NodeId(1);

    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// One thing on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The directory that holds it.
    pub parent: NodeId,
    /// Its name there.
    pub name: Name,
    /// Its inode number.
    pub inode: u64,
    /// What it is; `None` as long as its content is not known.
    pub value: Option<Value>,
    /// Permission bits.
    pub mode: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// The entry that it is.
    pub entry: Option<EntryId>,
    /// The members of a directory.
    pub children: BTreeMap<Name, NodeId>,
}

/// What device and server agreed on last for one entry, with a base time per aspect: an accepted move must not make a
/// later edit pass for one that was made from the newest content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Where it was.
    pub place: Place,
    /// What it was.
    pub value: Value,
    /// Its permission bits.
    pub mode: u32,
    /// Its modification time.
    pub mtime: Mtime,
    /// The logical time of the content.
    pub content_time: LogicalTime,
    /// The logical time of the place.
    pub place_time: LogicalTime,
    /// The logical time of the attributes.
    pub attributes_time: LogicalTime,
    /// The inode that it had here when it was agreed on.
    pub inode: u64,
    /// The permission bits that the disk showed then; a file system may not hold all of them.
    pub seen_mode: u32,
    /// The modification time that the disk showed then; a file system may not hold all of it.
    pub seen_mtime: Mtime,
}

/// A candidate of this device that an answer settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What the candidate was.
    pub state: CandidateState,
    /// Incarnation and seq that it came with.
    pub order: (u64, u64),
}

/// The trees of one device for one root.
#[derive(Debug)]
pub struct Trees {
    pub(crate) device: DeviceId,
    pub(crate) remote: HashMap<EntryId, Row>,
    pub(crate) synced: HashMap<EntryId, Base>,
    pub(crate) conflicts: HashMap<EntryId, Conflict>,
    pub(crate) settled: HashMap<(EntryId, CandidateRole), Settled>,
    /// Entries whose local place was refused: they go back to the server's.
    pub(crate) revert: HashSet<EntryId>,
    /// Changes that the server keeps until an owner has decided.
    pub(crate) held: Held,
    pub(crate) nodes: HashMap<NodeId, Node>,
    pub(crate) next_node: u64,

    // Indexes.
    /// Live rows by place.
    pub(crate) remote_at: HashMap<Place, EntryId>,
    /// Entries of which a newcomer of this device was settled, by the place at which it came.
    pub(crate) newcomers_at: HashMap<Place, EntryId>,
    /// Live rows by parent.
    pub(crate) remote_children: HashMap<EntryId, BTreeSet<EntryId>>,
    /// Synced rows by place; a row that lost its name to another is not in it.
    pub(crate) synced_at: HashMap<Place, EntryId>,
    /// Synced rows by the inode recorded last.
    pub(crate) by_inode: HashMap<u64, EntryId>,
    /// The node that an entry is.
    pub(crate) node_of: HashMap<EntryId, NodeId>,
    /// Unbound nodes by inode.
    pub(crate) unbound: HashMap<NodeId, u64>,
    pub(crate) unbound_by_inode: HashMap<u64, BTreeSet<NodeId>>,

    // Work.
    /// Nodes to be bound by name.
    pub(crate) fresh: BTreeSet<NodeId>,
    /// Nodes to be bound by inode.
    pub(crate) movers: BTreeSet<NodeId>,
    pub(crate) dirty: crate::plan::Dirty,
    /// Entries whose stored state is not what it is here.
    changed: BTreeSet<EntryId>,
}

impl Trees {
    /// Empty trees of a device: nothing synced, nothing remote, an empty root directory.
    pub fn new(device: DeviceId) -> Self {
        let directory = |name: &'static str| Node {
            parent: NodeId::TOP,
            // Both names are constants that keep the rules for names.
            name: Name::new(name).expect("a constant name is valid"),
            inode: 0,
            value: Some(Value::Directory),
            mode: 0o700,
            mtime: Mtime::default(),
            entry: None,
            children: BTreeMap::new(),
        };
        let mut top = directory("top");
        top.entry = Some(EntryId::TOP);
        Self {
            device,
            remote: HashMap::new(),
            synced: HashMap::new(),
            conflicts: HashMap::new(),
            settled: HashMap::new(),
            revert: HashSet::new(),
            held: Held::default(),
            nodes: HashMap::from([(NodeId::TOP, top), (NodeId::STAGE, directory("stage"))]),
            next_node: 2,
            remote_at: HashMap::new(),
            newcomers_at: HashMap::new(),
            remote_children: HashMap::new(),
            synced_at: HashMap::new(),
            by_inode: HashMap::new(),
            node_of: HashMap::from([(EntryId::TOP, NodeId::TOP)]),
            unbound: HashMap::new(),
            unbound_by_inode: HashMap::new(),
            fresh: BTreeSet::new(),
            movers: BTreeSet::new(),
            dirty: crate::plan::Dirty::default(),
            changed: BTreeSet::new(),
        }
    }

    /// The device whose trees these are.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The server's row of an entry.
    pub fn remote(&self, id: EntryId) -> Option<&Row> {
        self.remote.get(&id)
    }

    /// All of the server's rows, tombstones included, in no order.
    pub fn remote_rows(&self) -> impl Iterator<Item = &Row> {
        self.remote.values()
    }

    /// The live entry that the server has at a place.
    pub fn remote_at(&self, place: &Place) -> Option<EntryId> {
        self.remote_at.get(place).copied()
    }

    /// The synced row of an entry.
    pub fn base(&self, id: EntryId) -> Option<&Base> {
        self.synced.get(&id)
    }

    /// All entries with a synced row, in no order.
    pub fn synced_ids(&self) -> impl Iterator<Item = EntryId> {
        self.synced.keys().copied()
    }

    /// The open conflict of an entry.
    pub fn conflict(&self, id: EntryId) -> Option<&Conflict> {
        self.conflicts.get(&id)
    }

    /// All open conflicts, in no order.
    pub fn conflicts(&self) -> impl Iterator<Item = (EntryId, &Conflict)> {
        self.conflicts.iter().map(|(id, conflict)| (*id, conflict))
    }

    /// A settled candidate of this device that is still on the disk or may be.
    pub fn settled(&self, id: EntryId, role: CandidateRole) -> Option<&Settled> {
        self.settled.get(&(id, role))
    }

    /// Whether an entry goes back to the server's place.
    pub fn reverts(&self, id: EntryId) -> bool {
        self.revert.contains(&id)
    }

    /// A node.
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }

    /// The node that an entry is.
    pub fn node_of(&self, id: EntryId) -> Option<NodeId> {
        self.node_of.get(&id).copied()
    }

    /// The node of a name in a directory.
    pub fn child(&self, parent: NodeId, name: &Name) -> Option<NodeId> {
        self.nodes.get(&parent)?.children.get(name).copied()
    }

    /// How many nodes are new: on the disk, and no entry.
    pub fn new_nodes(&self) -> usize {
        self.unbound.len()
    }

    /// The synced entry that is found by this name.
    pub fn synced_at(&self, place: &Place) -> Option<EntryId> {
        self.synced_at.get(place).copied()
    }

    /// The synced entry that had this inode last.
    pub fn synced_by_inode(&self, inode: u64) -> Option<EntryId> {
        self.by_inode.get(&inode).copied()
    }

    /// How many entries have a synced row, and how many of them are on the disk.
    pub fn synced_and_bound(&self) -> (usize, usize) {
        (self.synced.len(), self.node_of.len() - 1)
    }

    /// How many live rows the server has.
    pub fn live_remote(&self) -> usize {
        self.remote_at.len()
    }

    /// The stored state of an entry is not what it is here, for a reason outside the trees.
    pub fn mark_changed(&mut self, id: EntryId) {
        self.changed.insert(id);
    }

    /// The names from the top down to a node; `None` for one in the staging directory.
    pub fn path_of(&self, node: NodeId) -> Option<Vec<Name>> {
        let (mut names, mut at) = (Vec::new(), node);
        while at != NodeId::TOP {
            if at == NodeId::STAGE {
                return None;
            }
            let node = self.nodes.get(&at)?;
            names.push(node.name.clone());
            at = node.parent;
        }
        names.reverse();
        Some(names)
    }

    /// Where a node is, in terms of entries; `None` when its directory is new or it is staged.
    pub fn place_of(&self, node: &Node) -> Option<Place> {
        if node.parent == NodeId::STAGE {
            return None;
        }
        let parent = self.nodes.get(&node.parent)?.entry?;
        Some(Place { parent, name: node.name.clone() })
    }

    /// The node at a place, bound or new.
    pub(crate) fn node_at(&self, place: &Place) -> Option<NodeId> {
        self.child(self.node_of(place.parent)?, &place.name)
    }

    /// Whether `below` is `node` or lies below it.
    pub(crate) fn inside(&self, mut below: NodeId, node: NodeId) -> bool {
        loop {
            if below == node {
                return true;
            }
            match self.nodes.get(&below) {
                Some(it) if below != NodeId::TOP && below != NodeId::STAGE => below = it.parent,
                _ => return false,
            }
        }
    }

    /// The entries whose remote or synced row, conflict, settled candidate or way back changed since the last call:
    /// what a store has to be told.
    pub fn take_changed(&mut self) -> BTreeSet<EntryId> {
        std::mem::take(&mut self.changed)
    }

    /// Puts the server's row in, unless a newer one is known: a verdict may have told more than the feed has yet.
    /// Returns whether it was news.
    pub fn set_remote(&mut self, row: Row) -> bool {
        if self.remote.get(&row.id).is_some_and(|known| known.time >= row.time) {
            return false;
        }
        let id = row.id;
        let structural = match self.remote.get(&id) {
            Some(old) => {
                old.dead != row.dead || old.place != row.place || old.value.is_directory() != row.value.is_directory()
            }
            None => !row.dead,
        };
        self.unindex_remote(id);
        if !row.dead {
            self.remote_at.insert(row.place.clone(), id);
            self.remote_children.entry(row.place.parent).or_default().insert(id);
        }
        self.mark_place(&row.place);
        self.remote.insert(id, row);
        self.changed.insert(id);
        self.mark(id);
        if structural {
            self.dirty.structure();
        }
        true
    }

    /// Takes a row out that the server has not got (any more), tombstone or not.
    pub fn remove_remote(&mut self, id: EntryId) {
        self.unindex_remote(id);
        if self.remote.remove(&id).is_some() {
            self.changed.insert(id);
            self.mark(id);
            self.dirty.structure();
        }
    }

    fn unindex_remote(&mut self, id: EntryId) {
        let Some(old) = self.remote.get(&id) else { return };
        let place = old.place.clone();
        if self.remote_at.get(&place) == Some(&id) {
            self.remote_at.remove(&place);
        }
        if let Some(children) = self.remote_children.get_mut(&place.parent) {
            children.remove(&id);
            if children.is_empty() {
                self.remote_children.remove(&place.parent);
            }
        }
        self.mark_place(&place);
        self.mark(place.parent);
    }

    /// Puts a synced row in. No two rows are found by one name: another row of that name loses it.
    pub fn set_base(&mut self, id: EntryId, base: Base) {
        if let Some(old) = self.synced.get(&id) {
            let (place, inode) = (old.place.clone(), old.inode);
            if place != base.place {
                if self.synced_at.get(&place) == Some(&id) {
                    self.synced_at.remove(&place);
                }
                self.mark_place(&place);
                self.dirty.structure();
            }
            if inode != base.inode && self.by_inode.get(&inode) == Some(&id) {
                self.by_inode.remove(&inode);
            }
        } else {
            self.dirty.structure();
        }
        self.synced_at.insert(base.place.clone(), id);
        if base.inode != 0 {
            self.by_inode.insert(base.inode, id);
        }
        if let Some(node) = self.node_at(&base.place)
            && self.unbound.contains_key(&node)
        {
            self.fresh.insert(node);
        }
        self.synced.insert(id, base);
        self.changed.insert(id);
        self.mark(id);
    }

    /// Puts a synced row in that is found by no name: another row has it.
    pub fn set_nameless_base(&mut self, id: EntryId, base: Base) {
        let holder = self.synced_at.get(&base.place).copied();
        let place = base.place.clone();
        self.set_base(id, base);
        match holder {
            Some(other) if other != id => self.synced_at.insert(place, other),
            _ => self.synced_at.remove(&place),
        };
    }

    /// Whether a synced row is found by its name.
    pub fn is_named(&self, id: EntryId) -> bool {
        self.synced.get(&id).is_some_and(|base| self.synced_at.get(&base.place) == Some(&id))
    }

    /// Takes a synced row out; what is on the disk for it, if anything, is new from then on.
    pub fn remove_base(&mut self, id: EntryId) {
        let Some(old) = self.synced.remove(&id) else { return };
        self.changed.insert(id);
        if self.synced_at.get(&old.place) == Some(&id) {
            self.synced_at.remove(&old.place);
        }
        if self.by_inode.get(&old.inode) == Some(&id) {
            self.by_inode.remove(&old.inode);
        }
        self.settled.remove(&(id, CandidateRole::Own));
        self.revert.remove(&id);
        self.mark(id);
        self.mark_place(&old.place);
        self.dirty.structure();
        if let Some(node) = self.node_of(id) {
            self.unbind(node);
        }
    }

    /// Marks an entry as settled; for restoring what was stored.
    pub fn set_settled(&mut self, id: EntryId, role: CandidateRole, settled: Option<Settled>) {
        if role == CandidateRole::New {
            self.newcomers_at.retain(|_, known| *known != id);
            if let (true, Some(row)) = (settled.is_some(), self.remote.get(&id)) {
                self.newcomers_at.insert(row.place.clone(), id);
            }
        }
        match settled {
            Some(settled) => self.settled.insert((id, role), settled),
            None => self.settled.remove(&(id, role)),
        };
        self.changed.insert(id);
        self.mark(id);
        self.dirty.structure();
    }

    /// Puts an open conflict in or takes it out.
    pub fn set_conflict(&mut self, id: EntryId, conflict: Option<Conflict>) {
        match conflict.filter(|conflict| !conflict.candidates.is_empty()) {
            Some(conflict) => self.conflicts.insert(id, conflict),
            None => self.conflicts.remove(&id),
        };
        self.changed.insert(id);
        self.mark(id);
        if let Some(row) = self.remote.get(&id) {
            let place = row.place.clone();
            self.mark_place(&place);
        }
        self.dirty.structure();
    }

    /// Says whether an entry goes back to the server's place; for restoring what was stored.
    pub fn set_revert(&mut self, id: EntryId, revert: bool) {
        let news = if revert { self.revert.insert(id) } else { self.revert.remove(&id) };
        if news {
            self.changed.insert(id);
            // Whether it is about to leave its directory, for which the directory may wait.
            self.dirty.structure();
        }
        self.mark(id);
    }

    /// An entry has to be looked at by the planner.
    pub fn mark(&mut self, id: EntryId) {
        if id != EntryId::TOP {
            self.dirty.entry(id);
        }
    }

    pub(crate) fn mark_node(&mut self, id: NodeId) {
        match self.nodes.get(&id).map(|node| node.entry) {
            Some(Some(entry)) => self.mark(entry),
            Some(None) => self.dirty.node(id),
            None => {}
        }
    }

    /// Whatever is at a place, here or on the server, has to be looked at.
    pub(crate) fn mark_place(&mut self, place: &Place) {
        if let Some(node) = self.node_at(place) {
            self.mark_node(node);
        }
        if let Some(entry) = self.remote_at(place) {
            self.mark(entry);
        }
        if let Some(entry) = self.newcomers_at.get(place).copied() {
            self.mark(entry);
        }
        if !self.held.is_empty() {
            self.mark(held_id(place));
        }
    }
}

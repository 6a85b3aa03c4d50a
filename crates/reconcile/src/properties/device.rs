//! A device: its trees, its disk, and somebody who does each step at once.

use std::collections::{BTreeMap, BTreeSet};

use quics_types::{DeviceId, EntryId, Name, Place};

use super::disk::{Disk, Item, STAGE, TOP};
use super::server::{Record, Server};
use crate::{NodeId, Proposal, Row, Seen, Step, Subject, Trees, Value, Verdict, beside};

/// Steps of one round, at most; a device that needs more does not come to rest.
const STEPS: usize = 2000;

pub(super) struct Device {
    id: DeviceId,
    trees: Trees,
    pub(super) disk: Disk,
    heard: usize,
    seq: u64,
    /// What was refused: to be looked at when the server's reason has come.
    refused: BTreeSet<Subject>,
}

impl Device {
    pub(super) fn new(id: DeviceId) -> Self {
        Self { id, trees: Trees::new(id), disk: Disk::new(), heard: 0, seq: 0, refused: BTreeSet::new() }
    }

    /// Looks, hears, plans and does until nothing is left to do. Returns whether anything was done.
    pub(super) fn round(&mut self, server: &mut Server) -> bool {
        let before = (server.log.len(), self.disk.applied);
        self.look(NodeId::TOP, TOP);
        self.trees.bind();
        self.hear(server);
        let steps = self.work(server);
        assert!(steps < STEPS, "a device does not come to rest");
        before != (server.log.len(), self.disk.applied)
    }

    /// Has everything looked at once more. Returns how many steps that makes.
    pub(super) fn again(&mut self, server: &mut Server) -> usize {
        let ids: Vec<EntryId> = self.trees.remote_rows().map(|row| row.id).chain(self.trees.synced_ids()).collect();
        ids.into_iter().for_each(|id| self.trees.mark(id));
        let own = |node: &NodeId| ![NodeId::TOP, NodeId::STAGE].contains(node);
        let nodes: Vec<NodeId> = self.trees.nodes.keys().copied().filter(own).collect();
        nodes.into_iter().for_each(|node| self.trees.put_back(Subject::Node(node)));
        self.work(server)
    }

    fn look(&mut self, node: NodeId, dir: u64) {
        let members = self.disk.items[&dir].members.clone();
        for (name, child) in self.trees.nodes[&node].children.clone() {
            let known = &self.trees.nodes[&child];
            let there = members.get(&name).map(|inode| (*inode, self.disk.items[inode].clone()));
            let was_directory = known.value == Some(Value::Directory);
            match there {
                Some((inode, item)) if item.value.is_directory() || !was_directory => {
                    let same = (known.inode, known.mode, known.mtime) == (inode, item.mode, item.mtime);
                    if !same || known.value.as_ref() != Some(&item.value) {
                        self.trees.change(child, inode, Some(item.value), item.mode, item.mtime);
                    }
                }
                _ => self.trees.vanish(child),
            }
        }
        for (name, inode) in members {
            let child = match self.trees.child(node, &name) {
                Some(child) => child,
                None => self.appear(node, name, inode),
            };
            self.look(child, inode);
        }
    }

    fn appear(&mut self, parent: NodeId, name: Name, inode: u64) -> NodeId {
        let Item { value, mode, mtime, .. } = self.disk.items[&inode].clone();
        self.trees.appear(parent, name, inode, Some(value), mode, mtime)
    }

    fn hear(&mut self, server: &Server) {
        for record in &server.log[self.heard..] {
            match record.clone() {
                Record::Row(row) => drop(self.trees.receive_row(row)),
                Record::Conflict(id, conflict) => self.trees.receive_conflict(id, conflict, Default::default()),
                Record::Closed(id, settled, row) => self.trees.receive_closed(id, settled, Some(row)),
            }
        }
        self.heard = server.log.len();
        self.trees.bind();
        for subject in std::mem::take(&mut self.refused) {
            self.trees.put_back(subject);
        }
    }

    fn work(&mut self, server: &mut Server) -> usize {
        let mut steps = 0;
        while steps < STEPS
            && let Some(subject) = self.trees.next_subject()
        {
            if self.refused.contains(&subject) {
                continue;
            }
            if let Some(step) = self.trees.plan(subject) {
                steps += 1;
                self.perform(subject, step, server);
            }
        }
        steps
    }

    fn inode(&self, node: NodeId) -> u64 {
        match node {
            NodeId::TOP => TOP,
            NodeId::STAGE => STAGE,
            node => self.trees.nodes[&node].inode,
        }
    }

    fn seen(&self, node: NodeId) -> Seen {
        let inode = self.inode(node);
        let item = &self.disk.items[&inode];
        Seen { inode, mode: item.mode, mtime: item.mtime }
    }

    fn row(&self, id: EntryId) -> Row {
        self.trees.remote(id).expect("a step is about a known row").clone()
    }

    fn node_of(&self, id: EntryId) -> NodeId {
        self.trees.node_of(id).expect("a step is about a bound entry")
    }

    fn perform(&mut self, subject: Subject, step: Step, server: &mut Server) {
        match step {
            Step::Propose { proposal, node } => self.propose(subject, *proposal, node, server),
            Step::Hash { .. } => panic!("every content is known"),
            Step::Forget(id) => self.forget(id),
            Step::Adopt(id, aspect) => {
                let seen = self.trees.node_of(id).map(|node| self.seen(node));
                self.trees.adopted(id, aspect, seen);
            }
            Step::Create(id) => {
                let row = self.row(id);
                let parent = self.node_of(row.place.parent);
                let inode = self.disk.add(row.value.clone(), row.mode, Some(row.mtime));
                self.put(parent, row.place.name.clone(), inode);
                let node = self.appear(parent, row.place.name.clone(), inode);
                self.trees.created(&row, node, self.seen(node));
            }
            Step::Remove(id) => {
                self.take_off(self.node_of(id));
                self.trees.removed(id);
            }
            Step::Replace(id) => self.replace(id),
            Step::Move(id) => {
                let (row, node) = (self.row(id), self.node_of(id));
                self.carry(node, self.node_of(row.place.parent), row.place.name.clone());
                self.trees.moved(&row, self.seen(node));
            }
            Step::SetAttributes(id) => {
                let (row, node) = (self.row(id), self.node_of(id));
                let item = self.disk.items.get_mut(&self.trees.nodes[&node].inode).unwrap();
                item.mode = row.mode;
                if item.value == row.value && matches!(row.value, Value::File { .. }) {
                    item.mtime = row.mtime;
                }
                self.disk.applied += 1;
                self.renew(node);
                self.trees.attributes_set(&row, self.seen(node));
            }
            Step::Park(id) => {
                let name = Name::new(id.to_string()).unwrap();
                self.carry(self.node_of(id), NodeId::STAGE, name);
                self.trees.mark(id);
            }
            Step::Drop(node) => self.drop_node(node),
            Step::Aside(node) => self.aside(node),
        }
    }

    fn propose(&mut self, subject: Subject, mut proposal: Proposal, node: Option<NodeId>, server: &mut Server) {
        if let Proposal::Create { id, .. } = &mut proposal {
            *id = server.fresh();
        }
        self.seq += 1;
        let order = (1, self.seq);
        let verdict = server.propose(self.id, order, &proposal);
        let seen = node.map(|node| self.seen(node));
        let at_once = self.trees.take(order, &proposal, &verdict, node, seen);
        if let Verdict::Refused(_) = verdict {
            self.refused.insert(subject);
        } else {
            self.trees.put_back(subject);
        }
        if let Some(step) = at_once {
            let Step::Drop(node) = step else { panic!("{step:?} at once") };
            self.drop_node(node);
        }
    }

    fn forget(&mut self, id: EntryId) {
        if let Some(node) = self.trees.node_of(id).filter(|node| self.trees.nodes[node].parent == NodeId::STAGE) {
            let name = self.trees.base(id).expect("a staged entry has a base").place.name.clone();
            let name = self.free(NodeId::TOP, &name);
            self.carry(node, NodeId::TOP, name);
        }
        self.trees.forgotten(id);
    }

    fn replace(&mut self, id: EntryId) {
        let (row, node) = (self.row(id), self.node_of(id));
        if !self.trees.nodes[&node].children.is_empty() {
            // A directory with contents goes aside, and is new.
            if self.trees.nodes[&node].parent != NodeId::STAGE {
                self.aside(node);
            }
            return self.forget(id);
        }
        let (mode_before, both_files) = {
            let it = &self.trees.nodes[&node];
            let is_file = |value: &Value| matches!(value, Value::File { .. });
            (it.mode, is_file(&row.value) && it.value.as_ref().is_some_and(is_file))
        };
        let mode = if both_files { mode_before } else { row.mode };
        let inode = self.disk.add(row.value.clone(), mode, Some(row.mtime));
        let (parent, name) = (self.trees.nodes[&node].parent, self.trees.nodes[&node].name.clone());
        self.put(parent, name, inode);
        let Item { value, mode, mtime, .. } = self.disk.items[&inode].clone();
        self.trees.change(node, inode, Some(value), mode, mtime);
        self.trees.replaced(&row, mode_before, self.seen(node));
    }

    fn put(&mut self, parent: NodeId, name: Name, inode: u64) {
        let dir = self.inode(parent);
        let old = self.disk.members(dir).insert(name, inode);
        assert!(old.is_none_or(|old| self.disk.items[&old].members.is_empty()), "a full directory was written over");
        self.disk.applied += 1;
    }

    fn take_off(&mut self, node: NodeId) {
        let (parent, name) = (self.trees.nodes[&node].parent, self.trees.nodes[&node].name.clone());
        let dir = self.inode(parent);
        let old = self.disk.members(dir).remove(&name).expect("what is removed is there");
        assert!(self.disk.items[&old].members.is_empty(), "a full directory was removed");
        self.disk.applied += 1;
    }

    fn carry(&mut self, node: NodeId, parent: NodeId, name: Name) {
        self.take_off_with_members(node);
        let inode = self.trees.nodes[&node].inode;
        let dir = self.inode(parent);
        assert_eq!(self.disk.members(dir).insert(name.clone(), inode), None, "something was moved over");
        self.trees.relocate(node, parent, name);
    }

    fn take_off_with_members(&mut self, node: NodeId) {
        let (parent, name) = (self.trees.nodes[&node].parent, self.trees.nodes[&node].name.clone());
        let dir = self.inode(parent);
        self.disk.members(dir).remove(&name).expect("what is moved is there");
        self.disk.applied += 1;
    }

    fn drop_node(&mut self, node: NodeId) {
        self.take_off(node);
        self.trees.vanish(node);
        self.trees.bind();
    }

    fn aside(&mut self, node: NodeId) {
        let (mut parent, mut like) = (self.trees.nodes[&node].parent, self.trees.nodes[&node].name.clone());
        if parent == NodeId::STAGE {
            parent = NodeId::TOP;
            let id = like.to_string().parse::<EntryId>().ok();
            like = id.and_then(|id| self.trees.remote(id)).map_or(like, |row| row.place.name.clone());
        }
        let name = self.free(parent, &like);
        self.carry(node, parent, name);
        self.trees.bind();
    }

    fn free(&self, parent: NodeId, like: &Name) -> Name {
        let entry = self.trees.nodes[&parent].entry;
        let taken = |name: &Name| {
            let place = entry.map(|parent| Place { parent, name: name.clone() });
            self.trees.child(parent, name).is_some() || place.is_some_and(|it| self.trees.remote_at(&it).is_some())
        };
        let tag = format!("kept from {}", self.id.as_bytes()[0]);
        (1..).map(|number| beside(like, &tag, number)).find(|name| !taken(name)).expect("some name is free")
    }

    fn renew(&mut self, node: NodeId) {
        let inode = self.trees.nodes[&node].inode;
        let Item { value, mode, mtime, .. } = self.disk.items[&inode].clone();
        self.trees.change(node, inode, Some(value), mode, mtime);
    }

    /// What a user sees: paths with what is there.
    pub(super) fn view(&self) -> BTreeMap<Vec<Name>, (Value, u32)> {
        let mut view = BTreeMap::new();
        let mut todo = vec![(Vec::new(), TOP)];
        while let Some((path, dir)) = todo.pop() {
            for (name, inode) in &self.disk.items[&dir].members {
                let item = &self.disk.items[inode];
                let mut path = path.clone();
                path.push(name.clone());
                let mode = if matches!(item.value, Value::Link { .. }) { 0 } else { item.mode };
                view.insert(path.clone(), (item.value.clone(), mode));
                todo.push((path, *inode));
            }
        }
        view
    }
}

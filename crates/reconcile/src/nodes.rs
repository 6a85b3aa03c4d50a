//! The local tree: what comes, changes, moves and goes on the disk, and the index of what is no entry yet.

use std::collections::BTreeMap;

use quics_types::{EntryId, Mtime, Name};

use crate::{Node, NodeId, Trees, Value};

impl Trees {
    /// Something is on the disk that was not known before. Call [`Trees::bind`](crate::Trees::bind) afterwards.
    pub fn appear(
        &mut self,
        parent: NodeId,
        name: Name,
        inode: u64,
        value: Option<Value>,
        mode: u32,
        mtime: Mtime,
    ) -> NodeId {
        if let Some(old) = self.child(parent, &name) {
            self.vanish(old);
        }
        let id = NodeId::new(self.next_node);
        self.next_node += 1;
        let node =
            Node { parent, name: name.clone(), inode, value, mode, mtime, entry: None, children: BTreeMap::new() };
        self.nodes.insert(id, node);
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children.insert(name, id);
        }
        self.index_unbound(id);
        self.mark_directories_above(id);
        id
    }

    /// Directories that the server has not got any more may be waiting: whether something new is in them decides.
    fn mark_directories_above(&mut self, node: NodeId) {
        let mut at = node;
        while let Some(it) = self.nodes.get(&at).filter(|_| at != NodeId::TOP && at != NodeId::STAGE) {
            at = it.parent;
            let entry = self.nodes.get(&at).and_then(|it| it.entry);
            if let Some(entry) = entry.filter(|entry| !self.is_live_directory(*entry)) {
                self.mark(entry);
            }
        }
    }

    /// What is known of a node has changed; its name has not. Call [`Trees::bind`](crate::Trees::bind) afterwards.
    pub fn change(&mut self, id: NodeId, inode: u64, value: Option<Value>, mode: u32, mtime: Mtime) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let old_inode = std::mem::replace(&mut node.inode, inode);
        let kind = |value: &Option<Value>| value.as_ref().map(Value::is_directory);
        let structural = kind(&node.value) != kind(&value);
        (node.value, node.mode, node.mtime) = (value, mode, mtime);
        let entry = node.entry;
        if entry.is_none() {
            self.unindex_unbound(id, old_inode);
            self.index_unbound(id);
        }
        self.mark_node(id);
        if structural {
            self.dirty.structure();
        }
    }

    /// A node, and everything below it, is gone from the disk or from its name.
    pub fn vanish(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else { return };
        let (parent, name, place) = (node.parent, node.name.clone(), self.place_of(node));
        self.mark_node(id);
        if let Some(place) = place {
            self.mark_place(&place);
        }
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children.remove(&name);
        }
        if let Some(entry) = self.nodes.get(&parent).and_then(|parent| parent.entry) {
            self.mark(entry);
        }
        let mut gone = vec![id];
        while let Some(id) = gone.pop() {
            let Some(node) = self.nodes.remove(&id) else { continue };
            gone.extend(node.children.values());
            self.unindex_unbound(id, node.inode);
            self.fresh.remove(&id);
            self.movers.remove(&id);
            self.dirty.forget_node(id);
            if let Some(entry) = node.entry {
                self.node_of.remove(&entry);
                self.lost_its_node(entry);
            }
        }
        self.dirty.structure();
    }

    /// A node has another place now, because this device moved it there itself; its bindings stay.
    pub fn relocate(&mut self, id: NodeId, parent: NodeId, name: Name) {
        if let Some(there) = self.child(parent, &name).filter(|there| *there != id) {
            self.vanish(there);
        }
        if let Some(place) = self.nodes.get(&id).and_then(|node| self.place_of(node)) {
            self.mark_place(&place);
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let old = (std::mem::replace(&mut node.parent, parent), std::mem::replace(&mut node.name, name.clone()));
        if let Some(parent) = self.nodes.get_mut(&old.0) {
            parent.children.remove(&old.1);
        }
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children.insert(name, id);
        }
        self.mark_node(id);
        for parent in [old.0, parent] {
            if let Some(entry) = self.nodes.get(&parent).and_then(|parent| parent.entry) {
                self.mark(entry);
            }
        }
        self.dirty.structure();
    }

    pub(crate) fn index_unbound(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else { return };
        let inode = node.inode;
        self.unbound.insert(id, inode);
        self.unbound_by_inode.entry(inode).or_default().insert(id);
        self.fresh.insert(id);
        self.mark_node(id);
    }

    pub(crate) fn unindex_unbound(&mut self, id: NodeId, inode: u64) {
        if self.unbound.remove(&id).is_some()
            && let Some(nodes) = self.unbound_by_inode.get_mut(&inode)
        {
            nodes.remove(&id);
            if nodes.is_empty() {
                self.unbound_by_inode.remove(&inode);
            }
        }
    }

    /// An entry is on the disk no more, or not where it was: a new node of its inode may be it.
    pub(crate) fn lost_its_node(&mut self, id: EntryId) {
        self.mark(id);
        if let Some(base) = self.synced.get(&id)
            && let Some(nodes) = self.unbound_by_inode.get(&base.inode)
        {
            self.movers.extend(nodes);
        }
    }
}

//! Binding: which entry a thing on the disk is.
//!
//! 1. By name, whatever the inode, from the root down: a name that exists keeps its entry (editors save by rename,
//!    logs rotate). A node that is found by name takes its entry from one that was found by inode.
//! 2. Then by inode, for entries whose name is gone: the same inode *and* the same content as the synced row, below a
//!    bound directory; then its members by name. The recorded inode is renewed whenever a row is accepted or adopted:
//!    a stale one would make a false move with the wrong content out of "swap two files, rename one".
//! 3. The rest is new.
//!
//! Binding is incremental: only nodes that appeared, or lost or gained a candidate for what they are, are looked at.

use quics_types::{EntryId, Place};

use crate::{NodeId, Trees, parked_entry};

impl Trees {
    /// Binds what can be bound. To be called after changes of the local or the synced tree, before planning.
    pub fn bind(&mut self) {
        loop {
            while let Some(node) = self.fresh.pop_first() {
                self.bind_by_name(node);
                self.movers.insert(node);
            }
            let Some(node) = self.movers.pop_first() else { return };
            self.bind_by_inode(node);
        }
    }

    /// Binds a node to an entry, whatever it was bound to before.
    pub(crate) fn bind_to(&mut self, node: NodeId, entry: EntryId) {
        if let Some(other) = self.node_of(entry) {
            if other == node {
                return;
            }
            self.unbind(other);
        }
        if self.nodes.get(&node).is_some_and(|it| it.entry.is_some()) {
            self.unbind(node);
        }
        let Some(it) = self.nodes.get_mut(&node) else { return };
        it.entry = Some(entry);
        let (inode, children) = (it.inode, it.children.values().copied().collect::<Vec<_>>());
        self.unindex_unbound(node, inode);
        self.fresh.remove(&node);
        self.dirty.forget_node(node);
        self.node_of.insert(entry, node);
        for child in children {
            self.fresh.insert(child);
            self.mark_node(child);
        }
        self.mark(entry);
        self.dirty.structure();
    }

    /// Makes a node, and everything below it, new.
    pub(crate) fn unbind(&mut self, node: NodeId) {
        let mut below = vec![node];
        while let Some(node) = below.pop() {
            let Some(it) = self.nodes.get_mut(&node) else { continue };
            below.extend(it.children.values());
            let Some(entry) = it.entry.take() else { continue };
            self.node_of.remove(&entry);
            self.index_unbound(node);
            self.lost_its_node(entry);
        }
        self.dirty.structure();
    }

    fn bind_by_name(&mut self, node: NodeId) {
        let Some(it) = self.nodes.get(&node).filter(|it| it.entry.is_none()) else { return };
        if it.parent == NodeId::STAGE {
            let staged = parked_entry(&it.name);
            let free = |entry: &EntryId| self.synced.contains_key(entry) && !self.node_of.contains_key(entry);
            if let Some(entry) = staged.filter(free) {
                self.bind_to(node, entry);
            }
            return;
        }
        let Some(place) = self.place_of(it) else { return };
        let Some(entry) = self.synced_at.get(&place).copied() else { return };
        let staged = |other: NodeId| self.nodes.get(&other).is_some_and(|other| other.parent == NodeId::STAGE);
        if self.node_of(entry).is_none_or(|other| !staged(other)) {
            self.bind_to(node, entry);
        }
    }

    fn bind_by_inode(&mut self, node: NodeId) {
        let Some(it) = self.nodes.get(&node).filter(|it| it.entry.is_none()) else { return };
        let Some(value) = &it.value else { return };
        let Some(Place { .. }) = self.place_of(it) else { return };
        let Some(entry) = self.by_inode.get(&it.inode).copied() else { return };
        if self.node_of.contains_key(&entry) {
            return;
        }
        // A directory cannot have been moved below itself: what lies there was bound with it.
        if self.synced.get(&entry).is_some_and(|base| base.value == *value) {
            self.bind_to(node, entry);
        }
    }
}

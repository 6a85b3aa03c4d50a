//! Looking at the disk: the scan is the truth, the watcher's hints say where to look.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;

use quics_reconcile::{NodeId, Subject, Value};
use quics_types::{EntryId, Mtime, Name, Place};

use super::{Engine, nanos};
use crate::folder::{Kind, Listing, Member, RelPath, Spot, Stat};

/// Directories that are listed in one step.
const DIRECTORIES_PER_STEP: usize = 128;
/// Single paths that are looked at in one step.
const PATHS_PER_STEP: usize = 1024;

/// What of the disk has to be looked at.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Directories to be listed, and whether everything below them is too.
    directories: VecDeque<(NodeId, bool)>,
    queued: HashMap<NodeId, bool>,
    paths: BTreeSet<RelPath>,
    /// The first look at everything is through.
    scanned: bool,
    /// A look at everything is under way.
    scanning: bool,
    /// Entries that were looked at since it began.
    pub(super) seen: u64,
    /// Since when entries are missing whose deletes have not been proposed yet.
    pub(super) gone_since: HashMap<EntryId, Mtime>,
    /// A directory below which something could not be read.
    pub(super) unreadable: BTreeSet<RelPath>,
    /// Files with several names that have changed, by inode, with the time of the change.
    shared: HashMap<u64, Mtime>,
}

impl Look {
    pub(super) fn pending(&self) -> bool {
        !self.directories.is_empty() || !self.paths.is_empty()
    }

    pub(super) fn scanned(&self) -> bool {
        self.scanned
    }

    pub(super) fn scanning(&self) -> bool {
        self.scanning
    }

    fn queue(&mut self, directory: NodeId, deep: bool) {
        match self.queued.get_mut(&directory) {
            Some(known) => *known |= deep,
            None => {
                self.queued.insert(directory, deep);
                self.directories.push_back((directory, deep));
            }
        }
    }
}

impl Engine {
    /// Looks at everything again.
    pub(super) fn rescan(&mut self) {
        self.look.scanning = true;
        self.look.seen = 0;
        self.look.unreadable.clear();
        self.look.queue(NodeId::STAGE, true);
        self.look.queue(NodeId::TOP, true);
        self.trees.retry();
    }

    /// The watcher's hints: these paths may have changed.
    pub(super) fn touched(&mut self, paths: Vec<RelPath>) {
        for path in paths {
            if path.is_root() {
                self.look.queue(NodeId::TOP, false);
            } else {
                let path = self.unit_around(&path).unwrap_or(path);
                self.look.paths.insert(path);
            }
        }
    }

    /// The unit that a path lies in.
    pub(super) fn unit_around(&self, path: &RelPath) -> Option<RelPath> {
        let mut at = NodeId::TOP;
        let mut way = RelPath::root();
        for part in path.as_bytes().split(|byte| *byte == b'/') {
            let name = Name::new(bytes::Bytes::copy_from_slice(part)).ok()?;
            at = self.trees.child(at, &name)?;
            way = way.join(&name);
            if self.stats.get(&at).is_some_and(|stat| stat.kind == Kind::Unit) {
                return Some(way);
            }
        }
        None
    }

    /// Looks at a part of what has to be looked at.
    pub(super) fn look_around(&mut self) {
        if !self.look.pending() {
            return;
        }
        if self.look.scanning && !self.check_folder() {
            return;
        }
        let mut looked = 0;
        while looked < PATHS_PER_STEP
            && let Some(first) = self.look.paths.pop_first()
        {
            looked += self.look_at_paths(first, PATHS_PER_STEP - looked);
        }
        let mut batch = Vec::new();
        while batch.len() < DIRECTORIES_PER_STEP {
            let Some((node, _)) = self.look.directories.pop_front() else { break };
            let deep = self.look.queued.remove(&node).unwrap_or(false);
            if let Some(path) = self.path_of(node) {
                batch.push((node, deep, path));
            }
        }
        let paths: Vec<RelPath> = batch.iter().map(|(_, _, path)| path.clone()).collect();
        let listings = self.folder.list_many(&paths);
        for ((node, deep, path), listing) in batch.into_iter().zip(listings) {
            match listing {
                Ok(listing) => self.take_listing(node, deep, &path, listing),
                Err(error) => self.not_listed(node, &path, &error),
            }
        }
        self.look_at_other_names();
        self.trees.bind();
        if !self.look.pending() && self.look.scanning {
            self.look.scanning = false;
            self.look.scanned = true;
        }
    }

    fn not_listed(&mut self, node: NodeId, path: &RelPath, error: &io::Error) {
        if node == NodeId::TOP || node == NodeId::STAGE {
            self.check_folder();
        } else if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            if let Some(parent) = self.trees.node(node).map(|it| it.parent) {
                self.look.queue(parent, false);
            }
        } else {
            self.problem(path, format!("cannot be read: {error}"));
            self.look.unreadable.insert(path.clone());
        }
    }

    fn take_listing(&mut self, node: NodeId, deep: bool, path: &RelPath, listing: Listing) {
        if self.trees.node(node).is_none() {
            return;
        }
        self.problems.remove(path);
        self.look.unreadable.remove(path);
        for (name, reason) in listing.unusable {
            let shown = Name::new(name).map(|name| path.join(&name)).unwrap_or_else(|_| path.clone());
            self.problem(&shown, reason);
        }
        let mut gone: BTreeSet<Name> =
            self.trees.node(node).map(|it| it.children.keys().cloned().collect()).unwrap_or_default();
        for Member { name, stat } in listing.members {
            let member = path.join(&name);
            match stat {
                Ok(stat) => {
                    let ignored = node != NodeId::STAGE && self.filter.ignored(&member, stat.kind.is_a_directory());
                    if !ignored {
                        gone.remove(&name);
                        self.look.seen += 1;
                        self.see(node, name, member, stat, deep);
                    }
                }
                Err(reason) => {
                    gone.remove(&name);
                    self.problem(&member, reason);
                }
            }
        }
        for name in gone {
            if let Some(child) = self.trees.child(node, &name) {
                self.vanished(child);
            }
        }
    }

    /// Looks at a path, and at those that follow it in the same directory: at most `limit` of them, which it counts.
    fn look_at_paths(&mut self, first: RelPath, limit: usize) -> usize {
        let Some((parent, name)) = self.resolve(&first) else {
            // Its directory is not known: the nearest known one above is listed.
            let above = self.nearest(&first);
            self.look.queue(above, false);
            return 1;
        };
        let Some(dir) = self.path_of(parent) else { return 1 };
        let (mut paths, mut names) = (vec![first], vec![name]);
        while paths.len() < limit
            && let Some(next) = self.look.paths.first()
            && let Some(name) = next.name_in(&dir)
        {
            names.push(name);
            paths.extend(self.look.paths.pop_first());
        }
        let stats = self.folder.stat_many(&dir, &names);
        let looked = paths.len();
        for ((path, name), stat) in paths.into_iter().zip(names).zip(stats) {
            self.looked_at(parent, name, path, stat);
        }
        self.trees.bind();
        looked
    }

    /// Takes in what a look at one path showed.
    fn looked_at(&mut self, parent: NodeId, name: Name, path: RelPath, stat: io::Result<Option<Stat>>) {
        if self.filter.touched(&path) {
            self.rescan();
        }
        if std::str::from_utf8(name.as_bytes()).is_err() {
            self.look.queue(parent, false); // what a name cannot be is told by its directory's listing
            return;
        }
        match stat {
            Ok(Some(stat)) => {
                if self.filter.ignored(&path, stat.kind.is_a_directory()) {
                    return;
                }
                self.see(parent, name.clone(), path, stat, false);
                if stat.kind == Kind::Directory
                    && let Some(node) = self.trees.child(parent, &name)
                {
                    self.look.queue(node, false);
                }
            }
            Ok(None) => {
                if let Some(node) = self.trees.child(parent, &name) {
                    self.vanished(node);
                }
            }
            Err(error) => self.problem(&path, format!("cannot be looked at: {error}")),
        }
    }

    /// The directory node and the name that a path stands for, if the directory is known.
    pub(super) fn resolve(&self, path: &RelPath) -> Option<(NodeId, Name)> {
        let mut names = path.as_bytes().split(|byte| *byte == b'/').peekable();
        let mut at = NodeId::TOP;
        while let Some(part) = names.next() {
            let name = Name::new(bytes::Bytes::copy_from_slice(part)).ok()?;
            if names.peek().is_none() {
                return Some((at, name));
            }
            at = self.trees.child(at, &name)?;
        }
        None
    }

    fn nearest(&self, path: &RelPath) -> NodeId {
        let mut at = NodeId::TOP;
        for part in path.as_bytes().split(|byte| *byte == b'/') {
            let Ok(name) = Name::new(bytes::Bytes::copy_from_slice(part)) else { break };
            match self.trees.child(at, &name) {
                Some(child) if self.trees.node(child).is_some_and(|it| it.value == Some(Value::Directory)) => {
                    at = child
                }
                _ => break,
            }
        }
        at
    }

    /// Takes in what a look showed of one name.
    fn see(&mut self, parent: NodeId, name: Name, path: RelPath, stat: Stat, deep: bool) {
        let known = self.trees.child(parent, &name);
        if let Some(node) = known {
            let old = self.stats.get(&node).copied();
            let same = old == Some(stat) && !(self.racy.contains(&node) && self.settled_since(&stat));
            if !same {
                if old.is_some_and(|old| old.kind == Kind::Directory && stat.kind != Kind::Directory) {
                    self.vanished(node);
                    return self.see(parent, name, path, stat, deep);
                }
                let value = self.known_value(parent, &name, &stat, Some(node));
                self.update(node, stat, value);
                if stat.kind == Kind::File && stat.links > 1 {
                    self.look.shared.insert(stat.inode, stat.ctime);
                }
            }
            if stat.kind == Kind::Directory && (deep || old.is_none_or(|old| old.inode != stat.inode)) {
                self.look.queue(node, deep);
            }
        } else {
            let value = self.known_value(parent, &name, &stat, None);
            let node = self.appear(parent, name, stat, value);
            if stat.kind == Kind::Directory {
                self.look.queue(node, true);
            }
        }
        if stat.kind == Kind::Other {
            self.problem(&path, "is a FIFO, socket, device or another file system, which is not synced".to_owned());
        } else if !known.is_some_and(|node| self.trees.waits(node)) {
            self.problems.remove(&path);
        }
    }

    /// Files with several names have changed under one of them: the others are looked at, too. The watcher names only
    /// the one that was used. One look through all stats does for everything that one step has seen.
    fn look_at_other_names(&mut self) {
        let changed = std::mem::take(&mut self.look.shared);
        if changed.is_empty() {
            return;
        }
        let is_old = |stat: &Stat| changed.get(&stat.inode).is_some_and(|ctime| *ctime != stat.ctime);
        let others: Vec<NodeId> = self.stats.iter().filter(|(_, stat)| is_old(stat)).map(|(node, _)| *node).collect();
        for other in others {
            if let Some(spot) = self.spot_of(other) {
                self.look_again(&spot);
            }
        }
    }

    /// Makes a node known together with its stat.
    pub(super) fn appear(&mut self, parent: NodeId, name: Name, stat: Stat, value: Option<Value>) -> NodeId {
        if let Some(old) = self.trees.child(parent, &name) {
            self.vanished(old);
        }
        let node = self.trees.appear(parent, name, stat.inode, value, mode_of(&stat), stat.mtime);
        self.stats.insert(node, stat);
        node
    }

    /// Makes a node's new stat known.
    pub(super) fn update(&mut self, node: NodeId, stat: Stat, value: Option<Value>) {
        self.unfit.remove(&node);
        self.stats.insert(node, stat);
        if value.is_none() {
            self.racy.remove(&node);
        }
        self.trees.change(node, stat.inode, value, mode_of(&stat), stat.mtime);
        if let Some(entry) = self.trees.node(node).and_then(|it| it.entry) {
            self.trees.mark_changed(entry);
        }
    }

    /// A node is off the disk, with everything below it.
    pub(super) fn vanished(&mut self, node: NodeId) {
        let mut below = vec![node];
        while let Some(node) = below.pop() {
            if let Some(it) = self.trees.node(node) {
                below.extend(it.children.values().copied());
            }
            if self.unfit.remove(&node)
                && let Some(path) = self.path_of(node)
            {
                self.problems.remove(&path);
            }
            self.stats.remove(&node);
            self.racy.remove(&node);
            self.contents.forget_node(node);
        }
        self.trees.vanish(node);
    }

    /// Whether a file whose content was read too soon after its last change has been left alone long enough since to
    /// be read once more.
    fn settled_since(&mut self, stat: &Stat) -> bool {
        !stat.racy(self.folder.now())
    }

    /// What a stat says of the content without reading it.
    fn known_value(&mut self, parent: NodeId, name: &Name, stat: &Stat, node: Option<NodeId>) -> Option<Value> {
        match stat.kind {
            Kind::Directory => return Some(Value::Directory),
            Kind::Other => return None,
            Kind::File | Kind::Unit | Kind::Link => {}
        }
        if let Some(node) = node
            && let (Some(old), Some(it)) = (self.stats.get(&node), self.trees.node(node))
            && old.same_content(stat)
            && old.ctime == stat.ctime
            && !self.racy.contains(&node)
        {
            return it.value.clone();
        }
        let place = self.trees.node(parent)?.entry.map(|parent| Place { parent, name: name.clone() });
        let named = place.and_then(|place| self.trees.synced_at(&place));
        if let Some(entry) = named
            && let Some((agreed, value)) = self.agreed(entry)
            && agreed == stat
        {
            return Some(value);
        }
        // A rename changes the ctime: inode, birth, size and mtime have to do, and no second name may be there.
        let entry = self.trees.synced_by_inode(stat.inode).filter(|entry| Some(*entry) != named)?;
        let (agreed, value) = self.agreed(entry)?;
        let here = node.is_some() && self.trees.node_of(entry) == node;
        let moved = agreed.same_content(stat) && stat.links == 1 && !here;
        moved.then_some(value)
    }

    /// The synced value of an entry with the stat that proves it.
    fn agreed(&self, entry: EntryId) -> Option<(&Stat, Value)> {
        let (base, agreed) = (self.trees.base(entry)?, self.agreed.get(&entry)?);
        (agreed.tells_of(base) && !agreed.racy).then(|| (&agreed.stat, base.value.clone()))
    }

    /// The path of a node; `None` when it is gone.
    pub(super) fn path_of(&self, node: NodeId) -> Option<RelPath> {
        if node == NodeId::STAGE {
            return Some(RelPath::stage());
        }
        if node == NodeId::TOP {
            return Some(RelPath::root());
        }
        let it = self.trees.node(node)?;
        let mut names = vec![it.name.clone()];
        let mut at = it.parent;
        while at != NodeId::TOP && at != NodeId::STAGE {
            let it = self.trees.node(at)?;
            names.push(it.name.clone());
            at = it.parent;
        }
        let top = if at == NodeId::STAGE { RelPath::stage() } else { RelPath::root() };
        Some(names.iter().rev().fold(top, |path, name| path.join(name)))
    }

    /// The spot of a node.
    pub(super) fn spot_of(&self, node: NodeId) -> Option<Spot> {
        let it = self.trees.node(node)?;
        Some(Spot { dir: self.path_of(it.parent)?, name: it.name.clone() })
    }

    /// Looks at a node's name again: what is there is not what was expected.
    pub(super) fn look_again(&mut self, spot: &Spot) {
        if spot.dir == RelPath::stage() {
            self.look.queue(NodeId::STAGE, true);
        } else {
            self.look.paths.insert(spot.path());
        }
    }

    pub(super) fn problem(&mut self, path: &RelPath, reason: String) {
        const KEPT: usize = 10_000;
        if self.problems.len() < KEPT || self.problems.contains_key(path) {
            self.problems.insert(path.clone(), reason);
        }
    }

    /// Whether an entry or a node is in a part of the tree that is ignored or could not be read: then nothing is
    /// concluded from what is not there.
    pub(super) fn out_of_sight(&self, subject: Subject) -> bool {
        if self.look.unreadable.is_empty() && !self.filter.active() {
            return false;
        }
        let path = match subject {
            Subject::Node(_) => return false, // it would not be known
            Subject::Entry(id) => {
                let here = self.trees.node_of(id).and_then(|node| self.path_of(node));
                here.or_else(|| {
                    let place = match (self.trees.base(id), self.trees.remote(id)) {
                        (Some(base), _) => &base.place,
                        (None, Some(row)) => &row.place,
                        (None, None) => return None,
                    };
                    let parent = self.trees.node_of(place.parent)?;
                    Some(self.path_of(parent)?.join(&place.name))
                })
            }
        };
        let Some(path) = path else { return false };
        let directory = match subject {
            Subject::Entry(id) => self.trees.remote(id).is_some_and(|row| row.value.is_directory()),
            Subject::Node(_) => false,
        };
        self.filter.ignored(&path, directory) || self.look.unreadable.iter().any(|above| is_below(&path, above))
    }

    /// How long ago a file was changed, in nanoseconds by the folder's clock; long ago if that clock was set back.
    pub(super) fn age(&mut self, stat: &Stat) -> i64 {
        let age = nanos(self.folder.now()).saturating_sub(nanos(stat.ctime));
        if age < 0 { i64::MAX } else { age }
    }
}

fn is_below(path: &RelPath, above: &RelPath) -> bool {
    let (path, above) = (path.as_bytes(), above.as_bytes());
    path.len() > above.len() && path.starts_with(above) && path[above.len()] == b'/'
}

/// Links have no permission bits of their own.
fn mode_of(stat: &Stat) -> u32 {
    if stat.kind == Kind::Link { 0o777 } else { stat.mode }
}

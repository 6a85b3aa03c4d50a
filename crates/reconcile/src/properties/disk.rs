//! A disk of a few things, and people who change it.

use std::collections::{BTreeMap, BTreeSet};

use quics_types::{Mtime, Name};

use super::Draw;
use crate::Value;
use crate::testing::{file, link, name};

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) value: Value,
    pub(super) mode: u32,
    pub(super) mtime: Mtime,
    pub(super) members: BTreeMap<Name, u64>,
}

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) items: BTreeMap<u64, Item>,
    next: u64,
    clock: i64,
    /// What the agent has done here.
    pub(super) applied: usize,
}

pub(super) const TOP: u64 = 1;
pub(super) const STAGE: u64 = 2;

/// Contents of one case: which were written, and which a user replaced or removed knowingly.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) written: u8,
    pub(super) known: BTreeSet<u8>,
    /// On which devices users moved them.
    moved: BTreeMap<u8, BTreeSet<usize>>,
    /// Which a user removed, and put nothing in their place.
    removed: BTreeSet<u8>,
}

impl Contents {
    /// Whether a content may be gone.
    pub(super) fn spared(&self, content: u8) -> bool {
        self.known.contains(&content) || self.moved.get(&content).is_some_and(|devices| devices.len() > 1)
    }

    /// Whether a user moved a content, perhaps with its directory.
    pub(super) fn was_moved(&self, content: u8) -> bool {
        self.moved.contains_key(&content)
    }

    /// Whether a user removed a content that nobody moved: it stays away unless a person says otherwise.
    pub(super) fn stays_away(&self, content: u8) -> bool {
        self.removed.contains(&content) && !self.was_moved(content)
    }
}

pub(super) fn content(value: &Value) -> Option<u8> {
    if let Value::File { content, .. } = value { Some(content.as_bytes()[0]) } else { None }
}

impl Disk {
    pub(super) fn new() -> Self {
        let directory =
            Item { value: Value::Directory, mode: 0o755, mtime: Mtime::default(), members: BTreeMap::new() };
        Self { items: BTreeMap::from([(TOP, directory.clone()), (STAGE, directory)]), next: 3, clock: 0, applied: 0 }
    }

    pub(super) fn add(&mut self, value: Value, mode: u32, mtime: Option<Mtime>) -> u64 {
        self.clock += 1;
        let mtime = mtime.unwrap_or(Mtime { seconds: self.clock, nanos: 0 });
        let inode = self.next;
        self.next += 1;
        self.items.insert(inode, Item { value, mode, mtime, members: BTreeMap::new() });
        inode
    }

    pub(super) fn members(&mut self, dir: u64) -> &mut BTreeMap<Name, u64> {
        &mut self.items.get_mut(&dir).unwrap().members
    }

    /// Puts something new into a directory, as a user does. Returns its inode.
    pub(super) fn put(&mut self, dir: u64, at: &str, value: Value) -> u64 {
        let mode = if value.is_directory() { 0o755 } else { 0o644 };
        let inode = self.add(value, mode, None);
        self.members(dir).insert(name(at), inode);
        inode
    }

    /// The inode at a path.
    pub(super) fn at(&self, path: &[&str]) -> u64 {
        path.iter().fold(TOP, |dir, at| self.items[&dir].members[&name(at)])
    }

    /// Every directory, name and inode below one; parents first.
    pub(super) fn walk(&self, top: u64) -> Vec<(u64, Name, u64)> {
        let (mut all, mut todo) = (Vec::new(), vec![top]);
        while let Some(dir) = todo.pop() {
            for (name, inode) in &self.items[&dir].members {
                all.push((dir, name.clone(), *inode));
                todo.push(*inode);
            }
        }
        all
    }

    fn contents(&self, inode: u64) -> Vec<u8> {
        let below = self.walk(inode).into_iter().map(|it| it.2);
        below.chain([inode]).filter_map(|inode| content(&self.items[&inode].value)).collect()
    }

    fn forget(&self, inode: u64, contents: &mut Contents) {
        contents.known.extend(self.contents(inode));
    }

    fn note_move(&self, inode: u64, who: usize, contents: &mut Contents) {
        for content in self.contents(inode) {
            contents.moved.entry(content).or_default().insert(who);
        }
    }

    /// Somebody does something on this disk, which is that of device `who`.
    pub(super) fn perturb(&mut self, who: usize, draw: &mut Draw, contents: &mut Contents) {
        let all = self.walk(TOP);
        let mut dirs = vec![TOP];
        dirs.extend(all.iter().map(|it| it.2).filter(|inode| self.items[inode].value.is_directory()));
        let dir = dirs[draw.below(dirs.len())];
        let to = name(["a", "b", "c"][draw.below(3)]);
        let there = self.items[&dir].members.get(&to).copied();
        let is_dir = |disk: &Self, inode: u64| disk.items[&inode].value.is_directory();
        let something = if all.is_empty() { None } else { Some(all[draw.below(all.len())].clone()) };
        match (draw.below(20), something) {
            (0..7, _) if there.is_none_or(|inode| !is_dir(self, inode)) => {
                contents.written += 1;
                let value = file(contents.written);
                if let Some(inode) = there {
                    self.forget(inode, contents);
                }
                match there.filter(|_| draw.below(2) == 0) {
                    Some(inode) => {
                        self.clock += 1;
                        let item = self.items.get_mut(&inode).unwrap();
                        (item.value, item.mtime) = (value, Mtime { seconds: self.clock, nanos: 0 });
                    }
                    None => {
                        let inode = self.add(value, 0o644, None);
                        self.members(dir).insert(to, inode);
                    }
                }
            }
            (7..10, _) if there.is_none() => {
                let inode = self.add(Value::Directory, 0o755, None);
                self.members(dir).insert(to, inode);
            }
            (10, _) if there.is_none() => {
                let inode = self.add(link("t"), 0o777, None);
                self.members(dir).insert(to, inode);
            }
            (11..14, Some((dir, name, inode))) => {
                self.forget(inode, contents);
                contents.removed.extend(self.contents(inode));
                self.members(dir).remove(&name);
            }
            (14..18, Some((from, old, inode))) => {
                let inside = dir == inode || self.walk(inode).iter().any(|it| it.2 == dir);
                let same = (dir, &to) == (from, &old);
                let over = there.is_some_and(|there| is_dir(self, there) || is_dir(self, inode));
                if inside || same || over {
                    return;
                }
                if let Some(there) = there {
                    self.forget(there, contents);
                }
                self.note_move(inode, who, contents);
                self.members(from).remove(&old);
                self.members(dir).insert(to, inode);
            }
            (18, Some((other, name, inode))) => {
                let Some(there) = there.filter(|there| *there != inode) else { return };
                let inside =
                    |disk: &Self, below: u64, top: u64| below == top || disk.walk(top).iter().any(|it| it.2 == below);
                if !inside(self, dir, inode) && !inside(self, other, there) {
                    self.note_move(inode, who, contents);
                    self.note_move(there, who, contents);
                    self.members(other).insert(name, there);
                    self.members(dir).insert(to, inode);
                }
            }
            (19, Some((_, _, inode))) if !matches!(self.items[&inode].value, Value::Link { .. }) => {
                self.items.get_mut(&inode).unwrap().mode = [0o644, 0o600, 0o755][draw.below(3)];
            }
            _ => {}
        }
    }
}

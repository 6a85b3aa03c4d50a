//! Users: what they do in their folders.

use quics_client::folder::Kind;
use quics_types::Digest;
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::disk::{TOP, content_of};
use crate::side::Side;
use crate::world::{World, say};

/// What people of one seed like to do: each thing with its weight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Temper {
    weights: [u32; 11],
    names: usize,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Temper {
    pub(crate) fn draw(random: &mut StdRng) -> Self {
        // write, mkdir, link, remove, move, swap, chmod, restore, change kind, rotate, save anew
        let weights = match random.random_range(0..4) {
            0 => [30, 12, 3, 15, 24, 6, 6, 2, 2, 2, 2],  // a bit of everything
            1 => [10, 22, 1, 10, 40, 5, 4, 1, 3, 6, 2],  // movers
            2 => [44, 6, 3, 10, 10, 4, 6, 8, 5, 1, 8],   // editors
            _ => [26, 14, 4, 22, 18, 4, 4, 2, 10, 2, 2], // those who change their minds
        };
        Self { weights, names: random.random_range(2..5) }
    }
}

/// A name in a directory of a device, and what is there.
struct Target {
    dir: u64,
    name: String,
    there: Option<u64>,
}

fn has_content(kind: Kind) -> bool {
    matches!(kind, Kind::File | Kind::Unit)
}

impl<S: Side> World<S> {
    /// A content that nobody had before.
    pub(crate) fn fresh_content(&mut self) -> (String, bool, Digest) {
        self.tokens += 1;
        let (token, big) = (format!("c{}", self.tokens), self.chance(15));
        let content = content_of(&token, big);
        (token, big, content)
    }

    fn now_known(&mut self, device: usize, inode: u64) {
        let tree = self.devices[device].folder.tree();
        let mut below: Vec<u64> = tree.walk_from(inode).into_iter().map(|(_, _, inode)| inode).collect();
        below.push(inode);
        let files = below.iter().map(|inode| &tree.inodes[inode]).filter(|it| has_content(it.kind));
        self.known.extend(files.map(|it| it.content()));
    }

    fn kind(&self, device: usize, inode: u64) -> Kind {
        self.devices[device].folder.tree().inodes[&inode].kind
    }

    fn target(&mut self, device: usize, everything: &[(u64, String, u64)]) -> Target {
        let mut dirs = vec![TOP];
        dirs.extend(everything.iter().map(|it| it.2).filter(|inode| self.kind(device, *inode) == Kind::Directory));
        let dir = self.pick(&dirs).unwrap_or(TOP);
        let name = NAMES[self.random.random_range(0..self.temper.names)].to_owned();
        let there = self.devices[device].folder.tree().members(dir).get(&name).copied();
        Target { dir, name, there }
    }

    /// The user of a device does one thing.
    pub(crate) fn user(&mut self, device: usize) {
        let everything = self.devices[device].folder.tree().walk();
        let target = self.target(device, &everything);
        let something = self.pick(&everything);
        let mut left = self.random.random_range(0..self.temper.weights.iter().sum());
        let weights = self.temper.weights;
        let what = weights.iter().position(|weight| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        match (what, something) {
            (Some(0), _) => self.writes(device, target.dir, &target.name),
            (Some(1), _) if target.there.is_none() => self.makes(device, &target, Kind::Directory),
            (Some(2), _) if target.there.is_none() => self.makes(device, &target, Kind::Link),
            (Some(3), Some((dir, name, _))) => self.removes(device, dir, &name),
            (Some(4), Some(from)) => self.moves(device, from, &target),
            (Some(5), Some(other)) => self.swaps(device, other, &target),
            (Some(6), Some((dir, name, inode))) => self.changes_mode(device, dir, &name, inode),
            (Some(7), Some((dir, name, inode))) => self.restores(device, dir, &name, inode),
            (Some(8), Some((dir, name, inode))) => self.changes_kind(device, dir, &name, inode),
            (Some(9), _) => self.rotates(device, target.dir),
            (Some(10), Some((dir, name, inode))) => self.saves_anew(device, dir, &name, inode),
            _ => {}
        }
    }

    /// Writes a file: in place, or a new one over the old name.
    pub(crate) fn writes(&mut self, device: usize, dir: u64, name: &str) {
        let there = self.devices[device].folder.tree().members(dir).get(name).copied();
        if there.is_some_and(|inode| self.kind(device, inode) == Kind::Directory) {
            return;
        }
        let (token, big, content) = self.fresh_content();
        self.all.insert(content);
        say!(self, "D{} writes {dir}/{name} {token}", device + 1);
        let in_place = self.chance(50);
        let kind = if self.chance(10) { Kind::Unit } else { Kind::File };
        let old = there.map(|inode| self.devices[device].folder.tree().inodes[&inode].content());
        self.books.wrote(self.devices[device].id, content, old);
        if let Some(inode) = there {
            self.now_known(device, inode);
        }
        let folder = self.devices[device].folder.clone();
        let mut tree = folder.tree();
        match there.filter(|inode| in_place && has_content(tree.inodes[inode].kind)) {
            Some(inode) => {
                tree.write(inode, &token, big);
                tree.touch(dir, name);
            }
            None => {
                let inode = tree.add(kind, &token, big, 0o644);
                tree.link(dir, name, inode);
            }
        }
    }

    fn makes(&mut self, device: usize, target: &Target, kind: Kind) {
        say!(self, "D{} makes {}/{} {kind:?}", device + 1, target.dir, target.name);
        let link = format!("t{}", self.tokens);
        let mut tree = self.devices[device].folder.tree();
        let inode = match kind {
            Kind::Link => tree.add(kind, &link, false, 0o777),
            _ => tree.add(kind, "", false, 0o755),
        };
        tree.link(target.dir, &target.name, inode);
    }

    fn removes(&mut self, device: usize, dir: u64, name: &str) {
        say!(self, "D{} rm -r {dir}/{name}", device + 1);
        let inode = self.devices[device].folder.tree().members(dir)[name];
        self.now_known(device, inode);
        let mut tree = self.devices[device].folder.tree();
        for (dir, name, _) in tree.walk_from(inode).into_iter().rev() {
            tree.unlink(dir, &name);
        }
        tree.unlink(dir, name);
    }

    fn moves(&mut self, device: usize, (from, old, inode): (u64, String, u64), to: &Target) {
        let inside = self.devices[device].folder.tree().inside(to.dir, inode);
        if inside || (to.dir, &to.name) == (from, &old) {
            return;
        }
        let over_dir = to.there.is_some_and(|there| self.kind(device, there) == Kind::Directory);
        if over_dir || (to.there.is_some() && self.kind(device, inode) == Kind::Directory) {
            return;
        }
        say!(self, "D{} mv {from}/{old} {}/{}", device + 1, to.dir, to.name);
        if let Some(there) = to.there {
            self.now_known(device, there);
        }
        let mut tree = self.devices[device].folder.tree();
        tree.unlink(from, &old);
        tree.link(to.dir, &to.name, inode);
    }

    fn swaps(&mut self, device: usize, (other_dir, other, inode): (u64, String, u64), target: &Target) {
        let folder = self.devices[device].folder.clone();
        let Some(there) = target.there.filter(|there| *there != inode) else { return };
        if folder.tree().inside(target.dir, inode) || folder.tree().inside(other_dir, there) {
            return;
        }
        say!(self, "D{} swap {}/{} {other_dir}/{other}", device + 1, target.dir, target.name);
        let mut tree = folder.tree();
        tree.link(other_dir, &other, there);
        tree.link(target.dir, &target.name, inode);
    }

    fn changes_mode(&mut self, device: usize, dir: u64, name: &str, inode: u64) {
        let mode = [0o644, 0o600, 0o755][self.random.random_range(0..3)];
        if self.kind(device, inode) == Kind::Link {
            return;
        }
        say!(self, "D{} chmod {dir}/{name} {mode:o}", device + 1);
        let mut tree = self.devices[device].folder.tree();
        let now = tree.now();
        let it = tree.inodes.get_mut(&inode).unwrap();
        (it.mode, it.ctime) = (mode, now);
        tree.touch(dir, name);
    }

    /// Puts back what a file was before it was last written in place.
    fn restores(&mut self, device: usize, dir: u64, name: &str, inode: u64) {
        if !has_content(self.kind(device, inode)) {
            return;
        }
        let folder = self.devices[device].folder.clone();
        let old = folder.tree().inodes[&inode].content();
        if folder.tree().restore(inode) {
            self.known.insert(old);
            self.books.wrote(self.devices[device].id, folder.tree().inodes[&inode].content(), Some(old));
            say!(self, "D{} restores {dir}/{name}", device + 1);
            folder.tree().touch(dir, name);
        }
    }

    /// Something of another kind takes a name at once.
    fn changes_kind(&mut self, device: usize, dir: u64, name: &str, inode: u64) {
        let was = self.kind(device, inode);
        self.removes(device, dir, name);
        match was {
            Kind::File | Kind::Unit => {
                self.makes(device, &Target { dir, name: name.to_owned(), there: None }, Kind::Directory);
                if self.chance(50) {
                    let made = self.devices[device].folder.tree().members(dir).get(name).copied();
                    self.writes(device, made.unwrap_or(dir), "a");
                }
            }
            _ => self.writes(device, dir, name),
        }
    }

    /// Names of one directory change hands in a circle, as logs do.
    fn rotates(&mut self, device: usize, dir: u64) {
        let mut tree = self.devices[device].folder.tree();
        let members: Vec<(String, u64)> = tree.members(dir).iter().map(|(name, it)| (name.clone(), *it)).collect();
        if members.len() < 2 {
            return;
        }
        for (at, (name, _)) in members.iter().enumerate() {
            tree.link(dir, name, members[(at + 1) % members.len()].1);
        }
        drop(tree);
        say!(self, "D{} rotates {dir}", device + 1);
    }

    /// An editor saves by moving the old file away, writing a new one and removing the old.
    fn saves_anew(&mut self, device: usize, dir: u64, name: &str, inode: u64) {
        let beside = format!("{name}~");
        let taken = self.devices[device].folder.tree().members(dir).contains_key(&beside);
        if !has_content(self.kind(device, inode)) || taken || name.ends_with('~') {
            return;
        }
        say!(self, "D{} keeps {dir}/{name} as {beside}", device + 1);
        let mut tree = self.devices[device].folder.tree();
        tree.unlink(dir, name);
        tree.link(dir, &beside, inode);
        drop(tree);
        self.writes(device, dir, name);
        if self.chance(70) {
            self.removes(device, dir, &beside);
        }
    }
}

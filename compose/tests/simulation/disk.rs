//! A simulated disk: inodes, names and a clock that moves with every operation.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use quics_client::folder::{Kind, Op, RelPath, Source, Spot, Stat};
use quics_types::{Digest, Mtime};

/// What lies behind an inode.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    pub(crate) kind: Kind,
    /// A file's content or a link's target; unique to each write of a user.
    pub(crate) token: String,
    /// Whether the file is as if it were too large to ride inside a message.
    pub(crate) big: bool,
    pub(crate) mode: u32,
    pub(crate) mtime: Mtime,
    pub(crate) ctime: Mtime,
    /// When the inode's number was given out, in nanoseconds.
    pub(crate) born: i64,
    /// What it was before it was last written in place: token, size, modification time.
    pub(crate) before: Option<(String, bool, Mtime)>,
    pub(crate) members: BTreeMap<String, u64>,
}

impl Inode {
    pub(crate) fn size(&self) -> u64 {
        let len = self.token.len() as u64;
        if self.big { BIG as u64 } else { len }
    }

    pub(crate) fn content(&self) -> Digest {
        content_of(&self.token, self.big)
    }
}

/// The bytes of a token: small ones are themselves, big ones do not fit into a message.
pub(crate) fn bytes_of(token: &str, big: bool) -> Vec<u8> {
    let mut bytes = token.as_bytes().to_vec();
    if big {
        bytes.resize(BIG, b'.');
    }
    bytes
}

const BIG: usize = 20_000;

/// The content id of a token.
pub(crate) fn content_of(token: &str, big: bool) -> Digest {
    let mut pages = Vec::new();
    let mut builder = quics_chunks::ManifestBuilder::new();
    for chunk in quics_chunks::Chunker::new(std::io::Cursor::new(bytes_of(token, big))) {
        let chunk = chunk.expect("memory is read");
        builder
            .push(chunk.digest, u32::try_from(chunk.data.len()).expect("a chunk is small"), &mut pages)
            .expect("a chunk is pushed");
    }
    builder.finish(&mut pages).expect("a small file has a manifest").content
}

/// All inodes of one device.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) inodes: BTreeMap<u64, Inode>,
    pub(crate) clock: i64,
    /// Fetched files by name.
    pub(crate) incoming: BTreeMap<String, (String, bool)>,
    /// Operations that still succeed before the process dies.
    pub(crate) dies_after: Option<usize>,
    pub(crate) died: bool,
    /// Paths that changed, for the watcher.
    pub(crate) touched: BTreeSet<Vec<u8>>,
    /// Operations of the agent, to see that a quiet one does nothing.
    pub(crate) applied: u64,
    /// What they were.
    pub(crate) log: Vec<String>,
}

pub(crate) const TOP: u64 = 1;
pub(crate) const STAGE: u64 = 2;

impl Tree {
    pub(crate) fn new() -> Self {
        let dir = Inode {
            kind: Kind::Directory,
            token: String::new(),
            big: false,
            mode: 0o755,
            mtime: Mtime::default(),
            ctime: Mtime::default(),
            born: 0,
            before: None,
            members: BTreeMap::new(),
        };
        Self {
            inodes: BTreeMap::from([(TOP, dir.clone()), (STAGE, dir)]),
            clock: 1_000_000_000_000,
            incoming: BTreeMap::new(),
            dies_after: None,
            died: false,
            touched: BTreeSet::new(),
            applied: 0,
            log: Vec::new(),
        }
    }

    pub(crate) fn now(&mut self) -> Mtime {
        self.clock += 1_000_000;
        Mtime { seconds: self.clock / 1_000_000_000, nanos: u32::try_from(self.clock % 1_000_000_000).unwrap() }
    }

    pub(crate) fn add(&mut self, kind: Kind, token: &str, big: bool, mode: u32) -> u64 {
        let now = self.now();
        let (token, born, members) = (token.to_owned(), self.clock, BTreeMap::new());
        let it = Inode { kind, token, big, mode, mtime: now, ctime: now, born, before: None, members };
        let inode = self.free_inode();
        self.inodes.insert(inode, it);
        inode
    }

    /// The lowest number that nothing has any more: numbers come back at once, as on real file systems.
    fn free_inode(&self) -> u64 {
        let used: BTreeSet<u64> = [TOP, STAGE].into_iter().flat_map(|top| self.walk_from(top)).map(|it| it.2).collect();
        (STAGE + 1..).find(|inode| !used.contains(inode)).unwrap_or(u64::MAX)
    }

    /// Writes a file in place.
    pub(crate) fn write(&mut self, inode: u64, token: &str, big: bool) {
        let now = self.now();
        let it = self.inodes.get_mut(&inode).unwrap();
        it.before = Some((it.token.clone(), it.big, it.mtime));
        (it.token, it.big, it.mtime, it.ctime) = (token.to_owned(), big, now, now);
    }

    /// Puts a file's earlier content back, with its modification time, as tools that restore do.
    pub(crate) fn restore(&mut self, inode: u64) -> bool {
        let now = self.now();
        let it = self.inodes.get_mut(&inode).unwrap();
        let Some((token, big, mtime)) = it.before.take() else { return false };
        (it.token, it.big, it.mtime, it.ctime) = (token, big, mtime, now);
        true
    }

    pub(crate) fn members(&self, dir: u64) -> &BTreeMap<String, u64> {
        &self.inodes[&dir].members
    }

    pub(crate) fn link(&mut self, dir: u64, name: &str, inode: u64) {
        let now = self.now();
        self.touch(dir, name);
        self.inodes.get_mut(&dir).unwrap().members.insert(name.to_owned(), inode);
        self.inodes.get_mut(&inode).unwrap().ctime = now;
    }

    pub(crate) fn unlink(&mut self, dir: u64, name: &str) -> Option<u64> {
        self.touch(dir, name);
        self.inodes.get_mut(&dir).unwrap().members.remove(name)
    }

    pub(crate) fn touch(&mut self, dir: u64, name: &str) {
        if let Some(path) = self.path(dir) {
            self.touched.insert(if path.is_empty() { name.into() } else { format!("{path}/{name}").into() });
        }
    }

    /// The path of a directory; `None` when it is not below the top.
    pub(crate) fn path(&self, dir: u64) -> Option<String> {
        let (mut parts, mut at) = (Vec::new(), dir);
        while at != TOP {
            let (parent, name) = self.inodes.iter().find_map(|(parent, it)| {
                it.members.iter().find(|(_, inode)| **inode == at).map(|(name, _)| (*parent, name.clone()))
            })?;
            parts.push(name);
            at = parent;
        }
        parts.reverse();
        Some(parts.join("/"))
    }

    /// Every name below the top: directory, name, inode; parents first.
    pub(crate) fn walk(&self) -> Vec<(u64, String, u64)> {
        self.walk_from(TOP)
    }

    pub(crate) fn walk_from(&self, top: u64) -> Vec<(u64, String, u64)> {
        let (mut all, mut todo) = (Vec::new(), vec![top]);
        while let Some(dir) = todo.pop() {
            for (name, inode) in self.members(dir) {
                all.push((dir, name.clone(), *inode));
                if self.inodes[inode].kind == Kind::Directory {
                    todo.push(*inode);
                }
            }
        }
        all
    }

    pub(crate) fn inside(&self, below: u64, top: u64) -> bool {
        below == top || self.walk_from(top).iter().any(|(_, _, inode)| *inode == below)
    }

    pub(crate) fn find(&self, path: &RelPath) -> io::Result<u64> {
        let stage = RelPath::stage();
        let (mut at, rest) = match path.as_bytes().strip_prefix(stage.as_bytes()) {
            Some(rest) => (STAGE, rest.strip_prefix(b"/").unwrap_or(rest)),
            None => (TOP, path.as_bytes()),
        };
        for part in rest.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            let it = &self.inodes[&at];
            let name = std::str::from_utf8(part).unwrap();
            at = *it.members.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        if self.inodes[&at].kind == Kind::Directory { Ok(at) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    pub(crate) fn at(&self, spot: &Spot) -> io::Result<(u64, String, Option<u64>)> {
        let dir = self.find(&spot.dir)?;
        let name = spot.name.to_string();
        let inode = self.members(dir).get(&name).copied();
        Ok((dir, name, inode))
    }

    pub(crate) fn stat(&self, inode: u64) -> Stat {
        let it = &self.inodes[&inode];
        Stat {
            kind: it.kind,
            inode,
            born: it.born,
            size: it.size(),
            mtime: it.mtime,
            ctime: it.ctime,
            mode: it.mode,
            links: 1,
        }
    }

    /// The inode at a spot, if it is as expected.
    fn expected(&self, spot: &Spot, expected: &Stat) -> io::Result<Option<(u64, String, u64)>> {
        let (dir, name, inode) = self.at(spot)?;
        let Some(inode) = inode else { return Ok(None) };
        let now = self.stat(inode);
        let same = if expected.kind == Kind::Directory {
            (now.kind, now.inode) == (expected.kind, expected.inode)
        } else {
            now == *expected
        };
        Ok(same.then_some((dir, name, inode)))
    }

    fn make(&mut self, kind: Kind, source: &Source, mode: u32) -> io::Result<u64> {
        let (token, big) = match source {
            Source::Inline(bytes) => (String::from_utf8(bytes.to_vec()).unwrap(), false),
            Source::Incoming(name) => self.incoming.remove(&name.to_string()).ok_or(io::ErrorKind::NotFound)?,
        };
        Ok(self.add(kind, &token, big, mode))
    }

    fn make_file(&mut self, source: &Source, mode: u32, mtime: Mtime) -> io::Result<u64> {
        let inode = self.make(Kind::File, source, mode)?;
        self.inodes.get_mut(&inode).unwrap().mtime = mtime;
        Ok(inode)
    }

    fn put_new(&mut self, at: &Spot, inode: impl FnOnce(&mut Self) -> io::Result<u64>) -> io::Result<Option<Stat>> {
        let (dir, name, there) = self.at(at)?;
        if there.is_some() {
            return Ok(None);
        }
        let inode = inode(self)?;
        self.link(dir, &name, inode);
        Ok(Some(self.stat(inode)))
    }

    fn put_over(
        &mut self,
        at: &Spot,
        expected: &Stat,
        inode: impl FnOnce(&mut Self) -> io::Result<u64>,
    ) -> io::Result<Option<Stat>> {
        let Some((dir, name, old)) = self.expected(at, expected)? else { return Ok(None) };
        if !self.members(old).is_empty() {
            return Ok(None);
        }
        let inode = inode(self)?;
        let mode = self.inodes[&old].mode;
        if self.inodes[&inode].kind == Kind::File && self.inodes[&old].kind == Kind::File {
            self.inodes.get_mut(&inode).unwrap().mode = mode;
        }
        self.link(dir, &name, inode);
        Ok(Some(self.stat(inode)))
    }

    pub(crate) fn apply(&mut self, op: &Op) -> io::Result<Option<Stat>> {
        match op {
            Op::MakeDir { at, mode } => self.put_new(at, |it| Ok(it.add(Kind::Directory, "", false, *mode))),
            Op::MakeFile { at, source, mode, mtime } => self.put_new(at, |it| it.make_file(source, *mode, *mtime)),
            Op::MakeUnit { at, source, mode } => self.put_new(at, |it| it.make(Kind::Unit, source, *mode)),
            Op::ReplaceWithUnit { at, expected, source, mode } => {
                self.put_over(at, expected, |it| it.make(Kind::Unit, source, *mode))
            }
            Op::MakeLink { at, target } => {
                let token = String::from_utf8(target.to_vec()).unwrap();
                self.put_new(at, |it| Ok(it.add(Kind::Link, &token, false, 0o777)))
            }
            Op::ReplaceWithFile { at, expected, source, mode, mtime } => {
                self.put_over(at, expected, |it| it.make_file(source, *mode, *mtime))
            }
            Op::ReplaceWithDir { at, expected, mode } => {
                self.put_over(at, expected, |it| Ok(it.add(Kind::Directory, "", false, *mode)))
            }
            Op::ReplaceWithLink { at, expected, target } => {
                let token = String::from_utf8(target.to_vec()).unwrap();
                self.put_over(at, expected, |it| Ok(it.add(Kind::Link, &token, false, 0o777)))
            }
            Op::Remove { at, expected } => {
                let Some((dir, name, inode)) = self.expected(at, expected)? else { return Ok(None) };
                if !self.members(inode).is_empty() {
                    return Ok(None);
                }
                let stat = self.stat(inode);
                self.unlink(dir, &name);
                Ok(Some(stat))
            }
            Op::Move { from, expected, to } => {
                let (dir, name, there) = self.at(to)?;
                let Some((old_dir, old_name, inode)) = self.expected(from, expected)? else { return Ok(None) };
                if there.is_some() || self.inside(dir, inode) {
                    return Ok(None);
                }
                self.unlink(old_dir, &old_name);
                self.link(dir, &name, inode);
                Ok(Some(self.stat(inode)))
            }
            Op::SetAttributes { at, expected, mode, mtime } => {
                let Some((dir, name, inode)) = self.expected(at, expected)? else { return Ok(None) };
                let now = self.now();
                self.touch(dir, &name);
                let it = self.inodes.get_mut(&inode).unwrap();
                (it.mode, it.ctime) = (*mode, now);
                it.mtime = mtime.unwrap_or(it.mtime);
                Ok(Some(self.stat(inode)))
            }
        }
    }
}

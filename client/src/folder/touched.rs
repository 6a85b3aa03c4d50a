//! The directories that a batch touched, each synced once.

use std::{collections::HashMap, fs::File, io, os::fd::OwnedFd, rc::Rc};

use rustix::{fs, io::Errno};

use super::{RelPath, beneath, tree::Tree};

/// Open directories that a batch keeps at most.
const OPEN: usize = 96;
/// From so many handles on, one `syncfs` takes the place of an fsync of each.
const SYNC_ALL_FROM: usize = 16;

/// Opens each directory once and syncs what was touched.
#[derive(Debug)]
pub(super) struct Touched<'a> {
    tree: &'a Tree,
    open: HashMap<RelPath, Rc<OwnedFd>>,
    dirs: HashMap<RelPath, Rc<OwnedFd>>,
    files: Vec<File>,
    /// Something was changed of which there is no handle that could be synced.
    unreachable: bool,
    /// The operations that wait for the next sync.
    waiting: Vec<usize>,
}

impl<'a> Touched<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        let (open, dirs, files, waiting) = Default::default();
        Self { tree, open, dirs, files, unreachable: false, waiting }
    }

    /// The directory at a path, opened at most once.
    pub(super) fn dir(&mut self, path: &RelPath) -> io::Result<Rc<OwnedFd>> {
        if let Some(dir) = self.open.get(path) {
            return Ok(dir.clone());
        }
        if self.open.len() >= OPEN {
            self.open.clear();
        }
        let dir = Rc::new(beneath::open_dir(&self.tree.root, path)?);
        self.open.insert(path.clone(), dir.clone());
        Ok(dir)
    }

    /// Paths lead elsewhere now: a directory was moved or removed.
    pub(super) fn forget_paths(&mut self) {
        self.open.clear();
    }

    /// A member of this directory was changed by operation `op`.
    pub(super) fn touch(&mut self, path: &RelPath, dir: &Rc<OwnedFd>, op: usize) {
        // After a move the same path may be another directory: both have to be synced.
        if let Some(before) = self.dirs.insert(path.clone(), dir.clone())
            && !Rc::ptr_eq(&before, dir)
        {
            match before.try_clone() {
                Ok(handle) => self.files.push(File::from(handle)),
                Err(_) => self.unreachable = true,
            }
        }
        self.wait(op);
    }

    /// An inode was changed by operation `op`; without a handle all of the file system is synced.
    pub(super) fn touch_file(&mut self, file: Option<File>, op: usize) {
        match file {
            Some(file) => self.files.push(file),
            None => self.unreachable = true,
        }
        self.wait(op);
    }

    fn wait(&mut self, op: usize) {
        if self.waiting.last() != Some(&op) {
            self.waiting.push(op);
        }
    }

    /// Whether enough has come together that it should be synced before the batch goes on.
    pub(super) fn is_full(&self) -> bool {
        self.dirs.len() + self.files.len() >= OPEN
    }

    /// Syncs everything that was touched. Returns the operations that waited for it, and how it went.
    pub(super) fn sync(&mut self) -> (Vec<usize>, io::Result<()>) {
        let result = self.sync_all();
        self.dirs.clear();
        self.files.clear();
        self.unreachable = false;
        (std::mem::take(&mut self.waiting), result)
    }

    fn sync_all(&mut self) -> io::Result<()> {
        if self.unreachable || self.dirs.len() + self.files.len() >= SYNC_ALL_FROM {
            return Ok(fs::syncfs(&self.tree.stage)?);
        }
        for file in &self.files {
            file.sync_all()?;
        }
        for dir in self.dirs.values() {
            match fs::fsync(dir) {
                // A file system that does not sync directories by themselves.
                Err(Errno::INVAL) => fs::syncfs(&self.tree.stage)?,
                other => other?,
            }
        }
        Ok(())
    }
}

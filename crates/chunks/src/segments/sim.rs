//! A directory in memory that records every operation, so that the states after a power cut can be built from it.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rand::Rng;

use super::disk::{Disk, DiskFile};
use crate::Error;

const SECTOR: usize = 512;

/// One operation, in the order in which they took effect.
#[derive(Clone)]
pub(super) enum Op {
    Write { inode: u64, offset: u64, data: Vec<u8> },
    Length { inode: u64, length: u64 },
    Create { name: String, inode: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
    SyncFile { inode: u64 },
    SyncDirectory,
}

/// Files by name, contents by inode.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub(super) names: BTreeMap<String, u64>,
    pub(super) contents: BTreeMap<u64, Vec<u8>>,
}

impl Image {
    pub(super) fn file(&mut self, name: &str) -> &mut Vec<u8> {
        self.contents.get_mut(&self.names[name]).expect("the file is there")
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { inode, offset, data } => self.write(*inode, *offset, data),
            Op::Length { inode, length } => {
                self.contents.entry(*inode).or_default().resize(*length as usize, 0);
            }
            Op::Create { name, inode } => {
                self.names.insert(name.clone(), *inode);
                self.contents.entry(*inode).or_default();
            }
            Op::Rename { from, to } => {
                if let Some(inode) = self.names.remove(from) {
                    self.names.insert(to.clone(), inode);
                }
            }
            Op::Remove { name } => drop(self.names.remove(name)),
            Op::SyncFile { .. } | Op::SyncDirectory => {}
        }
    }

    fn write(&mut self, inode: u64, offset: u64, data: &[u8]) {
        let content = self.contents.entry(inode).or_default();
        let end = offset as usize + data.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(data);
    }
}

/// What becomes of operations that no sync covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsynced {
    Lost,
    Kept,
    /// Each one for itself, in sectors.
    Torn,
}

/// A state that a power cut after the first `ops` may legally leave.
///
/// Operations on files persist in any order and in parts unless a later sync of that file covers them; those on the
/// directory persist in their order, at least up to the last sync of the directory.
pub(super) fn power_cut(ops: &[Op], unsynced: Unsynced, rng: &mut impl Rng) -> Image {
    let mut image = Image::default();
    let synced_names = ops.iter().rposition(|op| matches!(op, Op::SyncDirectory)).unwrap_or(0);
    let names_kept = match unsynced {
        Unsynced::Lost => synced_names,
        Unsynced::Kept => ops.len(),
        Unsynced::Torn => rng.random_range(synced_names..=ops.len()),
    };
    let mut last_sync = BTreeMap::new();
    for (i, op) in ops.iter().enumerate() {
        if let Op::SyncFile { inode } = op {
            last_sync.insert(*inode, i);
        }
    }
    for (i, op) in ops.iter().enumerate() {
        match op {
            Op::Write { inode, .. } | Op::Length { inode, .. } if last_sync.get(inode).is_some_and(|&s| i < s) => {
                image.apply(op);
            }
            Op::Write { .. } | Op::Length { .. } if unsynced == Unsynced::Lost => {}
            Op::Write { inode, offset, data } if unsynced == Unsynced::Torn => match rng.random_range(0..3) {
                0 => {}
                1 => image.apply(op),
                _ => {
                    for (s, sector) in data.chunks(SECTOR).enumerate() {
                        if rng.random() {
                            image.write(*inode, offset + (s * SECTOR) as u64, sector);
                        }
                    }
                }
            },
            Op::Length { .. } if unsynced == Unsynced::Torn && rng.random() => {}
            Op::Create { .. } | Op::Rename { .. } | Op::Remove { .. } if i >= names_kept => {}
            _ => image.apply(op),
        }
    }
    image
}

/// A recording directory.
pub(super) struct SimDisk {
    state: Mutex<State>,
    seed: AtomicU64,
    /// Every sync fails while this is set.
    pub(super) syncs_fail: AtomicBool,
    /// Every write and allocation finds the disk full while this is set.
    pub(super) full: AtomicBool,
    /// After so many writes more the disk is full.
    pub(super) writes_left: AtomicU64,
    /// No segment can be removed while this is set; side indexes can.
    pub(super) removes_fail: AtomicBool,
    /// Every read fails as a bad sector does while this is set.
    pub(super) reads_fail: AtomicBool,
}

struct State {
    image: Image,
    next_inode: u64,
    ops: Vec<Op>,
}

impl SimDisk {
    pub(super) fn new(image: Image) -> Arc<Self> {
        let next_inode = image.contents.keys().last().map_or(1, |last| last + 1);
        Arc::new(Self {
            state: Mutex::new(State { image, next_inode, ops: Vec::new() }),
            seed: AtomicU64::new(1),
            syncs_fail: AtomicBool::new(false),
            full: AtomicBool::new(false),
            writes_left: AtomicU64::new(u64::MAX),
            removes_fail: AtomicBool::new(false),
            reads_fail: AtomicBool::new(false),
        })
    }

    /// How many operations there were so far.
    pub(super) fn count(&self) -> usize {
        self.state.lock().ops.len()
    }

    pub(super) fn ops(&self) -> Vec<Op> {
        self.state.lock().ops.clone()
    }

    /// What is in the files now, synced or not.
    pub(super) fn image(&self) -> Image {
        self.state.lock().image.clone()
    }

    /// Changes what is in the files, as a failing disk does.
    pub(super) fn tamper(&self, change: impl FnOnce(&mut Image)) {
        change(&mut self.state.lock().image);
    }

    fn run(&self, op: Op) {
        let mut state = self.state.lock();
        state.image.apply(&op);
        state.ops.push(op);
    }

    fn fail(&self, flag: &AtomicBool, action: &'static str, error: impl Into<io::Error>) -> Result<(), Error> {
        if flag.load(Ordering::Relaxed) { Err(Error::io(action, "simulated", error.into())) } else { Ok(()) }
    }
}

/// The handle through which a store sees the directory.
pub(super) struct SimHandle(pub(super) Arc<SimDisk>);

impl SimHandle {
    fn file(&self, inode: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.0.clone(), inode })
    }
}

impl Disk for SimHandle {
    fn list(&self) -> Result<Vec<String>, Error> {
        Ok(self.0.state.lock().image.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, Error> {
        let inode = self.0.state.lock().image.names.get(name).copied();
        inode.map(|inode| self.file(inode)).ok_or_else(|| Error::io("open", name, io::ErrorKind::NotFound.into()))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, Error> {
        let inode = {
            let mut state = self.0.state.lock();
            if state.image.names.contains_key(name) {
                return Err(Error::io("create", name, io::ErrorKind::AlreadyExists.into()));
            }
            state.next_inode += 1;
            state.next_inode
        };
        self.0.run(Op::Create { name: name.into(), inode });
        Ok(self.file(inode))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.0.run(Op::Rename { from: from.into(), to: to.into() });
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        if !self.0.state.lock().image.names.contains_key(name) {
            return Err(Error::io("remove", name, io::ErrorKind::NotFound.into()));
        }
        if name.ends_with(".segment") {
            self.0.fail(&self.0.removes_fail, "remove", io::ErrorKind::ReadOnlyFilesystem)?;
        }
        self.0.run(Op::Remove { name: name.into() });
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.0.fail(&self.0.syncs_fail, "sync", io::ErrorKind::Other)?;
        self.0.run(Op::SyncDirectory);
        Ok(())
    }

    fn random(&self) -> Result<[u8; 32], Error> {
        Ok(*blake3::hash(&self.0.seed.fetch_add(1, Ordering::Relaxed).to_le_bytes()).as_bytes())
    }
}

struct SimFile {
    disk: Arc<SimDisk>,
    inode: u64,
}

impl DiskFile for SimFile {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.disk.state.lock().image.contents[&self.inode].len() as u64)
    }

    fn read(&self, out: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.disk.fail(&self.disk.reads_fail, "read", io::Error::from_raw_os_error(5))?;
        let state = self.disk.state.lock();
        let rest = state.image.contents[&self.inode].get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write(&self, parts: &[&[u8]], offset: u64) -> Result<(), Error> {
        self.disk.fail(&self.disk.full, "write", io::ErrorKind::StorageFull)?;
        let left = &self.disk.writes_left;
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            return Err(Error::io("write", "simulated", io::ErrorKind::StorageFull.into()));
        }
        self.disk.run(Op::Write { inode: self.inode, offset, data: parts.concat() });
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        self.disk.run(Op::Length { inode: self.inode, length });
        Ok(())
    }

    fn allocate(&self, _from: u64, length: u64) -> Result<(), Error> {
        self.disk.fail(&self.disk.full, "allocate", io::ErrorKind::StorageFull)?;
        self.disk.run(Op::Length { inode: self.inode, length });
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.disk.fail(&self.disk.syncs_fail, "sync", io::ErrorKind::Other)?;
        self.disk.run(Op::SyncFile { inode: self.inode });
        Ok(())
    }
}

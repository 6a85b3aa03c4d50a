//! A disk in memory that records what was done to it, for tests.
//!
//! Its model of a power cut: of what a file received since its last sync, each 512-byte sector of each write and each
//! change of length may or may not have arrived, in any combination; of the changes of names since the directory's last
//! sync, each may or may not have arrived. A sector is written whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

const SECTOR: usize = 512;

/// A disk in memory that records every write, sync and rename, and can be cut at any of them.
///
/// Clones share the disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    names: BTreeMap<String, u64>,
    files: HashMap<u64, Vec<u8>>,
    base: (BTreeMap<String, u64>, HashMap<u64, Vec<u8>>),
    log: Vec<Event>,
    next: u64,
    random: u64,
    boot: u64,
    syncs_until_failure: Option<u64>,
    room: Option<u64>,
}

#[derive(Clone)]
enum Event {
    Write { file: u64, offset: u64, bytes: Vec<u8> },
    SetLen { file: u64, len: u64 },
    Sync { file: u64 },
    Link { name: String, file: u64 },
    Unlink { name: String },
    Rename { from: String, to: String, file: u64 },
    SyncDir,
}

impl SimDisk {
    /// Makes an empty disk; equal seeds give equal random bytes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(BTreeMap::new(), HashMap::new(), seed, seed)
    }

    fn with(names: BTreeMap<String, u64>, files: HashMap<u64, Vec<u8>>, seed: u64, boot: u64) -> Self {
        let next = files.keys().max().map_or(1, |file| file + 1);
        let base = (names.clone(), files.clone());
        let (log, syncs_until_failure, room) = (Vec::new(), None, None);
        let state = State { names, files, base, log, next, random: seed, boot, syncs_until_failure, room };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Counts the events recorded so far: the places where the power can be cut.
    #[must_use]
    pub fn events(&self) -> usize {
        self.state.lock().log.len()
    }

    /// Builds a disk that a power cut just before event `at` may leave; `seed` chooses which.
    #[must_use]
    pub fn power_cut(&self, at: usize, seed: u64) -> SimDisk {
        let state = self.state.lock();
        let log = &state.log[..at.min(state.log.len())];
        let (mut names, mut files) = state.base.clone();
        let mut dice = seed ^ 0x9e37_79b9_7f4a_7c15;
        let last_dir_sync = log.iter().rposition(|event| matches!(event, Event::SyncDir));
        let mut last_sync: HashMap<u64, usize> = HashMap::new();
        for (index, event) in log.iter().enumerate() {
            if let Event::Sync { file } = event {
                last_sync.insert(*file, index);
            }
        }
        for (index, event) in log.iter().enumerate() {
            let durable = match event {
                Event::Write { file, .. } | Event::SetLen { file, .. } | Event::Sync { file } => {
                    last_sync.get(file).is_some_and(|sync| index < *sync)
                }
                _ => last_dir_sync.is_some_and(|sync| index < sync),
            };
            match event {
                Event::Write { file, offset, bytes } => {
                    let content = files.entry(*file).or_default();
                    let mut from = 0;
                    while from < bytes.len() {
                        let place = *offset as usize + from;
                        let to = (from + SECTOR - place % SECTOR).min(bytes.len());
                        if durable || coin(&mut dice) {
                            write_into(content, place, &bytes[from..to]);
                        }
                        from = to;
                    }
                }
                Event::SetLen { file, len } if durable || coin(&mut dice) => {
                    files.entry(*file).or_default().resize(*len as usize, 0);
                }
                Event::Link { name, file } if durable || coin(&mut dice) => {
                    files.entry(*file).or_default();
                    names.insert(name.clone(), *file);
                }
                Event::Unlink { name } if durable || coin(&mut dice) => {
                    names.remove(name);
                }
                Event::Rename { from, to, file } if durable || coin(&mut dice) => {
                    names.remove(from);
                    files.entry(*file).or_default();
                    names.insert(to.clone(), *file);
                }
                _ => {}
            }
        }
        files.retain(|file, _| names.values().any(|named| named == file));
        SimDisk::with(names, files, step(&mut dice), state.boot.wrapping_add(1))
    }

    /// Gives the disk as a killed process leaves it to the next one: everything that was written is there, but what was not
    /// synced may still be lost by a power cut.
    #[must_use]
    pub fn after_kill(&self) -> SimDisk {
        let state = self.state.lock();
        let killed = State {
            names: state.names.clone(),
            files: state.files.clone(),
            base: state.base.clone(),
            log: state.log.clone(),
            next: state.next,
            random: state.random ^ 0x5bd1_e995,
            boot: state.boot,
            syncs_until_failure: None,
            room: None,
        };
        SimDisk { state: Arc::new(Mutex::new(killed)) }
    }

    /// Makes the `count`-th sync from now on fail, and every one behind it.
    pub fn fail_syncs_after(&self, count: u64) {
        self.state.lock().syncs_until_failure = Some(count);
    }

    /// Lets no more than `bytes` be reserved or appended from now on; `None` for no bound.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.state.lock().room = bytes;
    }

    /// Changes stored bytes behind the store's back, unrecorded; gives back whether the place exists.
    pub fn corrupt(&self, name: &str, offset: u64, change: impl FnOnce(&mut [u8])) -> bool {
        let mut state = self.state.lock();
        let Some(file) = state.names.get(name).copied() else { return false };
        match state.files.get_mut(&file).and_then(|bytes| bytes.get_mut(offset as usize..)) {
            Some(bytes) if !bytes.is_empty() => {
                change(bytes);
                true
            }
            _ => false,
        }
    }

    /// Gives a file's bytes.
    #[must_use]
    pub fn bytes_of(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.names.get(name).and_then(|file| state.files.get(file)).cloned()
    }
}

impl State {
    fn named(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn spend(&mut self, bytes: u64) -> io::Result<()> {
        match &mut self.room {
            Some(room) if *room < bytes => Err(io::ErrorKind::StorageFull.into()),
            Some(room) => {
                *room -= bytes;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn sync_allowed(&mut self) -> io::Result<()> {
        match &mut self.syncs_until_failure {
            Some(0) => Err(io::Error::other("the simulated disk fails its sync")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014).
fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn coin(state: &mut u64) -> bool {
    step(state) >> 63 == 1
}

fn write_into(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Disk for SimDisk {
    fn create(&self, name: &str, reserve: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.spend(reserve)?;
        let file = state.next;
        state.next += 1;
        state.names.insert(name.to_owned(), file);
        state.files.insert(file, vec![0; reserve as usize]);
        state.log.push(Event::Link { name: name.to_owned(), file });
        if reserve > 0 {
            state.log.push(Event::SetLen { file, len: reserve });
        }
        Ok(Box::new(SimFile { state: self.state.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.state.lock().named(name)?;
        Ok(Box::new(SimFile { state: self.state.clone(), file }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.named(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        state.log.push(Event::Rename { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.named(name)?;
        state.names.remove(name);
        state.log.push(Event::Unlink { name: name.to_owned() });
        Ok(())
    }

    fn remove_tree(&self, name: &str) -> io::Result<()> {
        self.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.sync_allowed()?;
        state.log.push(Event::SyncDir);
        Ok(())
    }

    fn path_of(&self, _name: &str) -> Option<PathBuf> {
        None
    }

    fn boot_id(&self) -> io::Result<String> {
        Ok(format!("simulated boot {}", self.state.lock().boot))
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut state = self.state.lock();
        let (a, b) = (step(&mut state.random), step(&mut state.random));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&a.to_be_bytes());
        bytes[8..].copy_from_slice(&b.to_be_bytes());
        Ok(bytes)
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    file: u64,
}

impl SimFile {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut state = self.state.lock();
        state.files.get_mut(&self.file).map(f).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|content| content.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|content| {
            let from = usize::try_from(offset).ok()?;
            buffer.copy_from_slice(content.get(from..from.checked_add(buffer.len())?)?);
            Some(())
        })?
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let grown = (offset + bytes.len() as u64).saturating_sub(self.len()?);
        self.state.lock().spend(grown)?;
        self.with(|content| write_into(content, offset as usize, bytes))?;
        self.state.lock().log.push(Event::Write { file: self.file, offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|content| content.resize(len as usize, 0))?;
        self.state.lock().log.push(Event::SetLen { file: self.file, len });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.sync_allowed()?;
        state.log.push(Event::Sync { file: self.file });
        Ok(())
    }
}

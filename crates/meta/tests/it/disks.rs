//! Disks that do one thing differently.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use quics_meta::{Disk, DiskFile};

/// Lets a test hold every sync of a file back, and count those that went through.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<Door>, Condvar)>);

#[derive(Default)]
struct Door {
    shut: bool,
    waiting: usize,
    passed: usize,
}

impl Gate {
    /// Holds syncs back until the guard is dropped, also by a test that fails.
    pub(crate) fn shut(&self) -> Shut {
        self.0.0.lock().unwrap().shut = true;
        Shut(self.clone())
    }

    pub(crate) fn passed(&self) -> usize {
        self.0.0.lock().unwrap().passed
    }

    pub(crate) fn wait_until_somebody_waits(&self) {
        let door = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(door, |door| door.waiting == 0).unwrap());
    }

    fn pass(&self) {
        let mut door = self.0.0.lock().unwrap();
        door.waiting += 1;
        self.0.1.notify_all();
        let mut door = self.0.1.wait_while(door, |door| door.shut).unwrap();
        door.waiting -= 1;
        door.passed += 1;
    }
}

/// Keeps a gate shut.
pub(crate) struct Shut(Gate);

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.0.0.lock().unwrap().shut = false;
        self.0.0.1.notify_all();
    }
}

/// A disk whose file syncs go through a gate, and whose boot id can be another.
pub(crate) struct Odd<D> {
    pub(crate) inner: D,
    pub(crate) gate: Gate,
    pub(crate) boot: Option<&'static str>,
}

impl<D> Odd<D> {
    pub(crate) fn gated(inner: D, gate: &Gate) -> Arc<Self> {
        Arc::new(Self { inner, gate: gate.clone(), boot: None })
    }

    pub(crate) fn booted(inner: D, boot: &'static str) -> Arc<Self> {
        Arc::new(Self { inner, gate: Gate::default(), boot: Some(boot) })
    }
}

struct OddFile(Box<dyn DiskFile>, Gate);

impl DiskFile for OddFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync()
    }
}

impl<D: Disk> Disk for Odd<D> {
    fn create(&self, name: &str, reserve: u64) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OddFile(self.inner.create(name, reserve)?, self.gate.clone())))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OddFile(self.inner.open(name)?, self.gate.clone())))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn remove_tree(&self, name: &str) -> io::Result<()> {
        self.inner.remove_tree(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }
    fn path_of(&self, name: &str) -> Option<PathBuf> {
        self.inner.path_of(name)
    }
    fn boot_id(&self) -> io::Result<String> {
        self.boot.map_or_else(|| self.inner.boot_id(), |boot| Ok(boot.to_owned()))
    }
    fn random(&self) -> io::Result<[u8; 16]> {
        self.inner.random()
    }
}

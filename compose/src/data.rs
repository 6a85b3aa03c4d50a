//! The stack's data directory: who holds it, what runs from it, and where each service has its own.
//!
//! ```text
//! lock                held (flock) by the running supervisor; holds its process id
//! stack.json          what runs: process ids and addresses; replaced by rename
//! logs/NAME.log       what a service logs
//! registry/  sync/  history/  share/    each service's own directory
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use quics_kit::{
    data::{self, DataDir, read_small, write_atomic},
    lock::Holder,
    names::Service,
    ticket::{Fingerprint, Ticket},
};
use serde::{Deserialize, Serialize};

/// What a running stack says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The supervisor.
    pub pid: u32,
    /// Ports count from here.
    pub port_base: u16,
    /// In the order in which they were started.
    pub services: Vec<ServiceRecord>,
}

/// What a running stack says about one of its services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// `registry`, `sync`, `history`, `share`.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// How often it was started again after it had ended by itself.
    pub restarts: u32,
    /// Where it serves, over QUIC and TCP.
    pub address: String,
    /// Its ops port.
    pub ops: String,
}

/// A data directory.
#[derive(Debug, Clone)]
pub struct Data {
    root: PathBuf,
}

impl Data {
    /// Names a data directory; touches nothing.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of a service.
    pub fn service(&self, service: Service) -> PathBuf {
        self.root.join(service.as_str())
    }

    /// Where a service logs.
    pub fn log(&self, service: Service) -> PathBuf {
        self.root.join("logs").join(format!("{service}.log"))
    }

    /// Makes the directory where it is missing, for its owner alone, and holds it until what is returned is dropped.
    ///
    /// # Errors
    /// When it cannot be made or written, or when another process holds it; one sentence each.
    pub fn hold(&self) -> Result<DataDir> {
        let held = DataDir::open(&self.root).map_err(|error| match error {
            quics_kit::data::Error::Held { pid, .. } => anyhow!(
                "the data directory {} is held by a running quics-stack{}; stop that one with `quics-stack stop`, or \
                 choose another directory with --data",
                self.root.display(),
                pid.map_or_else(String::new, |pid| format!(" (process {pid})")),
            ),
            error => anyhow!("{error}; choose another data directory with --data"),
        })?;
        held.dir("logs")?;
        Ok(held)
    }

    /// The fingerprint of the server's CA, as devices see it; `None` before the first start.
    ///
    /// # Errors
    /// When the registry's files cannot be read.
    pub fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        const LIMIT: u64 = 4096;
        let Some(text) = read_small(&self.service(Service::Registry).join("service.ticket"), LIMIT)? else {
            return Ok(None);
        };
        let ticket: Ticket = String::from_utf8_lossy(&text).parse().context("read the service ticket")?;
        Ok(Some(ticket.fingerprint))
    }

    /// Who holds the directory, if somebody does.
    ///
    /// # Errors
    /// When that cannot be looked at.
    pub fn holder(&self) -> Result<Option<Holder>> {
        Ok(data::holder(&self.root)?)
    }

    /// What was last recorded here, by a stack that runs or ran.
    ///
    /// # Errors
    /// When there is a record that cannot be read.
    pub fn record(&self) -> Result<Option<Record>> {
        let path = self.record_path();
        match fs::read(&path) {
            Ok(bytes) => {
                let record = serde_json::from_slice(&bytes);
                record.map(Some).with_context(|| format!("{} is damaged; remove it", path.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// What runs here now.
    ///
    /// # Errors
    /// When nothing runs here, or the record cannot be read; one sentence.
    pub fn running(&self) -> Result<Record> {
        let record = if self.holder()?.is_some() { self.record()? } else { None };
        record.with_context(|| {
            format!(
                "no server runs in {}; start it with `quics-stack up`, or name its directory with --data",
                self.root.display()
            )
        })
    }

    /// Replaces the record in one step, so that a reader sees the old or the new.
    ///
    /// # Durability
    /// On return it is durable.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        Ok(write_atomic(&self.record_path(), &serde_json::to_vec_pretty(record)?, 0o600)?)
    }

    fn record_path(&self) -> PathBuf {
        self.root.join("stack.json")
    }
}

/// Where `quics-stack up` keeps its data unless told: `$XDG_DATA_HOME/quics-stack`, else below the home directory.
///
/// # Errors
/// When neither is set.
pub fn default_root() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".local/share")));
    Ok(base.context("no home directory is known; name a data directory with --data")?.join("quics-stack"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_once_and_says_by_whom() {
        let directory = tempfile::tempdir().unwrap();
        let data = Data::at(&directory.path().join("new/stack"));
        assert_eq!(data.holder().unwrap(), None);
        let held = data.hold().unwrap();
        assert_eq!(data.holder().unwrap(), Some(Holder { pid: Some(std::process::id()) }));
        let refused = data.hold().unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()) && refused.contains("--data"), "{refused}");
        drop(held);
        assert_eq!(data.holder().unwrap(), None);
        data.hold().unwrap();
    }

    #[test]
    fn a_record_counts_only_while_its_supervisor_runs() {
        let directory = tempfile::tempdir().unwrap();
        let data = Data::at(directory.path());
        let record = Record { pid: 1, port_base: 6120, services: Vec::new() };
        let held = data.hold().unwrap();
        data.write_record(&record).unwrap();
        assert_eq!(data.running().unwrap(), record);
        drop(held);
        assert!(data.running().unwrap_err().to_string().contains("quics-stack up"));
        assert_eq!(data.record().unwrap(), Some(record));
    }
}

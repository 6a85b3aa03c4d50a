//! How a supervisor learns that a service serves, and where.

use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::data;
use crate::names::Service;

pub(super) const FILE: &str = "ready.json";

/// The content of `ready.json`, which is there exactly while the service serves (or was killed while it did: compare the
/// pid).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ready {
    /// The service's name.
    pub service: String,
    /// Its process.
    pub pid: u32,
    /// Where it serves devices and services, UDP and TCP.
    pub address: SocketAddr,
    /// Where its ops port is.
    pub ops: SocketAddr,
    /// The program's version.
    pub version: String,
}

impl Ready {
    pub(super) fn new(service: Service, address: SocketAddr, ops: SocketAddr) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { service: service.to_string(), pid: std::process::id(), address, ops, version }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        // A struct of strings and numbers is always JSON.
        let text = serde_json::to_vec_pretty(self).expect("the struct has a JSON form");
        Ok(data::write_atomic(path, &text, 0o600)?)
    }

    /// Reads the file in the data directory `data`; `None` while there is none, or none of this form.
    ///
    /// # Errors
    /// [`data::Error`] if it is there and cannot be read.
    pub fn read(data: &Path) -> Result<Option<Ready>, data::Error> {
        let bytes = data::read_small(&data.join(FILE), 64 << 10)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

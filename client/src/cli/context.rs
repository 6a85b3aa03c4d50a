//! What commands share: the home, the way to the agent and to the server.

use std::path::{Path, PathBuf};

use quics_proto::registry::v1::registry_service_client::RegistryServiceClient;
use quics_quic::{Channel, Tls};

use super::{Failure, Global};
use crate::account;
use crate::api;
use crate::home::{Account, Home};

/// What a command runs with.
pub(super) struct Context {
    pub(super) home: Home,
    pub(super) log_file: Option<PathBuf>,
    pub(super) log: Option<String>,
    /// Progress may be drawn: somebody looks at stderr.
    pub(super) terminal: bool,
}

impl Context {
    pub(super) fn new(global: Global) -> Result<Self, Failure> {
        Ok(Self {
            home: Home::find(global.home)?,
            log_file: global.log_file,
            log: global.log,
            terminal: console::Term::stderr().is_term(),
        })
    }

    /// The running agent; `None` when there is none.
    pub(super) async fn find_agent(&self) -> Result<Option<api::Client>, Failure> {
        api::connect(&self.home.socket())
            .await
            .map_err(|error| Failure::new(format!("cannot reach the agent: {error}")))
    }

    /// The running agent.
    pub(super) async fn agent(&self) -> Result<api::Client, Failure> {
        if let Some(agent) = self.find_agent().await? {
            return Ok(agent);
        }
        let home = crate::text::path(self.home.path());
        if self.home.settings()?.account.is_none() {
            return Err(account::Error::NotJoined { home: self.home.path().to_owned() }.into());
        }
        Err(Failure::new(format!("no agent runs for the home {home}: start one with `quics agent start`")))
    }

    /// The way to registry-svc with this device's identity, whether an agent runs or not.
    pub(super) fn registry(&self) -> Result<Registry, Failure> {
        let (account, identity) = account::open(&self.home.settings()?, &self.home)?;
        let tls = identity.tls().map_err(account::Error::from)?;
        let channel = account::registry_channel(&account, &tls);
        Ok(Registry { client: RegistryServiceClient::new(channel), account, tls })
    }
}

/// registry-svc, as this device.
pub(super) struct Registry {
    pub(super) client: RegistryServiceClient<Channel>,
    pub(super) account: Account,
    pub(super) tls: Tls,
}

impl Registry {
    /// What a refusal of registry-svc means to the user.
    pub(super) fn refused(&self, status: &tonic::Status) -> Failure {
        account::Error::of_call(&self.account.server, status).into()
    }
}

/// The absolute form of a path that need not exist: of what does, without symbolic links.
pub(super) fn place(path: &Path) -> Result<PathBuf, Failure> {
    let wrong = |error: std::io::Error| Failure::new(format!("cannot find {}: {error}", crate::text::path(path)));
    let absolute = std::path::absolute(path).map_err(wrong)?;
    for there in absolute.ancestors() {
        let Ok(real) = there.canonicalize() else { continue };
        // The last name itself may be a link that is synced: it is not followed.
        if there == absolute && !absolute.is_dir() {
            continue;
        }
        let rest = absolute.strip_prefix(there).unwrap_or(Path::new(""));
        return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
    }
    Ok(absolute)
}

/// The bytes of a path, for the local API.
pub(super) fn bytes(path: &Path) -> bytes::Bytes {
    use std::os::unix::ffi::OsStrExt as _;

    bytes::Bytes::copy_from_slice(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_need_not_exist_and_its_last_name_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("d")).unwrap();
        std::os::unix::fs::symlink("d", real.join("alias")).unwrap();
        std::os::unix::fs::symlink("nowhere", real.join("dangling")).unwrap();
        assert_eq!(place(&real.join("alias/x/y")).unwrap(), real.join("d/x/y"));
        assert_eq!(place(&real.join("dangling")).unwrap(), real.join("dangling"));
        assert_eq!(place(&real.join("d")).unwrap(), real.join("d"));
    }
}

//! The home: the one directory in which everything of this device's agent lives.
//!
//! ```text
//! HOME/                 0700
//!   settings.toml       which server, which device, which roots          (settings)
//!   identity/           key 0600, certificate chain, trust list
//!   state/              the metadata store of all roots
//!   links/              0700; what opens the links that were made here, a file 0600 each (links)
//!   agent.lock          held (flock) by whoever may change the above, with the holder's process id
//!   agent.sock          0600, the running agent's local API
//!   agent.log           only where the agent was started in the background
//! ```
//!
//! # Invariants
//! - Nothing of a client is written anywhere else, apart from `.quics` in the folders that it syncs.
//! - Settings, identity and state change only under the lock, so two agents, or an agent and `join`, never meet. A link's file
//!   is written once, under a name that was drawn.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use quics_kit::lock::{self, Holder, Lock};

mod links;
mod settings;

pub use links::Token;
pub use settings::{Account, RootEntry, Settings};

/// Says why a home cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither `--home`, `QUICS_HOME`, `XDG_DATA_HOME` nor `HOME` says where the home is.
    #[error("no place for quics' home is known: set QUICS_HOME or give --home DIR")]
    Nowhere,
    /// A running agent, or another command, holds the home.
    #[error(
        "the home {} is held by a running agent{}: stop it with `quics agent stop`, or use another --home",
        crate::text::path(home),
        .process.map(|id| format!(" (process {id})")).unwrap_or_default()
    )]
    Held {
        /// The home.
        home: PathBuf,
        /// The holder's process id, where it could be read.
        process: Option<u32>,
    },
    /// The settings are not what a quics has written.
    #[error(
        "{} cannot be understood ({reason}): restore it, or move the home away and join again",
        crate::text::path(path)
    )]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The settings were written by a newer quics.
    #[error(
        "{} was written by a newer quics (format {found}, this one knows {known}): update quics",
        crate::text::path(path)
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known here.
        known: u32,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", crate::text::path(path))]
    Io {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }
}

/// The home's place; nothing is read or made before a method is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Takes the directory that was asked for, or finds the usual one: `$XDG_DATA_HOME/quics`, else
    /// `~/.local/share/quics`.
    ///
    /// # Errors
    /// [`Error::Nowhere`] where nothing says; [`Error::Io`] where the working directory is needed and unknown.
    pub fn find(asked: Option<PathBuf>) -> Result<Self, Error> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = asked
            .or_else(|| set("XDG_DATA_HOME").map(|data| data.join("quics")))
            .or_else(|| set("HOME").map(|home| home.join(".local/share/quics")))
            .ok_or(Error::Nowhere)?;
        let path = std::path::absolute(&path).map_err(Error::io("find", &path))?;
        Ok(Self { path })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where key, certificates and trust list are.
    pub fn identity(&self) -> PathBuf {
        self.path.join("identity")
    }

    /// Where the metadata store is.
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Where the agent's local API listens.
    pub fn socket(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// Where an agent that was started in the background logs to.
    pub fn log(&self) -> PathBuf {
        self.path.join("agent.log")
    }

    fn settings_file(&self) -> PathBuf {
        self.path.join("settings.toml")
    }

    /// Reads the settings; those of a home that was never used are empty.
    ///
    /// # Errors
    /// [`Error::Settings`], [`Error::Newer`], [`Error::Io`].
    pub fn settings(&self) -> Result<Settings, Error> {
        let path = self.settings_file();
        match std::fs::read_to_string(&path) {
            Ok(text) => Settings::from_text(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Settings::default()),
            Err(source) => Err(Error::Io { action: "read", path, source }),
        }
    }

    /// Takes the home for this process, making it where it is not there.
    ///
    /// # Errors
    /// [`Error::Held`] when another process has it; [`Error::Io`].
    pub fn lock(&self) -> Result<Locked, Error> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(Error::io("create", &self.path))?;
        let path = self.lock_path();
        let lock = Lock::take(&path).map_err(Error::io("lock", &path))?;
        let lock = lock.map_err(|holder| self.held_by(holder))?;
        // What is in here is for this user alone, whatever the directory was made with.
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o700))
            .map_err(Error::io("protect", &self.path))?;
        Ok(Locked { home: self.clone(), _lock: lock })
    }

    /// Whether some process holds the home right now, and which one if it says so.
    ///
    /// # Errors
    /// [`Error::Io`] when the lock cannot be looked at.
    pub fn holder(&self) -> Result<Option<Holder>, Error> {
        let path = self.lock_path();
        lock::holder(&path).map_err(Error::io("look at", &path))
    }

    /// That this one has the home.
    pub fn held_by(&self, holder: Holder) -> Error {
        Error::Held { home: self.path.clone(), process: holder.pid }
    }

    fn lock_path(&self) -> PathBuf {
        self.path.join("agent.lock")
    }
}

/// A home that this process holds; it is free again when this is dropped.
#[derive(Debug)]
pub struct Locked {
    home: Home,
    _lock: Lock,
}

impl Locked {
    /// The home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Writes the settings.
    ///
    /// # Durability
    /// The old settings or the new ones are there after a crash; the new ones once this has returned.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, settings: &Settings) -> Result<(), Error> {
        let path = self.home.settings_file();
        quics_kit::data::write_atomic(&path, settings.to_text().as_bytes(), 0o600).map_err(|error| match error {
            quics_kit::data::Error::Io { source, .. } => Error::Io { action: "write", path, source },
            other => Error::Io { action: "write", path, source: io::Error::other(other) },
        })
    }

    /// Forgets identity, state and links. The settings are the caller's to save first.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn forget(&self) -> Result<(), Error> {
        for path in [self.home.identity(), self.home.state(), self.home.links()] {
            match std::fs::remove_dir_all(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Io { action: "remove", path, source }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path().join("h"))).unwrap();
        assert_eq!(home.holder().unwrap(), None);
        let first = home.lock().unwrap();
        let second = home.lock().unwrap_err();
        assert!(matches!(second, Error::Held { process: Some(id), .. } if id == std::process::id()), "{second}");
        assert_eq!(home.holder().unwrap(), Some(Holder { pid: Some(std::process::id()) }));
        drop(first);
        assert_eq!(home.holder().unwrap(), None);
        home.lock().unwrap();
    }

    #[test]
    fn a_home_is_closed_to_other_users() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path().join("a/b"))).unwrap();
        home.lock().unwrap();
        let mode = std::fs::metadata(home.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn looking_at_settings_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path().join("h"))).unwrap();
        assert_eq!(home.settings().unwrap(), Settings::default());
        assert!(!home.path().exists());
    }

    #[test]
    fn saved_settings_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::find(Some(dir.path().join("h"))).unwrap();
        let settings = settings::sample();
        home.lock().unwrap().save(&settings).unwrap();
        assert_eq!(home.settings().unwrap(), settings);
    }
}

//! What the agent has to know when it starts, as `settings.toml`.
//!
//! Format 1. A reader refuses newer formats by name; unknown keys are refused too, so that nothing that somebody set
//! is silently without effect.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use quics_types::{DeviceId, LeaseId, Name, Role, RootId, UnitNames, UserId};
use serde::{Deserialize, Serialize};

use super::Error;

/// The format that this build writes.
const FORMAT: u32 = 1;

/// Everything that `settings.toml` holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whom this device belongs to; `None` before `join` and after `leave`.
    pub account: Option<Account>,
    /// The roots that are synced here.
    pub roots: Vec<RootEntry>,
}

/// This device's account at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// registry-svc's address, `host:port`, as the device was told it.
    pub server: String,
    /// sync-svc's address, `host:port`.
    pub sync: String,
    /// The device.
    pub device: DeviceId,
    /// What people call it.
    pub device_name: String,
    /// Its user.
    pub user: UserId,
    /// The user's name.
    pub user_name: String,
}

/// A root that is synced here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootEntry {
    /// The root.
    pub id: RootId,
    /// Its name on the server.
    pub name: String,
    /// The local directory, absolute.
    pub path: PathBuf,
    /// This device's lease for uploads into the root.
    pub lease: LeaseId,
    /// What the user may do with it, as the server said last.
    pub role: Role,
    /// Its unit directories, as it was made with.
    pub units: UnitNames,
    /// Nothing is sent or applied until the user says so.
    pub paused: bool,
}

impl Settings {
    /// Reads the text form.
    pub(super) fn from_text(text: &str, path: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Settings { path: path.to_owned(), reason };
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
        if head.format > FORMAT {
            return Err(Error::Newer { path: path.to_owned(), found: head.format, known: FORMAT });
        }
        let stored: Stored = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
        stored.read().map_err(wrong)
    }

    /// Gives the text form.
    pub(super) fn to_text(&self) -> String {
        let stored = Stored::of(self);
        let body = toml::to_string(&stored).unwrap_or_else(|error| unreachable!("plain tables serialise: {error}"));
        format!("# Written by quics; change it only while no agent runs.\n{body}")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<StoredAccount>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roots: Vec<StoredRoot>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredAccount {
    server: String,
    sync: String,
    device_id: String,
    device_name: String,
    user_id: String,
    user_name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRoot {
    id: String,
    name: String,
    path: StoredBytes,
    lease: String,
    role: StoredRole,
    units: Vec<StoredBytes>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    paused: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredRole {
    Reader,
    Writer,
    Owner,
}

impl From<Role> for StoredRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Reader => Self::Reader,
            Role::Writer => Self::Writer,
            Role::Owner => Self::Owner,
        }
    }
}

impl From<StoredRole> for Role {
    fn from(role: StoredRole) -> Self {
        match role {
            StoredRole::Reader => Role::Reader,
            StoredRole::Writer => Role::Writer,
            StoredRole::Owner => Role::Owner,
        }
    }
}

/// Paths and names are bytes; what is not UTF-8 is written in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredBytes {
    Text(String),
    Bytes { hex: String },
}

impl StoredBytes {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes { hex: data_encoding::HEXLOWER.encode(bytes) },
        }
    }

    fn read(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Bytes { hex } => data_encoding::HEXLOWER.decode(hex.as_bytes()).map_err(|error| error.to_string()),
        }
    }
}

impl Stored {
    fn of(settings: &Settings) -> Self {
        let account = settings.account.as_ref().map(|account| StoredAccount {
            server: account.server.clone(),
            sync: account.sync.clone(),
            device_id: account.device.to_string(),
            device_name: account.device_name.clone(),
            user_id: account.user.to_string(),
            user_name: account.user_name.clone(),
        });
        let roots = settings.roots.iter().map(|root| StoredRoot {
            id: root.id.to_string(),
            name: root.name.clone(),
            path: StoredBytes::of(root.path.as_os_str().as_bytes()),
            lease: root.lease.to_string(),
            role: root.role.into(),
            units: root.units.iter().map(|name| StoredBytes::of(name.as_bytes())).collect(),
            paused: root.paused,
        });
        Self { format: FORMAT, account, roots: roots.collect() }
    }

    fn read(self) -> Result<Settings, String> {
        let id = |error: quics_types::Error| error.to_string();
        let account = match self.account {
            None => None,
            Some(account) => Some(Account {
                server: account.server,
                sync: account.sync,
                device: account.device_id.parse().map_err(id)?,
                device_name: account.device_name,
                user: account.user_id.parse().map_err(id)?,
                user_name: account.user_name,
            }),
        };
        let mut roots = Vec::with_capacity(self.roots.len());
        for root in self.roots {
            let path = PathBuf::from(OsString::from_vec(root.path.read()?));
            if !path.is_absolute() {
                return Err(format!("the directory of root {} is not absolute", crate::text::line(&root.name)));
            }
            let units = root.units.into_iter().map(|name| Name::new(name.read()?).map_err(id));
            let units = units.collect::<Result<Vec<_>, _>>()?;
            roots.push(RootEntry {
                id: root.id.parse().map_err(id)?,
                name: root.name,
                path,
                lease: root.lease.parse().map_err(id)?,
                role: root.role.into(),
                units: UnitNames::new(units).map_err(id)?,
                paused: root.paused,
            });
        }
        Ok(Settings { account, roots })
    }
}

#[cfg(test)]
pub(super) fn sample() -> Settings {
    Settings {
        account: Some(Account {
            server: "srv:6121".into(),
            sync: "srv:6122".into(),
            device: DeviceId::from_bytes([1; 16]),
            device_name: "laptop".into(),
            user: UserId::from_bytes([2; 16]),
            user_name: "ann".into(),
        }),
        roots: vec![
            RootEntry {
                id: RootId::from_bytes([3; 16]),
                name: "doc".into(),
                path: "/home/ann/doc".into(),
                lease: LeaseId::from_bytes([4; 16]),
                role: Role::Owner,
                units: UnitNames::default(),
                paused: false,
            },
            RootEntry {
                id: RootId::from_bytes([5; 16]),
                name: "odd".into(),
                path: PathBuf::from(OsString::from_vec(b"/home/ann/\xff".to_vec())),
                lease: LeaseId::from_bytes([6; 16]),
                role: Role::Reader,
                units: UnitNames::from_bytes([&b".bundle"[..], b"\xff"].map(bytes::Bytes::from_static)).unwrap(),
                paused: true,
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_one_text_form() {
        let golden = "\
# Written by quics; change it only while no agent runs.
format = 1

[account]
server = \"srv:6121\"
sync = \"srv:6122\"
device_id = \"01010101010101010101010101010101\"
device_name = \"laptop\"
user_id = \"02020202020202020202020202020202\"
user_name = \"ann\"

[[roots]]
id = \"03030303030303030303030303030303\"
name = \"doc\"
path = \"/home/ann/doc\"
lease = \"04040404040404040404040404040404\"
role = \"owner\"
units = [\".bzr\", \".git\", \".hg\", \".jj\", \".svn\", \"_darcs\"]

[[roots]]
id = \"05050505050505050505050505050505\"
name = \"odd\"
lease = \"06060606060606060606060606060606\"
role = \"reader\"
units = [\".bundle\", { hex = \"ff\" }]
paused = true

[roots.path]
hex = \"2f686f6d652f616e6e2fff\"
";
        let settings = sample();
        assert_eq!(settings.to_text(), golden);
        assert_eq!(Settings::from_text(golden, Path::new("s")).unwrap(), settings);
    }

    #[test]
    fn settings_of_a_newer_quics_are_refused_by_name() {
        let error = Settings::from_text("format = 2\nnovel = 1\n", Path::new("s")).unwrap_err();
        assert!(matches!(error, Error::Newer { found: 2, known: 1, .. }), "{error}");
    }

    #[test]
    fn damaged_settings_are_an_error_and_not_an_empty_home() {
        for text in ["", "format = ", "format = 1\nstray = 2\n", "format = 1\n[account]\nserver = \"x\"\n"] {
            assert!(matches!(Settings::from_text(text, Path::new("s")), Err(Error::Settings { .. })), "{text:?}");
        }
    }
}

//! A home of its own for each test, and the program run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use quics_client::home::{Account, Home, RootEntry, Settings};
use quics_types::{DeviceId, LeaseId, Role, RootId, UnitNames, UserId};

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Asserts a failure with one sentence on stderr, which holds these words, and nothing on stdout.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {self:?}");
        }
        assert_eq!(self.err.trim_end().lines().count(), 1, "one sentence: {self:?}");
        assert!(self.err.starts_with("quics: "), "{self:?}");
    }
}

/// A directory of a test, with a home in it.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quics"));
        command.args(args).env_clear().env("QUICS_HOME", self.home()).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        read(self.command(args).output().unwrap())
    }

    /// Runs it with a line on stdin.
    pub(crate) fn run_with(&self, args: &[&str], line: &str) -> Ran {
        use std::io::Write as _;

        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // It may end without reading.
        let _ = writeln!(child.stdin.take().unwrap(), "{line}");
        read(child.wait_with_output().unwrap())
    }

    /// Makes the home one that has joined a server where nobody answers.
    pub(crate) fn join_nobody(&self) {
        let (identity, device) = crate::server::identity();
        let home = Home::find(Some(self.home())).unwrap();
        let locked = home.lock().unwrap();
        identity.store(&home.identity()).unwrap();
        let account = Account {
            // Port 1 is nobody's.
            server: "127.0.0.1:1".into(),
            sync: "127.0.0.1:1".into(),
            device: DeviceId::from_bytes(device),
            device_name: "laptop".into(),
            user: UserId::from_bytes([2; 16]),
            user_name: "ann".into(),
        };
        locked.save(&Settings { account: Some(account), roots: Vec::new() }).unwrap();
    }
}

impl World {
    /// Has it sync a root whose folder is gone.
    pub(crate) fn attach_lost(&self, name: &str) {
        let home = Home::find(Some(self.home())).unwrap();
        let mut settings = home.settings().unwrap();
        settings.roots.push(RootEntry {
            id: RootId::from_bytes([5; 16]),
            name: name.into(),
            path: self.path(name),
            lease: LeaseId::from_bytes([6; 16]),
            role: Role::Owner,
            units: UnitNames::default(),
            paused: false,
        });
        home.lock().unwrap().save(&settings).unwrap();
    }
}

fn read(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Everything below a directory, with contents.
pub(crate) fn picture(path: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut list = Vec::new();
    let Ok(members) = std::fs::read_dir(path) else { return list };
    for member in members {
        let path = member.unwrap().path();
        if path.is_dir() {
            list.push((path.clone(), None));
            list.extend(picture(&path));
        } else {
            list.push((path.clone(), std::fs::read(&path).ok()));
        }
    }
    list.sort();
    list
}

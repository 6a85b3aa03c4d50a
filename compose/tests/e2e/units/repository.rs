//! Repositories to be synced, and what is true of a whole one.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use quics_stack::harness::{
    tree::{self, Node},
    wait,
};

use crate::support::PATIENCE;

/// Commits of a new repository that lie in its pack; the others lie loose.
const PACKED: u32 = 190;
const LOOSE: u32 = 10;

/// A repository with its working files.
#[derive(Debug, Clone)]
pub(crate) struct Repository(pub(crate) PathBuf);

impl Repository {
    /// Makes one of about 200 commits, with a pack, loose objects, a hook, and directories that are empty.
    pub(crate) fn make(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let repository = Self(at.to_owned());
        repository.git(&["init", "-q", "-b", "main"]);
        let mut stream = String::new();
        for number in 1..=PACKED {
            let (message, content) = (format!("commit {number}\n"), format!("round {number}\n"));
            let file = number % 7;
            let when = 1_700_000_000 + number;
            write!(stream, "commit refs/heads/main\ncommitter t <t@example.org> {when} +0000\n").unwrap();
            write!(stream, "data {}\n{message}", message.len()).unwrap();
            write!(stream, "M 100644 inline file{file}\ndata {}\n{content}", content.len()).unwrap();
        }
        let mut import = command(at, &["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
        import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
        assert!(import.wait().unwrap().success());
        repository.git(&["reset", "-q", "--hard"]);
        for number in 1..=LOOSE {
            repository.commit("loose", &format!("loose {number}"));
        }
        let hook = at.join(".git/hooks/pre-push");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!names(&at.join(".git/objects/pack")).is_empty(), "a pack");
        assert_eq!(names(&at.join(".git/refs/tags")), [""; 0], "a directory that is empty");
        repository
    }

    /// The same repository in another folder.
    pub(crate) fn at(folder: &Path, name: &str) -> Self {
        Self(folder.join(name))
    }

    /// Its unit.
    pub(crate) fn unit(&self) -> PathBuf {
        self.0.join(".git")
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        run(&self.0, arguments)
    }

    /// Changes a file and commits everything; gives the commit.
    pub(crate) fn commit(&self, file: &str, content: &str) -> String {
        fs::write(self.0.join(file), content).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", content]);
        self.head()
    }

    /// The same, where the repository may change under git's feet: git refuses then, and a later one goes through.
    pub(crate) fn try_commit(&self, file: &str, content: &str) {
        fs::write(self.0.join(file), content).unwrap();
        for arguments in [&["add", "-A"][..], &["commit", "-q", "-m", content]] {
            let output = command(&self.0, arguments).output().unwrap();
            if !output.status.success() {
                return;
            }
        }
    }

    /// The commit that is checked out; empty while there is none to be read.
    pub(crate) fn head(&self) -> String {
        head(&self.unit())
    }

    /// Whole, and at this commit.
    #[track_caller]
    pub(crate) fn is_whole_at(&self, commit: &str) {
        fsck(&self.unit());
        assert_eq!(self.head(), commit, "{}", self.0.display());
    }
}

/// Checks everything in a repository's own directory, wherever it lies.
#[track_caller]
pub(crate) fn fsck(unit: &Path) {
    let output = command(Path::new("/"), &["--git-dir", unit.to_str().unwrap(), "fsck", "--full", "--strict"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}: {output:?}\n{:#?}", unit.display(), contents(unit));
}

/// The commit of a repository's own directory; empty while there is none to be read.
pub(crate) fn head(unit: &Path) -> String {
    let output =
        command(Path::new("/"), &["--git-dir", unit.to_str().unwrap(), "rev-parse", "--verify", "HEAD"]).output();
    let output = output.unwrap();
    if output.status.success() { String::from_utf8(output.stdout).unwrap().trim().to_owned() } else { String::new() }
}

/// Everything in a directory that is one thing, but for what is no part of it; nothing where there is no directory.
pub(crate) fn contents(unit: &Path) -> BTreeMap<PathBuf, Node> {
    // It may change places with another while it is read.
    let read = || if unit.is_dir() { tree::read(unit) } else { Ok(BTreeMap::new()) };
    let all = wait::until(&format!("{} to be read", unit.display()), PATIENCE, read)
        .unwrap()
        .into_iter()
        .map(|(path, node)| (path, node.in_a_unit()));
    all.filter(|(_, node)| *node != Node::Special).collect()
}

fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn run(at: &Path, arguments: &[&str]) -> String {
    let output = command(at, arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Git without anybody's settings, without work in the background, and so that looking writes nothing.
fn command(at: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    for setting in
        ["user.name=t", "user.email=t@example.org", "commit.gpgsign=false", "gc.auto=0", "maintenance.auto=false"]
    {
        command.args(["-c", setting]);
    }
    command.args(arguments).current_dir(at).stdin(Stdio::null());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_OPTIONAL_LOCKS", "0");
    command
}

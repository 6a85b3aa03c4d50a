//! What the tests have in common: two devices with one folder, and ways to fill and look at it.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, UNIX_EPOCH},
};

use quics_stack::harness::{
    Device, Program, Scratch, Stack, printed,
    tree::{self, Node},
    wait,
};

/// How long a change may take to arrive before a test gives up; far more than it needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) fn program() -> Program {
    Program::at(Path::new(env!("CARGO_BIN_EXE_quics-stack")))
}

/// A new server.
pub(crate) fn stack() -> Stack {
    Stack::start(&program()).expect("the server starts")
}

/// Two devices that have a folder in common.
pub(crate) struct Pair {
    // Fields are dropped in this order: the devices end before the server does.
    pub(crate) left: Device,
    pub(crate) right: Device,
    pub(crate) here: PathBuf,
    pub(crate) there: PathBuf,
    pub(crate) stack: Stack,
}

impl Pair {
    /// Two devices with an empty folder.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// Two devices with a folder that `fill` fills before it is shared.
    pub(crate) fn with(fill: impl FnOnce(&Path)) -> Self {
        Self::on_stack(stack(), fill)
    }

    /// Two devices whose files lie on a disk and not in memory: for sizes that memory has no room for.
    pub(crate) fn on_disk() -> Self {
        let scratch = Scratch::below(&env::temp_dir()).expect("there is a directory for temporary files");
        Self::on_stack(Stack::start_in(&program(), scratch).expect("the server starts"), |_| {})
    }

    /// Two devices of a server, with a folder that `fill` fills before it is shared.
    pub(crate) fn on_stack(stack: Stack, fill: impl FnOnce(&Path)) -> Self {
        let pair = Self::added_with(stack, &[], fill);
        pair.settle();
        pair
    }

    /// Two devices of a server, with a folder that is added with these arguments and, perhaps, not everywhere yet.
    pub(crate) fn added_with(stack: Stack, arguments: &[&str], fill: impl FnOnce(&Path)) -> Self {
        let left = Device::join(&stack, "left").expect("the first device joins");
        let right = Device::join(&stack, "right").expect("the second device joins");
        let here = stack.dir("left/docs").unwrap();
        fill(&here);
        let there = stack.path().join("right/docs");
        let add = ["add", here.to_str().expect("a path that is text")];
        left.quics(add.iter().chain(arguments)).expect("the folder is added");
        right.clone_root("docs", &there).expect("the folder is cloned");
        Self { left, right, here, there, stack }
    }

    /// A path in the first device's folder.
    pub(crate) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.here.join(name)
    }

    /// A path in the second device's folder.
    pub(crate) fn on(&self, name: impl AsRef<Path>) -> PathBuf {
        self.there.join(name)
    }

    /// Waits until both devices have what the first one has now, and checks that it still has it.
    pub(crate) fn settle(&self) {
        self.settle_within(PATIENCE);
    }

    /// The same, with a limit.
    pub(crate) fn settle_within(&self, patience: Duration) {
        shows(&self.here, &self.there, patience);
        self.in_sync();
    }

    /// Waits until both devices have what the second one has now, and checks that it still has it.
    pub(crate) fn settle_backwards(&self) {
        shows(&self.there, &self.here, PATIENCE);
        self.in_sync();
    }

    /// Both devices say that they are in sync, and nothing waits for a person.
    pub(crate) fn in_sync(&self) {
        self.left.wait_in_sync().expect("the first device is in sync");
        self.right.wait_in_sync().expect("the second device is in sync");
    }

    /// Waits until both folders are equal, whatever they hold, and both devices are at rest.
    pub(crate) fn converge(&self) {
        self.in_sync();
        tree::wait_equal(&self.here, &self.there, PATIENCE).expect("both folders become equal");
    }
}

/// Ann, another user, with a device that has the pair's folder.
pub(crate) struct Ann {
    pub(crate) device: Device,
    pub(crate) folder: PathBuf,
}

impl Ann {
    /// Makes her a member with this role.
    pub(crate) fn of(pair: &Pair, role: &str) -> Self {
        let stack = &pair.stack;
        printed(stack.command(&["user", "add", "ann"]), PATIENCE).expect("a user is made");
        let ticket = printed(stack.command(&["ticket", "--user", "ann"]), PATIENCE).expect("a ticket is given");
        let mut device = Device::new(stack, "anns").expect("a device is made");
        device.quics(["join", ticket.trim(), "--name", "anns"]).expect("her device joins");
        device.start_agent().expect("her agent starts");
        Self::role(pair, role);
        let folder = stack.path().join("ann/docs");
        device.clone_root("docs", &folder).expect("she has the folder");
        Self { device, folder }
    }

    /// Gives her another role, or takes it from her (`none`).
    pub(crate) fn role(pair: &Pair, role: &str) {
        printed(pair.stack.command(&["member", "docs", "ann", role]), PATIENCE).expect("her role is set");
    }
}

/// Waits until `to` shows what `from` holds now, then checks that nothing changed `from` meanwhile.
pub(crate) fn shows(from: &Path, to: &Path, patience: Duration) {
    let wanted = tree::read(from).expect("the folder can be read");
    shows_tree(&wanted, to, patience);
    tree::compare(&wanted, &tree::read(from).expect("the folder can be read"))
        .expect("nothing changed where it came from");
}

/// Waits until `to` shows `wanted`.
pub(crate) fn shows_tree(wanted: &BTreeMap<PathBuf, Node>, to: &Path, patience: Duration) {
    wait::until(&format!("{} to show all", to.display()), patience, || tree::compare(wanted, &tree::read(to)?))
        .expect("all arrives");
}

/// Waits for something that a test can see.
pub(crate) fn until(what: &str, condition: impl FnMut() -> bool) {
    wait::until_true(what, PATIENCE, condition).expect("it happens");
}

/// The bytes of a file, or nothing where there is none (yet).
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Writes bytes that no compression makes smaller, never the same twice.
pub(crate) fn write_random(path: &Path, bytes: u64) {
    let mut source = File::open("/dev/urandom").unwrap().take(bytes);
    io::copy(&mut source, &mut File::create(path).unwrap()).unwrap();
}

/// Appends to a file.
pub(crate) fn append(path: &Path, bytes: &[u8]) {
    File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// Sets a file's modification time to a whole second and some nanoseconds since 1970.
pub(crate) fn set_mtime(path: &Path, seconds: u64, nanoseconds: u32) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::new(seconds, nanoseconds)).unwrap();
}

/// Whether tests that move gigabytes are asked for; says so where they are not.
pub(crate) fn heavy(test: &str) -> bool {
    let asked = env::var_os("QUICS_HEAVY").is_some();
    if !asked {
        loudly(&format!("SKIPPED {test}: it moves gigabytes; set QUICS_HEAVY=1"));
    }
    asked
}

/// Whether a tool that a test uses is there; says so where it is not.
pub(crate) fn has(tool: &str, test: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let there = command.status().is_ok();
    if !there {
        missing(tool, test);
    }
    there
}

/// Where something lies that a test uses and that no package of the system brings: an environment variable says so.
pub(crate) fn given(variable: &str, tool: &str, test: &str) -> Option<PathBuf> {
    let given = env::var_os(variable).map(PathBuf::from);
    if given.is_none() {
        missing(tool, &format!("{test} ({variable} does not say where it is)"));
    }
    given
}

/// Says that a test is skipped, which fails where all that could run has to.
fn missing(tool: &str, test: &str) {
    let known = env::var("QUICS_WITHOUT").is_ok_and(|tools| tools.split(' ').any(|missing| missing == tool));
    let may_skip = known || env::var_os("QUICS_NO_SKIP").is_none();
    assert!(may_skip, "{test} needs {tool}, which is not installed");
    loudly(&format!("SKIPPED {test}: {tool} is not installed"));
}

/// Checks that a command was refused as it should be, and that its one sentence has these words.
pub(crate) fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success(),
        "it should have been refused; it printed {}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(output.stdout.is_empty(), "a refusal has no result: {}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(said.trim().lines().count(), 1, "one sentence: {said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.to_lowercase().contains(word), "it should speak of {word:?}: {said}");
    }
}

/// Says something past the capture of tests' output.
pub(crate) fn loudly(what: &str) {
    // Where standard error is gone nobody reads it.
    let _ = writeln!(io::stderr(), "!!! {what}");
}

/// Runs a tool that has to succeed, in a directory, and returns what it printed.
pub(crate) fn tool(directory: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}{said}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

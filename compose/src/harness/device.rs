//! A device: a home, an agent as a process of its own, and the commands that a person would type.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    program::{Daemon, Program, output, printed},
    server::Stack,
    terminal::Terminal,
    wait,
};

/// How long a command that only asks or tells has.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a device has to be in sync, unless a test says otherwise.
const SYNC: Duration = Duration::from_secs(120);

/// How long an agent has to end when its test is over.
const STOP: Duration = Duration::from_secs(10);

/// A device of a test. Its agent is ended when this is dropped.
#[derive(Debug)]
pub struct Device {
    program: Program,
    name: String,
    home: PathBuf,
    log: PathBuf,
    agent: Option<Daemon>,
}

impl Device {
    /// Joins a new device to the server and starts its agent.
    ///
    /// # Errors
    /// When joining fails or the agent does not start.
    pub fn join(stack: &Stack, name: &str) -> Result<Self> {
        let mut device = Self::new(stack, name)?;
        let ticket = stack.ticket()?;
        device.quics(["join", ticket.as_str(), "--name", name])?;
        device.start_agent()?;
        Ok(device)
    }

    /// A device that knows no server yet and whose agent does not run.
    ///
    /// # Errors
    /// When its directory cannot be made.
    pub fn new(stack: &Stack, name: &str) -> Result<Self> {
        let home = stack.path().join("homes").join(name);
        let log = stack.dir("logs")?.join(format!("{name}.log"));
        Ok(Self { program: stack.program().clone(), name: name.to_owned(), home, log, agent: None })
    }

    /// Runs its commands, and its agent once that is started anew, by another program: one with other variables.
    pub fn run_by(&mut self, program: Program) {
        self.program = program;
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where its agent logs.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The `quics` command for this device, not started yet.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let head = [OsString::from("quics"), OsString::from("--home"), self.home.clone().into_os_string()];
        let tail = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        self.program.command(head.into_iter().chain(tail))
    }

    /// Runs a `quics` command for this device and returns how it ended and what it said.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Output> {
        output(self.command(arguments), PATIENCE)
    }

    /// Runs a `quics` command for this device, which has to succeed, and returns what it printed.
    ///
    /// # Errors
    /// When it fails; what it said.
    pub fn quics<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        printed(self.command(arguments), PATIENCE)
    }

    /// Runs a `quics` command that prints JSON.
    ///
    /// # Errors
    /// When it fails, or prints something else.
    pub fn json<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<serde_json::Value> {
        let text = self.quics(arguments)?;
        serde_json::from_str(&text).with_context(|| format!("this is no JSON: {text}"))
    }

    /// Starts a `quics` command for this device at a terminal, where somebody reads and types.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn at_terminal<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Terminal> {
        Terminal::start(&self.command(arguments))
    }

    /// Starts the agent and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer.
    pub fn start_agent(&mut self) -> Result<()> {
        ensure!(self.agent.is_none(), "the agent of {} runs already", self.name);
        let mut command = self.program.command(["internal", "quics", "--home"]);
        command.arg(&self.home).args(["agent", "run"]).envs(quics_kit::allocator::settings());
        let mut agent = Daemon::start(command, &self.log)?;
        let answers = wait::until(&format!("the agent of {} to answer", self.name), PATIENCE, || {
            if let Err(error) = agent.check() {
                return Ok(Err(error.context(format!("the agent of {} did not start", self.name))));
            }
            self.answers().map(Ok)
        })?;
        answers?;
        self.agent = Some(agent);
        Ok(())
    }

    /// Asks the agent to end, as a user's shutdown would, and waits for it.
    ///
    /// # Errors
    /// When it does not run or does not end.
    pub fn stop_agent(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("no agent runs")?;
        let status = agent.stop(PATIENCE)?;
        ensure!(status.success(), "the agent of {} did not end in good order ({status})", self.name);
        Ok(())
    }

    /// Kills the agent without warning.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.agent.take().context("no agent runs")?.kill()
    }

    /// The process of the agent.
    ///
    /// # Errors
    /// When it does not run.
    pub fn agent_pid(&self) -> Result<u32> {
        self.agent.as_ref().map(Daemon::pid).context("no agent runs")
    }

    /// Makes a root out of `directory`, with the directory's name.
    ///
    /// # Errors
    /// When the agent refuses.
    pub fn add(&self, directory: &Path) -> Result<()> {
        self.quics([OsStr::new("add"), directory.as_os_str()]).map(drop)
    }

    /// Attaches the root `name` at `directory`, below a directory that is made where it is missing.
    ///
    /// # Errors
    /// When the agent refuses.
    pub fn clone_root(&self, name: &str, directory: &Path) -> Result<()> {
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        self.quics([OsStr::new("clone"), OsStr::new(name), directory.as_os_str()]).map(drop)
    }

    /// Waits until this device and the server agree about everything that was there when it was asked.
    ///
    /// # Errors
    /// When that takes too long, or when something waits for a person.
    pub fn wait_in_sync(&self) -> Result<()> {
        self.wait_in_sync_within(SYNC)
    }

    /// The same, with a limit.
    ///
    /// # Errors
    /// When that takes longer than `patience`, or when something waits for a person.
    pub fn wait_in_sync_within(&self, patience: Duration) -> Result<()> {
        printed(self.command(["status", "--wait"]), patience)
            .map(drop)
            .with_context(|| format!("{} is not in sync", self.name))
    }

    /// What `quics status --json` says.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn status(&self) -> Result<serde_json::Value> {
        self.json(["status", "--json"])
    }

    /// What `quics conflicts` says.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn conflicts(&self) -> Result<String> {
        const SOME: i32 = 3;
        let output = self.run(["conflicts"])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            matches!(output.status.code(), Some(0 | SOME)),
            "`quics conflicts` failed ({}): {said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(said)
    }

    fn answers(&self) -> Result<()> {
        self.quics(["status", "--json"]).map(drop)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // In good order, so that the server need not wait for a device that is silent; else its own drop kills it.
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.stop(STOP);
        }
    }
}

//! Processes of the product: commands that end by themselves, and ones that run until they are told to end.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{process, scratch, wait};

/// The program that holds all others.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    variables: Vec<(OsString, OsString)>,
}

impl Program {
    /// Names the file of `quics-stack`.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), variables: Vec::new() }
    }

    /// This process's own program, where that is `quics-stack`.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn own() -> Result<Self> {
        Ok(Self::at(&std::env::current_exe().context("find this program's own file")?))
    }

    /// The same program with one more variable in its environment.
    #[must_use]
    pub fn with(mut self, variable: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((variable.into(), value.into()));
        self
    }

    /// A command that starts it with `arguments`, with none of the variables that would lead it to other data or
    /// to this computer's desktop.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments);
        // Variables would lead it to other data and ports; what it logs may still be asked for.
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if name.starts_with("QUICS_") && name != "QUICS_LOG" {
                command.env_remove(&variable);
            }
        }
        // Whoever sits at this computer is not told of the conflicts of a test.
        command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
        command.envs(self.variables.iter().map(|(variable, value)| (variable, value)));
        command
    }
}

/// Runs a command to its end, without input.
///
/// # Errors
/// When it cannot be started, or has not ended after `patience`; it is killed then.
pub fn output(command: Command, patience: Duration) -> Result<Output> {
    feed(command, b"", patience)
}

/// Runs a command to its end with some input.
///
/// # Errors
/// As [`output`].
pub fn feed(mut command: Command, input: &[u8], patience: Duration) -> Result<Output> {
    let told = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {told}"))?;
    if let Some(mut standard_input) = child.stdin.take() {
        // A command that does not read its input may have ended already.
        let _ = standard_input.write_all(input);
    }
    let pid = child.id();
    let (send, receive) = std::sync::mpsc::channel();
    // Reads both pipes while the process runs: none can fill up and block it.
    let reader = std::thread::spawn(move || send.send(child.wait_with_output()));
    let ended = receive.recv_timeout(patience);
    if ended.is_err() {
        // It may end at this very moment; then there is nothing to kill.
        let _ = process::kill(pid);
    }
    let late = ended.is_err();
    let output = match ended {
        Ok(output) => output,
        Err(_) => receive.recv().with_context(|| format!("{told} cannot be killed"))?,
    };
    // The thread has sent its only message and is at its end.
    let _ = reader.join();
    let output = output.with_context(|| format!("run {told}"))?;
    if late {
        bail!("{told} did not end within {patience:?}; it said: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output)
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// As [`output`]; and when it ends with another exit code than 0: what it said.
pub fn printed(command: Command, patience: Duration) -> Result<String> {
    let told = format!("{command:?}");
    let output = output(command, patience)?;
    if !output.status.success() {
        bail!(
            "{told} failed ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A process that runs until it is told to end; killed when this is dropped. It has a process group of its own and a
/// lifeline (its standard input), so that it ends with this process however that ends.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; what it prints goes to the end of the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("open {}", log.display()))?;
        command.env("NO_COLOR", "1").process_group(0);
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// How it ended, and the end of what it printed.
    pub fn check(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("it ended ({status}); it said last:\n{}", scratch::tail(&self.log, 4096)),
        }
    }

    /// Kills it without warning and waits for its end.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// When it has not ended after `patience`.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        if self.ended()?.is_none() {
            process::terminate(self.pid())?;
        }
        let deadline = Instant::now() + patience;
        let pid = self.pid();
        wait::until(&format!("process {pid} to end"), deadline.saturating_duration_since(Instant::now()), || {
            self.ended()?.context("it runs")
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nothing is left to do where this fails.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Program::at(Path::new("/bin/sh")).command(["-c", script])
    }

    #[test]
    fn a_command_that_does_not_end_is_killed() {
        let error = output(shell("echo here >&2; exec sleep 600"), Duration::from_millis(300)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
    }

    #[test]
    fn a_command_that_fails_tells_what_it_said() {
        let error = printed(shell("echo why >&2; exit 3"), wait::PATIENCE).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
        assert_eq!(printed(shell("seq 100000 | tail -n 1"), wait::PATIENCE).unwrap().trim(), "100000");
    }

    #[test]
    fn a_daemon_that_ended_tells_what_it_said_last() {
        let scratch = scratch::Scratch::new().unwrap();
        let mut daemon = Daemon::start(shell("echo last words; exit 1"), &scratch.path().join("log")).unwrap();
        let told = wait::until_true("its end", wait::PATIENCE, || daemon.check().is_err());
        told.unwrap();
        assert!(daemon.check().unwrap_err().to_string().contains("last words"));
    }

    #[test]
    fn a_daemon_reads_the_end_of_its_lifeline_when_this_process_lets_go() {
        let scratch = scratch::Scratch::new().unwrap();
        let mut daemon = Daemon::start(shell("cat; exit 7"), &scratch.path().join("log")).unwrap();
        assert!(daemon.ended().unwrap().is_none());
        drop(daemon.child.stdin.take());
        let status = wait::until("its end", wait::PATIENCE, || daemon.ended()?.context("it runs")).unwrap();
        assert_eq!(status.code(), Some(7));
    }
}

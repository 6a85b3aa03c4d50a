//! One process of a service: started in a group of its own, so that a terminal's Ctrl-C reaches the supervisor alone,
//! and with a lifeline, so that it ends with the supervisor.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use quics_kit::{names::Service, service::Ready};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{ChildStdin, Command},
    time::{Instant, interval},
};

use super::ServicePlan;

/// How often the file that tells readiness is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// The end of a log that is searched for last words, in bytes.
const TAIL: u64 = 16 << 10;

/// Where the log of a service goes.
#[derive(Debug, Clone)]
pub enum Log {
    /// To the supervisor's standard error.
    Inherited,
    /// To the end of this file.
    File(PathBuf),
}

/// How a process ended.
#[derive(Debug)]
pub(super) struct Ended(ExitStatus);

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(formatter, "it ended with exit code {code}"),
            (None, Some(signal)) => write!(formatter, "it was ended by signal {signal}"),
            (None, None) => formatter.write_str("it ended"),
        }
    }
}

/// A running process of a service.
#[derive(Debug)]
pub(super) struct Child {
    service: Service,
    process: tokio::process::Child,
    pid: u32,
    data: PathBuf,
    log: Option<(PathBuf, u64)>,
    _lifeline: Option<ChildStdin>,
}

impl Child {
    pub(super) fn spawn(plan: &ServicePlan) -> Result<Self> {
        let (stderr, log) = match &plan.log {
            Log::Inherited => (Stdio::inherit(), None),
            Log::File(path) => {
                let file = File::options().create(true).append(true).open(path);
                let file = file.with_context(|| format!("open the log {}", path.display()))?;
                let length = file.metadata()?.len();
                (Stdio::from(file), Some((path.clone(), length)))
            }
        };
        let mut process = Command::new(&plan.program)
            .args(&plan.arguments)
            // A log is read by tools as well.
            .env("NO_COLOR", "1")
            .envs(quics_kit::allocator::settings())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {} ({})", plan.service, plan.program.display()))?;
        let pid = process.id().ok_or_else(|| anyhow!("{} ended at once", plan.service))?;
        let lifeline = process.stdin.take();
        Ok(Self { service: plan.service, process, pid, data: plan.data.clone(), log, _lifeline: lifeline })
    }

    /// Waits until the process says that it serves.
    pub(super) async fn ready(&mut self, patience: Duration) -> Result<Ready> {
        let deadline = Instant::now() + patience;
        let mut looks = interval(LOOK);
        loop {
            tokio::select! {
                ended = self.process.wait() => {
                    let how = Ended(ended?);
                    let words = self.last_words();
                    return Err(anyhow!("{} did not start: {}", self.service, words.unwrap_or_else(|| how.to_string())));
                }
                _ = looks.tick() => {}
            }
            // A process that was killed left its file; this one's has this one's id.
            let ready = Ready::read(&self.data)?.filter(|ready| ready.pid == self.pid);
            if let Some(ready) = ready {
                return Ok(ready);
            }
            if Instant::now() >= deadline {
                return Err(anyhow!("{} was not ready after {patience:?}", self.service));
            }
        }
    }

    /// Waits until the process ends.
    pub(super) async fn ended(&mut self) -> io::Result<Ended> {
        self.process.wait().await.map(Ended)
    }

    /// Asks the process to end, and kills it where it has not after `grace`.
    pub(super) async fn end(&mut self, grace: Duration) {
        if self.process.id().is_some() {
            if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
                // It may have ended in between.
                let _ = kill_process(pid, Signal::TERM);
            }
            if tokio::time::timeout(grace, self.process.wait()).await.is_err() {
                // The same.
                let _ = self.process.kill().await;
            }
        }
    }

    /// The last line that the process logged, where it logs into a file.
    pub(super) fn last_words(&self) -> Option<String> {
        let (path, start) = self.log.as_ref()?;
        let mut file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start((*start).max(length.saturating_sub(TAIL)))).ok()?;
        let mut text = Vec::new();
        file.take(TAIL).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }
}

//! Looking at and ending processes by their id.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::wait;

/// Kills a process without warning (SIGKILL), as a crash would.
///
/// # Errors
/// When there is no such process.
pub fn kill(pid: u32) -> Result<()> {
    signal(pid, Signal::KILL)
}

/// Asks a process to end (SIGTERM).
///
/// # Errors
/// When there is no such process.
pub fn terminate(pid: u32) -> Result<()> {
    signal(pid, Signal::TERM)
}

/// Sends a signal to a process.
///
/// # Errors
/// When there is no such process.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    kill_process(id(pid)?, signal).with_context(|| format!("signal process {pid}"))
}

/// Whether a process runs; one that ended and was not collected by its parent counts as ended.
pub fn runs(pid: u32) -> bool {
    let zombie = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| state(&stat) == Some('Z'));
    id(pid).is_ok_and(|id| test_kill_process(id).is_ok()) && !zombie()
}

/// Waits until a process has ended.
///
/// # Errors
/// When it still runs after `patience`.
pub fn wait_ended(pid: u32, patience: Duration) -> Result<()> {
    wait::until_true(&format!("process {pid} to end"), patience, || !runs(pid))
}

/// How much memory a process has in use now, and had at most, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident now.
    pub now: u64,
    /// The most that was ever resident.
    pub peak: u64,
    /// The part of `now` that no file backs.
    pub anonymous: u64,
}

/// Reads how much memory a process uses.
///
/// # Errors
/// When there is no such process, or the system does not tell (Linux does).
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(Path::new(&path)).with_context(|| path.clone())?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_suffix("kB")?.trim().parse::<u64>().ok())
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| anyhow!("{path} has no {name}"))
    };
    Ok(Memory { now: field("VmRSS:")?, peak: field("VmHWM:")?, anonymous: field("RssAnon:")? })
}

/// Reads how much processor time a process has used so far, all its threads and the kernel's work for them together.
///
/// # Errors
/// When there is no such process, or the system does not tell (Linux does).
pub fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    // The times of user and system are the 14th and 15th field; the third one is the first behind the name.
    let ticks = |index: usize| fields.get(index - 3).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = ticks(14).zip(ticks(15)).ok_or_else(|| anyhow!("{path} has no times"))?;
    // Linux counts them in hundredths of a second on every machine, whatever its clock does (USER_HZ).
    Ok(Duration::from_millis((user + system) * 10))
}

fn id(pid: u32) -> Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| anyhow!("{pid} is no process id"))
}

/// The state in `/proc/PID/stat`: the field after the name, which stands in parentheses and may hold anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_killed_process_is_seen_to_end() {
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        assert!(runs(child.id()));
        kill(child.id()).unwrap();
        wait_ended(child.id(), wait::PATIENCE).unwrap();
        child.wait().unwrap();
        assert!(kill(child.id()).is_err());
    }

    #[test]
    fn this_process_uses_memory() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.now > 0 && memory.peak >= memory.now && memory.anonymous <= memory.now);
    }

    #[test]
    fn processor_time_grows_with_work() {
        let pid = std::process::id();
        let before = processor_time(pid).unwrap();
        let mut sum = 0_u64;
        wait::until_true("some work to be counted", wait::PATIENCE, || {
            sum = (0..1_000_000).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
            processor_time(pid).is_ok_and(|now| now > before)
        })
        .unwrap();
    }
}

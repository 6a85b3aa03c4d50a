//! A root of 100 000 files that were all changed is brought back: the preview, the commit, and when the device has it.
//!
//! ```text
//! cargo bench -p quics-stack --bench restore
//! ```
//!
//! Everything is timed from outside, by the command line: a preview with the start of its process and what it prints, and a
//! restore with a preview in it. The device works on what was committed while the rest still is. Then the files are compared.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use quics_kit::names::Service;
use quics_stack::harness::{Device, Program, Stack, printed, process, wait};

const DIRECTORIES: usize = 1000;
const FILES: usize = 100;
const PATIENCE: Duration = Duration::from_secs(900);

fn write(folder: &Path, what: &str) -> Result<()> {
    for directory in 0..DIRECTORIES {
        let directory = folder.join(format!("d{directory}"));
        fs::create_dir_all(&directory)?;
        for file in 0..FILES {
            fs::write(directory.join(format!("f{file}")), content(&directory, file, what))?;
        }
    }
    Ok(())
}

/// No two files have the same.
fn content(directory: &Path, file: usize, what: &str) -> String {
    format!("{} {file} {what}\n", directory.display())
}

fn main() -> Result<()> {
    println!("{} files, all of them changed, are brought back", DIRECTORIES * FILES);
    let stack = Stack::start(&Program::at(Path::new(env!("CARGO_BIN_EXE_quics-stack"))))?;
    let device = Device::join(&stack, "device")?;
    let folder = stack.dir("device/folder")?;
    let seq = || -> Result<u64> { Ok(stack.statistics()?.roots.first().map_or(0, |root| root.seq)) };
    write(&folder, "one")?;
    device.add(&folder)?;
    device.wait_in_sync_within(PATIENCE)?;
    let then = format!("#{}", seq()?);
    write(&folder, "two")?;
    device.wait_in_sync_within(PATIENCE)?;
    let path = folder.to_str().context("a path that is text")?;
    let now = format!("#{}", seq()?);
    wait::until_true("history-svc to know all", PATIENCE, || {
        device.run(["ls", path, "--at", &now]).is_ok_and(|output| output.status.success())
    })?;

    let timed = |arguments: &[&str]| -> Result<(f64, String)> {
        let begun = Instant::now();
        let said = printed(device.command(arguments), PATIENCE)?;
        Ok((begun.elapsed().as_secs_f64(), said))
    };
    let mut previews = Vec::new();
    for _ in 0..5 {
        let (seconds, said) = timed(&["restore", path, "--at", &then, "--dry-run"])?;
        ensure!(said.contains(&format!("{} changed", DIRECTORIES * FILES)), "another preview: {said}");
        previews.push(seconds);
    }
    previews.sort_by(f64::total_cmp);
    println!("  preview: {:.2} s (median), {:.2} s (most)", previews[previews.len() / 2], previews[previews.len() - 1]);
    let (seconds, _) = timed(&["restore", path, "--at", &then, "--yes"])?;
    println!("  previewed and committed: {seconds:.2} s");
    let begun = Instant::now();
    device.wait_in_sync_within(PATIENCE)?;
    println!("  on the device after another {:.2} s", begun.elapsed().as_secs_f64());
    for directory in (0..DIRECTORIES).map(|directory| folder.join(format!("d{directory}"))) {
        for file in 0..FILES {
            let there = fs::read_to_string(directory.join(format!("f{file}")))?;
            ensure!(there == content(&directory, file, "one"), "{} {file} is not as it was", directory.display());
        }
    }
    let peak = |pid: u32| process::memory(pid).map(|memory| memory.peak >> 20);
    for service in [Service::Sync, Service::History] {
        println!("  most memory of {service}-svc: {} MiB", peak(stack.service(service)?.pid)?);
    }
    println!("  most memory of the agent: {} MiB", peak(device.agent_pid()?)?);
    Ok(())
}

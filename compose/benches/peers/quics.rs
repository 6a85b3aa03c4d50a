//! Ours: a server and two devices, as processes, on free ports.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use quics_kit::names::Service;
use quics_stack::harness::{Device, Program, Scratch, Stack, process};

use super::contest::Contestant;

pub(crate) struct Quics {
    left: Device,
    right: Device,
    source: PathBuf,
    target: PathBuf,
    stack: Stack,
}

impl Quics {
    pub(crate) fn start(base: &Path) -> Result<Self> {
        let program = Program::at(Path::new(env!("CARGO_BIN_EXE_quics-stack")));
        let stack = Stack::start_in(&program, Scratch::below(base)?)?;
        let left = Device::join(&stack, "left")?;
        let right = Device::join(&stack, "right")?;
        let source = stack.dir("left/folder")?;
        let target = stack.path().join("right/folder");
        left.add(&source)?;
        right.clone_root("folder", &target)?;
        left.wait_in_sync()?;
        right.wait_in_sync()?;
        Ok(Self { left, right, source, target, stack })
    }
}

impl Contestant for Quics {
    fn name(&self) -> String {
        "quics (A to server to B)".to_owned()
    }

    fn source(&self) -> &Path {
        &self.source
    }

    fn target(&self) -> &Path {
        &self.target
    }

    fn carry(&mut self) -> Result<()> {
        Ok(())
    }

    fn half_way(&self) -> Option<bool> {
        // Contents that are on their way in lie here from the first byte on.
        let incoming = fs::read_dir(self.target.join(".quics/incoming")).ok()?;
        Some(incoming.count() > 0)
    }

    fn memory(&self) -> Vec<(String, u64)> {
        self.each(|pid| process::memory(pid).map(|memory| memory.peak))
    }

    fn processor_time(&self) -> Vec<(String, Duration)> {
        self.each(process::processor_time)
    }

    fn kept(&self) -> Option<u64> {
        self.stack.statistics().ok().map(|statistics| statistics.chunk_bytes)
    }
}

impl Quics {
    /// Asks something of each process that does the work.
    fn each<T>(&self, ask: impl Fn(u32) -> Result<T>) -> Vec<(String, T)> {
        let processes = [
            ("the sending agent", self.left.agent_pid()),
            ("sync-svc", self.stack.service(Service::Sync).map(|service| service.pid)),
            ("the receiving agent", self.right.agent_pid()),
        ];
        let ask = |(name, pid): (&str, Result<u32>)| Some((name.to_owned(), ask(pid.ok()?).ok()?));
        processes.into_iter().filter_map(ask).collect()
    }
}

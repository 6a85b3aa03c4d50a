//! Ours: a server and two devices, as processes, on free ports.

use std::path::{Path, PathBuf};

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

    fn memory(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut add = |name: &str, pid: Result<u32>| {
            if let Ok(memory) = pid.and_then(process::memory) {
                found.push((name.to_owned(), memory.peak));
            }
        };
        add("the sending agent", self.left.agent_pid());
        add("the receiving agent", self.right.agent_pid());
        add("sync-svc", self.stack.service(Service::Sync).map(|service| service.pid));
        add("registry-svc", self.stack.service(Service::Registry).map(|service| service.pid));
        found
    }
}

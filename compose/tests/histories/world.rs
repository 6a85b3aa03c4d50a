//! A history: a root of its own on some devices, what is drawn from its seed, what is noted of it.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use quics_stack::harness::{Device, Program, Stack, wait};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::content::{Token, Writing};
use crate::folder::Folder;
use crate::oracle::Books;

/// The most devices that a history has.
const DEVICES: usize = 4;

/// How many things happen in a history.
const STEPS: u64 = 100;

/// A server and devices that serve one history after the other.
pub(crate) struct Lane {
    // Fields are dropped in this order: the devices end before the server does.
    pub(crate) devices: Vec<Device>,
    pub(crate) stack: Stack,
}

impl Lane {
    pub(crate) fn new() -> Result<Self> {
        let stack = Stack::start(&Program::at(Path::new(env!("CARGO_BIN_EXE_quics-stack"))))?;
        let join = |number: usize| Device::join(&stack, &format!("d{}", number + 1));
        let devices = (0..DEVICES).map(join).collect::<Result<_>>()?;
        Ok(Self { devices, stack })
    }
}

/// What the agent of a device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    Runs,
    Paused,
    Stopped,
}

/// One history.
pub(crate) struct World<'a> {
    pub(crate) lane: &'a mut Lane,
    pub(crate) name: String,
    /// As many as there are devices in it, which are the first ones of the lane.
    pub(crate) folders: Vec<Folder>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) books: Books,
    pub(crate) random: StdRng,
    seed: u64,
    pub(crate) begun: Instant,
    pub(crate) journal: Vec<String>,
}

/// Notes a step in the journal.
macro_rules! say {
    ($world:expr, $($text:tt)*) => {
        $world.journal.push(format!("{:>7.3} {}", $world.begun.elapsed().as_secs_f32(), format_args!($($text)*)))
    };
}
pub(crate) use say;

impl<'a> World<'a> {
    /// A new root, empty, on two to four devices.
    pub(crate) fn new(lane: &'a mut Lane, seed: u64) -> Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(2..=DEVICES);
        let name = format!("history-{seed}");
        let mut folders = Vec::new();
        for device in &lane.devices[..count] {
            let place = lane.stack.dir(&format!("{name}/{}", device.name()))?;
            // A root is called as its directory.
            let folder = Folder::new(place.join(&name), place.join("aside"));
            if folders.is_empty() {
                fs::create_dir(&folder.top)?;
                patiently(device, &[OsStr::new("add"), folder.top.as_os_str()])?;
            } else {
                patiently(device, &[OsStr::new("clone"), OsStr::new(&name), folder.top.as_os_str()])?;
            }
            folders.push(folder);
        }
        let agents = vec![Agent::Runs; count];
        Ok(Self {
            lane,
            name,
            folders,
            agents,
            books: Books::default(),
            random,
            seed,
            begun: Instant::now(),
            journal: Vec::new(),
        })
    }

    /// Everything up to the moment when people and faults end.
    pub(crate) fn run(&mut self) -> Result<()> {
        for step in 0..STEPS {
            // What a step draws does not hang on what the ones before it met.
            self.random = StdRng::seed_from_u64(self.seed.wrapping_mul(1 << 20).wrapping_add(step + 1));
            match self.random.random_range(0..1000) {
                0..700 => {
                    let device = self.draw(self.folders.len());
                    self.user(device);
                }
                700..790 => self.answer_one()?,
                790..810 => self.answer_twice()?,
                810..845 => self.take_one_back()?,
                845..865 => self.fetch_a_side()?,
                865..920 => self.agent_trouble()?,
                920..940 => self.service_trouble()?,
                940..945 => self.server_trouble()?,
                _ => self.one_settles()?,
            }
        }
        Ok(())
    }

    pub(crate) fn device(&self, device: usize) -> &Device {
        &self.lane.devices[device]
    }

    pub(crate) fn draw(&mut self, below: usize) -> usize {
        self.random.random_range(0..below)
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        let at = self.random.random_range(0..usize::MAX);
        (!of.is_empty()).then(|| of[at % of.len()].clone())
    }

    /// A device whose agent runs.
    pub(crate) fn running(&mut self) -> Option<usize> {
        let running: Vec<usize> = (0..self.agents.len()).filter(|it| self.agents[*it] != Agent::Stopped).collect();
        self.pick(&running)
    }

    /// A content that nobody wrote before.
    pub(crate) fn fresh(&mut self, device: usize, path: &Path, large: bool) -> Writing {
        let (token, device) = (self.books.next(), self.device(device).name().to_owned());
        Writing { token, device, path: path.display().to_string(), over: Vec::new(), large }
    }

    /// A person wrote over what they had.
    pub(crate) fn wrote(&mut self, mut writing: Writing, over: Vec<Token>) {
        self.books.took(over.iter().copied());
        writing.over = over;
        self.books.wrote(writing);
    }

    /// Runs a command of which it is no fault that it fails, if it says why in a sentence.
    pub(crate) fn ask(&self, device: usize, arguments: &[&str]) -> Result<Output> {
        let output = self.device(device).run(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let sentence = said.starts_with("quics: ") && !said.contains("panicked");
        ensure!(output.status.success() || sentence, "{arguments:?} failed without a sentence: {output:?}");
        Ok(output)
    }

    pub(crate) fn at(&self, device: usize, path: &Path) -> Result<String> {
        Ok(self.folders[device].top.join(path).to_str().context("a path of this test is text")?.to_owned())
    }

    /// What the world looks like to its devices, for whoever has to find out what went wrong.
    pub(crate) fn describe(&self) -> String {
        let mut all = String::new();
        for (device, folder) in self.folders.iter().enumerate() {
            let status = self.device(device).run(["status"]).map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
            let conflicts = self.device(device).conflicts();
            let tree = crate::folder::read(&folder.top);
            let (staged, displaced) = (crate::folder::staged(&folder.top), crate::folder::displaced(&folder.top));
            let name = self.device(device).name();
            all.push_str(&format!(
                "{name}: {status:?}\n{conflicts:?}\n{tree:?}\nstaged: {staged:?} displaced: {displaced:?}\n"
            ));
        }
        all
    }

    /// Leaves the lane as it was before.
    pub(crate) fn end(self) -> Result<()> {
        for (device, folder) in self.folders.iter().enumerate() {
            detach(self.device(device), &folder.top)?;
        }
        Ok(fs::remove_dir_all(self.lane.stack.path().join(&self.name))?)
    }
}

/// Ends the sync of a folder; nothing of the agent stays in it.
pub(crate) fn detach(device: &Device, top: &Path) -> Result<()> {
    patiently(device, &[OsStr::new("detach"), top.as_os_str()])?;
    ensure!(!top.join(".quics").exists(), "something of the agent is left in {}", top.display());
    Ok(())
}

/// Runs a command again until it reaches the server, as people do: a service may just have been killed.
pub(crate) fn patiently(device: &Device, arguments: &[&OsStr]) -> Result<()> {
    let ended = wait::until(&format!("the server to be reached for {arguments:?}"), PATIENCE, || {
        let output = device.run(arguments)?;
        if output.status.code() == Some(UNREACHABLE) { bail!("{output:?}") } else { Ok(output) }
    })?;
    ensure!(ended.status.success(), "{arguments:?} failed: {ended:?}");
    Ok(())
}

/// What a command ends with that could not reach the server, or not to its answer.
pub(crate) const UNREACHABLE: i32 = 4;

/// How long everything may take to come to rest; far longer than it needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

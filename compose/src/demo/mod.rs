//! The demonstration: a server, two devices, a folder on each; changes of many kinds are made in one, and each is timed
//! until the other shows it.

mod changes;
mod clock;
mod conflict;
mod link;
mod show;

use std::{
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::harness::{Device, Program, Stack, tree};
use changes::Change;

/// How long one change has to arrive.
const EACH: Duration = Duration::from_secs(60);

/// How long the whole may take.
const WHOLE: Duration = Duration::from_secs(240);

/// A running demonstration.
#[derive(Debug)]
pub struct Demo {
    // The devices end before the server, and the server before its directory goes away.
    laptop: Device,
    desktop: Device,
    stack: Stack,
    here: PathBuf,
    there: PathBuf,
    /// A link to the folder, once one was made.
    link: OnceLock<String>,
}

/// What came of one change.
#[derive(Debug)]
pub(crate) struct Outcome {
    change: &'static str,
    bytes: u64,
    /// How long the other folder took to show it; `None` if it never did.
    took: Option<Duration>,
}

impl Demo {
    /// Starts the server and two devices that have a folder in common.
    ///
    /// # Errors
    /// When something of it does not start; what it said.
    pub fn start() -> Result<Self> {
        let begun = Instant::now();
        let stack = Stack::start(&Program::own()?)?;
        show::step(begun, "the server runs: registry, sync, history and share, four processes");
        let laptop = Device::join(&stack, "laptop")?;
        let desktop = Device::join(&stack, "desktop")?;
        show::step(begun, "two devices joined with a ticket each, and their agents run");
        let here = stack.dir("laptop/Documents")?;
        let there = stack.path().join("desktop/Documents");
        laptop.add(&here)?;
        desktop.clone_root("Documents", &there)?;
        laptop.wait_in_sync()?;
        desktop.wait_in_sync()?;
        show::step(begun, "the folder Documents is on both");
        Ok(Self { laptop, desktop, stack, here, there, link: OnceLock::new() })
    }

    /// Makes the changes and shows when each arrived, until `interrupted`. Returns whether all did, and both folders are
    /// equal.
    ///
    /// # Errors
    /// When a change cannot be made.
    pub fn run(&self, interrupted: &AtomicBool) -> Result<bool> {
        let deadline = Instant::now() + WHOLE;
        let mut outcomes = Vec::new();
        show::head();
        for change in changes::all() {
            if interrupted.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let outcome = self
                .make(&change, deadline, interrupted)
                .with_context(|| format!("make the change: {}", change.name))?;
            show::outcome(&outcome);
            outcomes.push(outcome);
        }
        if interrupted.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let patience = EACH.min(deadline.saturating_duration_since(Instant::now()));
        let played = conflict::play(self, patience).context("play a conflict and its resolution")?;
        for outcome in played {
            show::outcome(&outcome);
            outcomes.push(outcome);
        }
        let shared = link::play(self, patience).context("share a file by a link")?;
        show::outcome(&shared);
        outcomes.push(shared);
        let equal =
            tree::wait_equal(&self.here, &self.there, EACH.min(deadline.saturating_duration_since(Instant::now())));
        show::summary(&outcomes, &equal);
        Ok(equal.is_ok() && outcomes.iter().all(|outcome| outcome.took.is_some()))
    }

    /// Says where everything is, for a reader who wants to try.
    pub fn invite(&self) {
        show::invitation(&self.here, &self.there, self.laptop.home(), self.desktop.home(), self.link.get());
    }

    /// Ends the agents, then the server.
    ///
    /// # Errors
    /// When one of them does not end in good order.
    pub fn stop(mut self) -> Result<()> {
        self.desktop.stop_agent()?;
        self.laptop.stop_agent()?;
        self.stack.down()
    }

    fn make(&self, change: &Change, deadline: Instant, interrupted: &AtomicBool) -> Result<Outcome> {
        let (from, to) = if change.backwards { (&self.there, &self.here) } else { (&self.here, &self.there) };
        let made = (change.make)(from)?;
        let patience = EACH.min(deadline.saturating_duration_since(Instant::now()));
        let took = clock::until_shown(from, to, &made, patience, interrupted)?;
        Ok(Outcome { change: change.name, bytes: made.bytes, took })
    }
}

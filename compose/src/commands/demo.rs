//! `quics-stack demo`.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use crate::demo::Demo;

/// The exit code of what Ctrl-C ended, as shells have it.
const INTERRUPTED: i32 = 130;

/// Runs the demonstration; with `once` to its end, else until Ctrl-C.
///
/// # Errors
/// When something of it does not start, or a change cannot be made.
pub(crate) fn demo(runtime: &Runtime, once: bool) -> Result<ExitCode> {
    // From here on Ctrl-C is ours: the processes of the demonstration have groups of their own and end with it.
    let mut interrupts = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).context("watch for Ctrl-C")?
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = interrupted.clone();
    let mut running = runtime.spawn_blocking(move || -> Result<(Demo, bool)> {
        let demo = Demo::start()?;
        let arrived = demo.run(&seen)?;
        Ok((demo, arrived))
    });
    let ran = runtime.block_on(async {
        tokio::select! {
            ran = &mut running => return Some(ran),
            _ = interrupts.recv() => interrupted.store(true, Ordering::Relaxed),
        }
        // It ends with the change that it is at; a second Ctrl-C does not wait for that.
        tokio::select! {
            ran = running => Some(ran),
            _ = interrupts.recv() => None,
        }
    });
    // What still runs ends by its lifelines when this process does.
    let Some(ran) = ran else { std::process::exit(INTERRUPTED) };
    let (demo, arrived) = ran.context("run the demonstration")??;
    if interrupted.load(Ordering::Relaxed) {
        demo.stop()?;
        std::process::exit(INTERRUPTED);
    }
    if !once {
        demo.invite();
        runtime.block_on(interrupts.recv());
        println!();
    }
    demo.stop()?;
    Ok(if arrived { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

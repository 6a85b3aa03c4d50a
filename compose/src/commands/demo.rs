//! `quics-stack demo`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use crate::demo::Demo;

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
    let running = runtime.spawn_blocking(|| -> Result<(Demo, bool)> {
        let demo = Demo::start()?;
        let arrived = demo.run()?;
        Ok((demo, arrived))
    });
    let ran = runtime.block_on(async {
        tokio::select! {
            ran = running => Some(ran),
            _ = interrupts.recv() => None,
        }
    });
    // Interrupted in the middle: what runs ends by its lifelines when this process does.
    let Some(ran) = ran else { std::process::exit(130) };
    let (demo, arrived) = ran.context("run the demonstration")??;
    if !once {
        demo.invite();
        runtime.block_on(interrupts.recv());
        println!();
    }
    demo.stop()?;
    Ok(if arrived { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

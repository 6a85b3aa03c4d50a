//! What the demonstration prints.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use console::style;

use super::Outcome;

const WIDTH: usize = 62;

pub(super) fn step(begun: Instant, what: &str) {
    println!("{:>7} ms  {what}", begun.elapsed().as_millis());
}

pub(super) fn head() {
    println!();
    println!(
        "  {:<WIDTH$} {:>10}   {}",
        style("what is done on the laptop").bold(),
        "written",
        style("on the desktop after").bold()
    );
}

pub(super) fn outcome(outcome: &Outcome) {
    let took = match outcome.took {
        Some(took) => style(format!("{:>9.1} ms", millis(took))).green(),
        None => style("  never arrived".to_owned()).red().bold(),
    };
    println!("  {:<WIDTH$} {:>10}   {took}", outcome.change, size(outcome.bytes));
}

/// What a command about a conflict said.
pub(super) fn conflict(said: &str) {
    println!();
    for line in said.trim_end().lines() {
        println!("    {}", style(line).dim());
    }
    println!();
}

pub(super) fn summary(outcomes: &[Outcome], equal: &Result<()>) {
    let mut times: Vec<Duration> = outcomes.iter().filter_map(|outcome| outcome.took).collect();
    times.sort();
    println!();
    if let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) {
        println!(
            "  {} of {} changes arrived; half of them within {:.1} ms, the slowest after {:.0} ms.",
            times.len(),
            outcomes.len(),
            millis(*median),
            millis(*longest)
        );
    }
    match equal {
        Ok(()) => println!("  Both folders are equal: names, bytes, kinds, permissions, times of files."),
        Err(error) => println!("  {} {error:#}", style("The folders differ:").red().bold()),
    }
}

pub(super) fn invitation(here: &Path, there: &Path, laptop: &Path, desktop: &Path, link: Option<&String>) {
    println!();
    println!("  Try it yourself. The two folders:");
    println!("    {}", style(here.display()).cyan());
    println!("    {}", style(there.display()).cyan());
    if let Some(link) = link {
        println!("  What anybody sees of the folder who has this link, in a browser, always the newest:");
        println!("    {}", style(link).cyan());
    }
    println!("  The devices' homes, for `quics --home HOME status`:");
    println!("    {}", laptop.display());
    println!("    {}", desktop.display());
    println!();
    println!("  Ctrl-C ends the demonstration and removes all of it.");
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn size(bytes: u64) -> String {
    match bytes {
        0 => "-".to_owned(),
        1..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

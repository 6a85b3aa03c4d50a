//! A conflict and its resolution, as the demonstration plays it: both devices change a file without knowing of each
//! other, both are told, one of them chooses, both have the result.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{Demo, Outcome, show};
use crate::harness::{Device, wait};

/// The file that both change.
const FILE: &str = "plan.txt";

/// Plays it; gives how long it took until both were told, and until both had the result.
///
/// # Errors
/// When something of it fails or does not come within `patience`.
pub(super) fn play(demo: &Demo, patience: Duration) -> Result<[Outcome; 2]> {
    let (here, there) = (demo.here.join(FILE), demo.there.join(FILE));
    fs::write(&here, "Monday: sowing\nTuesday: watering\n")?;
    wait::until_true("the file to arrive", patience, || there.exists())?;
    demo.desktop.wait_in_sync_within(patience)?;
    // For a while the desktop hears nothing.
    demo.desktop.quics(["pause"])?;
    fs::write(&here, "Monday: sowing\nTuesday: watering, early\n")?;
    demo.laptop.wait_in_sync_within(patience)?;
    fs::write(&there, "Monday: sowing\nTuesday: weeding\n")?;
    let begun = Instant::now();
    demo.desktop.quics(["resume"])?;
    let told = |device: &Device| device.conflicts().is_ok_and(|said| said.contains(FILE));
    wait::until_true("both to be told", patience, || told(&demo.laptop) && told(&demo.desktop))?;
    let both_told = begun.elapsed();
    show::conflict(&demo.laptop.conflicts()?);

    let begun = Instant::now();
    let path = here.to_str().context("the folder's name is text")?;
    let said = demo.laptop.quics(["resolve", path, "--take", "both"])?;
    let second = "plan (from desktop).txt";
    let has = |folder: &std::path::Path| {
        let is = |name: &str, word: &str| fs::read_to_string(folder.join(name)).is_ok_and(|text| text.contains(word));
        is(FILE, "early") && is(second, "weeding")
    };
    wait::until_true("both to have the result", patience, || has(&demo.here) && has(&demo.there))?;
    show::conflict(&said);
    Ok([
        Outcome { change: "both change one file, apart: both are told", bytes: 0, took: Some(both_told) },
        Outcome { change: "one chooses to keep both: both have both", bytes: 0, took: Some(begun.elapsed()) },
    ])
}

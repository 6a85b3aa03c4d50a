//! The first figures, side by side with what people use today and with what the machine can do at all, in one run.
//!
//! ```text
//! cargo bench -p quics-stack --bench peers                  everything, sized for a coffee
//! cargo bench -p quics-stack --bench peers -- P1 P3         some of it
//! cargo bench -p quics-stack --bench peers -- --full        the sizes of the targets: 4 GiB, 10 GiB
//! cargo bench -p quics-stack --bench peers -- --tmpfs       in memory only (--disk: on the disk only)
//! ```
//!
//! Peers are run where they are installed (`rsync` and `sshd`; `syncthing`), tuned in their favour: rsync over a
//! connection that is kept open, Syncthing with its shortest watcher delay. Runs of the contestants take turns. Times
//! are medians with minimum and maximum; nothing here asserts, it prints.

mod contest;
mod limits;
mod quics;
mod rsync;
mod syncthing;
mod table;
mod wire;
mod work;

use std::{env, fs, path::PathBuf, thread};

use anyhow::Result;

use contest::Sizes;

/// What the figures were made on.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| cpuinfo.lines().find_map(|line| line.strip_prefix(name)?.split_once(": ")).map(|it| it.1);
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let load: Vec<String> = read("/proc/loadavg").split_whitespace().take(3).map(str::to_owned).collect();
    format!(
        "on {cores} cores ({}), Linux {}, load at the start {}",
        field("model name").unwrap_or("of a kind that the system does not tell"),
        read("/proc/sys/kernel/osrelease").trim(),
        load.join(" ")
    )
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let full = arguments.iter().any(|argument| argument == "--full");
    let wanted: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with("--")).collect();
    let sizes = if full { Sizes::full() } else { Sizes::short() };
    let only = |place: &str| arguments.iter().any(|argument| argument == place);
    let mut places = vec![("disk", env::temp_dir())];
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        places.push(("tmpfs", memory));
    }
    places.retain(|(place, _)| match (only("--disk"), only("--tmpfs")) {
        (true, false) => *place == "disk",
        (false, true) => *place == "tmpfs",
        _ => true,
    });
    println!("{sizes}");
    println!("{}", machine());
    for (place, directory) in places {
        work::run(place, &directory, &sizes, &|name| wanted.is_empty() || wanted.contains(&name))?;
    }
    Ok(())
}

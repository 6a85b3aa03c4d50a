//! Commits a second and their latency, beside what the disk itself does in the same run.
//!
//! `cargo bench -p quics-meta [-- [--rebuild] [DIRECTORY]]`; without a directory, the system's one for temporary files;
//! `--rebuild` measures only how long a large store takes to open. Each commit is a
//! batch of two rows, with and without a blob of 4 KiB. Rounds are interleaved; the table shows medians of five.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quics_meta::{Batch, IndexKind, Journaled, MetaStore, Options, Receipt};

const ROUNDS: usize = 5;
/// The commits of a round with one in flight, and the appends of the disk alone.
const ALONE: usize = 500;
/// The commits of every other round.
const COMMITS: usize = 4000;
/// The rows of a store that is opened anew.
const ROWS: u64 = 1_000_000;

/// What one round measured.
#[derive(Clone, Copy)]
struct Figures {
    each_second: f64,
    p50: Duration,
    p99: Duration,
}

fn figures(mut latencies: Vec<Duration>, elapsed: Duration) -> Figures {
    latencies.sort_unstable();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    Figures { each_second: latencies.len() as f64 / elapsed.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
}

/// The disk alone: one thread appends and syncs.
fn raw(dir: &Path, bytes: usize, preallocate: bool) -> io::Result<Figures> {
    let path = dir.join("raw");
    let file = File::create(&path)?;
    if preallocate {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, (bytes * ALONE) as u64)?;
        file.sync_all()?;
    }
    let content = vec![0x5a; bytes];
    let start = Instant::now();
    let mut latencies = Vec::with_capacity(ALONE);
    for n in 0..ALONE {
        let begun = Instant::now();
        file.write_all_at(&content, (n * bytes) as u64)?;
        file.sync_data()?;
        latencies.push(begun.elapsed());
    }
    let elapsed = start.elapsed();
    fs::remove_file(path)?;
    Ok(figures(latencies, elapsed))
}

/// One submitter that keeps so many commits in flight.
fn commits(store: &Journaled, round: usize, in_flight: usize, blob: usize) -> Result<Figures, quics_meta::Error> {
    let count = if in_flight == 1 { ALONE } else { COMMITS };
    let mut waiting: VecDeque<(Instant, Receipt)> = VecDeque::new();
    let mut latencies = Vec::with_capacity(count);
    let start = Instant::now();
    for n in 0..count + in_flight {
        if waiting.len() == in_flight || n >= count {
            let Some((begun, receipt)) = waiting.pop_front() else { break };
            receipt.wait()?;
            latencies.push(begun.elapsed());
        }
        if n < count {
            let id = (round * COMMITS + n) as u64;
            let mut batch = Batch::new();
            let key = |prefix: u8| [&[prefix][..], &(id % 20_000).to_be_bytes()].concat();
            batch.put(key(b'f'), vec![0; 60]);
            if blob > 0 {
                let slot = batch.blob(vec![id as u8; blob]);
                batch.put_located(key(b'e'), vec![1; 80], slot);
            } else {
                batch.put(key(b'e'), vec![1; 112]);
            }
            waiting.push_back((Instant::now(), store.submit(batch)?));
        }
    }
    Ok(figures(latencies, start.elapsed()))
}

fn show(name: &str, rounds: &[Figures]) {
    let middle = |of: fn(&Figures) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        (all[all.len() / 2], all[0], all[all.len() - 1])
    };
    let (each, low, high) = middle(|f| f.each_second);
    let (p50, ..) = middle(|f| f.p50.as_secs_f64() * 1e3);
    let (p99, ..) = middle(|f| f.p99.as_secs_f64() * 1e3);
    println!("{name:<44} {each:>9.0} ({low:>7.0} to {high:>7.0})  {p50:>8.3}  {p99:>8.3}");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` passes --bench.
    let dir =
        std::env::args().skip(1).find(|arg| !arg.starts_with("--")).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("quics-meta-bench-{}", std::process::id()));
    fs::create_dir(&dir)?;
    let outcome = if std::env::args().any(|arg| arg == "--rebuild") { rebuild(&dir) } else { measure(&dir) };
    fs::remove_dir_all(&dir)?;
    outcome
}

fn measure(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let open = |name: &str, index| Journaled::open(dir.join(name), Options { index, ..Options::default() });
    let (sled, btree) = (open("sled", IndexKind::Sled)?, open("btree", IndexKind::BTree)?);
    let cases: Vec<(usize, usize)> = [1, 16, 256].into_iter().flat_map(|f| [(f, 0), (f, 4096)]).collect();
    let mut disk = vec![Vec::new(); 4];
    let mut on_sled = vec![Vec::new(); cases.len()];
    let mut on_btree = vec![Vec::new(); cases.len()];
    for round in 0..ROUNDS {
        for (at, (bytes, preallocate)) in
            [(400, true), (400, false), (4600, true), (4600, false)].into_iter().enumerate()
        {
            disk[at].push(raw(dir, bytes, preallocate)?);
        }
        for (at, (in_flight, blob)) in cases.iter().enumerate() {
            on_sled[at].push(commits(&sled, round, *in_flight, *blob)?);
            on_btree[at].push(commits(&btree, round, *in_flight, *blob)?);
        }
    }
    println!(
        "{:<44} {:>9} {:>20}  {:>8}  {:>8}",
        "medians of 5 rounds", "per s", "(lowest to highest)", "p50 ms", "p99 ms"
    );
    for (name, rounds) in
        ["400 B, preallocated", "400 B, growing", "4.6 KB, preallocated", "4.6 KB, growing"].iter().zip(&disk)
    {
        show(&format!("disk: append + fdatasync, {name}"), rounds);
    }
    for (name, all) in [("sled", &on_sled), ("btree", &on_btree)] {
        for ((in_flight, blob), rounds) in cases.iter().zip(all) {
            let blob = if *blob == 0 { "" } else { " + 4 KiB blob" };
            show(&format!("commit: {name}, {in_flight} in flight{blob}"), rounds);
        }
    }
    sled.close()?;
    btree.close()?;
    rebuild(dir)
}

/// How long a store takes to open after its process was killed, when its index has to be filled again.
fn rebuild(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let path = dir.join("rebuild");
    let store = Journaled::open(&path, Options::default())?;
    let mut last = None;
    for n in 0..ROWS / 500 {
        let mut batch = Batch::new();
        for row in n * 500..(n + 1) * 500 {
            batch.put(scattered(row), vec![2; 100]);
        }
        last = Some(store.submit(batch)?);
    }
    if let Some(receipt) = last {
        receipt.wait()?;
    }
    store.snapshot()?;
    drop(store);
    for (name, killed) in [("closed cleanly", false), ("killed", true)] {
        if killed {
            fs::remove_file(path.join("clean"))?;
        }
        let begun = Instant::now();
        let store = Journaled::open(&path, Options::default())?;
        println!("open {ROWS} rows, {name}: {:.2} s", begun.elapsed().as_secs_f64());
        drop(store);
    }
    Ok(())
}

/// A key in no order, as ids are.
fn scattered(row: u64) -> Vec<u8> {
    [&b"r"[..], &row.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()].concat()
}

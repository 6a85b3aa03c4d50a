//! How fast the folder works: `cargo bench -p quics --bench folder -- [DIRECTORY ...]`.
//!
//! For each directory given (its file system is what is measured; the temporary directory by default) it prints files
//! a second, medians of five rounds with minimum and maximum: 10 000 files of 4 KiB made and replaced in batches
//! through [`Folder::apply`], durable each batch; and listing them with all their stats.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and ends on any error")]

use std::{path::PathBuf, time::Instant};

use bytes::Bytes;
use quics_client::folder::{Disk, Folder, Op, Outcome, RelPath, Source, Spot, Stat};
use quics_types::{Mtime, Name, RootId, UnitNames};

const FILES: usize = 10_000;
const BATCHES: [usize; 3] = [1, 32, 512];
const ROUNDS: usize = 5;
const MTIME: Mtime = Mtime { seconds: 1_600_000_000, nanos: 0 };

fn name(text: String) -> Name {
    Name::new(text.into_bytes()).unwrap()
}

fn spot(dir: &RelPath, file: usize) -> Spot {
    Spot { dir: dir.clone(), name: name(format!("f{file}")) }
}

fn apply(disk: &mut Disk, ops: Vec<Op>) -> Vec<Stat> {
    let done = |outcome| match outcome {
        Outcome::Done(stat) => stat,
        other => panic!("{other:?}"),
    };
    disk.apply(&ops).into_iter().map(done).collect()
}

/// Runs `work` over all files in batches and returns files a second and what came of them.
fn batches(batch: usize, files: usize, mut work: impl FnMut(std::ops::Range<usize>) -> Vec<Stat>) -> (f64, Vec<Stat>) {
    let start = Instant::now();
    let stats = (0..files).step_by(batch).flat_map(|from| work(from..(from + batch).min(files))).collect();
    (files as f64 / start.elapsed().as_secs_f64(), stats)
}

fn row(what: &str, batch: usize, mut rates: Vec<f64>) {
    rates.sort_by(f64::total_cmp);
    let (least, median, most) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
    println!("| {what} | {batch} | {median:.0} | {least:.0} | {most:.0} |");
}

fn measure(place: &std::path::Path) {
    let place = tempfile::tempdir_in(place).unwrap();
    let mut disk = Disk::create(place.path(), RootId::from_bytes([1; 16]), UnitNames::default()).unwrap();
    let source = Source::Inline(Bytes::from(vec![7; 4096]));
    println!("| what | batch | files/s | min | max |\n|---|---|---|---|---|");
    for batch in BATCHES {
        // Single files wait for the disk each: fewer of them say as much.
        let files = if batch == 1 { FILES / 20 } else { FILES };
        let (mut made, mut replaced, mut listed) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let top = Spot { dir: RelPath::root(), name: name(format!("b{batch}r{round}")) };
            let dir = top.path();
            apply(&mut disk, vec![Op::MakeDir { at: top, mode: 0o755 }]);
            let (rate, stats) = batches(batch, files, |range| {
                let make =
                    |file| Op::MakeFile { at: spot(&dir, file), source: source.clone(), mode: 0o644, mtime: MTIME };
                apply(&mut disk, range.map(make).collect())
            });
            made.push(rate);
            let start = Instant::now();
            assert_eq!(disk.list(&dir).unwrap().members.len(), files);
            listed.push(files as f64 / start.elapsed().as_secs_f64());
            let (rate, _) = batches(batch, files, |range| {
                let replace = |file| Op::ReplaceWithFile {
                    at: spot(&dir, file),
                    expected: stats[file],
                    source: source.clone(),
                    mode: 0o644,
                    mtime: MTIME,
                };
                apply(&mut disk, range.map(replace).collect())
            });
            replaced.push(rate);
        }
        row("make", batch, made);
        row("replace", batch, replaced);
        row("list", batch, listed);
    }
}

fn main() {
    let mut places: Vec<PathBuf> =
        std::env::args_os().skip(1).map(PathBuf::from).filter(|path| path.is_dir()).collect();
    if places.is_empty() {
        places.push(std::env::temp_dir());
    }
    for place in places {
        println!("\n{}:\n", place.display());
        measure(&place);
    }
}

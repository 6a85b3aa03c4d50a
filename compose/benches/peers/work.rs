//! The pieces of work, each done by all contestants in turn.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    contest::{Contestant, Sizes, look, until_shown},
    limits,
    quics::Quics,
    rsync::Rsync,
    syncthing::Syncthing,
    table::{self, Row},
    wire,
};

/// The most memory that the agent and sync-svc may use each (P14).
const MEMORY: u64 = 150 << 20;

/// Does all wanted work in directories below `base`.
pub(crate) fn run(place: &str, base: &Path, sizes: &Sizes, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    if wanted("P1") {
        edits(place, base, sizes)?;
    }
    if wanted("P2") || wanted("P14") {
        large(place, base, sizes)?;
    }
    if wanted("P3") {
        small(place, base, sizes)?;
    }
    if wanted("P4") {
        inserted(place, base, sizes)?;
    }
    if wanted("P5") {
        moved(place, base, sizes)?;
    }
    if wanted("P8") {
        meanwhile(place, base, sizes)?;
    }
    Ok(())
}

/// Everybody who is installed, ours first.
fn contestants(base: &Path, rsync: &[&[&str]]) -> Result<Vec<Box<dyn Contestant>>> {
    let mut all: Vec<Box<dyn Contestant>> = vec![Box::new(Quics::start(base)?)];
    let mut invite = |name: &str, one: Result<Box<dyn Contestant>>| match one {
        Ok(one) => all.push(one),
        Err(error) => println!("{name} does not start: {error:#}"),
    };
    if Rsync::is_there() {
        for options in rsync {
            invite("rsync over ssh", Rsync::start(base, options).map(|one| Box::new(one) as _));
        }
    } else {
        println!("rsync over ssh: not here (rsync, sshd and the right to start it are needed)");
    }
    if Syncthing::is_there() {
        invite("Syncthing", Syncthing::start(base).map(|one| Box::new(one) as _));
    } else {
        println!("Syncthing: not here");
    }
    Ok(all)
}

/// What rounds of one piece of work showed.
struct Rounds {
    /// One for each contestant.
    rows: Vec<Row>,
    /// The two hops of ours, where they are to be seen: until all is at the server and the second device begins, and
    /// from then on until it is shown.
    hops: [Row; 2],
    /// Processor time of each of our processes.
    costs: Vec<Row>,
}

/// Makes one change with each contestant in turn, so many rounds; `change` returns the names to wait for. With `clear`
/// what was made goes away again before the next one's turn, so that only one has it at a time.
fn rounds(
    all: &mut [Box<dyn Contestant>],
    rounds: usize,
    amount: Option<(f64, &'static str)>,
    clear: bool,
    mut change: impl FnMut(&Path, usize) -> Result<Vec<PathBuf>>,
) -> Result<Rounds> {
    let row = |name: String| Row { amount, ..Row::new(name) };
    let mut rows: Vec<Row> = all.iter().map(|one| row(one.name())).collect();
    let mut hops =
        ["  its first hop, A to the server", "  its second hop, the server to B"].map(|name| row(name.to_owned()));
    let mut costs: Vec<Row> = Vec::new();
    for round in 0..rounds {
        for (contestant, row) in all.iter_mut().zip(&mut rows) {
            let source = contestant.source().to_owned();
            let before = contestant.processor_time();
            let names = change(&source, round)?;
            // It ends with a rename, of what was prepared beside the folder: preparing is no part of the way.
            let since = Instant::now();
            contestant.carry()?;
            let carried = until_shown(contestant.as_ref(), &names, since)?;
            row.times.push(carried.whole);
            if let Some(half) = carried.half {
                hops[0].times.push(half);
                hops[1].times.push(carried.whole.saturating_sub(half));
            }
            for ((name, after), (_, before)) in contestant.processor_time().into_iter().zip(before) {
                let name = format!("  processor time of {name}");
                let cost = match costs.iter().position(|cost| cost.name == name) {
                    Some(known) => &mut costs[known],
                    None => {
                        costs.push(Row::new(name));
                        let last = costs.len() - 1;
                        &mut costs[last]
                    }
                };
                cost.times.push(after.saturating_sub(before));
            }
            if clear {
                for name in &names {
                    fs::remove_file(source.join(name))?;
                }
                contestant.carry()?;
                until_shown(contestant.as_ref(), &names, Instant::now())?;
            }
        }
    }
    Ok(Rounds { rows, hops, costs })
}

/// How many times as fast `one` is as `other`, by their medians: what takes twice as long has a share of a half.
fn share(one: &Row, other: &Row) -> f64 {
    one.median().as_secs_f64() / other.median().as_secs_f64().max(1e-9)
}

fn edits(place: &str, base: &Path, sizes: &Sizes) -> Result<()> {
    let mut all = contestants(base, &[&[]])?;
    let rows = paced_edits(&mut all, sizes.edits, Duration::from_millis(100))?;
    let disk = Row::of("the disk: append 4.6 KiB + fdatasync", limits::appends(base, 200)?);
    let allowed = Duration::from_millis(10).max(disk.median() * 4);
    let (p50, p99) = (rows[0].median(), rows[0].quantile(0.99));
    table::print(place, "P1: a 4 KiB edit on A is visible on B, durable", &[rows, vec![disk]].concat());
    table::verdict(&format!("p50 at most {allowed:?}"), p50 <= allowed, &format!("{p50:?}"));
    table::verdict(
        "p99 at most 3 times p50",
        p99 <= p50 * 3,
        &format!("{:.1} times", p99.as_secs_f64() / p50.as_secs_f64()),
    );
    Ok(())
}

/// Edits 20 files in turn, one every `pace`.
fn paced_edits(all: &mut [Box<dyn Contestant>], edits: usize, pace: Duration) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for contestant in all.iter_mut() {
        let mut row = Row::new(contestant.name());
        for number in 0..20 + edits {
            let begun = Instant::now();
            let name = PathBuf::from(format!("edited{}", number % 20));
            random_file(&contestant.source().join(&name), 4096)?;
            let since = Instant::now();
            contestant.carry()?;
            let took = until_shown(contestant.as_ref(), &[name], since)?.whole;
            // The first twenty make the files.
            if number >= 20 {
                row.times.push(took);
            }
            thread::sleep(pace.saturating_sub(begun.elapsed()));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn large(place: &str, base: &Path, sizes: &Sizes) -> Result<()> {
    let mut all = contestants(base, &[&[]])?;
    let amount = Some((sizes.large as f64 / 1e6, "MB"));
    let size = sizes.large;
    let Rounds { rows, hops, costs } = rounds(&mut all, sizes.rounds, amount, true, |source, round| {
        // Made beside the folder and moved into it, so that writing it is not counted.
        let beside = source.with_extension("beside");
        random_file(&beside, size)?;
        let name = format!("large{round}");
        fs::rename(&beside, source.join(&name))?;
        Ok(vec![PathBuf::from(name)])
    })?;
    let memory = all[0].memory();
    drop(all);
    let limit = |name: &str, one: &mut dyn FnMut() -> Result<Duration>| -> Row {
        let mut row = Row { amount, ..Row::new(name) };
        for _ in 0..sizes.rounds {
            match one() {
                Ok(time) => row.times.push(time),
                Err(error) => println!("{name}: {error:#}"),
            }
        }
        row
    };
    let wires = [
        limit("one raw quinn stream, MTU 1452", &mut || wire::raw_stream(size, wire::ETHERNET)),
        limit("one raw quinn stream, loopback's MTU", &mut || wire::raw_stream(size, wire::LOOPBACK)),
    ];
    let disk = limit("the disk: written once, fsync", &mut || limits::large(base, size));
    let peers: Vec<(String, f64)> = rows[1..].iter().map(|row| (row.name.clone(), share(row, &rows[0]))).collect();
    let of_disk = share(&disk, &rows[0]);
    let of_wires = wires.each_ref().map(|wire| hops.each_ref().map(|hop| share(wire, hop)));
    let title = format!("P2: one new file of {} MiB, A to server to B", size >> 20);
    let ours = [rows[..1].to_vec(), hops.to_vec(), costs].concat();
    table::print(place, &title, &[ours, rows[1..].to_vec(), wires.to_vec(), vec![disk]].concat());
    if place == "tmpfs" {
        for ([first, second], (wire, wanted)) in of_wires.into_iter().zip([("MTU 1452", 0.75), ("loopback's MTU", 0.5)])
        {
            table::verdict(
                &format!("each hop at least {wanted} of raw quinn at {wire}"),
                first.min(second) >= wanted,
                &format!("{first:.2} and {second:.2}"),
            );
        }
        for (name, times) in peers {
            let wanted = if name.starts_with("rsync") { 4.0 } else { 3.0 };
            table::verdict(&format!("at least {wanted} times {name}"), times >= wanted, &format!("{times:.1} times"));
        }
    } else {
        table::verdict("at least 0.9 of what the disk writes", of_disk >= 0.9, &format!("{of_disk:.2}"));
    }
    for (name, peak) in memory {
        if name != "registry-svc" {
            table::verdict(&format!("P14: {name} within 150 MiB"), peak <= MEMORY, &format!("{} MiB", peak >> 20));
        }
    }
    Ok(())
}

fn small(place: &str, base: &Path, sizes: &Sizes) -> Result<()> {
    let options: &[&[&str]] = &[&[], &["--fsync"]];
    let mut all = contestants(base, options)?;
    let amount = Some((sizes.files as f64, "files"));
    let Rounds { rows, costs, .. } = rounds(&mut all, sizes.rounds, amount, false, |source, round| {
        let beside = source.with_extension("beside");
        fs::create_dir(&beside)?;
        for number in 0..sizes.files {
            random_file(&beside.join(number.to_string()), 4096)?;
        }
        let name = format!("small{round}");
        fs::rename(&beside, source.join(&name))?;
        Ok((0..sizes.files).map(|number| Path::new(&name).join(number.to_string())).collect())
    })?;
    drop(all);
    let limit: Result<Vec<Duration>> = (0..sizes.rounds).map(|_| limits::small(base, sizes.files)).collect();
    let disk = Row { amount, ..Row::of("the disk: staged, syncfs a batch, renamed", limit?) };
    let ours = rows[0].median().as_secs_f64();
    let rate = sizes.files as f64 / ours;
    let share = disk.median().as_secs_f64() / ours;
    let peers: Vec<(String, f64)> =
        rows[1..].iter().map(|row| (row.name.clone(), row.median().as_secs_f64() / ours)).collect();
    let title = format!("P3: {} new files of 4 KiB, A to server to B", sizes.files);
    table::print(place, &title, &[rows[..1].to_vec(), costs, rows[1..].to_vec(), vec![disk]].concat());
    if place == "tmpfs" {
        table::verdict("at least 5 000 files/s end to end", rate >= 5000.0, &format!("{rate:.0} files/s"));
    } else {
        table::verdict("at least 0.7 of the disk's limit", share >= 0.7, &format!("{share:.2}"));
        for (name, times) in peers {
            let wanted = if name.contains("fsync") {
                3.0
            } else if name.starts_with("rsync") {
                continue;
            } else {
                4.0
            };
            table::verdict(&format!("at least {wanted} times {name}"), times >= wanted, &format!("{times:.1} times"));
        }
    }
    Ok(())
}

fn inserted(place: &str, base: &Path, sizes: &Sizes) -> Result<()> {
    let mut all = contestants(base, &[&["--checksum"]])?;
    let size = sizes.inserted;
    rounds(&mut all, 1, None, false, |source, _| {
        let beside = source.with_extension("beside");
        random_file(&beside, size)?;
        fs::rename(&beside, source.join("image"))?;
        Ok(vec![PathBuf::from("image")])
    })?;
    let before = all[0].kept();
    let Rounds { rows, costs, .. } = rounds(&mut all, sizes.rounds, None, false, |source, round| {
        let beside = source.with_extension("beside");
        let mut next = File::create(&beside)?;
        next.write_all(&[b'a' + u8::try_from(round % 26)?])?;
        io::copy(&mut File::open(source.join("image"))?, &mut next)?;
        drop(next);
        fs::rename(&beside, source.join("image"))?;
        Ok(vec![PathBuf::from("image")])
    })?;
    let new = before.zip(all[0].kept()).map(|(before, after)| (after - before) as f64 / sizes.rounds as f64);
    let against = rows.get(1).map(|row| share(&rows[0], row));
    let title = format!("P4: one byte inserted at the head of a file of {} MiB", size >> 20);
    table::print(place, &title, &[rows[..1].to_vec(), costs, rows[1..].to_vec()].concat());
    if let Some(new) = new {
        let part = new / size as f64;
        let measured = format!("{:.0} KiB, {:.4} %", new / 1024.0, part * 100.0);
        table::verdict("at most 0.1 % of the bytes are new at the server", part <= 0.001, &measured);
    }
    if let Some(times) = against {
        table::verdict("at most 0.5 of rsync's time", times <= 0.5, &format!("{times:.2}"));
    }
    Ok(())
}

fn moved(place: &str, base: &Path, sizes: &Sizes) -> Result<()> {
    const FILES: u64 = 10_000;
    /// Who sends all of it again does so once where it is this much, in bytes.
    const MUCH: u64 = 1 << 30;
    let mut all = contestants(base, &[&[]])?;
    let names = |directory: &str| -> Vec<PathBuf> {
        (0..FILES).map(|number| Path::new(directory).join(number.to_string())).collect()
    };
    rounds(&mut all, 1, None, false, |source, _| {
        let beside = source.with_extension("beside");
        fs::create_dir(&beside)?;
        for number in 0..FILES {
            let path = beside.join(number.to_string());
            random_file(&path, 4096)?;
            // The rest is a hole: what is in the files is of no matter to a move, and ten gibibytes are much to make.
            File::options().write(true).open(&path)?.set_len(sizes.moved)?;
        }
        fs::rename(&beside, source.join("place0"))?;
        Ok(names("place0"))
    })?;
    let step = |all: &mut [Box<dyn Contestant>], count| {
        rounds(all, count, None, false, |source, round| {
            fs::rename(source.join(format!("place{round}")), source.join(format!("place{}", round + 1)))?;
            Ok(names(&format!("place{}", round + 1)))
        })
    };
    let before = all[0].kept();
    let (ours, peers) = all.split_at_mut(1);
    let Rounds { rows, costs, .. } = step(ours, sizes.rounds)?;
    let count = if FILES * sizes.moved >= MUCH { 1 } else { sizes.rounds };
    let peers = step(peers, count)?.rows;
    let new = before.zip(all[0].kept()).map(|(before, after)| after - before);
    let took = rows[0].median();
    let title =
        format!("P5: a directory of {FILES} files of {} KiB (4 KiB each, then a hole) is moved", sizes.moved >> 10);
    table::print(place, &title, &[rows, costs, peers].concat());
    table::verdict("at most 1 s", took <= Duration::from_secs(1), &format!("{took:?}"));
    if let Some(new) = new {
        table::verdict("no content bytes", new == 0, &format!("{new} bytes are new at the server"));
    }
    Ok(())
}

fn meanwhile(place: &str, base: &Path, sizes: &Sizes) -> Result<()> {
    let mut all: Vec<Box<dyn Contestant>> = vec![Box::new(Quics::start(base)?)];
    let mut rows = paced_edits(&mut all, sizes.edits, Duration::from_millis(100))?;
    rows[0].name = "quics, idle".to_owned();
    let source = all[0].source().to_owned();
    let beside = source.with_extension("beside");
    random_file(&beside, sizes.meanwhile)?;
    fs::rename(&beside, source.join("large"))?;
    let mut busy = paced_edits(&mut all, sizes.edits, Duration::from_millis(20))?.remove(0);
    let still = look(&all[0].target().join("large")).is_none();
    busy.name = format!(
        "quics, while a large file goes up{}",
        if still { "" } else { " (it was through before the last edit)" }
    );
    let (idle, loaded) = (rows[0].quantile(0.99), busy.quantile(0.99));
    rows.push(busy);
    table::print(place, "P8: 4 KiB edits while a large file goes up from the same device", &rows);
    let times = loaded.as_secs_f64() / idle.as_secs_f64();
    table::verdict("p99 at most 3 times that of idle", times <= 3.0, &format!("{times:.1} times"));
    Ok(())
}

fn random_file(path: &Path, bytes: u64) -> Result<()> {
    io::copy(&mut File::open("/dev/urandom")?.take(bytes), &mut File::create(path)?)?;
    Ok(())
}

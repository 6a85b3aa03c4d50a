//! P12: a shared file downloaded over HTTPS, next to nginx serving the same file with the same cipher (TLS 1.3, AES-128-GCM).
//!
//! ```text
//! cargo bench -p quics-stack --bench downloads               1 GiB, 3 rounds
//! cargo bench -p quics-stack --bench downloads -- --full     8 GiB, 5 rounds
//! ```
//!
//! curl is the client over HTTP/1.1 and HTTP/2; over HTTP/3, which neither Debian's curl nor its nginx speaks, a plain quinn stream
//! (`http3.rs`). The runs of the contestants take turns. `nginx` is run where it is installed, with `sendfile`, as many workers as
//! there are cores, and no log. Nothing here asserts; it prints.

mod http3;
mod nginx;
#[path = "../peers/table.rs"]
mod table;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context as _, Result, ensure};
use quics_kit::names::Service;
use quics_stack::harness::{Device, Program, Scratch, Stack, process};
use rcgen::{CertificateParams, KeyPair};

use nginx::Nginx;
use table::Row;

/// How many download at once in the second half, and how much each.
const CROWD: usize = 200;
const MIB: u64 = 1 << 20;

/// What is fetched, and by what protocol.
struct Contestant {
    row: Row,
    address: String,
    version: Option<&'static str>,
}

impl Contestant {
    fn new(name: &str, address: &str, version: Option<&'static str>, bytes: u64) -> Self {
        let mut row = Row::of(name, Vec::new());
        row.amount = Some((bytes as f64 / MIB as f64, "MiB"));
        Self { row, address: address.to_owned(), version }
    }
}

/// A certificate for this machine, and its key.
fn certificate(directory: &Path) -> Result<(PathBuf, PathBuf)> {
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)?.self_signed(&key)?;
    let (chain, secret) = (directory.join("site.pem"), directory.join("site.key"));
    fs::write(&chain, certificate.pem())?;
    fs::write(&secret, key.serialize_pem())?;
    Ok((chain, secret))
}

fn curl(chain: &Path, version: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["-s", "-S", "-f", version, "--tls13-ciphers", "TLS_AES_128_GCM_SHA256", "--cacert"]).arg(chain);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn ran(mut command: Command) -> Result<Duration> {
    let begun = Instant::now();
    ensure!(command.status()?.success(), "{command:?} failed");
    Ok(begun.elapsed())
}

/// Downloads one file, whose bytes nobody keeps.
fn once(contestant: &Contestant, chain: &Path, bytes: u64) -> Result<Duration> {
    match contestant.version {
        Some(version) => {
            let mut command = curl(chain, version);
            command.args(["-o", "/dev/null"]).arg(&contestant.address);
            ran(command)
        }
        None => http3::fetch(&contestant.address, chain, bytes),
    }
}

/// Downloads one small file so many times at once.
fn crowd(address: &str, chain: &Path, version: &str) -> Result<Duration> {
    let mut command = curl(chain, version);
    command.args(["-Z", "--no-progress-meter", "--parallel-immediate", "--parallel-max", &CROWD.to_string()]);
    for _ in 0..CROWD {
        command.args(["-o", "/dev/null", address]);
    }
    ran(command)
}

fn write_random(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    io::copy(&mut File::open("/dev/urandom")?.take(bytes), &mut file)?;
    Ok(file.sync_all()?)
}

fn main() -> Result<()> {
    let full = env::args().any(|argument| argument == "--full");
    let (bytes, rounds) = if full { (8 * 1024 * MIB, 5) } else { (1024 * MIB, 3) };
    let small = if full { 16 * MIB } else { 4 * MIB };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "P12: {} MiB, {rounds} rounds; then {CROWD} times {} MiB at once; on {cores} cores",
        bytes / MIB,
        small / MIB
    );
    let scratch = Scratch::below(&env::temp_dir())?;
    let (chain, key) = certificate(scratch.path())?;
    let program = Program::at(Path::new(env!("CARGO_BIN_EXE_quics-stack")));
    let program = program.with("QUICS_CERTIFICATE", &chain).with("QUICS_KEY", &key);
    let stack = Stack::start_in(&program, scratch)?;
    let device = Device::join(&stack, "device")?;
    let folder = stack.dir("folder")?;
    write_random(&folder.join("large"), bytes)?;
    write_random(&folder.join("small"), small)?;
    device.add(&folder)?;
    device.wait_in_sync_within(Duration::from_secs(1800))?;
    let link = |name: &str| -> Result<String> {
        let path = folder.join(name);
        let said = device.quics(["share", path.to_str().context("a path that is text")?])?;
        Ok(format!("{}/get", said.trim()))
    };
    let (large, little) = (link("large")?, link("small")?);
    let nginx = Nginx::start(&stack.dir("nginx")?, &folder, &chain, &key)?;
    if nginx.is_none() {
        println!("  SKIPPED nginx: it is not installed");
    }

    let mut contestants = Vec::new();
    for (name, version) in
        [("HTTP/1.1", Some("--http1.1")), ("HTTP/2", Some("--http2")), ("HTTP/3, a quinn stream reads", None)]
    {
        contestants.push(Contestant::new(&format!("quics, {name}"), &large, version, bytes));
        if let (Some(nginx), Some(_)) = (&nginx, version) {
            contestants.push(Contestant::new(&format!("nginx, {name}"), &nginx.address("large"), version, bytes));
        }
    }
    let cost = |service| process::processor_time(stack.service(service)?.pid);
    let (share, sync) = (cost(Service::Share)?, cost(Service::Sync)?);
    for _ in 0..rounds {
        for contestant in &mut contestants {
            let time = once(contestant, &chain, bytes)?;
            contestant.row.times.push(time);
        }
    }
    let gib = 3 * rounds * (bytes / MIB) / 1024;
    let each = |before: Duration, after: Duration| (after - before).as_secs_f64() / gib.max(1) as f64;
    let rows: Vec<Row> = contestants.into_iter().map(|contestant| contestant.row).collect();
    table::print("disk", "P12: one download", &rows);
    println!(
        "  processor time a GiB: share-svc {:.2} s, sync-svc {:.2} s",
        each(share, cost(Service::Share)?),
        each(sync, cost(Service::Sync)?)
    );
    let median = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.median().as_secs_f64());
    for version in ["HTTP/1.1", "HTTP/2"] {
        if let Some((ours, theirs)) = median(&format!("quics, {version}")).zip(median(&format!("nginx, {version}"))) {
            let share = theirs / ours;
            table::verdict(&format!("at least 0.8 of nginx, {version}"), share >= 0.8, &format!("{share:.2}"));
        }
    }

    let mut rows = Vec::new();
    for version in ["--http1.1", "--http2"] {
        let (mut ours, mut theirs) = (Row::new(format!("quics, {version}")), Row::new(format!("nginx, {version}")));
        for row in [&mut ours, &mut theirs] {
            row.amount = Some((CROWD as f64 * small as f64 / MIB as f64, "MiB"));
        }
        for _ in 0..rounds {
            ours.times.push(crowd(&little, &chain, version)?);
            if let Some(nginx) = &nginx {
                theirs.times.push(crowd(&nginx.address("small"), &chain, version)?);
            }
        }
        rows.extend([ours, theirs]);
    }
    table::print("disk", &format!("P12: {CROWD} downloads at once"), &rows);
    let peak = process::memory(stack.service(Service::Share)?.pid)?.peak;
    println!("  share-svc used {} MiB of memory at most", peak / MIB);
    Ok(())
}

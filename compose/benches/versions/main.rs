//! What the versions of a large file cost, next to restic where it is installed.
//!
//! ```text
//! cargo bench -p quics-stack --bench versions               256 MiB, 20 versions
//! cargo bench -p quics-stack --bench versions -- --full     1 GiB, 100 versions
//! ```
//!
//! One percent of an image is overwritten in pieces of a mebibyte at random places, again and again; each state is a version.
//! Said is how far each store grew in relation to the bytes that changed, and how long a version took until it was durable.
//! Then some versions are read back and compared. Nothing here asserts but that; it prints.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io};

use anyhow::{Context as _, Result, ensure};
use quics_stack::harness::{Device, Program, Scratch, Stack};
use quics_types::Digest;
use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};

const MIB: u64 = 1 << 20;
/// Versions that are read back.
const CHECKED: u64 = 5;

struct Image {
    path: PathBuf,
    size: u64,
    random: StdRng,
}

impl Image {
    fn make(path: &Path, size: u64) -> Result<Self> {
        let mut random = StdRng::seed_from_u64(11);
        let file = File::create(path)?;
        let mut block = vec![0; MIB as usize];
        for at in 0..size / MIB {
            random.fill_bytes(&mut block);
            file.write_all_at(&block, at * MIB)?;
        }
        file.sync_all()?;
        Ok(Self { path: path.to_owned(), size, random })
    }

    /// Overwrites a hundredth in pieces of a mebibyte; says how many bytes.
    fn change(&mut self) -> Result<u64> {
        let pieces = (self.size / MIB / 100).max(1);
        let file = File::options().write(true).open(&self.path)?;
        let mut block = vec![0; MIB as usize];
        for _ in 0..pieces {
            self.random.fill_bytes(&mut block);
            let at = self.random.random_range(0..=self.size - MIB);
            file.write_all_at(&block, at)?;
        }
        Ok(pieces * MIB)
    }

    fn digest(&self) -> Result<Digest> {
        digest(File::open(&self.path)?)
    }
}

fn digest(mut from: impl io::Read) -> Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut from, &mut hasher)?;
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}

/// What a store did with all versions.
struct Cost {
    name: &'static str,
    before: u64,
    after: u64,
    times: Vec<Duration>,
}

impl Cost {
    fn print(&mut self, changed: u64) {
        self.times.sort();
        let median = self.times.get(self.times.len() / 2).copied().unwrap_or_default();
        let grew = self.after.saturating_sub(self.before);
        println!(
            "  {:<24} grew by {:>6} MiB, {:.3} of the changed bytes; a version took {:.2} s (median; at most {:.2} s)",
            self.name,
            grew / MIB,
            grew as f64 / changed as f64,
            median.as_secs_f64(),
            self.times.last().copied().unwrap_or_default().as_secs_f64()
        );
    }
}

fn restic(repository: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new("restic")
        .args(["--no-cache", "--quiet", "--repo"])
        .arg(repository)
        .args(arguments)
        .env("RESTIC_PASSWORD", "benchmark")
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "restic {arguments:?} failed");
    Ok(())
}

/// The bytes of all files in a directory.
fn size_of(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}

fn main() -> Result<()> {
    let full = env::args().any(|argument| argument == "--full");
    let (size, versions) = if full { (1024 * MIB, 100) } else { (256 * MIB, 20) };
    println!("{versions} versions of an image of {} MiB, 1 % changed between them", size / MIB);
    let scratch = Scratch::below(&env::temp_dir())?;
    let repository = scratch.dir("restic")?;
    let with_restic = restic(&repository, &["init"]).is_ok();
    if !with_restic {
        println!("  SKIPPED restic: it is not installed");
    }
    let program = Program::at(Path::new(env!("CARGO_BIN_EXE_quics-stack")));
    let stack = Stack::start_in(&program, scratch)?;
    let device = Device::join(&stack, "device")?;
    let folder = stack.dir("device/folder")?;
    let mut image = Image::make(&folder.join("image"), size)?;
    device.add(&folder)?;
    device.wait_in_sync_within(Duration::from_secs(600))?;
    let kept = || stack.statistics().map(|statistics| statistics.chunk_bytes);
    let path = image.path.to_str().context("a path that is text")?.to_owned();
    let mut ours = Cost { name: "quics", before: kept()?, after: 0, times: Vec::new() };
    let mut theirs = Cost { name: "restic", before: 0, after: 0, times: Vec::new() };
    if with_restic {
        restic(&repository, &["backup", &path])?;
        theirs.before = size_of(&repository)?;
    }
    let seq = || -> Result<u64> { Ok(stack.statistics()?.roots.first().map_or(0, |root| root.seq)) };
    let (mut changed, mut digests) = (0, vec![image.digest()?]);
    for _ in 0..versions {
        let last = seq()?;
        changed += image.change()?;
        let begun = Instant::now();
        while seq()? == last {
            ensure!(begun.elapsed() < Duration::from_secs(600), "a version did not arrive");
            std::thread::sleep(Duration::from_millis(2));
        }
        ours.times.push(begun.elapsed());
        device.wait_in_sync_within(Duration::from_secs(600))?;
        digests.push(image.digest()?);
        if with_restic {
            let begun = Instant::now();
            restic(&repository, &["backup", &path])?;
            theirs.times.push(begun.elapsed());
        }
    }
    ours.after = kept()?;
    ours.print(changed);
    if with_restic {
        theirs.after = size_of(&repository)?;
        theirs.print(changed);
    }
    for at in 0..CHECKED {
        let number = at * versions / (CHECKED - 1);
        let wanted = digests.get(number as usize).context("a version that was made")?;
        // The first version is 1.
        let mut command = device.command(["cat", &format!("{path}@{}", number + 1)]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let begun = Instant::now();
        let read = digest(child.stdout.take().context("what it prints")?)?;
        ensure!(child.wait()?.success() && read == *wanted, "version {} is another one", number + 1);
        println!("  version {} read back whole in {:.2} s", number + 1, begun.elapsed().as_secs_f64());
    }
    Ok(())
}

//! I5 across real kills: a child process commits over sled and is killed with SIGKILL, also while it opens.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use quics_meta::{Batch, Journaled, MetaStore, Options};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const DIR: &str = "QUICS_META_KILL_DIR";

fn options() -> Options {
    Options {
        segment_size: 16 << 10,
        snapshot_after: 64 << 10,
        cache: 4 << 20,
        recent_bytes: 4 << 10,
        ..Options::default()
    }
}

/// The rows that batch `seq` writes; a batch that is half there shows in them.
fn batch(seq: u64) -> Batch {
    let mut batch = Batch::new();
    for part in 0..3_u64 {
        let key = [&b"k"[..], &(seq % 50).to_be_bytes(), &part.to_be_bytes()].concat();
        batch.put(key, seq.to_be_bytes().to_vec());
    }
    batch.put("n", seq.to_be_bytes().to_vec());
    batch
}

/// Is no test by itself: it is what the child process of the test below runs.
#[test]
fn child_of_the_kill_test() {
    let Ok(dir) = env::var(DIR) else { return };
    println!("\nopening");
    let store = Journaled::open(dir, options()).unwrap();
    let mut pending = std::collections::VecDeque::new();
    let mut next = store.applied() + 1;
    loop {
        pending.push_back(store.submit(batch(next)).unwrap());
        next += 1;
        if pending.len() == 8
            && let Some(receipt) = pending.pop_front()
        {
            println!("acknowledged {}", receipt.wait().unwrap());
            std::io::stdout().flush().unwrap();
        }
    }
}

fn start(dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::child_of_the_kill_test", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a child work until it has acknowledged `count` batches (none: until it opens the store), kills it, and gives the last
/// seq that it acknowledged.
fn run_and_kill(dir: &Path, count: usize, delay: u32) -> u64 {
    let mut child = start(dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut acknowledged, mut seen) = (0, 0);
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some(seq) = line.strip_prefix("acknowledged ") {
            acknowledged = seq.parse().unwrap();
            seen += 1;
        }
        if (count == 0 && line == "opening") || (count > 0 && seen >= count) {
            break;
        }
    }
    // A place within the opening, or within a commit, is as good as any other.
    for _ in 0..delay {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    // What it acknowledged before the kill reached it counts too.
    for line in lines.map_while(Result::ok) {
        if let Some(seq) = line.strip_prefix("acknowledged ").and_then(|seq| seq.parse().ok()) {
            acknowledged = seq;
        }
    }
    child.wait().unwrap();
    acknowledged
}

#[test]
fn acknowledged_batches_outlive_kills_also_while_the_store_opens() {
    let cycles: u64 = env::var("QUICS_META_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let dir = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut promised = 0;
    for cycle in 0..cycles {
        let count = if cycle % 2 == 0 { rng.random_range(1..200) } else { 0 };
        promised = promised.max(run_and_kill(dir.path(), count, rng.random_range(0..20_000)));
        if rng.random_bool(0.3) {
            continue;
        }
        let store = Journaled::open(dir.path(), options()).unwrap();
        let applied = store.applied();
        assert!(applied >= promised, "cycle {cycle}: {promised} was acknowledged, {applied} is there");
        for seq in applied.saturating_sub(49).max(1)..=applied {
            for part in 0..3_u64 {
                let key = [&b"k"[..], &(seq % 50).to_be_bytes(), &part.to_be_bytes()].concat();
                assert_eq!(store.get(&key).unwrap().unwrap(), seq.to_be_bytes()[..], "cycle {cycle}: batch {seq}");
            }
        }
        store.verify().unwrap();
        promised = applied;
    }
    assert!(promised > 0);
}

//! Contents that must not be kept: after a purge no file of any store of the server has them.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use quics_kit::names::Service;
use quics_stack::harness::{Device, printed};

use super::{at, cat, fails, log, path};
use crate::support::{Ann, PATIENCE, Pair, text, until, write_random};

/// Bytes of a piece that is searched for; no compression makes it smaller.
const PIECE: usize = 64;

fn random(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    random
}

/// The files below a directory that hold one of the pieces.
fn holders(directory: &Path, pieces: &[&[u8]]) -> Vec<PathBuf> {
    let (mut found, mut rest) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(next) = rest.pop() {
        // What a running service removes meanwhile is gone.
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries.map(|entry| entry.unwrap()) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                rest.push(entry.path());
            } else if kind.is_file()
                && let Ok(bytes) = fs::read(entry.path())
                && pieces.iter().any(|piece| holds(&bytes, piece))
            {
                found.push(entry.path());
            }
        }
    }
    found
}

fn holds(bytes: &[u8], piece: &[u8]) -> bool {
    let (first, mut rest) = (piece[0], bytes);
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].starts_with(piece) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Purges, which has to be done when it returns.
fn purge(device: &Device, arguments: &[&str]) -> String {
    let said = device.quics(["purge", "--yes", "--reason", "a key"].iter().chain(arguments)).unwrap();
    assert!(said.contains("Purged: no file of any store"), "{said}");
    said
}

#[test]
fn a_purged_secret_is_in_no_file_of_any_store() {
    let mut pair = Pair::new();
    let secret = random(300);
    fs::write(pair.at("keys.txt"), &secret).unwrap();
    fs::write(pair.at("copy.txt"), &secret).unwrap();
    fs::write(pair.at("other.txt"), "stays\n").unwrap();
    write_random(&pair.at("image"), 10 << 20);
    let image = fs::read(pair.at("image")).unwrap();
    pair.settle();
    pair.known();
    let data = pair.stack.data().root().to_owned();
    let small = [&secret[100..100 + PIECE]];
    // Between two of these lies the border of a chunk, at most.
    let large: Vec<&[u8]> = (0..40).map(|number| &image[number * 250_000..][..PIECE]).collect();
    assert!(!holders(&data, &small).is_empty() && !holders(&data, &large).is_empty(), "the search finds them");

    let said = fails(&pair.left, &["purge", "--yes", path(&pair.at("keys.txt"))]);
    assert!(said.contains("is still there with this content on 2 devices: replace or delete it first"), "{said}");
    fs::write(pair.at("keys.txt"), "no keys\n").unwrap();
    fs::remove_file(pair.at("image")).unwrap();
    pair.settle();
    pair.known();
    let said = fails(&pair.left, &["purge", "--yes", &at(pair.at("keys.txt"), 1)]);
    assert!(said.contains("copy.txt is still there"), "{said}");
    fs::remove_file(pair.at("copy.txt")).unwrap();
    pair.settle();
    pair.known();
    pair.left.quics(["pin", &at(pair.at("copy.txt"), 1)]).unwrap();
    let said = fails(&pair.left, &["purge", "--yes", &at(pair.at("keys.txt"), 1)]);
    assert!(said.contains("copy.txt@1 is pinned"), "{said}");
    pair.left.quics(["unpin", &at(pair.at("copy.txt"), 1)]).unwrap();
    let said = fails(&pair.left, &["purge", &at(pair.at("keys.txt"), 1)]);
    assert!(said.contains("--yes"), "{said}");
    let shown = pair.left.quics(["purge", "--dry-run", &at(pair.at("keys.txt"), 1)]).unwrap();
    assert!(shown.contains("keys.txt@1") && shown.contains("copy.txt@1") && shown.contains("2 versions of 1 content"));
    assert_eq!(cat(&pair.left, &pair.at("keys.txt"), 1), secret, "nothing has happened yet");

    purge(&pair.left, &[&at(pair.at("keys.txt"), 1)]);
    assert_eq!(holders(&data, &small), Vec::<PathBuf>::new());
    assert_eq!(cat(&pair.left, &pair.at("image"), 1), image, "that one is still kept");
    purge(&pair.left, &[path(&pair.at("image"))]);
    assert_eq!(holders(&data, &large), Vec::<PathBuf>::new());

    for (name, version) in [("keys.txt", 1), ("copy.txt", 1), ("image", 1)] {
        let said = fails(&pair.right, &["cat", &at(pair.on(name), version)]);
        assert!(said.contains("is not kept any more") && said.contains("purged by user: a key"), "{said}");
    }
    let versions = log(&pair.right, &[path(&pair.on("copy.txt"))]);
    assert_eq!(versions.last().unwrap()["removed"], "purged by user: a key");
    let listed = pair.right.quics(["purge", "--list", path(&pair.there)]).unwrap();
    assert_eq!(listed.lines().filter(|line| line.contains("a key") && line.contains("(done)")).count(), 2, "{listed}");
    // Everything else is as it was, also for who comes anew, and after a restart.
    pair.stack.down().unwrap();
    pair.stack.up().unwrap();
    pair.known();
    assert_eq!(holders(&data, &[small[0], large[3]]), Vec::<PathBuf>::new());
    assert_eq!(cat(&pair.right, &pair.on("other.txt"), 1), b"stays\n");
    let mut third = Device::join(&pair.stack, "third").unwrap();
    let folder = pair.stack.path().join("third/docs");
    third.clone_root("docs", &folder).unwrap();
    until("the new one to have all", || text(folder.join("keys.txt")) == "no keys\n");
    third.stop_agent().unwrap();
    printed(pair.stack.command(&["verify"]), PATIENCE).unwrap();
    // What was purged can come back: it is a content like any other then.
    fs::write(pair.at("keys.txt"), &secret).unwrap();
    pair.settle();
    assert_eq!(fs::read(pair.on("keys.txt")).unwrap(), secret);
}

#[test]
fn a_purge_is_finished_whatever_dies_meanwhile() {
    let pair = Pair::new();
    let secrets: Vec<Vec<u8>> = (0..6).map(|_| random(40_000)).collect();
    for (number, secret) in secrets.iter().enumerate() {
        fs::write(pair.at(number.to_string()), secret).unwrap();
    }
    pair.settle();
    for number in 0..secrets.len() {
        fs::remove_file(pair.at(number.to_string())).unwrap();
    }
    pair.settle();
    pair.known();
    let data = pair.stack.data().root().to_owned();
    let pieces: Vec<&[u8]> = secrets.iter().map(|secret| &secret[1000..1000 + PIECE]).collect();
    assert!(!holders(&data, &pieces).is_empty());
    for (number, service) in [Service::Sync, Service::History].iter().cycle().take(secrets.len()).enumerate() {
        let file = pair.at(number.to_string());
        std::thread::scope(|scope| {
            let stack = &pair.stack;
            let killer = scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(20 + 30 * number as u64));
                stack.crash(*service)
            });
            // It may be told that it will be finished, or that it could not be written down.
            pair.left.run(["purge", "--yes", path(&file)]).unwrap();
            killer.join().unwrap().unwrap();
        });
        until("it to be written down", || {
            let run = pair.left.run(["purge", "--list", "docs", "--json"]).unwrap();
            let said = String::from_utf8_lossy(&run.stdout).into_owned();
            let there = said.matches("\"ended_at\": \"").count() > number;
            if !there && run.status.success() && said.matches("\"id\"").count() <= number {
                pair.left.run(["purge", "--yes", path(&file)]).unwrap();
            }
            there
        });
        assert_eq!(holders(&data, &pieces[number..=number]), Vec::<PathBuf>::new(), "{number}");
    }
}

#[test]
fn who_does_not_own_a_root_purges_nothing() {
    let pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "one\n").unwrap());
    fs::create_dir(pair.at("letters")).unwrap();
    fs::write(pair.at("plan.txt"), "two\n").unwrap();
    pair.settle();
    pair.known();
    for (arguments, word) in [
        (vec!["purge", path(&pair.at("letters"))], "it is no file"),
        (vec!["purge", path(&pair.at("never"))], "nothing ever had this path"),
        (vec!["purge", "/nowhere"], "not in a synced directory"),
    ] {
        let said = fails(&pair.left, &arguments);
        assert!(said.contains(word), "{said}");
    }
    let Ann { device: ann, folder } = Ann::of(&pair, "writer");
    until("her copy", || text(folder.join("plan.txt")) == "two\n");
    let said = fails(&ann, &["purge", "--yes", &at(folder.join("plan.txt"), 1)]);
    assert!(said.contains("a writer may not"), "{said}");
    assert_eq!(cat(&ann, &folder.join("plan.txt"), 1), b"one\n");
    assert_eq!(pair.left.quics(["purge", "--list", path(&pair.here)]).unwrap(), "Nothing was purged.\n");
}

//! A device that destroys much is braked, and what it did passes or is taken back.

use std::fs;
use std::path::Path;

use quics_stack::harness::{Device, tree};
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use super::path;
use crate::support::{PATIENCE, Pair, heavy, shows, shows_tree, text, until};
use crate::units::repository::Repository;

/// A folder of documents.
fn fill(folder: &Path, count: usize) {
    for number in 0..count {
        let below = folder.join(format!("year-{}", number % 20));
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join(format!("{number}.txt")), format!("Dear number {number},\n").repeat(20)).unwrap();
    }
}

/// The documents in a folder.
fn documents(folder: &Path) -> Vec<std::path::PathBuf> {
    let all = tree::read(folder).unwrap().into_keys();
    all.map(|path| folder.join(path)).filter(|path| path.is_file()).collect()
}

fn noise(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; 400];
    random.fill_bytes(&mut bytes);
    bytes
}

/// The braked devices that are listed.
fn braked(device: &Device) -> Vec<Value> {
    let output = device.run(["hold", "list", "--json"]).unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    listed["braked"].as_array().unwrap().clone()
}

/// Waits until the device is braked and holds so many changes.
fn until_held(pair: &Pair, count: u64) -> Value {
    let mut last = Value::Null;
    until(&format!("{count} changes to be held"), || {
        last = braked(&pair.left).into_iter().next().unwrap_or_default();
        last["held"].as_u64().unwrap_or(0) >= count
    });
    last
}

/// How many files are others in one folder than in the other; `None` while one of them changes.
fn differing(here: &Path, there: &Path) -> Option<u64> {
    let files = |folder: &Path| tree::read(folder).ok().map(std::collections::BTreeMap::into_keys);
    let all: std::collections::BTreeSet<_> = files(here)?.chain(files(there)?).collect();
    let read = |path: std::path::PathBuf| fs::read(path).ok();
    Some(all.into_iter().filter(|path| read(here.join(path)) != read(there.join(path))).count() as u64)
}

/// Overwrites all documents; says how many there are.
fn encrypt(folder: &Path, random: &mut StdRng) -> usize {
    let documents = documents(folder);
    for document in &documents {
        fs::write(document, noise(random)).unwrap();
    }
    documents.len()
}

#[test]
fn a_device_that_encrypts_everything_is_braked_and_rewound() {
    let count = if heavy("20000 files encrypted (done with 2000)") { 20_000 } else { 2_000 };
    let pair = Pair::with(|folder| fill(folder, count));
    let before = tree::read(&pair.here).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    for (number, document) in documents(&pair.there).into_iter().enumerate() {
        // One program writes in place, another one beside, and deletes.
        if number % 2 == 0 {
            fs::write(document, noise(&mut random)).unwrap();
        } else {
            fs::write(document.with_extension("locked"), noise(&mut random)).unwrap();
            fs::remove_file(document).unwrap();
        }
    }
    let brake = until_held(&pair, 1);
    assert_eq!((&brake["device"], &brake["stage"]), (&"right".into(), &"on".into()));
    until("all that differs to be held", || {
        let differing = differing(&pair.here, &pair.there);
        differing.is_some() && braked(&pair.left)[0]["held"].as_u64() == differing
    });
    let spared = before
        .keys()
        .filter(|path| pair.here.join(path).is_file())
        .filter(|path| text(pair.here.join(path)).starts_with("Dear number"))
        .count();
    assert!(spared >= count / 2, "the others keep most of what they have: {spared} of {count}");
    let said = pair.right.run(["status"]).unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("quics hold"), "the device says what is the matter");
    assert!(pair.left.quics(["status"]).unwrap_or_default().contains("right has changed or deleted unusually much"));

    let look = ["hold", "rewind", path(&pair.here), "--device", "right", "--dry-run", "--json"];
    let told = pair.left.quics(look).unwrap();
    let told: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&told["device"], &told["rewound"], &told["restores"]),
        (&"right".into(), &false.into(), &Value::Array(vec![]))
    );
    let said = pair.left.quics(["hold", "rewind", path(&pair.here), "--device", "right", "--yes"]).unwrap();
    assert!(said.contains("Rewound") && !said.contains("left as they are"), "{said}");
    assert!(said.matches("--undo").count() <= 1, "one restore takes all of it back: {said}");
    shows_tree(&before, &pair.here, PATIENCE);
    shows_tree(&before, &pair.there, PATIENCE);
    pair.in_sync();
    until("the brake to be over", || braked(&pair.left).is_empty());
}

#[test]
fn a_small_root_is_protected_too_and_one_text_over_everything_is_destruction() {
    let mut random = StdRng::seed_from_u64(11);
    for note in [false, true] {
        let pair = Pair::with(|folder| fill(folder, 150));
        let before = tree::read(&pair.here).unwrap();
        for document in &documents(&pair.there) {
            let content = if note { "Your files are mine. Pay.\n".repeat(20).into_bytes() } else { noise(&mut random) };
            fs::write(document, content).unwrap();
        }
        until_held(&pair, 1);
        until("all that differs to be held", || {
            let differing = differing(&pair.here, &pair.there);
            differing.is_some() && braked(&pair.left)[0]["held"].as_u64() == differing
        });
        let said = pair.left.quics(["hold", "rewind", path(&pair.here), "--device", "right", "--yes"]).unwrap();
        assert!(said.contains("Rewound"), "{said}");
        shows_tree(&before, &pair.here, PATIENCE);
        shows_tree(&before, &pair.there, PATIENCE);
        pair.known();
        let versions = super::log(&pair.left, &[path(&pair.here)]);
        let caused = |cause: &str| versions.iter().filter(|it| it["cause"] == cause).count();
        assert!(caused("held_back") > 0 && caused("conflict_lost") == 0, "nobody was asked: {:?}", versions.first());
    }
}

#[test]
fn what_a_braked_device_did_passes_when_an_owner_says_so() {
    let mut pair = Pair::with(|folder| fill(folder, 600));
    let mut random = StdRng::seed_from_u64(8);
    let count = encrypt(&pair.there, &mut random);
    until_held(&pair, 300);
    // Its agent starts anew in between.
    pair.right.stop_agent().unwrap();
    pair.right.start_agent().unwrap();
    // One that went back by itself is not changed by what it was meanwhile.
    let back = documents(&pair.there).into_iter().find(|document| {
        let here = pair.here.join(document.strip_prefix(&pair.there).unwrap());
        text(&here).starts_with("Dear number")
    });
    let back = back.expect("some are held");
    let name = back.strip_prefix(&pair.there).unwrap().to_owned();
    fs::copy(pair.here.join(&name), &back).unwrap();
    until("it to be held no more", || {
        let output = pair.left.run(["hold", "list", "--files", "--json"]).unwrap();
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let files = listed["braked"][0]["files"].as_array().cloned().unwrap_or_default();
        !files.is_empty() && !files.iter().any(|file| file["path"] == name.to_str().unwrap())
    });
    let told = pair.left.json(["hold", "release", path(&pair.here), "--device", "right", "--json"]).unwrap();
    assert_eq!((&told["device"], &told["stage"]), (&"right".into(), &"released".into()));
    shows(&pair.there, &pair.here, PATIENCE);
    pair.in_sync();
    assert!(text(pair.here.join(&name)).starts_with("Dear number"));
    let changed = documents(&pair.here).iter().filter(|it| !text(it).starts_with("Dear number")).count();
    assert_eq!(changed, count - 1);
    until("the brake to be over", || braked(&pair.left).is_empty());
}

#[test]
fn only_what_is_braked_can_be_decided_on() {
    let pair = Pair::with(|folder| fill(folder, 3));
    for arguments in [["hold", "release"], ["hold", "rewind"]] {
        let arguments = [arguments[0], arguments[1], path(&pair.here), "--device", "right"];
        assert!(super::fails(&pair.left, &arguments).contains("\"right\" is not braked here"));
    }
    assert!(pair.left.quics(["config", path(&pair.here)]).unwrap().contains("brake=20%"));
    let said = super::fails(&pair.left, &["config", path(&pair.here), "brake=0"]);
    assert!(said.contains("from 1 to 100, or off"), "{said}");
    assert!(pair.left.quics(["config", path(&pair.here), "brake=off"]).unwrap().contains("brake=off"));
    let mut random = StdRng::seed_from_u64(9);
    fs::create_dir(pair.at("more")).unwrap();
    fill(&pair.at("more"), 300);
    pair.settle();
    encrypt(&pair.there, &mut random);
    shows(&pair.there, &pair.here, PATIENCE);
    assert!(braked(&pair.left).is_empty(), "an owner has switched it off");
}

#[test]
fn what_tools_do_is_no_burst() {
    let pair = Pair::new();
    let repository = Repository(pair.here.clone());
    let git = |arguments: &[&str]| drop(repository.git(arguments));
    git(&["init", "--quiet", "--initial-branch", "one"]);
    fill(&pair.here, 1000);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "one"]);
    git(&["checkout", "--quiet", "-b", "two"]);
    for (number, document) in
        documents(&pair.here).into_iter().filter(|path| !path.to_str().unwrap().contains(".git/")).enumerate()
    {
        match number % 10 {
            0 | 1 => fs::remove_file(document).unwrap(),
            2 => fs::rename(&document, document.with_extension("text")).unwrap(),
            _ => fs::write(document, format!("Another branch says {number},\n").repeat(15)).unwrap(),
        }
    }
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "two"]);
    git(&["checkout", "--quiet", "one"]);
    pair.settle();
    git(&["checkout", "--quiet", "two"]);
    pair.settle();
    assert!(braked(&pair.left).is_empty(), "a branch in which seven of ten files are others, and two are gone");

    for branch in ["one", "two", "one", "two"] {
        git(&["checkout", "--quiet", branch]);
    }
    pair.settle();
    assert!(braked(&pair.left).is_empty(), "to and fro between branches");
    for document in documents(&pair.here).into_iter().filter(|path| !path.to_str().unwrap().contains(".git/")) {
        let formatted = text(&document).replace(' ', "\n\t");
        fs::write(document, formatted).unwrap();
    }
    pair.settle();
    assert!(braked(&pair.left).is_empty(), "all texts formatted");
    fs::create_dir(pair.at("archive")).unwrap();
    for year in 0..20 {
        let name = format!("year-{year}");
        fs::rename(pair.at(&name), pair.at("archive").join(name)).unwrap();
    }
    pair.settle();
    assert!(braked(&pair.left).is_empty(), "all directories moved");

    let modules = pair.at("node_modules");
    fill(&modules, 600);
    pair.settle();
    fs::remove_dir_all(&modules).unwrap();
    pair.settle();
    assert!(braked(&pair.left).is_empty(), "a removed node_modules");

    let mut random = StdRng::seed_from_u64(10);
    fs::create_dir(pair.at("pictures")).unwrap();
    for number in 0..900 {
        fs::write(pair.at(format!("pictures/{number}.jpg")), noise(&mut random)).unwrap();
    }
    pair.settle();
    assert!(braked(&pair.left).is_empty(), "unpacked pictures");
}

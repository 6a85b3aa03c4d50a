//! What is listed and read of versions.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use super::{at, cat, fails, log, path, told};
use crate::conflicts::resolve;
use crate::support::{Pair, heavy, text, until, write_random};

#[test]
fn two_hundred_versions_of_a_text_a_program_and_an_image_are_read_back_bit_for_bit() {
    two_hundred_versions(&Pair::new(), 24 << 20, 1);
}

#[test]
fn versions_of_an_image_of_a_gibibyte_are_read_back_bit_for_bit() {
    if heavy("versions_of_an_image_of_a_gibibyte_are_read_back_bit_for_bit") {
        // All two hundred of them take a quarter of an hour.
        let all = std::env::var_os("QUICS_RELEASE").is_some();
        two_hundred_versions(&Pair::on_disk(), 1 << 30, if all { 1 } else { 25 });
    }
}

/// Changes a text and a program two hundred times, and an image in every so many of these rounds; then reads all of it back.
fn two_hundred_versions(pair: &Pair, image: u64, every: u32) {
    let names = ["plan.txt", "program", "disk.img"];
    write_random(&pair.at(names[2]), image);
    let mut kept: [Vec<blake3::Hash>; 3] = Default::default();
    for round in 0..200_u32 {
        fs::write(pair.at(names[0]), format!("{}line {round}\n", text(pair.at(names[0])))).unwrap();
        write_random(&pair.at(names[1]), 30_000 + u64::from(round));
        fs::set_permissions(pair.at(names[1]), fs::Permissions::from_mode(0o755)).unwrap();
        let images = round % every == 0;
        if images {
            use std::os::unix::fs::FileExt as _;

            let file = fs::File::options().write(true).open(pair.at(names[2])).unwrap();
            file.write_all_at(&[round as u8; 70_000], u64::from(round) * 4000).unwrap();
        }
        pair.left.wait_in_sync().unwrap();
        for (name, kept) in names.iter().zip(&mut kept).take(if images { 3 } else { 2 }) {
            kept.push(hash(fs::File::open(pair.at(name)).unwrap()));
        }
    }
    pair.known();
    for (name, kept) in names.iter().zip(&kept) {
        let contents = |it: &serde_json::Value| it["content"].as_str().map(str::to_owned);
        let mut versions = log(&pair.right, &[path(&pair.on(name))]);
        versions.reverse();
        let mut found: Vec<blake3::Hash> = Vec::new();
        let mut last = None;
        for version in &versions {
            // A change of permissions has a version of its own, with the content of the one before.
            if contents(version) != last {
                last = contents(version);
                let version = at(pair.on(name), version["version"].as_str().unwrap());
                let mut child = pair.right.command(["cat", &version]).stdout(Stdio::piped()).spawn().unwrap();
                found.push(hash(child.stdout.take().unwrap()));
                assert!(child.wait().unwrap().success(), "{version}");
            }
        }
        let missing = kept.iter().filter(|hash| !found.contains(hash)).count();
        assert_eq!(missing, 0, "{name}: {} versions, {} contents", versions.len(), found.len());
    }
}

fn hash(from: impl std::io::Read) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(from).unwrap();
    hasher.finalize()
}

#[test]
fn a_whole_life_with_moves_deletion_and_return_is_told() {
    let pair = Pair::new();
    let step = || pair.settle();
    fs::create_dir(pair.at("a")).unwrap();
    fs::write(pair.at("a/plan.txt"), "one\n").unwrap();
    step();
    fs::write(pair.at("a/plan.txt"), "two\n").unwrap();
    step();
    fs::rename(pair.at("a/plan.txt"), pair.at("a/final.txt")).unwrap();
    step();
    fs::rename(pair.at("a"), pair.at("b")).unwrap();
    step();
    fs::write(pair.at("b/final.txt"), "three\n").unwrap();
    step();
    fs::remove_file(pair.at("b/final.txt")).unwrap();
    step();
    pair.known();
    let versions = log(&pair.right, &[path(&pair.on("b/final.txt"))]);
    let causes: Vec<String> = told(&versions).into_iter().map(|(_, cause)| cause).collect();
    assert_eq!(causes, ["delete", "edit", "move", "edit", "create"]);
    let paths: Vec<&str> = versions.iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["b/final.txt", "b/final.txt", "a/final.txt", "a/plan.txt", "a/plan.txt"]);
    assert_eq!(versions[2]["moved_from"]["path"], "a/plan.txt");
    let first = versions[4]["version"].as_str().unwrap();
    assert_eq!(cat(&pair.right, &pair.on("b/final.txt"), first), b"one\n");
    // Who lived at a name before.
    fs::write(pair.at("b/final.txt"), "another one\n").unwrap();
    step();
    pair.known();
    let lived = log(&pair.left, &["--path", path(&pair.at("b/final.txt"))]);
    assert!(lived.iter().any(|it| it["cause"] == "delete") && lived[0]["cause"] == "create", "{lived:?}");
    // A directory's log tells what happened in it, and what left it.
    let within = log(&pair.left, &[path(&pair.at("b"))]);
    assert!(within.len() >= 8 && within.iter().any(|it| it["path"] == "a/plan.txt"), "{within:?}");
    // The root's log tells all of it, filters narrow it down.
    let all = log(&pair.left, &[path(&pair.here)]);
    assert!(all.len() >= 8, "{all:?}");
    assert!(log(&pair.left, &[path(&pair.here), "--device", "right"]).is_empty());
    assert!(log(&pair.left, &[path(&pair.here), "--device", "left"]).len() == all.len());
    assert!(log(&pair.left, &[path(&pair.here), "--until", "1h ago"]).is_empty());
    assert!(log(&pair.left, &[path(&pair.here), "--since", "1h ago"]).len() == all.len());
    fs::remove_file(pair.at("b/final.txt")).unwrap();
    step();
    pair.known();
    let deleted = log(&pair.left, &[path(&pair.here), "--deleted"]);
    assert!(deleted.len() == 1 && deleted[0]["path"] == "b/final.txt", "{deleted:?}");
}

#[test]
fn the_loser_of_a_conflict_is_a_version_like_any_other() {
    let pair = Pair::quarrel();
    resolve(&pair.left, &[path(&pair.at("plan.txt")), "--take", "server"]);
    pair.agreed();
    pair.known();
    let versions = log(&pair.left, &[path(&pair.at("plan.txt"))]);
    let lost = versions.iter().find(|it| it["cause"] == "conflict_lost").unwrap_or_else(|| panic!("{versions:?}"));
    assert_eq!(lost["device"], "right");
    let number = lost["version"].as_str().unwrap();
    assert!(number.contains('.'), "{number}");
    assert_eq!(cat(&pair.left, &pair.at("plan.txt"), number), b"the right one's\n");
    // It can be brought back, too.
    super::restore(&pair.left, &[&at(pair.at("plan.txt"), number)]);
    until("it to be back", || text(pair.on("plan.txt")) == "the right one's\n");
}

#[test]
fn versions_are_compared_and_written_to_other_places() {
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("letters")).unwrap();
        fs::write(folder.join("letters/a.txt"), "one\ntwo\nthree\n").unwrap();
        std::os::unix::fs::symlink("a.txt", folder.join("letters/link")).unwrap();
    });
    let before = pair.known();
    fs::write(pair.at("letters/a.txt"), "one\n2\nthree\n").unwrap();
    fs::write(pair.at("letters/b.bin"), [0_u8; 700]).unwrap();
    pair.settle();
    pair.known();
    let said = pair.right.quics(["diff", &at(pair.on("letters/a.txt"), 1)]).unwrap();
    assert!(said.contains("- two") && said.contains("+ 2"), "{said}");
    let said = pair.right.quics(["diff", &at(pair.on("letters/a.txt"), 1), &at(pair.on("letters/a.txt"), 2)]).unwrap();
    assert!(said.contains("- two") && said.contains("+ 2"), "{said}");
    let said = pair.right.quics(["diff", &at(pair.on("letters/b.bin"), 1)]).unwrap();
    assert!(said.contains("700 B"), "{said}");
    let said = pair.right.quics(["diff", &at(pair.on("letters"), format_args!("#{before}"))]).unwrap();
    assert!(said.contains("~ letters/a.txt") && said.contains("+ letters/b.bin"), "{said}");
    let out = pair.stack.path().join("old letters");
    pair.right.quics(["get", &at(pair.on("letters"), format_args!("#{before}")), "-o", path(&out)]).unwrap();
    assert_eq!(text(out.join("a.txt")), "one\ntwo\nthree\n");
    assert_eq!(fs::read_link(out.join("link")).unwrap().to_str(), Some("a.txt"));
    assert!(!out.join("b.bin").exists());
    let again = fails(&pair.right, &["get", &at(pair.on("letters/a.txt"), 1), "-o", path(&out.join("a.txt"))]);
    assert!(again.contains("exists already"), "{again}");
    let listed = pair.right.quics(["ls", path(&pair.on("letters")), "--at", &format!("#{before}")]).unwrap();
    assert!(listed.contains("a.txt@1") && !listed.contains("b.bin"), "{listed}");
}

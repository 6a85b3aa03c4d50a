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

#[test]
fn what_is_no_text_says_whether_it_differs_and_a_directory_what_became_of_its_names() {
    let pair = Pair::with(|folder| {
        fs::create_dir_all(folder.join("letters/old")).unwrap();
        fs::write(folder.join("letters/a.bin"), [0, 1].repeat(350)).unwrap();
        fs::write(folder.join("letters/old/b.txt"), "b\n").unwrap();
        fs::write(folder.join("letters/gone.txt"), "gone\n").unwrap();
    });
    let first = pair.known();
    fs::write(pair.at("letters/a.bin"), [0, 2].repeat(350)).unwrap();
    fs::remove_file(pair.at("letters/gone.txt")).unwrap();
    fs::write(pair.at("letters/new.txt"), "new\n").unwrap();
    pair.settle();
    let second = pair.known();
    fs::write(pair.at("letters/later.txt"), "later\n").unwrap();
    pair.settle();
    pair.known();
    let (binary, letters) = (pair.on("letters/a.bin"), pair.on("letters"));
    let diff = |sides: &[&str]| pair.right.quics(["diff"].iter().chain(sides)).unwrap();
    assert!(diff(&[&at(&binary, 1), &at(&binary, 2)]).contains("They differ."));
    assert!(diff(&[&at(&binary, 1)]).contains("They differ."));
    assert!(diff(&[&at(&binary, 2)]).contains("They are the same."));
    let moment = |commit: u64| at(&letters, format_args!("#{commit}"));
    let said = diff(&[&moment(first), &moment(second)]);
    let mut lines: Vec<&str> = said.lines().map(str::trim).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["+ new.txt  4 B", "- gone.txt", "~ a.bin  700 B"]);
    assert_eq!(diff(&[&moment(second), &moment(second)]).trim(), "Nothing differs.");
    // What became a FIFO is not waited for.
    fs::remove_file(&binary).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &binary, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let said = fails(&pair.right, &["diff", &at(&binary, 1)]);
    assert!(said.contains("is a FIFO"), "{said}");
}

#[test]
fn what_differs_in_a_unit_is_listed_file_by_file() {
    let pair = Pair::with(|folder| {
        fs::create_dir_all(folder.join("work/.git/refs")).unwrap();
        fs::write(folder.join("work/.git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(folder.join("work/.git/config"), "[core]\n").unwrap();
    });
    fs::write(pair.at("work/.git/HEAD"), "ref: refs/heads/next\n").unwrap();
    fs::write(pair.at("work/.git/refs/next"), "1234\n").unwrap();
    pair.settle();
    pair.known();
    let unit = pair.on("work/.git");
    for second in [None, Some(at(&unit, 2))] {
        let said = pair.right.quics(["diff".to_owned(), at(&unit, 1)].into_iter().chain(second)).unwrap();
        assert!(said.contains("~ HEAD") && said.contains("+ refs/next") && !said.contains("config"), "{said}");
    }
    let said = pair.right.quics(["diff", &at(&unit, 2)]).unwrap();
    assert!(said.contains("3 files") && said.contains("They are the same."), "{said}");
}

#[test]
fn a_version_is_written_to_the_output_and_a_list_goes_on_where_it_ended() {
    let pair = Pair::with(|folder| fs::write(folder.join("plan@home.txt"), "0\n").unwrap());
    let plan = pair.at("plan@home.txt");
    for number in 1..6 {
        fs::write(&plan, format!("{number}\n")).unwrap();
        pair.settle();
    }
    pair.known();
    for output in ["-", "/dev/stdout"] {
        assert_eq!(pair.left.quics(["get", &at(&plan, 2), "-o", output]).unwrap(), "1\n");
    }
    let said = fails(&pair.left, &["get", &at(&pair.here, "1h ago"), "-o", "-"]);
    assert!(said.contains("is a directory"), "{said}");
    // What is called so is asked for its version, whatever stands behind the @.
    for command in [&["cat"][..], &["pin"], &["diff"], &["restore"], &["get", "-o", "-"]] {
        let said = fails(&pair.left, &[command, &[path(&plan)]].concat());
        assert!(said.contains("say which version") && said.contains("plan@home.txt@7"), "{command:?}: {said}");
    }
    fs::write(pair.at("memo@3"), "three\n").unwrap();
    pair.settle();
    fs::remove_file(&plan).unwrap();
    fs::remove_file(pair.at("memo@3")).unwrap();
    pair.settle();
    pair.known();
    for gone in [&plan, &pair.at("memo@3")] {
        assert!(fails(&pair.left, &["cat", path(gone)]).contains("say which version"), "{gone:?}");
    }
    assert_eq!(cat(&pair.left, &pair.at("memo@3"), 1), b"three\n");
    assert!(fails(&pair.left, &["cat", path(&pair.at("never@home.txt"))]).contains("no time"));

    let all = log(&pair.left, &["docs"]);
    let (mut found, mut mark) = (Vec::new(), None);
    loop {
        let from = mark.iter().flat_map(|mark: &String| ["--before", mark]);
        let output = pair.left.run(["log", "docs", "--json", "--limit", "2"].into_iter().chain(from)).unwrap();
        assert!(output.status.success());
        let lines = String::from_utf8(output.stdout).unwrap();
        found.extend(lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
        let said = String::from_utf8(output.stderr).unwrap();
        let Some(next) = said.split("--before ").nth(1) else { break };
        mark = next.split(' ').next().map(str::to_owned);
    }
    assert_eq!(found, all);
}

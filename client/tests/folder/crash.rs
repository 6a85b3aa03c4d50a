//! The process is killed while it works.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use quics_client::folder::{Disk, Folder, Op};
use quics_types::UnitNames;

use crate::{common::*, units};

const PLACE: &str = "QUICS_TEST_CRASH_PLACE";
const FILES: usize = 40;

fn text(file: usize, round: usize) -> String {
    format!("file {file} round {round:06} ").repeat(100)
}

/// The process that is killed: replaces all files over and over, as fast as it can, and says when it has begun.
#[test]
fn child_that_is_killed() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let mut disk = Disk::open(place.as_ref(), ROOT, UnitNames::default()).unwrap();
    println!("begun");
    for round in 1.. {
        let mut ops: Vec<Op> = (0..FILES)
            .map(|file| {
                let at = format!("d/f{file}");
                let source = inline(&text(file, round));
                match disk.stat(&spot(&at)).unwrap() {
                    Some(expected) if round % 5 == 0 => Op::Remove { at: spot(&at), expected },
                    Some(expected) => {
                        Op::ReplaceWithFile { at: spot(&at), expected, source, mode: 0o644, mtime: MTIME }
                    }
                    None => Op::MakeFile { at: spot(&at), source, mode: 0o644, mtime: MTIME },
                }
            })
            .collect();
        let unit = match disk.stat(&spot("d/.git")).unwrap() {
            Some(expected) if round % 7 == 0 => Op::Remove { at: spot("d/.git"), expected },
            Some(expected) => {
                let source = units::bundle(&format!("round {round}"));
                Op::ReplaceWithUnit { at: spot("d/.git"), expected, source, mode: 0o755 }
            }
            None => units::make_unit("d/.git", &format!("round {round}")),
        };
        ops.push(unit);
        all_done(&disk.apply(&ops));
        disk.tree().sweep_displaced(quics_types::Mtime { seconds: i64::MAX, nanos: 0 }).unwrap();
    }
}

#[test]
fn a_kill_at_any_time_leaves_old_or_new_files_and_a_folder_that_opens() {
    let (place, mut disk) = folder();
    all_done(&disk.apply(&[make_dir("d")]));
    drop(disk);
    for cycle in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child_that_is_killed", "--nocapture"])
            .env(PLACE, place.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        assert!(output.lines().map_while(Result::ok).any(|line| line.contains("begun")), "it never began");
        // The moment of the kill is varied by work of another length each time, not by a clock.
        for _ in 0..cycle * 12 {
            fs::read_dir(place.path().join("d")).unwrap().count();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let disk = Disk::open(place.path(), ROOT, UnitNames::default()).unwrap();
        for entry in fs::read_dir(place.path().join("d")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() == ".git" {
                assert!(units::text_of(&entry.path()).starts_with("round "), "it is torn");
                continue;
            }
            let found = fs::read_to_string(entry.path()).unwrap();
            let file: usize = entry.file_name().to_str().unwrap()[1..].parse().unwrap();
            let round = found.split(' ').nth(3).unwrap().parse().unwrap();
            assert_eq!(found, text(file, round), "it is torn");
        }
        assert_eq!(fs::read_dir(place.path().join(".quics/stage")).unwrap().count(), 0);
        let edits = disk.tree().sweep_displaced(quics_types::Mtime { seconds: i64::MAX, nanos: 0 }).unwrap();
        assert_eq!(edits, [], "what was displaced was as expected");
        assert_eq!(fs::read_dir(place.path().join(".quics/displaced")).unwrap().count(), 0);
    }
}

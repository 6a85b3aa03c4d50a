//! Somebody with access to the folder tries to lead the agent out of it, and readers watch it work.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use quics_client::folder::{Folder, Op, Outcome};

use crate::common::*;

#[test]
fn a_link_swapped_in_for_a_directory_never_leads_outside() {
    const ROUNDS: usize = 1000;
    let (place, mut disk) = folder();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("in")).unwrap();
    fs::write(outside.path().join("in/canary"), "untouched").unwrap();
    fs::create_dir_all(place.path().join("d/in")).unwrap();
    fs::write(place.path().join("d/in/canary"), "inside").unwrap();
    symlink(outside.path(), place.path().join("evil")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let attacker = {
        let (stop, root) = (stop.clone(), place.path().to_owned());
        thread::spawn(move || {
            let (dir, evil) = (root.join("d"), root.join("evil"));
            while !stop.load(Ordering::Relaxed) {
                let at = rustix::fs::CWD;
                rustix::fs::renameat_with(at, &dir, at, &evil, rustix::fs::RenameFlags::EXCHANGE).unwrap();
            }
        })
    };
    let (mut reached, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let at = format!("d/in/new{round}");
        let ops = [make(&at, "x"), make_dir(&format!("d/in/dir{round}"))];
        for outcome in disk.apply(&ops) {
            match outcome {
                Outcome::Done(_) => reached += 1,
                Outcome::Differs => refused += 1,
                Outcome::Failed(error) => panic!("{error}"),
            }
        }
        if let Some((bytes, stat)) = disk.read_small(&spot("d/in/canary")).unwrap() {
            assert_eq!(bytes, "inside");
            for outcome in disk.apply(&[Op::SetAttributes {
                at: spot("d/in/canary"),
                expected: stat,
                mode: 0o600,
                mtime: Some(MTIME),
            }]) {
                assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
            }
        }
        if let Ok(listing) = disk.list(&path("d/in")) {
            assert!(listing.members.iter().any(|member| member.name == name("canary")));
        }
    }
    stop.store(true, Ordering::Relaxed);
    attacker.join().unwrap();
    assert!(reached > 0 && refused > 0, "the attack never met an operation: {reached} {refused}");
    let left: Vec<_> = fs::read_dir(outside.path().join("in")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["canary"]);
    assert_eq!(fs::read_to_string(outside.path().join("in/canary")).unwrap(), "untouched");
}

#[test]
fn a_reader_sees_the_old_file_or_the_new_one_and_nothing_else() {
    const ROUNDS: usize = 2000;
    let (place, mut disk) = folder();
    let text = |round: usize| format!("{round:08}").repeat(500);
    all_done(&disk.apply(&[make("f", &text(0))]));
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (stop, file) = (stop.clone(), place.path().join("f"));
        thread::spawn(move || {
            let mut seen = 0usize;
            let mut last = 0;
            while !stop.load(Ordering::Relaxed) {
                let found = fs::read_to_string(&file).unwrap();
                let round: usize = found[..8].parse().unwrap();
                assert_eq!(found, format!("{round:08}").repeat(500), "it is torn");
                assert!(round >= last, "it went back");
                (seen, last) = (seen + 1, round);
            }
            seen
        })
    };
    for round in 1..=ROUNDS {
        let expected = stat(&mut disk, "f");
        let op =
            Op::ReplaceWithFile { at: spot("f"), expected, source: inline(&text(round)), mode: 0o644, mtime: MTIME };
        done(&disk.apply(&[op])[0]);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
}

//! Names that change.

use std::{fs, path::Path, time::Duration};

use crate::support::{PATIENCE, Pair, shows, text, write_random};

#[test]
fn a_file_is_moved_renamed_and_edited_on_the_way() {
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("a")).unwrap();
        fs::create_dir(folder.join("b")).unwrap();
        write_random(&folder.join("a/file"), 300_000);
    });
    fs::rename(pair.at("a/file"), pair.at("b/file")).unwrap();
    pair.settle();
    fs::rename(pair.at("b/file"), pair.at("b/other name")).unwrap();
    pair.settle();
    fs::rename(pair.at("b/other name"), pair.at("file")).unwrap();
    fs::write(pair.at("file"), "edited").unwrap();
    pair.settle();
    assert_eq!(text(pair.on("file")), "edited");
}

#[test]
fn a_directory_of_a_thousand_files_is_moved_as_one_record_without_content() {
    let pair = Pair::with(|folder| {
        fs::create_dir_all(folder.join("photos/2024")).unwrap();
        fs::create_dir(folder.join("archive")).unwrap();
        for number in 0..1000 {
            write_random(&folder.join(format!("photos/2024/{number}.jpg")), 4096);
        }
    });
    let before = pair.stack.statistics().unwrap();
    fs::rename(pair.at("photos/2024"), pair.at("archive/2024")).unwrap();
    pair.settle();
    let after = pair.stack.statistics().unwrap();
    assert_eq!(after.chunk_bytes, before.chunk_bytes, "no content was stored");
    assert_eq!(after.roots[0].seq, before.roots[0].seq + 1, "the move is one record");
    assert_eq!(
        (after.roots[0].entries, after.roots[0].tombstones),
        (before.roots[0].entries, before.roots[0].tombstones)
    );
}

#[test]
fn two_files_change_places() {
    let pair = Pair::with(|folder| {
        fs::write(folder.join("one"), "1").unwrap();
        fs::write(folder.join("two"), "2").unwrap();
    });
    fs::rename(pair.at("one"), pair.at("aside")).unwrap();
    fs::rename(pair.at("two"), pair.at("one")).unwrap();
    fs::rename(pair.at("aside"), pair.at("two")).unwrap();
    pair.settle();
    assert_eq!((text(pair.on("one")), text(pair.on("two"))), ("2".to_owned(), "1".to_owned()));
}

#[test]
fn two_directories_change_places() {
    let pair = Pair::with(|folder| {
        for name in ["east", "west"] {
            fs::create_dir(folder.join(name)).unwrap();
            for number in 0..10 {
                fs::write(folder.join(name).join(number.to_string()), format!("{name} {number}")).unwrap();
            }
        }
    });
    fs::rename(pair.at("east"), pair.at("aside")).unwrap();
    fs::rename(pair.at("west"), pair.at("east")).unwrap();
    fs::rename(pair.at("aside"), pair.at("west")).unwrap();
    pair.settle();
    assert_eq!(text(pair.on("east/7")), "west 7");
}

#[test]
fn logs_are_rotated() {
    let pair = Pair::with(|folder| fs::write(folder.join("app.log"), "0\n").unwrap());
    for round in 1..6 {
        for number in (1..4).rev() {
            if pair.at(format!("app.log.{number}")).exists() {
                fs::rename(pair.at(format!("app.log.{number}")), pair.at(format!("app.log.{}", number + 1))).unwrap();
            }
        }
        fs::rename(pair.at("app.log"), pair.at("app.log.1")).unwrap();
        fs::write(pair.at("app.log"), format!("{round}\n")).unwrap();
        if round % 2 == 0 {
            pair.settle();
        }
    }
    pair.settle();
    assert_eq!(text(pair.on("app.log")), "5\n");
    assert_eq!(text(pair.on("app.log.4")), "1\n");
}

#[test]
fn a_directory_moves_into_its_former_neighbour_while_files_in_it_are_edited() {
    let pair = Pair::with(|folder| {
        fs::create_dir_all(folder.join("project/src")).unwrap();
        fs::create_dir(folder.join("attic")).unwrap();
        for number in 0..20 {
            fs::write(folder.join(format!("project/src/{number}.rs")), format!("fn f{number}() {{}}")).unwrap();
        }
    });
    fs::write(pair.at("project/src/3.rs"), "fn edited() {}").unwrap();
    fs::rename(pair.at("project"), pair.at("attic/project")).unwrap();
    fs::write(pair.at("attic/project/src/4.rs"), "fn edited_too() {}").unwrap();
    fs::write(pair.at("attic/project/src/new.rs"), "fn new() {}").unwrap();
    shows(&pair.here, &pair.there, PATIENCE);
    assert_eq!(text(pair.on("attic/project/src/3.rs")), "fn edited() {}");
}

#[test]
fn one_device_moves_a_file_while_the_other_one_edits_it() {
    let mut pair = Pair::with(|folder| {
        fs::create_dir(folder.join("inbox")).unwrap();
        fs::create_dir(folder.join("done")).unwrap();
        fs::write(folder.join("inbox/task"), "to do").unwrap();
    });
    pair.right.stop_agent().unwrap();
    fs::rename(pair.at("inbox/task"), pair.at("done/task")).unwrap();
    pair.left.wait_in_sync_within(Duration::from_secs(60)).unwrap();
    fs::write(pair.on("inbox/task"), "done by the other").unwrap();
    pair.right.start_agent().unwrap();
    pair.converge();
    assert_eq!(text(pair.at("done/task")), "done by the other");
    assert!(!pair.at("inbox/task").exists());
}

/// Two directories' worth of files, and a file.
fn some(folder: &Path) {
    fs::create_dir_all(folder.join("d/e")).unwrap();
    (0..3).for_each(|number| fs::write(folder.join(format!("d/{number}")), format!("{number}\n")).unwrap());
    fs::write(folder.join("d/e/deep"), "deep\n").unwrap();
    fs::write(folder.join("f"), "file\n".repeat(9_000)).unwrap();
}

#[test]
fn a_file_and_a_directory_change_places_and_nobody_is_asked() {
    let pair = Pair::with(some);
    for _ in 0..10 {
        let (one, other, aside) = (pair.at("d"), pair.at("f"), pair.at("aside"));
        fs::rename(&one, &aside).unwrap();
        fs::rename(&other, &one).unwrap();
        fs::rename(&aside, &other).unwrap();
        pair.settle();
    }
}

#[test]
fn a_file_takes_the_name_of_a_directory_that_was_moved_and_nobody_is_asked() {
    let pair = Pair::with(some);
    for round in 0..6 {
        fs::rename(pair.at("d"), pair.at(format!("was {round}"))).unwrap();
        fs::write(pair.at("d"), format!("round {round}\n")).unwrap();
        pair.settle();
        fs::remove_file(pair.at("d")).unwrap();
        fs::rename(pair.at(format!("was {round}")), pair.at("d")).unwrap();
        pair.settle();
    }
}

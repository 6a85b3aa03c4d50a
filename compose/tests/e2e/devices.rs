//! Several devices, several roots, and devices that are not there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use quics_stack::harness::{Device, Stack, tree};

use crate::support::{PATIENCE, Pair, shows, stack, text, until, write_random};

/// A further device of a server, with the root `docs` cloned.
fn further(stack: &Stack, name: &str) -> (Device, PathBuf) {
    let device = Device::join(stack, name).expect("it joins");
    let folder = stack.path().join(name).join("docs");
    device.clone_root("docs", &folder).expect("it clones the root");
    (device, folder)
}

#[test]
fn three_devices_have_the_same_after_each_of_them_changed_something() {
    let pair = Pair::with(|folder| fs::write(folder.join("common"), "0").unwrap());
    let (third, far) = further(&pair.stack, "third");
    fs::write(pair.at("from the left"), "l").unwrap();
    fs::write(pair.on("from the right"), "r").unwrap();
    fs::write(far.join("from far"), "f").unwrap();
    let all =
        |folder: &Path| ["from the left", "from the right", "from far"].iter().all(|name| folder.join(name).exists());
    until("all to be everywhere", || all(&pair.here) && all(&pair.there) && all(&far));
    fs::write(far.join("common"), "1").unwrap();
    shows(&far, &pair.here, PATIENCE);
    shows(&far, &pair.there, PATIENCE);
    third.wait_in_sync().unwrap();
    pair.in_sync();
}

#[test]
fn a_device_that_was_off_during_a_thousand_changes_catches_up() {
    let mut pair = Pair::with(|folder| {
        fs::create_dir(folder.join("d")).unwrap();
        for number in 0..100 {
            fs::write(folder.join(format!("d/{number}")), "before").unwrap();
        }
    });
    pair.right.stop_agent().unwrap();
    for number in 0..1000 {
        let path = pair.at(format!("d/{}", number % 150));
        match number % 7 {
            3 if path.exists() => fs::remove_file(path).unwrap(),
            5 if path.exists() => fs::rename(&path, pair.at(format!("d/moved {number}"))).unwrap(),
            _ => fs::write(path, format!("change {number}")).unwrap(),
        }
    }
    fs::rename(pair.at("d"), pair.at("e")).unwrap();
    pair.left.wait_in_sync().unwrap();
    pair.right.start_agent().unwrap();
    pair.settle();
    assert!(!pair.on("d").exists());
}

#[test]
fn a_device_that_is_off_delays_nobody() {
    let mut pair = Pair::new();
    let (third, far) = further(&pair.stack, "third");
    pair.right.kill_agent().unwrap();
    for round in 0..5 {
        fs::write(pair.at("news"), format!("{round}")).unwrap();
        shows(&pair.here, &far, Duration::from_secs(20));
    }
    assert_eq!(text(pair.on("news")), "");
    pair.right.start_agent().unwrap();
    pair.settle();
    third.wait_in_sync().unwrap();
}

#[test]
fn changes_made_while_the_agent_is_off_are_found_when_it_starts() {
    let mut pair = Pair::with(|folder| {
        for name in ["kept", "edited", "deleted", "moved"] {
            fs::write(folder.join(name), name).unwrap();
        }
    });
    pair.left.stop_agent().unwrap();
    fs::write(pair.at("edited"), "edited while off").unwrap();
    fs::remove_file(pair.at("deleted")).unwrap();
    fs::rename(pair.at("moved"), pair.at("moved away")).unwrap();
    fs::write(pair.at("new"), "new").unwrap();
    pair.left.start_agent().unwrap();
    pair.settle();
    assert_eq!(text(pair.on("edited")), "edited while off");
}

#[test]
fn a_server_that_was_away_is_found_again() {
    let mut pair = Pair::new();
    fs::write(pair.at("before"), "1").unwrap();
    pair.settle();
    pair.stack.down().unwrap();
    fs::write(pair.at("meanwhile"), "2").unwrap();
    fs::write(pair.on("meanwhile, too"), "3").unwrap();
    pair.stack.up().unwrap();
    until("both to arrive", || text(pair.on("meanwhile")) == "2" && text(pair.at("meanwhile, too")) == "3");
    pair.converge();
}

#[test]
fn a_folder_that_has_the_same_files_already_is_taken_over_without_a_transfer() {
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("sub")).unwrap();
        for number in 0..20 {
            write_random(&folder.join(format!("sub/{number}")), 200_000);
        }
    });
    let third = Device::join(&pair.stack, "third").unwrap();
    let folder = pair.stack.dir("third/docs").unwrap();
    fs::create_dir(folder.join("sub")).unwrap();
    for number in 0..20 {
        let name = format!("sub/{number}");
        fs::copy(pair.at(&name), folder.join(&name)).unwrap();
        // A copy that keeps the time, as people make them.
        let time = fs::metadata(pair.at(&name)).unwrap().modified().unwrap();
        fs::File::options().write(true).open(folder.join(&name)).unwrap().set_modified(time).unwrap();
    }
    let before = pair.stack.statistics().unwrap();
    third.clone_root("docs", &folder).unwrap();
    third.wait_in_sync().unwrap();
    shows(&pair.here, &folder, PATIENCE);
    let after = pair.stack.statistics().unwrap();
    assert_eq!(after.roots[0].seq, before.roots[0].seq, "there was nothing to tell");
    assert_eq!(after.chunk_bytes, before.chunk_bytes);
}

#[test]
fn a_folder_that_has_other_files_already_keeps_them_and_overwrites_none() {
    let pair = Pair::with(|folder| {
        fs::write(folder.join("same name"), "the server's").unwrap();
        fs::write(folder.join("only on the server"), "s").unwrap();
    });
    let third = Device::join(&pair.stack, "third").unwrap();
    let folder = pair.stack.dir("third/docs").unwrap();
    fs::write(folder.join("same name"), "my own").unwrap();
    fs::write(folder.join("only here"), "h").unwrap();
    third.clone_root("docs", &folder).unwrap();
    until("what is new on either side", || {
        text(folder.join("only on the server")) == "s"
            && text(pair.at("only here")) == "h"
            && text(pair.on("only here")) == "h"
    });
    until("the conflict to be listed", || third.conflicts().unwrap().contains("same name"));
    assert_eq!(text(folder.join("same name")), "my own");
    assert_eq!(text(pair.at("same name")), "the server's");
    assert_eq!(text(pair.on("same name")), "the server's");
}

#[test]
fn two_devices_that_edit_the_same_file_while_apart_conflict_and_keep_both() {
    let mut pair = Pair::with(|folder| fs::write(folder.join("plan"), "common").unwrap());
    pair.right.stop_agent().unwrap();
    fs::write(pair.at("plan"), "the left one's plan").unwrap();
    pair.left.wait_in_sync().unwrap();
    fs::write(pair.on("plan"), "the right one's plan").unwrap();
    pair.right.start_agent().unwrap();
    until("the conflict to be listed on the right", || pair.right.conflicts().unwrap().contains("plan"));
    until("the conflict to be listed on the left", || pair.left.conflicts().unwrap().contains("plan"));
    assert_eq!(text(pair.at("plan")), "the left one's plan");
    assert_eq!(text(pair.on("plan")), "the right one's plan");
    // The rest goes on.
    fs::write(pair.on("other"), "goes on").unwrap();
    until("the rest to go on", || text(pair.at("other")) == "goes on");
    // Taking one's own side back ends it.
    fs::write(pair.on("plan"), "the left one's plan").unwrap();
    until("the conflict to end by itself", || !pair.left.conflicts().unwrap().contains("plan"));
    pair.in_sync();
    for folder in [&pair.here, &pair.there] {
        assert_eq!(text(folder.join("plan")), "the left one's plan");
    }
}

#[test]
fn the_same_edit_on_both_sides_is_no_conflict() {
    let mut pair = Pair::with(|folder| fs::write(folder.join("agreed"), "old").unwrap());
    pair.right.stop_agent().unwrap();
    fs::write(pair.at("agreed"), "new").unwrap();
    pair.left.wait_in_sync().unwrap();
    fs::write(pair.on("agreed"), "new").unwrap();
    pair.right.start_agent().unwrap();
    pair.in_sync();
    until("the same text", || text(pair.at("agreed")) == "new" && text(pair.on("agreed")) == "new");
    assert!(!pair.right.conflicts().unwrap().contains("agreed"));
}

#[test]
fn roots_named_doc_and_docs_are_two_and_one_device_has_three() {
    let stack = stack();
    let left = Device::join(&stack, "left").unwrap();
    let right = Device::join(&stack, "right").unwrap();
    let folder = |side: &str, name: &str| stack.path().join(side).join(name);
    for name in ["doc", "docs", "doc 2"] {
        stack.dir(&format!("left/{name}")).unwrap();
        left.add(&folder("left", name)).unwrap();
    }
    for name in ["docs", "doc"] {
        right.clone_root(name, &folder("right", name)).unwrap();
    }
    for name in ["doc", "docs", "doc 2"] {
        fs::write(folder("left", name).join("which"), name).unwrap();
    }
    for name in ["doc", "docs"] {
        tree::wait_equal(&folder("left", name), &folder("right", name), PATIENCE).unwrap();
        assert_eq!(text(folder("right", name).join("which")), name);
    }
    left.wait_in_sync().unwrap();
    right.wait_in_sync().unwrap();
    assert!(!folder("right", "doc 2").exists());
}

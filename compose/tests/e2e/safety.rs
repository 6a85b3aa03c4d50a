//! What must never happen to somebody's files, and who must never get at them.

use std::{fs, time::Duration};

use quics_stack::harness::{Device, tree, wait};

use crate::support::{PATIENCE, Pair, shows, stack, text, until};

#[test]
fn a_root_that_is_renamed_away_is_held_and_nothing_is_deleted() {
    let pair = Pair::with(|folder| {
        for number in 0..10 {
            fs::write(folder.join(number.to_string()), "precious").unwrap();
        }
    });
    let aside = pair.stack.path().join("left/elsewhere");
    fs::rename(&pair.here, &aside).unwrap();
    until("the root to be held", || held(&pair.left));
    let there = tree::read(&pair.there).unwrap();
    assert_eq!(there.len(), 10, "nothing was deleted");
    // It comes back: all goes on by itself.
    fs::rename(&aside, &pair.here).unwrap();
    pair.left.quics(["rescan"]).unwrap();
    fs::write(pair.at("after"), "goes on").unwrap();
    until("it to go on", || text(pair.on("after")) == "goes on");
    pair.settle();
}

#[test]
fn a_root_that_comes_back_empty_is_held_and_nothing_is_deleted() {
    let mut pair = Pair::with(|folder| {
        for number in 0..10 {
            fs::write(folder.join(number.to_string()), "precious").unwrap();
        }
    });
    pair.left.stop_agent().unwrap();
    fs::remove_dir_all(&pair.here).unwrap();
    fs::create_dir(&pair.here).unwrap();
    pair.left.start_agent().unwrap();
    until("the root to be held", || held(&pair.left));
    assert_eq!(tree::read(&pair.there).unwrap().len(), 10, "nothing was deleted");
    pair.right.wait_in_sync().unwrap();
    assert_eq!(tree::read(&pair.there).unwrap().len(), 10, "nothing was deleted");
}

#[test]
fn a_deletion_of_nearly_everything_is_asked_about() {
    let pair = Pair::with(|folder| {
        for number in 0..500 {
            fs::write(folder.join(number.to_string()), "precious").unwrap();
        }
    });
    for number in 0..499 {
        fs::remove_file(pair.at(number.to_string())).unwrap();
    }
    until("the root to be held", || held(&pair.left));
    assert!(tree::read(&pair.there).unwrap().len() >= 250, "most of it is still there");
}

/// Whether a device says that a root waits for a person.
fn held(device: &Device) -> bool {
    let status = device.status().unwrap();
    status["roots"].as_array().is_some_and(|roots| roots.iter().any(|root| root["state"] == "held"))
}

#[test]
fn a_revoked_device_is_cut_off_within_a_second() {
    let pair = Pair::new();
    // "leave" of the device itself is another way; here the other device revokes it.
    let devices = pair.left.json(["devices", "--json"]).unwrap();
    assert!(devices.to_string().contains("right"), "{devices}");
    pair.left.quics(["devices", "revoke", "right", "--yes"]).unwrap();
    wait::until_true("the device to know", Duration::from_secs(1), || {
        pair.right.status().unwrap()["connection"] == "revoked"
    })
    .unwrap();
    fs::write(pair.on("late"), "must not arrive").unwrap();
    fs::write(pair.at("news"), "must not be seen there").unwrap();
    pair.left.wait_in_sync().unwrap();
    assert!(pair.right.wait_in_sync_within(Duration::from_secs(20)).is_err());
    assert!(!pair.at("late").exists() && !pair.on("news").exists());
}

#[test]
fn detach_keeps_the_files_and_ends_the_sync() {
    let pair = Pair::with(|folder| fs::write(folder.join("file"), "stays").unwrap());
    pair.right.quics([std::ffi::OsStr::new("detach"), pair.there.as_os_str()]).unwrap();
    fs::write(pair.at("file"), "changed").unwrap();
    pair.left.wait_in_sync().unwrap();
    assert_eq!(text(pair.on("file")), "stays");
    assert!(!pair.on(".quics").exists(), "nothing of the agent is left in it");
    // And it can come back; its file is older than the server's, so a person is asked or the newer one taken.
    fs::write(pair.on("file"), "changed").unwrap();
    pair.right.clone_root("docs", &pair.there).unwrap();
    shows(&pair.here, &pair.there, PATIENCE);
}

#[test]
fn a_device_that_leaves_keeps_its_files_and_is_forgotten() {
    let mut pair = Pair::with(|folder| fs::write(folder.join("file"), "stays").unwrap());
    pair.right.quics(["leave", "--yes"]).unwrap();
    assert_eq!(text(pair.on("file")), "stays");
    assert!(!pair.on(".quics").exists());
    fs::write(pair.at("file"), "changed").unwrap();
    pair.left.wait_in_sync().unwrap();
    assert_eq!(text(pair.on("file")), "stays");
    // It may join again as a new device.
    let _ = pair.right.kill_agent();
    let ticket = pair.stack.ticket().unwrap();
    pair.right.quics(["join", ticket.as_str(), "--name", "right again"]).unwrap();
    pair.right.start_agent().unwrap();
    let fresh = pair.stack.path().join("right/fresh");
    pair.right.clone_root("docs", &fresh).unwrap();
    shows(&pair.here, &fresh, PATIENCE);
}

#[test]
fn a_root_with_a_password_is_attached_with_it_only() {
    let stack = stack();
    let left = Device::join(&stack, "left").unwrap();
    let right = Device::join(&stack, "right").unwrap();
    let here = stack.dir("left/vault").unwrap();
    fs::write(here.join("file"), "secret").unwrap();
    let feed = |device: &Device, arguments: &[&std::ffi::OsStr], input: &[u8]| {
        quics_stack::harness::feed(device.command(arguments), input, PATIENCE).unwrap()
    };
    let add = feed(&left, &["add".as_ref(), here.as_os_str(), "--password".as_ref()], b"correct horse\n");
    assert!(add.status.success(), "{}", String::from_utf8_lossy(&add.stderr));
    let there = stack.dir("right").unwrap().join("vault");
    let clone = |input: &[u8]| {
        feed(&right, &["clone".as_ref(), "vault".as_ref(), there.as_os_str(), "--password".as_ref()], input)
    };
    let wrong = clone(b"wrong\n");
    assert!(!wrong.status.success());
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("password") && said.lines().count() == 1, "{said}");
    assert!(!there.exists() || fs::read_dir(&there).unwrap().next().is_none(), "it changed nothing");
    let right_one = clone(b"correct horse\n");
    assert!(right_one.status.success(), "{}", String::from_utf8_lossy(&right_one.stderr));
    shows(&here, &there, PATIENCE);
}

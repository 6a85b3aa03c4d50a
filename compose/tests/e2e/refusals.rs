//! What cannot be done: one clear sentence, an exit code that is not 0, and nothing is changed.

use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt as _, process::Output};

use quics_stack::harness::{Device, feed, tree};

use crate::support::{PATIENCE, Pair, loudly, stack};

/// Checks that a command was refused as it should be, and that its one sentence has these words.
fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success(),
        "it should have been refused; it printed {}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(output.stdout.is_empty(), "a refusal has no result: {}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(said.trim().lines().count(), 1, "one sentence: {said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.to_lowercase().contains(word), "it should speak of {word:?}: {said}");
    }
}

fn path<'a>(words: &'a [&'a str], last: &'a std::path::Path) -> Vec<&'a OsStr> {
    words.iter().map(OsStr::new).chain([last.as_os_str()]).collect()
}

#[test]
fn a_wrong_flag_shows_how_the_command_is_used() {
    let stack = stack();
    let device = Device::new(&stack, "any").unwrap();
    let output = device.run(["status", "--nonsense"]).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--nonsense") && said.contains("Usage"), "{said}");
}

#[test]
fn a_ticket_that_is_used_mistyped_or_for_another_server_is_refused() {
    let stack = stack();
    let ticket = stack.ticket().unwrap();
    let first = Device::new(&stack, "first").unwrap();
    first.quics(["join", ticket.as_str(), "--name", "first"]).unwrap();
    let second = Device::new(&stack, "second").unwrap();
    refused(&second.run(["join", ticket.as_str()]).unwrap(), &["ticket"]);

    let mistyped = format!("{}a", &ticket[..ticket.len() - 1]);
    let mistyped = if mistyped == ticket { format!("{}b", &ticket[..ticket.len() - 1]) } else { mistyped };
    refused(&second.run(["join", mistyped.as_str()]).unwrap(), &["ticket"]);
    refused(&second.run(["join", "quics1-nonsense"]).unwrap(), &["ticket"]);
    refused(&second.run(["status"]).unwrap(), &["join"]);

    // A device that has joined does not join twice.
    let fresh = stack.ticket().unwrap();
    refused(&first.run(["join", fresh.as_str()]).unwrap(), &["leave"]);
    // The refusals used nothing up.
    second.quics(["join", fresh.as_str(), "--name", "second"]).unwrap();
}

#[test]
fn a_server_that_is_down_or_somebody_else_is_told() {
    let mut stack = stack();
    let ticket = stack.ticket().unwrap();
    let other = crate::support::stack();
    let address = other.record().unwrap().services[0].address.clone();
    let device = Device::new(&stack, "device").unwrap();

    let fingerprint = "00".repeat(32);
    let arguments = ["join", address.as_str(), "--password", "--user", "user", "--fingerprint", fingerprint.as_str()];
    let output = feed(device.command(arguments), b"whatever\n", PATIENCE).unwrap();
    refused(&output, &["fingerprint"]);

    stack.down().unwrap();
    let output = device.run(["join", ticket.as_str()]).unwrap();
    refused(&output, &["reach"]);
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn an_unknown_root_a_taken_name_and_a_directory_in_a_synced_one_are_refused() {
    let pair = Pair::with(|folder| fs::create_dir(folder.join("inner")).unwrap());
    let elsewhere = pair.stack.path().join("elsewhere");
    refused(&pair.left.run(path(&["clone", "nonesuch"], &elsewhere)).unwrap(), &["nonesuch"]);
    assert!(!elsewhere.exists(), "nothing was made");

    refused(&pair.left.run(path(&["add"], &pair.at("inner"))).unwrap(), &["inner"]);
    refused(&pair.left.run(path(&["add"], &pair.stack.path().join("left"))).unwrap(), &["left"]);
    refused(&pair.left.run(path(&["clone", "docs"], &pair.at("inner"))).unwrap(), &["docs"]);

    let same = pair.stack.dir("again/docs").unwrap();
    refused(&pair.left.run(path(&["add"], &same)).unwrap(), &["docs"]);
    assert!(!same.join(".quics").exists(), "nothing was made");
    refused(&pair.left.run(path(&["detach"], &same)).unwrap(), &["docs"]);
    pair.in_sync();
}

#[test]
fn a_directory_that_is_missing_a_file_or_not_writable_is_refused() {
    let stack = stack();
    let device = Device::join(&stack, "device").unwrap();
    let missing = stack.path().join("missing");
    refused(&device.run(path(&["add"], &missing)).unwrap(), &["missing"]);
    assert!(!missing.exists());

    let file = stack.path().join("a file");
    fs::write(&file, "file").unwrap();
    refused(&device.run(path(&["add"], &file)).unwrap(), &["a file"]);

    // Root may write wherever a file system lets anybody write; in sysfs it lets nobody.
    if rustix::process::geteuid().is_root() {
        let sysfs = std::path::Path::new("/sys/class/net");
        if sysfs.is_dir() {
            refused(&device.run(path(&["add"], sysfs)).unwrap(), &["/sys/class/net"]);
        } else {
            loudly("SKIPPED a directory that is not writable: root may write everywhere here");
        }
        return;
    }
    let closed = stack.dir("closed").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    refused(&device.run(path(&["add"], &closed)).unwrap(), &["closed"]);
}

#[test]
fn a_home_that_a_running_agent_holds_is_refused_to_another() {
    let stack = stack();
    let device = Device::join(&stack, "device").unwrap();
    refused(&device.run(["agent", "run"]).unwrap(), &["held", &device.agent_pid().unwrap().to_string()]);
    device.status().expect("the first agent is not disturbed");
}

#[test]
fn commands_without_an_agent_or_a_server_say_what_to_start() {
    let stack = stack();
    let device = Device::new(&stack, "device").unwrap();
    for command in ["status", "roots", "devices", "conflicts", "leave", "rescan"] {
        let arguments = if command == "leave" { vec![command, "--yes"] } else { vec![command] };
        refused(&device.run(arguments).unwrap(), &["join"]);
    }
    let ticket = stack.ticket().unwrap();
    device.quics(["join", ticket.as_str(), "--name", "device"]).unwrap();
    refused(&device.run(["status"]).unwrap(), &["agent"]);
}

#[test]
fn strangers_are_refused_with_a_certificate_of_their_own_and_with_none() {
    let mut pair = Pair::with(|folder| fs::write(folder.join("secret"), "s").unwrap());
    // A device of another server, told to speak to this one: its certificate has a stranger's signature.
    let other = crate::support::stack();
    let stranger = Device::new(&other, "stranger").unwrap();
    let ticket = other.ticket().unwrap();
    stranger.quics(["join", ticket.as_str(), "--name", "stranger"]).unwrap();
    let (own, target) =
        (other.record().unwrap().services[0].address.clone(), pair.stack.record().unwrap().services[0].address.clone());
    let settings = stranger.home().join("settings.toml");
    let text = fs::read_to_string(&settings).unwrap();
    assert!(text.contains(&own), "{text}");
    fs::write(&settings, text.replace(&own, &target)).unwrap();
    let output = stranger.run(["devices"]).unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    // Without any certificate: a home whose identity is gone.
    pair.right.stop_agent().unwrap();
    fs::remove_dir_all(pair.right.home().join("identity")).unwrap();
    let output = pair.right.run(["devices"]).unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(tree::read(&pair.here).unwrap().len(), 1);
}

//! What cannot be done: one clear sentence, an exit code that is not 0, and nothing is changed.

use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt as _};

use quics_stack::harness::{Device, feed};

use crate::support::{PATIENCE, Pair, loudly, refused, stack};

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
fn a_device_joins_by_password_after_the_fingerprint_was_compared_and_not_by_a_wrong_one() {
    let stack = stack();
    let address = stack.record().unwrap().services[0].address.clone();
    let status = stack.command(&["status", "--json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let fingerprint = status["fingerprint"].as_str().unwrap().to_owned();
    let device = Device::new(&stack, "device").unwrap();
    let join = |fingerprint: &str, password: &[u8]| {
        let arguments = ["join", address.as_str(), "--password", "--fingerprint", fingerprint, "--name", "device"];
        feed(device.command(arguments), password, PATIENCE).unwrap()
    };
    refused(&join(&fingerprint, b"anything\n"), &["password"]);
    let set = feed(stack.command(&["user", "password", "user"]), b"correct horse\n", PATIENCE).unwrap();
    let said = String::from_utf8_lossy(&set.stdout).into_owned();
    assert!(set.status.success() && said.contains(&fingerprint), "{said}{}", String::from_utf8_lossy(&set.stderr));

    let other = fingerprint.replace(|c: char| c.is_ascii_hexdigit(), "0");
    refused(&join(&other, b"correct horse\n"), &["fingerprint", "do not go on"]);
    let wrong = join(&fingerprint, b"battery staple\n");
    refused(&wrong, &["password"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(!device.home().join("settings.toml").exists(), "nothing was joined");
    let joined = join(&fingerprint, b"correct horse\n");
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));

    assert!(stack.command(&["user", "password", "user", "--off"]).output().unwrap().status.success());
    let late = Device::new(&stack, "late").unwrap();
    let arguments = ["join", address.as_str(), "--password", "--fingerprint", fingerprint.as_str()];
    refused(&feed(late.command(arguments), b"correct horse\n", PATIENCE).unwrap(), &["password"]);
}

#[test]
fn a_roots_password_makes_another_user_what_it_grants_and_nobody_more() {
    let stack = stack();
    let owner = Device::join(&stack, "owner").unwrap();
    assert!(stack.command(&["user", "add", "ann"]).output().unwrap().status.success());
    let ticket = stack.command(&["ticket", "--user", "ann"]).output().unwrap();
    let ticket = String::from_utf8(ticket.stdout).unwrap();
    let mut ann = Device::new(&stack, "ann").unwrap();
    ann.quics(["join", ticket.trim(), "--name", "ann"]).unwrap();
    ann.start_agent().unwrap();
    let here = stack.dir("owner/shared").unwrap();
    fs::write(here.join("read me"), "r").unwrap();
    let mut arguments = path(&["add"], &here);
    arguments.extend(["--password", "--grants", "reader"].map(OsStr::new));
    let added = feed(owner.command(arguments), b"open sesame\n", PATIENCE).unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let roots = owner.json(["roots", "--json"]).unwrap();
    let id = roots[0]["id"].as_str().unwrap().to_owned();
    assert!(String::from_utf8_lossy(&added.stdout).contains(&id));

    let there = stack.path().join("ann");
    let clone = |folder: &std::path::Path, password: &[u8]| {
        let arguments = ["clone".as_ref(), id.as_ref(), folder.as_os_str(), "--password".as_ref()];
        feed(ann.command(arguments), password, PATIENCE).unwrap()
    };
    refused(&clone(&there, b"wrong\n"), &["no root"]);
    assert!(!there.exists(), "nothing was made");
    let cloned = clone(&there, b"open sesame\n");
    assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
    crate::support::shows(&here, &there, PATIENCE);
    assert_eq!(ann.json(["roots", "--json"]).unwrap()[0]["role"], "reader");

    // Who was removed is not let in again by it.
    let member = |role: &str| stack.command(&["member", "shared", "ann", role]).output().unwrap();
    assert!(member("none").status.success());
    let waited = ann.run(["status", "--wait"]).unwrap();
    let said = String::from_utf8_lossy(&waited.stderr).into_owned();
    assert!(waited.status.code() == Some(3) && said.contains("member of this root"), "{said}");
    ann.run(path(&["detach"], &there)).unwrap();
    let again = stack.path().join("ann again");
    refused(&clone(&again, b"open sesame\n"), &["no root"]);
}

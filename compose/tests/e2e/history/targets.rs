//! What is brought back, where a device cannot write it: it is refused where it was asked for; elsewhere that is said, nothing
//! is lost, and it comes when it can be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quics_stack::harness::Device;

use super::{at, fails, path, restore};
use crate::support::{Pair, loudly, shows, text, until, write_random};

/// Something that was done to a directory, and is undone at the end.
struct Undone<'a> {
    undo: &'static [&'static str],
    directory: &'a Path,
}

impl<'a> Undone<'a> {
    /// `None`, said loudly, where only root may do this and we are not root.
    fn new(test: &str, make: &[&str], undo: &'static [&'static str], directory: &'a Path) -> Option<Self> {
        let made = run(make, directory);
        if !made {
            assert!(!rustix::process::geteuid().is_root(), "{make:?} failed");
            loudly(&format!("SKIPPED {test}: {make:?} is for root"));
        }
        made.then_some(Self { undo, directory })
    }
}

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        run(self.undo, self.directory);
    }
}

fn run(command: &[&str], directory: &Path) -> bool {
    Command::new(command[0]).args(&command[1..]).arg(directory).status().is_ok_and(|status| status.success())
}

/// What a device says of its roots.
fn says(device: &Device) -> String {
    device.quics(["status"]).unwrap()
}

#[test]
fn what_may_not_be_written_here_is_not_restored_from_here() {
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("letters")).unwrap();
        fs::write(folder.join("letters/a"), "one").unwrap();
        fs::write(folder.join("letters/gone"), "gone").unwrap();
    });
    let before = pair.known();
    fs::write(pair.at("letters/a"), "two").unwrap();
    fs::remove_file(pair.at("letters/gone")).unwrap();
    pair.settle();
    let commit = pair.known();
    let letters = pair.at("letters");
    let test = "what_may_not_be_written_here_is_not_restored_from_here";
    let Some(protected) = Undone::new(test, &["chattr", "+i"], &["chattr", "-i"], &letters) else { return };
    let moment = format!("#{before}");
    for asked in
        [&["restore", "--yes", &at(pair.at("letters/a"), 1)][..], &["restore", "--yes", "docs", "--at", &moment]]
    {
        let output = pair.left.run(asked).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty(), "{asked:?}: {said}");
        assert!(
            said.contains("letters cannot be written on this device") && said.trim().lines().count() == 1,
            "{said}"
        );
    }
    assert_eq!(pair.commit(), commit, "nothing was changed");
    drop(protected);
    let id = restore(&pair.left, &["docs", "--at", &moment]).unwrap();
    until("all to be back", || text(pair.on("letters/a")) == "one" && text(pair.on("letters/gone")) == "gone");
    let commit = pair.known();
    let Some(protected) = Undone::new(test, &["chattr", "+i"], &["chattr", "-i"], &letters) else { return };
    assert!(fails(&pair.left, &["restore", "--yes", "--undo", &id]).contains("cannot be written on this device"));
    assert_eq!(pair.commit(), commit);
    drop(protected);
}

#[test]
fn what_this_device_has_no_room_for_is_not_restored_from_here() {
    let pair = Pair::new();
    write_random(&pair.at("large"), 40 << 20);
    pair.settle();
    fs::write(pair.at("large"), "small").unwrap();
    pair.settle();
    pair.known();
    let small: PathBuf = pair.stack.dir("small").unwrap();
    let test = "what_this_device_has_no_room_for_is_not_restored_from_here";
    let mount = ["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs"];
    let Some(_mounted) = Undone::new(test, &mount, &["umount", "-l"], &small) else { return };
    let device = Device::join(&pair.stack, "small").unwrap();
    device.clone_root("docs", &small.join("docs")).unwrap();
    until("the small one to have all", || text(small.join("docs/large")) == "small");
    let commit = pair.known();
    let said = fails(&device, &["restore", "--yes", &at(small.join("docs/large"), 1)]);
    assert!(said.contains("needs 40 MiB") && said.contains("nothing was changed"), "{said}");
    assert_eq!(pair.commit(), commit);
    assert_eq!(text(path(&small.join("docs/large"))), "small");
    drop(device);
}

#[test]
fn what_may_not_be_written_on_a_device_comes_when_it_may() {
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("letters")).unwrap();
        fs::write(folder.join("letters/a"), "one").unwrap();
    });
    fs::write(pair.at("letters/a"), "two").unwrap();
    pair.settle();
    pair.known();
    let letters = pair.on("letters");
    let test = "what_may_not_be_written_on_a_device_comes_when_it_may";
    let Some(protected) = Undone::new(test, &["chattr", "+i"], &["chattr", "-i"], &letters) else { return };
    restore(&pair.left, &[&at(pair.at("letters/a"), 1)]);
    until("the first device to have it", || text(pair.at("letters/a")) == "one");
    until("the second one to say why it has not", || says(&pair.right).contains("letters/a: cannot be written here"));
    assert_eq!(text(pair.on("letters/a")), "two");
    drop(protected);
    shows(&pair.here, &pair.there, crate::support::PATIENCE);
    pair.in_sync();
}

#[test]
fn what_a_device_has_no_room_for_comes_when_it_has() {
    let pair = Pair::new();
    write_random(&pair.at("large"), 40 << 20);
    pair.settle();
    let large = fs::read(pair.at("large")).unwrap();
    fs::write(pair.at("large"), "small").unwrap();
    pair.settle();
    pair.known();
    let small: PathBuf = pair.stack.dir("small").unwrap();
    let test = "what_a_device_has_no_room_for_comes_when_it_has";
    let mount = ["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs"];
    let Some(_mounted) = Undone::new(test, &mount, &["umount", "-l"], &small) else { return };
    let device = Device::join(&pair.stack, "small").unwrap();
    device.clone_root("docs", &small.join("docs")).unwrap();
    until("the small one to have all", || text(small.join("docs/large")) == "small");
    restore(&pair.left, &[&at(pair.at("large"), 1)]);
    pair.settle();
    until("the small one to say why it has not", || {
        says(&device).contains("large: cannot be written here: no storage space")
    });
    assert_eq!(text(small.join("docs/large")), "small");
    assert!(run(&["mount", "-o", "remount,size=300m"], &small));
    until("it to come", || fs::read(small.join("docs/large")).is_ok_and(|now| now == large));
    device.wait_in_sync().unwrap();
    drop(device);
}

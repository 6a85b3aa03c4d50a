//! What was is brought back.

use std::fs;
use std::process::Command;

use quics_stack::harness::tree;

use super::{at, cat, fails, log, path, restore};
use crate::conflicts::{listed, resolve};
use crate::support::{Pair, shows_tree, text, until};

fn fill(folder: &std::path::Path) {
    fs::create_dir_all(folder.join("letters/old")).unwrap();
    fs::write(folder.join("letters/a.txt"), "a\n").unwrap();
    fs::write(folder.join("letters/old/b.txt"), "b\n").unwrap();
    fs::write(folder.join("plan.txt"), "plan\n").unwrap();
}

#[test]
fn a_preview_says_what_a_restore_does_and_an_undo_takes_it_back() {
    let pair = Pair::with(fill);
    let before = pair.known();
    let then = tree::read(&pair.here).unwrap();
    fs::remove_dir_all(pair.at("letters/old")).unwrap();
    fs::rename(pair.at("letters/a.txt"), pair.at("letters/c.txt")).unwrap();
    fs::write(pair.at("plan.txt"), "another plan\n").unwrap();
    fs::write(pair.at("new.txt"), "new\n").unwrap();
    pair.settle();
    pair.known();
    let now = tree::read(&pair.here).unwrap();
    let moment = format!("#{before}");
    let said = pair.right.quics(["restore", path(&pair.there), "--at", &moment, "--dry-run"]).unwrap();
    for line in ["+ letters/old", "+ letters/old/b.txt", "> letters/c.txt → letters/a.txt", "~ plan.txt", "- new.txt"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("2 brought back, 1 changed, 1 moved, 1 deleted"), "{said}");
    assert!(tree::compare(&now, &tree::read(&pair.there).unwrap()).is_ok(), "a preview changes nothing");
    let id = restore(&pair.right, &[path(&pair.there), "--at", &moment]).expect("it has an id");
    shows_tree(&then, &pair.here, crate::support::PATIENCE);
    shows_tree(&then, &pair.there, crate::support::PATIENCE);
    pair.in_sync();
    assert!(pair.left.quics(["restore", "--list"]).unwrap().contains(&id));
    pair.known();
    restore(&pair.left, &["--undo", &id]);
    shows_tree(&now, &pair.here, crate::support::PATIENCE);
    shows_tree(&now, &pair.there, crate::support::PATIENCE);
    pair.in_sync();
}

/// A second that begins after this was called, as people write it; returns when it is over.
fn a_moment() -> String {
    let now = |and: &str| {
        let output = Command::new("date").args(["-d", and, "+%Y-%m-%d %H:%M:%S"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let moment = now("+1 second");
    until("that moment to be over", || now("now") > moment);
    moment
}

#[test]
fn a_folder_comes_back_as_it_was_at_a_time_that_people_write() {
    let pair = Pair::with(fill);
    pair.known();
    let then = tree::read(&pair.here).unwrap();
    let moment = a_moment();
    fs::remove_dir_all(pair.at("letters")).unwrap();
    fs::write(pair.at("plan.txt"), "another plan\n").unwrap();
    pair.settle();
    pair.known();
    restore(&pair.right, &[path(&pair.there), "--at", &moment]);
    shows_tree(&then, &pair.here, crate::support::PATIENCE);
    shows_tree(&then, &pair.there, crate::support::PATIENCE);
    pair.known();
    // "Now" is after all that, and changes nothing.
    let said = pair.left.quics(["restore", path(&pair.here), "--at", "1s ago", "--dry-run"]).unwrap_or_default();
    assert!(!said.contains("- letters"), "{said}");
}

#[test]
fn only_what_is_asked_for_comes_back_and_what_is_new_can_stay() {
    let pair = Pair::with(fill);
    let before = format!("#{}", pair.known());
    fs::write(pair.at("plan.txt"), "another plan\n").unwrap();
    fs::write(pair.at("letters/a.txt"), "another a\n").unwrap();
    fs::write(pair.at("new.txt"), "new\n").unwrap();
    pair.settle();
    pair.known();
    restore(&pair.left, &[path(&pair.here), "--at", &before, "--only", "letters/"]);
    until("the letter to be back", || text(pair.on("letters/a.txt")) == "a\n");
    assert_eq!(text(pair.on("plan.txt")), "another plan\n");
    pair.known();
    restore(&pair.left, &[path(&pair.here), "--at", &before, "--keep-new"]);
    until("the plan to be back", || text(pair.on("plan.txt")) == "plan\n");
    assert_eq!(text(pair.on("new.txt")), "new\n");
}

#[test]
fn one_file_and_one_deleted_file_come_back_with_their_directory() {
    let pair = Pair::with(fill);
    pair.known();
    fs::write(pair.at("plan.txt"), "another plan\n").unwrap();
    fs::remove_dir_all(pair.at("letters")).unwrap();
    pair.settle();
    pair.known();
    restore(&pair.right, &[&at(pair.on("plan.txt"), 1)]);
    until("the plan to be back", || text(pair.at("plan.txt")) == "plan\n");
    restore(&pair.right, &[&at(pair.on("letters/old/b.txt"), 1)]);
    until("the letter to be back", || text(pair.at("letters/old/b.txt")) == "b\n");
    assert!(!pair.at("letters/a.txt").exists(), "nothing else came back");
    let versions = log(&pair.left, &[path(&pair.at("plan.txt"))]);
    assert_eq!(versions[0]["cause"], "restore");
}

#[test]
fn a_folder_that_became_a_file_is_a_folder_again() {
    let pair = Pair::with(fill);
    let before = format!("#{}", pair.known());
    let then = tree::read(&pair.here).unwrap();
    fs::remove_dir_all(pair.at("letters")).unwrap();
    pair.settle();
    fs::write(pair.at("letters"), "a file now\n").unwrap();
    pair.settle();
    pair.known();
    restore(&pair.left, &[path(&pair.here), "--at", &before]);
    shows_tree(&then, &pair.there, crate::support::PATIENCE);
    shows_tree(&then, &pair.here, crate::support::PATIENCE);
}

#[test]
fn an_edit_that_was_not_synced_becomes_a_question_and_is_never_lost() {
    let mut pair = Pair::with(fill);
    pair.known();
    fs::write(pair.at("plan.txt"), "another plan\n").unwrap();
    pair.settle();
    pair.known();
    pair.right.stop_agent().unwrap();
    fs::write(pair.on("plan.txt"), "the right one's plan\n").unwrap();
    restore(&pair.left, &[&at(pair.at("plan.txt"), 1)]);
    until("the plan to be back", || text(pair.at("plan.txt")) == "plan\n");
    pair.right.start_agent().unwrap();
    pair.open(1);
    assert_eq!(text(pair.on("plan.txt")), "the right one's plan\n");
    assert_eq!(listed(&pair.left)[0]["candidates"][0]["device"], "right");
    resolve(&pair.right, &[path(&pair.on("plan.txt")), "--take", "mine"]);
    pair.agreed();
    assert_eq!(text(pair.at("plan.txt")), "the right one's plan\n");
}

#[test]
fn a_link_is_itself_and_a_directory_comes_back_by_moments_only() {
    let pair = Pair::with(|folder| {
        fill(folder);
        std::os::unix::fs::symlink("letters", folder.join("link")).unwrap();
    });
    pair.known();
    fs::remove_file(pair.at("link")).unwrap();
    std::os::unix::fs::symlink("letters/old", pair.at("link")).unwrap();
    pair.settle();
    pair.known();
    restore(&pair.left, &[&at(pair.at("link"), 1)]);
    until("the link to lead where it did", || {
        fs::read_link(pair.on("link")).is_ok_and(|target| target.as_os_str() == "letters")
    });
    assert_eq!(text(pair.at("letters/a.txt")), "a\n");
    pair.known();
    // By the number of a version it would be as empty as it was made.
    for command in [&["restore", "--yes"] as &[&str], &["get", "-o", "/nonexistent/x"]] {
        let target = at(pair.at("letters"), 1);
        let said = fails(&pair.left, &[command, &[&target]].concat());
        assert!(said.contains("a time or a commit"), "{said}");
    }
    assert_eq!(text(pair.on("letters/a.txt")), "a\n");
}

#[test]
fn a_preview_names_the_place_where_something_will_be() {
    let pair = Pair::with(fill);
    pair.known();
    fs::write(pair.at("letters/old/b.txt"), "another b\n").unwrap();
    pair.settle();
    fs::rename(pair.at("letters"), pair.at("mail")).unwrap();
    fs::rename(pair.at("mail/old/b.txt"), pair.at("mail/b.txt")).unwrap();
    pair.settle();
    pair.known();
    let said = pair.left.quics(["restore", "--dry-run", &at(pair.at("mail/b.txt"), 1)]).unwrap();
    assert!(said.contains("> mail/b.txt → mail/old/b.txt"), "{said}");
    let id = restore(&pair.left, &[&at(pair.at("mail/b.txt"), 1)]).unwrap();
    until("it to be there", || text(pair.on("mail/old/b.txt")) == "b\n");
    assert!(!pair.at("letters").exists());
    pair.known();
    // The beginning of an id is enough.
    restore(&pair.right, &["--undo", &id[..8]]);
    until("it to be back", || text(pair.on("mail/b.txt")) == "another b\n");
}

#[test]
fn what_two_devices_write_while_a_restore_runs_is_lost_nowhere() {
    const ALL: usize = 400;
    const EACH: usize = 100;
    /// These both write.
    const BOTH: std::ops::Range<usize> = 2 * EACH..2 * EACH + 30;
    let name = |number: usize| format!("{number}.txt");
    let pair = Pair::with(|folder| {
        (0..ALL).for_each(|number| fs::write(folder.join(name(number)), "as it was\n").unwrap());
    });
    let before = format!("#{}", pair.known());
    (0..ALL).for_each(|number| fs::write(pair.at(name(number)), "changed\n").unwrap());
    pair.settle();
    pair.known();
    let wrote = |who: &str, number| format!("{who} wrote {number}\n");
    std::thread::scope(|scope| {
        for (who, folder, first) in [("left", &pair.here, 0), ("right", &pair.there, EACH)] {
            scope.spawn(move || {
                (first..first + EACH)
                    .chain(BOTH)
                    .for_each(|number| fs::write(folder.join(name(number)), wrote(who, number)).unwrap());
            });
        }
        // What was changed meanwhile is left out and named: then it says so by its code.
        let said = pair.left.run(["restore", "--yes", path(&pair.here), "--at", &before]).unwrap();
        assert!(said.status.success() || said.status.code() == Some(3), "{}", String::from_utf8_lossy(&said.stderr));
    });
    let settled = |number: usize| (text(pair.at(name(number))), text(pair.on(name(number))));
    until("everything that nobody wrote to be as it was", || {
        (BOTH.end..ALL).all(|number| settled(number) == ("as it was\n".to_owned(), "as it was\n".to_owned()))
    });
    // At rest, but for what both have written.
    for device in [&pair.left, &pair.right] {
        let waited = device.run(["status", "--wait"]).unwrap();
        let said = String::from_utf8_lossy(&waited.stderr).into_owned();
        assert!(waited.status.success() || said.contains("open conflict"), "{said}");
    }
    pair.told();
    // It is there, or asked about; or it came before the look, and has a version.
    let asked = listed(&pair.left);
    let is_asked = |name: &str| asked.iter().any(|it| it["path"].as_str().is_some_and(|path| path.ends_with(name)));
    let own = (0..2 * EACH).map(|number| (if number < EACH { "left" } else { "right" }, number));
    for (who, number) in own.chain(BOTH.flat_map(|number| [("left", number), ("right", number)])) {
        let (wanted, file) = (wrote(who, number), pair.at(name(number)));
        let is_version = || {
            let versions = log(&pair.left, &[path(&file)]);
            versions.iter().any(|it| cat(&pair.left, &file, it["version"].as_str().unwrap()) == wanted.as_bytes())
        };
        let there = settled(number) == (wanted.clone(), wanted.clone());
        assert!(there || is_asked(&format!("/{}", name(number))) || is_version(), "{wanted:?}");
    }
}

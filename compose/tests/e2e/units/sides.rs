//! The sides of a conflict about a unit: fetched as directories, and shown.

use std::{fs, path::Path};

use super::repository::{Repository, fsck, head};
use crate::{
    conflicts::{at, listed, names, refused},
    support::{PATIENCE, Pair, has},
};

/// A repository that was committed to on both devices, in different files: only `.git` is in conflict. With the commits
/// that it had before, has here, and has there.
fn quarrel() -> (Pair, [String; 3]) {
    let (mut base, mut left, mut right) = (String::new(), String::new(), String::new());
    let pair = Pair::apart(
        |folder: &Path| base = Repository::make(&folder.join("repo")).head(),
        |folder: &Path| left = Repository::at(folder, "repo").commit("left", "left's"),
        |folder: &Path| right = Repository::at(folder, "repo").commit("right", "right's"),
        1,
    );
    (pair, [base, left, right])
}

#[test]
fn a_side_of_a_repository_is_fetched_as_a_directory_and_never_over_one() {
    const TEST: &str = "a_side_of_a_repository_is_fetched_as_a_directory_and_never_over_one";
    if !has("git", TEST) {
        return;
    }
    let (pair, [base, left, right]) = quarrel();
    let out = pair.stack.dir("out").unwrap();
    let unit = at(&pair.here, "repo/.git");
    for (from, commit) in [("server", &left), ("right", &right), ("base", &base), ("mine", &left)] {
        pair.left.quics(["conflicts", "get", &unit, "--from", from, "-o", &at(&out, from)]).unwrap();
        fsck(&out.join(from));
        assert_eq!(&head(&out.join(from)), commit, "{from}");
    }
    let output = pair.left.run(["conflicts", "get", &unit, "--from", "right", "-o", &at(&out, "right")]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("exists already"), "{said}");
    fsck(&out.join("right"));
    assert_eq!(names(&out), ["base", "mine", "right", "server"], "nothing is left of what failed");
    let sides = &listed(&pair.left)[0];
    assert_eq!(
        (sides["server"]["kind"].as_str(), sides["candidates"][0]["kind"].as_str()),
        (Some("unit"), Some("unit"))
    );
    assert_eq!(sides["candidates"][0]["second_name"]["path"], ".git (from right)");
}

#[test]
fn a_person_sees_how_much_is_in_each_side_and_which_files_differ() {
    const TEST: &str = "a_person_sees_how_much_is_in_each_side_and_which_files_differ";
    if !has("git", TEST) {
        return;
    }
    let (pair, [_, left, right]) = quarrel();
    let mut terminal = pair.right.at_terminal(["resolve"]).unwrap();
    let shown = terminal.expect("quit", PATIENCE).unwrap();
    for part in [
        "repo/.git",
        "the server (from left)",
        "right, this device",
        " files\r\n",
        "iB as a whole",
        "What the server (from left) changed:",
        "What right, this device changed:",
        "refs/heads/main",
        ".git (from right)",
    ] {
        assert!(shown.contains(part), "{part} is missing: {shown}");
    }
    // The commit's own object among others.
    for commit in [&left, &right] {
        let line = format!("+ objects/{}/{}", &commit[..2], &commit[2..]);
        assert!(shown.contains(&line), "{line} is missing: {shown}");
    }
    assert!(!shown.contains("edit the merge") && !shown.contains("merge tool"), "nothing offers to merge it: {shown}");
    terminal.expect("> ", PATIENCE).unwrap();
    terminal.type_line("b").unwrap();
    terminal.expect("Another name", PATIENCE).unwrap();
    terminal.type_line("elsewhere").unwrap();
    terminal.expect("would not stay one thing", PATIENCE).unwrap();
    terminal.expect("> ", PATIENCE).unwrap();
    terminal.type_line("m").unwrap();
    terminal.expect("is kept", PATIENCE).unwrap();
    assert!(terminal.end(PATIENCE).unwrap().success());
    pair.agreed();
    for folder in [&pair.here, &pair.there] {
        Repository::at(folder, "repo").is_whole_at(&right);
    }
}

#[test]
fn a_repository_is_never_merged() {
    const TEST: &str = "a_repository_is_never_merged";
    if !has("git", TEST) {
        return;
    }
    let (pair, [_, left, right]) = quarrel();
    let unit = at(&pair.here, "repo/.git");
    let mine = pair.stack.path().join("merged");
    fs::write(&mine, "merged by hand").unwrap();
    let file = mine.to_str().unwrap();
    for arguments in [
        &[&unit, "--take", "merged"][..],
        &[&unit, "--take", "merged", "--file", file],
        &[&unit, "--take", "merged", "--tool", "true"],
    ] {
        let (code, said) = refused(&pair.left, arguments);
        assert!(code == 1 && said.contains("cannot be merged") && said.contains("keep one side"), "{said}");
        assert_eq!(said.trim().lines().count(), 1, "one sentence: {said}");
    }
    assert_eq!(listed(&pair.left).len(), 1);
    Repository::at(&pair.here, "repo").is_whole_at(&left);
    Repository::at(&pair.there, "repo").is_whole_at(&right);
}

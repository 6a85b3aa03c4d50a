//! Merged versions: clean ones, with a tool, and without asking where a root wants that.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use quics_stack::harness::{Device, Terminal};

use super::{at, both_have, listed, names, refused, resolve, write};
use crate::support::{PATIENCE, Pair, text, until};

const COMMON: &str = "1\n2\n3\n4\n5\n6\n7\n8\n";

fn texts(here: &'static str, there: &'static str) -> Pair {
    Pair::apart(|it| write(it, "text", COMMON), |it| write(it, "text", here), |it| write(it, "text", there), 1)
}

/// Two changes of a text that do not touch each other.
fn clean() -> Pair {
    texts("one\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\n5\n6\n7\neight\n")
}

/// Two changes of the same line.
fn touching() -> Pair {
    texts("1\n2\n3\nleft\n5\n6\n7\n8\n", "1\n2\n3\nright\n5\n6\n7\n8\n")
}

const MERGED: &str = "one\n2\n3\n4\n5\n6\n7\neight\n";

/// A program of the test's.
fn program(folder: &Path, name: &str, script: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn changes_that_do_not_touch_each_other_are_merged_when_asked() {
    let pair = clean();
    resolve(&pair.left, &[&at(&pair.here, "text"), "--take", "merged"]);
    pair.agreed();
    both_have(&pair, "text", MERGED);
    assert_eq!(names(&pair.left.home().join("merge")), [""; 0], "no copies are left");
}

#[test]
fn changes_that_touch_each_other_need_a_person_or_a_tool() {
    let pair = touching();
    let text = at(&pair.here, "text");
    let tools = pair.stack.dir("tools").unwrap();
    let (code, said) = refused(&pair.left, &[&text, "--take", "merged"]);
    assert!(code == 1 && said.contains("touch each other in 1 place"), "{said}");
    // A tool that fails, and one that leaves the markers.
    let fails = program(&tools, "fails", "echo nonsense > \"$MERGED\"; exit 3");
    let (_, said) = refused(&pair.left, &[&text, "--take", "merged", "--tool", &fails]);
    assert!(said.contains("merge tool failed"), "{said}");
    let lazy = program(&tools, "lazy", "grep -q '<<<<<<<' \"$MERGED\"");
    let (_, said) = refused(&pair.left, &[&text, "--take", "merged", "--tool", &format!("{lazy} $MERGED")]);
    assert!(said.contains("markers left"), "{said}");
    assert_eq!(listed(&pair.left).len(), 1);
    both_have_own(&pair);
    let good = program(
        &tools,
        "good",
        "cat \"$BASE\" | sed s/4/both/ > \"$MERGED\"; test -s \"$SERVER\" && test -s \"$MINE\"",
    );
    resolve(&pair.left, &[&text, "--take", "merged", "--tool", &format!("{good} $MERGED")]);
    pair.agreed();
    both_have(&pair, "text", "1\n2\n3\nboth\n5\n6\n7\n8\n");
}

fn both_have_own(pair: &Pair) {
    assert!(crate::support::text(pair.at("text")).contains("left"));
    assert!(crate::support::text(pair.on("text")).contains("right"));
}

#[test]
fn a_file_that_was_merged_by_hand_is_taken_small_or_large() {
    for size in [10, 3_000_000] {
        let pair = touching();
        let own = pair.stack.dir("own").unwrap();
        let content: String = (0..size / 10).map(|number| format!("{number:>9}\n")).collect();
        write(&own, "merged", &content);
        let (_, said) =
            refused(&pair.right, &[&at(&pair.there, "text"), "--take", "merged", "--file", &at(&own, "none")]);
        assert!(said.contains("as the merged file"), "{said}");
        resolve(&pair.right, &[&at(&pair.there, "text"), "--take", "merged", "--file", &at(&own, "merged")]);
        pair.agreed();
        both_have(&pair, "text", &content);
    }
}

#[test]
fn a_file_that_has_markers_is_not_taken() {
    let pair = touching();
    let own = pair.stack.dir("own").unwrap();
    write(&own, "merged", "1\n2\n3\n<<<<<<< left\nleft\n=======\nright\n>>>>>>> right\n5\n6\n7\n8\n");
    let arguments = [&at(&pair.here, "text"), "--take", "merged", "--file", &at(&own, "merged")];
    let (code, said) = refused(&pair.left, &arguments);
    assert!(code == 1 && said.contains("markers left"), "{said}");
    assert_eq!(listed(&pair.left).len(), 1);
    both_have_own(&pair);
}

#[test]
fn of_three_sides_all_are_shown_and_no_merge_drops_one() {
    let mut pair = Pair::with(|folder| write(folder, "text", COMMON));
    let mut third = Device::join(&pair.stack, "third").unwrap();
    let yonder = pair.stack.path().join("third/docs");
    third.clone_root("docs", &yonder).unwrap();
    third.wait_in_sync().unwrap();
    pair.right.stop_agent().unwrap();
    third.stop_agent().unwrap();
    // Any two of them would merge cleanly.
    write(&pair.here, "text", &COMMON.replace('1', "one"));
    pair.left.wait_in_sync().unwrap();
    write(&pair.there, "text", &COMMON.replace('4', "four"));
    write(&yonder, "text", &COMMON.replace('8', "eight"));
    pair.right.start_agent().unwrap();
    third.start_agent().unwrap();
    until("both candidates", || {
        let listed = listed(&pair.right);
        listed.len() == 1 && listed[0]["candidates"].as_array().is_some_and(|all| all.len() == 2)
    });
    let asked = at(&pair.there, "text");
    for arguments in [&[&asked, "--take", "merged"][..], &[&asked, "--take", "merged", "--tool", "true"]] {
        let (code, said) = refused(&pair.right, arguments);
        assert!(code == 1 && said.contains("there are 3 sides"), "{said}");
    }
    let mut command = pair.right.command(["resolve"]);
    command.env("QUICS_MERGE_TOOL", "true");
    let mut terminal = Terminal::start(&command).unwrap();
    let shown = terminal.expect("> ", PATIENCE).unwrap();
    for part in ["+ one", "+ four", "+ eight", "show all that differs"] {
        assert!(shown.contains(part), "{part} is missing: {shown}");
    }
    assert_eq!(shown.matches("+ one").count(), 1, "the server's is shown once: {shown}");
    for part in ["merge in your editor", "merge: the changes", "edit the merge", "merge tool"] {
        assert!(!shown.contains(part), "{part} is offered: {shown}");
    }
    terminal.type_line("third").unwrap();
    assert!(terminal.end(PATIENCE).unwrap().success());
    pair.agreed();
    until("the third to agree", || text(yonder.join("text")) == text(pair.at("text")));
    both_have(&pair, "text", &COMMON.replace('8', "eight"));
}

#[test]
fn a_root_that_wants_it_merges_clean_texts_by_itself_and_nothing_else() {
    let mut pair = Pair::with(|folder| {
        for name in ["clean", "touching", "large"] {
            write(folder, name, COMMON);
        }
        write(folder, "large", &format!("{COMMON}{}", "a line that both leave alone\n".repeat(2000)));
    });
    pair.left.quics(["config", "docs", "merge=auto-clean"]).unwrap();
    pair.right.stop_agent().unwrap();
    let edit = |folder: &Path, from: &str, to: &str| {
        for name in ["clean", "large"] {
            let text = fs::read_to_string(folder.join(name)).unwrap();
            write(folder, name, &text.replacen(from, to, 1));
        }
    };
    edit(&pair.here, "1\n", "one\n");
    write(&pair.here, "touching", "left\n");
    pair.left.wait_in_sync().unwrap();
    edit(&pair.there, "8\n", "eight\n");
    write(&pair.there, "touching", "right\n");
    pair.right.start_agent().unwrap();
    both_have(&pair, "clean", MERGED);
    both_have(&pair, "large", &format!("{MERGED}{}", "a line that both leave alone\n".repeat(2000)));
    pair.open(1);
    assert!(listed(&pair.left)[0]["path"].as_str().unwrap().ends_with("touching"));
    resolve(&pair.left, &["--take", "server"]);
    pair.agreed();
}

//! The walk through conflicts, at a real pseudo-terminal.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use quics_stack::harness::Terminal;

use super::{at, both_have, listed, resolve, write};
use crate::support::{PATIENCE, Pair, until};

/// Waits for a text.
fn sees(terminal: &mut Terminal, text: &str) -> String {
    terminal.expect(text, PATIENCE).unwrap()
}

/// Waits for the question, and answers.
fn answers(terminal: &mut Terminal, line: &str) {
    sees(terminal, "> ");
    terminal.type_line(line).unwrap();
}

#[test]
fn a_person_sees_who_and_what_and_chooses() {
    let pair = Pair::quarrel();
    let mut terminal = pair.right.at_terminal(["resolve"]).unwrap();
    sees(&mut terminal, "plan.txt");
    let shown = sees(&mut terminal, "quit");
    for part in [
        "the server (from left)",
        "right, this device",
        "15 B",
        "16 B",
        "- common",
        "+ the left one's",
        "+ the right one's",
        "plan (from right).txt",
    ] {
        assert!(shown.contains(part), "{part} is missing: {shown}");
    }
    assert!(shown.contains("\u{1b}[32m"), "additions are green: {shown:?}");
    answers(&mut terminal, "nonsense");
    sees(&mut terminal, "has no side in it");
    answers(&mut terminal, "m");
    sees(&mut terminal, "is kept");
    assert!(terminal.end(PATIENCE).unwrap().success());
    pair.agreed();
    both_have(&pair, "plan.txt", "the right one's\n");
}

#[test]
fn both_are_kept_under_a_name_that_is_shown_before() {
    let pair = Pair::quarrel();
    let mut terminal = pair.left.at_terminal(["resolve"]).unwrap();
    answers(&mut terminal, "b");
    sees(&mut terminal, "Another name");
    terminal.type_line("plan.txt").unwrap();
    sees(&mut terminal, "cannot be used");
    answers(&mut terminal, "b");
    sees(&mut terminal, "Another name");
    terminal.type_line("").unwrap();
    sees(&mut terminal, "both are kept");
    assert!(terminal.end(PATIENCE).unwrap().success());
    pair.agreed();
    both_have(&pair, "plan (from right).txt", "the right one's\n");
}

#[test]
fn what_changes_while_the_person_thinks_is_shown_anew_and_asked_again() {
    let pair = Pair::quarrel();
    let mut terminal = pair.left.at_terminal(["resolve"]).unwrap();
    sees(&mut terminal, "> ");
    fs::write(pair.on("plan.txt"), "the right one thought again\n").unwrap();
    until("the new candidate", || listed(&pair.left)[0]["candidates"][0]["size"] == 28);
    terminal.type_line("2").unwrap();
    sees(&mut terminal, "it has changed since you saw it");
    sees(&mut terminal, "the right one thought again");
    answers(&mut terminal, "right");
    assert!(terminal.end(PATIENCE).unwrap().success());
    pair.agreed();
    both_have(&pair, "plan.txt", "the right one thought again\n");
}

#[test]
fn one_that_somebody_else_answers_meanwhile_says_so_and_the_walk_goes_on() {
    let pair = Pair::apart(
        |it| ["a/x", "b/y"].iter().for_each(|name| made(it, name, "common\n")),
        |it| ["a/x", "b/y"].iter().for_each(|name| made(it, name, "left\n")),
        |it| ["a/x", "b/y"].iter().for_each(|name| made(it, name, "right\n")),
        2,
    );
    let mut terminal = pair.left.at_terminal(["resolve"]).unwrap();
    sees(&mut terminal, "[1/2]");
    sees(&mut terminal, "> ");
    resolve(&pair.right, &[&at(&pair.there, "a/x"), "--take", "mine"]);
    terminal.type_line("s").unwrap();
    sees(&mut terminal, "it is over: right kept its own version");
    sees(&mut terminal, "[2/2]");
    answers(&mut terminal, "k");
    assert_eq!(terminal.end(PATIENCE).unwrap().code(), Some(3), "one waits still");
    pair.open(1);
}

fn made(folder: &Path, name: &str, content: &str) {
    fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
    write(folder, name, content);
}

#[test]
fn a_group_is_answered_at_once_or_one_by_one() {
    let names = ["d/a", "d/b", "d/c", "d/picture.png"];
    let fill = |folder: &Path, what: &str| {
        for name in &names[..3] {
            made(folder, name, &format!("{what}\n"));
        }
        // A picture's head: 300 × 200 pixels.
        let mut picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\x2c\0\0\0\xc8\x08\x02\0\0\0".to_vec();
        picture.extend_from_slice(what.as_bytes());
        fs::write(folder.join(names[3]), picture).unwrap();
    };
    let pair = Pair::apart(|it| fill(it, "common"), |it| fill(it, "left"), |it| fill(it, "right one"), 4);
    let mut terminal = pair.left.at_terminal(["resolve"]).unwrap();
    sees(&mut terminal, "4 conflicts below");
    answers(&mut terminal, "o");
    sees(&mut terminal, "[1/1, 1/4]");
    answers(&mut terminal, "right");
    sees(&mut terminal, "[1/1, 2/4]");
    answers(&mut terminal, "k");
    sees(&mut terminal, "[1/1, 3/4]");
    answers(&mut terminal, "k");
    let shown = sees(&mut terminal, "> ");
    assert!(shown.contains("300 × 200 pixels"), "{shown}");
    terminal.type_line("q").unwrap();
    assert_eq!(terminal.end(PATIENCE).unwrap().code(), Some(3));
    pair.open(3);
    let mut terminal = pair.left.at_terminal(["resolve"]).unwrap();
    sees(&mut terminal, "3 conflicts below");
    answers(&mut terminal, "m");
    assert!(terminal.end(PATIENCE).unwrap().success());
    pair.agreed();
    both_have(&pair, "d/a", "right one\n");
    both_have(&pair, "d/b", "left\n");
}

#[test]
fn a_merge_is_made_in_the_editor_and_refused_with_markers() {
    let pair = Pair::apart(
        |it| write(it, "text", "1\n2\n3\n"),
        |it| write(it, "text", "1\nleft\n3\n"),
        |it| write(it, "text", "1\nright\n3\n"),
        1,
    );
    // An editor that does nothing the first time, and takes both lines the second.
    let tools = pair.stack.dir("tools").unwrap();
    let editor = tools.join("editor");
    let script =
        "#!/bin/sh\nif [ -e \"$0.seen\" ]; then sed -i '/^[<>|=]/d; /^2$/d' \"$1\"; else touch \"$0.seen\"; fi\n";
    fs::write(&editor, script).unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = pair.left.command(["resolve"]);
    command.env("VISUAL", &editor);
    let mut terminal = Terminal::start(&command).unwrap();
    sees(&mut terminal, "merge in your editor");
    answers(&mut terminal, "g");
    sees(&mut terminal, "markers left");
    answers(&mut terminal, "g");
    sees(&mut terminal, "the merged version is kept");
    assert!(terminal.end(PATIENCE).unwrap().success());
    pair.agreed();
    both_have(&pair, "text", "1\nleft\nright\n3\n");
}

#[test]
fn names_and_texts_of_others_do_not_drive_the_terminal() {
    let evil = "evil\u{1b}[2J\u{7}";
    let pair = Pair::apart(
        |_| {},
        |it| write(it, evil, "left \u{1b}]0;owned\u{7}\n"),
        |it| write(it, evil, "right \u{1b}[31m\n"),
        1,
    );
    let mut terminal = pair.left.at_terminal(["resolve"]).unwrap();
    let shown = sees(&mut terminal, "> ");
    for code in ["\u{1b}[2J", "\u{1b}]0;", "\u{7}"] {
        assert!(!shown.contains(code), "{shown:?}");
    }
    terminal.type_line("s").unwrap();
    assert!(terminal.end(PATIENCE).unwrap().success());
    pair.agreed();
}

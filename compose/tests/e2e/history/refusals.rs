//! What cannot be: one clear sentence, and nothing changed.

use std::fs;

use super::{at, fails, path};
use crate::support::{Pair, text};

#[test]
fn what_cannot_be_is_refused_in_one_sentence_and_changes_nothing() {
    let pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "one\n").unwrap());
    pair.known();
    let plan = pair.at("plan.txt");
    let before = pair.commit();
    for (arguments, word) in [
        (vec!["cat".to_owned(), at(&plan, 9)], "version"),
        (vec!["cat".to_owned(), at(&plan, "1.3")], "version"),
        (vec!["cat".to_owned(), at(&plan, "tomorrow")], "still to come"),
        (vec!["cat".to_owned(), at(&plan, "2001-01-01")], "its history begins later"),
        (vec!["cat".to_owned(), at(&plan, "soonish")], "no time"),
        (vec!["cat".to_owned(), plan.to_str().unwrap().to_owned()], "which version"),
        (vec!["cat".to_owned(), at(pair.at("never.txt"), 1)], "never.txt"),
        (vec!["log".to_owned(), path(&pair.at("never.txt")).to_owned()], "never.txt"),
        (vec!["ls".to_owned(), plan.to_str().unwrap().to_owned()], "directory"),
        (vec!["ls".to_owned(), path(&pair.here).to_owned(), "--at".to_owned(), "#999999".to_owned()], "999999"),
        (vec!["restore".to_owned(), "--yes".to_owned(), at(&plan, 9)], "version"),
        (vec!["restore".to_owned(), at(&plan, 1), "--undo".to_owned(), "00".to_owned()], "--undo"),
        (vec!["restore".to_owned(), "--undo".to_owned(), "00".to_owned()], "no restore's id"),
        (vec!["restore".to_owned(), "--undo".to_owned(), "00".repeat(16)], "no such restore"),
        (vec!["log".to_owned(), "/nowhere".to_owned()], "not in a synced directory"),
        (vec!["log".to_owned(), path(&pair.here).to_owned(), "--device".to_owned(), "nosuch".to_owned()], "\"nosuch\""),
        (vec!["log".to_owned(), path(&pair.here).to_owned(), "--user".to_owned(), "nosuch".to_owned()], "\"nosuch\""),
        (
            vec!["restore".to_owned(), path(&pair.here).to_owned(), "--at".to_owned(), "2001-01-01".to_owned()],
            "its history begins later",
        ),
        (vec!["share".to_owned(), at(&plan, 99)], "version 99 is not there yet: the newest is 1"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = pair.left.run(&arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?} should speak of {word:?}: {said}");
    }
    assert_eq!(pair.commit(), before);
    assert_eq!(text(plan), "one\n");
    // Without a terminal nobody can be asked.
    fs::write(pair.at("plan.txt"), "two\n").unwrap();
    pair.settle();
    pair.known();
    let said = fails(&pair.left, &["restore", &at(pair.at("plan.txt"), 1)]);
    assert!(said.contains("--yes"), "{said}");
    assert_eq!(text(pair.on("plan.txt")), "two\n");
}

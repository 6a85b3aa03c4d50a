//! Breaks the rules one at a time in a copy of this crate, and sees that the properties notice.
//!
//! Slow, as it compiles the copy once a rule:
//! `cargo test -p quics-reconcile --test broken_rules -- --ignored --nocapture`

#![allow(clippy::unwrap_used, reason = "what cannot be read or written fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A rule, where it stands, and how it is broken.
struct Rule {
    broken: &'static str,
    file: &'static str,
    was: &'static str,
    is: &'static str,
    /// Whether the properties of this crate notice. What they do not notice shows only where more than trees and
    /// proposals is at hand: late messages, processes that die, people who edit on.
    noticed: bool,
}

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule {
        broken: "an accepted move advances the base of the content",
        file: "learn.rs",
        was: "(base.place, base.place_time) = (place.place.clone(), accepted.row.place_time);",
        is: "(base.place, base.place_time) = (place.place.clone(), accepted.row.place_time); base.content_time = accepted.row.time;",
        noticed: true,
    },
    Rule {
        broken: "remote rows may go back",
        file: "trees.rs",
        was: "known.time >= row.time",
        is: "known == &row",
        noticed: false,
    },
    Rule {
        broken: "the recorded inode is not renewed",
        file: "learn.rs",
        was: "base.inode = seen.inode; // else",
        is: "// else",
        noticed: false,
    },
    Rule {
        broken: "a move is bound by inode whatever the content",
        file: "bind.rs",
        was: "self.synced.get(&entry).is_some_and(|base| base.value == *value)",
        is: "self.synced.contains_key(&entry) && { let _ = value; true }",
        noticed: false,
    },
    Rule {
        broken: "one slot for both roles",
        file: "judge.rs",
        was: "return self.candidate(there.id, CandidateRole::New, state, mtime, mode, None);",
        is: "return self.candidate(there.id, CandidateRole::Own, state, mtime, mode, None);",
        noticed: true,
    },
    Rule {
        broken: "a directory in which others live is deleted like any other",
        file: "plan.rs",
        was: "return Next::Do(Step::Forget(id)); // others live in it",
        is: "return Next::Wait; // others live in it",
        noticed: true,
    },
    Rule {
        broken: "what is new in a directory deleted elsewhere does not keep it",
        file: "plan.rs",
        was: "self.plan_revival(node, it, value) // deleted there, alive here",
        is: "{ let _ = self.plan_revival(node, it, value); Next::Wait }",
        noticed: true,
    },
    Rule {
        broken: "a directory that is made again is forgotten first, with everything in it",
        file: "plan.rs",
        was: "self.plan_revival(node, it, value) // deleted there, alive here",
        is: "{ let _ = self.plan_revival(node, it, value); Next::Do(Step::Forget(id)) }",
        noticed: true,
    },
    Rule {
        broken: "nothing is parked",
        file: "plan.rs",
        was: "if misplaced && !self.conflicts.contains_key(&other) { Way::Park(other) } else { Way::Blocked }",
        is: "{ let _ = misplaced; Way::Blocked }",
        noticed: true,
    },
    Rule {
        broken: "after a move that was refused beside something accepted the device does not move back",
        file: "learn.rs",
        was: r"if change.place.is_some() && !accepted.place {
            self.set_revert(id, true);",
        is: r"if change.place.is_some() && !accepted.place {
            self.set_revert(id, false);",
        noticed: false,
    },
    Rule {
        broken: "after a refused proposal the device does not move back",
        file: "learn.rs",
        was: r"&& *why != Refusal::ParentGone
                {
                    self.set_revert(id, true);",
        is: r"&& *why != Refusal::ParentGone
                {
                    self.set_revert(id, false);",
        noticed: true,
    },
    Rule {
        broken: "a file against a directory with others' things is proposed like any edit",
        file: "plan.rs",
        was: r"Content::Propose { ask: true }
                    }
                }",
        is: r"Content::Propose { ask: false }
                    }
                }",
        noticed: true,
    },
    Rule {
        broken: "a directory that waits for a member to leave does not hear that it stays",
        file: "trees.rs",
        was: r"for which the directory may wait.
            self.dirty.structure();",
        is: "for which the directory may wait.",
        noticed: true,
    },
    Rule {
        broken: "a directory with new things against a file is replaced",
        file: "plan.rs",
        was: "return if self.lives(node) { Content::Propose { ask: true } } else { Content::Wait };",
        is: "return Content::Do(Step::Replace(id));",
        noticed: true,
    },
    Rule {
        broken: "an entry that takes another node keeps the old one",
        file: "learn.rs",
        was: r"        self.unbind(other);
        untouched.then_some(Step::Drop(other))",
        is: "        let _ = untouched; None",
        noticed: false,
    },
    Rule {
        broken: "a side that won does not become the base",
        file: "learn.rs",
        was: r"(base.value, base.content_time) = (row.value.clone(), row.content_time);
                let nameless",
        is: "let nameless",
        noticed: false,
    },
    Rule {
        broken: "a settled loser is proposed again",
        file: "plan.rs",
        was: r"if self.settled_state(id, CandidateRole::Own) == Some(&state) {
                return Content::Do(Step::Replace(id));",
        is: r"if false {
                return Content::Do(Step::Replace(id));",
        noticed: true,
    },
    Rule {
        broken: "a newcomer that is gone is not withdrawn",
        file: "plan.rs",
        was: "(!there).then(||",
        is: "(false && !there).then(||",
        noticed: false,
    },
    Rule {
        broken: "two rows are found by one name",
        file: "trees.rs",
        was: r"        self.synced_at.insert(base.place.clone(), id);
        if base.inode",
        is: r"        self.synced_at.entry(base.place.clone()).or_insert(id);
        if base.inode",
        noticed: false,
    },
    Rule {
        broken: "a delete does not need unchanged content",
        file: "judge.rs",
        was: "let disputed = row.content_time > base_time;",
        is: "let disputed = false && row.content_time > base_time;",
        noticed: true,
    },
    Rule {
        broken: "a delete that lost is proposed again",
        file: "plan.rs",
        was: "return Next::Do(Step::Forget(id)); // the delete lost",
        is: "// the delete lost",
        noticed: true,
    },
];

/// Copies a directory with everything in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for member in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (member.path(), to.join(member.file_name()));
        if member.file_type().unwrap().is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// A workspace of this crate and what it needs, without its integration tests.
fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let copied = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken-rules");
    let _ = fs::remove_dir_all(copied.join("crates"));
    for part in ["types/src", "reconcile/src"] {
        copy(&root.join("crates").join(part), &copied.join("crates").join(part));
    }
    for file in ["crates/types/Cargo.toml", "crates/reconcile/Cargo.toml", "Cargo.lock"] {
        fs::copy(root.join(file), copied.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("[workspace.package]").unwrap();
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"crates/types\", \"crates/reconcile\"]\n";
    fs::write(copied.join("Cargo.toml"), format!("{members}\n[workspace.package]{rest}")).unwrap();
    copied
}

/// Runs the properties there. Returns whether they hold.
fn hold(workspace: &Path) -> bool {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--offline", "-p", "quics-reconcile", "--lib", "properties"])
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", workspace.join("target"))
        .env("QUICS_RECONCILE_CASES", "30000")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("test result:"), "nothing was tested: {told}");
    output.status.success()
}

#[test]
#[ignore = "compiles the crate once a rule; for those who change the rules"]
fn every_broken_rule_is_noticed() {
    let workspace = workspace();
    assert!(hold(&workspace), "the properties hold as long as no rule is broken");
    let mut wrong = Vec::new();
    for rule in RULES {
        let file = workspace.join("crates/reconcile/src").join(rule.file);
        let whole = fs::read_to_string(&file).unwrap();
        assert_eq!(whole.matches(rule.was).count(), 1, "{}: not found in {}", rule.broken, rule.file);
        fs::write(&file, whole.replace(rule.was, rule.is)).unwrap();
        let noticed = !hold(&workspace);
        fs::write(&file, whole).unwrap();
        println!("{}: {}", rule.broken, if noticed { "noticed" } else { "not noticed" });
        if noticed != rule.noticed {
            wrong.push(rule.broken);
        }
    }
    assert!(wrong.is_empty(), "otherwise than the list says: {wrong:?}");
}

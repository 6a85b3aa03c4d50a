//! Who may answer: users, their roles, and what a root says of it. Who may not gets one sentence, and nothing changes.

use std::fs;

use super::{at, both_have, listed, refused, resolve};
use crate::support::{Ann, Pair, text, until};

impl Ann {
    /// She is a writer; her device knows of the conflicts that are open.
    fn who_knows(pair: &Pair) -> Self {
        let ann = Self::of(pair, "writer");
        let open = listed(&pair.left).len();
        until("her device to know what is open", || listed(&ann.device).len() == open);
        ann
    }

    /// Her answer, which is refused in one sentence with these words, and changes nothing.
    fn may_not(&self, pair: &Pair, why: &str) {
        let before = (listed(&pair.left), text(pair.at("plan.txt")), text(pair.on("plan.txt")));
        let plan = at(&self.folder, "plan.txt");
        for take in ["server", "right", "both"] {
            let (code, said) = refused(&self.device, &[&plan, "--take", take]);
            assert!(code == 1 && said.contains("you may not answer") && said.contains(why), "{take}: {said}");
            assert_eq!(said.trim().lines().count(), 1, "{said}");
        }
        // What was changed a moment ago is known from the refusal on.
        until("that to be listed", || listed(&self.device).first().is_some_and(|it| it["may_answer"] == false));
        let (_, said) = refused(&self.device, &[&plan, "--take", "server", "--dry-run"]);
        assert!(said.contains("may not answer"), "{said}");
        assert_eq!((listed(&pair.left), text(pair.at("plan.txt")), text(pair.on("plan.txt"))), before);
    }
}

/// Says who answers, and waits until ann's device knows.
fn answerers(pair: &Pair, ann: &Ann, who: &str) {
    pair.left.quics(["config", "docs", &format!("answerers={who}")]).unwrap();
    let folder = at(&ann.folder, "");
    until("the setting to be known", || ann.device.quics(["config", &folder]).unwrap().contains(who));
}

#[test]
fn where_owners_answer_a_writer_does_not_and_neither_takes_answers_back() {
    let pair = Pair::quarrel();
    let ann = Ann::who_knows(&pair);
    answerers(&pair, &ann, "owners");
    ann.may_not(&pair, "that is left to its owners");
    let said = resolve(&pair.right, &[&at(&pair.there, "plan.txt"), "--take", "mine"]);
    let id = said.split("--undo ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    pair.agreed();
    let (code, said) = refused(&ann.device, &["--undo", &id]);
    assert!(code == 1 && said.contains("that is left to its owners"), "{said}");
    both_have(&pair, "plan.txt", "the right one's\n");
    let changed = ann.device.run(["config", &at(&ann.folder, ""), "answerers=writers"]).unwrap();
    let said = String::from_utf8_lossy(&changed.stderr).into_owned();
    assert!(!changed.status.success() && said.contains("only owners"), "{said}");
}

#[test]
fn where_those_involved_answer_only_who_has_a_side_and_owners_do() {
    let pair = Pair::quarrel();
    let mut ann = Ann::who_knows(&pair);
    answerers(&pair, &ann, "involved");
    ann.may_not(&pair, "that is left to those who have a side in it, and to owners");
    // With a side of her own in another one, she answers that.
    fs::write(pair.at("hers.txt"), "common\n").unwrap();
    until("it to arrive", || text(ann.folder.join("hers.txt")) == "common\n");
    ann.device.stop_agent().unwrap();
    fs::write(pair.at("hers.txt"), "the left one's\n").unwrap();
    until("it to arrive", || text(pair.on("hers.txt")) == "the left one's\n");
    fs::write(ann.folder.join("hers.txt"), "ann's\n").unwrap();
    ann.device.start_agent().unwrap();
    pair.open(2);
    resolve(&ann.device, &[&at(&ann.folder, "hers.txt"), "--take", "mine"]);
    pair.open(1);
    both_have(&pair, "hers.txt", "ann's\n");
    ann.may_not(&pair, "that is left to those who have a side in it");
}

#[test]
fn who_only_reads_does_not_answer() {
    let pair = Pair::quarrel();
    let ann = Ann::who_knows(&pair);
    Ann::role(&pair, "reader");
    ann.may_not(&pair, "you may only read it");
    resolve(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "right"]);
    pair.agreed();
    until("the answer to reach her", || text(ann.folder.join("plan.txt")) == "the right one's\n");
}

#[test]
fn a_side_that_was_taken_back_cannot_be_chosen_and_the_others_are_named() {
    let pair = Pair::quarrel();
    let mut ann = Ann::who_knows(&pair);
    until("the server's to be hers", || text(ann.folder.join("plan.txt")) == "the left one's\n");
    ann.device.stop_agent().unwrap();
    fs::write(ann.folder.join("plan.txt"), "ann's\n").unwrap();
    // Before hers is seen: the server's is then not the one that she edited.
    let second = "the left one's second\n";
    fs::write(pair.at("plan.txt"), second).unwrap();
    until("it to be the server's", || listed(&pair.right)[0]["server"]["size"] == second.len());
    ann.device.start_agent().unwrap();
    let sides = || listed(&pair.left)[0]["candidates"].as_array().unwrap().len();
    until("two candidates", || sides() == 2);
    fs::write(pair.on("plan.txt"), "common\n").unwrap();
    until("one to be taken back", || sides() == 1);
    let (code, said) = refused(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "right"]);
    assert!(code == 1 && said.contains("\"right\" has no side in it") && said.contains("ann's anns"), "{said}");
    assert_eq!(sides(), 1);
    resolve(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "ann/anns"]);
    pair.agreed();
    both_have(&pair, "plan.txt", "ann's\n");
}

#[test]
fn what_a_reader_writes_is_kept_and_shown_until_they_may_write() {
    let pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "common\n").unwrap());
    let ann = Ann::who_knows(&pair);
    Ann::role(&pair, "reader");
    let explained = |name: &str| ann.device.quics(["explain", &at(&ann.folder, name)]).unwrap();
    // The role is learned when the server refuses.
    fs::write(ann.folder.join("hers.txt"), "ann's\n").unwrap();
    until("it to be held", || explained("hers.txt").contains("you may only read this root"));
    fs::write(ann.folder.join("second.txt"), "ann's second\n").unwrap();
    until("the second to be held", || explained("second.txt").contains("you may only read this root"));
    assert!(explained("hers.txt").contains("you may only read this root"), "{}", explained("hers.txt"));
    assert!(!pair.at("hers.txt").exists() && text(ann.folder.join("hers.txt")) == "ann's\n");
    Ann::role(&pair, "writer");
    // With the next session at the latest, which begins anew here.
    pair.stack.crash(quics_kit::names::Service::Sync).unwrap();
    until("both to arrive", || {
        text(pair.at("hers.txt")) == "ann's\n" && text(pair.on("second.txt")) == "ann's second\n"
    });
}

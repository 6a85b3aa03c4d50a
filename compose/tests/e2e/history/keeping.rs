//! What is kept: policies, pins, and what versions cost, with a clock that is moved.

use std::fs;
use std::process::Command;

use quics_stack::harness::{Device, Stack, printed};
use serde_json::Value;

use super::{at, cat, fails, log, path};
use crate::clock::Clock;
use crate::support::{Ann, PATIENCE, Pair, has, text, until};

/// Two devices and their server that go by a clock.
fn by(clock: &Clock) -> Pair {
    let stack = Stack::start(&clock.program()).unwrap();
    let mut pair = Pair::on_stack(stack, |_| {});
    for device in [&mut pair.left, &mut pair.right] {
        device.stop_agent().unwrap();
        device.run_by(clock.program());
        device.start_agent().unwrap();
    }
    pair.in_sync();
    pair
}

fn json(device: &Device, arguments: &[&str]) -> Value {
    serde_json::from_str(&device.quics(arguments).unwrap()).unwrap()
}

/// The versions of a file whose contents are gone, the oldest first.
fn gone(pair: &Pair, name: &str) -> Vec<String> {
    let versions = log(&pair.left, &[path(&pair.at(name))]);
    let gone = versions.iter().rev().filter(|it| !it["removed"].is_null());
    gone.map(|it| it["version"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn versions_go_by_the_policy_as_time_passes_and_say_so_and_pinned_ones_stay() {
    let test = "versions_go_by_the_policy_as_time_passes_and_say_so_and_pinned_ones_stay";
    let Some(clock) = Clock::new(test) else { return };
    let pair = by(&clock);
    for content in ["one\n", "two\n", "three\n", "four\n"] {
        fs::write(pair.at("plan.txt"), content).unwrap();
        fs::write(pair.at("big.iso"), content.repeat(1000)).unwrap();
        pair.settle();
    }
    fs::write(pair.at("gone.txt"), "was here\n").unwrap();
    pair.settle();
    fs::remove_file(pair.at("gone.txt")).unwrap();
    pair.settle();
    pair.known();
    let first = pair.left.quics(["policy", path(&pair.here)]).unwrap();
    assert!(
        first.contains("every version for 30 days, then the last of each day for a year, then the last of each week"),
        "{first}"
    );
    pair.left.quics(["pin", &at(pair.at("plan.txt"), 2), "--note", "as it was\u{1b}[2J signed"]).unwrap();
    let pins = pair.right.quics(["pins", path(&pair.there)]).unwrap();
    assert!(pins.contains("plan.txt@2") && pins.contains("as it was\\u{1b}[2J signed"), "{pins}");
    assert_eq!(json(&pair.right, &["pins", "docs", "--json"])["pinned_from"], "left");

    // A day goes by: these policies take what is older than one.
    clock.set("+3d");
    until("the server to be heard of again", || pair.left.run(["log", path(&pair.here)]).unwrap().status.success());
    let set = ["policy", "set", path(&pair.here), "--every", "1d", "--daily", "none", "--weekly", "none"];
    let dry = |more: &[&str]| pair.left.quics(set.iter().chain(more).chain(&["--dry-run"])).unwrap();
    // plan.txt 1 and 3, big.iso 1 to 3, and what gone.txt was.
    let told = dry(&[]);
    assert!(told.contains("the contents of 6 versions go"), "{told}");
    assert!(gone(&pair, "plan.txt").is_empty(), "a dry run does nothing");
    let said = fails(&pair.left, &set);
    assert!(said.contains("--yes"), "nobody can be asked: {said}");
    assert!(json(&pair.left, &["policy", "docs", "--json"])["revision"] == 0);

    pair.left.quics(["policy", "set", "docs", "--for", "*.iso", "--every", "1d", "--yes"]).unwrap();
    until("the images' versions to go", || gone(&pair, "big.iso") == ["1", "2", "3"]);
    assert!(gone(&pair, "plan.txt").is_empty(), "they are of another rule");
    let policy = json(&pair.right, &["policy", "--json", path(&pair.there)]);
    assert_eq!((policy["rules"][0]["glob"].as_str(), policy["set_from"].as_str()), (Some("*.iso"), Some("left")));

    pair.left.quics(set.iter().chain(&["--yes"])).unwrap();
    until("what is not pinned to go", || gone(&pair, "plan.txt") == ["1", "3"]);
    assert_eq!(gone(&pair, "gone.txt"), ["1"]);
    assert_eq!(cat(&pair.right, &pair.on("plan.txt"), 2), b"two\n");
    assert_eq!(cat(&pair.right, &pair.on("plan.txt"), 4), b"four\n");
    let wanted = ["plan.txt@1 is not kept any more: it went on ", "retention: every version for a day"];
    let out = pair.stack.path().join("out");
    for arguments in [
        vec!["cat", &at(pair.at("plan.txt"), 1)],
        vec!["get", &at(pair.at("plan.txt"), 1), "-o", path(&out)],
        vec!["diff", &at(pair.at("plan.txt"), 1)],
    ] {
        let said = fails(&pair.left, &arguments);
        assert!(wanted.iter().all(|words| said.contains(words)), "{arguments:?}: {said}");
    }
    assert!(!out.exists());
    let said = fails(&pair.left, &["restore", "--yes", &at(pair.at("plan.txt"), 3)]);
    assert!(
        said.contains("not kept any more: it went on ") && said.contains("UTC, retention: every version"),
        "{said}"
    );
    let said = fails(&pair.left, &["pin", &at(pair.at("plan.txt"), 1)]);
    assert!(said.contains("not kept any more"), "{said}");
    let told = pair.left.quics(["log", path(&pair.at("plan.txt"))]).unwrap();
    assert!(told.contains("not kept: retention: every version for a day") && told.contains(", pinned"), "{told}");
    // A moment of the root at which something has gone: what is lost is named with its reason.
    let before = log(&pair.left, &[path(&pair.at("gone.txt"))]).last().unwrap()["commit"].as_u64().unwrap();
    let lost = pair.left.run(["restore", "--dry-run", path(&pair.here), "--at", &format!("#{before}")]).unwrap();
    let lost = String::from_utf8_lossy(&lost.stdout).into_owned();
    assert!(lost.contains("gone.txt  its content is not kept any more: it went on "), "{lost}");

    let got = pair.left.run(["get", &at(&pair.here, format_args!("#{before}")), "-o", path(&out)]).unwrap();
    let said = String::from_utf8_lossy(&got.stdout).into_owned();
    assert!(
        got.status.code() == Some(3) && said.contains("gone.txt@1") && said.contains("every version for"),
        "{said}"
    );
    assert!(text(out.join("plan.txt")) == "four\n" && !out.join("gone.txt").exists());

    pair.left.quics(["unpin", &at(pair.at("plan.txt"), 2)]).unwrap();
    clock.set("+75h");
    until("the version that was pinned to go", || gone(&pair, "plan.txt") == ["1", "2", "3"]);
    pair.left.quics(["policy", "reset", path(&pair.here), "--yes"]).unwrap();
    assert!(json(&pair.left, &["policy", "docs", "--json"])["rules"].as_array().unwrap().len() == 1);
    assert_eq!(text(pair.on("plan.txt")), "four\n");
}

/// Both devices write the plan while they are apart.
fn disagree(pair: &mut Pair) {
    pair.right.stop_agent().unwrap();
    fs::write(pair.on("plan.txt"), "the right one's\n").unwrap();
    fs::write(pair.at("plan.txt"), "the left one's\n").unwrap();
    pair.left.wait_in_sync().unwrap();
    pair.right.start_agent().unwrap();
    until("a conflict", || pair.left.conflicts().unwrap().contains("plan.txt"));
}

#[test]
fn the_loser_of_a_conflict_is_read_back_a_day_later() {
    let Some(clock) = Clock::new("the_loser_of_a_conflict_is_read_back_a_day_later") else { return };
    let mut pair = by(&clock);
    fs::write(pair.at("plan.txt"), "common\n").unwrap();
    pair.settle();
    disagree(&mut pair);
    let plan = pair.at("plan.txt");
    crate::conflicts::resolve(&pair.left, &[path(&plan), "--take", "server"]);
    pair.in_sync();
    pair.known();
    clock.set("+25h");
    until("the server to be heard of again", || pair.left.run(["log", path(&plan)]).unwrap().status.success());
    let lost = log(&pair.left, &[path(&plan)]);
    let lost = lost.iter().find(|it| it["cause"] == "conflict_lost").unwrap();
    let number = lost["version"].as_str().unwrap();
    assert_eq!(cat(&pair.left, &plan, number), b"the right one's\n");
    super::restore(&pair.left, &[&at(&plan, number)]);
    until("it to be back", || text(pair.on("plan.txt")) == "the right one's\n");
}

#[test]
fn versions_of_an_open_conflict_stay_until_it_is_answered() {
    let test = "versions_of_an_open_conflict_stay_until_it_is_answered";
    let Some(clock) = Clock::new(test) else { return };
    let mut pair = by(&clock);
    for content in ["one\n", "two\n"] {
        fs::write(pair.at("plan.txt"), content).unwrap();
        fs::write(pair.at("other.txt"), content).unwrap();
        pair.settle();
    }
    pair.known();
    disagree(&mut pair);
    clock.set("+3d");
    until("the policy to be set", || {
        let set = ["policy", "set", "docs", "--every", "1d", "--daily", "none", "--weekly", "none", "--yes"];
        pair.left.run(set).unwrap().status.success()
    });
    until("what is not in question to go", || gone(&pair, "other.txt") == ["1"]);
    assert!(gone(&pair, "plan.txt").is_empty(), "its base and what was before it are in question");
    assert_eq!(cat(&pair.left, &pair.at("plan.txt"), 1), b"one\n");
    crate::conflicts::resolve(&pair.left, &[path(&pair.at("plan.txt")), "--take", "server"]);
    clock.set("+74h");
    until("its versions to follow the policy", || gone(&pair, "plan.txt").len() >= 2);
    // What lost a moment ago is kept for a day.
    let lost = log(&pair.left, &[path(&pair.at("plan.txt"))]);
    let lost = lost.iter().find(|it| it["cause"] == "conflict_lost").unwrap();
    assert!(lost["removed"].is_null(), "{lost}");
    assert_eq!(cat(&pair.left, &pair.at("plan.txt"), lost["version"].as_str().unwrap()), b"the right one's\n");
}

#[test]
fn what_links_show_is_kept_whatever_a_policy_takes_until_they_are_taken_back() {
    if !has("curl", "what_links_show_is_kept_whatever_a_policy_takes_until_they_are_taken_back") {
        return;
    }
    let of = |what: &str| format!("{what}\n").repeat(500);
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("letters")).unwrap();
        for name in ["plan.txt", "other.txt", "letters/a.txt"] {
            fs::write(folder.join(name), of(&format!("{name} one"))).unwrap();
        }
    });
    pair.known();
    let file = pair.left.quics(["share", path(&pair.at("plan.txt"))]).unwrap();
    let folder = pair.left.quics(["share", path(&pair.at("letters"))]).unwrap();
    for number in ["two", "three"] {
        for name in ["plan.txt", "other.txt", "letters/a.txt"] {
            fs::write(pair.at(name), of(&format!("{name} {number}"))).unwrap();
        }
        pair.settle();
    }
    pair.known();
    let set = |size: &str, more: &str| pair.left.quics(["policy", "set", "docs", "--size", size, more]).unwrap();
    let told = set("1K", "--dry-run");
    assert!(told.contains("the contents of 4 versions go"), "without those that links show: {told}");
    set("1K", "--yes");
    until("what no link shows to go", || gone(&pair, "other.txt") == ["1", "2"]);
    until("it of the others too", || gone(&pair, "plan.txt") == ["2"] && gone(&pair, "letters/a.txt") == ["2"]);
    printed(pair.stack.command(&["reclaim"]), PATIENCE).unwrap();
    let addresses = [format!("{}/get", file.trim()), format!("{}/get/a.txt", folder.trim())];
    for (name, address) in ["plan.txt", "letters/a.txt"].into_iter().zip(addresses) {
        assert_eq!(cat(&pair.right, &pair.on(name), 1), of(&format!("{name} one")).into_bytes());
        let got = Command::new("curl").args(["-sSf", &address]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&got.stdout), of(&format!("{name} one")), "{got:?}");
    }
    for line in pair.left.quics(["shares", "--json"]).unwrap().lines() {
        let link: Value = serde_json::from_str(line).unwrap();
        pair.left.quics(["unshare", link["id"].as_str().unwrap()]).unwrap();
    }
    set("2K", "--yes");
    until("what links showed to go", || gone(&pair, "plan.txt") == ["1", "2"]);
    assert!(fails(&pair.left, &["cat", &at(pair.at("plan.txt"), 1)]).contains("not kept any more"));
}

#[test]
fn usage_says_what_is_there_and_what_history_costs() {
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("photos")).unwrap();
        fs::write(folder.join("photos/a.jpg"), vec![1; 5000]).unwrap();
        fs::write(folder.join("note.txt"), vec![2; 100]).unwrap();
    });
    fs::write(pair.at("photos/a.jpg"), vec![3; 7000]).unwrap();
    pair.settle();
    fs::write(pair.at("note.txt"), vec![4; 200]).unwrap();
    pair.settle();
    fs::rename(pair.at("note.txt"), pair.at("moved.txt")).unwrap();
    pair.settle();
    pair.known();
    let whole = json(&pair.right, &["usage", "docs", "--json"]);
    let bytes = |usage: &Value, what: &str| usage[what]["bytes"].as_u64().unwrap();
    assert_eq!((bytes(&whole, "now"), bytes(&whole, "history")), (7200, 5100), "{whole}");
    let children = whole["children"].as_array().unwrap();
    let named: Vec<&str> = children.iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(named, ["photos", "moved.txt"], "the biggest first");
    assert_eq!((bytes(&children[0], "now"), bytes(&children[0], "history")), (7000, 5000));
    let file = json(&pair.left, &["usage", "--json", path(&pair.at("moved.txt"))]);
    assert_eq!((bytes(&file, "now"), bytes(&file, "history")), (200, 100));
    let said = pair.left.quics(["usage", path(&pair.at("photos"))]).unwrap();
    assert!(
        said.contains("1 file, 6.8 KiB") && said.contains("1 version, 4.9 KiB") && said.contains("a.jpg"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_kept_or_set_is_refused_in_one_sentence_and_changes_nothing() {
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("letters")).unwrap();
        fs::write(folder.join("plan.txt"), "one\n").unwrap();
    });
    pair.known();
    let plan = pair.at("plan.txt");
    let here = path(&pair.here).to_owned();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let policy = |text: &str| [words("policy set"), vec![here.clone()], words(text)].concat();
    for (arguments, word) in [
        (vec!["pin".to_owned(), at(pair.at("never.txt"), 1)], "never.txt"),
        (vec!["pin".to_owned(), at(&plan, 9)], "version 9 is not there yet"),
        (vec!["pin".to_owned(), at(&plan, "tomorrow")], "still to come"),
        (vec!["pin".to_owned(), plan.to_str().unwrap().to_owned()], "which version"),
        (vec!["pin".to_owned(), at(pair.at("letters"), 1)], "it is no file"),
        (vec!["unpin".to_owned(), at(&plan, 1)], "version 1 is not pinned"),
        (policy("--every none --daily none --weekly none --yes"), "keep nothing"),
        (policy("--for *.iso --every none --yes"), "keep nothing"),
        (policy("--size 0G"), "keep nothing"),
        (policy("--every soon"), "no such time"),
        (policy("--for {a --every 1d --yes"), "gitignore"),
        (policy("--drop *.iso"), "no rule has the pattern"),
        (policy("--yes"), "say what to change"),
        (vec!["policy".to_owned(), "/nowhere".to_owned()], "not in a synced directory"),
        (vec!["usage".to_owned(), pair.at("never.txt").to_str().unwrap().to_owned()], "nothing ever had this path"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = pair.left.run(&arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?} should speak of {word:?}: {said}");
    }
    assert_eq!(json(&pair.left, &["policy", &here, "--json"])["revision"], 0);
    assert_eq!(pair.left.quics(["pins", &here]).unwrap(), "Nothing is pinned.\n");

    // A reader sees what is kept, a writer pins, and only an owner sets the policy.
    let Ann { device: ann, folder } = Ann::of(&pair, "reader");
    until("her copy", || text(folder.join("plan.txt")) == "one\n");
    assert!(ann.quics(["policy", "docs"]).unwrap().contains("every version for 30 days"));
    let pin = at(folder.join("plan.txt"), 1);
    assert!(fails(&ann, &["pin", &pin]).contains("a reader may not"));
    Ann::role(&pair, "writer");
    until("her to be a writer", || ann.run(["pin", &pin]).unwrap().status.success());
    let said = fails(&ann, &["policy", "set", "docs", "--every", "9d", "--yes"]);
    assert!(said.contains("a writer may not"), "{said}");
    assert_eq!(json(&pair.left, &["policy", &here, "--json"])["revision"], 0);
}

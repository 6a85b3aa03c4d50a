//! Conflicts: who is asked, what they choose, and what everybody has a moment later.

use std::{fs, path::Path, process::Output};

use quics_stack::harness::Device;
use serde_json::Value;

use crate::support::{PATIENCE, Pair, text, until};

mod answers;
mod kinds;
mod merges;
mod notice;
mod rights;
mod walk;

impl Pair {
    /// Two devices whose second one is away while both change the same thing; back, both know of the conflicts.
    pub(crate) fn apart(
        fill: impl FnOnce(&Path),
        here: impl FnOnce(&Path),
        there: impl FnOnce(&Path),
        conflicts: usize,
    ) -> Self {
        let mut pair = Self::with(fill);
        pair.right.stop_agent().unwrap();
        here(&pair.here);
        pair.left.wait_in_sync().unwrap();
        there(&pair.there);
        pair.right.start_agent().unwrap();
        pair.open(conflicts);
        pair
    }

    /// Two devices that wrote one file, each its own.
    pub(crate) fn quarrel() -> Self {
        Self::apart(
            |folder| write(folder, "plan.txt", "common\n"),
            |folder| write(folder, "plan.txt", "the left one's\n"),
            |folder| write(folder, "plan.txt", "the right one's\n"),
            1,
        )
    }

    /// Waits until both devices have so many open conflicts, with everything that is told of them.
    pub(crate) fn open(&self, count: usize) {
        for device in [&self.left, &self.right] {
            let told = |it: &Value| it["since"].is_string() && (it["server"]["device"].is_string());
            until(&format!("{} to have {count} conflicts", device.name()), || {
                let listed = listed(device);
                listed.len() == count && listed.iter().all(told)
            });
        }
    }

    /// Waits until nothing is open and both folders are equal.
    pub(crate) fn agreed(&self) {
        self.open(0);
        self.converge();
    }
}

pub(crate) fn write(folder: &Path, name: &str, content: &str) {
    fs::write(folder.join(name), content).unwrap();
}

/// What `quics conflicts --json` says.
pub(crate) fn listed(device: &Device) -> Vec<Value> {
    let output = device.run(["conflicts", "--json"]).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs `quics resolve` with these arguments, which has to succeed.
pub(crate) fn resolve(device: &Device, arguments: &[&str]) -> String {
    device.quics(["resolve"].iter().chain(arguments)).unwrap()
}

/// Runs `quics resolve` with these arguments, which has to fail in one sentence; gives it with the exit code.
pub(crate) fn refused(device: &Device, arguments: &[&str]) -> (i32, String) {
    let output: Output = device.run(["resolve"].iter().chain(arguments)).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} succeeded: {}", String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap(), said)
}

/// Waits until a file has this content on both devices.
pub(crate) fn both_have(pair: &Pair, name: &str, content: &str) {
    for folder in [&pair.here, &pair.there] {
        until(&format!("{name} to be {content:?} in {}", folder.display()), || text(folder.join(name)) == content);
    }
}

/// The path of a file as an argument.
pub(crate) fn at(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// The names in a directory, but for our own.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name != ".quics").collect();
    names.sort();
    names
}

#[test]
fn both_devices_are_told_at_once_who_has_what() {
    let pair = Pair::quarrel();
    for (device, own) in [(&pair.left, "left"), (&pair.right, "right")] {
        let conflict = listed(device).pop().unwrap();
        assert_eq!(conflict["server"]["device"], "left");
        let [candidate] = conflict["candidates"].as_array().unwrap().as_slice() else { panic!("{conflict}") };
        assert_eq!((candidate["device"].as_str(), candidate["size"].as_u64()), (Some("right"), Some(16)));
        assert_eq!(candidate["own"], own == "right");
        assert_eq!(conflict["may_answer"], true);
        assert_eq!(candidate["second_name"]["path"], "plan (from right).txt");
    }
    // Nothing is written anywhere before somebody chooses.
    assert_eq!(
        (text(pair.at("plan.txt")), text(pair.on("plan.txt"))),
        ("the left one's\n".into(), "the right one's\n".into())
    );
    assert_eq!((names(&pair.here), names(&pair.there)), (vec!["plan.txt".to_owned()], vec!["plan.txt".to_owned()]));
    // A status that is watched shows the next one as it arrives.
    let mut watching = pair.left.at_terminal(["status", "--watch"]).unwrap();
    watching.expect("1 open conflict", PATIENCE).unwrap();
    fs::write(pair.on("plan.txt"), "the right one's second\n").unwrap();
    watching.expect("plan.txt was changed by left and right without knowing of each other", PATIENCE).unwrap();
}

#[test]
fn a_side_is_fetched_to_a_file_of_the_users_and_never_over_one() {
    let pair = Pair::quarrel();
    let out = pair.stack.dir("out").unwrap();
    let get = |device: &Device, from: &str, name: &str| {
        let path =
            if std::ptr::eq(device, &pair.left) { at(&pair.here, "plan.txt") } else { at(&pair.there, "plan.txt") };
        device.run(["conflicts", "get", &path, "--from", from, "-o", &at(&out, name)]).unwrap()
    };
    for (from, content) in [
        ("server", "the left one's\n"),
        ("mine", "the right one's\n"),
        ("base", "common\n"),
        ("left", "the left one's\n"),
        ("right", "the right one's\n"),
    ] {
        let output = get(&pair.right, from, from);
        assert!(output.status.success(), "{from}: {output:?}");
        assert_eq!(text(out.join(from)), content);
    }
    assert!(get(&pair.left, "right", "other way").status.success());
    assert_eq!(text(out.join("other way")), "the right one's\n");
    let output = get(&pair.right, "mine", "mine");
    assert!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("exists already"),
        "{output:?}"
    );
    let output = get(&pair.right, "nobody", "new");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the sides are"), "{output:?}");
    assert_eq!(names(&out).len(), 6, "nothing is left of what failed");
}

#[test]
fn a_file_in_conflict_goes_on_being_edited_and_everything_else_syncs() {
    let pair = Pair::quarrel();
    fs::write(pair.on("plan.txt"), "the right one's, longer\n").unwrap();
    until("the new candidate", || listed(&pair.left)[0]["candidates"][0]["size"] == 24);
    fs::write(pair.at("plan.txt"), "the left one's, newer\n").unwrap();
    until("the new version", || listed(&pair.right)[0]["server"]["size"] == 22);
    fs::write(pair.at("other"), "goes on").unwrap();
    until("the rest to go on", || text(pair.on("other")) == "goes on");
    assert_eq!(text(pair.on("plan.txt")), "the right one's, longer\n", "a server version never overwrites a candidate");
    assert_eq!(listed(&pair.right).len(), 1);
    resolve(&pair.left, &[&at(&pair.here, "plan.txt"), "--take", "right"]);
    pair.agreed();
    both_have(&pair, "plan.txt", "the right one's, longer\n");
}

#[test]
fn conflicts_of_one_offline_time_below_one_directory_are_one_group() {
    let fill = |folder: &Path, what: &str| {
        for directory in ["photos/may", "photos/june", "letters"] {
            fs::create_dir_all(folder.join(directory)).unwrap();
            for name in ["a", "b"] {
                write(folder, &format!("{directory}/{name}"), &format!("{what} {name}\n"));
            }
        }
    };
    let pair = Pair::apart(|it| fill(it, "common"), |it| fill(it, "left"), |it| fill(it, "right's"), 6);
    let of = |path: &str| {
        let all = listed(&pair.left);
        let found = all.iter().find(|it| it["path"].as_str().unwrap().ends_with(path)).unwrap();
        (found["group"]["id"].as_str().unwrap().to_owned(), found["group"]["path"].as_str().unwrap().to_owned())
    };
    let (photos, letters) = (of("photos/may/a"), of("letters/b"));
    assert_eq!(photos, of("photos/june/b"));
    assert_eq!((photos.1, letters.1), (at(&pair.here, "photos"), at(&pair.here, "letters")));
    assert_ne!(photos.0, letters.0);
    assert!(pair.left.conflicts().unwrap().contains(&format!("quics resolve --group {}", photos.0)));
    // All at once, and by everybody's id of it.
    resolve(&pair.right, &["--group", &photos.0, "--take", "mine"]);
    pair.open(2);
    resolve(&pair.left, &[&at(&pair.here, "letters"), "--take", "server"]);
    pair.agreed();
    for (name, content) in
        [("photos/may/a", "right's a\n"), ("photos/june/b", "right's b\n"), ("letters/a", "left a\n")]
    {
        both_have(&pair, name, content);
    }
}

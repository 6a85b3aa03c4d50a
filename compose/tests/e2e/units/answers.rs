//! A unit that was changed on two devices: one question, and each way to answer it.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    thread,
};

use quics_stack::harness::Device;

use super::{
    both_are_whole, open_below,
    repository::{Repository, contents, fsck, head},
};
use crate::{
    conflicts::{at, listed, names, refused, resolve},
    support::{Pair, has, text, until, write_random},
};

/// The commits of the two sides.
struct Sides {
    left: String,
    right: String,
}

/// Repositories of these names that were committed to on both devices while they were apart: in each `.git` and a file
/// are in conflict.
fn quarrel(repositories: &[&str]) -> (Pair, Vec<Sides>) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let commit = |folder: &Path, who: &str, commits: &mut Vec<String>| {
        for name in repositories {
            let repository = Repository::at(folder, name);
            repository.commit(&format!("{who}.txt"), &format!("{who}'s own"));
            commits.push(repository.commit("shared.txt", &format!("{who}'s")));
        }
    };
    let pair = Pair::apart(
        |folder| repositories.iter().for_each(|name| drop(Repository::make(&folder.join(name)))),
        |folder| commit(folder, "left", &mut left),
        |folder| commit(folder, "right", &mut right),
        2 * repositories.len(),
    );
    for name in repositories {
        for (device, folder) in [(&pair.left, &pair.here), (&pair.right, &pair.there)] {
            let below = folder.join(name);
            assert_eq!(open_below(device, &below), [".git", "shared.txt"], "one question about all that is in .git");
        }
    }
    let sides = left.into_iter().zip(right).map(|(left, right)| Sides { left, right });
    (pair, sides.collect())
}

/// Answers everything below a directory; gives what takes it back.
fn answer(device: &Device, below: &str, take: &str) -> String {
    let said = resolve(device, &[below, "--take", take]);
    said.split("--undo ").nth(1).expect("it says how to take it back").split('`').next().unwrap().to_owned()
}

#[test]
fn whichever_side_is_chosen_the_repository_is_wholly_that_side_s() {
    const TEST: &str = "whichever_side_is_chosen_the_repository_is_wholly_that_side_s";
    if !has("git", TEST) {
        return;
    }
    let choices = [
        ("server", true, "server", true),
        ("my own", true, "mine", true),
        ("mine", false, "mine", false),
        ("named", true, "right", false),
        ("both", true, "both", true),
    ];
    let (pair, sides) = quarrel(&choices.map(|(name, ..)| name));
    // Nothing is written anywhere before somebody chooses.
    for ((name, ..), sides) in choices.iter().zip(&sides) {
        Repository::at(&pair.here, name).is_whole_at(&sides.left);
        Repository::at(&pair.there, name).is_whole_at(&sides.right);
    }
    let undo: Vec<String> = choices
        .iter()
        .map(|(name, from_left, take, _)| {
            let (device, folder) = if *from_left { (&pair.left, &pair.here) } else { (&pair.right, &pair.there) };
            answer(device, &at(folder, name), take)
        })
        .collect();
    pair.agreed();
    for ((name, _, take, left), sides) in choices.iter().zip(&sides) {
        let (chosen, who, other) =
            if *left { (&sides.left, "left", "right.txt") } else { (&sides.right, "right", "left.txt") };
        for folder in [&pair.here, &pair.there] {
            let repository = Repository::at(folder, name);
            repository.is_whole_at(chosen);
            assert_eq!(text(repository.0.join("shared.txt")), format!("{who}'s"));
            if *take != "both" {
                assert_eq!(repository.git(&["status", "--porcelain"]), format!("?? {other}\n"));
            }
        }
        both_are_whole(&pair, name, ".git");
    }
    // The other side lies beside it, whole as well.
    let (kept, both) = (".git (from right)", &sides[4]);
    both_are_whole(&pair, "both", kept);
    for folder in [&pair.here, &pair.there] {
        assert_eq!(head(&folder.join("both").join(kept)), both.right);
        assert_eq!(text(folder.join("both/shared (from right).txt")), "right's");
    }

    // Taken back, it is a question again; nothing of either side is lost.
    for (index, name) in [(3, "named"), (4, "both")] {
        resolve(&pair.left, &["--undo", &undo[index]]);
        until("it to be open again", || open_below(&pair.left, &pair.at(name)) == [".git", "shared.txt"]);
    }
    pair.open(4);
    for (index, name) in [(3, "named"), (4, "both")] {
        for folder in [&pair.here, &pair.there] {
            let repository = Repository::at(folder, name);
            until(&format!("{} to be the server's again", repository.0.display()), || {
                repository.head() == sides[index].left
            });
            fsck(&repository.unit());
            until("what was beside it to be gone", || !repository.0.join(kept).exists());
        }
        answer(&pair.left, &at(&pair.here, name), "right");
    }
    pair.agreed();
    for (index, name) in [(3, "named"), (4, "both")] {
        for folder in [&pair.here, &pair.there] {
            Repository::at(folder, name).is_whole_at(&sides[index].right);
        }
        both_are_whole(&pair, name, ".git");
    }
}

#[test]
fn a_repository_that_was_deleted_on_one_side_and_committed_to_on_the_other_is_one_question() {
    const TEST: &str = "a_repository_that_was_deleted_on_one_side_and_committed_to_on_the_other_is_one_question";
    if !has("git", TEST) {
        return;
    }
    for left_deletes in [true, false] {
        let mut commit = String::new();
        let delete = |folder: &Path| fs::remove_dir_all(folder.join("repo/.git")).unwrap();
        let mut change = |folder: &Path| commit = Repository::at(folder, "repo").commit("new", "of one side");
        let fill = |folder: &Path| drop(Repository::make(&folder.join("repo")));
        let pair = if left_deletes {
            Pair::apart(fill, delete, &mut change, 1)
        } else {
            Pair::apart(fill, &mut change, delete, 1)
        };
        for (device, folder) in [(&pair.left, &pair.here), (&pair.right, &pair.there)] {
            assert_eq!(open_below(device, &folder.join("repo")), [".git"]);
        }
        // Whoever has it still keeps it.
        let take = if left_deletes { "right" } else { "server" };
        let undo = answer(&pair.left, &at(&pair.here, "repo/.git"), take);
        pair.agreed();
        for folder in [&pair.here, &pair.there] {
            Repository::at(folder, "repo").is_whole_at(&commit);
        }
        both_are_whole(&pair, "repo", ".git");
        // The other way round it is gone, and comes back.
        resolve(&pair.left, &["--undo", &undo]);
        pair.open(1);
        let take = if left_deletes { "server" } else { "right" };
        let undo = answer(&pair.left, &at(&pair.here, "repo/.git"), take);
        pair.agreed();
        assert!(!pair.at("repo/.git").exists() && !pair.on("repo/.git").exists());
        resolve(&pair.left, &["--undo", &undo]);
        pair.open(1);
        let take = if left_deletes { "right" } else { "server" };
        answer(&pair.left, &at(&pair.here, "repo/.git"), take);
        pair.agreed();
        for folder in [&pair.here, &pair.there] {
            Repository::at(folder, "repo").is_whole_at(&commit);
        }
    }
}

#[test]
fn of_three_devices_that_committed_the_one_that_is_named_is_taken() {
    const TEST: &str = "of_three_devices_that_committed_the_one_that_is_named_is_taken";
    if !has("git", TEST) {
        return;
    }
    let mut pair = Pair::with(|folder| drop(Repository::make(&folder.join("repo"))));
    let mut third = Device::join(&pair.stack, "third").unwrap();
    let yonder = pair.stack.path().join("third/docs");
    third.clone_root("docs", &yonder).unwrap();
    third.wait_in_sync().unwrap();
    Repository::at(&yonder, "repo").is_whole_at(&Repository::at(&pair.here, "repo").head());

    pair.right.stop_agent().unwrap();
    third.stop_agent().unwrap();
    Repository::at(&pair.here, "repo").commit("left", "left's");
    pair.left.wait_in_sync().unwrap();
    Repository::at(&pair.there, "repo").commit("right", "right's");
    let commit = Repository::at(&yonder, "repo").commit("third", "third's");
    pair.right.start_agent().unwrap();
    third.start_agent().unwrap();
    let candidates = |device: &Device| {
        let listed = listed(device);
        if listed.len() == 1 { listed[0]["candidates"].as_array().map_or(0, Vec::len) } else { 0 }
    };
    for device in [&pair.left, &pair.right, &third] {
        until(&format!("{} to know of both", device.name()), || candidates(device) == 2);
    }
    let repo = at(&pair.here, "repo/.git");
    resolve(&pair.left, &[&repo, "--take", "third"]);
    pair.agreed();
    let (code, said) = refused(&pair.right, &[&at(&pair.there, "repo/.git"), "--take", "server"]);
    assert!(code == 1 && said.contains("is over: left kept the version of third"), "{said}");
    third.wait_in_sync().unwrap();
    for folder in [&pair.here, &pair.there, &yonder] {
        Repository::at(folder, "repo").is_whole_at(&commit);
    }
    assert_eq!(contents(&yonder.join("repo/.git")), contents(&pair.at("repo/.git")));
}

#[test]
fn a_kill_while_a_chosen_side_is_applied_leaves_wholly_one_side() {
    const TEST: &str = "a_kill_while_a_chosen_side_is_applied_leaves_wholly_one_side";
    const ROUNDS: u32 = 10;
    if !has("git", TEST) {
        return;
    }
    let mut pair = Pair::with(|folder| drop(Repository::make(&folder.join("repo"))));
    let mut moments = File::open("/dev/urandom").unwrap();
    let (left, right) = (Repository::at(&pair.here, "repo"), Repository::at(&pair.there, "repo"));
    for round in 0..ROUNDS {
        pair.right.stop_agent().unwrap();
        write_random(&left.0.join(format!("film {round}")), 2 << 20);
        left.commit(&format!("left {round}"), "left's");
        pair.left.wait_in_sync().unwrap();
        write_random(&right.0.join(format!("picture {round}")), 2 << 20);
        right.commit(&format!("right {round}"), "right's");
        pair.right.start_agent().unwrap();
        pair.open(1);
        let sides = [contents(&left.unit()), contents(&right.unit())];
        assert_ne!(sides[0], sides[1]);
        // Who lost is killed at some moment while it takes the other's.
        let take_left = round % 2 == 0;
        let (answers, folder) = if take_left { (&pair.left, &pair.here) } else { (&pair.right, &pair.there) };
        resolve(answers, &[&at(folder, "repo/.git"), "--take", "mine"]);
        let mut moment = [0];
        moments.read_exact(&mut moment).unwrap();
        let mut looks = u32::from(moment[0]) % 64;
        until("the moment", || {
            looks = looks.saturating_sub(1);
            looks == 0
        });
        let (victim, its) = if take_left { (&mut pair.right, &right) } else { (&mut pair.left, &left) };
        victim.kill_agent().unwrap();
        let found = contents(&its.unit());
        assert!(sides.contains(&found), "round {round}: it is neither side's: {found:#?}");
        fsck(&its.unit());
        victim.start_agent().unwrap();
        pair.agreed();
        let chosen = &sides[usize::from(!take_left)];
        for repository in [&left, &right] {
            assert_eq!(&contents(&repository.unit()), chosen, "round {round}");
            fsck(&repository.unit());
        }
    }
    assert_eq!(names(&left.0), names(&right.0), "no litter");
}

#[test]
fn commits_on_both_devices_at_the_same_time_end_in_a_whole_repository() {
    const TEST: &str = "commits_on_both_devices_at_the_same_time_end_in_a_whole_repository";
    if !has("git", TEST) {
        return;
    }
    let pair = Pair::with(|folder| drop(Repository::make(&folder.join("repo"))));
    let (left, right) = (Repository::at(&pair.here, "repo"), Repository::at(&pair.there, "repo"));
    for round in 0..4 {
        let work = |repository: &Repository, who: &str| {
            for number in 0..8 {
                repository.try_commit(who, &format!("{who} {round} {number}"));
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| work(&left, "left"));
            scope.spawn(|| work(&right, "right"));
        });
        // Whoever was later is asked about; or one of them took the other's before it began.
        until("a question, or one repository on both", || {
            let open = open_below(&pair.left, &left.0);
            assert!(open.iter().all(|path| path == ".git"), "a question about a part of it: {open:?}");
            if !open.is_empty() {
                // What changed meanwhile is asked about again.
                pair.left.run(["resolve", &at(&pair.here, ""), "--take", "newest"]).unwrap();
            }
            listed(&pair.left).is_empty()
                && listed(&pair.right).is_empty()
                && pair.left.wait_in_sync().is_ok()
                && pair.right.wait_in_sync().is_ok()
                && contents(&left.unit()) == contents(&right.unit())
        });
        both_are_whole(&pair, "repo", ".git");
        assert_eq!(left.head(), right.head());
        assert_ne!(left.head(), "");
    }
}

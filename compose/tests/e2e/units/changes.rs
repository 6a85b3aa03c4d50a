//! Repositories that are worked in, on one device after the other.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use super::{
    both_are_whole, kinds, open_below,
    repository::{Repository, contents},
};
use crate::support::{Pair, has, stack, tool, until};

/// The log of a repository.
fn log(repository: &Repository) -> String {
    repository.git(&["log", "--format=%H %s"])
}

/// What `quics status` counts.
fn entries(pair: &Pair) -> u64 {
    pair.left.status().unwrap()["roots"][0]["entries"].as_u64().unwrap()
}

#[test]
fn a_repository_is_one_entry_and_commits_go_both_ways() {
    const TEST: &str = "a_repository_is_one_entry_and_commits_go_both_ways";
    if !has("git", TEST) {
        return;
    }
    let pair = Pair::with(|folder| drop(Repository::make(&folder.join("repo"))));
    let (here, there) = (Repository::at(&pair.here, "repo"), Repository::at(&pair.there, "repo"));
    both_are_whole(&pair, "repo", ".git");
    assert_eq!(log(&there), log(&here));
    assert_eq!(log(&there).lines().count(), 200);
    assert_eq!(there.git(&["status", "--porcelain"]), "");
    let mode = |path: &str| fs::metadata(there.unit().join(path)).unwrap().permissions().mode() & 0o111;
    assert_ne!(mode("hooks/pre-push"), 0, "a hook can be executed");
    assert_eq!(mode("HEAD"), 0);
    for empty in ["refs/tags", "objects/info"] {
        assert_eq!(there.unit().join(empty).is_dir(), here.unit().join(empty).is_dir(), "{empty}");
    }
    for (device, repository) in [(&pair.left, &here), (&pair.right, &there)] {
        assert_eq!(kinds(device, &repository.unit()), ("unit".into(), "unit".into()));
        let part = device.quics(["explain", repository.unit().join("HEAD").to_str().unwrap()]).unwrap();
        assert!(
            part.contains("a part of repo/.git, which is one thing with everything in it: it is in sync"),
            "{part}"
        );
        assert_eq!(kinds(device, &repository.0), ("directory".into(), "directory".into()));
    }
    let working = fs::read_dir(&here.0).unwrap().count() - 1;
    assert_eq!(entries(&pair), working as u64 + 2, "the working files, their directory, and the unit");

    for (from, to) in [(&here, &there), (&there, &here), (&here, &there)] {
        for number in 0..3 {
            from.commit("work", &format!("{number} of {}", from.0.display()));
        }
        let commit = from.head();
        until("the commits to arrive", || to.head() == commit);
        both_are_whole(&pair, "repo", ".git");
        pair.converge();
        assert_eq!((log(to), to.git(&["status", "--porcelain"])), (log(from), String::new()));
    }
    here.git(&["gc", "-q", "--prune=now"]);
    here.git(&["tag", "v1"]);
    until("the tag to arrive", || there.git(&["tag"]) == "v1\n");
    both_are_whole(&pair, "repo", ".git");
    pair.converge();
    assert_eq!(log(&there), log(&here));
}

#[test]
fn ignore_rules_do_not_reach_into_a_repository() {
    const TEST: &str = "ignore_rules_do_not_reach_into_a_repository";
    if !has("git", TEST) {
        return;
    }
    let pair = Pair::with(|folder| fs::write(folder.join(".quicsignore"), "*.pack\nHEAD\nobjects/\n").unwrap());
    let here = Repository::make(&pair.at("repo"));
    let there = Repository::at(&pair.there, "repo");
    let commit = here.head();
    until("the repository to arrive", || there.head() == commit);
    both_are_whole(&pair, "repo", ".git");
    pair.converge();
}

#[test]
fn a_root_with_units_of_its_own_has_these_and_no_others() {
    let fill = |folder: &Path| {
        for directory in [".git", "a.bundle"] {
            fs::create_dir_all(folder.join(directory).join("sub")).unwrap();
            fs::write(folder.join(directory).join("sub/common"), "common").unwrap();
        }
    };
    let mut pair = Pair::added_with(stack(), &["--units", "a.bundle"], fill);
    until("all to arrive", || pair.on("a.bundle/sub/common").exists() && pair.on(".git/sub/common").exists());
    pair.in_sync();
    for (device, folder) in [(&pair.left, &pair.here), (&pair.right, &pair.there)] {
        assert_eq!(kinds(device, &folder.join(".git")), ("directory".into(), "directory".into()));
        assert_eq!(kinds(device, &folder.join(".git/sub/common")).0, "file");
        assert_eq!(kinds(device, &folder.join("a.bundle")), ("unit".into(), "unit".into()));
    }
    pair.right.stop_agent().unwrap();
    let write = |folder: &Path, who: &str| {
        for directory in [".git", "a.bundle"] {
            fs::write(folder.join(directory).join("sub").join(who), who).unwrap();
        }
    };
    write(&pair.here, "left");
    pair.left.wait_in_sync().unwrap();
    write(&pair.there, "right");
    pair.right.start_agent().unwrap();
    pair.open(1);
    until("files of what is no unit to go their ways", || {
        pair.on(".git/sub/left").exists() && pair.at(".git/sub/right").exists()
    });
    assert_eq!(open_below(&pair.left, &pair.here), ["a.bundle"]);
    crate::conflicts::resolve(&pair.left, &[pair.at("a.bundle").to_str().unwrap(), "--take", "both"]);
    pair.open(0);
    let beside = "a (from right).bundle";
    for folder in [&pair.here, &pair.there] {
        until("both to be there", || {
            folder.join("a.bundle/sub/left").exists() && folder.join(beside).join("sub/right").exists()
        });
        assert!(!folder.join("a.bundle/sub/right").exists() && !folder.join(beside).join("sub/left").exists());
    }
    pair.in_sync();
    assert_eq!(kinds(&pair.left, &pair.at(beside)), ("unit".into(), "unit".into()), "what is kept beside one is one");
}

#[test]
fn a_directory_with_a_repository_is_moved_without_its_content() {
    const TEST: &str = "a_directory_with_a_repository_is_moved_without_its_content";
    if !has("git", TEST) {
        return;
    }
    let pair = Pair::with(|folder| drop(Repository::make(&folder.join("old/deep/repo"))));
    let commit = Repository::at(&pair.here, "old/deep/repo").head();
    let before = pair.stack.statistics().unwrap();
    fs::rename(pair.at("old"), pair.at("new")).unwrap();
    pair.settle();
    Repository::at(&pair.there, "new/deep/repo").is_whole_at(&commit);
    let after = pair.stack.statistics().unwrap();
    assert_eq!(after.chunk_bytes, before.chunk_bytes, "no content was stored");
    assert_eq!(after.roots[0].seq, before.roots[0].seq + 1, "the move is one record");
    // The repository alone, too.
    fs::rename(pair.on("new/deep/repo"), pair.on("repo")).unwrap();
    pair.settle_backwards();
    Repository::at(&pair.here, "repo").is_whole_at(&commit);
    assert_eq!(pair.stack.statistics().unwrap().chunk_bytes, before.chunk_bytes, "no content was stored");
}

#[test]
fn a_unit_under_another_name_is_an_ordinary_directory_and_the_other_way_round() {
    const TEST: &str = "a_unit_under_another_name_is_an_ordinary_directory_and_the_other_way_round";
    if !has("git", TEST) {
        return;
    }
    let pair = Pair::with(|folder| drop(Repository::make(&folder.join("repo"))));
    let commit = Repository::at(&pair.here, "repo").head();
    fs::rename(pair.at("repo/.git"), pair.at("repo/x")).unwrap();
    until("it to be elsewhere", || !pair.on("repo/.git").exists() && pair.on("repo/x/HEAD").exists());
    pair.converge();
    both_are_whole(&pair, "repo", "x");
    assert_eq!(kinds(&pair.right, &pair.on("repo/x")), ("directory".into(), "directory".into()));
    fs::rename(pair.on("repo/x"), pair.on("repo/.git")).unwrap();
    until("it to be back", || !pair.at("repo/x").exists() && pair.at("repo/.git/HEAD").exists());
    pair.converge();
    both_are_whole(&pair, "repo", ".git");
    for (device, folder) in [(&pair.left, &pair.here), (&pair.right, &pair.there)] {
        assert_eq!(kinds(device, &folder.join("repo/.git")), ("unit".into(), "unit".into()));
        Repository::at(folder, "repo").is_whole_at(&commit);
    }
}

#[test]
fn looking_is_no_change_where_git_goes_by_times_and_sizes() {
    const TEST: &str = "looking_is_no_change_where_git_goes_by_times_and_sizes";
    if !has("git", TEST) {
        return;
    }
    let pair = Pair::with(|folder| {
        let repository = Repository::make(&folder.join("repo"));
        repository.git(&["config", "core.checkStat", "minimal"]);
        repository.git(&["config", "core.trustctime", "false"]);
    });
    both_are_whole(&pair, "repo", ".git");
    let unit = pair.on("repo/.git");
    let before = contents(&unit);
    // Unlike in other tests it may write down what it saw.
    let mut status = Command::new("git");
    status.args(["status", "--porcelain"]).current_dir(pair.on("repo")).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = status.output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(contents(&unit), before);
}

#[test]
fn what_is_no_file_in_a_repository_is_left_out_and_stops_nothing() {
    const TEST: &str = "what_is_no_file_in_a_repository_is_left_out_and_stops_nothing";
    if !has("git", TEST) {
        return;
    }
    let pair = Pair::with(|folder| drop(Repository::make(&folder.join("repo"))));
    let (here, there) = (Repository::at(&pair.here, "repo"), Repository::at(&pair.there, "repo"));
    tool(&here.unit(), "mkfifo", &["pipe"]);
    let commit = here.commit("after", "the pipe");
    until("the commit to arrive", || there.head() == commit);
    both_are_whole(&pair, "repo", ".git");
    pair.in_sync();
    assert!(here.unit().join("pipe").exists() && !there.unit().join("pipe").exists());
}

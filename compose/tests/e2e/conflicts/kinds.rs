//! What conflicts, and what must not.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use super::{at, both_have, listed, resolve, write};
use crate::support::{Pair, text, until};

fn remove(folder: &Path, name: &str) {
    fs::remove_file(folder.join(name)).unwrap();
}

#[test]
fn delete_against_edit_is_asked_and_either_can_win() {
    for (take, wins) in [("server", None), ("right", Some("edited\n"))] {
        let pair = Pair::apart(
            |it| write(it, "file", "common\n"),
            |it| remove(it, "file"),
            |it| write(it, "file", "edited\n"),
            1,
        );
        assert_eq!(listed(&pair.left)[0]["server"]["kind"], "deleted");
        assert_eq!(text(pair.on("file")), "edited\n");
        resolve(&pair.left, &[&at(&pair.here, "file"), "--take", take]);
        pair.agreed();
        match wins {
            Some(content) => both_have(&pair, "file", content),
            None => until("it to be gone", || !pair.at("file").exists() && !pair.on("file").exists()),
        }
    }
    // The other way round.
    let pair =
        Pair::apart(|it| write(it, "file", "common\n"), |it| write(it, "file", "edited\n"), |it| remove(it, "file"), 1);
    assert_eq!(listed(&pair.left)[0]["candidates"][0]["kind"], "deleted");
    resolve(&pair.right, &[&at(&pair.there, "file"), "--take", "mine"]);
    pair.agreed();
    assert!(!pair.at("file").exists());
}

#[test]
fn create_against_create_is_asked() {
    let pair = Pair::apart(|_| {}, |it| write(it, "new", "left\n"), |it| write(it, "new", "right\n"), 1);
    resolve(&pair.left, &[&at(&pair.here, "new"), "--take", "both"]);
    pair.agreed();
    both_have(&pair, "new", "left\n");
    both_have(&pair, "new (from right)", "right\n");
}

#[test]
fn a_file_against_a_directory_is_asked() {
    let quarrel = || {
        Pair::apart(
            |_| {},
            |it| {
                fs::create_dir(it.join("thing")).unwrap();
                write(it, "thing/inside", "inside\n");
            },
            |it| write(it, "thing", "a file\n"),
            1,
        )
    };
    let pair = quarrel();
    assert_eq!(listed(&pair.left)[0]["server"]["kind"], "directory");
    resolve(&pair.left, &[&at(&pair.here, "thing"), "--take", "server"]);
    pair.agreed();
    both_have(&pair, "thing/inside", "inside\n");
    assert_eq!(super::names(&pair.there), ["thing"]);

    // The file cannot take the place of a directory with something in it: it gets a name of its own beside it.
    let pair = quarrel();
    resolve(&pair.left, &[&at(&pair.here, "thing"), "--take", "right"]);
    pair.agreed();
    both_have(&pair, "thing/inside", "inside\n");
    both_have(&pair, "thing (from right)", "a file\n");
    assert_eq!(super::names(&pair.there), ["thing", "thing (from right)"]);
}

#[test]
fn a_link_against_a_file_is_asked() {
    let pair = Pair::apart(
        |it| write(it, "thing", "common\n"),
        |it| {
            remove(it, "thing");
            symlink("elsewhere", it.join("thing")).unwrap();
        },
        |it| write(it, "thing", "edited\n"),
        1,
    );
    assert_eq!(listed(&pair.right)[0]["server"]["kind"], "link");
    let out = pair.stack.dir("out").unwrap();
    pair.right
        .quics(["conflicts", "get", &at(&pair.there, "thing"), "--from", "server", "-o", &at(&out, "link")])
        .unwrap();
    assert_eq!(fs::read_link(out.join("link")).unwrap(), Path::new("elsewhere"));
    resolve(&pair.right, &[&at(&pair.there, "thing"), "--take", "server"]);
    pair.agreed();
    assert_eq!(fs::read_link(pair.on("thing")).unwrap(), Path::new("elsewhere"));
}

/// Two devices that each did something while one was away, which is no conflict.
fn peace(fill: impl FnOnce(&Path), here: impl FnOnce(&Path), there: impl FnOnce(&Path)) -> Pair {
    let mut pair = Pair::with(fill);
    pair.right.stop_agent().unwrap();
    here(&pair.here);
    pair.left.wait_in_sync().unwrap();
    there(&pair.there);
    pair.right.start_agent().unwrap();
    pair.in_sync();
    for device in [&pair.left, &pair.right] {
        assert!(listed(device).is_empty(), "{:?}", listed(device));
    }
    pair
}

#[test]
fn the_same_content_and_a_new_time_alone_are_no_conflict() {
    let pair =
        peace(|it| write(it, "file", "common\n"), |it| write(it, "file", "new\n"), |it| write(it, "file", "new\n"));
    both_have(&pair, "file", "new\n");
    let pair = peace(
        |it| write(it, "file", "common\n"),
        |it| write(it, "file", "new\n"),
        |it| {
            let file = fs::File::options().write(true).open(it.join("file")).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(86_400)).unwrap();
        },
    );
    both_have(&pair, "file", "new\n");
}

#[test]
fn permissions_against_an_edit_are_both_taken() {
    for mode in [0o755, 0o600] {
        let pair = peace(
            |it| write(it, "file", "common\n"),
            |it| write(it, "file", "new\n"),
            |it| fs::set_permissions(it.join("file"), fs::Permissions::from_mode(mode)).unwrap(),
        );
        both_have(&pair, "file", "new\n");
        for path in [pair.at("file"), pair.on("file")] {
            let is = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            until("the permissions", || is() == mode);
        }
    }
}

#[test]
fn an_edit_follows_a_move_and_of_two_moves_the_servers_stands() {
    let pair = peace(
        |it| write(it, "old", "common, and long enough to be known again\n"),
        |it| fs::rename(it.join("old"), it.join("new")).unwrap(),
        |it| write(it, "old", "common, and long enough to be known again, edited\n"),
    );
    both_have(&pair, "new", "common, and long enough to be known again, edited\n");
    assert!(!pair.at("old").exists());
    let pair = peace(
        |it| write(it, "old", "common, and long enough to be known again\n"),
        |it| fs::rename(it.join("old"), it.join("left")).unwrap(),
        |it| fs::rename(it.join("old"), it.join("right")).unwrap(),
    );
    for folder in [&pair.here, &pair.there] {
        until("the server's place", || super::names(folder) == ["left"]);
    }
}

#[test]
fn what_was_added_below_a_directory_that_was_deleted_lives() {
    let pair = peace(
        |it| {
            fs::create_dir(it.join("dir")).unwrap();
            write(it, "dir/old", "old\n");
        },
        |it| fs::remove_dir_all(it.join("dir")).unwrap(),
        |it| write(it, "dir/added", "added\n"),
    );
    both_have(&pair, "dir/added", "added\n");
}

#[test]
fn of_directories_that_were_deleted_only_what_was_added_below_comes_back() {
    let directories = ["i1", "i2", "i3", "i4"];
    let pair = peace(
        |it| {
            write(it, "beside", "beside\n");
            for directory in directories {
                fs::create_dir_all(it.join(directory).join("empty")).unwrap();
                for file in 1..=4 {
                    write(it, &format!("{directory}/{file}"), &format!("{file} of {directory}\n"));
                }
            }
        },
        |it| directories.iter().for_each(|directory| fs::remove_dir_all(it.join(directory)).unwrap()),
        |it| directories.iter().for_each(|directory| write(it, &format!("{directory}/added"), "added\n")),
    );
    for folder in [&pair.here, &pair.there] {
        for directory in directories {
            let members = || super::names(&folder.join(directory));
            until("the addition, and nothing else", || folder.join(directory).exists() && members() == ["added"]);
        }
    }
    pair.converge();
    assert_eq!(super::names(&pair.here), ["beside", "i1", "i2", "i3", "i4"]);
}

#[test]
fn what_was_touched_and_put_back_withdraws_itself() {
    let pair = Pair::quarrel();
    fs::write(pair.on("plan.txt"), "common\n").unwrap();
    pair.agreed();
    both_have(&pair, "plan.txt", "the left one's\n");
}

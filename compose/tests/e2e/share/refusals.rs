//! What cannot be shared is told in one sentence, and no link is made.

use std::fs;

use quics_stack::harness::feed;

use crate::support::{PATIENCE, Pair, refused};

#[test]
fn what_cannot_be_shared_is_told_in_one_sentence_and_nothing_is_made() {
    let pair = Pair::with(|folder| {
        fs::write(folder.join("plan.txt"), "words").unwrap();
        fs::write(folder.join("gone.txt"), "words").unwrap();
        fs::write(folder.join("both.txt"), "words").unwrap();
        fs::write(folder.join(".quicsignore"), "*.o\n").unwrap();
    });
    fs::write(pair.at("a.o"), "ignored").unwrap();
    fs::remove_file(pair.at("gone.txt")).unwrap();
    // Both change one file, apart.
    pair.in_sync();
    pair.right.quics(["pause"]).unwrap();
    fs::write(pair.at("both.txt"), "one side").unwrap();
    pair.left.wait_in_sync().unwrap();
    fs::write(pair.on("both.txt"), "the other side").unwrap();
    pair.right.quics(["resume"]).unwrap();
    crate::support::until("the conflict", || pair.left.conflicts().is_ok_and(|said| said.contains("both.txt")));
    let outside = pair.stack.path().join("outside.txt");
    fs::write(&outside, "words").unwrap();

    let share = |arguments: &[&str]| pair.left.run(["share"].iter().chain(arguments)).unwrap();
    let at = |name: &str| pair.at(name).to_str().unwrap().to_owned();
    refused(&share(&[outside.to_str().unwrap()]), &["outside.txt"]);
    // What is new and what is ignored look alike until the agent has nothing left to send, which is waited for.
    let ignored = share(&[&at("a.o")]);
    let said = String::from_utf8_lossy(&ignored.stderr).into_owned();
    assert!(!ignored.status.success() && said.lines().last().is_some_and(|last| last.contains("ignored")), "{said}");
    refused(&share(&[&at("gone.txt")]), &["deleted", "quics log"]);
    refused(&share(&[&at("nosuch.txt")]), &["does not exist"]);
    refused(&share(&[&at("both.txt")]), &["conflict"]);
    refused(&share(&[&format!("{}@99", at("plan.txt"))]), &["version 99 is not there yet"]);
    let plan = at("plan.txt");
    for (arguments, word) in [
        (["--expires", "2020-01-01"], "over"),
        (["--expires", "soon"], "soon"),
        (["--expires", "0d"], "longer"),
        (["--limit", "0"], "limit"),
        (["--limit", "-3"], "limit"),
        (["--label", "two\nlines"], "two\\nlines"),
    ] {
        refused(&share(&[&[plan.as_str()], &arguments[..]].concat()), &[word]);
    }
    let empty = feed(pair.left.command(["share", &plan, "--password"]), b"\n", PATIENCE).unwrap();
    refused(&empty, &["password"]);
    assert_eq!(pair.links().len(), 0, "{:?}", pair.links());
    refused(&pair.left.run(["unshare", "00000000"]).unwrap(), &["00000000"]);
}

#[test]
fn what_the_server_never_got_is_not_shared_and_what_it_has_of_a_folder_is_not_told_to_be_all() {
    let mut pair = Pair::with(|folder| {
        fs::create_dir(folder.join("trip")).unwrap();
        fs::write(folder.join("trip/a.txt"), "words").unwrap();
    });
    pair.left.quics(["pause"]).unwrap();
    fs::write(pair.at("trip/new.bin"), "never sent").unwrap();
    for what in ["trip/new.bin", "trip"] {
        let share = pair.left.run(["share", pair.at(what).to_str().unwrap()]).unwrap();
        let said = String::from_utf8_lossy(&share.stderr).into_owned();
        assert!(!share.status.success() && share.stdout.is_empty(), "{what}: {said}");
        assert!(said.contains("paused"), "{what}: it says what it waits for: {said}");
    }
    assert!(pair.links().is_empty());
    pair.left.quics(["resume"]).unwrap();
    pair.left.wait_in_sync().unwrap();
    // A device that goes away in the middle of sending leaves the link of another one as it is.
    pair.left.kill_agent().unwrap();
    let share = pair.left.run(["share", pair.at("trip").to_str().unwrap()]).unwrap();
    refused(&share, &["agent"]);
}

#[test]
fn what_is_still_being_uploaded_is_shared_once_it_is_there() {
    let pair = Pair::new();
    crate::support::write_random(&pair.at("film.bin"), 50 << 20);
    let path = pair.at("film.bin");
    let link = pair.left.quics(["share", path.to_str().unwrap()]).unwrap();
    assert!(link.starts_with("http://"), "{link}");
    let links = pair.links();
    assert_eq!(links[0]["size"], 50 << 20, "all of it: {links:?}");
}

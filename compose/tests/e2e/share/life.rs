//! What becomes of a link while its file, its time and the services change.

use std::fs;
use std::process::{Child, Command, Stdio};

use quics_kit::names::Service;
use quics_stack::harness::process;
use rustix::process::Signal;

use super::{begin, closed, get, in_a_second};
use crate::support::{Pair, has, until, write_random};

/// A slow download to a file.
fn slow(address: &str, to: &std::path::Path) -> Child {
    let child = Command::new("curl")
        .args(["-s", "-S", "--limit-rate", "4M", "-o"])
        .arg(to)
        .arg(address)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("some of it to arrive", || fs::metadata(to).is_ok_and(|now| now.len() > 1 << 20));
    child
}

#[test]
fn a_pinned_link_shows_what_was_and_a_live_one_what_is() {
    if !has("curl", "a_pinned_link_shows_what_was_and_a_live_one_what_is") {
        return;
    }
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("there")).unwrap();
        fs::write(folder.join("plan.txt"), "first").unwrap();
    });
    let pinned = format!("{}/get", pair.share("plan.txt", &[]));
    let live = format!("{}/get", pair.share("plan.txt", &["--live"]));
    assert_eq!((get(&pinned).text(), get(&live).text()), ("first".into(), "first".into()));

    fs::write(pair.at("plan.txt"), "second, and longer").unwrap();
    until("the live link to show the edit", || get(&live).text() == "second, and longer");
    fs::rename(pair.at("plan.txt"), pair.at("there/moved.txt")).unwrap();
    pair.settle();
    let moved = get(&live);
    assert_eq!(moved.text(), "second, and longer");
    assert!(moved.header("content-disposition").contains("moved.txt"), "{moved:?}");
    fs::remove_file(pair.at("there/moved.txt")).unwrap();
    until("the live link to say that it is gone", || get(&live).status == 410);
    // Another file at its place is another file.
    fs::write(pair.at("plan.txt"), "somebody else's").unwrap();
    pair.settle();
    assert_eq!(get(&live).status, 410);
    assert_eq!(get(&pinned).text(), "first");
    // What is made again where it was deleted goes on being it.
    fs::write(pair.at("there/moved.txt"), "third").unwrap();
    until("the live link to show it again", || get(&live).text() == "third");
    assert_eq!(get(&pinned).text(), "first");
}

#[test]
fn what_is_taken_back_ends_at_once_and_what_has_run_out_ends_well() {
    if !has("curl", "what_is_taken_back_ends_at_once_and_what_has_run_out_ends_well") {
        return;
    }
    let pair = Pair::with(|folder| write_random(&folder.join("film.bin"), 24 << 20));
    let link = pair.share("film.bin", &[]);
    let to = pair.stack.path().join("revoked.bin");
    let mut running = slow(&format!("{link}/get"), &to);
    pair.left.quics(["unshare", &pair.link_id()]).unwrap();
    assert!(!running.wait().unwrap().success(), "it ends, and is not told to be whole");
    assert!(fs::metadata(&to).unwrap().len() < 24 << 20);
    assert_eq!(get(&link).timeless(), closed(&link));
    assert_eq!(get(&format!("{link}/get")).timeless(), closed(&link));

    let link = pair.share("film.bin", &["--label", "short"]);
    let id = pair.links().into_iter().find(|link| link["label"] == "short").unwrap()["id"].as_str().unwrap().to_owned();
    let to = pair.stack.path().join("expired.bin");
    let mut running = slow(&format!("{link}/get"), &to);
    pair.left.quics(["share", "edit", &id, "--expires", &in_a_second()]).unwrap();
    until("the link to run out", || get(&link).timeless() == closed(&link));
    assert!(running.try_wait().unwrap().is_none(), "it was in the middle when the link ran out");
    assert!(running.wait().unwrap().success(), "a download that has begun ends well");
    assert!(fs::read(&to).unwrap() == fs::read(pair.at("film.bin")).unwrap());
}

/// A process that is stopped, until this is dropped.
struct Stopped(u32);

impl Stopped {
    fn new(pid: u32) -> Self {
        process::signal(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _ = process::signal(self.0, Signal::CONT);
    }
}

#[test]
fn while_the_contents_cannot_be_had_a_visitor_is_told_to_come_again_and_nothing_is_counted() {
    if !has("curl", "while_the_contents_cannot_be_had_a_visitor_is_told_to_come_again_and_nothing_is_counted") {
        return;
    }
    let pair = Pair::with(|folder| write_random(&folder.join("plan.bin"), 300_000));
    let link = pair.share("plan.bin", &["--live", "--limit", "5"]);
    assert_eq!(get(&link).status, 200);
    let pinned = format!("{}/get", pair.share("plan.bin", &["--label", "pinned"]));
    let begun = begin(&link, "get");
    let begun = super::beside(&link, begun.header("location"));
    let counts = || -> Vec<u64> { pair.links().iter().map(|link| link["downloads"].as_u64().unwrap()).collect() };
    let before = counts();
    {
        let _sync = Stopped::new(pair.stack.service(Service::Sync).unwrap().pid);
        let _history = Stopped::new(pair.stack.service(Service::History).unwrap().pid);
        let refused = begin(&link, "get");
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{refused:?}");
        // Nothing is promised before the first byte is there.
        for address in [&pinned, &begun] {
            let refused = get(address);
            assert_eq!((refused.status, refused.header("retry-after").is_empty()), (503, false), "{refused:?}");
        }
        assert_eq!(counts(), before);
    }
    until("the contents to be there again", || begin(&link, "get").status == 303);
    until("all to be served again", || get(&pinned).status == 200 && get(&begun).status == 200);
    assert_eq!(counts().iter().sum::<u64>(), before.iter().sum::<u64>() + 2);
}

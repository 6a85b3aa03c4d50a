//! A backup put back, of history-svc alone or of sync-svc alone: what is missing is found again or said to be missing, and what is
//! there is never taken for something else.

use std::fs;
use std::path::Path;

use super::{cat, log, path, told};
use crate::support::{Pair, text, tool, until};

/// Puts a service's directory back to what it was before `work`, which runs with the server up.
fn put_back(pair: &mut Pair, service: &str, work: impl FnOnce(&Pair)) {
    pair.stack.down().unwrap();
    let server = pair.stack.path().join("server");
    tool(&server, "cp", &["-a", service, "copy"]);
    pair.stack.up().unwrap();
    work(pair);
    // What history-svc has acknowledged is kept for it no longer.
    until("everything to be acknowledged", || pair.stack.statistics().is_ok_and(|it| it.outbox_records == 0));
    pair.stack.down().unwrap();
    fs::remove_dir_all(server.join(service)).unwrap();
    fs::rename(server.join("copy"), server.join(service)).unwrap();
    pair.stack.up().unwrap();
}

fn edit(pair: &Pair, words: &str) {
    fs::write(pair.at("plan.txt"), words).unwrap();
    pair.settle();
}

/// Waits until history-svc has the file as it is now.
fn followed(pair: &Pair, words: &str) {
    until("history-svc to know of it", || {
        let output = pair.left.run(["log", "--json", "--limit", "1", path(&pair.at("plan.txt"))]).unwrap();
        let newest: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
        newest.is_some_and(|it| {
            let version = it["version"].as_str().unwrap_or_default().to_owned();
            pair.left.run(["cat", &super::at(pair.at("plan.txt"), version)]).unwrap().stdout == words.as_bytes()
        })
    });
}

fn contents(pair: &Pair, file: &Path) -> Vec<String> {
    let versions = log(&pair.left, &[path(file)]);
    let read = |it: &serde_json::Value| cat(&pair.left, file, it["version"].as_str().unwrap());
    versions.iter().map(|it| String::from_utf8(read(it)).unwrap()).collect()
}

#[test]
fn history_that_was_put_back_finds_what_is_there_again_and_says_what_it_misses() {
    let mut pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "one").unwrap());
    edit(&pair, "two");
    pair.known();
    put_back(&mut pair, "history", |pair| {
        edit(pair, "three");
        edit(pair, "four");
        pair.known();
    });
    followed(&pair, "four");
    assert_eq!(contents(&pair, &pair.at("plan.txt")), ["four", "two", "one"], "what is there, and what was known");
    let said = pair.left.quics(["log", path(&pair.at("plan.txt"))]).unwrap();
    assert!(said.contains("missing"), "the versions between are said to be missing: {said}");
    // It goes on from there.
    edit(&pair, "five");
    followed(&pair, "five");
    assert_eq!(contents(&pair, &pair.at("plan.txt"))[0], "five");
    assert_eq!(told(&log(&pair.left, &[path(&pair.at("plan.txt"))])).len(), 4);
}

#[test]
fn sync_that_was_put_back_begins_a_chain_of_its_own_and_history_keeps_both() {
    let mut pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "one").unwrap());
    pair.known();
    put_back(&mut pair, "sync", |pair| {
        edit(pair, "two");
        pair.known();
    });
    let held = |device: &quics_stack::harness::Device| device.status().unwrap()["roots"][0]["state"] == "held";
    until("both devices to notice", || held(&pair.left) && held(&pair.right));
    assert_eq!((text(pair.at("plan.txt")), text(pair.on("plan.txt"))), ("two".to_owned(), "two".to_owned()));
    for (device, folder) in [(&pair.left, &pair.here), (&pair.right, &pair.there)] {
        device.quics(["detach".as_ref(), folder.as_os_str()]).unwrap();
        device.clone_root("docs", folder).unwrap();
    }
    // What the server does not know any more is asked about, and nobody has lost it.
    until("the difference to be asked about", || pair.left.conflicts().is_ok_and(|said| said.contains("plan.txt")));
    pair.left.quics(["resolve", path(&pair.at("plan.txt")), "--take", "mine"]).unwrap();
    followed(&pair, "two");
    let kept = contents(&pair, &pair.at("plan.txt"));
    assert!(kept.contains(&"one".to_owned()) && kept.contains(&"two".to_owned()), "{kept:?}");
}

//! Links that are good for a number of downloads.

use std::fs;
use std::thread;

use quics_kit::names::Service;

use super::{Answer, ask, begin, beside, closed, get};
use crate::support::{Pair, has, until, write_random};

fn leads_to(link: &str, answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(answer.header("location").starts_with("/d/"), "{answer:?}");
    beside(link, answer.header("location"))
}

#[test]
fn a_download_is_counted_when_it_begins_and_nothing_else_is() {
    if !has("curl", "a_download_is_counted_when_it_begins_and_nothing_else_is") {
        return;
    }
    let pair = Pair::with(|folder| write_random(&folder.join("plan.bin"), 500_000));
    let bytes = fs::read(pair.at("plan.bin")).unwrap();
    let link = pair.share("plan.bin", &["--limit", "1"]);
    // Scanners, previews and people who only look.
    assert!(get(&link).text().contains("/begin/get"), "the page has the form");
    assert_eq!(ask(&link, &["--head"]).status, 200);
    for address in [format!("{link}/get"), format!("{link}/raw")] {
        assert!(get(&address).body != bytes && ask(&address, &["--head"]).status >= 400, "{address}");
    }
    assert_eq!(begin(&link, "get/nosuch").status, 410, "what is not there is not counted");
    assert_eq!(pair.downloads(), 0);

    let download = leads_to(&link, &begin(&link, "get"));
    assert_eq!(pair.downloads(), 1);
    assert_eq!(begin(&link, "get").timeless(), closed(&link), "a link that is used up answers as one that never was");
    assert_eq!(get(&link).timeless(), closed(&link));
    assert!(get(&download).body == bytes);
    assert_eq!(ask(&download, &["-r", "1-3"]).body, bytes[1..4], "it goes on for a day");
    pair.stack.crash(Service::Share).unwrap();
    assert!(get(&download).body == bytes, "also when the service was killed");
    assert_eq!(get(&link).timeless(), closed(&link));
    assert_eq!((pair.downloads(), pair.links()[0]["state"].as_str()), (1, Some("used_up")));

    // One more, as its maker wants it.
    pair.left.quics(["share", "edit", &pair.link_id(), "--limit", "2"]).unwrap();
    leads_to(&link, &begin(&link, "get"));
    assert_eq!(begin(&link, "get").timeless(), closed(&link));
}

#[test]
fn what_was_begun_opens_itself_and_nothing_else() {
    if !has("curl", "what_was_begun_opens_itself_and_nothing_else") {
        return;
    }
    let pair = Pair::with(|folder| {
        fs::create_dir_all(folder.join("many/inner")).unwrap();
        for name in ["1.txt", "2.txt", "inner/3.txt"] {
            fs::write(folder.join("many").join(name), name).unwrap();
        }
    });
    let link = pair.share("many", &["--limit", "1"]);
    let one = leads_to(&link, &begin(&link, "get/1.txt"));
    assert_eq!(get(&one).text(), "1.txt");
    assert_eq!(get(&one).text(), "1.txt", "again, for a day");
    let grant = one.strip_suffix("/get/1.txt").unwrap();
    for other in ["get/2.txt", "get/inner/3.txt", "zip", "zip/inner", "get", "get/1.txt/"] {
        let answer = get(&format!("{grant}/{other}"));
        assert_eq!(answer.timeless(), closed(&link), "{other}");
    }
    assert_eq!(get(&link).timeless(), closed(&link), "its one download is spent");
}

#[test]
fn of_many_who_want_the_last_download_at_once_one_gets_it() {
    if !has("curl", "of_many_who_want_the_last_download_at_once_one_gets_it") {
        return;
    }
    let pair = Pair::with(|folder| fs::write(folder.join("page.txt"), "words").unwrap());
    let link = pair.share("page.txt", &["--limit", "2"]);
    leads_to(&link, &begin(&link, "get"));
    let (link, closed) = (link.as_str(), closed(&link));
    let answers: Vec<Answer> = thread::scope(|scope| {
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(move || begin(link, "get"))).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 303).count(), 1, "{answers:?}");
    assert!(answers.into_iter().filter(|answer| answer.status != 303).all(|answer| answer.timeless() == closed));
    assert_eq!(pair.downloads(), 2);
}

#[test]
fn a_crash_may_spend_a_download_and_never_grants_one() {
    if !has("curl", "a_crash_may_spend_a_download_and_never_grants_one") {
        return;
    }
    const LIMIT: usize = 6;
    let pair = Pair::with(|folder| fs::write(folder.join("page.txt"), "words").unwrap());
    let link = pair.share("page.txt", &["--limit", &LIMIT.to_string()]);
    let mut granted = Vec::new();
    for round in 0..LIMIT {
        let address = format!("{link}/begin/get");
        let asking = thread::spawn(move || {
            // Where the service is killed there is no answer.
            let output =
                std::process::Command::new("curl").args(["-s", "-i", "-X", "POST", &address]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            said.lines().find_map(|line| line.strip_prefix("location: ").map(|to| to.trim().to_owned()))
        });
        if round % 2 == 0 {
            pair.stack.crash(Service::Share).unwrap();
        }
        granted.extend(asking.join().unwrap());
        until("share-svc to serve again", || ask_quietly(&beside(&link, "/robots.txt")));
    }
    while begin(&link, "get").status == 303 {
        granted.push(String::new());
        assert!(granted.len() <= LIMIT, "more were granted than there are");
    }
    assert_eq!(pair.downloads(), LIMIT as u64, "all are spent");
    for to in granted.iter().filter(|to| !to.is_empty()) {
        assert_eq!(get(&beside(&link, to)).body, b"words", "what was granted is good");
    }
}

fn ask_quietly(address: &str) -> bool {
    std::process::Command::new("curl").args(["-s", "-f", "-o", "/dev/null", address]).status().unwrap().success()
}

//! People who mean no good: each is refused or bounded, others are served meanwhile, and nothing that opens a link is logged.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Instant;

use quics_kit::names::Service;
use quics_stack::harness::process;

use super::raw::{Raw, Said, parts};
use super::{begin, get, in_a_second};
use crate::support::{Pair, has, text, until, write_random};

/// What a stranger may send that no client does, with what is smuggled behind it.
fn shapes(path: &str) -> Vec<(String, String)> {
    let post =
        |headers: &str, body: &str| format!("POST {path}/password HTTP/1.1\r\nHost: files\r\n{headers}\r\n{body}");
    let length = |headers: &str| post(headers, "password=a");
    let mut shapes = vec![
        ("two lengths", length("Content-Length: 10\r\nContent-Length: 0\r\n")),
        ("two lengths in one", length("Content-Length: 10, 0\r\n")),
        ("a signed length", length("Content-Length: +10\r\n")),
        ("a negative length", length("Content-Length: -1\r\n")),
        ("a length in hexadecimal", length("Content-Length: 0xa\r\n")),
        ("a length of more than there are bytes", length("Content-Length: 99999999999999999999999\r\n")),
        ("a space before the colon", length("Content-Length : 10\r\n")),
        ("an unknown coding", length("Transfer-Encoding: xchunked\r\n")),
        ("chunked not last", length("Transfer-Encoding: chunked, identity\r\n")),
        ("a folded header", post("X-Folded: a\r\n b: c\r\nContent-Length: 0\r\n", "")),
        ("a name with a line feed", post("X-\nContent-Length: 10\r\n", "")),
        ("a value with a null", post("X-Null: a\0b\r\n", "")),
        ("a chunk of a negative size", post("Transfer-Encoding: chunked\r\n", "-1\r\nabc\r\n0\r\n\r\n")),
        ("a chunk of an endless size", post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n")),
        ("a chunk that is longer than it says", post("Transfer-Encoding: chunked\r\n", "1\r\nabc\r\n0\r\n\r\n")),
        ("an unknown version", format!("GET {path} HTTP/7.3\r\nHost: files\r\n\r\n")),
        ("no version", format!("GET {path}\r\n\r\n")),
        ("another protocol", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("garbage", "\u{16}\u{3}\u{1}\u{2}hello\r\n\r\n".to_owned()),
    ]
    .into_iter()
    .map(|(name, shape)| (name.to_owned(), shape))
    .collect::<Vec<_>>();
    shapes.push((
        "a head of 100 KiB".to_owned(),
        format!("GET {path} HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(100 << 10)),
    ));
    shapes.push(("2 000 headers".to_owned(), format!("GET {path} HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(2000))));
    shapes.push(("a path of 100 KiB".to_owned(), format!("GET {path}/{} HTTP/1.1\r\n\r\n", "x".repeat(100 << 10))));
    shapes
}

#[test]
fn what_is_no_proper_request_is_refused_and_smuggles_nothing() {
    let pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "words").unwrap());
    let link = pair.share("plan.txt", &["--label", "Set-Cookie: a=b<script>\u{202e}"]);
    let (server, path) = parts(&link);
    for (name, shape) in shapes(path) {
        let mut raw = Raw::open(server);
        raw.say(shape.as_bytes());
        raw.get("/robots.txt", "");
        let said = raw.rest().unwrap_or_else(|| panic!("{name}: the connection does not end"));
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{name}: {said}");
        assert!(!said.contains("User-agent"), "{name}: what was smuggled was answered: {said}");
    }
    // Where both say how long a body is, the coding holds, and nothing is answered behind it: a proxy may have gone by the length.
    let mut raw = Raw::open(server);
    raw.say(format!("POST {path}/password HTTP/1.1\r\nHost: files\r\nContent-Length: 4\r\n").as_bytes());
    raw.say(b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    raw.get("/robots.txt", "");
    let said = raw.rest().expect("the connection ends");
    assert!(!String::from_utf8_lossy(&said).contains("User-agent"), "{}", String::from_utf8_lossy(&said));

    // What people write in labels stays text.
    let page = get(&link);
    assert!(page.status == 200 && page.header("set-cookie").is_empty(), "{page:?}");
    assert!(!page.text().contains("<script"), "{}", page.text());
}

/// Every answer to a range, whatever was asked: the whole, one part, or that there is none.
fn ranges() -> Vec<(String, u16)> {
    let many = (0..1500).map(|at| format!("{at}-{at}")).collect::<Vec<_>>().join(",");
    let overlapping = ["0-"; 1000].join(",");
    let fixed = [
        ("bytes=9-0", 200),
        ("bytes=-", 200),
        ("bytes=0-0,-1", 200),
        ("bytes=18446744073709551615-", 416),
        ("bytes=99999999999999999999999999-", 416),
        ("bytes=0-99999999999999999999999999", 206),
        ("bytes=-99999999999999999999999999", 206),
        ("bytes=5-5-5", 200),
        ("bytes=0x1-0x2", 200),
        ("bites=0-1", 200),
        ("bytes=\t1 - 2", 206),
    ];
    let mut ranges: Vec<(String, u16)> = fixed.into_iter().map(|(range, status)| (range.to_owned(), status)).collect();
    ranges.push((format!("bytes={many}"), 200));
    ranges.push((format!("bytes={overlapping}"), 200));
    ranges
}

#[test]
fn ranges_of_every_kind_are_one_part_or_the_whole() {
    let pair = Pair::with(|folder| write_random(&folder.join("plan.bin"), 5_000));
    let bytes = fs::read(pair.at("plan.bin")).unwrap();
    let link = pair.share("plan.bin", &[]);
    let (server, path) = parts(&link);
    let mut raw = Raw::open(server);
    for (range, expected) in ranges() {
        raw.get(&format!("{path}/get"), &format!("Range: {range}\r\n"));
        let short = &range[..range.len().min(60)];
        let Said { status, body, headers } = raw.answer().unwrap_or_else(|| panic!("{short}: no answer"));
        assert_eq!(status, expected, "{short}: {headers:?}");
        match status {
            200 => assert!(body == bytes, "{short}: not the whole"),
            206 => assert!(bytes.windows(body.len()).any(|part| part == body), "{short}: no part"),
            _ => {}
        }
    }
}

#[test]
fn who_is_slow_and_who_comes_by_the_thousand_is_ended_while_others_are_served() {
    let pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "words").unwrap());
    let link = pair.share("plan.txt", &[]);
    let (server, path) = parts(&link);
    let from = |last: u8| IpAddr::V4(Ipv4Addr::new(127, 0, 9, last));

    // Heads that never end are not waited for.
    let mut slow: Vec<Raw> = (0..200).map(|_| Raw::from(from(1), server).expect("there is room")).collect();
    for raw in &mut slow {
        raw.say(format!("GET {path} HTTP/1.1\r\nX-Slow: ").as_bytes());
    }
    assert_eq!(get(&link).status, 200, "others are served while heads are waited for");
    for raw in &mut slow {
        raw.say(b"a");
        let said = raw.until_end().expect("a head that does not end is ended");
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&said));
    }

    // Of one address so many are let in, and of the others each finds room.
    let mut many: Vec<Raw> = (0..400).map(|_| Raw::from(from(2), server).expect("the system accepts")).collect();
    let served = many.iter_mut().filter_map(|raw| asked(raw, path)).count();
    assert_eq!(served, 256, "of one address");
    let memory = resident(&pair);
    let mut crowd = Vec::new();
    for last in 10..30 {
        crowd.extend((0..100).map(|_| Raw::from(from(last), server).expect("the system accepts")));
    }
    let served = crowd.iter_mut().filter_map(|raw| asked(raw, path)).count();
    assert_eq!(served, 2000, "of many addresses");
    assert_eq!(get(&link).status, 200, "and one more");
    let grown = resident(&pair).saturating_sub(memory);
    assert!(grown < 200 << 20, "2 000 connections take {grown} bytes");
}

/// Asks for a page, and says whether it came.
fn asked(raw: &mut Raw, path: &str) -> Option<u16> {
    raw.get(path, "");
    raw.answer().map(|said| said.status).filter(|status| *status == 200)
}

fn resident(pair: &Pair) -> u64 {
    process::memory(pair.stack.service(Service::Share).unwrap().pid).expect("it runs").now
}

#[test]
fn archives_that_are_asked_for_and_left_leave_nothing_behind() {
    const FILES: usize = 300;
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("many")).unwrap();
        for number in 0..FILES {
            write_random(&folder.join(format!("many/{number}.bin")), 20_000);
        }
    });
    let link = pair.share("many", &[]);
    let (server, path) = parts(&link);
    let before = resident(&pair);
    for _ in 0..20 {
        let mut running: Vec<Raw> = (0..25).map(|_| Raw::open(server)).collect();
        for raw in &mut running {
            raw.get(&format!("{path}/zip"), "");
        }
        for raw in &mut running {
            assert!(raw.some() > 0, "it begins");
        }
    }
    // More than run at a time were begun: those that were left make room.
    let whole = get(&format!("{link}/zip"));
    assert_eq!((whole.status, whole.header("content-length")), (200, whole.body.len().to_string().as_str()));
    let grown = resident(&pair).saturating_sub(before);
    assert!(grown < 150 << 20, "500 archives that were left take {grown} bytes");
}

/// A link of each kind that is closed, by what is wrong with it.
fn closed_links(pair: &Pair) -> BTreeMap<&'static str, String> {
    let id = |label: &str| {
        let links = pair.links();
        let link = links.iter().find(|link| link["label"] == label).expect("it was made");
        link["id"].as_str().expect("it has an id").to_owned()
    };
    let mut links = BTreeMap::new();
    let open = pair.share("plan.txt", &[]);
    links.insert("never made", format!("{}{}", &open[..open.len() - 43], "A".repeat(43)));
    links.insert("revoked", pair.share("plan.txt", &["--label", "revoked"]));
    pair.left.quics(["unshare", &id("revoked")]).unwrap();
    links.insert("used up", pair.share("plan.txt", &["--limit", "1"]));
    assert_eq!(begin(&links["used up"], "get").status, 303);
    links.insert("run out", pair.share("plan.txt", &["--label", "run out"]));
    pair.left.quics(["share", "edit", &id("run out"), "--expires", &in_a_second()]).unwrap();
    let closed = |link: &String| get(link).status == 404;
    until("all links to be closed", || links.values().all(closed));
    links
}

/// Of all pairs of one time of each side, the share in which the second is longer, ties counted by half: 0.5 where both are drawn
/// alike (the statistic of Mann and Whitney, divided by the number of pairs).
fn longer(one: &[u128], other: &[u128]) -> f64 {
    let mut sum = 0.0;
    for a in one {
        for b in other {
            sum += if a < b {
                1.0
            } else if a == b {
                0.5
            } else {
                0.0
            };
        }
    }
    sum / (one.len() * other.len()) as f64
}

#[test]
fn a_closed_link_does_not_tell_what_is_wrong_with_it_nor_do_a_hundred_thousand_guesses() {
    const ROUNDS: usize = 250;
    if !has("curl", "a_closed_link_does_not_tell_what_is_wrong_with_it_nor_do_a_hundred_thousand_guesses") {
        return;
    }
    let pair = Pair::with(|folder| fs::write(folder.join("plan.txt"), "words").unwrap());
    let links = closed_links(&pair);
    let (server, never) = parts(&links["never made"]);
    let ask = |raw: &mut Raw, path: &str| {
        raw.get(path, "");
        raw.answer().expect("an answer")
    };
    let mut raw = Raw::open(server);
    let expected = ask(&mut raw, never);
    assert_eq!(expected.status, 404);
    for (what, link) in &links {
        for suffix in ["", "/get", "/raw", "/zip", "/f/x"] {
            let said = ask(&mut raw, &format!("{}{suffix}", parts(link).1));
            let same = (said.status, &said.headers, &said.body) == (404, &expected.headers, &expected.body);
            assert!(same, "{what}{suffix}: {} {:?}", said.status, said.headers);
        }
    }

    // Times are compared in turns, so that whatever else the machine does meets all alike. A difference that somebody could
    // use shows in every try; noise does not.
    let looked = || {
        let mut times: BTreeMap<&str, Vec<u128>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for (what, link) in &links {
                let begun = Instant::now();
                ask(&mut Raw::open(server), parts(link).1);
                times.entry(what).or_default().push(begun.elapsed().as_micros());
            }
        }
        let of = |what: &&str| (what.to_string(), longer(&times["never made"], &times[*what]));
        times.keys().filter(|what| **what != "never made").map(of).collect::<Vec<_>>()
    };
    let alike = |found: &Vec<(String, f64)>| found.iter().all(|(_, share)| (0.4..=0.6).contains(share));
    let mut tries = Vec::new();
    while tries.len() < 3 && !tries.last().is_some_and(alike) {
        tries.push(looked());
    }
    assert!(tries.last().is_some_and(alike), "the time of an answer tells what is wrong: {tries:?}");

    let guessed = guess(server, 100_000);
    assert_eq!(guessed, 100_000, "every guess has the one answer");
    let log = text(pair.stack.data().log(Service::Share));
    for link in links.values() {
        let token = link.rsplit('/').next().unwrap();
        assert!(!log.contains(token), "what opens a link is logged");
    }
    assert!(log.len() < 1 << 20, "guesses fill no disk: {} bytes", log.len());
}

/// Guesses links over many connections at a time, and counts the answers that say that there is nothing.
fn guess(server: SocketAddr, guesses: usize) -> usize {
    const CONNECTIONS: usize = 100;
    const AT_ONCE: usize = 10;
    thread::scope(|scope| {
        let running: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                scope.spawn(move || {
                    let mut raw = Raw::open(server);
                    let mut closed = 0;
                    for round in 0..guesses / CONNECTIONS / AT_ONCE {
                        for guess in 0..AT_ONCE {
                            raw.get(&format!("/s/{connection:011}{round:016}{guess:015}A"), "");
                        }
                        closed += (0..AT_ONCE).filter(|_| raw.answer().is_some_and(|said| said.status == 404)).count();
                    }
                    closed
                })
            })
            .collect();
        running.into_iter().map(|one| one.join().expect("it guesses")).sum()
    })
}

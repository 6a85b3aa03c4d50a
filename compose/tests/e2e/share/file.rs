//! A link to a file: its page, its bytes, and going on after an interruption.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use quics_kit::names::Service;

use super::{ask, get, page_with, sha256};
use crate::support::{Pair, has, set_mtime, text, until, write_random};

#[test]
fn a_link_shows_a_file_and_gives_its_bytes_whole_and_in_parts() {
    if !has("curl", "a_link_shows_a_file_and_gives_its_bytes_whole_and_in_parts") {
        return;
    }
    let pair = Pair::with(|folder| {
        write_random(&folder.join("plan.bin"), 3_000_000);
        set_mtime(&folder.join("plan.bin"), 1_700_000_000, 0);
    });
    let link = pair.share("plan.bin", &["--label", "for Ann"]);
    let page = page_with(&link, &sha256(&pair.at("plan.bin")));
    for words in ["plan.bin", "for Ann", "2.9 MiB", "2023-11-14 22:13 UTC", "<html lang=\"en\">"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!page.contains("<script"), "{page}");
    let address = format!("{link}/get");
    let whole = get(&address);
    let bytes = fs::read(pair.at("plan.bin")).unwrap();
    assert!(whole.status == 200 && whole.body == bytes, "{:?}", whole.headers);
    assert_eq!(whole.header("content-disposition"), "attachment; filename=\"plan.bin\"");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let head = ask(&address, &["--head"]);
    assert_eq!((head.status, head.header("content-length")), (200, "3000000"));
    assert!(head.body.is_empty());

    let tag = whole.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() > 60, "a strong one: {tag}");
    let unchanged = ask(&address, &["-H", &format!("If-None-Match: {tag}")]);
    assert!(unchanged.status == 304 && unchanged.body.is_empty());
    let part = ask(&address, &["-r", "10-19"]);
    assert_eq!((part.status, part.header("content-range")), (206, "bytes 10-19/3000000"));
    assert_eq!(part.body, bytes[10..20]);
    assert_eq!(ask(&address, &["-r", "-5"]).body, bytes[2_999_995..]);
    assert_eq!(ask(&address, &["-r", "2999990-9999999"]).body, bytes[2_999_990..]);
    let several = ask(&address, &["-r", "0-0,5-6"]);
    assert!(several.status == 200 && several.body == bytes, "several parts are answered with the whole");
    let beyond = ask(&address, &["-r", "3000000-"]);
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */3000000"));
    let same = ask(&address, &["-r", "1-2", "-H", &format!("If-Range: {tag}")]);
    assert_eq!((same.status, &same.body[..]), (206, &bytes[1..3]));
    let other = ask(&address, &["-r", "1-2", "-H", "If-Range: \"another\""]);
    assert!(other.status == 200 && other.body == bytes, "what has changed is sent whole");

    // Downloads from the first byte on: the whole one, that of several parts, and that of what had changed.
    assert_eq!(pair.downloads(), 3, "parts, looks and what has not changed are none");
    let log = pair.left.quics(["share", "log", &pair.link_id()]).unwrap();
    assert!(log.lines().count() >= 1 && log.contains("2.9 MiB"), "{log}");
    assert!(!log.contains("127.0.0.1"), "no address is kept unless the root says so: {log}");
    // Whoever reads the logs can open nothing.
    let token = link.rsplit('/').next().unwrap();
    let logged = text(pair.stack.data().log(Service::Share));
    assert!(logged.contains("public.plain_http") && !logged.contains(token), "{logged}");
}

#[test]
fn curl_and_wget_go_on_where_they_were() {
    for tool in ["curl", "wget"] {
        if !has(tool, "curl_and_wget_go_on_where_they_were") {
            return;
        }
    }
    let pair = Pair::with(|folder| write_random(&folder.join("film.bin"), 5_000_000));
    let address = format!("{}/get", pair.share("film.bin", &[]));
    let bytes = fs::read(pair.at("film.bin")).unwrap();
    let half = pair.stack.path().join("half");
    fs::write(&half, &bytes[..2_000_000]).unwrap();
    curl_on(&address, &half, &[]);
    assert!(fs::read(&half).unwrap() == bytes);
    fs::write(&half, &bytes[..4_999_999]).unwrap();
    let status = Command::new("wget").args(["-q", "-c", "-O"]).arg(&half).arg(&address).status().unwrap();
    assert!(status.success() && fs::read(&half).unwrap() == bytes);
}

#[test]
fn a_download_goes_on_after_share_svc_was_killed_in_the_middle() {
    if !has("curl", "a_download_goes_on_after_share_svc_was_killed_in_the_middle") {
        return;
    }
    let pair = Pair::with(|folder| write_random(&folder.join("film.bin"), 60 << 20));
    let address = format!("{}/get", pair.share("film.bin", &[]));
    let to = pair.stack.path().join("film.bin");
    let mut slow = Command::new("curl")
        .args(["-s", "--limit-rate", "8M", "-o"])
        .arg(&to)
        .arg(&address)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("some of it to arrive", || fs::metadata(&to).is_ok_and(|now| now.len() > 1 << 20));
    pair.stack.crash(Service::Share).unwrap();
    assert!(!slow.wait().unwrap().success(), "a file that is not whole is not told to be");
    let arrived = File::open(&to).unwrap().metadata().unwrap().len();
    assert!(arrived > 0 && arrived < 60 << 20, "it was in the middle: {arrived}");
    curl_on(&address, &to, &["--retry", "20", "--retry-connrefused", "--retry-delay", "1"]);
    assert!(fs::read(&to).unwrap() == fs::read(pair.at("film.bin")).unwrap());
}

#[test]
fn bytes_that_the_server_has_lost_are_never_sent_as_if_they_were_right() {
    if !has("curl", "bytes_that_the_server_has_lost_are_never_sent_as_if_they_were_right") {
        return;
    }
    let mut pair = Pair::with(|folder| write_random(&folder.join("film.bin"), 6 << 20));
    let address = format!("{}/get", pair.share("film.bin", &[]));
    let bytes = fs::read(pair.at("film.bin")).unwrap();
    // Nobody is there who could bring back what is lost.
    pair.left.stop_agent().unwrap();
    pair.right.stop_agent().unwrap();
    assert!(crate::damage::damage(&pair.stack, 1 << 20) > 4, "there is something to damage");
    let to = pair.stack.path().join("film.bin");
    let status = Command::new("curl").args(["-s", "-f", "-o"]).arg(&to).arg(&address).status().unwrap();
    assert!(!status.success(), "a download that is not whole is not told to be");
    let got = fs::read(&to).unwrap_or_default();
    assert!(got.len() < bytes.len() && bytes.starts_with(&got), "what came before the damage is right");
    assert!(text(pair.stack.data().log(Service::Share)).contains("content.damaged"), "it is reported");
    // With a device that has it, it heals.
    pair.left.start_agent().unwrap();
    until("the download to be whole again", || get_quietly(&address) == bytes);
}

fn get_quietly(address: &str) -> Vec<u8> {
    Command::new("curl").args(["-s", "-f", address]).output().unwrap().stdout
}

/// Lets curl go on with a file.
fn curl_on(address: &str, to: &Path, arguments: &[&str]) {
    let status = Command::new("curl").args(["-s", "-S", "-C", "-", "-o"]).arg(to).args(arguments).arg(address).status();
    assert!(status.unwrap().success());
}

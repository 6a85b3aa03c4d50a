//! Links: what people without an account see and get of them, with the clients that they have.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Pair, until};

mod browser;
mod file;
mod folder;
mod hostile;
mod large;
mod life;
mod limit;
mod password;
mod raw;
mod refusals;
mod rights;
mod tls;

impl Pair {
    /// Makes a link to something in the first device's folder, and gives its address.
    fn share(&self, name: &str, arguments: &[&str]) -> String {
        let path = self.at(name);
        let path = path.to_str().expect("a path that is text");
        self.left.quics(["share", path].iter().chain(arguments)).expect("a link is made").trim().to_owned()
    }

    /// The links that the first device made, also those that have ended.
    fn links(&self) -> Vec<Value> {
        let said = self.left.quics(["shares", "--all", "--json"]).expect("links are listed");
        said.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// How often the only link was used.
    fn downloads(&self) -> u64 {
        let links = self.links();
        assert_eq!(links.len(), 1, "{links:?}");
        links[0]["downloads"].as_u64().expect("downloads are counted")
    }

    /// The id of the only link.
    fn link_id(&self) -> String {
        let links = self.links();
        assert_eq!(links.len(), 1, "{links:?}");
        links[0]["id"].as_str().expect("a link has an id").to_owned()
    }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// A header; the empty text where there is none.
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The same without what the clock writes.
    fn timeless(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "date");
        self
    }
}

/// Asks with curl, which has to get an answer.
fn ask(address: &str, arguments: &[&str]) -> Answer {
    let output = Command::new("curl")
        .args(["-s", "-S", "-i", "--max-time", "60"])
        .args(arguments)
        .arg(address)
        .stdin(Stdio::null())
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "{address} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let end = output.stdout.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8(output.stdout[..end].to_vec()).expect("a head is text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers = lines.filter_map(header).collect();
    Answer { status: status.expect("an answer has a status"), headers, body: output.stdout[end + 4..].to_vec() }
}

fn get(address: &str) -> Answer {
    ask(address, &[])
}

/// Begins a download that is counted, and gives where it is.
fn begin(link: &str, what: &str) -> Answer {
    ask(&format!("{link}/begin/{what}"), &["-X", "POST"])
}

/// The address at the same server as `link`.
fn beside(link: &str, path: &str) -> String {
    let host = link.find("/s/").expect("an address of a link");
    format!("{}{path}", &link[..host])
}

/// What a link answers that was never made: as all that are closed do.
fn closed(link: &str) -> Answer {
    let answer = get(&beside(link, "/s/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    assert_eq!(answer.status, 404);
    answer.timeless()
}

/// The time of day in a second, as people write it.
fn in_a_second() -> String {
    let output = Command::new("date").args(["-d", "+1 second", "+%Y-%m-%d %H:%M:%S"]).output().expect("date runs");
    String::from_utf8(output.stdout).expect("a time is text").trim().to_owned()
}

/// Waits until a page has these words, and gives it.
fn page_with(link: &str, words: &str) -> String {
    let mut page = String::new();
    until(words, || {
        page = get(link).text();
        page.contains(words)
    });
    page
}

/// The checksum of a file, as people check it.
fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum runs");
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().trim_start_matches('\\').to_owned()
}

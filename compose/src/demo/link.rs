//! A link, as the demonstration plays it: the folder is shared, and somebody without an account reads a file of it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Demo, Outcome};

/// The file that is read through the link.
const FILE: &str = "plan.txt";

/// Plays it; gives how long it took from the command to the file.
///
/// # Errors
/// When no link is made, or the server does not answer within `patience`.
pub(super) fn play(demo: &Demo, patience: Duration) -> Result<Outcome> {
    let file = fs::read(demo.here.join(FILE))?;
    let folder = demo.here.to_str().context("the folder's name is text")?;
    let begun = Instant::now();
    let said = demo.laptop.quics(["share", folder, "--live", "--label", "the demonstration"])?;
    let link = said.trim().to_owned();
    let got = get(&format!("{link}/get/{FILE}"), patience)?;
    let took = (got == file).then(|| begun.elapsed());
    // It is set once: the demonstration runs once.
    let _ = demo.link.set(link);
    let change = "the folder is shared: a file of it over a link, without account";
    Ok(Outcome { change, bytes: file.len() as u64, took })
}

/// Gets what is at an address on this machine, as any browser could.
fn get(address: &str, patience: Duration) -> Result<Vec<u8>> {
    let rest = address.strip_prefix("http://").context("the demonstration's links are plain HTTP")?;
    let (host, path) = rest.split_once('/').context("a link has a path")?;
    let mut stream = TcpStream::connect(host).with_context(|| format!("open {host}"))?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("an answer has a head")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    ensure!(head.starts_with("HTTP/1.1 200 "), "the link answered {}", head.lines().next().unwrap_or_default());
    Ok(answer[end + 4..].to_vec())
}

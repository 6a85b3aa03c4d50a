//! Links in a real Chromium, driven by `browser.py`: pages in both themes and three sizes, previews, the keyboard, passwords,
//! downloads, one of them with a server that is killed in its middle.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use quics_kit::names::Service;
use quics_stack::harness::feed;
use serde_json::{Map, json};

use super::{beside, page_with, sha256};
use crate::support::{PATIENCE, Pair, given, has, loudly, write_random};

/// A second of film, 32 by 32, as a browser recorded it.
const FILM: &[u8] = include_bytes!("clip.webm");
const DRAWING: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"32\" height=\"32\">\
                       <script>document.title = 'was run'</script><circle cx=\"16\" cy=\"16\" r=\"12\" fill=\"teal\"/></svg>";
const PAGE: &str = "<!DOCTYPE html><title>a page</title><script>document.title = 'was run'</script>";

/// A picture of one colour, 32 by 32 (Windows' bitmap: a head of 54 bytes, then blue, green, red).
fn picture() -> Vec<u8> {
    const SIDE: u32 = 32;
    let data = SIDE * SIDE * 3;
    let mut bytes = b"BM".to_vec();
    for word in [54 + data, 0, 54, 40, SIDE, SIDE, 1 | 24 << 16, 0, data, 2835, 2835, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([200, 120, 30].repeat((SIDE * SIDE) as usize));
    bytes
}

/// A tenth of a second of a tone (RIFF WAVE, one channel, 8 bits, 8 000 Hz).
fn sound() -> Vec<u8> {
    let samples: Vec<u8> = (0..800).map(|at| if at % 20 < 10 { 96 } else { 160 }).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + samples.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    for word in [16, 1 | 1 << 16, 8000, 8000, 1 | 8 << 16] {
        bytes.extend(u32::to_le_bytes(word));
    }
    bytes.extend(b"data");
    bytes.extend((samples.len() as u32).to_le_bytes());
    bytes.extend(samples);
    bytes
}

fn fill(folder: &Path) {
    write_random(&folder.join("a plan with quite a long name, as people give them, and no end to it.bin"), 3_000_000);
    fs::write(folder.join("picture.bmp"), picture()).unwrap();
    fs::write(folder.join("drawing.svg"), DRAWING).unwrap();
    fs::write(folder.join("page.html"), PAGE).unwrap();
    fs::write(folder.join("sound.wav"), sound()).unwrap();
    fs::write(folder.join("film.webm"), FILM).unwrap();
    fs::write(folder.join("secret.txt"), "the secret words").unwrap();
    fs::write(folder.join("once.txt"), "good for one").unwrap();
    write_random(&folder.join("large.bin"), 40 << 20);
    fs::create_dir_all(folder.join("trip/inner")).unwrap();
    fs::write(folder.join("trip/inner/deep.txt"), "deep").unwrap();
    fs::write(folder.join("trip/grüße \u{202e}.txt"), "greetings").unwrap();
    fs::write(
        folder.join("trip/a-very-long-name-without-any-place-where-it-could-be-broken.".to_owned() + &"x".repeat(120)),
        "x",
    )
    .unwrap();
    std::os::unix::fs::symlink("inner", folder.join("trip/link")).unwrap();
}

#[test]
fn people_use_links_in_a_browser_and_nothing_is_in_anybody_s_way() {
    const TEST: &str = "people_use_links_in_a_browser_and_nothing_is_in_anybody_s_way";
    let (python, axe) = (given("QUICS_PYTHON", "playwright", TEST), given("QUICS_AXE", "axe-core", TEST));
    let (Some(python), Some(axe), true) = (python, axe, has("chromium", TEST)) else { return };
    let pair = Pair::with(fill);
    let name = "a plan with quite a long name, as people give them, and no end to it.bin";
    let mut links = Map::new();
    let mut link = |key: &str, name: &str, arguments: &[&str]| {
        let link = pair.share(name, arguments);
        links.insert(key.to_owned(), json!(link));
        link
    };
    let first = link("file", name, &["--label", "for Ann, who asked"]);
    for (key, name) in [
        ("picture", "picture.bmp"),
        ("drawing", "drawing.svg"),
        ("active", "page.html"),
        ("sound", "sound.wav"),
        ("film", "film.webm"),
        ("large", "large.bin"),
        ("folder", "trip"),
    ] {
        link(key, name, &[]);
    }
    link("limited", "once.txt", &["--limit", "1"]);
    let making = pair.left.command(["share", pair.at("secret.txt").to_str().unwrap(), "--password"]);
    let made = feed(making, b"open sesame\n", PATIENCE).unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    links.insert("locked".to_owned(), json!(String::from_utf8(made.stdout).unwrap().trim()));
    links.insert("closed".to_owned(), json!(beside(&first, "/s/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")));
    page_with(&first, &sha256(&pair.at(name)));
    let sum = |name: &str| sha256(&pair.at(name));
    let sums = json!({
        "file": sum(name), "locked": sum("secret.txt"), "limited": sum("once.txt"), "large": sum("large.bin"),
        "deep": sum("trip/inner/deep.txt"),
    });
    // Where somebody wants to look at the pages, they are kept.
    let shots = std::env::var_os("QUICS_SHOTS").map_or_else(|| pair.stack.path().join("shots"), Into::into);
    fs::create_dir_all(&shots).unwrap();
    let told = json!({ "axe": axe, "shots": shots, "links": links, "password": "open sesame", "sums": sums });
    drive(&python, &told.to_string(), &pair);
}

/// Lets the script do what it does, and kills the service when it asks for that.
fn drive(python: &Path, told: &str, pair: &Pair) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/share/browser.py");
    let mut child =
        Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python runs");
    let mut say = child.stdin.take().unwrap();
    writeln!(say, "{told}").unwrap();
    let mut child = Guarded(child);
    for line in BufReader::new(child.0.stdout.take().unwrap()).lines() {
        match line.unwrap().as_str() {
            "kill" => {
                pair.stack.crash(Service::Share).unwrap();
                writeln!(say).unwrap();
            }
            said => loudly(said),
        }
    }
    assert!(child.0.wait().unwrap().success(), "what is wrong stands above");
}

/// A process that ends with the test.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

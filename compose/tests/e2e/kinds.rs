//! What is not an ordinary file: links, FIFOs, sockets, holes.

use std::{
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::{
        fs::{MetadataExt as _, symlink},
        net::UnixListener,
    },
    path::Path,
    time::Duration,
};

use quics_kit::names::Service;
use quics_stack::harness::process;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Pair, heavy, loudly, text, until};

#[test]
fn symbolic_links_are_copied_as_links_and_never_followed() {
    let pair = Pair::new();
    let outside = pair.stack.dir("outside").unwrap();
    fs::write(outside.join("secret"), "do not touch").unwrap();
    fs::write(pair.at("inside"), "inside").unwrap();
    symlink("inside", pair.at("to inside")).unwrap();
    symlink(&outside, pair.at("to outside")).unwrap();
    symlink("nowhere/at all", pair.at("to nowhere")).unwrap();
    symlink(".", pair.at("to itself")).unwrap();
    pair.settle();
    assert_eq!(fs::read_link(pair.on("to outside")).unwrap(), outside);
    assert_eq!(fs::read_link(pair.on("to nowhere")).unwrap(), Path::new("nowhere/at all"));

    // A link becomes a directory of the same name: what it pointed to is not written through.
    fs::remove_file(pair.at("to outside")).unwrap();
    fs::create_dir(pair.at("to outside")).unwrap();
    fs::write(pair.at("to outside/secret"), "mine").unwrap();
    pair.settle();
    assert_eq!(text(outside.join("secret")), "do not touch");

    // And the other way round.
    fs::remove_dir_all(pair.at("to outside")).unwrap();
    symlink(&outside, pair.at("to outside")).unwrap();
    pair.settle();
    assert_eq!(text(outside.join("secret")), "do not touch");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_symbolic_link_is_pointed_elsewhere() {
    let pair = Pair::with(|folder| symlink("one", folder.join("current")).unwrap());
    symlink("two", pair.at("next")).unwrap();
    fs::rename(pair.at("next"), pair.at("current")).unwrap();
    pair.settle();
    assert_eq!(fs::read_link(pair.on("current")).unwrap(), Path::new("two"));
}

#[test]
fn fifos_and_sockets_are_reported_and_block_nothing() {
    let pair = Pair::new();
    mknodat(CWD, pair.at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = UnixListener::bind(pair.at("socket")).unwrap();
    fs::write(pair.at("file"), "goes on").unwrap();
    until("the file to arrive", || text(pair.on("file")) == "goes on");
    until("both to be reported", || {
        let status = pair.left.status().unwrap().to_string();
        status.contains("pipe") && status.contains("socket")
    });
    assert!(!pair.on("pipe").exists() && !pair.on("socket").exists());
    assert!(pair.at("pipe").exists() && pair.at("socket").exists());

    // A file that becomes one is reported too; nothing of it is to be sent, and what is gone is reported no more.
    fs::remove_file(pair.at("file")).unwrap();
    mknodat(CWD, pair.at("file"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let root = || pair.left.status().unwrap()["roots"][0].clone();
    until("all three to be reported, and nothing to be sent", || {
        let root = root();
        root["problem_count"] == 3 && root["outgoing"] == 0 && root["state"] == "in_sync"
    });
    assert_eq!(text(pair.on("file")), "goes on");
    fs::remove_file(pair.at("pipe")).unwrap();
    until("the one that is gone to be reported no more", || root()["problem_count"] == 2);
}

#[test]
fn hard_links_are_files_of_their_own_on_the_other_side() {
    let pair = Pair::with(|folder| fs::write(folder.join("one"), "same").unwrap());
    fs::hard_link(pair.at("one"), pair.at("two")).unwrap();
    pair.settle();
    assert_eq!(text(pair.on("two")), "same");
    fs::write(pair.at("one"), "changed in place").unwrap();
    pair.settle();
    assert_eq!(text(pair.on("two")), "changed in place");
}

#[test]
fn a_file_with_holes_keeps_its_bytes() {
    let pair = Pair::new();
    sparse(&pair.at("image"), 64 << 20);
    pair.settle();
    assert_eq!(fs::metadata(pair.on("image")).unwrap().len(), 64 << 20);
}

#[test]
fn a_sparse_file_of_8_gib_arrives_in_bounded_memory() {
    if !heavy("a_sparse_file_of_8_gib_arrives_in_bounded_memory") {
        return;
    }
    const SIZE: u64 = 8 << 30;
    const MOST: u64 = 150 << 20;
    let pair = Pair::on_disk();
    sparse(&pair.at("image"), SIZE);
    until_arrived(&pair, SIZE);
    let memory = |name: &str, pid: u32| {
        let peak = process::memory(pid).unwrap().peak;
        loudly(&format!("8 GiB sparse: {name} used {} MiB of memory at most", peak >> 20));
        peak
    };
    let used = [
        memory("the sending agent", pair.left.agent_pid().unwrap()),
        memory("the receiving agent", pair.right.agent_pid().unwrap()),
        memory("sync-svc", pair.stack.service(Service::Sync).unwrap().pid),
    ];
    assert!(used.iter().all(|used| *used <= MOST), "at most {MOST} bytes each, {used:?} were used");
    let blocks = fs::metadata(pair.on("image")).unwrap().blocks() * 512;
    loudly(&format!("8 GiB sparse: the copy takes {} MiB on the disk", blocks >> 20));
}

fn until_arrived(pair: &Pair, size: u64) {
    let wait = quics_stack::harness::wait::until_true("the image to arrive", Duration::from_secs(600), || {
        fs::metadata(pair.on("image")).is_ok_and(|metadata| metadata.len() == size)
    });
    wait.expect("the image arrives");
    pair.settle_within(Duration::from_secs(120));
}

/// A file that is empty but for a few bytes at its ends and in its middle.
fn sparse(path: &Path, size: u64) {
    let mut file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for at in [0, size / 2, size - 4] {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(b"data").unwrap();
    }
}

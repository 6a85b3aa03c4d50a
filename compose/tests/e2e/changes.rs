//! One file and what happens to it.

use std::{
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use crate::support::{Pair, append, has, set_mtime, text, tool, until, write_random};

#[test]
fn a_file_is_created_changed_appended_to_truncated_and_deleted() {
    let pair = Pair::new();
    fs::write(pair.at("letter"), "Dear all").unwrap();
    pair.settle();
    assert_eq!(text(pair.on("letter")), "Dear all");

    fs::write(pair.at("letter"), "Dear both").unwrap();
    pair.settle();
    assert_eq!(text(pair.on("letter")), "Dear both");

    append(&pair.at("letter"), b", it rains");
    pair.settle();
    assert_eq!(text(pair.on("letter")), "Dear both, it rains");

    File::options().write(true).open(pair.at("letter")).unwrap().set_len(4).unwrap();
    pair.settle();
    assert_eq!(text(pair.on("letter")), "Dear");

    File::create(pair.at("letter")).unwrap();
    pair.settle();
    assert_eq!(fs::metadata(pair.on("letter")).unwrap().len(), 0);

    fs::remove_file(pair.at("letter")).unwrap();
    pair.settle();
    assert!(!pair.on("letter").exists());
}

#[test]
fn changes_go_both_ways_in_turn() {
    let pair = Pair::new();
    for round in 0..5 {
        fs::write(pair.at("ball"), format!("{round} from the left")).unwrap();
        pair.settle();
        fs::write(pair.on("ball"), format!("{round} from the right")).unwrap();
        pair.settle_backwards();
    }
    assert_eq!(text(pair.at("ball")), "4 from the right");
}

#[test]
fn a_file_that_editors_replace_by_rename_arrives_and_nothing_of_the_way_stays() {
    let pair = Pair::with(|folder| fs::write(folder.join("notes.txt"), "one").unwrap());
    for text in ["two", "three"] {
        // vim: the old file aside, the new one in its place, the old one away.
        fs::rename(pair.at("notes.txt"), pair.at("notes.txt~")).unwrap();
        fs::write(pair.at("notes.txt"), text).unwrap();
        fs::remove_file(pair.at("notes.txt~")).unwrap();
        pair.settle();
        // Most others: beside it, then over it.
        fs::write(pair.at(".notes.txt.tmp"), format!("{text}!")).unwrap();
        fs::rename(pair.at(".notes.txt.tmp"), pair.at("notes.txt")).unwrap();
        pair.settle();
    }
    assert_eq!(text(pair.on("notes.txt")), "three!");
    assert_eq!(
        fs::read_dir(&pair.there).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != ".quics").count(),
        1
    );
    // A file that is saved is the same entry, not a new one in the place of a deleted one.
    let root = &pair.stack.statistics().unwrap().roots[0];
    assert!(root.tombstones <= 2, "only the names on the way were deleted: {root:?}");
}

#[test]
fn a_file_is_deleted_and_made_again() {
    let pair = Pair::with(|folder| fs::write(folder.join("phoenix"), "old").unwrap());
    fs::remove_file(pair.at("phoenix")).unwrap();
    pair.settle();
    fs::write(pair.at("phoenix"), "new").unwrap();
    pair.settle();
    assert_eq!(text(pair.on("phoenix")), "new");
    // At once, and from the other side.
    fs::remove_file(pair.on("phoenix")).unwrap();
    fs::write(pair.on("phoenix"), "newer").unwrap();
    pair.settle_backwards();
    assert_eq!(text(pair.at("phoenix")), "newer");
}

#[test]
fn a_file_becomes_a_directory_and_a_file_again() {
    let pair = Pair::with(|folder| fs::write(folder.join("thing"), "file").unwrap());
    fs::remove_file(pair.at("thing")).unwrap();
    fs::create_dir(pair.at("thing")).unwrap();
    fs::write(pair.at("thing/part"), "part").unwrap();
    pair.settle();
    assert_eq!(text(pair.on("thing/part")), "part");

    fs::remove_dir_all(pair.at("thing")).unwrap();
    fs::write(pair.at("thing"), "file again").unwrap();
    pair.settle();
    assert_eq!(text(pair.on("thing")), "file again");
}

#[test]
fn permissions_and_times_arrive() {
    let pair = Pair::with(|folder| fs::write(folder.join("tool"), "#!/bin/sh\n").unwrap());
    fs::set_permissions(pair.at("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    pair.settle();
    assert_eq!(fs::metadata(pair.on("tool")).unwrap().mode() & 0o111, 0o111);
    fs::set_permissions(pair.at("tool"), fs::Permissions::from_mode(0o644)).unwrap();
    pair.settle();
    assert_eq!(fs::metadata(pair.on("tool")).unwrap().mode() & 0o111, 0);

    set_mtime(&pair.at("tool"), 1_000_000_000, 123_456_789);
    pair.settle();
    let there = fs::metadata(pair.on("tool")).unwrap();
    assert_eq!((there.mtime(), there.mtime_nsec()), (1_000_000_000, 123_456_789));
}

#[test]
fn an_edit_that_puts_size_and_time_back_is_seen() {
    let pair = Pair::with(|folder| {
        fs::write(folder.join("disguise"), "aaaa").unwrap();
        set_mtime(&folder.join("disguise"), 1_500_000_000, 0);
    });
    let mut file = File::options().write(true).open(pair.at("disguise")).unwrap();
    file.write_all(b"bbbb").unwrap();
    drop(file);
    set_mtime(&pair.at("disguise"), 1_500_000_000, 0);
    until("the disguised edit to arrive", || text(pair.on("disguise")) == "bbbb");
    pair.settle();
}

#[test]
fn a_write_through_a_memory_map_arrives() {
    if !has("python3", "a_write_through_a_memory_map_arrives") {
        return;
    }
    let pair = Pair::with(|folder| write_random(&folder.join("map"), 1 << 20));
    let script = "import mmap\nwith open('map','r+b') as f:\n m=mmap.mmap(f.fileno(),0)\n m[500000:500005]=b'HELLO'\n m.flush()\n m.close()\n";
    tool(&pair.here, "python3", &["-c", script]);
    pair.settle();
    let there = fs::read(pair.on("map")).unwrap();
    assert_eq!(&there[500_000..500_005], b"HELLO");
}

#[test]
fn a_file_that_grows_while_it_is_read_arrives_whole() {
    let pair = Pair::new();
    let mut file = File::create(pair.at("log")).unwrap();
    let line = [b'x'; 1 << 16];
    for _ in 0..256 {
        file.write_all(&line).unwrap();
        file.flush().unwrap();
    }
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(b"first").unwrap();
    drop(file);
    pair.settle();
    assert_eq!(fs::metadata(pair.on("log")).unwrap().len(), 256 << 16);
}

#[test]
fn a_file_that_goes_on_growing_while_it_is_read_arrives_whole_once_it_rests() {
    const MOST: usize = 20_000;
    let pair = Pair::new();
    let mut file = File::create(pair.at("recording")).unwrap();
    let (mut line, mut looks, mut last) = (vec![0; 32 << 10], 0, 0);
    for number in 0..MOST {
        line.fill(number as u8);
        line[..8].copy_from_slice(&(number as u64).to_le_bytes());
        file.write_all(&line).unwrap();
        // It grows on until the server has had parts of it several times: it was read while it grew.
        if number % 16 == 0 {
            let stored = pair.stack.statistics().unwrap().chunk_bytes;
            looks += usize::from(stored > last);
            last = stored;
        }
        if looks == 3 && number > 500 {
            break;
        }
    }
    assert!(looks == 3, "it was read while it grew");
    drop(file);
    pair.settle();
}

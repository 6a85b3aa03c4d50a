//! An archive of more files, and of a longer one, than a zip of 32 bits can say, in bounded memory.

use std::fs::{self, File};
use std::process::Command;

use quics_kit::names::Service;
use quics_stack::harness::process;

use super::get;
use crate::support::{Pair, has, heavy, loudly, tool};
use std::time::Duration;

const FOLDERS: usize = 70;
const IN_EACH: usize = 1000;
/// A hole with a byte at each end: what it takes is sent, and hardly kept.
const LONG: u64 = (4 << 30) + 5;
const READ: &str = "
import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
print(len(archive.infolist()), sum(entry.file_size for entry in archive.infolist()))
with archive.open('many/long.bin') as long:
    assert long.read(1) == b'a'
print(archive.read('many/69/999.txt').decode())
";

#[test]
fn a_folder_of_very_many_files_and_a_very_long_one_is_one_archive() {
    const TEST: &str = "a_folder_of_very_many_files_and_a_very_long_one_is_one_archive";
    if !heavy(TEST) || !has("curl", TEST) || !has("python3", TEST) {
        return;
    }
    let pair = Pair::on_disk();
    let many = pair.stack.dir("many").unwrap();
    for folder in 0..FOLDERS {
        fs::create_dir_all(many.join(format!("many/{folder}"))).unwrap();
        for file in 0..IN_EACH {
            fs::write(many.join(format!("many/{folder}/{file}.txt")), format!("{folder}/{file}")).unwrap();
        }
    }
    let long = File::create(many.join("many/long.bin")).unwrap();
    long.set_len(LONG).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&long, b"a", 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&long, b"z", LONG - 1).unwrap();
    pair.right.quics(["pause"]).unwrap();
    fs::rename(&many, pair.at("shared")).unwrap();
    pair.left.wait_in_sync_within(Duration::from_secs(600)).unwrap();
    let share = pair.stack.service(Service::Share).unwrap().pid;
    let link = pair.share("shared", &[]);
    let page = get(&format!("{link}/f/many/0"));
    assert!(page.status == 200 && page.text().contains("0.txt"), "{page:?}");
    let before = process::memory(share).unwrap().now;
    let archive = pair.stack.path().join("shared.zip");
    let status = Command::new("curl").args(["-s", "-f", "-o"]).arg(&archive).arg(format!("{link}/zip")).status();
    assert!(status.unwrap().success());
    let peak = process::memory(share).unwrap().peak;
    loudly(&format!(
        "an archive of {} files: share-svc used {} MiB at most ({} before)",
        FOLDERS * IN_EACH + 1,
        peak >> 20,
        before >> 20
    ));
    assert!(peak < 200 << 20, "its memory is bounded: {peak}");
    let said = tool(pair.stack.path(), "python3", &["-c", READ, "shared.zip"]);
    let bytes: usize =
        (0..FOLDERS).flat_map(|folder| (0..IN_EACH).map(move |file| format!("{folder}/{file}").len())).sum();
    // The folders, the one above them, the files, and the long one.
    let expected = format!("{} {}\n69/999\n", FOLDERS + 1 + FOLDERS * IN_EACH + 1, bytes as u64 + LONG);
    assert_eq!(said, expected);
}

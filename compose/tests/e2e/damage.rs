//! A server whose disk lost something, and one that was put back to an older state.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Output,
};

use quics_stack::harness::{Device, Stack, output, tree};

use crate::support::{PATIENCE, Pair, shows, text, tool, until, write_random};

/// The segments in which the server keeps contents.
fn segments(stack: &Stack) -> Vec<PathBuf> {
    fn below(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "segment") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    below(&stack.path().join("server/sync/chunks"), &mut found);
    found
}

/// Turns a byte around in every so many of each segment.
pub(crate) fn damage(stack: &Stack, step: u64) -> u64 {
    let mut count = 0;
    for path in segments(stack) {
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut at = step;
        while at < file.metadata().unwrap().len() {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[!byte[0]], at).unwrap();
            at += step;
            count += 1;
        }
    }
    count
}

fn verify(stack: &Stack) -> Output {
    output(stack.command(&["verify"]), PATIENCE).unwrap()
}

#[test]
fn what_a_disk_lost_comes_back_from_a_device_when_another_one_asks_for_it() {
    let mut pair = Pair::new();
    pair.right.stop_agent().unwrap();
    fs::create_dir(pair.at("films")).unwrap();
    write_random(&pair.at("films/one"), 5 << 20);
    write_random(&pair.at("films/two"), 3 << 20);
    pair.left.wait_in_sync().unwrap();
    assert!(damage(&pair.stack, 1 << 20) > 5, "there is something to damage");

    pair.right.start_agent().unwrap();
    shows(&pair.here, &pair.there, PATIENCE);
    pair.in_sync();
    until("the server to have all of it again", || verify(&pair.stack).status.success());
}

#[test]
fn what_a_disk_lost_is_found_by_looking_through_it_and_comes_back() {
    let pair = Pair::new();
    write_random(&pair.at("film"), 4 << 20);
    pair.settle();
    let fine = verify(&pair.stack);
    assert!(fine.status.success(), "{}", String::from_utf8_lossy(&fine.stderr));
    assert!(damage(&pair.stack, 1 << 20) > 1);

    let found = verify(&pair.stack);
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.status.code(), Some(1), "{said}");
    assert!(said.contains("damaged") && said.contains("devices"), "{said}");
    until("the devices to have sent it", || verify(&pair.stack).status.success());
    pair.in_sync();
}

#[test]
fn a_server_that_was_put_back_to_an_older_copy_makes_no_device_lose_anything() {
    let mut pair = Pair::with(|folder| {
        fs::write(folder.join("old"), "1").unwrap();
        fs::write(folder.join("deleted later"), "d").unwrap();
    });
    let (data, copy) = (pair.stack.path().join("server"), pair.stack.path().join("copy"));
    pair.stack.down().unwrap();
    tool(pair.stack.path(), "cp", &["-a", "server", "copy"]);
    pair.stack.up().unwrap();
    fs::write(pair.at("old"), "2").unwrap();
    fs::write(pair.at("new"), "n").unwrap();
    fs::remove_file(pair.at("deleted later")).unwrap();
    write_random(&pair.at("film"), 1 << 20);
    pair.settle();
    let now = tree::read(&pair.here).unwrap();

    pair.stack.down().unwrap();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&copy, &data).unwrap();
    pair.stack.up().unwrap();
    let held = |device: &Device| {
        let root = device.status().unwrap()["roots"][0].clone();
        root["state"] == "held" && root["hold"].as_str().is_some_and(|why| why.contains("older backup"))
    };
    until("both devices to notice", || held(&pair.left) && held(&pair.right));
    for folder in [&pair.here, &pair.there] {
        tree::compare(&now, &tree::read(folder).unwrap()).expect("nothing was changed");
    }
    assert!(verify(&pair.stack).status.success(), "the copy is whole");

    // As the hold says: detach, and clone into the same folder.
    for (device, folder) in [(&pair.left, &pair.here), (&pair.right, &pair.there)] {
        device.quics(["detach".as_ref(), folder.as_os_str()]).unwrap();
        device.clone_root("docs", folder).unwrap();
    }
    until("what only the devices had to be on the server", || {
        pair.left.conflicts().is_ok_and(|said| said.contains("old")) && text(pair.on("deleted later")) == "d"
    });
    for folder in [&pair.here, &pair.there] {
        assert_eq!((text(folder.join("old")), text(folder.join("new"))), ("2".to_owned(), "n".to_owned()));
    }
}

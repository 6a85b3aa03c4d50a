//! Directories that are one entry with everything in them: repositories, above all.

use std::path::Path;

use quics_stack::harness::Device;
use serde_json::Value;

use crate::{
    conflicts::listed,
    support::{Pair, stack, until},
};

mod answers;
mod changes;
pub(crate) mod repository;
mod sides;

use repository::{contents, fsck};

/// The kind of entry that a device knows at a path, by `quics explain`: of what is on the disk, and on the server.
fn kinds(device: &Device, path: &Path) -> (String, String) {
    let told = device.json(["explain", "--json", path.to_str().unwrap()]).unwrap();
    let kind = |it: &Value| it["kind"].as_str().unwrap_or("none").to_owned();
    (kind(&told["local"]), kind(&told["server"]))
}

/// What is in conflict at or below a directory, sorted.
fn open_below(device: &Device, below: &Path) -> Vec<String> {
    let all = listed(device).into_iter();
    let paths = all.filter_map(|it| {
        let path = it["path"].as_str().unwrap();
        Some(Path::new(path).strip_prefix(below).ok()?.to_str().unwrap().to_owned())
    });
    let mut paths: Vec<String> = paths.collect();
    paths.sort();
    paths
}

/// Waits until a unit of a repository is the same on both devices, and checks it on both.
fn both_are_whole(pair: &Pair, repository: &str, unit: &str) {
    let (here, there) = (pair.at(repository).join(unit), pair.on(repository).join(unit));
    until(&format!("{} to be the same", here.display()), || {
        let here = contents(&here);
        !here.is_empty() && here == contents(&there)
    });
    fsck(&here);
    fsck(&there);
}

/// What `quics roots --json` says of the units of a root.
fn units(device: &Device, root: &str) -> Vec<String> {
    let roots = device.json(["roots", "--json"]).unwrap();
    let found = roots.as_array().unwrap().iter().find(|it| it["name"] == root).expect("the root is listed");
    let names = found["units"].as_array().unwrap().iter().map(Value::as_str);
    names.map(|name| name.unwrap().to_owned()).collect()
}

#[test]
fn units_are_chosen_when_a_root_is_made_and_all_devices_go_by_them() {
    let stack = stack();
    let left = Device::join(&stack, "left").unwrap();
    let right = Device::join(&stack, "right").unwrap();
    let usual = [".bzr", ".git", ".hg", ".jj", ".svn", "_darcs"];
    let roots: [(&str, &[&str], &[&str]); 3] = [
        ("usual", &[], &usual),
        ("own", &["--units", "x.bundle,.git"], &[".git", "x.bundle"]),
        ("none", &["--no-units"], &[]),
    ];
    for (name, arguments, wanted) in roots {
        let here = stack.dir(name).unwrap();
        left.quics(["add", here.to_str().unwrap()].iter().chain(arguments)).unwrap();
        let there = stack.path().join("right").join(name);
        right.clone_root(name, &there).unwrap();
        for device in [&left, &right] {
            assert_eq!(units(device, name), wanted);
            let settings = std::fs::read_to_string(device.home().join("settings.toml")).unwrap();
            let list: Vec<String> = wanted.iter().map(|unit| format!("{unit:?}")).collect();
            assert!(settings.contains(&format!("units = [{}]", list.join(", "))), "{settings}");
        }
        let shown = right.quics(["roots"]).unwrap();
        assert_eq!(shown.contains("UNITS"), name != "usual", "{shown}");
    }
    let shown = right.quics(["roots"]).unwrap();
    for word in ["usual", ".git, x.bundle", "none"] {
        assert!(shown.contains(word), "{shown}");
    }
}

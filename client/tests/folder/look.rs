//! Looking at what is there.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
};

use quics_client::folder::{Folder, Kind, RelPath};

use crate::common::*;

#[test]
fn a_listing_has_every_member_with_its_stat_and_leaves_the_private_directory_out() {
    let (place, mut disk) = folder();
    fs::write(place.path().join("b"), "12345").unwrap();
    fs::set_permissions(place.path().join("b"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(place.path().join("a")).unwrap();
    symlink("nowhere", place.path().join("c")).unwrap();
    let listing = disk.list(&RelPath::root()).unwrap();
    let seen: Vec<_> = listing.members.iter().map(|m| (m.name.to_string(), m.stat.clone().unwrap())).collect();
    let kinds: Vec<_> = seen.iter().map(|(name, stat)| (name.as_str(), stat.kind)).collect();
    assert_eq!(kinds, [("a", Kind::Directory), ("b", Kind::File), ("c", Kind::Link)]);
    let file = fs::metadata(place.path().join("b")).unwrap();
    let (_, stat) = &seen[1];
    assert_eq!((stat.inode, stat.size, stat.mode, stat.links), (file.ino(), 5, 0o640, 1));
    assert_eq!((stat.mtime.seconds, i64::from(stat.mtime.nanos)), (file.mtime(), file.mtime_nsec()));
    assert_eq!(disk.stat(&spot("b")).unwrap().as_ref(), Some(stat));
    assert_eq!(disk.list(&path("absent")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(disk.list(&path("b")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(disk.stat(&spot("absent/x")).unwrap(), None);
}

#[test]
fn names_that_are_not_text_are_reported_and_the_rest_goes_on() {
    let (place, mut disk) = folder();
    fs::write(place.path().join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    fs::write(place.path().join("good"), "x").unwrap();
    let listing = disk.list(&RelPath::root()).unwrap();
    assert_eq!(listing.members.len(), 1);
    assert_eq!(listing.unusable, [(b"bad\xff".to_vec(), "its name is not UTF-8".to_owned())]);
}

#[test]
fn fifos_and_sockets_are_seen_and_never_opened() {
    let (place, mut disk) = folder();
    let _socket = std::os::unix::net::UnixListener::bind(place.path().join("socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path().join("fifo"), rustix::fs::Mode::RUSR).unwrap();
    let kinds: Vec<_> =
        disk.list(&RelPath::root()).unwrap().members.iter().map(|m| m.stat.clone().unwrap().kind).collect();
    assert_eq!(kinds, [Kind::Other, Kind::Other]);
    // Opening the FIFO would wait for a writer for ever.
    assert_eq!(disk.read_small(&spot("fifo")).unwrap(), None);
    disk.make_durable(&[spot("fifo"), spot("socket"), spot("absent"), spot("no/dir")]).unwrap();
}

#[test]
fn small_files_and_links_are_read_whole() {
    let (place, mut disk) = folder();
    fs::write(place.path().join("small"), vec![1; 16 * 1024]).unwrap();
    fs::write(place.path().join("large"), vec![1; 16 * 1024 + 1]).unwrap();
    fs::write(place.path().join("empty"), "").unwrap();
    symlink("../any where", place.path().join("link")).unwrap();
    let (bytes, stat) = disk.read_small(&spot("small")).unwrap().unwrap();
    assert_eq!((bytes.len(), stat.size), (16 * 1024, 16 * 1024));
    assert_eq!(disk.read_small(&spot("empty")).unwrap().unwrap().0.len(), 0);
    assert_eq!(disk.read_small(&spot("large")).unwrap(), None);
    assert_eq!(disk.read_small(&spot("absent")).unwrap(), None);
    assert_eq!(disk.read_small(&spot("link")).unwrap(), None);
    assert_eq!(disk.read_link(&spot("link")).unwrap(), "../any where");
    assert!(disk.read_link(&spot("small")).is_err());
}

#[test]
fn many_directories_are_listed_in_the_order_asked() {
    let (place, mut disk) = folder();
    let dirs: Vec<String> = (0..200).map(|i| format!("d{i}")).collect();
    for dir in &dirs {
        fs::create_dir(place.path().join(dir)).unwrap();
        fs::write(place.path().join(dir).join(format!("in {dir}")), "").unwrap();
    }
    let mut paths: Vec<_> = dirs.iter().map(|dir| path(dir)).collect();
    paths.push(path("absent"));
    let listings = disk.list_many(&paths);
    assert_eq!(listings.len(), paths.len());
    for (dir, listing) in dirs.iter().zip(&listings) {
        assert_eq!(listing.as_ref().unwrap().members[0].name, name(&format!("in {dir}")));
    }
    assert!(listings.last().unwrap().is_err());
}

#[test]
fn paths_longer_than_the_system_takes_at_once_are_reached() {
    let (_place, mut disk) = folder();
    let long = "x".repeat(200);
    let mut at = String::new();
    for _ in 0..40 {
        at = if at.is_empty() { long.clone() } else { format!("{at}/{long}") };
        all_done(&disk.apply(&[make_dir(&at)]));
    }
    let file = format!("{at}/file");
    assert!(file.len() > 8000);
    all_done(&disk.apply(&[make(&file, "deep")]));
    assert_eq!(disk.read_small(&spot(&file)).unwrap().unwrap().0, "deep");
}

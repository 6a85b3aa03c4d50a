//! What files may be called.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::PathBuf};

use crate::support::{Pair, text, until};

#[test]
fn names_of_every_kind_arrive_byte_by_byte() {
    let pair = Pair::new();
    let long = "n".repeat(255);
    let names = [
        "with spaces",
        " leading and trailing ",
        "single ' and double \" quotes",
        "new\nline and\ttab",
        "-rf",
        "--help",
        "back\\slash",
        "star*question?[brackets]",
        "$HOME `id` ; rm",
        "ends with a dot.",
        "...",
        "CON",
        "emoji 🚀👩‍👩‍👧",
        "ひらがな",
        "\u{202e}right to left",
        // é in both Unicode forms: two names.
        "caf\u{e9}",
        "cafe\u{301}",
        // Two names that differ by case.
        "Readme",
        "README",
        long.as_str(),
    ];
    for name in names {
        fs::write(pair.at(name), format!("I am {name}")).unwrap();
    }
    pair.settle();
    for name in names {
        assert_eq!(text(pair.on(name)), format!("I am {name}"), "{name:?}");
    }
    for name in names {
        fs::remove_file(pair.at(name)).unwrap();
    }
    pair.settle();
}

#[test]
fn a_name_that_is_not_utf_8_is_reported_and_the_rest_goes_on() {
    let pair = Pair::new();
    let odd = OsStr::from_bytes(b"odd \xff\xfe name");
    fs::write(pair.at(odd), "odd").unwrap();
    fs::write(pair.at("even"), "even").unwrap();
    until("the rest to arrive", || text(pair.on("even")) == "even");
    until("the odd name to be reported", || pair.left.status().unwrap().to_string().contains("UTF-8"));
    assert!(!pair.on(odd).exists());
    assert_eq!(text(pair.at(odd)), "odd", "it is left alone");
}

#[test]
fn empty_directories_and_deep_paths_arrive_and_go_again() {
    let pair = Pair::new();
    fs::create_dir_all(pair.at("empty/still empty")).unwrap();
    let deep: PathBuf = (0..100).map(|level| format!("level{level:03}")).collect();
    fs::create_dir_all(pair.at(&deep)).unwrap();
    fs::write(pair.at(&deep).join("bottom"), "here").unwrap();
    pair.settle();
    assert_eq!(text(pair.on(&deep).join("bottom")), "here");
    fs::remove_dir_all(pair.at("level000")).unwrap();
    fs::remove_dir(pair.at("empty/still empty")).unwrap();
    pair.settle();
    assert!(pair.on("empty").is_dir() && !pair.on("level000").exists());
}

#[test]
fn two_names_that_differ_by_case_change_and_move_one_by_one() {
    let pair = Pair::with(|folder| {
        fs::write(folder.join("Notes"), "upper").unwrap();
        fs::write(folder.join("notes"), "lower").unwrap();
    });
    fs::write(pair.at("notes"), "lower, edited").unwrap();
    fs::rename(pair.at("Notes"), pair.at("NOTES")).unwrap();
    pair.settle();
    assert_eq!((text(pair.on("notes")), text(pair.on("NOTES"))), ("lower, edited".to_owned(), "upper".to_owned()));
}

//! A link to a folder: its pages, and all of it in one archive.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::{ask, get};
use crate::support::{Pair, has, tool};

/// Reads an archive as another program does, and prints name, size, mode and bytes of each entry.
const READ: &str = "
import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
for entry in archive.infolist():
    print(ascii(entry.filename), entry.file_size, oct(entry.external_attr >> 16 & 0o777), ascii(archive.read(entry)[:40]))
";

fn strange() -> Vec<String> {
    vec![
        "quotes \" ' `.txt".to_owned(),
        "two\nlines.txt".to_owned(),
        "right\u{202e}txt.exe".to_owned(),
        "<b>bold<b>&amp;.txt".to_owned(),
        "é ü 🚀.txt".to_owned(),
        "per%2fcent%00.txt".to_owned(),
        "back\\slash.txt".to_owned(),
        "x".repeat(255),
    ]
}

#[test]
fn a_folder_is_looked_through_and_downloaded_as_one_archive() {
    for program in ["curl", "unzip", "python3"] {
        if !has(
            if program == "unzip" { "zipinfo" } else { program },
            "a_folder_is_looked_through_and_downloaded_as_one_archive",
        ) {
            return;
        }
    }
    let pair = Pair::with(|folder| {
        fs::create_dir_all(folder.join("trip/day one/empty")).unwrap();
        fs::write(folder.join("trip/notes.txt"), "notes").unwrap();
        fs::write(folder.join("trip/day one/run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(folder.join("trip/day one/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/etc/passwd", folder.join("trip/outside")).unwrap();
        fs::write(folder.join("beside.txt"), "not shared").unwrap();
    });
    let link = pair.share("trip", &[]);
    let page = get(&link).text();
    for words in ["notes.txt", "day one", "/begin/zip", "?sort=size"] {
        assert!(page.contains(words) || (words == "/begin/zip" && page.contains("/zip\"")), "{words}: {page}");
    }
    assert!(!page.contains("beside.txt"));
    let inner = get(&format!("{link}/f/day%20one")).text();
    assert!(
        inner.contains("run.sh") && inner.contains(&format!("href=\"{}\"", &link[link.find("/s/").unwrap()..])),
        "{inner}"
    );
    assert_eq!(get(&format!("{link}/get/day%20one/run.sh")).text(), "#!/bin/sh\n");
    for path in [
        "f/../beside.txt",
        "get/%2e%2e/beside.txt",
        "get/..%2fbeside.txt",
        "get//etc/passwd",
        "get/%2fetc%2fpasswd",
        "get/outside",
        "f/outside",
        "raw/outside",
        "get/day%20one/..",
        "get/notes.txt%00",
        "get/%ff%fe",
    ] {
        let answer = ask(&format!("{link}/{path}"), &["--path-as-is"]);
        assert!(answer.status == 404 || answer.status == 410, "{path}: {answer:?}");
        assert!(!answer.text().contains("not shared") && !answer.text().contains("root:"), "{path}");
    }

    let archive = pair.stack.path().join("trip.zip");
    let answer = get(&format!("{link}/zip"));
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/zip"));
    assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "its size is told before");
    fs::write(&archive, &answer.body).unwrap();
    tool(pair.stack.path(), "unzip", &["-t", "-qq", "trip.zip"]);
    let read = tool(pair.stack.path(), "python3", &["-c", READ, "trip.zip"]);
    for line in ["notes.txt' 5 0o644 b'notes'", "day one/run.sh' 10 0o755", "day one/empty/' 0"] {
        assert!(read.contains(line), "{line}: {read}");
    }
    assert!(!read.contains("root:") && !read.contains("outside"), "what is no file is left out: {read}");
    assert!(page.contains("outside") && page.contains("left out of downloads"), "and the page says so: {page}");
}

#[test]
fn an_archive_has_everything_whatever_the_neighbours_of_folders_are_called() {
    for program in ["curl", "python3"] {
        if !has(program, "an_archive_has_everything_whatever_the_neighbours_of_folders_are_called") {
            return;
        }
    }
    let files =
        ["photos/a.txt", "photos/deep/b.txt", "photos 2024/c.txt", "photos-old/d.txt", "photos.zip", "photosx", "!"];
    let pair = Pair::with(|folder| {
        for file in files {
            let path = folder.join("all").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
    });
    for arguments in [&[][..], &["--live"]] {
        let link = pair.share("all", arguments);
        fs::write(pair.stack.path().join("all.zip"), get(&format!("{link}/zip")).body).unwrap();
        let read = tool(pair.stack.path(), "python3", &["-c", READ, "all.zip"]);
        for file in files {
            assert!(read.contains(&format!("b'{file}'")), "{file} is missing ({arguments:?}): {read}");
        }
        assert_eq!(read.lines().count(), files.len() + 4, "and nothing else but the folders: {read}");
    }
}

#[test]
fn strange_names_survive_pages_downloads_and_archives() {
    for program in ["curl", "python3"] {
        if !has(program, "strange_names_survive_pages_downloads_and_archives") {
            return;
        }
    }
    let pair = Pair::with(|folder| {
        fs::create_dir(folder.join("names")).unwrap();
        for (number, name) in strange().iter().enumerate() {
            fs::write(folder.join("names").join(name), format!("file {number}")).unwrap();
        }
        for name in ["CON", "aux.txt", "Same.txt", "same.TXT", "dot.", "trailing ", "a:b"] {
            fs::write(folder.join("names").join(name), name).unwrap();
        }
    });
    let link = pair.share("names", &[]);
    let page = get(&link);
    assert!(!page.text().contains("<b>bold") && page.text().contains("&lt;b&gt;bold"), "{}", page.text());
    let links: Vec<String> = page
        .text()
        .split("href=\"")
        .filter_map(|rest| rest.split('"').next())
        .filter(|to| to.contains("/f/"))
        .map(|to| to.replace("/f/", "/get/"))
        .collect();
    assert_eq!(links.len(), strange().len() + 7, "{links:?}");
    let mut contents: Vec<String> = links
        .iter()
        .map(|to| {
            let answer = get(&super::beside(&link, to));
            assert_eq!(answer.status, 200, "{to}: {answer:?}");
            let disposition = answer.header("content-disposition").to_owned();
            assert!(disposition.starts_with("attachment; filename=") && disposition.is_ascii(), "{disposition}");
            answer.text()
        })
        .collect();
    contents.sort();
    let mut wanted: Vec<String> = (0..strange().len()).map(|number| format!("file {number}")).collect();
    wanted.extend(["CON", "aux.txt", "Same.txt", "same.TXT", "dot.", "trailing ", "a:b"].map(str::to_owned));
    wanted.sort();
    assert_eq!(contents, wanted);

    fs::write(pair.stack.path().join("names.zip"), get(&format!("{link}/zip")).body).unwrap();
    let read = tool(pair.stack.path(), "python3", &["-c", READ, "names.zip"]);
    let names: Vec<String> =
        read.lines().filter_map(|line| line.split(" 0o").next()).map(|line| line.to_lowercase()).collect();
    for content in &wanted {
        assert!(read.contains(&format!("b'{content}'")), "{content}: {read}");
    }
    let mut plain: Vec<&str> = names.iter().filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name).collect();
    let count = plain.len();
    plain.sort_unstable();
    plain.dedup();
    assert_eq!(plain.len(), count, "no two names are one on Windows: {read}");
    for name in &plain {
        assert!(!name.contains(':') && !name.contains("\\\\") && !name.contains("\\n"), "{name}");
        assert!(!name.ends_with(".'") && !name.ends_with(" '") && !name.ends_with("/con'"), "{name}");
    }
}

//! The changes that the demonstration makes, in order; some build on those before.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Instant,
};

/// One change.
pub(super) struct Change {
    /// What it is, for people.
    pub(super) name: &'static str,
    /// Made on the second device instead of the first.
    pub(super) backwards: bool,
    /// Makes it in the folder.
    pub(super) make: fn(&Path) -> io::Result<Made>,
}

/// A change that was made.
pub(super) struct Made {
    /// When it was complete.
    pub(super) at: Instant,
    /// What to compare, relative to the folder.
    pub(super) paths: Vec<PathBuf>,
    /// How much was written.
    pub(super) bytes: u64,
}

const LARGE: u64 = 256 << 20;
const MANY: u64 = 1_000;
const SMALL: u64 = 4 << 10;

/// All changes.
pub(super) fn all() -> Vec<Change> {
    let here = |name, make| Change { name, backwards: false, make };
    let there = |name, make| Change { name, backwards: true, make };
    vec![
        here("a new file", |folder| {
            random_file(&folder.join("letter.txt"), SMALL)?;
            made(["letter.txt"], SMALL)
        }),
        here("it is changed", |folder| {
            random_file(&folder.join("letter.txt"), SMALL)?;
            made(["letter.txt"], SMALL)
        }),
        here("saved as editors do: written beside it, then renamed over it", |folder| {
            random_file(&folder.join(".letter.txt.swp"), SMALL)?;
            fs::rename(folder.join(".letter.txt.swp"), folder.join("letter.txt"))?;
            made([".letter.txt.swp", "letter.txt"], SMALL)
        }),
        here("a line is appended", |folder| {
            File::options().append(true).open(folder.join("letter.txt"))?.write_all(b"Yours, quics\n")?;
            made(["letter.txt"], 13)
        }),
        there("the other device answers: changed there, seen here", |folder| {
            random_file(&folder.join("letter.txt"), SMALL)?;
            made(["letter.txt"], SMALL)
        }),
        here("made executable", |folder| {
            fs::set_permissions(folder.join("letter.txt"), fs::Permissions::from_mode(0o755))?;
            made(["letter.txt"], 0)
        }),
        here("a name with spaces, quotes and emoji", |folder| {
            random_file(&folder.join("my \"first\" 🚀 plan.md"), SMALL)?;
            made(["my \"first\" 🚀 plan.md"], SMALL)
        }),
        here("a symbolic link", |folder| {
            symlink("letter.txt", folder.join("latest"))?;
            made(["latest"], 0)
        }),
        here("a file twelve directories deep", |folder| {
            let deep: PathBuf = (1..=12).map(|level| format!("level {level}")).collect();
            fs::create_dir_all(folder.join(&deep))?;
            random_file(&folder.join(&deep).join("treasure"), SMALL)?;
            made([deep.join("treasure")], SMALL)
        }),
        here("an empty directory", |folder| {
            fs::create_dir(folder.join("empty"))?;
            made(["empty"], 0)
        }),
        here("two files change places", |folder| {
            fs::rename(folder.join("letter.txt"), folder.join("aside"))?;
            fs::rename(folder.join("my \"first\" 🚀 plan.md"), folder.join("letter.txt"))?;
            fs::rename(folder.join("aside"), folder.join("my \"first\" 🚀 plan.md"))?;
            made(["aside", "letter.txt", "my \"first\" 🚀 plan.md"], 0)
        }),
        here("1 000 new files of 4 KiB", |folder| {
            fs::create_dir(folder.join("photos"))?;
            for number in 0..MANY {
                random_file(&folder.join("photos").join(photo(number)), SMALL)?;
            }
            made(photos("photos"), MANY * SMALL)
        }),
        here("their directory is renamed", |folder| {
            fs::rename(folder.join("photos"), folder.join("pictures"))?;
            made(photos("photos").chain(photos("pictures")), 0)
        }),
        here("a new file of 256 MiB", |folder| {
            random_file(&folder.join("film.bin"), LARGE)?;
            made(["film.bin"], LARGE)
        }),
        here("one byte is inserted at its head", |folder| {
            let mut next = File::create(folder.join(".film.next"))?;
            next.write_all(b"!")?;
            io::copy(&mut File::open(folder.join("film.bin"))?, &mut next)?;
            drop(next);
            fs::rename(folder.join(".film.next"), folder.join("film.bin"))?;
            made([".film.next", "film.bin"], 1)
        }),
        here("it is moved into another directory", |folder| {
            fs::rename(folder.join("film.bin"), folder.join("pictures/film.bin"))?;
            made(["film.bin", "pictures/film.bin"], 0)
        }),
        here("a file becomes a directory", |folder| {
            fs::remove_file(folder.join("latest"))?;
            fs::create_dir(folder.join("latest"))?;
            random_file(&folder.join("latest/inside"), SMALL)?;
            made(["latest", "latest/inside"], SMALL)
        }),
        here("a file is deleted", |folder| {
            fs::remove_file(folder.join("letter.txt"))?;
            made(["letter.txt"], 0)
        }),
        here("half of the 1 000 files are deleted", |folder| {
            for number in 0..MANY / 2 {
                fs::remove_file(folder.join("pictures").join(photo(number)))?;
            }
            made(photos("pictures"), 0)
        }),
    ]
}

fn made<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>, bytes: u64) -> io::Result<Made> {
    let at = Instant::now();
    Ok(Made { at, paths: paths.into_iter().map(Into::into).collect(), bytes })
}

fn photo(number: u64) -> String {
    format!("{number:04}.jpg")
}

fn photos(directory: &'static str) -> impl Iterator<Item = PathBuf> {
    (0..MANY).map(move |number| Path::new(directory).join(photo(number)))
}

/// Writes a file that no compression and no deduplication makes smaller.
fn random_file(path: &Path, bytes: u64) -> io::Result<()> {
    let mut source = io::Read::take(File::open("/dev/urandom")?, bytes);
    io::copy(&mut source, &mut File::create(path)?)?;
    Ok(())
}

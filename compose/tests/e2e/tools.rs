//! Programs that people use in a folder that is synced.

use std::{
    fs::{self, File},
    io::Read as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::support::{PATIENCE, Pair, has, shows, text, tool, until};

#[test]
fn a_git_repository_that_is_committed_to_passes_fsck_on_the_other_side() {
    if !has("git", "a_git_repository_that_is_committed_to_passes_fsck_on_the_other_side") {
        return;
    }
    let pair = Pair::new();
    fs::create_dir(pair.at("repo")).unwrap();
    let repo = pair.at("repo");
    let git = |arguments: &[&str]| {
        let mut all = vec!["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
        all.extend_from_slice(arguments);
        tool(&repo, "git", &all)
    };
    git(&["init", "-q"]);
    for round in 0..20 {
        fs::write(repo.join(format!("file{}", round % 7)), format!("round {round}")).unwrap();
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", &format!("round {round}")]);
    }
    git(&["gc", "-q"]);
    git(&["checkout", "-q", "-b", "side", "HEAD~3"]);
    git(&["checkout", "-q", "-"]);
    pair.settle();
    let there = pair.on("repo");
    tool(&there, "git", &["fsck", "--full", "--strict"]);
    assert_eq!(tool(&there, "git", &["rev-list", "--count", "HEAD"]).trim(), "20");
    assert_eq!(tool(&there, "git", &["status", "--porcelain"]), "");
}

#[test]
fn an_sqlite_database_that_is_written_while_it_syncs_is_whole_once_quiet() {
    if !has("sqlite3", "an_sqlite_database_that_is_written_while_it_syncs_is_whole_once_quiet") {
        return;
    }
    let pair = Pair::new();
    let sql = |statement: &str| tool(&pair.here, "sqlite3", &["app.db", statement]);
    sql("create table t (id integer primary key, value text)");
    for round in 0..30 {
        sql(&format!(
            "with recursive n(i) as (select 1 union all select i+1 from n where i < 200) \
             insert into t(value) select 'round {round} ' || i from n"
        ));
        if round % 10 == 5 {
            sql("delete from t where id % 3 = 0; vacuum");
        }
    }
    let rows = sql("select count(*) from t");
    shows(&pair.here, &pair.there, PATIENCE);
    assert_eq!(tool(&pair.there, "sqlite3", &["app.db", "pragma integrity_check"]).trim(), "ok");
    assert_eq!(tool(&pair.there, "sqlite3", &["app.db", "select count(*) from t"]), rows);
}

#[test]
fn a_reader_sees_the_old_file_or_the_new_one_never_a_torn_or_absent_one() {
    const SIZE: usize = 300_000;
    const ROUNDS: u8 = 20;
    let pair = Pair::with(|folder| fs::write(folder.join("page"), vec![0; SIZE]).unwrap());
    let path = pair.on("page");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u64;
            let mut bytes = Vec::with_capacity(SIZE);
            while !done.load(Ordering::Relaxed) {
                bytes.clear();
                let file = File::open(&path);
                let read = file.and_then(|mut file| file.read_to_end(&mut bytes));
                let whole = bytes.len() == SIZE && bytes.iter().all(|byte| *byte == bytes[0]);
                assert!(read.is_ok() && whole, "read {reads}: {read:?}, {} bytes", bytes.len());
                reads += 1;
            }
            reads
        });
        for round in 1..=ROUNDS {
            fs::write(pair.at(".page.new"), vec![round; SIZE]).unwrap();
            fs::rename(pair.at(".page.new"), pair.at("page")).unwrap();
            until("the new page", || {
                reader.is_finished() || fs::read(&path).is_ok_and(|bytes| bytes.first() == Some(&round))
            });
        }
        done.store(true, Ordering::Relaxed);
        let reads = reader.join().expect("no read was torn");
        assert!(reads > u64::from(ROUNDS), "the reader read while the file was replaced");
    });
    pair.settle();
}

#[test]
fn what_matches_an_ignore_file_stays_where_it_is() {
    let pair = Pair::new();
    fs::write(pair.at(".quicsignore"), "*.o\nbuild/\n!keep.o\n").unwrap();
    pair.settle();
    fs::create_dir(pair.at("build")).unwrap();
    fs::write(pair.at("build/out"), "ignored").unwrap();
    fs::write(pair.at("a.o"), "ignored").unwrap();
    fs::write(pair.at("keep.o"), "kept").unwrap();
    fs::write(pair.at("z.c"), "source").unwrap();
    until("what is not ignored", || text(pair.on("z.c")) == "source" && text(pair.on("keep.o")) == "kept");
    pair.in_sync();
    assert!(!pair.on("a.o").exists() && !pair.on("build").exists());
    assert_eq!(text(pair.at("build/out")), "ignored");
}

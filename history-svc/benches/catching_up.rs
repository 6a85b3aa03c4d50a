//! How fast history-svc catches up: a relay that tells as fast as it is read, over QUIC, and a journal on disk.
//!
//! `cargo bench -p history-svc`; the directory is `QUICS_BENCH_DIR`, else the system's for temporary files.

#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark fails")]

#[path = "../tests/service/relay.rs"]
mod relay;

use std::time::Instant;

use quics_proto::history::v1 as history;
use relay::{READER, ROOT, Relay, Running};

const EVENTS: u64 = 400_000;
const FILES: u64 = 100_000;
/// Versions of a single file.
const VERSIONS: u64 = 10_000;
/// About half a megabyte a message.
const AT_ONCE: u64 = 1500;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let directory = match std::env::var_os("QUICS_BENCH_DIR") {
        Some(directory) => tempfile::tempdir_in(directory).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let relay = Relay::new(EVENTS, FILES, AT_ONCE, u64::MAX);
    let begun = Instant::now();
    let running = Running::start(relay.clone(), directory.path());
    relay.acknowledged(EVENTS).await;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{EVENTS} events of {FILES} files in {seconds:.2} s: {:.0} versions/s", EVENTS as f64 / seconds);

    let mut client = running.client(READER);
    let root_id = bytes::Bytes::copy_from_slice(ROOT.as_bytes());
    let moment = history::Moment { moment: Some(history::moment::Moment::Seq(EVENTS - 100_000)) };
    let to = history::RestoreTo { subject: None, moment: Some(moment) };
    let plan = Some(history::RestorePlan { what: Some(history::restore_plan::What::To(to)), ..Default::default() });
    for round in 1..=3 {
        let begun = Instant::now();
        let request = history::PreviewRestoreRequest { root_id: root_id.clone(), plan: plan.clone() };
        let mut told = client.preview_restore(request).await.unwrap().into_inner();
        let mut changes = 0;
        while let Some(message) = told.message().await.unwrap() {
            if let Some(history::preview_restore_response::Message::Changes(some)) = message.message {
                changes += some.changes.len();
            }
        }
        println!("preview {round} of {changes} changes from 100 000 versions: {:.2} s", begun.elapsed().as_secs_f64());
    }
    let begun = Instant::now();
    let subject = history::subject::Subject::Path(bytes::Bytes::from_static(b"document 7.txt"));
    let subject = Some(history::Subject { subject: Some(subject) });
    let request = history::ListVersionsRequest { root_id, subject, ..Default::default() };
    let page = client.list_versions(request).await.unwrap().into_inner();
    println!("{} versions of a file: {:.1} ms", page.versions.len(), begun.elapsed().as_secs_f64() * 1e3);
    running.stop().await;
    one_file(&directory.path().join("one")).await;
}

/// The first page of the log of a file with very many versions.
async fn one_file(directory: &std::path::Path) {
    std::fs::create_dir(directory).unwrap();
    let relay = Relay::new(VERSIONS, 1, AT_ONCE, u64::MAX);
    let running = Running::start(relay.clone(), directory);
    relay.acknowledged(VERSIONS).await;
    let mut client = running.client(READER);
    let mut times = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        let subject = history::subject::Subject::Path(bytes::Bytes::from_static(b"document 0.txt"));
        let subject = Some(history::Subject { subject: Some(subject) });
        let root_id = bytes::Bytes::copy_from_slice(ROOT.as_bytes());
        let request = history::ListVersionsRequest { root_id, subject, ..Default::default() };
        let page = client.list_versions(request).await.unwrap().into_inner();
        assert_eq!(page.versions.len(), 100);
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "the newest 100 of {VERSIONS} versions of a file: {:.1} ms (median), {:.1} ms (most)",
        times[10], times[19]
    );
    running.stop().await;
}

//! Files on their way to the server.

use std::{fs, io::Write, sync::atomic::Ordering};

use quics_chunks::inline_content;
use quics_client::engine::IngestFailure;
use tonic::Status;

use crate::server::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_has_the_content_id_that_it_has_inline() {
    let server = Server::default();
    let mut device = Device::new(&server);
    for length in [0, 1, 4096, 16 * 1024] {
        let bytes = noise(1, length);
        let ingested = device.ingest("file", &bytes).await;
        assert_eq!(ingested.content, inline_content(&bytes).unwrap().0);
        assert_eq!(ingested.size, length as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_has_is_not_sent_again() {
    let server = Server::default();
    let mut device = Device::new(&server);
    let bytes = noise(2, 20_000_000);
    let first = device.ingest("file", &bytes).await;
    let sent = device.counts().sent;
    assert!((20_000_000..20_100_000).contains(&sent), "{sent}");
    let second = device.ingest("copy", &bytes).await;
    assert_eq!(first.content, second.content);
    assert_eq!(device.counts().sent, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_inserted_at_the_head_sends_little() {
    let server = Server::default();
    let mut device = Device::new(&server);
    let mut bytes = noise(3, 64_000_000);
    device.ingest("file", &bytes).await;
    let before = device.counts().sent;
    bytes.insert(0, 1);
    device.ingest("file", &bytes).await;
    let sent = device.counts().sent - before;
    assert!(sent < 700_000, "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_as_expected_is_not_sent() {
    let server = Server::default();
    let mut device = Device::new(&server);
    let stat = device.write("file", b"old");
    device.write("file", b"newer");
    assert_eq!(device.transfer.ingest(&spot("file"), &stat).await, Err(IngestFailure::Changed));
    assert_eq!(device.transfer.ingest(&spot("absent"), &stat).await, Err(IngestFailure::Changed));
    fs::create_dir(device.place.path().join("dir")).unwrap();
    assert_eq!(device.transfer.ingest(&spot("dir"), &stat).await, Err(IngestFailure::Changed));
    assert!(server.0.chunks.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_it_is_read_is_noticed() {
    let bytes = noise(4, 12_000_000);
    let change: [fn(&std::path::Path); 4] = [
        |path| fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap(),
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().write_all(b"other").unwrap(),
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for change in change {
        let server = Server::default();
        let mut device = Device::new(&server);
        let stat = device.write("file", &bytes);
        let path = device.place.path().join("file");
        let mut once = Some(change);
        let changed = move || {
            if let Some(change) = once.take() {
                change(&path);
            }
        };
        server.0.faults.lock().on_question = Some(Box::new(changed));
        assert_eq!(device.transfer.ingest(&spot("file"), &stat).await, Err(IngestFailure::Changed));
        quiet(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_goes_on_where_it_was() {
    let server = Server::default();
    let mut device = Device::new(&server);
    let bytes = noise(5, 30_000_000);
    let stat = device.write("file", &bytes);
    server.0.faults.lock().upload_chunks = Some(100);
    assert_eq!(device.transfer.ingest(&spot("file"), &stat).await, Err(IngestFailure::Offline));
    quiet(&server).await;
    let there: usize = server.0.chunks.lock().values().map(|chunk| chunk.data.len()).sum();
    assert!(there > 1_000_000, "{there}");
    let before = device.counts().sent;
    server.0.faults.lock().upload_chunks = None;
    device.transfer.ingest(&spot("file"), &stat).await.unwrap();
    let sent = (device.counts().sent - before) as usize;
    assert!(sent + there < 30_100_000, "{sent} after {there}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_comes_back_with_its_reason() {
    let server = Server::default();
    let mut device = Device::new(&server);
    server.0.faults.lock().upload_refused = Some(Status::resource_exhausted("the quota is used up"));
    let stat = device.write("file", &noise(6, 5_000_000));
    match device.transfer.ingest(&spot("file"), &stat).await {
        Err(IngestFailure::Refused(reason)) => assert!(reason.contains("the quota is used up"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_is_dropped_never_looks_complete_and_leaves_nothing_running() {
    let server = Server::default();
    let mut device = Device::new(&server);
    let stat = device.write("file", &noise(7, 40_000_000));
    let transfer = device.transfer.clone();
    let running = tokio::spawn(async move { transfer.ingest(&spot("file"), &stat).await });
    while server.0.chunks.lock().len() < 50 {
        tokio::task::yield_now().await;
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    quiet(&server).await;
    assert_eq!(server.0.finished.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_travels_compressed_and_a_sparse_file_as_one_chunk() {
    let server = Server::default();
    let mut device = Device::new(&server);
    let text = b"the same line over and over, but numbered 0123456789\n".repeat(40_000);
    device.ingest("text", &text).await;
    assert!(device.counts().sent < text.len() as u64 / 4);
    let before = device.counts().sent;
    let sparse = fs::File::create(device.place.path().join("sparse")).unwrap();
    sparse.set_len(200_000_000).unwrap();
    let stat = quics_client::folder::Folder::stat(&mut device.disk, &spot("sparse")).unwrap().unwrap();
    device.transfer.ingest(&spot("sparse"), &stat).await.unwrap();
    let sent = device.counts().sent - before;
    assert!(sent < 200_000, "{sent}");
}

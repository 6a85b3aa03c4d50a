//! Contents on their way from the server.

use std::{fs, os::unix::fs::MetadataExt, sync::atomic::Ordering};

use futures_util::StreamExt as _;
use quics_client::{
    engine::FetchFailure,
    folder::{Folder, Op, Outcome, Source},
    transfer::{Failure, Server as Remote, stream},
};
use quics_proto::sync::v1::{sync_service_client::SyncServiceClient, sync_service_server::SyncServiceServer};
use quics_types::{Digest, LeaseId, Mtime};

use crate::server::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_went_up_comes_down_the_same() {
    let server = Server::default();
    let (mut a, b) = (Device::new(&server), Device::new(&server));
    let text = b"compressible text ".repeat(300_000);
    for bytes in [vec![], vec![7], noise(1, 16 * 1024), noise(2, 5_000_001), noise(3, 40_000_000), text] {
        let sent = a.ingest("file", &bytes).await;
        let name = b.transfer.fetch(sent.content, sent.size, None).await.unwrap();
        assert!(b.incoming(&name) == bytes, "{} bytes are not the same", bytes.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetched_file_can_be_applied() {
    let server = Server::default();
    let (mut a, mut b) = (Device::new(&server), Device::new(&server));
    let bytes = noise(4, 1_000_000);
    let sent = a.ingest("file", &bytes).await;
    let name = b.transfer.fetch(sent.content, sent.size, None).await.unwrap();
    let op = Op::MakeFile { at: spot("file"), source: Source::Incoming(name), mode: 0o640, mtime: Mtime::default() };
    assert!(matches!(b.disk.apply(&[op])[0], Outcome::Done(stat) if stat.mode == 0o640));
    assert!(fs::read(b.place.path().join("file")).unwrap() == bytes);
    assert_eq!(fs::read_dir(b.place.path().join(".quics/incoming")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_broke_off_does_not_fetch_again_what_is_there() {
    let server = Server::default();
    let (mut a, b) = (Device::new(&server), Device::new(&server));
    let bytes = noise(5, 40_000_000);
    let sent = a.ingest("file", &bytes).await;
    server.0.faults.lock().fetch_chunks = Some(300);
    assert_eq!(b.transfer.fetch(sent.content, sent.size, None).await, Err(FetchFailure::Offline));
    let received = b.counts().received;
    assert!(received > 10_000_000, "{received}");
    server.0.faults.lock().fetch_chunks = None;
    let b = b.restarted(&server);
    let name = b.transfer.fetch(sent.content, sent.size, None).await.unwrap();
    assert!(b.incoming(&name) == bytes);
    let again = b.counts().received;
    assert!(received + again < 40_300_000, "{received} and then {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_similar_file_saves_nearly_everything_even_when_it_was_edited() {
    let server = Server::default();
    let (mut a, mut b) = (Device::new(&server), Device::new(&server));
    let old = noise(6, 32_000_000);
    let first = a.ingest("file", &old).await;
    let mut new = old.clone();
    new.insert(0, 1);
    let second = a.ingest("file", &new).await;
    b.write("file", &old);
    let like = Some((spot("file"), first.content));
    let name = b.transfer.fetch(second.content, second.size, like.clone()).await.unwrap();
    assert!(b.incoming(&name) == new);
    assert!(b.counts().received < 500_000, "{:?}", b.counts());
    // What the file is said to hold is not believed.
    let mut edited = old.clone();
    edited[10_000_000..11_000_000].fill(0);
    edited.truncate(20_000_000);
    let mut c = Device::new(&server);
    c.write("file", &edited);
    let name = c.transfer.fetch(second.content, second.size, like).await.unwrap();
    assert!(c.incoming(&name) == new);
    let received = c.counts().received;
    assert!((12_000_000..15_000_000).contains(&received), "{received}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_or_absent_chunks_fail_and_leave_no_complete_file() {
    let server = Server::default();
    let mut a = Device::new(&server);
    let bytes = noise(7, 1_500_000);
    let sent = a.ingest("file", &bytes).await;
    let digests: Vec<Digest> = server.0.chunks.lock().keys().copied().collect();
    for digest in digests {
        let b = Device::new(&server);
        server.0.faults.lock().damaged = Some(digest);
        assert_eq!(b.transfer.fetch(sent.content, sent.size, None).await, Err(FetchFailure::Absent));
        let names = fs::read_dir(b.place.path().join(".quics/incoming")).unwrap();
        assert!(names.map(|e| e.unwrap().file_name()).all(|name| name.to_str().unwrap().ends_with(".part")));
    }
    server.0.faults.lock().damaged = None;
    let removed = {
        let mut chunks = server.0.chunks.lock();
        let digest = *chunks.keys().find(|digest| **digest != sent.content).unwrap();
        chunks.remove(&digest)
    };
    assert!(removed.is_some());
    let c = Device::new(&server);
    assert_eq!(c.transfer.fetch(sent.content, sent.size, None).await, Err(FetchFailure::Absent));
    assert_eq!(c.transfer.fetch(Digest::of(b"unknown"), 5, None).await, Err(FetchFailure::Absent));
    assert_eq!(c.transfer.fetch(sent.content, sent.size + 1, None).await, Err(FetchFailure::Absent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_the_server_forgets_to_send_is_missed() {
    let server = Server::default();
    let mut a = Device::new(&server);
    let sent = a.ingest("file", &noise(11, 1_000_000)).await;
    let digests: Vec<Digest> = server.0.chunks.lock().keys().copied().collect();
    for digest in digests {
        server.0.faults.lock().omitted = Some(digest);
        let b = Device::new(&server);
        assert_eq!(b.transfer.fetch(sent.content, sent.size, None).await, Err(FetchFailure::Absent));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_stay_holes() {
    let server = Server::default();
    let (mut a, b) = (Device::new(&server), Device::new(&server));
    let file = fs::File::create(a.place.path().join("sparse")).unwrap();
    file.set_len(100_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"in the middle", 50_000_000).unwrap();
    let stat = a.disk.stat(&spot("sparse")).unwrap().unwrap();
    let sent = a.transfer.ingest(&spot("sparse"), &stat).await.unwrap();
    let name = b.transfer.fetch(sent.content, sent.size, None).await.unwrap();
    let path = b.place.path().join(".quics/incoming").join(name.to_string());
    let found = fs::metadata(&path).unwrap();
    assert_eq!(found.len(), 100_000_000);
    assert!(found.blocks() * 512 < 2_000_000, "{} blocks", found.blocks());
    assert!(fs::read(path).unwrap() == fs::read(a.place.path().join("sparse")).unwrap());
    assert!(b.disk.forget().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_cannot_have_room_is_not_begun() {
    let server = Server::default();
    let b = Device::new(&server);
    match b.transfer.fetch(Digest::of(b"huge"), 1 << 60, None).await {
        Err(FetchFailure::Unwritable(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(server.0.fetched.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_fetches_of_one_content_get_two_files() {
    let server = Server::default();
    let (mut a, b) = (Device::new(&server), Device::new(&server));
    let bytes = noise(8, 2_000_000);
    let sent = a.ingest("file", &bytes).await;
    let fetch = || b.transfer.fetch(sent.content, sent.size, None);
    let (one, two) = tokio::join!(fetch(), fetch());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one, two);
    assert!(b.incoming(&one) == bytes && b.incoming(&two) == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_file_outlives_a_restart_and_an_operation_that_differed() {
    let server = Server::default();
    let (mut a, b) = (Device::new(&server), Device::new(&server));
    let bytes = noise(9, 2_000_000);
    let sent = a.ingest("file", &bytes).await;
    let name = b.transfer.fetch(sent.content, sent.size, None).await.unwrap();
    let mut b = b.restarted(&server);
    let again = b.transfer.fetch(sent.content, sent.size, None).await.unwrap();
    assert_eq!((&again, b.counts().received), (&name, 0));
    b.write("file", b"in the way");
    let op = Op::MakeFile { at: spot("file"), source: Source::Incoming(again), mode: 0o644, mtime: Mtime::default() };
    assert!(matches!(b.disk.apply(&[op])[0], Outcome::Differs));
    let again = b.transfer.fetch(sent.content, sent.size, None).await.unwrap();
    assert_eq!((&again, b.counts().received), (&name, 0));
    assert!(b.incoming(&again) == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_dropped_leaves_nothing_running_and_can_go_on() {
    let server = Server::default();
    let (mut a, b) = (Device::new(&server), Device::new(&server));
    let bytes = noise(10, 40_000_000);
    let sent = a.ingest("file", &bytes).await;
    let transfer = b.transfer.clone();
    let running = tokio::spawn(async move { transfer.fetch(sent.content, sent.size, None).await });
    while server.0.fetched.load(Ordering::SeqCst) < 100 {
        tokio::task::yield_now().await;
    }
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    quiet(&server).await;
    let name = b.transfer.fetch(sent.content, sent.size, None).await.unwrap();
    assert!(b.incoming(&name) == bytes);
}

/// Reads a content as a stream: its bytes, and the failure that it ended with.
async fn streamed(server: &Server, like: Option<fs::File>, content: Digest, size: u64) -> (Vec<u8>, Option<Failure>) {
    let client = SyncServiceClient::new(SyncServiceServer::new(server.clone()));
    let remote = Remote::new(client, ROOT, LeaseId::from_bytes([1; 16]));
    let mut pieces = Box::pin(stream(remote, like, content, size));
    let (mut bytes, mut failure) = (Vec::new(), None);
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(failed) => failure = Some(failed),
        }
    }
    (bytes, failure)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_is_streamed_in_order_and_what_a_local_file_has_is_not_fetched() {
    let server = Server::default();
    let mut device = Device::new(&server);
    for bytes in [vec![], noise(20, 100), noise(21, 30_000_000)] {
        let sent = device.ingest("file", &bytes).await;
        let (came, failure) = streamed(&server, None, sent.content, sent.size).await;
        assert!(came == bytes && failure.is_none(), "{} bytes: {failure:?}", bytes.len());
    }
    let mut bytes = noise(22, 30_000_000);
    let sent = device.ingest("file", &bytes).await;
    let before = server.0.fetched.load(Ordering::SeqCst);
    // The file was changed in its middle since.
    bytes[15_000_000] ^= 1;
    device.write("file", &bytes);
    let like = fs::File::open(device.place.path().join("file")).unwrap();
    let (came, failure) = streamed(&server, Some(like), sent.content, sent.size).await;
    bytes[15_000_000] ^= 1;
    assert!(came == bytes && failure.is_none(), "{failure:?}");
    let fetched = server.0.fetched.load(Ordering::SeqCst) - before;
    assert!(fetched < 10, "{fetched} chunks and pages were fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_never_gives_a_wrong_byte_and_never_ends_early_without_a_failure() {
    let server = Server::default();
    let mut device = Device::new(&server);
    let bytes = noise(23, 5_000_000);
    let sent = device.ingest("file", &bytes).await;
    let chunk = *server.0.chunks.lock().iter().find(|(_, chunk)| chunk.length > 20_000).unwrap().0;
    for break_it in [
        |faults: &mut Faults, chunk| faults.damaged = Some(chunk),
        |faults: &mut Faults, chunk| faults.omitted = Some(chunk),
        |faults: &mut Faults, _| faults.fetch_chunks = Some(20),
    ] {
        *server.0.faults.lock() = Faults::default();
        server.0.fetched.store(0, Ordering::SeqCst);
        break_it(&mut server.0.faults.lock(), chunk);
        let (came, failure) = streamed(&server, None, sent.content, sent.size).await;
        assert!(failure.is_some() && came.len() < bytes.len() && came == bytes[..came.len()]);
    }
}

//! Uploads, downloads, damage.

use std::io::{Read, Seek, SeekFrom, Write};

use quics_chunks::inline_content;
use quics_proto::sync::v1 as sync;
use quics_types::Digest;
use sync::verdict::Outcome;
use sync::watch_response::Message as Told;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::server::{A, B, ROOT, Running};
use crate::session::{
    Watch, create, fetch, file, find_missing, large, push, soon, upload, upload_finish, upload_parts,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_upload_is_not_committed_and_is_resumed_by_asking_what_is_missing() {
    let server = Running::start().await;
    let mut a = server.client(A);
    let (packed, value) = large(1, 5_000_000);
    let digests: Vec<_> = packed.iter().map(|chunk| chunk.digest).collect();
    let half = packed.len() / 2;
    // Ended without a finish, and finished with a wrong count.
    let cut = soon(a.upload(tokio_stream::iter(upload_parts(ROOT, &packed[..half])))).await.unwrap_err();
    assert_eq!(cut.code(), Code::Cancelled);
    let mut parts = upload_parts(ROOT, &packed[..2]);
    parts.push(upload_finish(3));
    assert_eq!(soon(a.upload(tokio_stream::iter(parts))).await.unwrap_err().code(), Code::InvalidArgument);
    let mut push = push(&mut a).await;
    let message = push.message(&create(1, value.clone()), None);
    push.send(message.clone()).await;
    let Some(Outcome::Missing(missing)) = push.verdict().await.unwrap().outcome else { panic!() };
    assert_eq!(missing.digests[0], &digests.last().unwrap().as_bytes()[..], "the top page was sent last");
    let missing = find_missing(&mut a, ROOT, &digests).await.unwrap();
    assert_eq!(missing.len(), packed.len() - half, "what came before the cut is kept");
    assert_eq!(upload(&mut a, ROOT, &packed[half..]).await.unwrap(), (packed.len() - half) as u64);
    // Under the same seq: the answer "missing" was not stored.
    push.send(message).await;
    let verdict = push.verdict().await.unwrap();
    assert!(matches!(verdict.outcome, Some(Outcome::Accepted(_))), "{verdict:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_what_their_digest_says_are_refused() {
    let server = Running::start().await;
    let mut a = server.client(A);
    let (mut packed, _) = large(4, 300_000);
    packed[0].digest = Digest::of(b"something else");
    assert_eq!(upload(&mut a, ROOT, &packed).await.unwrap_err().code(), Code::InvalidArgument);
    let missing = find_missing(&mut a, ROOT, &[packed[0].digest]).await.unwrap();
    assert_eq!(missing.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_given_up_in_the_middle_of_a_message_leaves_nothing_half() {
    let server = Running::start().await;
    let mut a = server.client(A);
    let (packed, _) = large(5, 3_000_000);
    let (parts, stream) = mpsc::channel(1);
    let mut uploading = Box::pin(a.upload(ReceiverStream::new(stream)));
    let sending = async {
        for part in upload_parts(ROOT, &packed).into_iter().take(3) {
            parts.send(part).await.unwrap();
        }
    };
    tokio::select! {
        () = sending => {}
        answered = &mut uploading => panic!("{answered:?}"),
    }
    // The call is dropped: its stream is reset, whatever of it was on the way.
    drop(uploading);
    assert_eq!(upload(&mut a, ROOT, &packed).await.unwrap(), packed.len() as u64);
    let digests: Vec<_> = packed.iter().map(|chunk| chunk.digest).collect();
    let fetched = fetch(&mut a, ROOT, &digests).await;
    assert!(fetched.end.is_none() && fetched.chunks.len() == packed.len());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_puts_chunks_under_the_lease_of_another_device() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let (packed, _) = large(7, 100_000);
    assert_eq!(upload(&mut a, ROOT, &packed).await.unwrap(), packed.len() as u64);
    assert_eq!(upload(&mut b, ROOT, &packed).await.unwrap_err().code(), Code::PermissionDenied);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_content_is_fetched_by_page_and_chunk_like_a_large_one() {
    let server = Running::start().await;
    let mut a = server.client(A);
    push(&mut a).await.accept(&create(1, file(b"small")), Some(b"small")).await;
    let (content, page, chunk) = inline_content(b"small").unwrap();
    let unknown = Digest::of(b"unknown");
    let fetched = fetch(&mut a, ROOT, &[content, chunk.unwrap(), unknown, content]).await;
    let datas: Vec<_> = fetched.chunks.iter().map(|chunk| chunk.data.clone()).collect();
    assert_eq!(datas, [page, bytes::Bytes::from_static(b"small")]);
    assert_eq!(fetched.absent, [&unknown.as_bytes()[..]]);
    assert!(find_missing(&mut a, ROOT, &[content]).await.unwrap().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_chunk_is_reported_asked_back_and_healed() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let (packed, value) = large(6, 1_000_000);
    upload(&mut a, ROOT, &packed).await.unwrap();
    push(&mut a).await.accept(&create(1, value), None).await;
    let mut watch = Watch::open(&mut b).await;
    watch.subscribe(ROOT, None).await;
    watch.level().await;

    let victim = &packed[2];
    assert!(damage(&server.directory.path().join("chunks"), &victim.data[100..160]), "it is on the disk");
    let digests: Vec<_> = packed.iter().map(|chunk| chunk.digest).collect();
    let fetched = fetch(&mut a, ROOT, &digests).await;
    assert_eq!(fetched.end.unwrap().code(), Code::DataLoss);
    assert_eq!(fetched.chunks.len(), packed.len() - 1, "the others came");
    assert_eq!(fetched.absent, [&victim.digest.as_bytes()[..]]);
    let Told::Wanted(wanted) = watch.next().await.unwrap() else { panic!() };
    assert_eq!(wanted.digests, fetched.absent);
    // Who comes later is asked too.
    let mut late = Watch::open(&mut a).await;
    late.subscribe(ROOT, None).await;
    assert!(matches!(late.next().await, Ok(Told::Wanted(_))));

    upload(&mut a, ROOT, std::slice::from_ref(victim)).await.unwrap();
    let fetched = fetch(&mut a, ROOT, &digests).await;
    assert!(fetched.end.is_none() && fetched.chunks.len() == packed.len(), "{:?}", fetched.end);
    let mut after = Watch::open(&mut a).await;
    after.subscribe(ROOT, None).await;
    assert!(matches!(after.next().await, Ok(Told::Changes(_))));
    server.stop().await;
}

/// Flips a byte in the file of a directory that holds these bytes.
fn damage(directory: &std::path::Path, bytes: &[u8]) -> bool {
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let mut content = Vec::new();
        let Ok(mut file) = std::fs::OpenOptions::new().read(true).write(true).open(&path) else { continue };
        file.read_to_end(&mut content).unwrap();
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[bytes[0] ^ 1]).unwrap();
            return true;
        }
    }
    false
}

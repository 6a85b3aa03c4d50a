//! history-svc over the network, behind a relay that is cut.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod relay;

use bytes::Bytes;
use quics_proto::history::v1 as history;
use relay::{READER, ROOT, Relay, Running, STRANGER, WRITER};
use tonic::Code;

fn root_id() -> Bytes {
    Bytes::copy_from_slice(ROOT.as_bytes())
}

async fn seqs(running: &Running) -> Vec<u64> {
    let mut client = running.client(READER);
    let mut request = history::ListVersionsRequest { root_id: root_id(), page_size: 1000, ..Default::default() };
    let mut seqs = Vec::new();
    loop {
        let page = client.list_versions(request.clone()).await.unwrap().into_inner();
        seqs.extend(page.versions.iter().map(|version| version.cursor.unwrap().seq));
        if page.next_page_token.is_empty() {
            return seqs;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_applied_once_however_often_the_stream_is_cut_and_the_service_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::new(2000, 50, 100, 3);
    let running = Running::start(relay.clone(), directory.path());
    relay.acknowledged(700).await;
    running.stop().await;
    let running = Running::start(relay.clone(), directory.path());
    relay.acknowledged(2000).await;
    let expected: Vec<u64> = (1..=2000).rev().collect();
    assert_eq!(seqs(&running).await, expected);
    let opened = relay.opened.lock().unwrap().clone();
    assert!(opened.len() > 6 && opened[0].is_none(), "{opened:?}");
    // Each stream began where an acknowledged or durable batch ended.
    assert!(opened.is_sorted() && opened.iter().flatten().all(|number| number % 100 == 0), "{opened:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_read_and_only_writers_restore() {
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::new(10, 5, 100, 100);
    let running = Running::start(relay.clone(), directory.path());
    relay.acknowledged(10).await;
    let list = history::ListVersionsRequest { root_id: root_id(), ..Default::default() };
    let refused = running.client(STRANGER).list_versions(list.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let other = history::ListVersionsRequest { root_id: vec![9; 16].into(), ..list };
    assert_eq!(running.client(READER).list_versions(other).await.unwrap_err().message(), refused.message());
    let restore = history::RestoreRequest {
        root_id: root_id(),
        from: Some(quics_proto::common::v1::Cursor { epoch: 7, seq: 10 }),
        group_id: vec![1; 16].into(),
        ..Default::default()
    };
    let refused = running.client(READER).restore(restore.clone()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "a reader may not do this"));
    let refused = running.client(WRITER).restore(restore).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let short = history::GetRestoreRequest { root_id: root_id(), group_id: vec![1].into() };
    assert_eq!(running.client(READER).get_restore(short).await.unwrap_err().code(), Code::InvalidArgument);

    let mut tree = running
        .client(READER)
        .list_tree(history::ListTreeRequest { root_id: root_id(), recursive: true, ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    let mut names = Vec::new();
    let count = loop {
        match tree.message().await.unwrap().unwrap().message.unwrap() {
            history::list_tree_response::Message::Entries(entries) => {
                names.extend(entries.entries.into_iter().map(|entry| entry.path));
            }
            history::list_tree_response::Message::Finish(finish) => break finish.count,
        }
    };
    assert_eq!((count, names.len(), names.is_sorted()), (5, 5, true));
    running.stop().await;
}

//! Groups over the network.

use bytes::Bytes;
use quics_proto::common::v1 as common;
use quics_proto::sync::v1 as sync;
use sync::apply_group_request::Message;
use tonic::{Code, Status};

use crate::relay::HISTORY;
use crate::server::{A, B, READER, ROOT, Running};
use crate::session::{Push, create, file, id_bytes, soon};

fn open(group: u8, device: quics_types::DeviceId) -> Message {
    Message::Open(sync::GroupOpen {
        root_id: id_bytes(ROOT),
        group_id: Bytes::copy_from_slice(&[group; 16]),
        device_id: Bytes::copy_from_slice(device.as_bytes()),
    })
}

fn changes(rows: &[common::Row], turn: impl Fn(&mut common::Row)) -> Message {
    let change = |row: &common::Row| {
        let (base_time, base_tombstone) = (row.time, row.tombstone);
        let mut target = row.clone();
        turn(&mut target);
        target.time = 0;
        sync::GroupChange { base_time, target: Some(target), base_tombstone }
    };
    Message::Changes(sync::GroupChanges { changes: rows.iter().map(change).collect() })
}

fn finish(count: u64) -> Message {
    Message::Finish(sync::GroupFinish { count })
}

async fn apply(server: &Running, messages: Vec<Message>) -> Result<sync::GroupState, Status> {
    let requests = messages.into_iter().map(|message| sync::ApplyGroupRequest { message: Some(message) });
    let mut client = server.ca.relay(HISTORY, server.address);
    let response = soon(client.apply_group(tokio_stream::iter(requests.collect::<Vec<_>>()))).await?;
    Ok(response.into_inner().state.unwrap())
}

async fn get(server: &Running, group: u8) -> Result<sync::GroupState, Status> {
    let request = sync::GetGroupRequest { root_id: id_bytes(ROOT), group_id: Bytes::copy_from_slice(&[group; 16]) };
    let mut client = server.ca.relay(HISTORY, server.address);
    Ok(soon(client.get_group(request)).await?.into_inner().state.unwrap())
}

async fn make(push: &mut Push, count: u32) -> Vec<common::Row> {
    let mut rows = Vec::new();
    for number in 0..count {
        let content = number.to_string().into_bytes();
        rows.push(push.accept(&create(number, file(&content)), Some(&content)).await.row.unwrap());
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_applied_once_and_told_again() {
    let server = Running::start().await;
    let mut push = Push::open(&mut server.client(A), ROOT, 1).await.unwrap();
    let rows = make(&mut push, 20).await;
    let deleting = vec![
        open(1, B),
        changes(&rows[..10], |row| row.tombstone = true),
        changes(&rows[10..], |row| row.tombstone = true),
        finish(20),
    ];
    let done = apply(&server, deleting.clone()).await.unwrap();
    assert_eq!((done.finished, done.changes, done.made, done.left_out), (true, 20, 20, 0));
    assert_eq!(done.cursor.unwrap().seq, 40);
    assert_eq!(apply(&server, deleting).await.unwrap(), done, "the same group again");
    assert_eq!(get(&server, 1).await.unwrap(), done);
    // The same changes as another group find that everything has gone on.
    let late = vec![open(2, B), changes(&rows, |row| row.tombstone = true), finish(20)];
    let late = apply(&server, late).await.unwrap();
    assert_eq!((late.made, late.left_out, late.entries.len()), (0, 20, 20));
    assert!(late.entries.iter().all(|left| left.reason() == sync::Refusal::Stale));
    // And back.
    let dead: Vec<_> = rows.into_iter().map(|row| common::Row { time: 2, tombstone: true, ..row }).collect();
    let back = vec![open(3, A), changes(&dead, |row| row.tombstone = false), finish(20)];
    assert_eq!(apply(&server, back).await.unwrap().made, 20);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_its_end_is_withdrawn_and_can_be_told_anew() {
    let server = Running::start().await;
    let mut push = Push::open(&mut server.client(A), ROOT, 1).await.unwrap();
    let rows = make(&mut push, 3).await;
    let turn = |row: &mut common::Row| row.mode = 0o600;
    for (messages, code) in [
        (vec![open(1, A), changes(&rows, turn)], Code::Cancelled),
        (vec![open(1, A), changes(&rows, turn), finish(2)], Code::InvalidArgument),
        (vec![changes(&rows, turn), finish(3)], Code::InvalidArgument),
        (vec![open(1, A), open(1, A)], Code::InvalidArgument),
    ] {
        assert_eq!(apply(&server, messages).await.unwrap_err().code(), code);
        assert_eq!(get(&server, 1).await.unwrap_err().code(), Code::NotFound);
    }
    let whole = vec![open(1, A), changes(&rows, turn), finish(3)];
    assert_eq!(apply(&server, whole).await.unwrap().made, 3);
    let others = vec![open(1, B), finish(0)];
    assert_eq!(apply(&server, others).await.unwrap_err().code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_for_those_who_may_write_and_only_history_applies_it() {
    let server = Running::start().await;
    for device in [READER, crate::server::STRANGER] {
        let refused = apply(&server, vec![open(1, device), finish(0)]).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }
    let mut client = server.ca.relay(quics_kit::names::Subject::Device(A), server.address);
    let requests = vec![sync::ApplyGroupRequest { message: Some(open(1, A)) }];
    let refused = soon(client.apply_group(tokio_stream::iter(requests))).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    server.stop().await;
}

//! Proposals, changes, conflicts.

use quics_proto::common::v1 as common;
use quics_proto::sync::v1 as sync;
use quics_reconcile::{Proposal, RootDigest, Value};
use quics_types::LogicalTime;
use sync::verdict::Outcome;
use sync::watch_response::Message as Told;
use tonic::Code;

use crate::server::{A, B, OTHER, ROOT, Running};
use crate::session::{Push, Watch, create, edit, entry, file, id_bytes, push, row, snapshot, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_of_one_device_reaches_the_other_with_its_content_and_the_level_proves_it() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let mut watch = Watch::open(&mut b).await;
    watch.subscribe(ROOT, None).await;
    let (records, level) = watch.level().await;
    assert_eq!((records.len(), level.count), (0, 0));

    let mut push = push(&mut a).await;
    let accepted = push.accept(&create(1, file(b"hello")), Some(b"hello")).await;
    let (records, level) = watch.level().await;
    assert_eq!(records[0].inline_content.as_deref(), Some(&b"hello"[..]));
    let Some(sync::change_record::Change::Row(told)) = &records[0].change else { panic!() };
    assert_eq!((Some(told), &told.device_id[..]), (accepted.row.as_ref(), &A.as_bytes()[..]));
    assert!(told.accepted_at.is_some());
    assert_eq!(level.cursor, accepted.cursor);
    let mut digest = RootDigest::EMPTY;
    digest.add(&row(&records[0]));
    assert_eq!((&level.digest[..], level.count), (&digest.as_bytes()[..], 1));

    // And back: the other one edits what it was told. What it brought itself does not come back to it.
    let mut of_a = Watch::open(&mut a).await;
    of_a.subscribe(ROOT, level.cursor).await;
    of_a.level().await;
    let mut back = crate::session::push(&mut b).await;
    back.accept(&edit(1, 1, file(b"hello"), file(b"you")), Some(b"you")).await;
    for (watch, content) in [(&mut watch, None), (&mut of_a, Some(&b"you"[..]))] {
        let (records, _) = watch.level().await;
        assert_eq!((row(&records[0]).time, records[0].inline_content.as_deref()), (LogicalTime(2), content));
    }
    let (rows, finish) = snapshot(&mut a, ROOT).await;
    assert_eq!((rows.len(), finish.cursor.unwrap().seq), (1, 2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_proposals_in_flight_are_each_answered_once_and_in_order() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let mut push = push(&mut a).await;
    let (count, sender) = (3000_u32, push.requests.clone());
    let messages: Vec<_> = (0..count)
        .map(|number| {
            let content = number.to_be_bytes();
            push.message(&create(number, file(&content)), Some(&content))
        })
        .collect();
    let sending = tokio::spawn(async move {
        for message in messages {
            let message = Some(sync::push_request::Message::Proposal(message));
            sender.send(sync::PushRequest { message }).await.unwrap();
        }
    });
    let mut seen = Vec::new();
    for _ in 0..count {
        let verdict = push.verdict().await.unwrap();
        assert!(matches!(verdict.outcome, Some(Outcome::Accepted(_))), "{verdict:?}");
        seen.push(verdict.seq);
    }
    sending.await.unwrap();
    assert!(seen.iter().copied().eq(1..=u64::from(count)), "in the order of the commits");
    let mut watch = Watch::open(&mut b).await;
    watch.subscribe(ROOT, None).await;
    let (records, level) = watch.until(u64::from(count)).await;
    assert_eq!((records.len(), level.count), (count as usize, u64::from(count)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_that_is_sent_again_on_a_new_stream_gets_its_verdict_again() {
    let server = Running::start().await;
    let mut a = server.client(A);
    let mut first = push(&mut a).await;
    let message = first.message(&create(1, Value::Directory), None);
    first.send(message.clone()).await;
    let told = first.verdict().await.unwrap();
    let mut second = push(&mut a).await;
    assert_eq!(second.resumed.len(), 1, "it was not recorded");
    second.send(message).await;
    assert_eq!(second.verdict().await.unwrap(), told);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_incarnation_takes_over_the_verdicts_and_fences_the_old_one() {
    let server = Running::start().await;
    let mut a = server.client(A);
    let mut old = push(&mut a).await;
    let proposal = create(1, file(b"x"));
    old.accept(&proposal, Some(b"x")).await;
    let new = Push::open(&mut a, ROOT, 2).await.unwrap();
    let [verdict] = &new.resumed[..] else { panic!("{:?}", new.resumed) };
    assert_eq!((verdict.incarnation, verdict.seq), (1, 1));
    let echoed = verdict.proposal.clone().unwrap().change.unwrap();
    assert_eq!(Proposal::try_from(echoed), Ok(proposal));
    assert!(matches!(verdict.outcome, Some(Outcome::Accepted(_))));
    let late = old.propose(&create(2, Value::Directory), None).await.unwrap();
    assert!(matches!(late, Outcome::Fenced(_)));
    // What was not begun may not propose.
    let mut unknown = Push::open(&mut a, ROOT, 2).await.unwrap();
    unknown.incarnation = 3;
    let refused = unknown.propose(&create(3, Value::Directory), None).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_told_listed_and_got() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let (mut from_a, mut from_b) = (push(&mut a).await, push(&mut b).await);
    from_a.accept(&create(1, file(b"base")), Some(b"base")).await;
    from_a.accept(&edit(1, 1, file(b"base"), file(b"ours")), Some(b"ours")).await;
    let outcome = from_b.propose(&edit(1, 1, file(b"base"), file(b"theirs")), Some(b"theirs")).await.unwrap();
    assert!(matches!(outcome, Outcome::Conflict(ref conflict) if conflict.revision == 3), "{outcome:?}");
    let mut watch = Watch::open(&mut a).await;
    watch.subscribe(ROOT, None).await;
    let (records, _) = watch.level().await;
    let Some(sync::change_record::Change::Conflict(told)) = &records[1].change else { panic!("{records:?}") };
    assert_eq!((told.candidates.len(), &told.candidates[0].device_id[..]), (1, &B.as_bytes()[..]));
    assert!(told.opened_at.is_some() && told.candidates[0].accepted_at.is_some());
    let list = sync::ListConflictsRequest { root_id: id_bytes(ROOT), page_size: 0, page_token: String::new() };
    let listed = soon(a.list_conflicts(list)).await.unwrap().into_inner();
    assert_eq!((&listed.conflicts[..], &listed.next_page_token[..]), (std::slice::from_ref(told), ""));
    let mut get = sync::GetConflictRequest { root_id: id_bytes(ROOT), entry_id: told.entry_id.clone() };
    let got = soon(a.get_conflict(get.clone())).await.unwrap().into_inner();
    assert_eq!(got.conflict.as_ref(), Some(told));
    get.entry_id = bytes::Bytes::copy_from_slice(entry(9).as_bytes());
    assert_eq!(soon(a.get_conflict(get)).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_from_its_cursor_and_a_foreign_cursor_is_not_known() {
    let server = Running::start().await;
    let mut a = server.client(A);
    let mut push = push(&mut a).await;
    let first = push.accept(&create(1, Value::Directory), None).await;
    push.accept(&create(2, Value::Directory), None).await;
    let mut watch = Watch::open(&mut a).await;
    watch.subscribe(ROOT, first.cursor).await;
    let (records, _) = watch.level().await;
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), [2]);
    let foreign = Some(common::Cursor { epoch: 12345, seq: 1 });
    watch.subscribe(OTHER, foreign).await;
    let Told::CursorUnknown(unknown) = watch.next().await.unwrap() else { panic!() };
    assert_eq!((unknown.root_id, unknown.cursor), (id_bytes(OTHER), foreign));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_does_not_follow_the_contract_ends_with_invalid_argument() {
    let server = Running::start().await;
    let mut a = server.client(A);
    let mut wrong = push(&mut a).await;
    let refused = wrong.propose(&create(1, file(b"x")), Some(b"y")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut wrong = push(&mut a).await;
    let mut message = wrong.message(&create(1, Value::Directory), None);
    message.root_id = bytes::Bytes::from_static(b"short");
    wrong.send(message).await;
    assert_eq!(wrong.verdict().await.unwrap_err().code(), Code::InvalidArgument);
    server.stop().await;
}

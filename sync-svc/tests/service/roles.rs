//! Who may do what.

use quics_proto::sync::v1 as sync;
use quics_reconcile::Value;
use quics_types::{Digest, RootId};
use sync::verdict::Outcome;
use sync::watch_response::Message as Told;
use tonic::Code;

use crate::server::{A, B, OTHER, READER, ROOT, Running, STRANGER};
use crate::session::{Push, Watch, create, edit, entry, fetch, file, find_missing, large, push, snapshot, upload};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_everything_and_cannot_write() {
    let server = Running::start().await;
    let (mut a, mut reader) = (server.client(A), server.client(READER));
    push(&mut a).await.accept(&create(1, file(b"x")), Some(b"x")).await;
    let mut denied = push(&mut reader).await;
    let outcome = denied.propose(&edit(1, 1, file(b"x"), file(b"y")), Some(b"y")).await.unwrap();
    let Outcome::Refused(refused) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused.reason(), sync::Refusal::ReadOnly);
    let (packed, _) = large(1, 300_000);
    assert_eq!(upload(&mut reader, ROOT, &packed).await.unwrap_err().code(), Code::PermissionDenied);
    let digests: Vec<_> = packed.iter().map(|chunk| chunk.digest).collect();
    assert_eq!(find_missing(&mut reader, ROOT, &digests).await.unwrap_err().code(), Code::PermissionDenied);
    let mut watch = Watch::open(&mut reader).await;
    watch.subscribe(ROOT, None).await;
    assert_eq!(watch.level().await.0.len(), 1);
    assert_eq!(snapshot(&mut reader, ROOT).await.0.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_learns_whether_another_root_exists_or_what_it_holds() {
    let server = Running::start().await;
    let (mut a, mut b, mut stranger) = (server.client(A), server.client(B), server.client(STRANGER));
    let (packed, value) = large(2, 300_000);
    upload(&mut a, ROOT, &packed).await.unwrap();
    let mut push = push(&mut a).await;
    push.accept(&create(1, value.clone()), None).await;
    push.accept(&create(2, file(b"small")), Some(b"small")).await;
    let mut digests: Vec<_> = packed.iter().map(|chunk| chunk.digest).collect();
    digests.push(Digest::of(b"small"));
    // A member of another root: there nothing of it is there.
    assert_eq!(find_missing(&mut b, OTHER, &digests).await.unwrap().len(), digests.len());
    let fetched = fetch(&mut b, OTHER, &digests).await;
    assert_eq!((fetched.chunks.len(), fetched.absent.len()), (0, digests.len()));
    let mut other = Push::open(&mut b, OTHER, 1).await.unwrap();
    let outcome = other.propose(&create(1, value), None).await.unwrap();
    assert!(matches!(outcome, Outcome::Missing(_)), "{outcome:?}");
    // A stranger: one answer, whether the root exists or not.
    let nowhere = RootId::from_bytes([0xee; 16]);
    for root in [ROOT, nowhere] {
        let denied = fetch(&mut stranger, root, &digests).await.end.unwrap();
        assert_eq!((denied.code(), denied.message()), (Code::PermissionDenied, "not a member of this root"));
        let denied = find_missing(&mut stranger, root, &digests).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
        assert!(Push::open(&mut stranger, root, 1).await.is_err_and(|e| e.code() == Code::PermissionDenied));
        let mut watch = Watch::open(&mut stranger).await;
        watch.subscribe(root, None).await;
        assert!(matches!(watch.next().await, Ok(Told::Ended(_))));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_removed_hears_no_more_and_commits_no_more() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let mut watch = Watch::open(&mut b).await;
    watch.subscribe(ROOT, None).await;
    watch.subscribe(OTHER, None).await;
    watch.level().await;
    watch.level().await;
    let mut from_b = push(&mut b).await;
    server.roles.set(ROOT, B, None);
    let Told::Ended(ended) = watch.next().await.unwrap() else { panic!() };
    assert_eq!(&ended.root_id[..], ROOT.as_bytes());
    let denied = from_b.propose(&create(1, Value::Directory), None).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    push(&mut a).await.accept(&create(2, Value::Directory), None).await;
    let mut other = Push::open(&mut a, OTHER, 1).await.unwrap();
    other.accept(&create(3, Value::Directory), None).await;
    // The next thing that it hears is of the root where it still is.
    let (records, level) = watch.level().await;
    assert_eq!((records.len(), &level.root_id[..]), (1, &OTHER.as_bytes()[..]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_at_its_reserve_takes_no_contents_but_goes_on_otherwise() {
    let server = Running::with_reserve(u64::MAX).await;
    let mut a = server.client(A);
    let mut from_a = push(&mut a).await;
    let outcome = from_a.propose(&create(1, file(b"x")), Some(b"x")).await.unwrap();
    let Outcome::Refused(refused) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused.reason(), sync::Refusal::NoSpace);
    let (packed, _) = large(3, 300_000);
    assert_eq!(upload(&mut a, ROOT, &packed).await.unwrap_err().code(), Code::ResourceExhausted);
    let base = file(b"x");
    let delete = quics_reconcile::Proposal::Delete { id: entry(1), base_time: quics_types::LogicalTime(1), base };
    let outcome = from_a.propose(&delete, None).await.unwrap();
    let Outcome::Refused(refused) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused.reason(), sync::Refusal::Unknown, "a delete is judged");
    assert_eq!(snapshot(&mut a, ROOT).await.0.len(), 0);
    server.stop().await;
}

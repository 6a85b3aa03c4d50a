//! history-svc over the network, behind a relay that is cut.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod relay;

use bytes::Bytes;
use quics_proto::history::v1 as history;
use quics_proto::sync::v1 as sync;
use relay::{OWNER, READER, ROOT, Relay, Running, STRANGER, WRITER};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_withdrawn_or_is_under_way_is_listed_as_what_it_is() {
    use history::RestoreState::{Finished, UnderWay, Withdrawn};

    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::new(10, 5, 100, 100);
    let running = Running::start(relay.clone(), directory.path());
    relay.acknowledged(10).await;
    let restore = |id: u8| {
        let moment = Some(history::Moment { moment: Some(history::moment::Moment::Seq(5)) });
        let to = history::RestoreTo { subject: None, moment };
        let what = Some(history::restore_plan::What::To(to));
        history::RestoreRequest {
            root_id: root_id(),
            plan: Some(history::RestorePlan { what, ..Default::default() }),
            from: Some(quics_proto::common::v1::Cursor { epoch: 7, seq: 10 }),
            group_id: vec![id; 16].into(),
        }
    };
    let list = async |running: &Running| {
        let request = history::ListRestoresRequest { root_id: root_id(), ..Default::default() };
        let listed = running.client(READER).list_restores(request).await.unwrap().into_inner().restores;
        let one = |it: &history::ListedRestore| (it.group_id[0], it.state(), it.changes, it.device_name.clone());
        listed.iter().map(one).collect::<Vec<_>>()
    };
    let told = |id, state| (id, state, 0, "desk".to_owned());
    let refused = running.client(WRITER).restore(restore(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(list(&running).await, [told(1, Withdrawn)]);
    relay.applied.lock().unwrap().push_back(Default::default());
    let refused = running.client(WRITER).restore(restore(2)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(list(&running).await, [told(2, UnderWay), told(1, Withdrawn)]);
    running.stop().await;

    let running = Running::start(relay.clone(), directory.path());
    assert_eq!(list(&running).await, [told(2, UnderWay), told(1, Withdrawn)]);
    *relay.group.lock().unwrap() = Some(sync::GroupState { finished: true, ..Default::default() });
    assert_eq!(list(&running).await, [told(2, Finished), told(1, Withdrawn)]);
    // What was withdrawn can be begun again under its id.
    *relay.group.lock().unwrap() = None;
    relay.applied.lock().unwrap().push_back(sync::GroupState { finished: true, ..Default::default() });
    running.client(WRITER).restore(restore(1)).await.unwrap_err();
    assert_eq!(list(&running).await, [told(2, Finished), told(1, Finished)]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_see_what_is_kept_writers_pin_and_only_owners_set_the_policy() {
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::new(10, 5, 100, 100);
    let running = Running::start(relay.clone(), directory.path());
    relay.acknowledged(10).await;
    let get = history::GetPolicyRequest { root_id: root_id() };
    let refused = running.keeping(STRANGER).get_policy(get.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let policy = running.keeping(READER).get_policy(get.clone()).await.unwrap().into_inner().policy.unwrap();
    assert_eq!((policy.revision, policy.rules.len()), (0, 1));
    assert!(policy.rules[0].words.starts_with("every version for 30 days, then the last of each day for a year"));

    let set = |policy: history::Policy, dry_run| history::SetPolicyRequest {
        root_id: root_id(),
        policy: Some(policy),
        dry_run,
    };
    for device in [READER, WRITER] {
        let refused = running.keeping(device).set_policy(set(policy.clone(), false)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    }
    let mut nothing = policy.clone();
    (nothing.rules[0].every_days, nothing.rules[0].daily_days, nothing.rules[0].weekly_days) = (0, 0, 0);
    let refused = running.keeping(OWNER).set_policy(set(nothing, false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("keep nothing"), "{refused:?}");
    // This sync-svc does not answer for conflicts: what would go cannot be said, and nothing goes.
    let refused = running.keeping(OWNER).set_policy(set(policy.clone(), true)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    // What links show is asked for to the end, where there is a share-svc.
    use sync::references_response::Message::{Contents, Finish};
    let contents = |size: usize| Contents(sync::ReferencedContents { content_ids: vec![vec![7; size].into()] });
    let finish = |count| Finish(sync::ReferencesFinish { count, position: None });
    for (told, code) in [
        (vec![contents(32)], Code::Unavailable),
        (vec![contents(32), finish(2)], Code::Unavailable),
        (vec![contents(31), finish(1)], Code::InvalidArgument),
        (vec![contents(32), finish(1)], Code::Unimplemented),
        (vec![finish(0)], Code::Unimplemented),
    ] {
        *relay.links.lock().unwrap() = Some(told.clone());
        let refused = running.keeping(OWNER).set_policy(set(policy.clone(), true)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{told:?}: {refused:?}");
    }
    let mut other = policy.clone();
    other.rules[0].daily_days = 100;
    let done = running.keeping(OWNER).set_policy(set(other.clone(), false)).await.unwrap().into_inner();
    assert_eq!(done.policy.unwrap().revision, 1);
    let refused = running.keeping(OWNER).set_policy(set(other, false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "it was made from what is not there any more: {refused:?}");
    let policy = running.keeping(READER).get_policy(get).await.unwrap().into_inner().policy.unwrap();
    assert_eq!((policy.revision, policy.rules[0].daily_days, policy.device_name.as_str()), (1, 100, "throne"));

    let pin = |path: &'static str, time| history::PinRequest {
        root_id: root_id(),
        subject: Some(history::Subject { subject: Some(history::subject::Subject::Path(path.into())) }),
        moment: Some(history::Moment {
            moment: Some(history::moment::Moment::Version(history::VersionNumber { time, side: 0 })),
        }),
        note: "signed".into(),
    };
    let refused = running.keeping(READER).pin(pin("document 1.txt", 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    for (path, time) in [("document 1.txt", 9), ("nothing", 1), ("", 1)] {
        let refused = running.keeping(WRITER).pin(pin(path, time)).await.unwrap_err();
        assert!(matches!(refused.code(), Code::NotFound | Code::InvalidArgument), "{path}@{time}: {refused:?}");
    }
    let pinned = running.keeping(WRITER).pin(pin("document 1.txt", 1)).await.unwrap().into_inner().pin.unwrap();
    assert!(pinned.version.unwrap().pinned && pinned.device_name == "desk");
    let list = history::ListPinsRequest { root_id: root_id(), ..Default::default() };
    let listed = running.keeping(READER).list_pins(list.clone()).await.unwrap().into_inner().pins;
    assert_eq!((listed.len(), listed[0].note.as_str()), (1, "signed"));
    let unpin = pin("document 1.txt", 1);
    let unpin = history::UnpinRequest { root_id: root_id(), subject: unpin.subject, moment: unpin.moment };
    running.keeping(WRITER).unpin(unpin.clone()).await.unwrap();
    let refused = running.keeping(WRITER).unpin(unpin).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "version 1 is not pinned"));
    assert!(running.keeping(READER).list_pins(list).await.unwrap().into_inner().pins.is_empty());

    let usage = history::GetUsageRequest { root_id: root_id(), subject: None };
    let usage = running.keeping(READER).get_usage(usage).await.unwrap().into_inner();
    let total = usage.total.unwrap();
    assert_eq!((total.now.unwrap().versions, total.history.unwrap().versions, usage.children.len()), (5, 5, 5));
    running.stop().await;
}

fn purge_of(path: &'static str, time: Option<u64>, id: u8) -> history::PurgeRequest {
    use history::moment::Moment::Version;
    history::PurgeRequest {
        root_id: root_id(),
        subject: Some(history::Subject { subject: Some(history::subject::Subject::Path(path.into())) }),
        moment: time.map(|time| history::Moment { moment: Some(Version(history::VersionNumber { time, side: 0 })) }),
        reason: "a key".into(),
        purge_id: vec![id; 16].into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_that_is_written_down_is_asked_for_until_sync_svc_has_done_it_also_after_a_restart() {
    use quics_proto::sync::v1::ReferencedBy;

    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::new(10, 5, 100, 100);
    let away = || Err(tonic::Status::unavailable("another purge is at work"));
    relay.purges.lock().unwrap().extend([away(), Ok(ReferencedBy::Event), away(), away()]);
    let running = Running::start(relay.clone(), directory.path());
    relay.acknowledged(10).await;
    for device in [READER, WRITER] {
        let refused = running.keeping(device).purge(purge_of("document 1.txt", Some(1), 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    for (time, word) in
        [(None, "is still there with this content"), (Some(2), "is still there"), (Some(9), "not there yet")]
    {
        let refused = running.keeping(OWNER).purge(purge_of("document 1.txt", time, 1)).await.unwrap_err();
        assert!(refused.message().contains(word), "{refused:?}");
    }
    let get = history::GetPurgeRequest { root_id: root_id(), purge_id: vec![1; 16].into() };
    assert_eq!(running.keeping(READER).get_purge(get.clone()).await.unwrap_err().code(), Code::NotFound);

    let mut request = purge_of("document 1.txt", Some(1), 1);
    request.dry_run = true;
    let preview = running.keeping(OWNER).purge(request.clone()).await.unwrap().into_inner();
    // All five documents have the same content at first; the others' go with it.
    assert_eq!((preview.purge.unwrap().versions, preview.versions.len(), preview.seq), (5, 5, 10));
    assert!(relay.purged.borrow().is_empty());
    (request.dry_run, request.until_seq) = (false, preview.seq);
    running.keeping(OWNER).purge(request.clone()).await.unwrap();
    // Sent again, it is the same one.
    running.keeping(OWNER).purge(request).await.unwrap();
    relay.purged.subscribe().wait_for(|purged| purged.len() >= 2).await.unwrap();
    let purge = running.keeping(READER).get_purge(get.clone()).await.unwrap().into_inner().purge.unwrap();
    assert!(purge.ended_at.is_none() && !purge.waits.is_empty(), "{purge:?}");
    running.stop().await;

    let running = Running::start(relay.clone(), directory.path());
    let ended = loop {
        let purge = running.keeping(READER).get_purge(get.clone()).await.unwrap().into_inner().purge.unwrap();
        if purge.ended_at.is_some() {
            break purge;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((ended.waits.as_str(), ended.reason.as_str(), ended.device_name.as_str()), ("", "a key", "throne"));
    assert_eq!(*relay.purged.borrow(), [1; 5], "two that were away, one for events, two more");
    let list = history::ListVersionsRequest { root_id: root_id(), ..Default::default() };
    let versions = running.client(READER).list_versions(list).await.unwrap().into_inner().versions;
    let gone: Vec<String> = versions.into_iter().filter_map(|it| it.removed).map(|removed| removed.why).collect();
    assert_eq!(gone, vec!["purged by ada: a key"; 5]);
    let list = history::ListPurgesRequest { root_id: root_id() };
    assert_eq!(running.keeping(READER).list_purges(list).await.unwrap().into_inner().purges.len(), 1);
    running.stop().await;
}

//! Conflicts as people meet them: prompts, answers, what is taken back, settings.

use bytes::Bytes;
use quics_proto::sync::v1 as sync;
use quics_types::{DeviceId, Role, RootId};
use sync::answer::Choice;
use sync::answer_outcome::Outcome;
use sync::prompt_response::Message as Prompted;
use tonic::{Code, Status, Streaming};

use crate::server::{A, B, Client, OTHER, READER, ROOT, Running, STRANGER};
use crate::session::{Push, Watch, create, edit, entry, file, id_bytes, large, push, soon, upload};

/// The prompts of one device.
struct Prompts {
    responses: Streaming<sync::PromptResponse>,
}

impl Prompts {
    /// Opens the stream and reads what is open.
    async fn open(client: &mut Client, roots: &[RootId]) -> (Self, Vec<sync::ConflictPrompt>) {
        let request = sync::PromptRequest { root_ids: roots.iter().map(|root| id_bytes(*root)).collect() };
        let responses = soon(client.prompt(request)).await.unwrap().into_inner();
        let (mut prompts, mut open) = (Self { responses }, Vec::new());
        loop {
            match prompts.next().await.unwrap() {
                Prompted::Prompt(prompt) => open.push(prompt),
                Prompted::CaughtUp(_) => return (prompts, open),
                Prompted::Ended(_) | Prompted::Brakes(_) => {}
            }
        }
    }

    async fn next(&mut self) -> Result<Prompted, Status> {
        Ok(soon(self.responses.message()).await?.expect("the stream has not ended").message.unwrap())
    }

    /// The next news, which is of this kind.
    async fn news(&mut self, news: sync::PromptNews) -> sync::ConflictPrompt {
        match self.next().await.unwrap() {
            Prompted::Prompt(prompt) => {
                assert_eq!(prompt.news(), news, "{prompt:?}");
                prompt
            }
            other => panic!("{other:?}"),
        }
    }
}

fn entry_id(number: u32) -> Bytes {
    Bytes::copy_from_slice(entry(number).as_bytes())
}

fn rid(number: u8) -> Bytes {
    vec![number; 16].into()
}

fn own(device: DeviceId) -> sync::CandidateKey {
    let device_id = Bytes::copy_from_slice(device.as_bytes());
    sync::CandidateKey { device_id, role: sync::CandidateRole::Own as i32, number: 0 }
}

/// Entry `number`: A's state stands, B's is a candidate. Gives the conflict's revision.
async fn dispute(from_a: &mut Push, from_b: &mut Push, number: u32) -> u64 {
    from_a.accept(&create(number, file(b"base")), Some(b"base")).await;
    from_a.accept(&edit(number, 1, file(b"base"), file(b"ours")), Some(b"ours")).await;
    candidate(from_b, number, b"theirs").await
}

async fn candidate(from: &mut Push, number: u32, content: &[u8]) -> u64 {
    match from.propose(&edit(number, 1, file(b"base"), file(content)), Some(content)).await.unwrap() {
        sync::verdict::Outcome::Conflict(conflict) => conflict.revision,
        other => panic!("{other:?}"),
    }
}

fn request(resolution: u8, number: u32, revision: u64, choice: Choice) -> sync::ResolveRequest {
    let answer = sync::Answer { entry_id: entry_id(number), revision, choice: Some(choice) };
    let (root_id, lease_id) = (id_bytes(ROOT), Bytes::new());
    sync::ResolveRequest { root_id, resolution_id: rid(resolution), answers: vec![answer], lease_id }
}

fn keep_server() -> Choice {
    Choice::KeepServer(sync::KeepServer {})
}

async fn resolve(client: &mut Client, request: sync::ResolveRequest) -> Result<sync::ResolveResponse, Status> {
    Ok(soon(client.resolve(request)).await?.into_inner())
}

async fn undo(client: &mut Client, resolution: u8, by: u8) -> Result<sync::UndoResolutionResponse, Status> {
    let (root_id, resolution_id, undo_id) = (id_bytes(ROOT), rid(resolution), rid(by));
    let request = sync::UndoResolutionRequest { root_id, resolution_id, undo_id };
    Ok(soon(client.undo_resolution(request)).await?.into_inner())
}

async fn settings(client: &mut Client) -> sync::RootSettings {
    let request = sync::GetSettingsRequest { root_id: id_bytes(ROOT) };
    soon(client.get_settings(request)).await.unwrap().into_inner().settings.unwrap()
}

async fn set_settings(client: &mut Client, settings: sync::RootSettings) -> Result<sync::RootSettings, Status> {
    let request = sync::SetSettingsRequest { root_id: id_bytes(ROOT), settings: Some(settings) };
    Ok(soon(client.set_settings(request)).await?.into_inner().settings.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prompts_tell_what_is_open_and_every_turn_that_it_takes() {
    let server = Running::start().await;
    let (mut a, mut b, mut reader) = (server.client(A), server.client(B), server.client(READER));
    let (mut from_a, mut from_b) = (push(&mut a).await, push(&mut b).await);
    let revision = dispute(&mut from_a, &mut from_b, 1).await;
    let (mut to_a, open) = Prompts::open(&mut a, &[ROOT, OTHER]).await;
    assert_eq!((open.len(), open[0].news(), open[0].asked), (1, sync::PromptNews::Open, true), "A owns the root");
    assert_eq!(open[0].conflict.as_ref().unwrap().revision, revision);
    let value = open[0].row.as_ref().unwrap().value.clone();
    assert_eq!(value, Some((&file(b"ours")).into()));
    let (mut to_b, open) = Prompts::open(&mut b, &[ROOT]).await;
    assert!(open[0].asked, "B has a candidate");
    let (mut to_reader, open) = Prompts::open(&mut reader, &[ROOT]).await;
    assert!(!open[0].asked, "a reader sees status only");

    candidate(&mut from_b, 1, b"more").await;
    let prompt = to_a.news(sync::PromptNews::NewCandidate).await;
    assert_eq!(prompt.conflict.unwrap().candidates.len(), 1);
    from_a.accept(&edit(1, 2, file(b"ours"), file(b"newer")), Some(b"newer")).await;
    let prompt = to_a.news(sync::PromptNews::NewVersion).await;
    let revision = prompt.conflict.unwrap().revision;
    let done = resolve(&mut b, request(1, 1, revision, Choice::KeepCandidate(own(B)))).await.unwrap();
    assert!(done.done && done.cursor.is_some(), "{done:?}");
    let prompt = to_a.news(sync::PromptNews::Resolved).await;
    let conflict = prompt.conflict.unwrap();
    let resolution = conflict.resolution.unwrap();
    assert_eq!((conflict.candidates.len(), resolution.choice()), (0, sync::ResolutionChoice::Candidate));
    assert_eq!((&resolution.device_id[..], resolution.chosen), (&B.as_bytes()[..], Some(own(B))));
    undo(&mut b, 1, 2).await.unwrap();
    let prompt = to_a.news(sync::PromptNews::Reopened).await;
    assert_eq!(prompt.conflict.unwrap().candidates[0].role(), sync::CandidateRole::Kept);
    // The others were told too, perhaps several at once; the last is what it is now.
    for to in [&mut to_b, &mut to_reader] {
        loop {
            let Prompted::Prompt(prompt) = to.next().await.unwrap() else { panic!() };
            if prompt.news() == sync::PromptNews::Reopened {
                break;
            }
        }
    }
    // A candidate that is the only one and is taken back ends its conflict.
    dispute(&mut from_a, &mut from_b, 2).await;
    to_a.news(sync::PromptNews::NewCandidate).await;
    from_b.propose(&edit(2, 1, file(b"base"), file(b"base")), Some(b"base")).await.unwrap();
    let prompt = to_a.news(sync::PromptNews::Withdrawn).await;
    assert_eq!(prompt.conflict.unwrap().resolution, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prompts_end_with_the_membership_and_strangers_get_none() {
    let server = Running::start().await;
    let (mut a, mut b, mut stranger) = (server.client(A), server.client(B), server.client(STRANGER));
    let request = sync::PromptRequest { root_ids: vec![id_bytes(ROOT)] };
    let mut none = Prompts { responses: soon(stranger.prompt(request)).await.unwrap().into_inner() };
    assert!(matches!(none.next().await, Ok(Prompted::Ended(_))));
    let (mut to_b, _) = Prompts::open(&mut b, &[ROOT, OTHER]).await;
    server.roles.set(ROOT, B, None);
    let Prompted::Ended(ended) = to_b.next().await.unwrap() else { panic!() };
    assert_eq!(ended.root_id, id_bytes(ROOT));
    // The other root goes on, and nothing more of the first is told.
    let (mut from_a, mut other_a) = (push(&mut a).await, Push::open(&mut a, OTHER, 1).await.unwrap());
    from_a.accept(&create(1, file(b"x")), Some(b"x")).await;
    let mut other_b = Push::open(&mut b, OTHER, 1).await.unwrap();
    dispute(&mut other_a, &mut other_b, 7).await;
    assert_eq!(to_b.news(sync::PromptNews::NewCandidate).await.root_id, id_bytes(OTHER));
    // Too many roots, or one that is none.
    for root_ids in [vec![id_bytes(ROOT); 1025], vec![Bytes::from_static(b"short")]] {
        let refused = soon(a.prompt(sync::PromptRequest { root_ids })).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_people_who_answer_at_once_one_wins_and_everybody_has_the_result() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let (mut from_a, mut from_b) = (push(&mut a).await, push(&mut b).await);
    let revision = dispute(&mut from_a, &mut from_b, 1).await;
    let mut watch = Watch::open(&mut b).await;
    watch.subscribe(ROOT, None).await;
    watch.until(3).await;
    let mine = resolve(&mut a, request(1, 1, revision, keep_server()));
    let yours = resolve(&mut b, request(2, 1, revision, Choice::KeepCandidate(own(B))));
    let (mine, yours) = tokio::join!(mine, yours);
    let (winner, loser) = match (mine.unwrap(), yours.unwrap()) {
        (winner, loser) if winner.done => (winner, loser),
        (loser, winner) => (winner, loser),
    };
    assert!(winner.done && !loser.done);
    let Some(Outcome::Closed(closed)) = &loser.outcomes[0].outcome else { panic!("{loser:?}") };
    let told = winner.cursor.unwrap().seq;
    let (records, _) = watch.until(told).await;
    let over = records.iter().find_map(|record| match &record.change {
        Some(sync::change_record::Change::ConflictClosed(closed)) => Some(closed.clone()),
        _ => None,
    });
    let over = over.expect("those who watch are told");
    assert_eq!(over.resolution, closed.resolution);
    let Some(Outcome::Resolved(resolved)) = &winner.outcomes[0].outcome else { panic!() };
    assert_eq!(over.row.as_ref(), Some(&resolved.rows[0]));
    // Whoever did not hear the reply asks again.
    let winning = over.resolution.unwrap();
    let (by, choice) = match winning.choice() {
        sync::ResolutionChoice::Server => (&mut a, request(1, 1, revision, keep_server())),
        _ => (&mut b, request(2, 1, revision, Choice::KeepCandidate(own(B)))),
    };
    assert_eq!(resolve(by, choice).await.unwrap(), winner);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_is_said_and_what_cannot_be_is_refused() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let (mut from_a, mut from_b) = (push(&mut a).await, push(&mut b).await);
    let revision = dispute(&mut from_a, &mut from_b, 1).await;
    let outcome = async |client: &mut Client, choice| {
        let response = resolve(client, request(1, 1, revision, choice)).await.unwrap();
        assert!(!response.done && response.cursor.is_none());
        response.outcomes[0].outcome.clone().unwrap()
    };
    assert!(matches!(outcome(&mut a, Choice::KeepCandidate(own(A))).await, Outcome::CandidateGone(_)));
    for name in [&b"file 1"[..], b"a/b", b".."] {
        let named = sync::NamedCandidate { candidate: Some(own(B)), name: Bytes::from_static(name) };
        let both = Choice::KeepBoth(sync::KeepBoth { candidates: vec![named] });
        let Outcome::BadName(bad) = outcome(&mut a, both).await else { panic!() };
        assert!(bad.name == name && !bad.reason.is_empty());
    }
    let (packed, value) = large(5, 300_000);
    let value = Some((&value).into());
    let merged = Choice::KeepMerged(sync::KeepMerged { value, modified_at: None, inline_content: None });
    let Outcome::Missing(missing) = outcome(&mut a, merged.clone()).await else { panic!() };
    assert!(!missing.digests.is_empty());
    upload(&mut a, ROOT, &packed).await.unwrap();
    let stale = resolve(&mut a, request(1, 1, revision + 1, keep_server())).await.unwrap();
    assert!(matches!(stale.outcomes[0].outcome, Some(Outcome::Stale(_))));
    let never = resolve(&mut a, request(1, 9, revision, keep_server())).await.unwrap();
    assert!(matches!(&never.outcomes[0].outcome, Some(Outcome::Closed(closed)) if closed.resolution.is_none()));

    let good = request(1, 1, revision, merged);
    let twice = sync::ResolveRequest { answers: vec![good.answers[0].clone(); 2], ..good.clone() };
    let many = sync::ResolveRequest { answers: vec![good.answers[0].clone(); 1025], ..good.clone() };
    let none = sync::ResolveRequest { answers: Vec::new(), ..good.clone() };
    let nameless = sync::ResolveRequest { resolution_id: Bytes::new(), ..good.clone() };
    let mut choiceless = good.clone();
    choiceless.answers[0].choice = None;
    for wrong in [twice, many, none, nameless, choiceless] {
        assert_eq!(resolve(&mut a, wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let done = resolve(&mut a, good.clone()).await.unwrap();
    assert!(done.done, "{done:?}");
    let others = resolve(&mut b, good).await.unwrap_err();
    assert_eq!(others.code(), Code::InvalidArgument, "the resolution is another's");
    assert_eq!(undo(&mut a, 77, 2).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_strangers_and_who_was_removed_do_not_answer() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let (mut from_a, mut from_b) = (push(&mut a).await, push(&mut b).await);
    let revision = dispute(&mut from_a, &mut from_b, 1).await;
    for device in [READER, STRANGER] {
        let mut client = server.client(device);
        let denied = resolve(&mut client, request(1, 1, revision, keep_server())).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
        assert_eq!(undo(&mut client, 1, 2).await.unwrap_err().code(), Code::PermissionDenied);
    }
    // B's last stream is open, but its device may no more.
    server.roles.set(ROOT, B, None);
    let denied = resolve(&mut b, request(1, 1, revision, keep_server())).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    server.roles.set(ROOT, B, Some(Role::Writer));
    assert!(resolve(&mut b, request(1, 1, revision, keep_server())).await.unwrap().done);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_device_is_shown_nothing_more_and_its_side_can_still_be_chosen() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let (mut from_a, mut from_b) = (push(&mut a).await, push(&mut b).await);
    let revision = dispute(&mut from_a, &mut from_b, 1).await;
    let (mut to_b, open) = Prompts::open(&mut b, &[ROOT]).await;
    assert_eq!(open.len(), 1);
    server.roles.revoke(B);
    assert_eq!(to_b.next().await.unwrap_err().code(), Code::Unauthenticated);
    assert!(resolve(&mut b, request(1, 1, revision, keep_server())).await.is_err());
    assert!(resolve(&mut a, request(2, 1, revision, Choice::KeepCandidate(own(B)))).await.unwrap().done);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_answer_is_the_owners_to_say() {
    const THIRD: DeviceId = DeviceId::from_bytes([0xe; 16]);
    let server = Running::start().await;
    server.roles.set(ROOT, THIRD, Some(Role::Writer));
    let (mut a, mut b, mut third) = (server.client(A), server.client(B), server.client(THIRD));
    let (mut from_a, mut from_b) = (push(&mut a).await, push(&mut b).await);
    let (mut to_third, _) = Prompts::open(&mut third, &[ROOT]).await;
    let mut watch = Watch::open(&mut b).await;
    watch.subscribe(ROOT, None).await;
    watch.level().await;

    let defaults = settings(&mut b).await;
    assert_eq!(defaults.revision, 0);
    let involved = sync::RootSettings { answerers: sync::Answerers::Involved as i32, ..defaults };
    assert_eq!(set_settings(&mut b, involved).await.unwrap_err().code(), Code::PermissionDenied);
    let set = set_settings(&mut a, involved).await.unwrap();
    assert_eq!((set.revision, set.answerers()), (1, sync::Answerers::Involved));
    assert_eq!(set_settings(&mut a, involved).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(settings(&mut third).await, set);
    let (records, _) = watch.level().await;
    assert_eq!(records[0].change, Some(sync::change_record::Change::Settings(set)));
    let wrong = sync::RootSettings { answerers: 99, ..set };
    assert_eq!(set_settings(&mut a, wrong).await.unwrap_err().code(), Code::InvalidArgument);

    let revision = dispute(&mut from_a, &mut from_b, 1).await;
    assert!(!to_third.news(sync::PromptNews::NewCandidate).await.asked, "it is no affair of this one");
    let denied = resolve(&mut third, request(3, 1, revision, keep_server())).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert!(resolve(&mut b, request(1, 1, revision, keep_server())).await.unwrap().done, "B has a candidate");
    assert_eq!(undo(&mut third, 1, 2).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(undo(&mut b, 1, 2).await.unwrap().reopened_entry_ids, [entry_id(1)]);

    let owners = sync::RootSettings { answerers: sync::Answerers::Owners as i32, ..set };
    set_settings(&mut a, owners).await.unwrap();
    let revision = candidate(&mut from_b, 1, b"again").await;
    let denied = resolve(&mut b, request(5, 1, revision, keep_server())).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let (_to_b, open) = Prompts::open(&mut b, &[ROOT]).await;
    assert!(!open[0].asked, "who may not answer is not asked");
    assert!(resolve(&mut a, request(6, 1, revision, keep_server())).await.unwrap().done);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_listed_and_taken_back_on_all_devices() {
    let server = Running::start().await;
    let (mut a, mut b) = (server.client(A), server.client(B));
    let (mut from_a, mut from_b) = (push(&mut a).await, push(&mut b).await);
    let first = dispute(&mut from_a, &mut from_b, 1).await;
    let second = dispute(&mut from_a, &mut from_b, 2).await;
    let mut both = request(1, 1, first, Choice::KeepCandidate(own(B)));
    both.answers.extend(request(1, 2, second, Choice::KeepBoth(sync::KeepBoth::default())).answers);
    let done = resolve(&mut a, both).await.unwrap();
    let Some(Outcome::Resolved(resolved)) = &done.outcomes[1].outcome else { panic!("{done:?}") };
    let made = resolved.rows[1].place.as_ref().unwrap().name.clone();
    assert_eq!(made, &b"file 2 (from device b)"[..]);
    let undone = undo(&mut a, 1, 2).await.unwrap();
    assert_eq!((undone.reopened_entry_ids, undone.changed_entry_ids), (vec![entry_id(1), entry_id(2)], vec![]));
    let list =
        |token: String| sync::ListResolutionsRequest { root_id: id_bytes(ROOT), page_size: 1, page_token: token };
    let newest = soon(b.list_resolutions(list(String::new()))).await.unwrap().into_inner();
    assert_eq!((&newest.resolutions[0].resolution_id, newest.resolutions[0].undone), (&rid(2), false));
    let next = soon(b.list_resolutions(list(newest.next_page_token))).await.unwrap().into_inner();
    let listed = &next.resolutions[0];
    assert_eq!((&listed.resolution_id, listed.undone, listed.entry_ids.len()), (&rid(1), true, 2));
    assert_eq!(&listed.device_id[..], A.as_bytes());
    let get = sync::GetConflictRequest { root_id: id_bytes(ROOT), entry_id: entry_id(1) };
    let open = soon(b.get_conflict(get)).await.unwrap().into_inner().conflict.unwrap();
    assert_eq!(open.candidates[0].role(), sync::CandidateRole::Kept);
    assert_eq!(open.resolution.unwrap().choice(), sync::ResolutionChoice::Undo);
    let (rows, _) = crate::session::snapshot(&mut b, ROOT).await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.value == file(b"ours")));
    server.stop().await;
}

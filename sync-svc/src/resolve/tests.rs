//! What the server does by itself, over stores in memory and a clock that the test moves.

use std::time::{Duration, SystemTime};

use quics_chunks::{MemoryChunks, inline_content};
use quics_kit::clock::ManualClock;
use quics_meta::Memory;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::prompt_response::Message;
use quics_reconcile::{ContentChange, Proposal, Value, Verdict};
use quics_types::{LogicalTime, Mtime, Name, Place, Role};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ledger::{Answer, Request};
use crate::service::Parts;
use crate::{ConflictEntry, prompt};

#[path = "../../tests/service/access.rs"]
mod access;

use access::{A, B, ROOT, Roles};

const ID: EntryId = EntryId::from_bytes([1; 16]);
const DAY: Duration = Duration::from_secs(24 * 3600);

struct World {
    service: Arc<Service>,
    clock: Arc<ManualClock>,
    seq: u64,
    /// When conflicts were looked at last.
    tended: WallTime,
    _directory: tempfile::TempDir,
}

fn file(bytes: &[u8]) -> Value {
    Value::File { content: inline_content(bytes).unwrap().0, size: bytes.len() as u64 }
}

impl World {
    /// Entry 1 at `a.txt` with B's candidate, open since the clock's first moment.
    fn disputed() -> Self {
        let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH + 1000 * DAY));
        let directory = tempfile::tempdir().unwrap();
        let service = Service::new(Parts {
            meta: Arc::new(Memory::synced(1)),
            chunks: Arc::new(MemoryChunks::new()),
            access: Roles::new([((ROOT, A), Role::Owner), ((ROOT, B), Role::Writer)]),
            holders: Arc::new(()),
            clock: clock.clone(),
            directory: directory.path().to_owned(),
            reserve: 0,
            shutdown: CancellationToken::new(),
        });
        let tended = service.now();
        let mut world = Self { service, clock, seq: 0, tended, _directory: directory };
        for device in [A, B] {
            world.service.ledger.resume(ROOT, device, 1).unwrap();
        }
        let place = Place { parent: EntryId::TOP, name: Name::new("a.txt").unwrap() };
        let (value, mtime) = (file(b"base"), Mtime::default());
        world.propose(A, Proposal::Create { id: ID, place, value, mode: 0o644, mtime }, b"base");
        world.edit(A, b"ours");
        world.edit(B, b"theirs");
        world
    }

    fn edit(&mut self, device: DeviceId, content: &'static [u8]) -> Verdict {
        let (base_time, base) = (LogicalTime(1), Some(file(b"base")));
        let content_change = ContentChange { base_time, base, value: file(content), mtime: Mtime::default() };
        let content_change = Some(content_change);
        let change = quics_reconcile::Change { id: ID, content: content_change, place: None, attributes: None };
        self.propose(device, Proposal::Change(change), content)
    }

    fn propose(&mut self, device: DeviceId, proposal: Proposal, inline: &'static [u8]) -> Verdict {
        self.seq += 1;
        let inline = Some(bytes::Bytes::from_static(inline));
        let request = Request { root: ROOT, device, incarnation: 1, seq: self.seq, recorded: 0, proposal, inline };
        match self.service.propose(&request).unwrap() {
            Answer::Judged(judged) => judged.entry.verdict,
            other => panic!("{other:?}"),
        }
    }

    async fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.service.ledger.settings(ROOT).unwrap();
        change(&mut settings);
        set_settings(self.service.clone(), A, ROOT, settings).await.unwrap();
    }

    /// Time goes on, and the server's round comes.
    async fn after(&mut self, time: Duration) {
        self.clock.advance(time);
        crate::upkeep::tidy_once(&self.service, &mut self.tended).await.unwrap();
    }

    fn conflict(&self) -> ConflictEntry {
        self.service.ledger.conflict(ROOT, ID).unwrap().unwrap()
    }

    /// The prompts of a device, behind those of what is open.
    async fn prompts(&self, device: DeviceId) -> mpsc::Receiver<Result<sync::PromptResponse, Error>> {
        let (out, mut prompts) = mpsc::channel(16);
        self.service.run(prompt::serve(self.service.clone(), Caller::Device(device), vec![ROOT], out));
        while !matches!(next(&mut prompts).await, Message::CaughtUp(_)) {}
        prompts
    }
}

async fn next(prompts: &mut mpsc::Receiver<Result<sync::PromptResponse, Error>>) -> Message {
    let soon = tokio::time::timeout(Duration::from_secs(60), prompts.recv());
    soon.await.expect("it takes too long").unwrap().unwrap().message.unwrap()
}

async fn news(prompts: &mut mpsc::Receiver<Result<sync::PromptResponse, Error>>) -> sync::PromptNews {
    match next(prompts).await {
        Message::Prompt(prompt) => prompt.news(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_server_keeps_both_sides_after_the_days_that_the_settings_say_and_not_before() {
    let mut world = World::disputed();
    world.after(100 * DAY).await;
    assert!(world.conflict().is_open(), "nobody said so");
    world.set(|settings| settings.both_after_days = 107).await;
    world.after(6 * DAY).await;
    assert!(world.conflict().is_open());
    world.after(DAY).await;
    let closed = world.conflict();
    let resolution = closed.resolution.clone().unwrap();
    assert!(!closed.is_open());
    assert_eq!((resolution.device, resolution.chosen), (DeviceId::SERVER, crate::Chosen::Both));
    let made = world.service.ledger.entry(ROOT, resolution.created[0]).unwrap().unwrap();
    assert_eq!((made.row.place.name.to_string().as_str(), made.device), ("a (from device b).txt", DeviceId::SERVER));
    // It can be taken back like any other, and has its days anew.
    let undo = Undo { root: ROOT, resolution: resolution.id, id: ResolutionId::from_bytes([9; 16]), device: B };
    super::undo(world.service.clone(), undo).await.unwrap();
    world.after(106 * DAY).await;
    assert!(world.conflict().is_open());
    world.after(DAY).await;
    assert!(!world.conflict().is_open());
}

#[tokio::test]
async fn reminders_come_to_those_who_are_asked_once_a_period() {
    let mut world = World::disputed();
    world.set(|settings| settings.reminder_hours = 12).await;
    let (mut to_a, mut to_b) = (world.prompts(A).await, world.prompts(B).await);
    world.after(DAY / 2 - Duration::from_secs(1)).await;
    world.after(Duration::from_secs(1)).await;
    assert_eq!(news(&mut to_a).await, sync::PromptNews::Reminder);
    assert_eq!(news(&mut to_b).await, sync::PromptNews::Reminder);
    world.after(Duration::from_secs(60)).await;
    // Nothing came in between; owners alone are reminded of what only they may answer.
    world.set(|settings| settings.answerers = quics_types::Answerers::Owners).await;
    world.after(DAY / 2).await;
    assert_eq!(news(&mut to_a).await, sync::PromptNews::Reminder);
    world.edit(B, b"more");
    assert_eq!(news(&mut to_a).await, sync::PromptNews::NewCandidate);
    assert_eq!(news(&mut to_b).await, sync::PromptNews::NewCandidate);
}

#[test]
fn a_reminder_is_due_once_a_period_and_never_without_one() {
    let due = |since, now| is_due(WallTime(100), 10, WallTime(since), WallTime(now));
    assert!(!due(100, 109) && due(109, 110) && !due(110, 119) && due(115, 140));
    assert!(!is_due(WallTime(0), 0, WallTime(1), WallTime(100)));
    assert!(!due(5, 100), "it was opened after both");
}

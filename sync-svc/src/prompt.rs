//! Prompt: the open conflicts of some roots, then news of each.
//!
//! Like a watcher, whoever is shown conflicts reads the durable feed in its own time, and nothing is buffered for it but
//! one message: what changes over and over meanwhile is told once, as it is then.

use std::collections::BTreeMap;
use std::sync::Arc;

use quics_kit::caller::Caller;
use quics_kit::members::Change as Membership;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::prompt_response::Message;
use quics_types::{DeviceId, EntryId, RootId};
use tokio::sync::{broadcast, mpsc};

use crate::hub::{News, Seat};
use crate::metrics::add;
use crate::resolve::is_due;
use crate::service::Service;
use crate::{ConflictEntry, Error, WallTime, encode};

/// Roots that one stream may show.
pub(crate) const ROOTS: usize = 1024;
/// Conflicts that one look takes from the store.
const PAGE: usize = 256;
const HOUR_MICROS: u64 = 3600 * 1_000_000;

type Told = Result<sync::PromptResponse, Error>;

/// Serves one stream of prompts until it ends.
pub(crate) async fn serve(service: Arc<Service>, caller: Caller, roots: Vec<RootId>, out: mpsc::Sender<Told>) {
    let seat = Seat::new(service.hub.clone());
    let mut prompt = Prompt { service, caller, out, seat, roots: BTreeMap::new(), last: None };
    if let Err(error) = prompt.run(roots).await {
        // A client that is gone does not need to know.
        drop(prompt.out.send(Err(error)).await);
    }
}

struct Prompt {
    service: Arc<Service>,
    caller: Caller,
    out: mpsc::Sender<Told>,
    seat: Seat,
    roots: BTreeMap<RootId, Shown>,
    /// The root that was served last; the next one is another.
    last: Option<RootId>,
}

struct Shown {
    /// Everything up to this commit was told.
    after: u64,
    /// Up to this moment reminders were sent.
    reminded: WallTime,
    /// The commit of the brakes that were told last.
    brakes: u64,
}

impl Prompt {
    async fn run(&mut self, roots: Vec<RootId>) -> Result<(), Error> {
        let shutdown = self.service.shutdown.clone();
        let mut members = self.service.access.changes();
        for root in roots {
            self.open(root).await?;
        }
        self.send(Message::CaughtUp(sync::CaughtUp {})).await?;
        let watcher = self.seat.watcher.clone();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(Error::Draining),
                () = self.out.closed() => return Ok(()),
                changed = members.recv() => self.members_changed(changed).await?,
                () = watcher.woken() => {
                    if let Some((root, news)) = watcher.take(self.last) {
                        self.last = Some(root);
                        self.news(root, news).await?;
                    }
                },
            }
        }
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        let response = sync::PromptResponse { message: Some(message) };
        self.out.send(Ok(response)).await.map_err(|_| Error::Cut)
    }

    /// Shows what is open in a root.
    async fn open(&mut self, root: RootId) -> Result<(), Error> {
        let service = self.service.clone();
        if let Err(denied) = service.guard(self.caller).role_soon(root).await {
            return self.end(root, &denied.into()).await;
        }
        // First the seat, then the level, then what is open: no change falls between them.
        self.seat.enter(root);
        let after = service.ledger.level(root)?.cursor.seq;
        self.roots.insert(root, Shown { after, reminded: service.now(), brakes: 0 });
        self.tell_brakes(root).await?;
        self.each_open(root, |_| true, sync::PromptNews::Open).await
    }

    /// Tells of the brakes of a root, where they are others than were told, to owners and to those whose devices they are on.
    async fn tell_brakes(&mut self, root: RootId) -> Result<(), Error> {
        let brakes = self.service.ledger.brakes(root)?;
        let Some(shown) = self.roots.get_mut(&root) else { return Ok(()) };
        if std::mem::replace(&mut shown.brakes, brakes.seq) == brakes.seq {
            return Ok(());
        }
        let guard = self.service.guard(self.caller);
        let whose: Vec<DeviceId> = brakes.brakes.iter().map(|brake| brake.device).collect();
        let concerned =
            guard.role(root).is_ok_and(|role| role == quics_types::Role::Owner) || guard.is_involved(&whose);
        // Those whom the last ones did not concern have nothing to forget.
        let told = if concerned { brakes.brakes.iter().map(encode::brake).collect() } else { Vec::new() };
        let prompt = sync::BrakePrompt { root_id: encode::root_id(root), brakes: told };
        self.send(Message::Brakes(prompt)).await
    }

    /// Shows the open conflicts of a root that are chosen.
    async fn each_open(
        &mut self,
        root: RootId,
        chosen: impl Fn(&ConflictEntry) -> bool,
        news: sync::PromptNews,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.service.blocking(move |service| service.ledger.conflicts(root, after, PAGE)).await?;
            for (id, entry) in &page.conflicts {
                if chosen(entry) && !self.show(root, *id, entry, news).await? {
                    return Ok(());
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Shows a conflict; `false` if the root is no longer the caller's to see.
    async fn show(
        &mut self,
        root: RootId,
        id: EntryId,
        entry: &ConflictEntry,
        news: sync::PromptNews,
    ) -> Result<bool, Error> {
        let service = self.service.clone();
        let guard = service.guard(self.caller);
        let role = match guard.role(root) {
            Ok(role) => role,
            Err(denied) => {
                self.end(root, &denied.into()).await?;
                return Ok(false);
            }
        };
        let whose: Vec<DeviceId> = entry.conflict.candidates.keys().map(|(device, _)| *device).collect();
        let involved = guard.is_involved(&whose);
        let waited_for = entry.is_open() && (involved || role == quics_types::Role::Owner);
        let asked = waited_for && service.ledger.settings(root)?.answerers.allow(role, involved);
        if news == sync::PromptNews::Reminder && !asked {
            return Ok(true);
        }
        let row = service.ledger.entry(root, id)?;
        add(&service.metrics.prompts, 1);
        let prompt = sync::ConflictPrompt {
            root_id: encode::root_id(root),
            conflict: Some(encode::conflict(id, entry)),
            news: news as i32,
            asked,
            row: row.as_ref().map(encode::entry),
        };
        self.send(Message::Prompt(prompt)).await?;
        Ok(true)
    }

    async fn news(&mut self, root: RootId, news: News) -> Result<(), Error> {
        let Some(shown) = self.roots.get_mut(&root) else { return Ok(()) };
        let (after, reminded, now) = (shown.after, shown.reminded, self.service.now());
        if news.reminder {
            shown.reminded = now;
            let hours = u64::from(self.service.ledger.settings(root)?.reminder_hours);
            let due = |entry: &ConflictEntry| is_due(entry.opened_at, hours * HOUR_MICROS, reminded, now);
            self.each_open(root, due, sync::PromptNews::Reminder).await?;
        }
        if news.committed {
            self.tell_brakes(root).await?;
            let page = self.service.blocking(move |service| service.ledger.conflict_news(root, after)).await?;
            for (id, entry) in &page.conflicts {
                if !self.show(root, *id, entry, encode::news(entry.news)).await? {
                    return Ok(());
                }
            }
            if let Some(shown) = self.roots.get_mut(&root) {
                shown.after = page.seq;
            }
            if page.more {
                self.seat.watcher.add(root, News::COMMITTED);
            }
        }
        Ok(())
    }

    async fn members_changed(&mut self, changed: Result<Membership, broadcast::error::RecvError>) -> Result<(), Error> {
        for (root, why) in crate::access::lost(self.service.guard(self.caller), changed, self.roots.keys().copied())? {
            self.end(root, &why).await?;
        }
        Ok(())
    }

    async fn end(&mut self, root: RootId, why: &Error) -> Result<(), Error> {
        self.roots.remove(&root);
        self.seat.leave(root);
        self.send(Message::Ended(sync::Ended { root_id: encode::root_id(root), reason: why.to_string() })).await
    }
}

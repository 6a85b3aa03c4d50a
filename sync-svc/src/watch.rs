//! Watch: everything since the cursors, then live.
//!
//! A watcher reads the durable feed, page by page, in its own time. Nothing is buffered for it but one message: while a slow
//! reader takes that, the next commits of its roots stay in the feed, where an entry that changes over and over is there
//! once. What was read to the feed's end is followed by the root's level.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt};
use quics_kit::caller::Caller;
use quics_kit::members::Change as Membership;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::watch_request::Message as Asked;
use quics_proto::sync::v1::watch_response::Message;
use quics_types::{RootId, limits};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use crate::hub::{News, Seat};
use crate::ledger::Inlined;
use crate::metrics::add;
use crate::service::{IDLE, Service};
use crate::{Error, encode};

/// Roots that one stream may watch.
const ROOTS: usize = 1024;

type Told = Result<sync::WatchResponse, Error>;

/// Serves one stream of changes until it ends.
pub(crate) async fn serve(
    service: Arc<Service>,
    caller: Caller,
    requests: impl Stream<Item = Result<sync::WatchRequest, Error>> + Send,
    out: mpsc::Sender<Told>,
) {
    let seat = Seat::new(service.hub.clone());
    let mut watch = Watch { service, caller, out, seat, roots: BTreeMap::new(), opened: false, last: None };
    if let Err(error) = watch.run(std::pin::pin!(requests)).await {
        // A client that is gone does not need to know.
        drop(watch.out.send(Err(error)).await);
    }
}

struct Watch {
    service: Arc<Service>,
    caller: Caller,
    out: mpsc::Sender<Told>,
    seat: Seat,
    roots: BTreeMap<RootId, Subscription>,
    opened: bool,
    /// The root that was served last; the next one is another.
    last: Option<RootId>,
}

struct Subscription {
    /// Everything up to this commit was told.
    after: u64,
    inline: Inlined,
    /// The last thing that was told was the level.
    level: bool,
}

impl Watch {
    async fn run(
        &mut self,
        mut requests: Pin<&mut (impl Stream<Item = Result<sync::WatchRequest, Error>> + Send)>,
    ) -> Result<(), Error> {
        let shutdown = self.service.shutdown.clone();
        let mut members = self.service.access.changes();
        let mut idle = interval(IDLE);
        // The first tick comes at once.
        idle.tick().await;
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watcher = self.seat.watcher.clone();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(Error::Draining),
                () = self.out.closed() => return Ok(()),
                changed = members.recv() => self.members_changed(changed).await?,
                request = requests.next() => match request {
                    Some(request) => self.handle(request?).await?,
                    None => return Ok(()),
                },
                () = watcher.woken() => {
                    if let Some((root, news)) = watcher.take(self.last) {
                        self.last = Some(root);
                        self.news(root, news).await?;
                    }
                },
                _ = idle.tick() => self.idle().await?,
            }
        }
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        let response = sync::WatchResponse { message: Some(message) };
        self.out.send(Ok(response)).await.map_err(|_| Error::Cut)
    }

    async fn handle(&mut self, request: sync::WatchRequest) -> Result<(), Error> {
        match (request.message, self.opened) {
            (Some(Asked::Open(_)), false) => {
                self.opened = true;
                self.send(Message::Opened(sync::WatchOpened { version: Some(crate::version()) })).await
            }
            (Some(Asked::Subscribe(subscribe)), true) => self.subscribe(subscribe).await,
            (Some(Asked::Unsubscribe(unsubscribe)), true) => {
                let root = encode::root(&unsubscribe.root_id)?;
                self.roots.remove(&root);
                self.seat.leave(root);
                Ok(())
            }
            (Some(Asked::Acknowledge(acknowledge)), true) => self.acknowledge(acknowledge),
            _ => Err(Error::Protocol("a watch begins with open, then come subscriptions and acknowledgements")),
        }
    }

    async fn subscribe(&mut self, subscribe: sync::Subscribe) -> Result<(), Error> {
        let root = encode::root(&subscribe.root_id)?;
        if let Err(denied) = self.service.clone().guard(self.caller).role_soon(root).await {
            return self.end(root, &denied.into()).await;
        }
        if self.roots.len() >= ROOTS && !self.roots.contains_key(&root) {
            return Err(Error::Protocol("too many roots for one watch"));
        }
        let cursor = encode::cursor(subscribe.cursor);
        if !self.service.ledger.knows(root, cursor)? {
            let cursor = Some(cursor.into());
            return self.send(Message::CursorUnknown(sync::CursorUnknown { root_id: subscribe.root_id, cursor })).await;
        }
        let inline = match self.caller {
            _ if !subscribe.inline_contents => Inlined::Nothing,
            Caller::Device(device) => Inlined::NotOf(device),
            _ => Inlined::All,
        };
        let subscription = Subscription { after: cursor.seq, inline, level: false };
        self.roots.insert(root, subscription);
        // First the seat, then the first reading: no commit falls between them.
        self.seat.enter(root);
        self.seat.watcher.add(root, News { committed: true, wanted: true, ..News::default() });
        Ok(())
    }

    fn acknowledge(&mut self, acknowledge: sync::Acknowledge) -> Result<(), Error> {
        let root = encode::root(&acknowledge.root_id)?;
        match self.caller {
            Caller::Device(device) if self.roots.contains_key(&root) => {
                self.service.ledger.acknowledge(root, device, encode::cursor(acknowledge.cursor))
            }
            _ => Ok(()),
        }
    }

    async fn news(&mut self, root: RootId, news: News) -> Result<(), Error> {
        if !self.roots.contains_key(&root) {
            return Ok(());
        }
        if let Err(denied) = self.service.guard(self.caller).role(root) {
            return self.end(root, &denied.into()).await;
        }
        if news.wanted {
            let wanted = self.service.contents().wanted(root)?;
            if !wanted.is_empty() {
                let digests = wanted.iter().map(encode::digest).collect();
                self.send(Message::Wanted(sync::Wanted { root_id: encode::root_id(root), digests })).await?;
            }
        }
        if news.committed { self.pump(root).await } else { Ok(()) }
    }

    /// Tells the next page of a root's feed.
    async fn pump(&mut self, root: RootId) -> Result<(), Error> {
        let Some(subscription) = self.roots.get_mut(&root) else { return Ok(()) };
        let (after, inline, live) = (subscription.after, subscription.inline, subscription.level);
        let page = if live {
            // What has just been committed is in memory.
            self.service.ledger.feed(root, after, limits::BATCH_BYTES, inline)?
        } else {
            self.service.blocking(move |service| service.ledger.feed(root, after, limits::BATCH_BYTES, inline)).await?
        };
        subscription.after = page.seq;
        subscription.level = page.level.is_some();
        if page.level.is_none() {
            self.seat.watcher.add(root, News::COMMITTED);
        }
        let something = !page.changes.is_empty();
        if something {
            add(&self.service.metrics.changes, page.changes.len() as u64);
            let changes = page.changes.iter().map(encode::told).collect();
            let cursor = Some(self.service.ledger.cursor(page.seq).into());
            self.send(Message::Changes(sync::Changes { root_id: encode::root_id(root), changes, cursor })).await?;
        }
        match page.level {
            Some(level) if something || !live || level.cursor.seq != after => {
                self.send(Message::Level(encode::level(root, &level))).await
            }
            _ => Ok(()),
        }
    }

    /// Says where the roots are that had no news for a while.
    async fn idle(&mut self) -> Result<(), Error> {
        if let Caller::Device(device) = self.caller {
            self.service.access.seen(device);
        }
        let roots: Vec<_> =
            self.roots.iter().filter(|(_, subscription)| subscription.level).map(|(root, _)| *root).collect();
        for root in roots {
            if let Err(denied) = self.service.guard(self.caller).role(root) {
                self.end(root, &denied.into()).await?;
                continue;
            }
            let level = self.service.ledger.level(root)?;
            let told = self.roots.get(&root).map(|subscription| subscription.after);
            // A root that has gone on has its news on the way.
            if told == Some(level.cursor.seq) {
                self.send(Message::Level(encode::level(root, &level))).await?;
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

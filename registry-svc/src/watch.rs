//! What services are told: the full state, then every change of it.
//!
//! An event names what changed and not how: the stream reads the durable row when it sends it. So what is sent never goes
//! back to something older, and subscribing before the full state is read leaves no gap between it and the events.

use bytes::Bytes;
use prost::Message;
use quics_proto::common::v1 as common;
use quics_proto::registry::v1 as proto;
use quics_proto::registry::v1::watch_response::Change as Said;
use quics_types::{DeviceId, RootId, UserId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use crate::db::{Device, Member, Rows, decode, key, tag, two_ids};
use crate::error::{Error, Result};
use crate::service::Registry;

/// Messages that wait for a slow service.
const AHEAD: usize = 256;

/// Names something that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Device(DeviceId),
    Member(RootId, UserId),
    Attachment(RootId, DeviceId),
}

type Sender = mpsc::Sender<Result<proto::WatchResponse>>;

/// Why sending ended: the service is gone.
struct Gone;

impl Registry {
    /// Begins to tell a service everything, in a task that ends when the receiver is dropped or at shutdown.
    pub(crate) fn watch(&self) -> mpsc::Receiver<Result<proto::WatchResponse>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        // Before the state is read, so that no change is missed.
        let events = self.inner.events.subscribe();
        let registry = self.clone();
        tokio::spawn(async move {
            crate::metrics::watchers(1);
            let telling = registry.tell(&sender, events);
            let end = tokio::select! {
                end = telling => end,
                () = registry.inner.shutdown.cancelled() => Err(Error::Draining),
                () = sender.closed() => Ok(()),
            };
            if let Err(error) = end {
                // The service may be gone.
                drop(sender.try_send(Err(error)));
            }
            crate::metrics::watchers(-1);
        });
        receiver
    }

    /// Ends with `Ok` when the service is gone.
    async fn tell(&self, to: &Sender, mut events: broadcast::Receiver<Event>) -> Result<()> {
        if send(to, Said::Trust(proto::Trust { certificates: self.trust() })).await.is_err() {
            return Ok(());
        }
        for kind in [tag::DEVICE, tag::MEMBER, tag::ATTACHED] {
            if self.tell_all(to, kind).await?.is_err() {
                return Ok(());
            }
        }
        let mut said = Said::Complete(proto::Complete {});
        loop {
            if send(to, said).await.is_err() {
                return Ok(());
            }
            said = match events.recv().await {
                Ok(event) => self.say(event)?,
                Err(RecvError::Lagged(_)) => return Err(Error::TooMany("changes for this watcher; watch anew")),
                Err(RecvError::Closed) => return Err(Error::Draining),
            };
        }
    }

    /// Sends every row of one kind, page by page.
    async fn tell_all(&self, to: &Sender, kind: u8) -> Result<Result<(), Gone>> {
        let mut start = vec![kind];
        loop {
            let page = self.rows().page(&[kind], &start)?;
            let Some((last, _)) = page.last() else { return Ok(Ok(())) };
            start = last.to_vec();
            start.push(0);
            for (key, value) in page {
                let said = self.read(kind, &key, Some(&value))?;
                if send(to, said).await.is_err() {
                    return Ok(Err(Gone));
                }
            }
        }
    }

    fn say(&self, event: Event) -> Result<Said> {
        let (kind, key) = match event {
            Event::Device(device) => (tag::DEVICE, Device::key(device)),
            Event::Member(root, user) => (tag::MEMBER, key(tag::MEMBER, &[root.as_bytes(), user.as_bytes()])),
            Event::Attachment(root, device) => {
                (tag::ATTACHED, key(tag::ATTACHED, &[root.as_bytes(), device.as_bytes()]))
            }
        };
        let value = self.inner.store.get(&key)?;
        self.read(kind, &key, value.as_deref())
    }

    /// What a row says; a row that is gone says that something ended.
    fn read(&self, kind: u8, at: &[u8], value: Option<&[u8]>) -> Result<Said> {
        match kind {
            tag::DEVICE => {
                let id = DeviceId::from_slice(&at[1..]).map_err(|error| Error::Damaged(error.to_string()))?;
                let value = value.ok_or_else(|| Error::Damaged(format!("device {id} is missing")))?;
                device(self.rows(), id, decode(at, value)?)
            }
            tag::MEMBER => {
                let (root, user) = two_ids(at)?;
                let member = value.map(|value| decode::<Member>(at, value)).transpose()?;
                let role = member.map_or(common::Role::Unspecified.into(), |member| member.role);
                Ok(Said::Membership(proto::Membership { root_id: id(root), user_id: id(user), role }))
            }
            _ => {
                let (root, device) = two_ids(at)?;
                let attached = value.is_some();
                Ok(Said::Attachment(proto::Attachment { root_id: id(root), device_id: id(device), attached }))
            }
        }
    }
}

fn device(rows: Rows<'_>, device: DeviceId, row: Device) -> Result<Said> {
    let user_name = rows.user_name(row.user()?)?;
    Ok(Said::Device(proto::DeviceState {
        device_id: id(*device.as_bytes()),
        user_id: row.user,
        name: row.name,
        revoked: row.revoked_at != 0,
        user_name,
    }))
}

fn id(bytes: [u8; 16]) -> Bytes {
    Bytes::copy_from_slice(&bytes)
}

async fn send(to: &Sender, said: Said) -> Result<(), Gone> {
    let message = proto::WatchResponse { change: Some(said) };
    tracing::trace!(bytes = message.encoded_len(), "watch.say");
    to.send(Ok(message)).await.map_err(|_| Gone)
}

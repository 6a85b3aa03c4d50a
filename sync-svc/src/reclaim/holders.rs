//! Asks the services that keep references to contents.
//!
//! history-svc is asked once it has acknowledged anything: events that nobody has taken are references themselves. share-svc
//! is asked once it has ever said where it is. One that is to be asked and cannot be keeps everything as it is.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quics_kit::names;
use quics_kit::service::Sister;
use quics_kit::telemetry::Link;
use quics_proto::digests;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::references_response::Message;
use quics_proto::sync::v1::references_service_client::ReferencesServiceClient;
use quics_types::{RootId, limits};

use super::marking::{By, Marking};
use crate::db::records::EventPosition;
use crate::grpc::refused;
use crate::service::Service;
use crate::{Error, encode};

/// For so long a service may say nothing.
const SILENT: Duration = Duration::from_secs(60);

/// Where services that keep references are.
pub trait Holders: Send + Sync + 'static {
    /// A channel to where one is now; `None` if nobody knows of any.
    ///
    /// # Errors
    /// Why it cannot be said whether there is one.
    fn find(&self, holder: names::Service) -> Finding<'_>;
}

/// What comes of looking for a service.
pub type Finding<'a> = Pin<Box<dyn Future<Output = Result<Option<Link>, String>> + Send + 'a>>;

/// The services as registry-svc knows them.
#[derive(Debug)]
pub(crate) struct Sisters {
    pub(crate) history: Sister,
    pub(crate) share: Sister,
}

impl Holders for Sisters {
    fn find(&self, holder: names::Service) -> Finding<'_> {
        Box::pin(async move {
            match holder {
                names::Service::History => self.history.look().await.map_err(refused),
                names::Service::Share => self.share.look().await.map_err(refused),
                _ => Ok(None),
            }
        })
    }
}

/// Knows nobody.
impl Holders for () {
    fn find(&self, _: names::Service) -> Finding<'_> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// One that is asked.
struct Holder {
    name: names::Service,
    by: By,
    link: Link,
    /// What it has to have applied before its answer counts.
    at_least: Option<EventPosition>,
}

/// Marks what other services refer to in these roots. The rows of this one were walked over before.
///
/// # Errors
/// [`Error::HolderAway`]: one cannot be asked, or did not answer to the end. Those of the stores.
pub(super) async fn ask(service: &Arc<Service>, mut marking: Marking, roots: &[RootId]) -> Result<Marking, Error> {
    let mut holders = Vec::new();
    // Read now: all that was removed from the outbox before it was walked over is at or before this.
    if let Some(at_least) = service.blocking(|service| service.ledger.removed_events()).await? {
        let name = names::Service::History;
        let link = find(service, name).await?.ok_or_else(|| away(name, "nobody knows where it is"))?;
        holders.push(Holder { name, by: By::History, link, at_least: Some(at_least) });
    }
    let name = names::Service::Share;
    if let Some(link) = find(service, name).await? {
        holders.push(Holder { name, by: By::Share, link, at_least: None });
    }
    for holder in holders {
        for root in roots.iter().copied() {
            marking = holder.told(service, marking, root).await?;
        }
    }
    Ok(marking)
}

async fn find(service: &Service, name: names::Service) -> Result<Option<Link>, Error> {
    service.holders.find(name).await.map_err(|reason| away(name, reason))
}

fn away(holder: names::Service, reason: impl Into<String>) -> Error {
    Error::HolderAway { holder, reason: reason.into() }
}

impl Holder {
    fn away(&self, reason: impl Into<String>) -> Error {
        away(self.name, reason)
    }

    /// Marks what it refers to in a root.
    async fn told(&self, service: &Arc<Service>, mut marking: Marking, root: RootId) -> Result<Marking, Error> {
        let mut client = ReferencesServiceClient::new(self.link.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES);
        let request =
            sync::ReferencesRequest { root_id: encode::root_id(root), at_least: self.at_least.map(encode::position) };
        let mut answers = self.spoken(client.references(request), refused).await?.into_inner();
        let (by, mut count) = (self.by, 0);
        let finish = loop {
            match self.spoken(answers.message(), refused).await?.and_then(|answer| answer.message) {
                Some(Message::Contents(told)) => {
                    count += told.content_ids.len() as u64;
                    let told = digests(&told.content_ids)?;
                    let mark = move |service: &Service| {
                        marking.told(service.contents(), root, (by, &told), &|| service.shutdown.is_cancelled())?;
                        Ok(marking)
                    };
                    marking = service.blocking(mark).await?;
                }
                Some(Message::Finish(finish)) => break finish,
                None => return Err(self.away("it did not answer to the end")),
            }
        };
        if finish.count != count {
            return Err(self.away("it has sent other references than it counted"));
        }
        if self.at_least.is_none() {
            return Ok(marking);
        }
        let position = finish.position.map(encode::event_position);
        let known = service.blocking(move |service| match position {
            Some(position) => service.ledger.has_told(position),
            None => Ok(false),
        });
        if !known.await? {
            return Err(self.away("it has applied events of another server"));
        }
        Ok(marking)
    }

    /// What a call says, within a time.
    async fn spoken<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        refused: fn(E) -> String,
    ) -> Result<T, Error> {
        match tokio::time::timeout(SILENT, call).await {
            Ok(answer) => answer.map_err(|error| self.away(refused(error))),
            Err(_) => Err(self.away("it does not answer")),
        }
    }
}

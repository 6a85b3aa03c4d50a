//! Asks the services that keep references to contents.
//!
//! Which ones those are is told by what they have acknowledged: events that nobody has taken are references themselves. One
//! that has taken any and cannot be asked keeps everything as it is.

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

use super::marking::Marking;
use crate::grpc::refused;
use crate::service::Service;
use crate::{Error, encode};

/// For so long a service may say nothing.
const SILENT: Duration = Duration::from_secs(60);

/// Finds the services that keep references; in production by asking registry-svc.
pub trait Holders: Send + Sync + 'static {
    /// A channel to where history-svc is; `None` if nobody knows.
    fn history(&self) -> Pin<Box<dyn Future<Output = Option<Link>> + Send + '_>>;
}

impl Holders for Sister {
    fn history(&self) -> Pin<Box<dyn Future<Output = Option<Link>> + Send + '_>> {
        Box::pin(self.find())
    }
}

/// Knows nobody.
impl Holders for () {
    fn history(&self) -> Pin<Box<dyn Future<Output = Option<Link>> + Send + '_>> {
        Box::pin(std::future::ready(None))
    }
}

pub(crate) fn away(reason: impl Into<String>) -> Error {
    Error::HolderAway { holder: names::Service::History, reason: reason.into() }
}

/// Marks what other services refer to in these roots. The rows of this one were walked over before.
///
/// # Errors
/// [`Error::HolderAway`]: one cannot be asked, or did not answer to the end. Those of the stores.
pub(super) async fn ask(service: &Arc<Service>, mut marking: Marking, roots: &[RootId]) -> Result<Marking, Error> {
    // Read now: all that was removed from the outbox before it was walked over is at or before this.
    let Some(at_least) = service.blocking(|service| service.ledger.removed_events()).await? else {
        return Ok(marking);
    };
    let link = service.holders.history().await.ok_or_else(|| away("nobody knows where it is"))?;
    let mut client = ReferencesServiceClient::new(link)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    for root in roots.iter().copied() {
        let request =
            sync::ReferencesRequest { root_id: encode::root_id(root), at_least: Some(encode::position(at_least)) };
        let mut answers = spoken(client.references(request), refused).await?.into_inner();
        let mut count = 0;
        let finish = loop {
            match spoken(answers.message(), refused).await?.and_then(|answer| answer.message) {
                Some(Message::Contents(told)) => {
                    count += told.content_ids.len() as u64;
                    let told = digests(&told.content_ids)?;
                    marking = service
                        .blocking(move |service| {
                            marking.told(service.contents(), root, &told, &|| service.shutdown.is_cancelled())?;
                            Ok(marking)
                        })
                        .await?;
                }
                Some(Message::Finish(finish)) => break finish,
                None => return Err(away("it did not answer to the end")),
            }
        };
        if finish.count != count {
            return Err(away("it has sent other references than it counted"));
        }
        let position = finish.position.map(encode::event_position);
        let known = service.blocking(move |service| match position {
            Some(position) => service.ledger.has_told(position),
            None => Ok(false),
        });
        if !known.await? {
            return Err(away("it has applied events of another server"));
        }
    }
    Ok(marking)
}

/// What a call says, within a time.
async fn spoken<T, E>(call: impl Future<Output = Result<T, E>>, refused: fn(E) -> Error) -> Result<T, Error> {
    match tokio::time::timeout(SILENT, call).await {
        Ok(answer) => answer.map_err(refused),
        Err(_) => Err(away("it does not answer")),
    }
}

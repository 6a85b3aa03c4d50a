//! What links of a root show: contents that are not taken as long as share-svc says so.
//!
//! share-svc is asked as sync-svc asks it before it reclaims, by the same call: for the contents that pinned links show, all
//! members of a folder among them. What a live link shows is there, and what is there is never taken. So every version with
//! such a content stays, under whatever entry, also for a while after the link has run out.
//!
//! A link is durable before it is looked whether what it is to show is still kept, and a round asks before it takes anything,
//! and takes nothing that ended after it began. Left is a link to an old version that is made while a round is on its way: it
//! may be told as not kept, but no byte of it goes, for sync-svc asks share-svc itself.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use quics_kit::service::Sister;
use quics_kit::telemetry::Link;
use quics_proto::digests;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::references_response::Message;
use quics_proto::sync::v1::references_service_client::ReferencesServiceClient;
use quics_types::{Digest, RootId, limits};

use crate::Error;
use crate::grpc::unasked;
use crate::service::Service;

/// For so long share-svc may say nothing.
const SILENT: Duration = Duration::from_secs(60);
/// Bits of the filter, as a power of two: 16 MB.
const BITS: u32 = 27;
/// Bits that are set for a content.
const EACH: usize = 4;

/// Finds share-svc; in production it asks registry-svc.
pub trait Shares: Send + Sync + 'static {
    /// A channel to where share-svc is now; `None` if there is none in this installation.
    ///
    /// # Errors
    /// [`Error::ShareAway`]: it cannot be said whether there is one.
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Option<Link>, Error>> + Send + '_>>;
}

impl Shares for Sister {
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Option<Link>, Error>> + Send + '_>> {
        Box::pin(async { self.look().await.map_err(unasked) })
    }
}

/// There is none.
impl Shares for () {
    fn find(&self) -> Pin<Box<dyn Future<Output = Result<Option<Link>, Error>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Contents that links show, however many, in 16 MB: a Bloom filter (Bloom, 1970). A digest is as good as drawn by lot, so
/// parts of it are the bits. It never forgets one; of those that no link shows it keeps one in a million for nothing where
/// links show a million, and one in 250 where they show ten.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Empty if there are none.
    bits: Vec<u64>,
}

impl Shown {
    /// The words and bits of a content.
    fn places(content: &Digest) -> impl Iterator<Item = (usize, u64)> {
        let (parts, _) = content.as_bytes().as_chunks::<8>();
        let number = |part: &[u8; 8]| u64::from_be_bytes(*part) >> (u64::BITS - BITS);
        let places: [u64; EACH] = std::array::from_fn(|at| parts.get(at).map_or(0, number));
        places.into_iter().map(|bit| ((bit / 64) as usize, 1 << (bit % 64)))
    }

    pub(crate) fn add(&mut self, content: &Digest) {
        if self.bits.is_empty() {
            self.bits = vec![0; 1 << (BITS - 6)];
        }
        for (word, bit) in Self::places(content) {
            if let Some(word) = self.bits.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Whether a link shows a content, as far as can be said.
    pub(crate) fn holds(&self, content: &Digest) -> bool {
        Self::places(content).all(|(word, bit)| self.bits.get(word).is_some_and(|word| word & bit != 0))
    }
}

/// What links of a root show; nothing where there is no share-svc.
///
/// # Errors
/// [`Error::ShareAway`]: there is one, and it did not answer to the end. Nothing may be taken then.
pub(crate) async fn shown(service: &Service, root: RootId) -> Result<Shown, Error> {
    let mut shown = Shown::default();
    let Some(link) = service.shares.find().await? else { return Ok(shown) };
    let mut client = ReferencesServiceClient::new(link)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let request = sync::ReferencesRequest { root_id: Bytes::copy_from_slice(root.as_bytes()), at_least: None };
    let mut answers = spoken(client.references(request)).await?.map_err(unasked)?.into_inner();
    let mut count = 0;
    loop {
        match spoken(answers.message()).await?.map_err(unasked)?.and_then(|answer| answer.message) {
            Some(Message::Contents(told)) => {
                count += told.content_ids.len() as u64;
                digests(&told.content_ids)?.iter().for_each(|content| shown.add(content));
            }
            Some(Message::Finish(finish)) if finish.count == count => return Ok(shown),
            Some(Message::Finish(_)) => return Err(away("it has sent other contents than it counted")),
            None => return Err(away("it did not answer to the end")),
        }
    }
}

/// What a call says, within a time.
async fn spoken<T>(call: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(SILENT, call).await.map_err(|_| away("it does not answer"))
}

fn away(reason: &str) -> Error {
    Error::ShareAway { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    #[test]
    fn what_links_show_is_never_forgotten_and_what_they_do_not_is_hardly_ever_taken_for_it() {
        let mut shown = Shown::default();
        assert!(!shown.holds(&digest(1)));
        (0..200_000).for_each(|number| shown.add(&digest(number)));
        assert!((0..200_000).all(|number| shown.holds(&digest(number))));
        assert!((200_000..400_000).filter(|number| shown.holds(&digest(*number))).count() <= 1);
    }
}

//! Has sync-svc take contents out of its stores.

use bytes::Bytes;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::purge_contents_response::Message;
use quics_proto::sync::v1::relay_service_client::RelayServiceClient;
use quics_types::{Digest, EntryId, RootId, limits};

use super::carry::Waits;
use crate::Error;
use crate::grpc::busy;
use crate::service::Service;
use crate::view::Paths;

/// Asks until sync-svc says that the contents are in none of its files any more; says what it waits for, if not.
///
/// # Errors
/// sync-svc cannot be reached or did not keep to the contract.
pub(super) async fn tell(service: &Service, root: RootId, contents: &[Digest]) -> Result<Option<Waits>, Error> {
    let mut client = RelayServiceClient::new(service.sync.find().await?)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let request = sync::PurgeContentsRequest {
        root_id: Bytes::copy_from_slice(root.as_bytes()),
        content_ids: contents.iter().map(|content| Bytes::copy_from_slice(content.as_bytes())).collect(),
    };
    let mut told = match client.purge_contents(request).await {
        Ok(told) => told.into_inner(),
        Err(status) => return busy(status).map(|why| Some(Waits::Moment(why))),
    };
    loop {
        match told.message().await {
            Err(status) => return busy(status).map(|why| Some(Waits::Moment(why))),
            Ok(None) => return Err(Error::Relay("a purge broke off before its end")),
            Ok(Some(message)) => match message.message {
                Some(Message::Finish(finish)) => {
                    let Some(still) = finish.still_referenced.first() else {
                        tracing::info!(%root, chunks = finish.chunks, bytes = finish.bytes, "purge.told");
                        return Ok(None);
                    };
                    return waits(service, root, still).map(Some);
                }
                Some(Message::Progress(_)) | None => {}
            },
        }
    }
}

/// What still has one of the contents, in a sentence.
fn waits(service: &Service, root: RootId, still: &sync::StillReferenced) -> Result<Waits, Error> {
    use sync::ReferencedBy as By;
    let entry = || {
        if still.entry_id.is_empty() {
            return Ok("a file".to_owned());
        }
        let view = service.view(root);
        let newest = view.newest_point()?;
        let found = view.at(EntryId::from_slice(&still.entry_id).map_err(Malformed::from)?, newest)?;
        let path = found.map(|at| Paths::new(view, newest).of(&at.row().place)).transpose()?;
        Ok::<_, Error>(path.map_or_else(|| "a file".to_owned(), |path| String::from_utf8_lossy(&path).into_owned()))
    };
    Ok(match still.by() {
        By::Entry => Waits::People(format!("{} is there with this content: replace or delete it", entry()?)),
        By::Conflict => Waits::People(format!("a conflict on {} has it as a side: answer it", entry()?)),
        By::Share => Waits::People("a link shows it: take that back with `quics unshare`".into()),
        By::Group => Waits::Moment("a restore brings it back just now".into()),
        By::Upload => Waits::Moment("a device has just sent it again".into()),
        By::Event | By::History => Waits::Moment("history-svc has not heard of everything yet".into()),
        By::Unspecified => Waits::Moment("sync-svc still needs it".into()),
    })
}

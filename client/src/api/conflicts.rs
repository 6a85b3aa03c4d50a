//! The local API's streams about conflicts: contents, and news as they come.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use quics_proto::agent::v1 as api;
use quics_types::RootId;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::agent::conflicts::Error;
use crate::agent::{Root, Shared};

type Reply<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A root that is synced here.
pub(super) fn root(core: &Shared, id: &[u8]) -> Result<Arc<Root>, Error> {
    let id = RootId::from_slice(id).map_err(|_| Error::Request("this is no root's id"))?;
    core.roots.lock().get(&id).cloned().ok_or(Error::NoRoot)
}

/// The bytes of a content.
pub(super) fn read(core: &Shared, request: api::ReadContentRequest) -> Result<Reply<api::ReadContentResponse>, Error> {
    let root = root(core, &request.root_id)?;
    let file = request.file.ok_or(Error::Request("this names no content"))?;
    let like = (!request.like.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(&request.like)));
    let bytes = core.read_content(&root, &file, like)?;
    let told = bytes.map(|piece| match piece {
        Ok(data) => Ok(api::ReadContentResponse { data }),
        Err(failure) => Err(Error::Content(failure).into()),
    });
    Ok(Box::pin(told))
}

/// The news of conflicts from now on.
pub(super) fn watch(core: Shared, stop: CancellationToken) -> Reply<api::WatchPromptsResponse> {
    let news = core.desk.listen();
    let begin = stream::once(async { Ok(api::WatchPromptsResponse::default()) });
    let rest = stream::unfold((news, false), move |(mut news, mut missed)| {
        let (core, stop) = (core.clone(), stop.clone());
        async move {
            loop {
                let prompt = match stop.run_until_cancelled(news.recv()).await? {
                    Ok(prompt) => prompt,
                    Err(RecvError::Lagged(_)) => {
                        missed = true;
                        continue;
                    }
                    Err(RecvError::Closed) => return None,
                };
                // Of a root that was detached meanwhile: nothing to tell.
                let Ok(root) = root(&core, &prompt.root_id) else { continue };
                if let Some(told) = core.tell(&root, &prompt).await {
                    return Some((Ok(api::WatchPromptsResponse { missed, ..told }), (news, false)));
                }
            }
        }
    });
    Box::pin(begin.chain(rest))
}

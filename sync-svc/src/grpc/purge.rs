//! `RelayService.PurgeContents`.

use std::collections::HashSet;
use std::sync::Arc;

use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::purge_contents_response::Message;
use quics_types::{Digest, RootId};
use tokio::sync::mpsc;

use crate::reclaim::{By, Purged, Purging, Still, purge};
use crate::service::Service;
use crate::{Error, encode};

type Answer = Result<sync::PurgeContentsResponse, Error>;

/// Purges and tells of it. It ends when nobody listens any more; then it has to be asked for again.
pub(super) async fn serve(service: Arc<Service>, root: RootId, contents: HashSet<Digest>, out: mpsc::Sender<Answer>) {
    let said = out.clone();
    // Where the reader is slow, progress is left out.
    let tell = move |progress| drop(said.try_send(Ok(response(Message::Progress(message(progress))))));
    tokio::select! {
        () = out.closed() => {}
        done = purge(&service, root, &contents, tell) => {
            drop(out.send(done.map(|done| response(Message::Finish(finish(done))))).await);
        }
    }
}

fn message(progress: Purging) -> sync::PurgeProgress {
    use sync::PurgeStep as Step;
    let (step, done, total) = match progress {
        Purging::Waiting => (Step::Waiting, 0, 0),
        Purging::Moving => (Step::Moving, 0, 0),
        Purging::Marking(done) => (Step::Marking, done, 0),
        Purging::Rewriting { done, total } => (Step::Rewriting, done, total),
        Purging::Dropping => (Step::Dropping, 0, 0),
    };
    sync::PurgeProgress { step: step.into(), done, total }
}

fn finish(done: Purged) -> sync::PurgeFinish {
    let still_referenced = done.still.iter().map(still).collect();
    sync::PurgeFinish { still_referenced, chunks: done.chunks, bytes: done.bytes }
}

fn still(still: &Still) -> sync::StillReferenced {
    let by = match still.by {
        By::Entry => sync::ReferencedBy::Entry,
        By::Conflict => sync::ReferencedBy::Conflict,
        By::Group => sync::ReferencedBy::Group,
        By::Event => sync::ReferencedBy::Event,
        By::History => sync::ReferencedBy::History,
        By::Share => sync::ReferencedBy::Share,
        By::Upload => sync::ReferencedBy::Upload,
    };
    sync::StillReferenced {
        content_id: encode::digest(&still.content),
        by: by.into(),
        entry_id: still.entry.map(encode::entry_id).unwrap_or_default(),
    }
}

fn response(message: Message) -> sync::PurgeContentsResponse {
    sync::PurgeContentsResponse { message: Some(message) }
}

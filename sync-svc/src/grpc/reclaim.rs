//! `AdminService.Reclaim`.

use std::sync::Arc;

use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::reclaim_response::Message;
use tokio::sync::mpsc;

use crate::reclaim::{Done, Order, Progress, round};
use crate::service::Service;
use crate::{Error, encode};

type Answer = Result<sync::ReclaimResponse, Error>;

/// Makes a round and tells of it. It ends when nobody listens any more.
pub(super) async fn serve(service: Arc<Service>, request: sync::ReclaimRequest, out: mpsc::Sender<Answer>) {
    let order = Order { dry_run: request.dry_run, thorough: request.thorough, grace: None };
    let said = out.clone();
    // Where the reader is slow, progress is left out.
    let tell = move |progress| drop(said.try_send(Ok(response(Message::Progress(message(progress))))));
    let rounding = async {
        loop {
            if let Some(done) = round(&service, order, &tell).await? {
                return Ok(finish(done));
            }
        }
    };
    tokio::select! {
        () = out.closed() => {}
        done = rounding => drop(out.send(done.map(|finish| response(Message::Finish(finish)))).await),
    }
}

fn message(progress: Progress) -> sync::ReclaimProgress {
    use sync::ReclaimStep as Step;
    let (step, done, total) = match progress {
        Progress::Waiting => (Step::Waiting, 0, 0),
        Progress::FirstMark(done) => (Step::FirstMark, done, 0),
        Progress::SecondMark(done) => (Step::SecondMark, done, 0),
        Progress::Rewriting { done, total } => (Step::Rewriting, done, total),
    };
    sync::ReclaimProgress { step: step.into(), done, total }
}

fn finish(done: Done) -> sync::ReclaimFinish {
    sync::ReclaimFinish {
        references: done.references,
        chunks: done.chunks,
        chunk_bytes: done.chunk_bytes,
        unneeded_bytes: done.unneeded_bytes,
        segments: done.segments,
        returned_bytes: done.returned_bytes,
        kept_root_ids: done.torn.into_iter().map(encode::root_id).collect(),
    }
}

fn response(message: Message) -> sync::ReclaimResponse {
    sync::ReclaimResponse { message: Some(message) }
}

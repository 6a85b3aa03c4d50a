//! Push: proposals in, verdicts out.
//!
//! A proposal is judged as it comes; its verdict goes out when its commit is durable. So the commits of all proposals that
//! are in flight share a sync. One that names a large content is judged off the runtime's threads, and others may overtake
//! it. What is in flight when a client goes away is committed all the same.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered, Stream, StreamExt};
use quics_kit::caller::Caller;
use quics_kit::telemetry::journey::{self, Stage};
use quics_proto::sync::v1 as sync;
use quics_proto::{Malformed, sync::v1::push_request::Message};
use quics_reconcile::{Proposal, Refusal, Value};
use quics_types::{DeviceId, Role, RootId};
use tokio::sync::mpsc;

use crate::ledger::{Answer, Given, HeldChange, Judged, Request, Resumed, Unrecorded};
use crate::metrics::add;
use crate::{BrakeStage, Error, encode, service::Service};

/// Proposals of one stream that may be in flight.
const IN_FLIGHT: usize = 1024;
/// How often a proposal is tried again because the queue was full or its content not durable yet.
const TRIES: usize = 1000;

type Answered = Result<sync::PushResponse, Error>;

/// Serves one stream of proposals until it ends. The result says how; an end by the client is a good one.
pub(crate) async fn serve(
    service: Arc<Service>,
    device: DeviceId,
    requests: impl Stream<Item = Result<sync::PushRequest, Error>> + Send,
    out: mpsc::Sender<Answered>,
) {
    let (quick, slow) = (FuturesOrdered::new(), FuturesUnordered::new());
    let mut push = Push { service, device, out, quick, slow, opened: false };
    let ended = push.take(std::pin::pin!(requests)).await;
    if !matches!(ended, Err(Error::Cut)) {
        push.land().await;
    }
    if let Err(error) = ended {
        // A client that is gone does not need to know.
        drop(push.out.send(Err(error)).await);
    }
}

struct Push {
    service: Arc<Service>,
    device: DeviceId,
    out: mpsc::Sender<Answered>,
    /// Judged and not durable yet, in the order of their commits.
    quick: FuturesOrdered<BoxFuture<'static, Answered>>,
    /// Not judged yet.
    slow: FuturesUnordered<BoxFuture<'static, Answered>>,
    opened: bool,
}

impl Push {
    async fn take(
        &mut self,
        mut requests: std::pin::Pin<&mut (impl Stream<Item = Result<sync::PushRequest, Error>> + Send)>,
    ) -> Result<(), Error> {
        let shutdown = self.service.shutdown.clone();
        loop {
            tokio::select! {
                Some(answer) = self.quick.next(), if !self.quick.is_empty() => self.send(answer?).await?,
                Some(answer) = self.slow.next(), if !self.slow.is_empty() => self.send(answer?).await?,
                request = requests.next(), if self.quick.len() + self.slow.len() < IN_FLIGHT => match request {
                    Some(request) => self.handle(request?).await?,
                    None => return Ok(()),
                },
                () = shutdown.cancelled() => return Err(Error::Draining),
                () = self.out.closed() => return Err(Error::Cut),
            }
        }
    }

    /// Follows what is in flight to its end.
    async fn land(&mut self) {
        let mut all = std::mem::take(&mut self.quick).chain(std::mem::take(&mut self.slow));
        while let Some(answer) = all.next().await {
            if self.out.send(answer).await.is_err() {
                return;
            }
        }
    }

    async fn send(&mut self, response: sync::PushResponse) -> Result<(), Error> {
        self.out.send(Ok(response)).await.map_err(|_| Error::Cut)
    }

    async fn handle(&mut self, request: sync::PushRequest) -> Result<(), Error> {
        match (request.message, self.opened) {
            (Some(Message::Open(_)), false) => {
                self.opened = true;
                let opened = sync::PushOpened { version: Some(crate::version()) };
                self.send(response(sync::push_response::Message::Opened(opened))).await
            }
            (Some(Message::Proposal(proposal)), true) => self.propose(request_of(self.device, proposal)?).await,
            (Some(Message::Resume(resume)), true) => self.resume(resume).await,
            _ => Err(Error::Protocol("a push begins with open, then come proposals and resumes")),
        }
    }

    async fn propose(&mut self, request: Request) -> Result<(), Error> {
        let service = self.service.clone();
        add(&service.metrics.proposals, 1);
        let guard = service.guard(Caller::Device(self.device));
        let role = match guard.role(request.root) {
            Ok(role) => role,
            Err(_) => guard.role_soon(request.root).await?,
        };
        let refusal = if role == Role::Reader {
            Some(Refusal::ReadOnly)
        } else if service.room.is_low() && adds_content(&request.proposal) {
            Some(Refusal::NoSpace)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            // What was accepted before stays so.
            return match service.ledger.recall(&request)? {
                Some(answer) => self.answered(request, answer),
                None => {
                    let outcome = quics_reconcile::Verdict::Refused(refusal);
                    let outcome = sync::verdict::Outcome::from_domain(&outcome, service.ledger.cursor(0));
                    add(&service.metrics.refused, 1);
                    self.send(verdict(&request, outcome)).await
                }
            };
        }
        if service.ledger.is_slow(&request) {
            self.slow.push(Box::pin(propose_slowly(service, request)));
            return Ok(());
        }
        for _ in 0..TRIES {
            match service.propose(&request) {
                Err(error) if error.is_busy() => service.ledger.meta().room().await,
                Ok(Answer::Unflushed(_)) => {
                    self.slow.push(Box::pin(propose_slowly(service, request)));
                    return Ok(());
                }
                other => return self.answered(request, other?),
            }
        }
        Err(quics_meta::Error::Busy.into())
    }

    fn answered(&mut self, request: Request, answer: Answer) -> Result<(), Error> {
        self.quick.push_back(Box::pin(finish(self.service.clone(), request, answer)));
        Ok(())
    }

    async fn resume(&mut self, resume: sync::Resume) -> Result<(), Error> {
        let root = encode::root(&resume.root_id)?;
        let service = self.service.clone();
        service.guard(Caller::Device(self.device)).role_soon(root).await?;
        let mut tries = 0;
        let receipt = loop {
            match service.ledger.resume(root, self.device, resume.incarnation) {
                Ok(Resumed::Begun(receipt)) => break receipt,
                Ok(Resumed::Fenced) => {
                    let fenced = sync::Verdict {
                        root_id: resume.root_id,
                        incarnation: resume.incarnation,
                        seq: 0,
                        outcome: Some(sync::verdict::Outcome::Fenced(sync::Fenced {})),
                        proposal: None,
                    };
                    return self.send(response(sync::push_response::Message::Verdict(fenced))).await;
                }
                Err(error) if error.is_busy() && tries < TRIES => service.ledger.meta().room().await,
                Err(error) => return Err(error),
            }
            tries += 1;
        };
        receipt.await?;
        let mut at = Unrecorded::default();
        loop {
            let device = self.device;
            let step = move |service: &Service| {
                let page = service.ledger.unrecorded(root, device, &mut at)?;
                Ok((page, at))
            };
            let (page, next) = service.blocking(step).await?;
            at = next;
            let Some(page) = page else { break };
            for Given { incarnation, seq, entry } in page {
                let proposal = sync::Proposal {
                    root_id: resume.root_id.clone(),
                    incarnation,
                    seq,
                    recorded_seq: entry.recorded,
                    change: Some((&entry.proposal).into()),
                    inline_content: None,
                    lease_id: Default::default(),
                };
                let verdict = sync::Verdict {
                    root_id: resume.root_id.clone(),
                    incarnation,
                    seq,
                    outcome: Some(encode::outcome(&entry)),
                    proposal: Some(proposal),
                };
                self.send(response(sync::push_response::Message::Verdict(verdict))).await?;
            }
        }
        self.tell_held(root, &resume).await?;
        let resumed = sync::Resumed { root_id: resume.root_id, incarnation: resume.incarnation };
        self.send(response(sync::push_response::Message::Resumed(resumed))).await
    }
}

/// Held changes that are told at a time.
const HELD: usize = 256;

impl Push {
    /// Tells an incarnation what is held of its predecessors.
    async fn tell_held(&mut self, root: RootId, resume: &sync::Resume) -> Result<(), Error> {
        let (device, mut after) = (self.device, None);
        loop {
            let read = move |service: &Service| {
                let on = service.ledger.brakes(root)?.on(device).is_some_and(|brake| brake.stage == BrakeStage::On);
                Ok((service.ledger.held(root, device, after, HELD)?, on))
            };
            let (page, on) = self.service.clone().blocking(read).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            for HeldChange { held, .. } in page {
                let (incarnation, seq) = held.order;
                if incarnation == resume.incarnation {
                    continue;
                }
                let proposal = sync::Proposal {
                    root_id: resume.root_id.clone(),
                    incarnation,
                    seq,
                    change: Some((&held.proposal).into()),
                    ..Default::default()
                };
                let told = quics_reconcile::Verdict::Held { seq: if on { held.seq } else { 0 } };
                let verdict = sync::Verdict {
                    root_id: resume.root_id.clone(),
                    incarnation,
                    seq,
                    outcome: Some(sync::verdict::Outcome::from_domain(&told, self.service.ledger.cursor(0))),
                    proposal: Some(proposal),
                };
                self.send(response(sync::push_response::Message::Verdict(verdict))).await?;
            }
        }
    }
}

/// Judges a proposal off the runtime's threads, waiting for its content to become durable where that is needed.
async fn propose_slowly(service: Arc<Service>, request: Request) -> Answered {
    let request = Arc::new(request);
    for _ in 0..TRIES {
        let walk = service.walks.acquire().await.map_err(|_| Error::Draining)?;
        let asked = request.clone();
        let answer = service.blocking(move |service| service.propose(&asked)).await;
        drop(walk);
        match answer {
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            Ok(Answer::Unflushed(position)) => service.flushed_to(position).await?,
            other => return finish(service, Arc::unwrap_or_clone(request), other?).await,
        }
    }
    Err(quics_meta::Error::Busy.into())
}

/// Waits until a verdict may be told, and says it.
async fn finish(service: Arc<Service>, request: Request, answer: Answer) -> Answered {
    let begun = journey::begin();
    let outcome = match answer {
        Answer::Fenced => sync::verdict::Outcome::Fenced(sync::Fenced {}),
        Answer::Missing(digests) => {
            add(&service.metrics.missing, 1);
            let digests = digests.iter().map(encode::digest).collect();
            sync::verdict::Outcome::Missing(sync::Missing { digests })
        }
        Answer::Unflushed(_) => return Err(Error::Task),
        Answer::Judged(judged) => {
            let Judged { receipt, entry, changed } = *judged;
            if let Some(receipt) = receipt {
                receipt.await?;
            }
            count(&service, &entry.verdict, changed);
            if let (true, quics_reconcile::Verdict::Accepted(accepted)) = (changed, &entry.verdict) {
                let row = &accepted.row;
                journey::reached(Stage::Committed, request.root, row.id, row.time, begun);
            }
            encode::outcome(&entry)
        }
    };
    Ok(verdict(&request, outcome))
}

fn count(service: &Service, verdict: &quics_reconcile::Verdict, changed: bool) {
    let metrics = &service.metrics;
    add(&metrics.commits, u64::from(changed));
    match verdict {
        quics_reconcile::Verdict::Conflict { .. } => add(&metrics.conflicts, 1),
        quics_reconcile::Verdict::Refused(_) => add(&metrics.refused, 1),
        _ => {}
    }
}

/// Whether a proposal makes the stored contents or the tree grow.
fn adds_content(proposal: &Proposal) -> bool {
    match proposal {
        Proposal::Create { .. } => true,
        Proposal::Change(change) => {
            change.content.as_ref().is_some_and(|content| !matches!(content.value, Value::File { size: 0, .. }))
        }
        Proposal::Delete { .. } | Proposal::Withdraw { .. } => false,
    }
}

fn request_of(device: DeviceId, message: sync::Proposal) -> Result<Request, Error> {
    let change = message.change.ok_or(Malformed::Missing("the change"))?;
    Ok(Request {
        root: encode::root(&message.root_id)?,
        device,
        incarnation: message.incarnation,
        seq: message.seq,
        recorded: message.recorded_seq,
        proposal: change.try_into()?,
        inline: message.inline_content,
    })
}

fn verdict(request: &Request, outcome: sync::verdict::Outcome) -> sync::PushResponse {
    response(sync::push_response::Message::Verdict(sync::Verdict {
        root_id: encode::root_id(request.root),
        incarnation: request.incarnation,
        seq: request.seq,
        outcome: Some(outcome),
        proposal: None,
    }))
}

fn response(message: sync::push_response::Message) -> sync::PushResponse {
    sync::PushResponse { message: Some(message) }
}

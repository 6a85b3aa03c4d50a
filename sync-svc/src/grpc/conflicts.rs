//! The calls about conflicts, answers and settings: decode, call, encode.

use std::collections::BTreeSet;

use bytes::Bytes;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_types::{EntryId, LeaseId, ResolutionId, Settings, limits};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::{Answers, Grpc, WAITING, malformed, outgoing, page_size, refuse, root_of};
use crate::ledger::{Answering, Resolve, Undo};
use crate::{Error, encode, prompt, resolve};

fn entry_of(id: &[u8]) -> Result<EntryId, Status> {
    EntryId::from_slice(id).map_err(malformed)
}

fn resolution_of(id: &[u8]) -> Result<ResolutionId, Status> {
    ResolutionId::from_slice(id).map_err(malformed)
}

fn answering(answer: sync::Answer) -> Result<Answering, Status> {
    let choice = answer.choice.ok_or_else(|| malformed(Malformed::Missing("the choice")))?;
    let (choice, inline) = match choice.to_domain().map_err(malformed)? {
        Ok((choice, inline)) => (Ok(choice), inline),
        Err(name) => (Err(name), None),
    };
    Ok(Answering { entry: entry_of(&answer.entry_id)?, revision: answer.revision, choice, inline })
}

impl Grpc {
    pub(super) async fn conflicts(
        &self,
        request: Request<sync::ListConflictsRequest>,
    ) -> Result<Response<sync::ListConflictsResponse>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        let root = root_of(&request.root_id)?;
        self.service.guard(caller).role_soon(root).await.map_err(refuse)?;
        let after = match &request.page_token[..] {
            "" => None,
            token => Some(token.parse::<EntryId>().map_err(malformed)?),
        };
        let limit = page_size(request.page_size);
        let page = self.service.blocking(move |service| service.ledger.conflicts(root, after, limit));
        let page = page.await.map_err(refuse)?;
        Ok(Response::new(sync::ListConflictsResponse {
            conflicts: page.conflicts.iter().map(|(id, entry)| encode::conflict(*id, entry)).collect(),
            next_page_token: page.next.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    pub(super) async fn conflict(
        &self,
        request: Request<sync::GetConflictRequest>,
    ) -> Result<Response<sync::GetConflictResponse>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        let root = root_of(&request.root_id)?;
        self.service.guard(caller).role_soon(root).await.map_err(refuse)?;
        let id = entry_of(&request.entry_id)?;
        let entry = self.service.ledger.conflict(root, id).map_err(refuse)?;
        let entry = entry.ok_or_else(|| refuse(Error::NotFound("a conflict on this entry")))?;
        Ok(Response::new(sync::GetConflictResponse { conflict: Some(encode::conflict(id, &entry)) }))
    }

    pub(super) async fn prompts(
        &self,
        request: Request<sync::PromptRequest>,
    ) -> Result<Response<Answers<sync::PromptResponse>>, Status> {
        let caller = self.caller(&request)?;
        let roots = request.into_inner().root_ids;
        if roots.len() > prompt::ROOTS {
            return Err(malformed(Malformed::Range("the number of roots")));
        }
        let roots: BTreeSet<_> = roots.iter().map(|root| root_of(root)).collect::<Result<_, _>>()?;
        let (out, answers) = mpsc::channel(WAITING);
        self.service.run(prompt::serve(self.service.clone(), caller, roots.into_iter().collect(), out));
        Ok(outgoing(answers))
    }

    pub(super) async fn answer(
        &self,
        request: Request<sync::ResolveRequest>,
    ) -> Result<Response<sync::ResolveResponse>, Status> {
        let device = self.device(&request)?;
        let request = request.into_inner();
        let (root, id) = (root_of(&request.root_id)?, resolution_of(&request.resolution_id)?);
        if !(1..=limits::ANSWERS).contains(&request.answers.len()) {
            return Err(malformed(Malformed::Range("the number of answers")));
        }
        if !request.lease_id.is_empty() {
            let lease = LeaseId::from_slice(&request.lease_id).map_err(malformed)?;
            self.service.contents().may_hold(root, lease, device).map_err(refuse)?;
        }
        let answers = request.answers.into_iter().map(answering).collect::<Result<Vec<_>, _>>()?;
        let entries: BTreeSet<_> = answers.iter().map(|answering| answering.entry).collect();
        if entries.len() < answers.len() {
            return Err(malformed(Malformed::Range("an entry that is answered twice")));
        }
        let request = Resolve { root, id, device, answers };
        let answered = resolve::resolve(self.service.clone(), request).await.map_err(refuse)?;
        Ok(Response::new(sync::ResolveResponse {
            done: answered.done,
            outcomes: answered.outcomes.iter().map(encode::answered).collect(),
            cursor: answered.done.then(|| self.service.ledger.cursor(answered.seq).into()),
        }))
    }

    pub(super) async fn take_back(
        &self,
        request: Request<sync::UndoResolutionRequest>,
    ) -> Result<Response<sync::UndoResolutionResponse>, Status> {
        let device = self.device(&request)?;
        let request = request.into_inner();
        let undo = Undo {
            root: root_of(&request.root_id)?,
            resolution: resolution_of(&request.resolution_id)?,
            id: resolution_of(&request.undo_id)?,
            device,
        };
        let undone = resolve::undo(self.service.clone(), undo).await.map_err(refuse)?;
        let ids = |ids: &[EntryId]| ids.iter().map(|id| encode::entry_id(*id)).collect::<Vec<Bytes>>();
        Ok(Response::new(sync::UndoResolutionResponse {
            reopened_entry_ids: ids(&undone.turned),
            changed_entry_ids: ids(&undone.changed),
            cursor: Some(self.service.ledger.cursor(undone.seq).into()),
        }))
    }

    pub(super) async fn resolutions(
        &self,
        request: Request<sync::ListResolutionsRequest>,
    ) -> Result<Response<sync::ListResolutionsResponse>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        let root = root_of(&request.root_id)?;
        self.service.guard(caller).role_soon(root).await.map_err(refuse)?;
        let before = match &request.page_token[..] {
            "" => None,
            token => Some(token.parse().map_err(|_| malformed(Malformed::Range("the page token")))?),
        };
        let limit = page_size(request.page_size);
        let page = self.service.blocking(move |service| service.ledger.resolutions(root, before, limit));
        let page = page.await.map_err(refuse)?;
        Ok(Response::new(sync::ListResolutionsResponse {
            resolutions: page.resolutions.iter().map(encode::listed).collect(),
            next_page_token: page.next.map(|seq| seq.to_string()).unwrap_or_default(),
        }))
    }

    pub(super) async fn settings(
        &self,
        request: Request<sync::GetSettingsRequest>,
    ) -> Result<Response<sync::GetSettingsResponse>, Status> {
        let caller = self.caller(&request)?;
        let root = root_of(&request.into_inner().root_id)?;
        self.service.guard(caller).role_soon(root).await.map_err(refuse)?;
        let settings = self.service.ledger.settings(root).map_err(refuse)?;
        Ok(Response::new(sync::GetSettingsResponse { settings: Some((&settings).into()) }))
    }

    pub(super) async fn change_settings(
        &self,
        request: Request<sync::SetSettingsRequest>,
    ) -> Result<Response<sync::SetSettingsResponse>, Status> {
        let device = self.device(&request)?;
        let request = request.into_inner();
        let root = root_of(&request.root_id)?;
        let settings = request.settings.ok_or_else(|| malformed(Malformed::Missing("the settings")))?;
        let settings = Settings::try_from(settings).map_err(malformed)?;
        let settings = resolve::set_settings(self.service.clone(), device, root, settings).await.map_err(refuse)?;
        Ok(Response::new(sync::SetSettingsResponse { settings: Some((&settings).into()) }))
    }
}

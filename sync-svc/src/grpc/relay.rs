//! The calls of `quics.sync.v1.RelayService`: for our own services only.

use std::sync::Arc;

use quics_kit::caller::{self, Caller};
use quics_kit::names;
use quics_kit::status::status;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::relay_service_server::{RelayService, RelayServiceServer};
use quics_types::{GroupId, limits};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, WAITING, digests_of, incoming, outgoing, purge, refuse, root_of};
use crate::db::groups::{GroupEntry, Stage};
use crate::service::Service;
use crate::{Error, encode, group, relay};

/// Contents of one purge.
const PURGED: usize = 1024;
/// Messages of a purge that wait for their reader.
const TOLD: usize = 16;

/// What other services may ask.
pub(crate) struct Relay {
    service: Arc<Service>,
}

impl Relay {
    /// Makes the routes' service.
    pub(crate) fn server(service: Arc<Service>) -> RelayServiceServer<Self> {
        RelayServiceServer::new(Self { service })
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES)
    }

    fn state(&self, entry: &GroupEntry) -> sync::GroupState {
        encode::group(entry, self.service.ledger.cursor(entry.seq))
    }

    /// Fails unless history-svc calls.
    fn history<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match Caller::of(request, self.service.clock().now()) {
            Ok(Caller::Service(names::Service::History)) => Ok(()),
            Ok(_) => Err(status(&caller::Error::Kind("history-svc"))),
            Err(error) => Err(status(&error)),
        }
    }
}

#[tonic::async_trait]
impl RelayService for Relay {
    type FollowEventsStream = Answers<sync::FollowEventsResponse>;
    type PurgeContentsStream = Answers<sync::PurgeContentsResponse>;

    async fn follow_events(
        &self,
        request: Request<Streaming<sync::FollowEventsRequest>>,
    ) -> Result<Response<Self::FollowEventsStream>, Status> {
        self.history(&request)?;
        let (out, answers) = mpsc::channel(WAITING);
        self.service.run(relay::serve(self.service.clone(), incoming(request.into_inner()), out));
        Ok(outgoing(answers))
    }

    async fn apply_group(
        &self,
        request: Request<Streaming<sync::ApplyGroupRequest>>,
    ) -> Result<Response<sync::ApplyGroupResponse>, Status> {
        self.history(&request)?;
        let applying = group::apply(self.service.clone(), incoming(request.into_inner()));
        // A task of its own: what has begun goes on even if the caller has given the call up.
        let (done, answer) = oneshot::channel();
        self.service.run(async move { drop(done.send(applying.await)) });
        let entry = answer.await.unwrap_or(Err(Error::Task)).map_err(refuse)?;
        Ok(Response::new(sync::ApplyGroupResponse { state: Some(self.state(&entry)) }))
    }

    async fn get_group(
        &self,
        request: Request<sync::GetGroupRequest>,
    ) -> Result<Response<sync::GetGroupResponse>, Status> {
        self.history(&request)?;
        let request = request.into_inner();
        let root = root_of(&request.root_id)?;
        let group = GroupId::from_slice(&request.group_id).map_err(|error| refuse(Malformed::from(error)))?;
        let entry = self.service.ledger.group(root, group).map_err(refuse)?;
        let entry = entry.filter(|entry| entry.stage != Stage::Open);
        let entry = entry.ok_or_else(|| refuse(Error::NotFound("a group of this id")))?;
        Ok(Response::new(sync::GetGroupResponse { state: Some(self.state(&entry)) }))
    }

    async fn purge_contents(
        &self,
        request: Request<sync::PurgeContentsRequest>,
    ) -> Result<Response<Self::PurgeContentsStream>, Status> {
        self.history(&request)?;
        let request = request.into_inner();
        let root = root_of(&request.root_id)?;
        let contents = digests_of(&request.content_ids)?;
        if contents.is_empty() || contents.len() > PURGED {
            return Err(refuse(Error::Protocol("a purge is of 1 to 1024 contents")));
        }
        let (out, answers) = mpsc::channel(TOLD);
        self.service.run(purge::serve(self.service.clone(), root, contents.into_iter().collect(), out));
        Ok(outgoing(answers))
    }
}

//! The calls about brakes: decode, call, encode.

use quics_proto::{Malformed, sync::v1 as sync};
use quics_types::{DeviceId, EntryId};
use tonic::{Request, Response, Status};

use super::{Grpc, malformed, page_size, refuse, root_of};
use crate::{BrakeStage, brake, encode};

fn device_of(id: &[u8]) -> Result<DeviceId, Status> {
    DeviceId::from_slice(id).map_err(malformed)
}

impl Grpc {
    pub(super) async fn brakes(
        &self,
        request: Request<sync::ListBrakesRequest>,
    ) -> Result<Response<sync::ListBrakesResponse>, Status> {
        let caller = self.caller(&request)?;
        let root = root_of(&request.into_inner().root_id)?;
        let (listed, share_percent) = brake::list(self.service.clone(), caller, root).await.map_err(refuse)?;
        let one = |it: &brake::Listed| sync::ListedBrake {
            brake: Some(encode::brake(&it.brake)),
            held: it.held,
            held_bytes: it.bytes,
        };
        Ok(Response::new(sync::ListBrakesResponse { brakes: listed.iter().map(one).collect(), share_percent }))
    }

    pub(super) async fn held(
        &self,
        request: Request<sync::ListHeldRequest>,
    ) -> Result<Response<sync::ListHeldResponse>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        let of = (root_of(&request.root_id)?, device_of(&request.device_id)?);
        let after = match &request.page_token[..] {
            "" => None,
            token => Some(token.parse::<EntryId>().map_err(malformed)?),
        };
        let limit = page_size(request.page_size);
        let page = brake::held(self.service.clone(), caller, of, after, limit).await.map_err(refuse)?;
        let full = page.len() == limit;
        let next = page.last().filter(|_| full).map(|last| last.id.to_string());
        Ok(Response::new(sync::ListHeldResponse {
            changes: page.iter().map(encode::held).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    pub(super) async fn decide(
        &self,
        request: Request<sync::DecideBrakeRequest>,
    ) -> Result<Response<sync::DecideBrakeResponse>, Status> {
        let by = self.device(&request)?;
        let request = request.into_inner();
        let stage = match request.decision() {
            sync::BrakeStage::Released => BrakeStage::Released,
            sync::BrakeStage::TakenBack => BrakeStage::TakenBack,
            _ => return Err(malformed(Malformed::Range("the decision"))),
        };
        let root = root_of(&request.root_id)?;
        let brake = (device_of(&request.device_id)?, request.since_seq);
        let brakes = brake::decide(self.service.clone(), by, root, brake, stage).await.map_err(refuse)?;
        Ok(Response::new(sync::DecideBrakeResponse { brakes: brakes.brakes.iter().map(encode::brake).collect() }))
    }

    pub(super) async fn configure_brake(
        &self,
        request: Request<sync::SetBrakeRequest>,
    ) -> Result<Response<sync::SetBrakeResponse>, Status> {
        let by = self.device(&request)?;
        let request = request.into_inner();
        let root = root_of(&request.root_id)?;
        brake::set(self.service.clone(), by, root, request.share_percent).await.map_err(refuse)?;
        Ok(Response::new(sync::SetBrakeResponse {}))
    }
}

//! The calls of `quics.share.v1.AdminService`, on the ops port.

use std::sync::Arc;

use quics_kit::status::status;
use quics_proto::share::v1 as share;
use quics_proto::share::v1::admin_service_server::{AdminService, AdminServiceServer};
use tonic::{Request, Response, Status};

use crate::service::Service;
use crate::store;

/// Operations.
pub(crate) struct Admin {
    service: Arc<Service>,
}

impl Admin {
    /// Makes the routes' service.
    pub(crate) fn server(service: Arc<Service>) -> AdminServiceServer<Self> {
        AdminServiceServer::new(Self { service })
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_statistics(
        &self,
        _: Request<share::GetStatisticsRequest>,
    ) -> Result<Response<share::GetStatisticsResponse>, Status> {
        let counts = self.service.blocking(|service| store::count(service.reads())).await;
        let roots = counts.map_err(|error| status(&error))?.into_iter().map(|(root, count)| share::RootStatistics {
            root_id: bytes::Bytes::copy_from_slice(root.as_bytes()),
            links: count.links,
            revoked: count.revoked,
        });
        Ok(Response::new(share::GetStatisticsResponse { roots: roots.collect() }))
    }
}

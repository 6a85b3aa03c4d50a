//! The calls of `quics.history.v1.AdminService`, on the ops port.

use std::sync::Arc;

use quics_proto::history::v1 as history;
use quics_proto::history::v1::admin_service_server::{AdminService, AdminServiceServer};
use tonic::{Request, Response, Status};

use crate::service::Service;

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
        _: Request<history::GetStatisticsRequest>,
    ) -> Result<Response<history::GetStatisticsResponse>, Status> {
        let _ = &self.service;
        Ok(Response::new(history::GetStatisticsResponse::default()))
    }
}

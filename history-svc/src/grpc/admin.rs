//! The calls of `quics.history.v1.AdminService`, on the ops port.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use quics_proto::history::v1 as history;
use quics_proto::history::v1::admin_service_server::{AdminService, AdminServiceServer};
use quics_proto::sync::v1::EventPosition;
use quics_records::Reads;
use tonic::{Request, Response, Status};

use super::refuse;
use crate::service::Service;
use crate::{Error, store};

/// Roots of one look at the store.
const ROOTS: usize = 1024;

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

fn statistics(service: &Service) -> Result<history::GetStatisticsResponse, Error> {
    let applied = store::durable(&*service.meta)?;
    let mut roots = Vec::new();
    let mut after = None;
    loop {
        let page = store::roots(Reads::durable(&*service.meta), after, ROOTS)?;
        after = page.last().map(|(root, _)| *root);
        let last = page.len() < ROOTS;
        roots.extend(page.into_iter().map(|(root, state)| history::RootStatistics {
            root_id: bytes::Bytes::copy_from_slice(root.as_bytes()),
            versions: state.versions,
            seq: state.point.seq,
        }));
        if last {
            break;
        }
    }
    Ok(history::GetStatisticsResponse {
        roots,
        position: applied.position.map(|(epoch, number)| EventPosition { epoch, number }),
        following: service.following.load(Relaxed),
        gaps: applied.gaps,
        chains: applied.chains,
    })
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_statistics(
        &self,
        _: Request<history::GetStatisticsRequest>,
    ) -> Result<Response<history::GetStatisticsResponse>, Status> {
        Ok(Response::new(self.service.blocking(statistics).await.map_err(refuse)?))
    }
}

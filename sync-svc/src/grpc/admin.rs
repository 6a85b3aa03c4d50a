//! The calls of `quics.sync.v1.AdminService`, on the ops port.

use std::ops::ControlFlow;
use std::sync::Arc;

use quics_kit::service::AdminToken;
use quics_kit::status::status;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::admin_service_server::{AdminService, AdminServiceServer};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::{Answers, outgoing, reclaim, refuse};
use crate::service::Service;
use crate::{Error, encode};

/// Roots of one look at the store.
const ROOTS: usize = 1024;
/// Chunks between two messages of a verification.
const PROGRESS: u64 = 1024;

/// Messages of a round of reclaiming that wait for their reader.
const TOLD: usize = 16;

/// Operations.
pub(crate) struct Admin {
    service: Arc<Service>,
    token: AdminToken,
}

impl Admin {
    /// Makes the routes' service.
    pub(crate) fn server(service: Arc<Service>, token: AdminToken) -> AdminServiceServer<Self> {
        AdminServiceServer::new(Self { service, token })
    }
}

fn statistics(service: &Service) -> Result<sync::GetStatisticsResponse, Error> {
    let mut roots = Vec::new();
    let mut after = None;
    loop {
        let page = service.ledger.counts(after, ROOTS)?;
        after = page.last().map(|counts| counts.root);
        let last = page.len() < ROOTS;
        roots.extend(page.into_iter().map(|counts| sync::RootStatistics {
            root_id: encode::root_id(counts.root),
            entries: counts.entries,
            tombstones: counts.tombstones,
            open_conflicts: counts.conflicts,
            seq: counts.seq,
            resolutions: counts.resolutions,
        }));
        if last {
            break;
        }
    }
    let stats = service.contents().chunks().stats();
    service.room.look();
    Ok(sync::GetStatisticsResponse {
        roots,
        chunks: stats.chunks,
        chunk_bytes: stats.stored_bytes,
        quarantined_chunks: stats.damaged,
        outbox_records: service.ledger.outbox_records()?,
        watching_devices: service.hub.watchers() as u64,
        free_bytes: service.room.free(),
    })
}

/// Verifies both stores; `false` if nobody listens any more.
fn verify(service: &Service, out: &mpsc::Sender<Result<sync::VerifyStoresResponse, Error>>) -> Result<(), Error> {
    service.ledger.meta().verify()?;
    let mut said = 0;
    let found = service.contents().chunks().verify_all(&mut |progress| {
        if progress.chunks < said + PROGRESS {
            return ControlFlow::Continue(());
        }
        said = progress.chunks;
        let message = sync::VerifyStoresResponse {
            chunks_read: progress.chunks,
            bytes_read: progress.bytes,
            ..Default::default()
        };
        match out.blocking_send(Ok(message)) {
            Ok(()) if !service.shutdown.is_cancelled() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    })?;
    for (root, digest) in &found.damaged {
        service.lost(*root, *digest);
    }
    let last = sync::VerifyStoresResponse {
        chunks_read: found.verified + found.damaged_count,
        bytes_read: service.contents().chunks().stats().live_bytes,
        damaged: found.damaged_count,
        finished: found.complete,
        wanted: service.contents().wanted_count()?,
    };
    // Who has gone does not need to know.
    drop(out.blocking_send(Ok(last)));
    Ok(())
}

#[tonic::async_trait]
impl AdminService for Admin {
    type VerifyStoresStream = Answers<sync::VerifyStoresResponse>;
    type ReclaimStream = Answers<sync::ReclaimResponse>;

    async fn get_statistics(
        &self,
        _: Request<sync::GetStatisticsRequest>,
    ) -> Result<Response<sync::GetStatisticsResponse>, Status> {
        Ok(Response::new(self.service.blocking(statistics).await.map_err(refuse)?))
    }

    async fn verify_stores(
        &self,
        request: Request<sync::VerifyStoresRequest>,
    ) -> Result<Response<Self::VerifyStoresStream>, Status> {
        // It quarantines what it finds damaged.
        self.token.check(request.metadata()).map_err(|denied| status(&denied))?;
        let (out, answers) = mpsc::channel(2);
        let service = self.service.clone();
        self.service.run(async move {
            let told = out.clone();
            if let Err(error) = service.blocking(move |service| verify(service, &told)).await {
                // Who has gone does not need to know.
                drop(out.send(Err(error)).await);
            }
        });
        Ok(outgoing(answers))
    }

    async fn reclaim(&self, request: Request<sync::ReclaimRequest>) -> Result<Response<Self::ReclaimStream>, Status> {
        self.token.check(request.metadata()).map_err(|denied| status(&denied))?;
        let (out, answers) = mpsc::channel(TOLD);
        self.service.run(reclaim::serve(self.service.clone(), request.into_inner(), out));
        Ok(outgoing(answers))
    }
}

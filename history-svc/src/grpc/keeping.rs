//! The calls of `quics.history.v1.KeepingService`.

use quics_proto::history::v1 as history;
use quics_proto::history::v1::keeping_service_server::{KeepingService, KeepingServiceServer};
use quics_records::{Reads, get, pieces, put};
use quics_types::{DeviceId, RootId, limits};
use tonic::{Request, Response, Status};

use super::{Grpc, refuse};
use crate::Error;
use crate::db::keys;
use crate::encode::{self, keeping};
use crate::keep::policy::Policy;
use crate::keep::{open, pins, purge, sweep, usage};
use crate::query;
use crate::service::Service;
use crate::view::View;

impl Grpc {
    /// Makes the routes' service.
    pub(crate) fn keeping(service: std::sync::Arc<Service>) -> KeepingServiceServer<Self> {
        KeepingServiceServer::new(Self { service })
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES)
    }

    /// The root that is asked for, and the device of somebody who may write there.
    async fn writer<T>(&self, request: &Request<T>, root: &[u8]) -> Result<(DeviceId, RootId), Status> {
        let (caller, root) = self.read(request, root).await?;
        let device = caller.device().map_err(refuse)?;
        self.service.guard(caller).writer(root).map_err(refuse)?;
        Ok((device, root))
    }

    /// The root that is asked for, and the device of an owner.
    async fn owner<T>(&self, request: &Request<T>, root: &[u8]) -> Result<(DeviceId, RootId), Status> {
        let (caller, root) = self.read(request, root).await?;
        let device = caller.device().map_err(refuse)?;
        self.service.guard(caller).owner(root).map_err(refuse)?;
        Ok((device, root))
    }

    /// Changes what is kept: `change` reads what was submitted last, and nobody else changes it meanwhile. What it gives is
    /// answered when its batch is durable.
    async fn change<T: Send + 'static>(
        &self,
        root: RootId,
        change: impl Fn(&Service, View<'_>) -> Result<(quics_meta::Batch, T), Error> + Send + Sync + 'static,
    ) -> Result<T, Status> {
        let change = std::sync::Arc::new(change);
        loop {
            let change = change.clone();
            let submitted = self.service.blocking(move |service| {
                let _keeping = service.keeping.lock();
                let (batch, told) = change(service, View::new(Reads::latest(&*service.meta), root))?;
                Ok((service.meta.submit(batch)?, told))
            });
            match submitted.await {
                Err(Error::Meta(quics_meta::Error::Busy)) => self.service.meta.room().await,
                Err(error) => return Err(refuse(error)),
                Ok((receipt, told)) => {
                    receipt.await.map_err(refuse)?;
                    return Ok(told);
                }
            }
        }
    }

    /// Goes through all versions of a root.
    async fn count<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Service) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let permit = self.service.counting.clone().try_acquire_owned().map_err(|_| refuse(Error::Counting))?;
        let counting = self.service.blocking(move |service| {
            // Until the work ends, whoever has gone meanwhile.
            let _permit = permit;
            work(service)
        });
        counting.await.map_err(refuse)
    }
}

#[tonic::async_trait]
impl KeepingService for Grpc {
    async fn get_policy(
        &self,
        request: Request<history::GetPolicyRequest>,
    ) -> Result<Response<history::GetPolicyResponse>, Status> {
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let asked = self.service.blocking(move |service| {
            let view = service.view(root);
            let swept = sweep::Sweep::of(view)?;
            Ok(history::GetPolicyResponse {
                policy: Some(keeping::policy(&Policy::of(view)?)),
                swept_at: swept.as_ref().and_then(|swept| swept.ended).and_then(encode::stamp),
                taken: swept.map_or(0, |swept| swept.taken),
            })
        });
        Ok(Response::new(asked.await.map_err(refuse)?))
    }

    async fn set_policy(
        &self,
        request: Request<history::SetPolicyRequest>,
    ) -> Result<Response<history::SetPolicyResponse>, Status> {
        let (device, root) = self.owner(&request, &request.get_ref().root_id).await?;
        let request = request.into_inner();
        let asked = keeping::asked(request.policy.unwrap_or_default());
        asked.check().map_err(refuse)?;
        if request.dry_run {
            let spared = open::spared(&self.service, root).await.map_err(refuse)?;
            let removes = self.count(move |service| {
                let told = keeping::policy(&asked);
                Ok((told, sweep::preview(service.view(root), asked, service.now(), &spared)?))
            });
            let (policy, removes) = removes.await?;
            return Ok(Response::new(history::SetPolicyResponse {
                policy: Some(policy),
                removes: keeping::amount(removes),
            }));
        }
        let set = self.change(root, move |service, view| {
            let key = keys::policy(root);
            let before = get::<Policy>(view.reads, &key)?;
            if before.as_ref().map_or(0, |before| before.record.revision) != asked.revision {
                return Err(Error::Changed);
            }
            let (device_name, user_name) = service.names(device);
            let revision = asked.revision + 1;
            let policy = Policy { revision, device, device_name, user_name, at: service.now(), ..asked.clone() };
            let mut batch = quics_meta::Batch::new();
            put(&mut batch, key, &policy, pieces(&before));
            Ok((batch, keeping::policy(&policy)))
        });
        let policy = set.await?;
        self.service.look.notify_one();
        Ok(Response::new(history::SetPolicyResponse { policy: Some(policy), removes: None }))
    }

    async fn pin(&self, request: Request<history::PinRequest>) -> Result<Response<history::PinResponse>, Status> {
        let (device, root) = self.writer(&request, &request.get_ref().root_id).await?;
        let request = request.into_inner();
        let subject = encode::subject_or_root(request.subject).map_err(refuse)?;
        let moment = encode::moment(request.moment).map_err(refuse)?;
        let pinned = self.change(root, move |service, view| {
            let at = query::version(view, &subject, moment, service.now())?;
            let pin = pins::by(service, device, request.note.clone());
            let batch = pins::pin(view, &at, &pin)?;
            Ok((batch, pins::message(encode::version(view, &at)?, pin)))
        });
        Ok(Response::new(history::PinResponse { pin: Some(pinned.await?) }))
    }

    async fn unpin(&self, request: Request<history::UnpinRequest>) -> Result<Response<history::UnpinResponse>, Status> {
        let (_, root) = self.writer(&request, &request.get_ref().root_id).await?;
        let request = request.into_inner();
        let subject = encode::subject_or_root(request.subject).map_err(refuse)?;
        let moment = encode::moment(request.moment).map_err(refuse)?;
        let unpinned = self.change(root, move |service, view| {
            let at = query::version(view, &subject, moment, service.now())?;
            let version = history::Version { pinned: false, ..encode::version(view, &at)? };
            Ok((pins::unpin(view, &at)?, version))
        });
        Ok(Response::new(history::UnpinResponse { version: Some(unpinned.await?) }))
    }

    async fn list_pins(
        &self,
        request: Request<history::ListPinsRequest>,
    ) -> Result<Response<history::ListPinsResponse>, Status> {
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let request = request.into_inner();
        let asked = self.service.blocking(move |service| pins::list(service.view(root), &request));
        Ok(Response::new(asked.await.map_err(refuse)?))
    }

    async fn get_usage(
        &self,
        request: Request<history::GetUsageRequest>,
    ) -> Result<Response<history::GetUsageResponse>, Status> {
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let subject = encode::subject_or_root(request.into_inner().subject).map_err(refuse)?;
        let counted = self.count(move |service| usage::usage(service.view(root), &subject, service.now()));
        Ok(Response::new(counted.await?))
    }

    async fn purge(&self, request: Request<history::PurgeRequest>) -> Result<Response<history::PurgeResponse>, Status> {
        let (device, root) = self.owner(&request, &request.get_ref().root_id).await?;
        let request = request.into_inner();
        let id = encode::group(&request.purge_id).map_err(refuse)?;
        let asked = purge::Asked {
            subject: encode::subject_or_root(request.subject).map_err(refuse)?,
            moment: encode::moment(request.moment).map_err(refuse)?,
            reason: request.reason,
            until: (request.until_seq > 0).then_some(request.until_seq),
        };
        // Where sync-svc is away a purge is written down all the same: it refuses by itself what is in question.
        let open = open::conflicts(&self.service, root).await.unwrap_or_else(|error| {
            tracing::info!(%root, %error, "purge.conflicts_not_asked");
            Default::default()
        });
        if request.dry_run {
            let found = self.count(move |service| {
                let view = service.view(root);
                let found = purge::find(service, view, device, &asked, &open)?;
                let versions: Result<_, Error> = found.shown.iter().map(|at| encode::version(view, at)).collect();
                let purge = Some(found.purge.message(id));
                Ok(history::PurgeResponse { purge, versions: versions?, seq: found.seq })
            });
            return Ok(Response::new(found.await?));
        }
        // Found without the lock, which would keep everybody waiting; each version is looked at again when it is marked.
        let found = self.count(move |service| {
            let view = service.view(root);
            match purge::Purge::of(view, id)? {
                Some(purge) => Ok(Err(purge)),
                None => Ok(Ok(purge::find(service, view, device, &asked, &open)?)),
            }
        });
        let (told, seq) = match found.await? {
            Err(known) => (known.message(id), 0),
            Ok(found) => {
                let found = std::sync::Arc::new(found);
                let (told, seq) = (found.purge.message(id), found.seq);
                self.change(root, move |_, _| Ok((purge::write(root, id, &found), ()))).await?;
                self.service.purge.notify_one();
                (told, seq)
            }
        };
        Ok(Response::new(history::PurgeResponse { purge: Some(told), versions: Vec::new(), seq }))
    }

    async fn get_purge(
        &self,
        request: Request<history::GetPurgeRequest>,
    ) -> Result<Response<history::GetPurgeResponse>, Status> {
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let id = encode::group(&request.get_ref().purge_id).map_err(refuse)?;
        let asked = self.service.blocking(move |service| {
            let purge = purge::Purge::of(service.view(root), id)?.ok_or(Error::NotFound("this purge"))?;
            Ok(history::GetPurgeResponse { purge: Some(purge.message(id)) })
        });
        Ok(Response::new(asked.await.map_err(refuse)?))
    }

    async fn list_purges(
        &self,
        request: Request<history::ListPurgesRequest>,
    ) -> Result<Response<history::ListPurgesResponse>, Status> {
        let (_, root) = self.read(&request, &request.get_ref().root_id).await?;
        let asked = self
            .service
            .blocking(move |service| Ok(history::ListPurgesResponse { purges: purge::list(service.view(root))? }));
        Ok(Response::new(asked.await.map_err(refuse)?))
    }
}

//! The service's calls: who calls, what is asked, and errors as statuses.

pub(crate) mod admin;
pub(crate) mod encode;
pub(crate) mod references;

use std::sync::Arc;

use quics_kit::caller::Caller;
use quics_kit::names;
use quics_kit::secret::Secret;
use quics_kit::status::status;
use quics_proto::Malformed;
use quics_proto::share::v1 as share;
use quics_proto::share::v1::share_service_server::{ShareService, ShareServiceServer};
use quics_types::{DeviceId, Role, RootId, limits};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use crate::db::records::Password;
use crate::desk::Token;
use crate::making::{self, Asked};
use crate::policy::{self, Rules};
use crate::service::Service;
use crate::store::{self, Known};
use crate::{Error, listing};

/// The calls of `quics.share.v1.ShareService`.
pub(crate) struct Grpc {
    service: Arc<Service>,
}

/// What another service ended a call with.
pub(crate) fn lost(service: names::Service) -> impl Fn(Status) -> Error {
    move |status| match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Error::Away(service),
        code => Error::Sister { code, message: status.message().to_owned() },
    }
}

fn refuse(error: impl Into<Error>) -> Status {
    status(&error.into())
}

impl Grpc {
    /// Makes the routes' service.
    pub(crate) fn server(service: Arc<Service>) -> ShareServiceServer<Self> {
        ShareServiceServer::new(Self { service })
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES)
    }

    /// The device that calls.
    fn device<T>(&self, request: &Request<T>) -> Result<DeviceId, Status> {
        let caller = Caller::of(request, self.service.clock().now()).map_err(refuse)?;
        let device = caller.device().map_err(refuse)?;
        self.service.access.seen(device);
        Ok(device)
    }

    /// The root that is asked for, of one of its members.
    async fn member<T>(&self, request: &Request<T>, root: &[u8]) -> Result<(DeviceId, RootId, Role), Status> {
        let device = self.device(request)?;
        let root = RootId::from_slice(root).map_err(|error| refuse(Malformed::from(error)))?;
        let role = self.service.guard(Caller::Device(device)).role_soon(root).await.map_err(refuse)?;
        Ok((device, root, role))
    }

    /// The link that is asked for, of somebody who may see it.
    async fn link<T>(&self, request: &Request<T>, id: &[u8]) -> Result<(DeviceId, Known), Status> {
        let device = self.device(request)?;
        let id = encode::link(id).map_err(refuse)?;
        let found = self.service.blocking(move |service| {
            let known = store::by_id(service.reads(), id)?;
            Ok(known.filter(|known| listing::may_see(service, device, known)))
        });
        let known = found.await.map_err(refuse)?.ok_or_else(|| refuse(Error::NoLink))?;
        Ok((device, known))
    }

    fn message(&self, known: &Known) -> Option<share::Link> {
        Some(encode::message(known, self.service.now()))
    }
}

#[tonic::async_trait]
impl ShareService for Grpc {
    async fn create_link(
        &self,
        request: Request<share::CreateLinkRequest>,
    ) -> Result<Response<share::CreateLinkResponse>, Status> {
        let (device, root, _) = self.member(&request, &request.get_ref().root_id).await?;
        let request = request.into_inner();
        let token: [u8; crate::token::BYTES] =
            request.token[..].try_into().map_err(|_| refuse(Error::Asked("a link's token has 32 bytes".to_owned())))?;
        let asked = Asked {
            id: encode::link(&request.link_id).map_err(refuse)?,
            token: Token(token),
            root,
            subject: encode::subject(request.subject).map_err(refuse)?,
            moment: request.moment.filter(|moment| moment.moment.is_some()),
            live: request.live,
            expiry: encode::expiry(request.expiry).map_err(refuse)?,
            limit: request.limit,
            password: request.password.map(|password| Secret::from(password.into_bytes())),
            label: request.label,
        };
        // A task of its own: what has begun goes on even if the caller has given the call up.
        let (done, answer) = oneshot::channel();
        let making = making::create(self.service.clone(), device, asked);
        self.service.run(async move { drop(done.send(making.await)) });
        let known = answer.await.unwrap_or(Err(Error::Task)).map_err(refuse)?;
        let url = format!("{}{}", self.service.url_base, data_encoding::BASE64URL_NOPAD.encode(&token));
        Ok(Response::new(share::CreateLinkResponse { link: self.message(&known), url }))
    }

    async fn list_links(
        &self,
        request: Request<share::ListLinksRequest>,
    ) -> Result<Response<share::ListLinksResponse>, Status> {
        let device = self.device(&request)?;
        let request = request.into_inner();
        if !request.root_id.is_empty() {
            let root = RootId::from_slice(&request.root_id).map_err(|error| refuse(Malformed::from(error)))?;
            self.service.guard(Caller::Device(device)).role_soon(root).await.map_err(refuse)?;
        }
        let listed = self.service.blocking(move |service| listing::links(service, device, &request));
        Ok(Response::new(listed.await.map_err(refuse)?))
    }

    async fn update_link(
        &self,
        request: Request<share::UpdateLinkRequest>,
    ) -> Result<Response<share::UpdateLinkResponse>, Status> {
        let (device, known) = self.link(&request, &request.get_ref().link_id).await?;
        let request = request.into_inner();
        let expiry = encode::expiry(request.expiry).map_err(refuse)?;
        if let Some(label) = &request.label {
            making::label(label).map_err(refuse)?;
        }
        let password = match request.password {
            None => None,
            Some(password) if password.is_empty() => Some(None),
            Some(password) => {
                let hash = self.service.passwords.hash(Secret::from(password.into_bytes())).await.map_err(refuse)?;
                Some(Some(Password { hash }))
            }
        };
        let (id, limit, label) = (known.id, request.limit, request.label);
        let locked = password.is_some();
        let change = move |service: &Service, reads: quics_records::Reads<'_>, batch: &mut quics_meta::Batch| {
            let mut known = store::by_id(reads, id)?.ok_or(Error::NoLink)?;
            if known.link.revoked.is_some() {
                return Err(Error::Unfit("the link was taken back: make a new one".to_owned()));
            }
            let rules = Rules::of(service.policy, &policy::of(reads, known.root)?);
            // Who may not make a link any more does not make one last longer either, nor open it wider.
            rules.may_share(service.guard(Caller::Device(device)).role(known.root)?)?;
            if expiry.is_some() {
                known.link.expires = rules.expiry(expiry, service.now())?;
            }
            if let Some(limit) = limit {
                known.link.limit = (limit > 0).then_some(limit);
            }
            if let Some(password) = &password {
                rules.password(password.is_some())?;
                known.link.password = password.clone();
                known.link.password_revision += 1;
            }
            if let Some(label) = &label {
                known.link.label = label.clone();
            }
            store::set(reads, batch, &known)?;
            Ok(known)
        };
        let known = self.service.change(change).await.map_err(refuse)?;
        if locked {
            self.service.cut(id);
        }
        Ok(Response::new(share::UpdateLinkResponse { link: self.message(&known) }))
    }

    async fn revoke_link(
        &self,
        request: Request<share::RevokeLinkRequest>,
    ) -> Result<Response<share::RevokeLinkResponse>, Status> {
        let (device, known) = self.link(&request, &request.get_ref().link_id).await?;
        let known = making::revoke(&self.service, device, known.id).await.map_err(refuse)?;
        Ok(Response::new(share::RevokeLinkResponse { link: self.message(&known) }))
    }

    async fn list_downloads(
        &self,
        request: Request<share::ListDownloadsRequest>,
    ) -> Result<Response<share::ListDownloadsResponse>, Status> {
        let (_, known) = self.link(&request, &request.get_ref().link_id).await?;
        let request = request.into_inner();
        let listed = self.service.blocking(move |service| listing::downloads(service, known.id, &request));
        Ok(Response::new(listed.await.map_err(refuse)?))
    }

    async fn get_policy(
        &self,
        request: Request<share::GetPolicyRequest>,
    ) -> Result<Response<share::GetPolicyResponse>, Status> {
        let (_, root, _) = self.member(&request, &request.get_ref().root_id).await?;
        let read = self.service.blocking(move |service| policy::of(service.reads(), root));
        let policy = Some(encode::policy(&read.await.map_err(refuse)?));
        let server = Some(encode::server_policy(self.service.policy));
        Ok(Response::new(share::GetPolicyResponse { policy, server }))
    }

    async fn set_policy(
        &self,
        request: Request<share::SetPolicyRequest>,
    ) -> Result<Response<share::SetPolicyResponse>, Status> {
        let (device, root, _) = self.member(&request, &request.get_ref().root_id).await?;
        self.service.guard(Caller::Device(device)).owner(root).map_err(refuse)?;
        let asked = encode::asked_policy(request.into_inner().policy.unwrap_or_default()).map_err(refuse)?;
        let change = move |service: &Service, reads: quics_records::Reads<'_>, batch: &mut quics_meta::Batch| {
            if policy::of(reads, root)?.revision != asked.revision {
                return Err(Error::Changed);
            }
            let mut policy = asked.clone();
            policy.revision += 1;
            (policy.device_name, policy.user_name) = service.names(device);
            policy.at = Some(service.now());
            store::set_policy(reads, batch, root, &policy)?;
            Ok(policy)
        };
        let policy = self.service.change(change).await.map_err(refuse)?;
        Ok(Response::new(share::SetPolicyResponse { policy: Some(encode::policy(&policy)) }))
    }
}

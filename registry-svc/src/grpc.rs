//! The contract of `quics.registry.v1.RegistryService`: decode, ask the registry, encode.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;

use quics_kit::caller::{self, Caller};
use quics_kit::clock::millis;
use quics_kit::identity::Certificate;
use quics_kit::secret::Secret;
use quics_kit::status::status;
use quics_proto::registry::v1 as proto;
use quics_proto::registry::v1::registry_service_server::RegistryService;
use quics_quic::{Connections, Peer};
use quics_types::{DeviceId, RootId, UnitNames, UserId};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status};

use crate::authority::key_hash;
use crate::error::{Error, Result};
use crate::metrics;
use crate::service::Registry;

/// Devices in one report.
const MAX_SEEN: usize = 4096;

/// What a method answers.
pub(crate) type Answer<T> = std::result::Result<Response<T>, Status>;

/// Turns what the registry says into what a method answers, and counts it.
pub(crate) fn answer<T>(method: &'static str, result: Result<T>) -> Answer<T> {
    match result {
        Ok(message) => {
            metrics::call(method, Code::Ok);
            Ok(Response::new(message))
        }
        Err(error) => {
            let refused = status(&error);
            metrics::call(method, refused.code());
            tracing::debug!(method, code = ?refused.code(), "call.refused");
            Err(refused)
        }
    }
}

/// Serves devices and services.
#[derive(Debug)]
pub(crate) struct Grpc {
    registry: Registry,
    connections: Connections,
}

/// A device that may call, and its user.
struct Known {
    device: DeviceId,
    user: UserId,
}

impl Grpc {
    /// Serves `registry`; `connections` are the server's own, to be cut when their device is revoked.
    pub(crate) fn new(registry: Registry, connections: Connections) -> Self {
        Self { registry, connections }
    }

    /// The caller's key and who that is; whether the certificate has run out is the caller's business.
    fn caller<T>(&self, request: &Request<T>) -> Result<(Caller, bool, [u8; 32])> {
        let (caller, expired) = Caller::of_expired_too(request, self.registry.now())?;
        let peer = request.extensions().get::<Peer>().ok_or(caller::Error::Anonymous)?;
        let certificate = peer.certificate.as_ref().ok_or(caller::Error::Anonymous)?;
        Ok((caller, expired, key_hash(&Certificate::read(certificate)?.public)))
    }

    async fn device<T>(&self, request: &Request<T>) -> Result<Known> {
        let (caller, expired, key) = self.caller(request)?;
        if expired {
            return Err(caller::Error::Expired.into());
        }
        let device = caller.device()?;
        let user = self.registry.known_device(device, &key)?;
        self.registry.heard(device).await?;
        Ok(Known { device, user })
    }

    fn service<T>(&self, request: &Request<T>) -> Result<quics_kit::names::Service> {
        Ok(Caller::of(request, self.registry.now())?.service()?)
    }
}

fn remote<T>(request: &Request<T>) -> IpAddr {
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    request.extensions().get::<Peer>().map_or(unknown, |peer| peer.remote.ip().to_canonical())
}

#[tonic::async_trait]
impl RegistryService for Grpc {
    async fn enrol(&self, request: Request<proto::EnrolRequest>) -> Answer<proto::EnrolResponse> {
        let from = remote(&request);
        answer("enrol", self.registry.enrol(from, request.into_inner()).await)
    }

    async fn renew(&self, request: Request<proto::RenewRequest>) -> Answer<proto::RenewResponse> {
        let work = async {
            let (caller, _, key) = self.caller(&request)?;
            self.registry.renew(caller, key, &request.get_ref().certificate_request).await
        };
        answer("renew", work.await)
    }

    async fn create_ticket(&self, request: Request<proto::CreateTicketRequest>) -> Answer<proto::CreateTicketResponse> {
        let work = async {
            let known = self.device(&request).await?;
            let (ticket, expires_at) = self.registry.make_ticket(known.user).await?;
            Ok(proto::CreateTicketResponse { ticket, expires_at: Some(quics_kit::clock::timestamp(expires_at)) })
        };
        answer("create_ticket", work.await)
    }

    async fn get_services(&self, request: Request<proto::GetServicesRequest>) -> Answer<proto::GetServicesResponse> {
        let work = async {
            let (caller, ..) = self.caller(&request)?;
            match caller {
                Caller::Service(_) => {
                    self.service(&request)?;
                }
                _ => {
                    self.device(&request).await?;
                }
            }
            Ok(proto::GetServicesResponse { services: Some(self.registry.services()?) })
        };
        answer("get_services", work.await)
    }

    async fn list_devices(&self, request: Request<proto::ListDevicesRequest>) -> Answer<proto::ListDevicesResponse> {
        let work = async {
            let known = self.device(&request).await?;
            let root = &request.get_ref().root_id;
            let devices = if root.is_empty() {
                self.registry.devices_of(known.user, Some(known.device))?
            } else {
                self.registry.devices_of_members(RootId::from_slice(root)?, known.user, known.device)?
            };
            Ok(proto::ListDevicesResponse { devices })
        };
        answer("list_devices", work.await)
    }

    async fn revoke_device(&self, request: Request<proto::RevokeDeviceRequest>) -> Answer<proto::RevokeDeviceResponse> {
        let work = async {
            let known = self.device(&request).await?;
            let device = DeviceId::from_slice(&request.get_ref().device_id)?;
            self.registry.revoke(device, Some(known.user)).await?;
            // A device that leaves gets its answer; every further call of it is refused.
            if device != known.device {
                self.connections.close(|peer| caller::is_device(peer, device), "revoked");
            }
            Ok(proto::RevokeDeviceResponse {})
        };
        answer("revoke_device", work.await)
    }

    async fn create_root(&self, request: Request<proto::CreateRootRequest>) -> Answer<proto::CreateRootResponse> {
        let work = async {
            let known = self.device(&request).await?;
            let message = request.into_inner();
            let id = RootId::from_slice(&message.root_id)?;
            let grants = message.password_role().to_domain();
            let units = UnitNames::from_bytes(message.unit_names)?;
            let by_password = (Secret::from(message.password.into_bytes()), grants);
            let root =
                self.registry.create_root(known.user, known.device, id, message.name, units, by_password).await?;
            Ok(proto::CreateRootResponse { root: Some(root) })
        };
        answer("create_root", work.await)
    }

    async fn list_roots(&self, request: Request<proto::ListRootsRequest>) -> Answer<proto::ListRootsResponse> {
        let work = async {
            let known = self.device(&request).await?;
            Ok(proto::ListRootsResponse { roots: self.registry.list_roots(known.user, known.device)? })
        };
        answer("list_roots", work.await)
    }

    async fn attach_root(&self, request: Request<proto::AttachRootRequest>) -> Answer<proto::AttachRootResponse> {
        let work = async {
            let known = self.device(&request).await?;
            let message = request.into_inner();
            let id = RootId::from_slice(&message.root_id)?;
            let password = Secret::from(message.password.into_bytes());
            let root = self.registry.attach(known.user, known.device, id, password).await?;
            Ok(proto::AttachRootResponse { root: Some(root) })
        };
        answer("attach_root", work.await)
    }

    async fn detach_root(&self, request: Request<proto::DetachRootRequest>) -> Answer<proto::DetachRootResponse> {
        let work = async {
            let known = self.device(&request).await?;
            let id = RootId::from_slice(&request.get_ref().root_id)?;
            self.registry.detach(known.user, known.device, id).await?;
            Ok(proto::DetachRootResponse {})
        };
        answer("detach_root", work.await)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = std::result::Result<proto::WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Answer<Self::WatchStream> {
        let work = async {
            let service = self.service(&request)?;
            self.registry.note_service(service, request.into_inner().address).await?;
            tracing::info!(%service, "watch.begin");
            Ok(self.registry.watch())
        };
        let answered = answer("watch", work.await)?;
        Ok(answered.map(|events| {
            let events = ReceiverStream::new(events).map(|event| event.map_err(|error| status(&error)));
            Box::pin(events) as Self::WatchStream
        }))
    }

    async fn report(&self, request: Request<proto::ReportRequest>) -> Answer<proto::ReportResponse> {
        let work = async {
            self.service(&request)?;
            let seen = request.into_inner().seen;
            if seen.len() > MAX_SEEN {
                return Err(Error::Malformed("a report names more than 4096 devices"));
            }
            let seen = seen.into_iter().map(|seen| {
                let time = seen.seen_at.unwrap_or_default();
                let seconds = u64::try_from(time.seconds).unwrap_or(0);
                let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
                Ok((DeviceId::from_slice(&seen.device_id)?, at.map_or(0, millis)))
            });
            self.registry.note_seen(seen.collect::<Result<_>>()?).await?;
            Ok(proto::ReportResponse {})
        };
        answer("report", work.await)
    }
}

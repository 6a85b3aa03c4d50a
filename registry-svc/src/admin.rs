//! The contract of `quics.registry.v1.AdminService`, on the ops port; calls that change something need the admin token.

use bytes::Bytes;
use quics_kit::caller;
use quics_kit::clock::{from_millis, timestamp};
use quics_kit::secret::Secret;
use quics_kit::service::AdminToken;
use quics_proto::common::v1 as common;
use quics_proto::registry::v1 as proto;
use quics_proto::registry::v1::admin_service_server::AdminService;
use quics_quic::Connections;
use quics_types::{DeviceId, RootId, UserId};
use tonic::Request;

use crate::db::User;
use crate::error::{Error, Result};
use crate::grpc::{Answer, answer};
use crate::service::Registry;

/// Serves administrators.
#[derive(Debug)]
pub(crate) struct Admin {
    registry: Registry,
    connections: Connections,
    token: AdminToken,
}

impl Admin {
    /// Serves `registry` to those who have `token`.
    pub(crate) fn new(registry: Registry, connections: Connections, token: AdminToken) -> Self {
        Self { registry, connections, token }
    }

    fn check<T>(&self, request: &Request<T>) -> Result<()> {
        Ok(self.token.check(request.metadata())?)
    }
}

fn describe(id: UserId, user: User) -> proto::User {
    proto::User {
        user_id: Bytes::copy_from_slice(id.as_bytes()),
        name: user.name,
        password_set: !user.password.is_empty(),
        created_at: Some(timestamp(from_millis(user.created_at))),
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn list_users(&self, _: Request<proto::ListUsersRequest>) -> Answer<proto::ListUsersResponse> {
        let users = self.registry.users().map(|users| {
            let users = users.into_iter().map(|(id, user)| describe(id, user)).collect();
            proto::ListUsersResponse { users }
        });
        answer("admin.list_users", users)
    }

    async fn add_user(&self, request: Request<proto::AddUserRequest>) -> Answer<proto::AddUserResponse> {
        let work = async {
            self.check(&request)?;
            let (id, user) = self.registry.add_user(&request.get_ref().name).await?;
            Ok(proto::AddUserResponse { user: Some(describe(id, user)) })
        };
        answer("admin.add_user", work.await)
    }

    async fn set_user_password(
        &self,
        request: Request<proto::SetUserPasswordRequest>,
    ) -> Answer<proto::SetUserPasswordResponse> {
        let work = async {
            self.check(&request)?;
            let message = request.into_inner();
            self.registry.set_password(&message.user, Secret::from(message.password.into_bytes())).await?;
            Ok(proto::SetUserPasswordResponse {})
        };
        answer("admin.set_user_password", work.await)
    }

    async fn issue_ticket(&self, request: Request<proto::IssueTicketRequest>) -> Answer<proto::IssueTicketResponse> {
        let work = async {
            self.check(&request)?;
            let user = self.registry.user_named(&request.get_ref().user)?;
            let (ticket, expires_at) = self.registry.make_ticket(user).await?;
            Ok(proto::IssueTicketResponse { ticket, expires_at: Some(timestamp(expires_at)) })
        };
        answer("admin.issue_ticket", work.await)
    }

    async fn list_all_devices(
        &self,
        _: Request<proto::ListAllDevicesRequest>,
    ) -> Answer<proto::ListAllDevicesResponse> {
        let work = || {
            let mut devices = Vec::new();
            for (user, _) in self.registry.users()? {
                devices.extend(self.registry.devices_of(user, None)?);
            }
            Ok(proto::ListAllDevicesResponse { devices })
        };
        answer("admin.list_all_devices", work())
    }

    async fn revoke_any_device(
        &self,
        request: Request<proto::RevokeAnyDeviceRequest>,
    ) -> Answer<proto::RevokeAnyDeviceResponse> {
        let work = async {
            self.check(&request)?;
            let message = request.get_ref();
            let device = match message.device_id.is_empty() {
                true => self.registry.device_named(&message.name)?,
                false => DeviceId::from_slice(&message.device_id)?,
            };
            self.registry.revoke(device, None).await?;
            self.connections.close(|peer| caller::is_device(peer, device), "revoked");
            Ok(proto::RevokeAnyDeviceResponse {})
        };
        answer("admin.revoke_any_device", work.await)
    }

    async fn list_all_roots(&self, _: Request<proto::ListAllRootsRequest>) -> Answer<proto::ListAllRootsResponse> {
        answer("admin.list_all_roots", self.registry.all_roots().map(|roots| proto::ListAllRootsResponse { roots }))
    }

    async fn set_member(&self, request: Request<proto::SetMemberRequest>) -> Answer<proto::SetMemberResponse> {
        let work = async {
            self.check(&request)?;
            let message = request.get_ref();
            let root = match message.root_id.is_empty() {
                true => self.registry.root_named(&message.root_name)?,
                false => RootId::from_slice(&message.root_id)?,
            };
            let user = self.registry.user_named(&message.user)?;
            let role = common::Role::try_from(message.role).map_err(|_| Error::Malformed("there is no such role"))?;
            self.registry.set_member(root, user, role.to_domain()).await?;
            Ok(proto::SetMemberResponse {})
        };
        answer("admin.set_member", work.await)
    }
}

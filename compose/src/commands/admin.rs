//! The commands that ask registry-svc's ops port: `ticket`, `user add`, `user list`.

use anyhow::{Context as _, Result, anyhow};
use quics_kit::{data::read_small, names::Service};
use quics_proto::registry::v1::{
    AddUserRequest, IssueTicketRequest, ListUsersRequest, admin_service_client::AdminServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::data::Data;

/// How long a call may take.
const CALL: std::time::Duration = std::time::Duration::from_secs(20);

/// registry-svc's admin service, and the right to change something there.
struct Admin {
    client: AdminServiceClient<Channel>,
    bearer: MetadataValue<Ascii>,
}

impl Admin {
    async fn connect(data: &Data) -> Result<Self> {
        let record = data.running()?;
        let registry = record.services.iter().find(|service| service.name == Service::Registry.as_str());
        let address = &registry.context("registry is starting; try again in a moment")?.ops;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.timeout(CALL);
        let channel = endpoint.connect().await;
        let channel =
            channel.with_context(|| format!("registry does not answer at {address}; try again in a moment"))?;
        let token = read_small(&data.service(Service::Registry).join("admin.token"), 256)?;
        let token = String::from_utf8(token.context("the server's admin token is not in its data directory")?)?;
        let bearer = format!("Bearer {}", token.trim()).parse()?;
        Ok(Self { client: AdminServiceClient::new(channel), bearer })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request
    }
}

/// Makes a one-time ticket for a device of `user`, or of the only user.
pub(crate) async fn issue_ticket(data: &Data, user: Option<String>) -> Result<String> {
    let mut admin = Admin::connect(data).await?;
    let request = admin.request(IssueTicketRequest { user: user.unwrap_or_default() });
    Ok(admin.client.issue_ticket(request).await.map_err(told)?.into_inner().ticket)
}

/// Prints a one-time ticket, and nothing else, so that a script can take it.
pub(crate) async fn ticket(data: &Data, user: Option<String>) -> Result<()> {
    println!("{}", issue_ticket(data, user).await?);
    Ok(())
}

/// Makes a user.
pub(crate) async fn add_user(data: &Data, name: String) -> Result<()> {
    let mut admin = Admin::connect(data).await?;
    let request = admin.request(AddUserRequest { name: name.clone() });
    admin.client.add_user(request).await.map_err(told)?;
    println!("{name} is known now; a ticket for a device of {name}: quics-stack ticket --user {name}");
    Ok(())
}

/// Lists the users.
pub(crate) async fn list_users(data: &Data, json: bool) -> Result<()> {
    let mut admin = Admin::connect(data).await?;
    let request = admin.request(ListUsersRequest {});
    let users = admin.client.list_users(request).await.map_err(told)?.into_inner().users;
    if json {
        let users: Vec<_> = users.iter().map(|user| serde_json::json!({ "name": user.name })).collect();
        println!("{}", serde_json::to_string_pretty(&users)?);
    } else {
        users.iter().for_each(|user| println!("{}", user.name));
    }
    Ok(())
}

/// What the server said, without the words of the protocol.
fn told(status: Status) -> anyhow::Error {
    if status.message().is_empty() { anyhow!("registry: {:?}", status.code()) } else { anyhow!("{}", status.message()) }
}

//! The commands that ask registry-svc's ops port: `ticket`, `user add`, `user password`, `user list`, `member`.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use anyhow::{Context as _, Result, anyhow};
use quics_kit::{data::read_small, names::Service};
use quics_proto::common::v1::Role;
use quics_proto::registry::v1::{
    AddUserRequest, IssueTicketRequest, ListUsersRequest, SetMemberRequest, SetUserPasswordRequest,
    admin_service_client::AdminServiceClient,
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

/// A service's ops port, and the right to change something there.
pub(super) async fn operations(data: &Data, service: Service) -> Result<(Channel, MetadataValue<Ascii>)> {
    let record = data.running()?;
    let found = record.services.iter().find(|found| found.name == service.as_str());
    let address = &found.with_context(|| format!("{service} is starting; try again in a moment"))?.ops;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await;
    let channel = channel.with_context(|| format!("{service} does not answer at {address}; try again in a moment"))?;
    let token = read_small(&data.service(service).join("admin.token"), 256)?;
    let token = String::from_utf8(token.context("the server's admin token is not in its data directory")?)?;
    Ok((channel, format!("Bearer {}", token.trim()).parse()?))
}

impl Admin {
    async fn connect(data: &Data) -> Result<Self> {
        let (channel, bearer) = operations(data, Service::Registry).await?;
        Ok(Self { client: AdminServiceClient::new(channel), bearer })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(CALL);
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

/// Sets a user's password, or ends joining by it; prints how a device joins by it.
pub(crate) async fn set_password(data: &Data, name: String, off: bool) -> Result<()> {
    let mut admin = Admin::connect(data).await?;
    let password = if off { String::new() } else { read_password(&name)? };
    let request = admin.request(SetUserPasswordRequest { user: name.clone(), password });
    admin.client.set_user_password(request).await.map_err(told)?;
    if off {
        println!("devices of {name} join by ticket only now");
        return Ok(());
    }
    println!("a device of {name} may join by this password now:\n");
    println!("    quics join HOST:PORT --password --user {name}\n");
    match data.fingerprint()? {
        Some(fingerprint) => println!("it shows the server's fingerprint, which is {fingerprint}"),
        None => println!("it shows the server's fingerprint: compare it with `quics-stack status`"),
    }
    Ok(())
}

/// Gives a user a role in a root; `Unspecified` ends the membership.
pub(crate) async fn set_member(data: &Data, root: String, user: String, role: Role) -> Result<()> {
    let mut admin = Admin::connect(data).await?;
    let (root_name, root_id) = (root.clone(), Vec::new().into());
    let request = admin.request(SetMemberRequest { root_id, root_name, user: user.clone(), role: role.into() });
    admin.client.set_member(request).await.map_err(told)?;
    match role.to_domain() {
        Some(role) => println!("{user} is a {role} of {root} now"),
        None => println!("{user} has nothing to do with {root} any more"),
    }
    Ok(())
}

/// Asks twice at a terminal, without echo; reads a line otherwise.
fn read_password(name: &str) -> Result<String> {
    /// The longest that is read.
    const LIMIT: u64 = 1024;
    let terminal = console::Term::stderr();
    let password = if io::stdin().is_terminal() {
        let ask = |prompt: &str| -> Result<String> {
            terminal.write_str(prompt)?;
            Ok(terminal.read_secure_line()?)
        };
        let first = ask(&format!("New password of {name}: "))?;
        if ask("The same again: ")? != first {
            return Err(anyhow!("the two passwords differ: nothing was changed, try again"));
        }
        first
    } else {
        let mut line = String::new();
        io::stdin().lock().take(LIMIT).read_line(&mut line).context("read the password")?;
        line.trim_end_matches(['\n', '\r']).to_owned()
    };
    if password.is_empty() {
        return Err(anyhow!("no password was given: type it at the prompt, or send it to standard input"));
    }
    Ok(password)
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
pub(super) fn told(status: Status) -> anyhow::Error {
    if status.message().is_empty() {
        anyhow!("the service failed: {:?}", status.code())
    } else {
        anyhow!("{}", status.message())
    }
}

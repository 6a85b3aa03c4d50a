//! The agent's local API: `quics.agent.v1` on a Unix socket of mode 0600 in the home.
//!
//! Who may open the socket may call everything, so the socket is its owner's alone from its first moment: it is bound
//! in a directory of mode 0700. Paths of any length work: a socket's own limit of 108 bytes is passed by a handle to its
//! directory.

use std::io;
use std::path::Path;

use quics_proto::agent::v1::agent_service_client::AgentServiceClient;
use rustix::fs::Mode;
use tokio::net::UnixListener;
use tonic::transport::{Channel, Endpoint};

mod conflicts;
mod listing;
mod server;
mod socket;

pub(crate) use server::serve;

/// A connection to a running agent.
pub type Client = AgentServiceClient<Channel>;

/// Listens for the command line. The caller holds the home, so a socket that is there belongs to nobody.
///
/// # Errors
/// What the system says.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    quics_kit::data::remove(path).map_err(io::Error::other)?;
    let listener = socket::bind(path)?;
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
    Ok(listener)
}

/// Connects to the agent that listens at `path`; `None` when none does.
///
/// # Errors
/// What the system says, where an agent may be there and cannot be reached.
pub async fn connect(path: &Path) -> io::Result<Option<Client>> {
    match socket::connect(path).await {
        Ok(probe) => drop(probe),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let path = path.to_owned();
    // The address is of no use to a Unix socket, and HTTP wants one.
    let channel =
        Endpoint::from_static("http://agent.quics").connect_with_connector_lazy(tower::service_fn(move |_| {
            let path = path.clone();
            async move { socket::connect(&path).await.map(hyper_util::rt::TokioIo::new) }
        }));
    Ok(Some(AgentServiceClient::new(channel).max_decoding_message_size(quics_types::limits::MESSAGE_BYTES)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_may_lie_deep() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("agent.sock");
        assert!(connect(&path).await.unwrap().is_none());
        let listener = listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(connect(&path).await.unwrap().is_some());
        drop(listener);
        assert!(connect(&path).await.unwrap().is_none(), "a socket that nobody listens on is no agent");
        listen(&path).unwrap();
    }
}

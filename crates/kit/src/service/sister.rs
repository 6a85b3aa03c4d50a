//! The way to another service: where it is, and a channel to it.

use parking_lot::Mutex;

use super::Joined;
use crate::names::Service;
use crate::telemetry::{Link, link};

/// Finds another service by asking registry-svc, and remembers what that said for when it is away.
#[derive(Debug)]
pub struct Sister {
    joined: Joined,
    service: Service,
    /// Where it was told to be, asking nobody.
    told: Option<String>,
    known: Mutex<Option<(String, Link)>>,
}

impl Sister {
    /// Looks for a service; with an address that was `told`, there and nowhere else.
    pub fn new(joined: Joined, service: Service, told: Option<String>) -> Self {
        Self { joined, service, told, known: Mutex::default() }
    }

    /// A channel to where the service is now; `None` if nobody has ever said, or nobody can be asked.
    pub async fn find(&self) -> Option<Link> {
        self.look().await.unwrap_or_else(|status| {
            tracing::debug!(
                service = %self.service, code = ?status.code(), reason = status.message(), "service.not_found"
            );
            None
        })
    }

    /// A channel to where the service is now; `None` if it has never said where: then there is none.
    ///
    /// # Errors
    /// What registry-svc was not to be asked for, where it was not found before either.
    pub async fn look(&self) -> Result<Option<Link>, tonic::Status> {
        let address = match &self.told {
            Some(told) => Ok(Some(told.clone())),
            None => self.joined.find(self.service).await,
        };
        let mut known = self.known.lock();
        match (address, &*known) {
            (Ok(Some(address)), Some((before, channel))) if address == *before => Ok(Some(channel.clone())),
            (Ok(Some(address)), _) => {
                let channel = link(self.joined.channel(self.service, &address));
                *known = Some((address, channel.clone()));
                Ok(Some(channel))
            }
            (Ok(None) | Err(_), Some((_, channel))) => Ok(Some(channel.clone())),
            (address, None) => address.map(|_| None),
        }
    }
}

//! A service beside sync-svc, which registry-svc tells the way to.

use quics_kit::names::{Service, address_beside};
use quics_proto::registry::v1::{GetServicesRequest, Services};
use quics_quic::Channel;
use tonic::{Code, Status};

use super::failure::UNREACHABLE;
use super::{Context, Failure};
use crate::account::{self, call};
use crate::text;

/// A service, as this device.
pub(super) struct Sister {
    service: Service,
    address: String,
    pub(super) channel: Channel,
}

impl Sister {
    /// Asks registry-svc where it is; `None` where the server has none.
    ///
    /// # Errors
    /// One sentence.
    pub(super) async fn find(
        context: &Context,
        service: Service,
        told: fn(Services) -> String,
    ) -> Result<Option<Self>, Failure> {
        let mut registry = context.registry()?;
        let services = registry.client.get_services(call(GetServicesRequest {})).await;
        let services = services.map_err(|status| registry.refused(&status))?.into_inner().services;
        let address = address_beside(&registry.account.server, &told(services.unwrap_or_default()));
        Ok(address.map(|address| {
            let channel = account::sister_channel(service, &address, &registry.tls);
            Self { service, address, channel }
        }))
    }

    /// What an answer that is none means to the user.
    pub(super) fn refused(&self, status: &Status) -> Failure {
        let (name, address) = (self.service, text::line(&self.address));
        let said = text::line(status.message());
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => Failure {
                code: UNREACHABLE,
                text: format!("{name}-svc at {address} cannot be reached now ({said}); syncing goes on without it"),
            },
            _ if said.is_empty() => Failure::new(format!("{name}-svc at {address} failed ({:?})", status.code())),
            _ => Failure::new(said),
        }
    }

    /// The same, of something that was asked about.
    pub(super) fn refused_about(&self, what: &str, status: &Status) -> Failure {
        let Failure { code, text } = self.refused(status);
        let about = matches!(
            status.code(),
            Code::NotFound | Code::FailedPrecondition | Code::OutOfRange | Code::InvalidArgument
        );
        Failure { code, text: if about { format!("{what}: {text}") } else { text } }
    }
}

//! Brakes, as owners see and decide on them.

use std::sync::Arc;

use quics_kit::caller::Caller;
use quics_types::{DeviceId, EntryId, RootId};

use crate::ledger::{Decided, HeldChange};
use crate::metrics::add;
use crate::service::Service;
use crate::{Brake, BrakeStage, Brakes, Error};

/// How often something is tried again because the queue was full.
const TRIES: usize = 1000;

/// A brake with how much is held.
pub(crate) struct Listed {
    pub(crate) brake: Brake,
    pub(crate) held: u64,
    pub(crate) bytes: u64,
}

/// The brakes of a root, for its members.
pub(crate) async fn list(service: Arc<Service>, caller: Caller, root: RootId) -> Result<(Vec<Listed>, u32), Error> {
    service.guard(caller).role_soon(root).await?;
    let list = move |service: &Service| {
        let Brakes { share, brakes, .. } = service.ledger.brakes(root)?;
        let listed = brakes.into_iter().map(|brake| {
            let (held, bytes) = service.ledger.held_count(root, brake.device)?;
            Ok(Listed { brake, held, bytes })
        });
        Ok((listed.collect::<Result<_, Error>>()?, share))
    };
    service.blocking(list).await
}

/// What is held of a device, for the root's members.
pub(crate) async fn held(
    service: Arc<Service>,
    caller: Caller,
    (root, device): (RootId, DeviceId),
    after: Option<EntryId>,
    limit: usize,
) -> Result<Vec<HeldChange>, Error> {
    service.guard(caller).role_soon(root).await?;
    service.blocking(move |service| service.ledger.held(root, device, after, limit)).await
}

/// Decides on a brake; the decision is durable.
pub(crate) async fn decide(
    service: Arc<Service>,
    by: DeviceId,
    root: RootId,
    brake: (DeviceId, u64),
    stage: BrakeStage,
) -> Result<Brakes, Error> {
    owner(&service, by, root).await?;
    for _ in 0..TRIES {
        match service.ledger.decide(root, brake, stage, by, service.now()) {
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            Err(error) => return Err(error),
            Ok(Decided::Already(brakes)) => return Ok(brakes),
            Ok(Decided::Done(receipt, brakes)) => {
                add(&service.metrics.commits, 1);
                service.queued(root, &receipt);
                receipt.await?;
                tracing::info!(%root, device = %brake.0, ?stage, %by, "brake.decided");
                return Ok(brakes);
            }
        }
    }
    Err(quics_meta::Error::Busy.into())
}

/// Sets how much of a root a device may destroy.
pub(crate) async fn set(service: Arc<Service>, by: DeviceId, root: RootId, share: u32) -> Result<(), Error> {
    owner(&service, by, root).await?;
    for _ in 0..TRIES {
        match service.ledger.set_brake(root, share, by, service.now()) {
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            Err(error) => return Err(error),
            Ok((receipt, _)) => {
                add(&service.metrics.commits, 1);
                service.queued(root, &receipt);
                receipt.await?;
                return Ok(());
            }
        }
    }
    Err(quics_meta::Error::Busy.into())
}

async fn owner(service: &Service, by: DeviceId, root: RootId) -> Result<(), Error> {
    let guard = service.guard(Caller::Device(by));
    guard.role_soon(root).await?;
    Ok(guard.owner(root)?)
}

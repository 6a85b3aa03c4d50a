//! Removes what nobody needs any more: links that a crash left in the making, grants that have run out, and links that ended
//! long ago.

use std::sync::Arc;
use std::time::Duration;

use quics_meta::Batch;
use quics_records::Reads;
use quics_types::WallTime;

use crate::Error;
use crate::db::keys;
use crate::db::records::{self, Grant};
use crate::making;
use crate::service::Service;
use crate::store::{self, State, each};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(3600);
/// How long a link is listed after its end, in microseconds.
const LISTED: u64 = 90 * 24 * 3600 * 1_000_000;

/// Tidies until shutdown.
///
/// # Errors
/// Those of the store after which the service has to end.
pub(crate) async fn tidy(service: Arc<Service>) -> Result<(), Error> {
    // Before anybody can make one: what is in the making now is left from before.
    for known in service.blocking(|service| links(service, |known, _| known.link.making)).await? {
        tracing::info!(root = %known.root, "link.half_made_removed");
        making::remove(&service, known).await?;
    }
    loop {
        let ended = |known: &store::Known, now: u64| {
            let end = match known.state(WallTime(now)) {
                State::Revoked => known.link.revoked.as_ref().map(|revoked| revoked.at),
                State::UsedUp => known.usage.last,
                State::Expired => known.link.expires,
                State::Open | State::Making => None,
            };
            end.is_some_and(|end| end.0.saturating_add(LISTED) < now)
        };
        for known in service.blocking(move |service| links(service, ended)).await? {
            making::remove(&service, known).await?;
        }
        service.change(grants).await?;
        tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn links(service: &Service, takes: impl Fn(&store::Known, u64) -> bool) -> Result<Vec<store::Known>, Error> {
    let (reads, now) = (service.reads(), service.now().0);
    let mut ids = Vec::new();
    each(reads, keys::all(b'l'), |key, _: records::Link| {
        ids.extend(keys::parse_link(key));
        Ok(true)
    })?;
    let mut found = Vec::new();
    for (root, id) in ids {
        found.extend(store::known(reads, root, id)?.filter(|known| takes(known, now)));
    }
    Ok(found)
}

fn grants(service: &Service, reads: Reads<'_>, batch: &mut Batch) -> Result<(), Error> {
    let (now, mut most) = (service.now(), store::STEP);
    each(reads, keys::all(b'g'), |key, grant: Grant| {
        if grant.until <= now {
            batch.delete(key.clone());
            most -= 1;
        }
        Ok(most > 0)
    })
}

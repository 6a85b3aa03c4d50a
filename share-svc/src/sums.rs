//! Checksums of what links show: worked out once, by one worker in the background, and kept by content.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use parking_lot::Mutex;
use quics_records::{get, put};
use quics_types::{Digest, RootId};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::Error;
use crate::db::keys;
use crate::db::records::Sums;
use crate::service::Service;

/// Contents that wait, at most; whoever is turned away comes again with the next look at the page.
const WAITING: usize = 1024;

/// Contents whose checksums are wanted.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<VecDeque<(RootId, Digest, u64)>>,
    more: Notify,
}

impl Queue {
    fn push(&self, wanted: (RootId, Digest, u64)) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < WAITING && !waiting.iter().any(|(_, content, _)| *content == wanted.1) {
            waiting.push_back(wanted);
            self.more.notify_one();
        }
    }
}

/// The checksums of a content if they are known; otherwise they will be worked out.
pub(crate) fn of(service: &Service, root: RootId, content: Digest, size: u64) -> Result<Option<Sums>, Error> {
    let known = get(service.reads(), &keys::sums(content))?.map(|kept| kept.record);
    if known.is_none() {
        service.summing.push((root, content, size));
    }
    Ok(known)
}

/// Works them out until shutdown.
///
/// # Errors
/// Those of the store after which the service has to end.
pub(crate) async fn work(service: Arc<Service>) -> Result<(), Error> {
    loop {
        let next = service.summing.waiting.lock().front().copied();
        let Some((root, content, size)) = next else {
            tokio::select! {
                () = service.shutdown.cancelled() => return Ok(()),
                () = service.summing.more.notified() => continue,
            }
        };
        let summed = tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            summed = sum(&service, root, content, size) => summed,
        };
        match summed {
            Ok(sums) => {
                let keep = move |_: &Service, _: quics_records::Reads<'_>, batch: &mut quics_meta::Batch| {
                    put(batch, keys::sums(content), &sums, 0);
                    Ok(())
                };
                service.change(keep).await?;
            }
            Err(error) => tracing::info!(%root, %content, %error, "sums.not_known"),
        }
        service.summing.waiting.lock().pop_front();
    }
}

async fn sum(service: &Arc<Service>, root: RootId, content: Digest, size: u64) -> Result<Sums, Error> {
    let mut pieces = std::pin::pin!(crate::reading::read(service.clone(), root, content, size, 0..size));
    let mut both = (blake3::Hasher::new(), Sha256::new());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|failure| Error::Unfit(failure.to_string()))?;
        let hashing = tokio::task::spawn_blocking(move || {
            both.0.update(&piece);
            both.1.update(&piece);
            both
        });
        both = hashing.await.map_err(|_| Error::Task)?;
    }
    let sha256: [u8; 32] = both.1.finalize().into();
    Ok(Sums { blake3: Digest::from_bytes(*both.0.finalize().as_bytes()), sha256: Digest::from_bytes(sha256) })
}

//! Upload: chunks in bulk, durable before the answer.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use quics_kit::caller::Caller;
use quics_proto::Malformed;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::upload_request::Message;
use quics_types::{DeviceId, Digest, LeaseId, RootId, limits};

use crate::contents::Asking;
use crate::metrics::add;
use crate::service::Service;
use crate::{Error, encode};

/// Messages of one stream that are being verified and written at a time.
const AT_ONCE: usize = 4;

/// Takes one stream of chunks and says how many are durable.
pub(crate) async fn serve(
    service: Arc<Service>,
    device: DeviceId,
    requests: impl Stream<Item = Result<sync::UploadRequest, Error>> + Send,
) -> Result<u64, Error> {
    let mut requests = std::pin::pin!(requests);
    let open = match requests.next().await.transpose()?.and_then(|request| request.message) {
        Some(Message::Open(open)) => open,
        _ => return Err(Error::Protocol("an upload begins with open")),
    };
    let root = encode::root(&open.root_id)?;
    let lease = LeaseId::from_slice(&open.lease_id).map_err(Malformed::from)?;
    service.guard(Caller::Device(device)).role_soon(root).await?;
    service.contents().may_hold(root, lease, device)?;
    let mut upload = Upload {
        service,
        device,
        root,
        lease,
        writing: FuturesUnordered::new(),
        held: Vec::new(),
        asking: None,
        count: 0,
    };
    let done = upload.take(requests).await;
    // What came is kept under the lease, however the stream ended.
    let kept = upload.keep().await;
    done.and(kept).map(|()| upload.count)
}

/// Chunks that were written, and the token of who asked.
type Written = (Asking, Vec<Digest>);

struct Upload {
    service: Arc<Service>,
    device: DeviceId,
    root: RootId,
    lease: LeaseId,
    writing: FuturesUnordered<BoxFuture<'static, Result<Written, Error>>>,
    /// Chunks that are written and not under the lease yet.
    held: Vec<Digest>,
    /// Since before the first of them was written.
    asking: Option<Asking>,
    count: u64,
}

impl Upload {
    async fn take(
        &mut self,
        mut requests: std::pin::Pin<&mut (impl Stream<Item = Result<sync::UploadRequest, Error>> + Send)>,
    ) -> Result<(), Error> {
        let shutdown = self.service.shutdown.clone();
        let mut sent = 0;
        loop {
            tokio::select! {
                Some(written) = self.writing.next(), if !self.writing.is_empty() => self.written(written?).await?,
                request = requests.next(), if self.writing.len() < AT_ONCE => match request.transpose()?.and_then(|r| r.message) {
                    Some(Message::Chunks(chunks)) => {
                        sent += chunks.chunks.len() as u64;
                        self.write(chunks)?;
                    }
                    Some(Message::Finish(finish)) if finish.count == sent => return self.drain().await,
                    Some(Message::Finish(_)) => return Err(Error::Protocol("finish counts other chunks than came")),
                    Some(Message::Open(_)) => return Err(Error::Protocol("an upload is opened once")),
                    None => return Err(Error::Cut),
                },
                () = shutdown.cancelled() => return Err(Error::Draining),
            }
        }
    }

    fn write(&mut self, chunks: sync::Chunks) -> Result<(), Error> {
        self.service.guard(Caller::Device(self.device)).writer(self.root)?;
        if self.service.room.is_low() {
            return Err(Error::NoSpace);
        }
        if chunks.chunks.is_empty() || chunks.chunks.len() > limits::DIGESTS_PER_MESSAGE {
            return Err(Error::Protocol("a message of chunks has one to 4096"));
        }
        let packed = chunks.chunks.into_iter().map(encode::packed).collect::<Result<Vec<_>, _>>()?;
        let (service, root) = (self.service.clone(), self.root);
        let asking = service.contents().asking();
        self.writing.push(Box::pin(async move {
            let write = move |service: &Service| {
                let bytes: usize = packed.iter().map(|chunk| chunk.data.len()).sum();
                for chunk in &packed {
                    service.contents().put(root, chunk)?;
                }
                add(&service.metrics.chunks_in, packed.len() as u64);
                add(&service.metrics.bytes_in, bytes as u64);
                Ok(packed.iter().map(|chunk| chunk.digest).collect())
            };
            Ok((asking, service.blocking(write).await?))
        }));
        Ok(())
    }

    async fn written(&mut self, (asking, digests): Written) -> Result<(), Error> {
        self.count += digests.len() as u64;
        self.held.extend(digests);
        // Whoever reclaims waits for those who asked before.
        let waited_for = self.asking.get_or_insert(asking).is_waited_for(self.service.contents().gate());
        if waited_for || self.held.len() >= limits::DIGESTS_PER_MESSAGE { self.hold().await } else { Ok(()) }
    }

    async fn drain(&mut self) -> Result<(), Error> {
        while let Some(written) = self.writing.next().await {
            self.written(written?).await?;
        }
        Ok(())
    }

    /// Puts what was written under the lease.
    async fn hold(&mut self) -> Result<(), Error> {
        let digests = std::mem::take(&mut self.held);
        let (root, lease, device) = (self.root, self.lease, self.device);
        hold(&self.service, root, lease, device, &digests).await?;
        self.asking = None;
        // The chunks are durable by the flush that follows; what came back is no longer wanted then.
        self.service.flushed().await?;
        self.service.contents().healed(root, &digests)
    }

    async fn keep(&mut self) -> Result<(), Error> {
        self.drain().await?;
        self.hold().await
    }
}

/// Puts chunks under a lease, durably.
pub(crate) async fn hold(
    service: &Service,
    root: RootId,
    lease: LeaseId,
    device: DeviceId,
    digests: &[Digest],
) -> Result<(), Error> {
    loop {
        match service.contents().hold(root, lease, device, digests, service.now()) {
            Err(error) if error.is_busy() => service.ledger.meta().room().await,
            other => {
                other?.await?;
                return Ok(());
            }
        }
    }
}

/// Says which chunks and pages are not there, in the order asked, and takes the others into the lease.
pub(crate) async fn find_missing(
    service: Arc<Service>,
    device: DeviceId,
    root: RootId,
    lease: LeaseId,
    digests: Vec<Digest>,
) -> Result<Vec<Digest>, Error> {
    let guard = service.guard(Caller::Device(device));
    guard.role_soon(root).await?;
    guard.writer(root)?;
    let look = move |service: &Service| {
        let (mut missing, mut there) = (Vec::new(), Vec::new());
        for digest in digests {
            let found = service.contents().find(root, digest, false)?;
            if found.is_some() { &mut there } else { &mut missing }.push(digest);
        }
        Ok((missing, there))
    };
    let _asking = service.contents().asking();
    let (missing, there) = service.blocking(look).await?;
    hold(&service, root, lease, device, &there).await?;
    Ok(missing)
}

//! Keeps the stream of registry-svc open and takes in what it says.

use std::fmt;
use std::time::Duration;

use quics_proto::registry::v1 as registry;
use quics_proto::registry::v1::registry_service_client::RegistryServiceClient;
use quics_proto::registry::v1::watch_response::Change as Said;
use quics_types::DeviceId;
use rand::Rng;
use rustls_pki_types::CertificateDer;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::mirror::{Fact, Mirror};
use super::{Change, Confirmed, Error, Members, rows};
use crate::telemetry::Link;

/// Between two reports of who was heard of, and two notes of how fresh the view is.
const REPORT: Duration = Duration::from_secs(60);
/// Pauses between attempts to open the stream, jittered: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A stream that lived this long was a good one: the next pause is a short one again.
const GOOD: Duration = Duration::from_secs(30);
/// What a full state may hold; more is a fault of the sender.
const MAX_FACTS: usize = 5_000_000;

/// Keeps [`Members`] up to date.
pub struct Follow {
    /// What to keep.
    pub members: Members,
    /// The way to registry-svc.
    pub registry: Link,
    /// Where this service listens, for registry-svc to tell devices: `host:port`, the host empty where it is the one that
    /// registry-svc is reached by.
    pub address: String,
    /// Told of each device that was revoked, once the view refuses it: closes the device's connections.
    pub on_revoked: Box<dyn Fn(DeviceId) + Send + Sync>,
    /// Told of the CAs to trust, each time the stream begins and whenever they change.
    pub on_trust: Box<dyn Fn(Vec<CertificateDer<'static>>) + Send + Sync>,
}

enum End {
    Shutdown,
    Lost(Status),
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error)
    }
}

impl From<quics_meta::Error> for End {
    fn from(error: quics_meta::Error) -> Self {
        End::Failed(error.into())
    }
}

impl Follow {
    /// Follows until `shutdown`; opens the stream anew, with growing pauses, whenever it is lost.
    ///
    /// # Errors
    /// [`Error::Store`] if the view cannot be kept durably, [`Error::Refused`] if registry-svc no longer takes this
    /// service; the service should then end.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut pause = PAUSES.0;
        loop {
            let begun = Instant::now();
            let end = self.session(&shutdown).await;
            self.lost().await?;
            match end {
                End::Shutdown => return Ok(()),
                End::Failed(error) => return Err(error),
                End::Lost(status) if status.code() == Code::PermissionDenied => {
                    return Err(Error::Refused(status.message().to_owned()));
                }
                End::Lost(status) => tracing::warn!(code = ?status.code(), reason = status.message(), "members.lost"),
            }
            if begun.elapsed() > GOOD {
                pause = PAUSES.0;
            }
            let wait = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
            pause = (pause * 2).min(PAUSES.1);
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn session(&self, shutdown: &CancellationToken) -> End {
        let following = async {
            let mut client = RegistryServiceClient::new(self.registry.clone());
            let request = registry::WatchRequest {
                version: Some(quics_proto::version(concat!("quics ", env!("CARGO_PKG_VERSION")))),
                address: self.address.clone(),
            };
            let mut stream = client.watch(request).await.map_err(End::Lost)?.into_inner();
            self.full_state(&mut stream).await?;
            tracing::info!("members.followed");
            self.live(&mut client, &mut stream).await
        };
        tokio::select! {
            () = shutdown.cancelled() => End::Shutdown,
            end = following => match end {
                Ok(never) => match never {},
                Err(end) => end,
            },
        }
    }

    /// Reads up to `complete` and puts it in place of what the view was.
    async fn full_state(&self, stream: &mut Streaming<registry::WatchResponse>) -> Result<(), End> {
        let mut new = Mirror::default();
        for _ in 0..MAX_FACTS {
            match next(stream).await? {
                Said::Complete(_) => return self.replace(new).await,
                Said::Trust(trust) => self.trust(trust),
                said => {
                    new.apply(fact(said)?);
                }
            }
        }
        Err(End::Lost(Status::resource_exhausted("the full state has no end")))
    }

    async fn replace(&self, new: Mirror) -> Result<(), End> {
        let facts = self.members.inner.mirror.read().facts_to(&new);
        self.take(&facts);
        self.members.keep(&facts).await?;
        *self.members.inner.confirmed.write() = Confirmed::Now;
        self.members.announce(Change::Reloaded);
        Ok(self.members.keep_confirmed(self.members.inner.options.clock.now()).await?)
    }

    async fn live(
        &self,
        client: &mut RegistryServiceClient<Link>,
        stream: &mut Streaming<registry::WatchResponse>,
    ) -> Result<std::convert::Infallible, End> {
        let mut reports = tokio::time::interval_at(Instant::now() + REPORT, REPORT);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Both futures may be dropped: a message that was not taken out stays in the stream.
            let said = tokio::select! {
                said = next(stream) => said?,
                _ = reports.tick() => {
                    self.members.keep_confirmed(self.members.inner.options.clock.now()).await?;
                    self.report(client).await;
                    continue;
                }
            };
            match said {
                Said::Trust(trust) => self.trust(trust),
                Said::Complete(_) => {}
                said => {
                    let facts = [fact(said)?];
                    self.take(&facts);
                    self.members.keep(&facts).await?;
                }
            }
        }
    }

    /// Takes facts into the view and acts on the revocations among them.
    fn take(&self, facts: &[Fact]) {
        for fact in facts {
            let changed = self.members.inner.mirror.write().apply(fact.clone());
            let Some(change) = changed else { continue };
            if let Change::Device { device, revoked: true } = change {
                tracing::info!(%device, "device.revoked");
                (self.on_revoked)(device);
            }
            self.members.announce(change);
        }
    }

    fn trust(&self, trust: registry::Trust) {
        let list: Vec<_> = trust.certificates.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        if !list.is_empty() {
            (self.on_trust)(list);
        }
    }

    /// Says who was heard of. What cannot be told now is told with the next report.
    async fn report(&self, client: &mut RegistryServiceClient<Link>) {
        let seen = std::mem::take(&mut *self.members.inner.seen.lock());
        if seen.is_empty() {
            return;
        }
        let request = registry::ReportRequest {
            seen: seen
                .iter()
                .map(|(device, at)| registry::Seen {
                    device_id: bytes::Bytes::copy_from_slice(device.as_bytes()),
                    seen_at: Some(crate::clock::timestamp(*at)),
                })
                .collect(),
        };
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_secs(10));
        if let Err(status) = client.report(request).await {
            tracing::debug!(code = ?status.code(), "members.report_failed");
            let mut kept = self.members.inner.seen.lock();
            for (device, at) in seen {
                kept.entry(device).or_insert(at);
            }
        }
    }

    /// Notes since when the view is not confirmed any more.
    async fn lost(&self) -> Result<(), Error> {
        let now = self.members.inner.options.clock.now();
        {
            let mut confirmed = self.members.inner.confirmed.write();
            if *confirmed != Confirmed::Now {
                return Ok(());
            }
            *confirmed = Confirmed::At(now);
        }
        self.members.keep_confirmed(now).await
    }
}

async fn next(stream: &mut Streaming<registry::WatchResponse>) -> Result<Said, End> {
    loop {
        match stream.message().await {
            Ok(Some(registry::WatchResponse { change: Some(said) })) => return Ok(said),
            // A kind of news that this version does not know.
            Ok(Some(_)) => {}
            Ok(None) => return Err(End::Lost(Status::unavailable("registry-svc ended the stream"))),
            Err(status) => return Err(End::Lost(status)),
        }
    }
}

fn fact(said: Said) -> Result<Fact, End> {
    let fact = match said {
        Said::Device(message) => rows::device(message),
        Said::Membership(message) => rows::membership(message),
        Said::Attachment(message) => rows::attachment(message),
        Said::Complete(_) | Said::Trust(_) => None,
    };
    fact.ok_or_else(|| End::Lost(Status::invalid_argument("registry-svc sent a malformed id")))
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("address", &self.address).finish_non_exhaustive()
    }
}

//! The registry: its state, and the one way in which it changes.
//!
//! Changes are made one after the other: each sees what all before it made durable, and is told to the watchers, in that
//! order, when it is durable itself. A change goes on when its caller is gone.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;
use quics_kit::attempts::Attempts;
use quics_kit::clock::{Clock, millis};
use quics_kit::names::Service;
use quics_kit::passwords::Passwords;
use quics_meta::{Batch, MetaStore};
use quics_proto::registry::v1 as proto;
use quics_types::{RootId, UserId};
use tokio::sync::{Mutex, broadcast};
use tokio_util::sync::CancellationToken;

use crate::authority::{Authority, Requested};
use crate::db::{FORMAT, Format, Rows, key, tag};
use crate::error::{Error, Result};
use crate::watch::Event;

/// Events that a watcher may be behind before it has to begin anew.
const EVENTS: usize = 4096;

/// Secrets that may be guessed at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Guarded {
    /// One user's server password.
    User(String),
    /// One root's password, by one user.
    Root(RootId, UserId),
}

/// The registry. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) authority: Authority,
    pub(crate) attempts: Attempts<Guarded>,
    pub(crate) passwords: Passwords,
    pub(crate) place: Place,
    pub(crate) service_secret: quics_kit::secret::Secret,
    pub(crate) shutdown: CancellationToken,
    pub(crate) events: broadcast::Sender<Event>,
    gate: Mutex<()>,
}

/// Where this server is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `host:port` of registry-svc, for tickets.
    pub(crate) addresses: Vec<String>,
    /// registry-svc's own port.
    pub(crate) port: u16,
    /// The installation's first port; 0 where each takes a free one.
    pub(crate) port_base: u16,
}

/// What a registry is made of.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) authority: Authority,
    pub(crate) place: Place,
    pub(crate) service_secret: quics_kit::secret::Secret,
    pub(crate) shutdown: CancellationToken,
}

/// What one change writes and tells.
#[derive(Default)]
pub(crate) struct Change {
    batch: Batch,
    events: Vec<Event>,
}

impl Change {
    pub(crate) fn put(&mut self, key: Bytes, row: &impl Message) {
        self.batch.put(key, row.encode_to_vec());
    }

    pub(crate) fn put_bytes(&mut self, key: Bytes, value: &[u8]) {
        self.batch.put(key, Bytes::copy_from_slice(value));
    }

    pub(crate) fn delete(&mut self, key: Bytes) {
        self.batch.delete(key);
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl Registry {
    /// Opens the registry on its store; a fresh one gets a user of this name.
    ///
    /// # Errors
    /// [`Error::Newer`] if a newer version wrote the store.
    pub(crate) async fn open(parts: Parts, first_user: &str) -> Result<Registry> {
        let Parts { store, clock, authority, place, service_secret, shutdown } = parts;
        let inner = Inner {
            attempts: Attempts::new(clock.clone()),
            passwords: Passwords::default(),
            events: broadcast::channel(EVENTS).0,
            gate: Mutex::default(),
            store,
            clock,
            authority,
            place,
            service_secret,
            shutdown,
        };
        let registry = Registry { inner: Arc::new(inner) };
        registry.set_up(first_user).await?;
        Ok(registry)
    }

    async fn set_up(&self, first_user: &str) -> Result<()> {
        let at = key(tag::FORMAT, &[]);
        match self.rows().get::<Format>(&at)? {
            Some(format) if format.version > FORMAT => {
                return Err(Error::Newer { found: format.version, known: FORMAT });
            }
            Some(_) => return Ok(()),
            None => {}
        }
        // First the user, then the format: cut off in between, it is done again.
        match self.add_user(first_user).await {
            Ok(_) | Err(Error::NameTaken) => {}
            Err(error) => return Err(error),
        }
        self.change(move |_, change| {
            change.put(at, &Format { version: FORMAT });
            Ok(())
        })
        .await
    }

    /// Makes one change: `decide` reads the durable state and says what to write and to tell.
    ///
    /// # Durability
    /// What was decided is durable when this returns.
    ///
    /// # Cancel safety
    /// The change is made all the same.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        decide: impl FnOnce(Rows<'_>, &mut Change) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.inner.clone();
        let task = tokio::spawn(async move {
            let _one_at_a_time = inner.gate.lock().await;
            let mut change = Change::default();
            let answer = decide(Rows(inner.store.as_ref()), &mut change)?;
            if !change.batch.is_empty() {
                quics_meta::commit(inner.store.as_ref(), change.batch).await?;
            }
            for event in change.events {
                // Nobody may be watching.
                drop(inner.events.send(event));
            }
            Ok(answer)
        });
        task.await?
    }

    /// Reads the durable state.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows(self.inner.store.as_ref())
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.inner.clock.now()
    }

    /// The time as it is stored.
    pub(crate) fn now_millis(&self) -> u64 {
        millis(self.now())
    }

    /// Signs and packs what a device or service may show from now on.
    pub(crate) fn credentials(
        &self,
        requested: &Requested,
        subject: quics_kit::names::Subject,
    ) -> Result<proto::Credentials> {
        let signed = self.inner.authority.sign(requested, subject, self.now())?;
        Ok(proto::Credentials {
            certificate_chain: signed.chain.iter().map(|der| Bytes::copy_from_slice(der)).collect(),
            trust: self.trust(),
            expires_at: Some(quics_kit::clock::timestamp(signed.ends_at)),
        })
    }

    /// DER of each CA to trust.
    pub(crate) fn trust(&self) -> Vec<Bytes> {
        self.inner.authority.trust().iter().map(|der| Bytes::copy_from_slice(der)).collect()
    }

    /// Where the services are: as they said themselves, else by the ports that they have by default.
    pub(crate) fn services(&self) -> Result<proto::Services> {
        let address = |service: Service| -> Result<String> {
            let said = self.inner.store.get(&key(tag::SERVICE, &[service.as_str().as_bytes()]))?;
            Ok(match (said, self.inner.place.port_base) {
                (Some(said), _) => String::from_utf8_lossy(&said).into_owned(),
                (None, 0) => String::new(),
                (None, base) => format!(":{}", base.saturating_add(service.port_offset())),
            })
        };
        Ok(proto::Services {
            registry: format!(":{}", self.inner.place.port),
            sync: address(Service::Sync)?,
            history: address(Service::History)?,
            share: address(Service::Share)?,
        })
    }

    /// Notes where a service says that it listens.
    pub(crate) async fn note_service(&self, service: Service, address: String) -> Result<()> {
        if address.is_empty() {
            return Ok(());
        }
        // An empty host is fine here, and only here.
        let whole = if address.starts_with(':') { format!("host{address}") } else { address.clone() };
        if address.len() > 255 || !quics_kit::ticket::is_address(&whole) {
            return Err(Error::Malformed("the service's address is not host:port"));
        }
        self.change(move |rows, change| {
            let at = key(tag::SERVICE, &[service.as_str().as_bytes()]);
            if rows.0.get(&at)?.as_deref() != Some(address.as_bytes()) {
                change.put_bytes(at, address.as_bytes());
            }
            Ok(())
        })
        .await
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("place", &self.inner.place).finish_non_exhaustive()
    }
}

//! What the agent is: its account, its roots, its connection.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quics_kit::clock::SystemClock;
use quics_kit::enrol::{self, Renewal};
use quics_kit::identity::Identity;
use quics_meta::{Journaled, MetaStore};
use quics_proto::agent::v1::Connection;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_quic::{Channel, Tls, Transport};
use quics_types::RootId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::conflicts::Desk;
use super::contents::{Line, Room};
use super::root::Root;
use super::session::{self, End, Switchboard};
use super::{Error, start};
use crate::account::{self, Standing};
use crate::home::{Account, Locked, RootEntry, Settings};

/// Between two looks at what carries the calls.
const TRANSPORT: Duration = Duration::from_secs(2);

/// The running agent.
pub(crate) struct Core {
    pub(crate) locked: Locked,
    pub(crate) settings: Mutex<Settings>,
    pub(crate) account: Mutex<Account>,
    pub(crate) tls: Tls,
    pub(crate) registry: Channel,
    pub(crate) sync: Line,
    pub(crate) room: Room,
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) board: Switchboard,
    pub(crate) desk: Desk,
    pub(crate) roots: Mutex<BTreeMap<RootId, Arc<Root>>>,
    pub(crate) connection: watch::Sender<Connection>,
    /// Why there is no connection, for people.
    trouble: Mutex<String>,
    /// Bumped when anything changed that the status shows.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) stop: CancellationToken,
    /// Held while roots are added, cloned or detached.
    pub(crate) attaching: tokio::sync::Mutex<()>,
    left: AtomicBool,
}

impl Core {
    /// Opens account and state; starts nothing yet.
    pub(crate) async fn open(locked: Locked) -> Result<Arc<Self>, Error> {
        let settings = locked.home().settings()?;
        let (account, identity) = account::open(&settings, locked.home())?;
        let tls = identity.tls().map_err(account::Error::from)?;
        let at = locked.home().state();
        let opened = tokio::task::spawn_blocking({
            let at = at.clone();
            move || Journaled::open(at, start::store_options())
        });
        let store = match opened.await {
            Ok(opened) => opened.map_err(|source| Error::State { at, source })?,
            Err(error) => return Err(Error::System { action: "open the state", source: std::io::Error::other(error) }),
        };
        Ok(Arc::new(Self {
            registry: account::registry_channel(&account, &tls),
            sync: Line::new(account::sync_channel(&account, &tls)),
            room: Room::default(),
            tls,
            store: Arc::new(store),
            settings: Mutex::new(settings),
            account: Mutex::new(account),
            board: Switchboard::default(),
            desk: Desk::default(),
            roots: Mutex::default(),
            connection: watch::Sender::new(Connection::Offline),
            trouble: Mutex::default(),
            changed: watch::Sender::new(0),
            stop: CancellationToken::new(),
            attaching: tokio::sync::Mutex::new(()),
            left: AtomicBool::new(false),
            locked,
        }))
    }

    /// Starts every root of the settings.
    pub(crate) async fn start_all(self: &Arc<Self>) {
        let entries = self.settings.lock().roots.clone();
        for entry in entries {
            self.start(entry).await;
        }
    }

    /// Starts a root; one that cannot run is there too and shows why.
    pub(crate) async fn start(self: &Arc<Self>, entry: RootEntry) {
        let root = start::start(self, entry).await;
        self.roots.lock().insert(root.id, root.clone());
        self.board.add(root.id, root.inbox.clone());
        let (core, mut view) = (self.clone(), root.view.clone());
        root.tasks.spawn(root.stop.clone().run_until_cancelled_owned(async move {
            while view.changed().await.is_ok() {
                core.note_change();
            }
        }));
        self.note_change();
    }

    /// Ends all roots and closes the state.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        let roots = std::mem::take(&mut *self.roots.lock());
        for root in roots.into_values() {
            self.board.remove(root.id);
            root.end().await;
        }
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || store.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "state.close_failed"),
            Err(error) => tracing::error!(%error, "state.close_failed"),
        }
    }

    /// Says that the status has changed.
    pub(crate) fn note_change(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The root that holds a path.
    ///
    /// # Errors
    /// [`Error::NoRoot`].
    pub(crate) fn root_at(&self, path: &Path) -> Result<Arc<Root>, Error> {
        let roots = self.roots.lock();
        let found = roots.values().find(|root| root.relative(path).is_some());
        found.cloned().ok_or_else(|| Error::NoRoot { at: path.to_owned() })
    }

    /// The root that holds a path, or all roots for an empty one.
    ///
    /// # Errors
    /// [`Error::NoRoot`].
    pub(crate) fn roots_at(&self, path: &Path) -> Result<Vec<Arc<Root>>, Error> {
        if path.as_os_str().is_empty() {
            return Ok(self.roots.lock().values().cloned().collect());
        }
        Ok(vec![self.root_at(path)?])
    }

    /// Changes the settings durably.
    ///
    /// # Errors
    /// What writing gives; the settings are then as before.
    pub(crate) async fn change_settings(self: &Arc<Self>, change: impl FnOnce(&mut Settings)) -> Result<(), Error> {
        let mut changed = self.settings.lock().clone();
        change(&mut changed);
        let (core, saved) = (self.clone(), changed.clone());
        let written = tokio::task::spawn_blocking(move || core.locked.save(&saved)).await;
        written
            .map_err(|error| Error::System { action: "write the settings", source: std::io::Error::other(error) })??;
        *self.settings.lock() = changed;
        Ok(())
    }

    /// Remembers that the account is to be forgotten when all has ended, and ends it.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Release);
        self.stop.cancel();
    }

    /// Forgets the account if this device has left.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn forget_if_left(&self) -> Result<(), Error> {
        if self.left.load(Ordering::Acquire) {
            account::forget(&self.locked)?;
        }
        Ok(())
    }

    fn set_connection(&self, connection: Connection) {
        let changed = self.connection.send_if_modified(|now| std::mem::replace(now, connection) != connection);
        if changed {
            tracing::info!(?connection, "connection");
            self.note_change();
        }
    }

    /// Why the server cannot be reached, one sentence; empty while it can.
    pub(crate) fn trouble(&self) -> String {
        match *self.connection.borrow() {
            Connection::Offline => self.trouble.lock().clone(),
            _ => String::new(),
        }
    }

    fn note_trouble(&self, end: &End) {
        let trouble = match end {
            End::Lost(status) => account::Error::of_call(&self.account.lock().sync, status).to_string(),
            other => other.to_string(),
        };
        *self.trouble.lock() = trouble;
        self.note_change();
    }

    /// How calls reach the server now.
    pub(crate) fn transport(&self) -> Connection {
        match *self.connection.borrow() {
            Connection::Quic | Connection::Tcp => match self.sync.now().transport() {
                Some(Transport::Tcp) => Connection::Tcp,
                _ => Connection::Quic,
            },
            other => other,
        }
    }

    fn sync_at(&self, address: &str) {
        let mut account = self.account.lock();
        if account.sync == address {
            return;
        }
        tracing::info!(%address, "sync.moved");
        account.sync = address.to_owned();
        self.sync.replace(account::sync_channel(&account, &self.tls));
    }
}

/// Keeps a session with sync-svc open until the agent stops or is revoked.
pub(crate) async fn keep_session(core: Arc<Core>) {
    let mut failures = 0;
    loop {
        let channel = core.sync.now();
        let opened = AtomicBool::new(false);
        let stop = core.stop.child_token();
        let session = session::run(SyncServiceClient::new(channel.clone()), &core.board, &stop, || {
            opened.store(true, Ordering::Relaxed);
            core.set_connection(match channel.transport() {
                Some(Transport::Tcp) => Connection::Tcp,
                _ => Connection::Quic,
            });
            tokio::spawn(super::attach::learn_roles(core.clone()));
        });
        // Calls are over QUIC as soon as that works again; the streams of the session have to be opened anew for it.
        let moving = async {
            back_to_quic(&channel).await;
            stop.cancel();
            std::future::pending::<std::convert::Infallible>().await
        };
        let end = tokio::select! {
            end = session => end,
            never = moving => match never {},
        };
        if matches!(end, End::Stopped) {
            if core.stop.is_cancelled() {
                return;
            }
            continue;
        }
        let was_open = opened.into_inner();
        if was_open {
            failures = 0;
        }
        core.note_trouble(&end);
        core.set_connection(Connection::Offline);
        tracing::info!(reason = %end, failures, "session.lost");
        // Not at every attempt: where nobody answers, asking takes as long as connecting.
        if was_open || end.is_refusal() || failures % 4 == 3 {
            match core.standing().await {
                Standing::Revoked => {
                    core.revoked();
                    return;
                }
                Standing::Good(Some(address)) => core.sync_at(&address),
                Standing::Good(None) | Standing::Unknown => {}
            }
        }
        // A server that refuses a device which it knows is not to be asked in a hurry.
        failures = if end.is_refusal() { failures.max(4) + 1 } else { failures + 1 };
        let pause = session::pause(failures);
        if core.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Waits until a channel that went over TCP goes over QUIC.
async fn back_to_quic(channel: &Channel) {
    let mut looks = tokio::time::interval(TRANSPORT);
    let mut over_tcp = false;
    loop {
        looks.tick().await;
        match channel.transport() {
            Some(Transport::Tcp) => over_tcp = true,
            Some(Transport::Quic) if over_tcp => return,
            _ => {}
        }
    }
}

impl Core {
    async fn standing(&self) -> Standing {
        let account = self.account.lock().clone();
        match Identity::load(&self.locked.home().identity()) {
            Ok(Some(identity)) => {
                let asked = account::standing(&account, &identity, &self.registry);
                self.stop.run_until_cancelled(asked).await.unwrap_or(Standing::Unknown)
            }
            Ok(None) => Standing::Unknown,
            Err(error) => {
                tracing::error!(%error, "identity.unreadable");
                Standing::Unknown
            }
        }
    }

    fn revoked(&self) {
        tracing::error!("this device was revoked");
        self.set_connection(Connection::Revoked);
    }
}

/// Keeps the certificate fresh until the agent stops or is revoked.
pub(crate) async fn keep_certificate(core: Arc<Core>) {
    let directory = core.locked.home().identity();
    let identity = match Identity::load(&directory) {
        Ok(Some(identity)) => identity,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, "identity.unreadable");
            return;
        }
    };
    let renewal = Renewal {
        directory,
        tls: core.tls.clone(),
        channel: core.registry.clone(),
        clock: Arc::new(SystemClock),
        on_renewed: Box::new({
            let core = core.clone();
            move |_| core.sync.now().reconnect()
        }),
    };
    if let Err(enrol::Error::Revoked) = renewal.run(identity, core.stop.clone()).await {
        core.revoked();
    }
}

//! The running agent: everything between the engines and the outside.
//!
//! ```text
//!  command line ── Unix socket ── api::server ─┐
//!                                              v
//!  watcher ──────> Inbox ──> engine thread    Core ── settings, roots, status
//!  sync-svc ─ session ─^  │   (one a root)     │
//!  transfers ─────^       └──> Hands ──> Outbox ──> session ── Push, Watch ──> sync-svc
//!                               └──────> transfers ── Upload, Fetch ────────> sync-svc
//!  conflicts ── Prompt, Resolve ───────────────────────────────────────────> sync-svc
//! ```
//!
//! # Invariants
//! - The home is held as long as the agent runs; nobody else writes settings, identity or state meanwhile.
//! - No runtime thread waits for a disk or an engine; no engine waits for the network.
//! - A root that fails or stands still does so alone.
//! - Once the server has said that this device is revoked, nothing is sent or applied any more.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::api;
use crate::home::Home;

mod attach;
pub mod conflicts;
mod contents;
mod core;
mod error;
mod hands;
mod heal;
mod ignoring;
mod inbox;
mod marks;
mod messages;
mod meter;
mod opener;
mod outbox;
mod root;
mod session;
mod snapshot;
mod start;
mod status;
mod thread;
mod upkeep;
pub(crate) mod view;
pub(crate) mod wait;

pub(crate) use self::core::Core;
pub(crate) use attach::learn_roles;
pub use error::Error;
pub(crate) use root::Root;

/// What an agent is started with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AgentConfig {
    /// The home.
    pub home: PathBuf,
}

impl AgentConfig {
    /// An agent of this home.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into() }
    }
}

/// Runs the agent until `shutdown` is cancelled or it is told to stop by its local API.
///
/// The local API answers from the moment at which the roots are started; the server need not be there.
///
/// # Errors
/// What keeps it from starting: the home is held or has no account, its state or socket cannot be used.
///
/// # Durability
/// When this has returned, what the agent knew is in its store and the home is free.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), Error> {
    let locked = Home::find(Some(config.home))?.lock()?;
    let socket = locked.home().socket();
    let core = Core::open(locked).await?;
    let listener = match api::listen(&socket) {
        Ok(listener) => listener,
        Err(source) => {
            core.end().await;
            return Err(Error::Socket { at: socket, source });
        }
    };
    core.start_all().await;
    let serving = tokio::spawn(api::serve(core.clone(), listener, core.stop.clone()));
    let background = [
        tokio::spawn(watched(core.clone(), tokio::spawn(core::keep_session(core.clone())))),
        tokio::spawn(watched(core.clone(), tokio::spawn(core::keep_certificate(core.clone())))),
        tokio::spawn(watched(core.clone(), tokio::spawn(conflicts::keep(core.clone())))),
    ];
    tracing::info!(home = %core.locked.home().path().display(), "agent.started");
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = core.stop.cancelled() => {}
    }
    core.stop.cancel();
    for task in background {
        if let Err(error) = task.await {
            tracing::error!(%error, "agent.task_failed");
        }
    }
    core.end().await;
    match serving.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "api.failed"),
        Err(error) => tracing::error!(%error, "agent.task_failed"),
    }
    // Somebody may look for an agent from now on: there is none.
    if let Err(error) = quics_kit::data::remove(&socket) {
        tracing::debug!(%error, "socket.remove_failed");
    }
    core.forget_if_left()?;
    tracing::info!("agent.stopped");
    Ok(())
}

/// Ends the agent if one of its tasks fails: half an agent would look like a whole one.
async fn watched(core: Shared, task: tokio::task::JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "agent.task_failed");
        core.stop.cancel();
    }
}

/// Makes a synced folder an ordinary directory again, while no agent runs. What cannot be removed is logged.
pub async fn release(path: &std::path::Path, root: quics_types::RootId) {
    start::unmark(path, root).await;
}

/// A reference to the running agent, for the local API.
pub(crate) type Shared = Arc<Core>;

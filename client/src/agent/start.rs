//! Starting a root: its folder, watcher, transfers and engine, put together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quics_meta::Options;
use quics_types::{EntryId, Place, RootId, UnitNames};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::inbox::inbox;
use super::meter::Meter;
use super::opener::Opener;
use super::root::Root;
use super::thread::{self, Stepped, Unopened};
use super::view::{Explained, OpenConflict, View};
use super::{Core, Error};
use crate::engine::{self, Action, Engine, Event};
use crate::folder::{self, Disk, RelPath};
use crate::home::RootEntry;

/// How the state of all roots is kept. Engines read all of theirs when they start and hardly anything later, so a small
/// cache does.
pub(super) fn store_options() -> Options {
    Options { cache: 8 << 20, queue_bytes: 16 << 20, ..Options::default() }
}

/// Starts a root. One that cannot run is there too, and its view says why.
pub(super) async fn start(core: &Arc<Core>, entry: RootEntry) -> Arc<Root> {
    let (inbox, mail) = inbox();
    let (views, view) = watch::channel(View::default());
    let root = Arc::new(Root {
        id: entry.id,
        inbox,
        view,
        stop: core.stop.child_token(),
        tasks: TaskTracker::new(),
        thread: Mutex::new(None),
        meter: Arc::new(Meter::default()),
        limited: Arc::default(),
        entry: Mutex::new(entry.clone()),
    });
    let opener = Opener::new(core, root.clone(), Handle::current());
    let name = format!("root-{:.8}", entry.id.to_string());
    let news = core.store.watch_applied();
    match thread::spawn(&name, Handle::current(), mail, views.clone(), news, opener.into_open()) {
        Ok(thread) => *root.thread.lock() = Some(thread),
        Err(error) => {
            views.send_replace(View::failure(format!("no thread can be started: {error}")));
        }
    }
    root
}

/// Makes a directory the folder of a root.
///
/// # Errors
/// [`Error::Directory`] and its like say what is in the way.
pub(super) async fn mark(path: &Path, root: RootId) -> Result<(), Error> {
    let at = path.to_owned();
    let made = tokio::task::spawn_blocking(move || Disk::create(&at, root, UnitNames::none()).map(drop)).await;
    match made {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(folder_error(path, error)),
        Err(error) => Err(Error::System { action: "mark the directory", source: std::io::Error::other(error) }),
    }
}

/// Makes it an ordinary directory again; where that fails, what stays is logged.
pub(super) async fn unmark(path: &Path, root: RootId) {
    let at = path.to_owned();
    let gone = tokio::task::spawn_blocking(move || Disk::open(&at, root, UnitNames::none())?.forget()).await;
    match gone {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, path = %crate::text::path(path), "folder.unmark_failed"),
        Err(error) => tracing::error!(%error, "folder.unmark_failed"),
    }
}

fn folder_error(path: &Path, error: folder::Error) -> Error {
    let at = path.to_owned();
    match error {
        folder::Error::NotADirectory(_) => Error::NotDirectory { at },
        folder::Error::Inside(outer) => Error::Inside { inner: at, outer },
        folder::Error::Contains(inner) => Error::Around { outer: at, inner },
        folder::Error::NotWritable { source, .. } => Error::Directory {
            at,
            reason: format!("it is not writable ({source}): change its permissions, or give another"),
        },
        folder::Error::OtherRoot { .. } | folder::Error::InUse(_) => Error::Directory {
            at,
            reason: "it belongs to another root already: detach that one first, or give another directory".to_owned(),
        },
        folder::Error::Unsupported { what, .. } => {
            Error::Directory { at, reason: format!("{what}: give a directory on another file system") }
        }
        other => Error::Directory { at, reason: other.to_string() },
    }
}

/// Why a folder cannot be opened now, as its root shows it.
pub(super) fn unopened(error: &folder::Error) -> Unopened {
    use engine::Hold;
    use folder::Identity;

    let hold = |identity| Unopened::Later(Hold::Folder(identity).to_string());
    match error {
        folder::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => hold(Identity::Gone),
        folder::Error::NotADirectory(_) => hold(Identity::Gone),
        folder::Error::Unmarked(_) => hold(Identity::Unmarked),
        folder::Error::OtherRoot { .. } => hold(Identity::Other),
        folder::Error::InUse(_) => Unopened::Later("another process has the folder open".to_owned()),
        folder::Error::Newer { .. } | folder::Error::Damaged { .. } | folder::Error::Unsupported { .. } => {
            Unopened::Never(error.to_string())
        }
        other => Unopened::Later(other.to_string()),
    }
}

/// Forgets what the store keeps of a root.
///
/// # Durability
/// Forgotten durably on return; cut off in between, a part is left, which a root that is attached again takes up.
///
/// # Errors
/// [`Error::State`].
pub(super) async fn forget(core: &Core, root: RootId) -> Result<(), Error> {
    let store = core.store.clone();
    let erased = tokio::task::spawn_blocking(move || engine::erase(root, store.as_ref())).await;
    let erased =
        erased.map_err(|error| Error::System { action: "forget the root", source: std::io::Error::other(error) })?;
    erased.map_err(|source| Error::State { at: core.locked.home().state(), source })
}

impl Stepped for Engine {
    fn handle(&mut self, event: Event) {
        Engine::handle(self, event);
    }

    fn step(&mut self) -> Vec<Action> {
        Engine::step(self)
    }

    fn wants_step(&mut self) -> bool {
        Engine::wants_step(self)
    }

    fn deadline(&mut self) -> Option<Duration> {
        Engine::deadline(self)
    }

    fn view(&mut self) -> View {
        let status = self.status();
        View {
            running: true,
            failed: status.failure,
            hold: status.hold,
            paused: status.paused,
            scanning: status.scanning,
            level: status.connected,
            quiet: status.in_sync,
            entries: status.entries,
            outgoing: (status.outgoing, status.progress.ingesting_bytes),
            incoming: (status.incoming, status.progress.fetching_bytes),
            conflicts: status.conflicts,
            problems: status.problems.into_iter().map(|(path, why)| (path.as_bytes().to_vec(), why)).collect(),
            problem_count: status.problem_count,
            scanned: status.progress.scanned_entries,
            cursor: status.cursor,
        }
    }

    fn explain(&mut self, path: &RelPath) -> Explained {
        let told = Engine::explain(self, path);
        Explained {
            summary: told.summary,
            synced: told.synced,
            remote: told.remote,
            local: told.local,
            conflict: told.conflict,
        }
    }

    fn conflicts(&mut self) -> Vec<OpenConflict> {
        let listed = Engine::conflicts(self).into_iter();
        listed.map(|(path, row, conflict)| OpenConflict { path, row, conflict }).collect()
    }

    fn path_of(&mut self, entry: EntryId) -> Option<RelPath> {
        Engine::where_is(self, entry)
    }

    fn taken(&mut self, place: &Place) -> bool {
        Engine::taken(self, place)
    }
}

//! Sees which paths of a folder change, as a hint: the scan is the truth.
//!
//! It is built on the crate `notify` (inotify). What that crate does not do by itself, and is done here:
//! - It asks for an event at every opening of a file or directory. These are dropped before anything else is looked
//!   at, for our own scan opens everything: handled, each scan would ask for the next.
//! - It watches `.quics`, where every applied file makes a dozen events. That watch is taken back, and whatever still
//!   comes from there is dropped; directories that are ignored go the same way.
//! - Its recursion gives up without a word at the first directory that vanishes or cannot be read, and what was made
//!   in a new directory before the watch was set is not told. So every new directory is gone through here: each one
//!   below is watched by itself and then reported, and nothing that was put into it before is missed.
//! - After an overflow of the kernel's queue directories may be unwatched. All are gone through again before
//!   [`Seen::Overflow`] is said. That and the scan that follows open directories, which may fill the queue anew, so
//!   it is said at most once in ten seconds, and less often the more it repeats.
//!
//! What is reported and when:
//! - A path that was closed after writing, came, went, moved or changed its attributes: at once ([`Seen::Touched`]);
//!   both paths of a move are reported together. A path that changes over and over is reported with pauses of at most
//!   a quarter second.
//! - A file that is being written, or was just made: a little later ([`Seen::Writing`]).
//! - A new directory: at once, and again with each one below when they are watched. The ignore file of each is named
//!   too, as rules that stood at that path before may be gone.
//!
//! Nothing is said of `.quics` and of what is ignored. Symbolic links are not followed.

mod hint;
mod lost;
mod pace;
mod work;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use notify::{Config, ErrorKind, RecommendedWatcher, Watcher as _};

use crate::folder::{RelPath, Tree};
use hint::Hint;
use work::Work;

/// Hints that wait between `notify`'s thread and ours; more at once are an overflow.
const QUEUE: usize = 16 * 1024;

/// What the watcher saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// These members have changed, and what changed is complete as far as one can see. A directory among them may have
    /// changed in its members.
    Touched(Vec<RelPath>),
    /// These files are being written, or were just made and not closed yet.
    Writing(Vec<RelPath>),
    /// Anything may have changed.
    Overflow,
    /// Not every directory can be watched (`fs.inotify.max_user_watches`): the folder has to be scanned periodically.
    Limited,
}

/// Whether a path is ignored, by itself or with a directory above; the second argument says whether it is a directory.
pub type Skip = Arc<dyn Fn(&RelPath, bool) -> bool + Send + Sync>;

/// Watches a folder until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the watcher, its thread and `notify`'s thread share.
#[derive(Debug)]
struct Shared {
    hints: SyncSender<Hint>,
    stop: AtomicBool,
    again: AtomicBool,
    /// There was no room for a hint.
    full: AtomicBool,
    limited: AtomicBool,
}

impl Shared {
    /// Hands a hint to the watcher's thread. Never blocks: `notify`'s thread has to go on reading, and it answers us.
    fn send(&self, hint: Hint) {
        if let Err(TrySendError::Full(_)) = self.hints.try_send(hint) {
            self.full.store(true, Ordering::Release);
        }
    }

    /// Makes the thread look at the flags.
    fn wake(&self) {
        // It fails only where the queue is full, and then the thread is awake.
        _ = self.hints.try_send(Hint::Wake);
    }
}

impl Watcher {
    /// Begins to watch; it blocks until every directory is watched. Whatever changes after it has returned is seen, so
    /// a scan that begins then misses nothing. `on` is called on the watcher's own thread and must not block.
    ///
    /// # Errors
    /// When inotify is not to be had (`fs.inotify.max_user_instances`), or the folder itself cannot be watched.
    /// Directories below that cannot be are no error, see [`Watcher::is_limited`].
    pub fn start(tree: Arc<Tree>, skip: Skip, on: impl FnMut(Seen) + Send + 'static) -> io::Result<Self> {
        let top = std::path::absolute(tree.path())?;
        let (sender, hints) = sync_channel(QUEUE);
        let shared = Arc::new(Shared {
            hints: sender,
            stop: AtomicBool::new(false),
            again: AtomicBool::new(false),
            full: AtomicBool::new(false),
            limited: AtomicBool::new(false),
        });
        let (to, from) = (shared.clone(), top.clone());
        let handler = move |event| hint::read(event, &from, |hint| to.send(hint));
        let config = Config::default().with_follow_symlinks(false);
        let notify = RecommendedWatcher::new(handler, config).map_err(plain)?;
        let mut work = Work::new(notify, hints, shared.clone(), skip, tree, top, on);
        work.begin().map_err(plain)?;
        let thread = std::thread::Builder::new().name("quics-watch".to_owned()).spawn(move || work.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Goes through all directories again and reports [`Seen::Overflow`] then: after what is ignored has changed.
    pub fn again(&self) {
        self.shared.again.store(true, Ordering::Release);
        self.shared.wake();
    }

    /// Whether there are directories that cannot be watched.
    pub fn is_limited(&self) -> bool {
        self.shared.limited.load(Ordering::Relaxed)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// The system's error where there is one.
fn plain(error: notify::Error) -> io::Error {
    match error.kind {
        ErrorKind::Io(error) => error,
        _ => io::Error::other(error),
    }
}

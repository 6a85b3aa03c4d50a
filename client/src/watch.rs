//! Sees where a folder changes, as a hint: the scan is the truth.
//!
//! It is built on inotify itself and not on the crate `notify`, for two reasons that were found in that crate's version
//! 8.2: it asks for an event at every opening of a file or directory, so that a scan of a large folder overflows the
//! queue, which asks for another scan; and it watches `.quics`, where every applied file makes a dozen events. Here
//! directories are reached beneath the folder's handle and never through a symbolic link, other file systems are not
//! entered, and a directory that is moved inside the folder stays watched.
//!
//! What is reported and when:
//! - A directory in which a file was closed after writing, or something came, went, moved or changed its attributes:
//!   at once ([`Seen::Touched`]). One that changes over and over is reported with pauses of at most a quarter second.
//! - A directory in which a file is being written, or was just made: a little later ([`Seen::Writing`]).
//! - A new directory, and each one below: when it is watched, so that nothing that was put into it before is missed.
//! - [`Seen::Overflow`] when events were lost; then everything may have changed.
//!
//! Nothing is said of `.quics`.

mod nodes;
mod pace;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

use crate::folder::{RelPath, Tree};
use nodes::Nodes;
use pace::{Pace, Urgency};

/// Bytes of the buffer for events.
const BUFFER: usize = 64 * 1024;

/// What the watcher saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// These directories have changed, and what changed is complete as far as one can see.
    Touched(Vec<RelPath>),
    /// In these directories a file is being written, or was just made and not closed yet.
    Writing(Vec<RelPath>),
    /// Anything may have changed.
    Overflow,
    /// Not every directory can be watched (`fs.inotify.max_user_watches`): the folder has to be scanned periodically.
    Limited,
}

/// Whether a directory is left unwatched, with everything below.
pub type Skip = Arc<dyn Fn(&RelPath) -> bool + Send + Sync>;

/// Watches a folder until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    wake: OwnedFd,
    stop: AtomicBool,
    again: AtomicBool,
    watched: AtomicUsize,
    limited: AtomicBool,
}

impl Watcher {
    /// Begins to watch; it blocks until every directory is watched. Whatever changes after it has returned is seen, so
    /// a scan that begins then misses nothing. `on` is called on the watcher's own thread and must not block.
    ///
    /// # Errors
    /// When inotify is not to be had (`fs.inotify.max_user_instances`), or the folder cannot be read. Directories
    /// below that cannot be watched are no error, see [`Watcher::is_limited`].
    pub fn start(tree: Arc<Tree>, skip: Skip, on: impl FnMut(Seen) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stop: AtomicBool::new(false),
            again: AtomicBool::new(false),
            watched: AtomicUsize::new(0),
            limited: AtomicBool::new(false),
        });
        let mut work = Work {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            nodes: Nodes::default(),
            pace: Pace::default(),
            began: Instant::now(),
            shared: shared.clone(),
            skip,
            tree,
            on,
        };
        work.watch_all()?;
        let thread = std::thread::Builder::new().name("quics-watch".to_owned()).spawn(move || work.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Goes through all directories again: after what is skipped has changed.
    pub fn again(&self) {
        self.shared.again.store(true, Ordering::Release);
        wake(&self.shared.wake);
    }

    /// Directories that are watched.
    pub fn watched(&self) -> usize {
        self.shared.watched.load(Ordering::Relaxed)
    }

    /// Whether there are directories that cannot be watched.
    pub fn is_limited(&self) -> bool {
        self.shared.limited.load(Ordering::Relaxed)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        wake(&self.shared.wake);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn wake(fd: &OwnedFd) {
    // It fails only where the counter is full, and then it is awake.
    _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

/// What the watcher's thread has.
struct Work<F> {
    inotify: OwnedFd,
    nodes: Nodes,
    pace: Pace,
    began: Instant,
    shared: Arc<Shared>,
    skip: Skip,
    tree: Arc<Tree>,
    on: F,
}

impl<F: FnMut(Seen)> Work<F> {
    fn run(mut self) {
        let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER);
        while !self.shared.stop.load(Ordering::Acquire) {
            if self.shared.again.swap(false, Ordering::AcqRel) {
                self.lost();
            }
            self.wait();
            if let Err(error) = self.read(&mut buffer) {
                tracing::error!(%error, "watch.failed");
                (self.on)(Seen::Overflow);
                return;
            }
            let due = self.pace.take(self.began.elapsed());
            for (dirs, seen) in [(due.settled, Seen::Touched as fn(_) -> _), (due.writing, Seen::Writing)] {
                if !dirs.is_empty() {
                    (self.on)(seen(dirs));
                }
            }
        }
    }

    /// Waits for events, for the next thing that is due, or to be woken.
    fn wait(&self) {
        let rest = self.pace.next().map(|due| due.saturating_sub(self.began.elapsed()));
        let timeout = rest.map(|rest| Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() });
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&self.shared.wake, PollFlags::IN)];
        if poll(&mut fds, timeout.as_ref()).is_ok() && fds[1].revents().contains(PollFlags::IN) {
            _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
        }
    }

    /// Takes the events that are there.
    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        // As much as there is now and no more: what comes in a flood is reported in between.
        let Some(inotify) = self.inotify.try_clone().ok() else { return Ok(()) };
        let mut reader = inotify::Reader::new(inotify.as_fd(), buffer.spare_capacity_mut());
        let mut moved = None;
        let mut overflow = false;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            overflow |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().map(|name| name.to_bytes().to_vec()).unwrap_or_default();
            self.take(event.wd(), event.events(), event.cookie(), &name, &mut moved);
            if reader.is_buffer_empty() {
                break;
            }
        }
        self.let_go(moved);
        if overflow {
            self.lost();
        }
        Ok(())
    }

    /// One event. `moved` is a watched directory that left its place and has not come to another yet.
    fn take(&mut self, wd: i32, what: ReadFlags, cookie: u32, name: &[u8], moved: &mut Option<(u32, i32)>) {
        if what.contains(ReadFlags::IGNORED) {
            self.nodes.remove(wd);
            self.count();
            return;
        }
        if what.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
            if self.nodes.is_top(wd) {
                (self.on)(Seen::Overflow);
            }
            return;
        }
        let Some(dir) = self.nodes.path(wd) else { return };
        if name == b".quics" || name.is_empty() {
            return;
        }
        let now = self.began.elapsed();
        let urgency = match what {
            what if what.contains(ReadFlags::MODIFY) => Urgency::Writing,
            what if what.contains(ReadFlags::CREATE) && !what.contains(ReadFlags::ISDIR) => Urgency::Made,
            _ => Urgency::Settled,
        };
        self.pace.touch(dir, urgency, now);
        if !what.contains(ReadFlags::ISDIR) {
            return;
        }
        if what.contains(ReadFlags::MOVED_FROM) {
            self.let_go(moved.take());
            *moved = self.nodes.child(wd, name).map(|child| (cookie, child));
        } else if what.contains(ReadFlags::MOVED_TO) {
            match moved.take() {
                Some((same, child)) if same == cookie => self.nodes.place(child, wd, name),
                other => {
                    self.let_go(other);
                    self.watch_new(wd, name);
                }
            }
        } else if what.contains(ReadFlags::CREATE) {
            self.watch_new(wd, name);
        }
    }

    /// A directory was moved out of the folder.
    fn let_go(&mut self, moved: Option<(u32, i32)>) {
        let Some((_, wd)) = moved else { return };
        for gone in self.nodes.remove_tree(wd) {
            // Where it is gone already the kernel has let go too.
            _ = inotify::remove_watch(&self.inotify, gone);
        }
        self.count();
    }

    /// Events were lost, directories among them perhaps.
    fn lost(&mut self) {
        if let Err(error) = self.watch_all() {
            tracing::warn!(%error, "watch.incomplete");
        }
        (self.on)(Seen::Overflow);
    }

    fn watch_all(&mut self) -> io::Result<()> {
        let Some(top) = self.watch(&RelPath::root(), None)? else {
            return Err(io::Error::other("the folder cannot be watched"));
        };
        self.watch_below(top, RelPath::root(), false);
        Ok(())
    }

    fn watch_new(&mut self, parent: i32, name: &[u8]) {
        let Some(path) = self.nodes.path(parent).and_then(|dir| nodes::join(&dir, name)) else { return };
        if let Ok(Some(wd)) = self.watch(&path, Some((parent, name))) {
            self.pace.touch(path.clone(), Urgency::Settled, self.began.elapsed());
            self.watch_below(wd, path, true);
        }
    }

    /// Watches everything below a directory; says of each whether it is to be reported.
    fn watch_below(&mut self, wd: i32, path: RelPath, report: bool) {
        let mut waiting = vec![(wd, path)];
        while let Some((parent, dir)) = waiting.pop() {
            // What cannot be read now is reported by the scan; what is gone is gone.
            for name in self.tree.subdirs(&dir).unwrap_or_default() {
                let path = dir.join(&name);
                if let Ok(Some(wd)) = self.watch(&path, Some((parent, name.as_bytes()))) {
                    if report {
                        self.pace.touch(path.clone(), Urgency::Settled, self.began.elapsed());
                    }
                    waiting.push((wd, path));
                }
            }
        }
        self.count();
    }

    /// Watches one directory; `None` when it is skipped or cannot be.
    fn watch(&mut self, path: &RelPath, place: Option<(i32, &[u8])>) -> io::Result<Option<i32>> {
        if place.is_some() && (self.skip)(path) {
            return Ok(None);
        }
        let mask = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        let own = if place.is_none() { WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF } else { WatchFlags::empty() };
        let (_handle, magic) = self.tree.magic(path)?;
        match inotify::add_watch(&self.inotify, magic, mask | own) {
            Ok(wd) => {
                match place {
                    Some((parent, name)) => self.nodes.place(wd, parent, name),
                    None => self.nodes.set_top(wd),
                }
                Ok(Some(wd))
            }
            Err(Errno::NOSPC | Errno::NOMEM) => {
                if !self.shared.limited.swap(true, Ordering::Relaxed) {
                    tracing::warn!(watched = self.nodes.len(), "watch.limited");
                    (self.on)(Seen::Limited);
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn count(&self) {
        self.shared.watched.store(self.nodes.len(), Ordering::Relaxed);
    }
}

//! The watcher's own thread, between `notify`'s and the one that is told.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
    time::{Duration, Instant},
};

use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use quics_types::Name;

use super::{
    Seen, Shared, Skip,
    hint::{Hint, What},
    lost::Lost,
    pace::{Pace, Urgency},
};
use crate::folder::{IGNORE_FILE, Kind, RelPath, Spot, Tree};

/// Hints that are taken before what is due is reported.
const BATCH: usize = 1024;
/// Directories that are gone through before hints are taken again.
const DIRECTORIES: usize = 64;
/// How long the second path of a move is waited for, so that both are reported together: it comes right behind.
const SECOND_PATH: Duration = Duration::from_millis(1);

/// A directory to be gone through, with all below.
#[derive(Debug)]
struct Visit {
    dir: RelPath,
    /// It may be unwatched. Otherwise it is only looked for what is ignored.
    watch: bool,
    /// It is new: what is in it is to be reported.
    report: bool,
}

/// What the thread has.
pub(super) struct Work<F> {
    notify: RecommendedWatcher,
    hints: Receiver<Hint>,
    shared: Arc<Shared>,
    skip: Skip,
    tree: Arc<Tree>,
    top: PathBuf,
    on: F,
    began: Instant,
    pace: Pace,
    lost: Lost,
    visits: Vec<Visit>,
    /// An overflow is to be reported when everything was gone through.
    overflow: bool,
    /// What came to which paths; to be looked at.
    arrived: Vec<(What, RelPath, Spot)>,
    /// A path was left, and the one that was moved to has not been named yet.
    moving: bool,
}

impl<F: FnMut(Seen)> Work<F> {
    pub(super) fn new(
        notify: RecommendedWatcher,
        hints: Receiver<Hint>,
        shared: Arc<Shared>,
        skip: Skip,
        tree: Arc<Tree>,
        top: PathBuf,
        on: F,
    ) -> Self {
        Self {
            notify,
            hints,
            shared,
            skip,
            tree,
            top,
            on,
            began: Instant::now(),
            pace: Pace::default(),
            lost: Lost::default(),
            visits: Vec::new(),
            overflow: false,
            arrived: Vec::new(),
            moving: false,
        }
    }

    /// Watches everything.
    ///
    /// # Errors
    /// When the folder itself cannot be watched.
    pub(super) fn begin(&mut self) -> notify::Result<()> {
        let all = self.notify.watch(&self.top, RecursiveMode::Recursive);
        // Our own files come and go all the time, and nobody wants to know.
        _ = self.notify.unwatch(&self.top.join(".quics"));
        self.go_through(RelPath::root(), false, false);
        let Err(error) = all else { return Ok(()) };
        tracing::debug!(%error, "watch.one_by_one");
        // It gave up at the first that could not be watched. What is ignored is let go, then each one is tried.
        self.visit_all();
        self.notify.watch(&self.top, RecursiveMode::NonRecursive)?;
        self.go_through(RelPath::root(), true, false);
        self.visit_all();
        Ok(())
    }

    /// Works until the watcher is dropped.
    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.receive();
            if self.shared.full.swap(false, Ordering::AcqRel) {
                self.lost.note(self.now());
            }
            self.report();
            if self.shared.again.swap(false, Ordering::AcqRel) || self.lost.take(self.now()) {
                // What was to be reported is in the overflow.
                self.visits.clear();
                self.go_through(RelPath::root(), true, false);
                self.overflow = true;
            }
            for _ in 0..DIRECTORIES {
                let Some(visit) = self.visits.pop() else { break };
                self.visit(visit);
            }
            if self.overflow && self.visits.is_empty() {
                self.overflow = false;
                (self.on)(Seen::Overflow);
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for a hint or for what is due, and takes the hints that are there: in a flood, as many as a batch.
    fn receive(&mut self) {
        let due = [self.pace.next(), self.lost.next()].into_iter().flatten().min();
        let first = if !self.visits.is_empty() {
            self.hints.try_recv().ok()
        } else if let Some(due) = due {
            self.hints.recv_timeout(due.saturating_sub(self.now())).ok()
        } else {
            // The watcher has a sender, so it does not end before the watcher does.
            self.hints.recv().ok()
        };
        let Some(first) = first else { return };
        self.take(first);
        for _ in 1..BATCH {
            let Ok(hint) = self.hints.try_recv() else { break };
            self.take(hint);
        }
        let until = self.now() + SECOND_PATH;
        while self.moving {
            match self.hints.recv_timeout(until.saturating_sub(self.now())) {
                Ok(hint) => self.take(hint),
                Err(_) => self.moving = false,
            }
        }
        self.look_at_arrived();
    }

    fn take(&mut self, hint: Hint) {
        match hint {
            Hint::Change(what, path) => self.change(what, path),
            Hint::Top => (self.on)(Seen::Overflow),
            Hint::Lost => self.lost.note(self.now()),
            Hint::Limited => self.limited(),
            Hint::Wake => {}
        }
    }

    fn change(&mut self, what: What, path: RelPath) {
        match what {
            What::Left => self.moving = true,
            What::Came => self.moving = false,
            _ => {}
        }
        let Some(spot) = spot(&path) else { return };
        if !spot.dir.is_root() && (self.skip)(&spot.dir, true) {
            return;
        }
        if matches!(what, What::File | What::Written) && (self.skip)(&path, false) {
            return;
        }
        let urgency = match what {
            What::Written => Urgency::Writing,
            What::File | What::Left | What::Other => Urgency::Settled,
            What::Made | What::Came => return self.arrived.push((what, path, spot)),
        };
        self.touch(path, urgency);
    }

    /// Looks at what came since the last time; neighbours together, for a directory may get thousands at once.
    fn look_at_arrived(&mut self) {
        let (arrived, tree) = (std::mem::take(&mut self.arrived), self.tree.clone());
        for group in arrived.chunk_by(|(_, _, one), (_, _, next)| one.dir == next.dir) {
            let Some((_, _, Spot { dir, .. })) = group.first() else { continue };
            let stats = tree.look_many(dir, group.iter().map(|(_, _, spot)| &spot.name));
            for ((what, path, _), stat) in group.iter().zip(stats) {
                let urgency = match stat {
                    Ok(Some(stat)) if stat.kind == Kind::Directory => {
                        self.came(path.clone());
                        continue;
                    }
                    Ok(Some(_)) if (self.skip)(path, false) => continue,
                    // Nobody closes a link after it was made, nor the second name of a file.
                    Ok(Some(stat)) if *what == What::Made && stat.kind == Kind::File && stat.links == 1 => {
                        Urgency::Made
                    }
                    // It is gone again, or the scan says what is wrong with it.
                    _ => Urgency::Settled,
                };
                self.touch(path.clone(), urgency);
            }
        }
    }

    /// A directory is at this path that was not there.
    fn came(&mut self, dir: RelPath) {
        if !(self.skip)(&dir, true) {
            self.touch_directory(dir.clone());
        }
        self.go_through(dir, true, true);
    }

    fn touch_directory(&mut self, dir: RelPath) {
        if let Ok(name) = Name::new(IGNORE_FILE) {
            self.touch(dir.join(&name), Urgency::Settled);
        }
        self.touch(dir, Urgency::Settled);
    }

    fn touch(&mut self, path: RelPath, urgency: Urgency) {
        let now = self.now();
        if self.pace.touch(path, urgency, now).is_err() {
            self.lost.note(now);
        }
    }

    fn report(&mut self) {
        let due = self.pace.take(self.now());
        for (paths, seen) in [(due.settled, Seen::Touched as fn(_) -> _), (due.writing, Seen::Writing)] {
            if !paths.is_empty() {
                (self.on)(seen(paths));
            }
        }
    }

    fn go_through(&mut self, dir: RelPath, watch: bool, report: bool) {
        self.visits.push(Visit { dir, watch, report });
    }

    fn visit_all(&mut self) {
        while let Some(visit) = self.visits.pop() {
            self.visit(visit);
        }
    }

    /// One directory; those in it are to be visited next.
    fn visit(&mut self, Visit { dir, watch, report }: Visit) {
        let path = self.path(&dir);
        if !dir.is_root() && (self.skip)(&dir, true) {
            // Mostly it was not watched.
            _ = self.notify.unwatch(&path);
            return;
        }
        if watch {
            // One by one: recursion would keep `notify` from reading events meanwhile, and would end at any error.
            match self.notify.watch(&path, RecursiveMode::NonRecursive) {
                Err(error) if is_limit(&error) => self.limited(),
                // It is gone, or cannot be read, which the scan reports.
                Err(error) => tracing::debug!(%error, "watch.unwatched"),
                Ok(()) => {}
            }
        }
        // Listed after it is watched: what comes later makes an event.
        let below = self.tree.subdirs(&dir).unwrap_or_default();
        self.visits.extend(below.iter().map(|name| Visit { dir: dir.join(name), watch, report }));
        if report {
            self.touch_directory(dir);
        }
    }

    fn limited(&mut self) {
        if !self.shared.limited.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %crate::text::path(&self.top), "watch.limited");
            (self.on)(Seen::Limited);
        }
    }

    fn path(&self, path: &RelPath) -> PathBuf {
        if path.is_root() { self.top.clone() } else { self.top.join(OsStr::from_bytes(path.as_bytes())) }
    }
}

/// Whether it is the limit of watches or of the kernel's memory for them.
fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::OutOfMemory,
        _ => false,
    }
}

/// The directory and the name of a path; `None` where the name is none that can be synced.
fn spot(path: &RelPath) -> Option<Spot> {
    let bytes = path.as_bytes();
    let (dir, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(end) => (RelPath::from_checked(&bytes[..end]), &bytes[end + 1..]),
        None => (RelPath::root(), bytes),
    };
    Some(Spot { dir, name: Name::new(name.to_vec()).ok()? })
}

//! One root while it is synced: its engine thread, watcher, transfers, and what it shows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use quics_types::RootId;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::inbox::{Inbox, Input, Question};
use super::meter::Meter;
use super::thread::Stepped;
use super::view::View;
use crate::engine::Event;
use crate::folder::RelPath;
use crate::home::RootEntry;

/// A root that runs.
pub(crate) struct Root {
    /// What the settings say of it.
    pub(crate) entry: Mutex<RootEntry>,
    pub(crate) id: RootId,
    pub(crate) inbox: Inbox,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
    /// Counts what the transfers move.
    pub(crate) meter: Arc<Meter>,
    /// Not every directory can be watched.
    pub(crate) limited: Arc<AtomicBool>,
}

impl Root {
    /// Where it is here.
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.entry.lock().path.clone()
    }

    /// The relative path of something in this root; `None` if it is elsewhere.
    pub(crate) fn relative(&self, path: &Path) -> Option<RelPath> {
        relative(&self.entry.lock().path, path)
    }

    /// Lets the engine take what was handed to it so far, and publishes its view. `false`: it has ended.
    pub(crate) async fn settle(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.inbox.ask(Input::Barrier(answer), answered).await.is_some()
    }

    /// Asks the engine something, on its own thread; `None` when it is not there.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Stepped) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let question = Question(Box::new(move |engine| {
            // Who asked may have gone.
            let _gone = answer.send(question(engine));
        }));
        self.inbox.ask(Input::Ask(question), answered).await
    }

    /// Hands the engine a wish of the user.
    pub(crate) fn wish(&self, event: Event) {
        // `false` when the engine has ended, which its view says.
        let _ended = self.inbox.control(Input::Event(event));
    }

    /// Ends it: transfers, then the engine with its watcher; returns when all of them have ended.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.inbox.control(Input::Stop);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A panic of the engine was shown as its view.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// The path of `path` below `root`, both absolute; `None` if it is not there.
pub(crate) fn relative(root: &Path, path: &Path) -> Option<RelPath> {
    use std::os::unix::ffi::OsStrExt as _;

    let rest = path.strip_prefix(root).ok()?;
    let mut relative = RelPath::root();
    for part in rest.components() {
        let std::path::Component::Normal(name) = part else { return None };
        let name = quics_types::Name::new(bytes::Bytes::copy_from_slice(name.as_bytes())).ok()?;
        relative = relative.join(&name);
    }
    Some(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_its_root_and_not_to_one_with_a_similar_name() {
        let root = Path::new("/home/ann/doc");
        assert_eq!(relative(root, Path::new("/home/ann/doc")).unwrap(), RelPath::root());
        assert_eq!(relative(root, Path::new("/home/ann/doc/a/b")).unwrap().as_bytes(), b"a/b");
        assert!(relative(root, Path::new("/home/ann/docs/a")).is_none());
        assert!(relative(root, Path::new("/home/ann")).is_none());
        assert!(relative(root, Path::new("/home/ann/doc/../x")).is_none());
    }
}

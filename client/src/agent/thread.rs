//! The thread of one root: events in, step, actions out.
//!
//! The engine is synchronous and may read and write files; so each has a thread of its own, and no runtime thread
//! ever waits for a disk. The thread sleeps until there is an event or the engine's deadline is there.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use quics_types::{EntryId, Place};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::inbox::{Input, Mail};
use super::view::{Explained, OpenConflict, View};
use crate::engine::{Action, Event};
use crate::folder::RelPath;
use quics_types::Digest;

/// Inputs that are handled before the engine steps, so that a burst becomes one batch and a flood still steps.
const BURST: usize = 1024;
/// Views that change are published at most this often while the engine works.
const PUBLISH: Duration = Duration::from_millis(50);
/// How often a folder that is away is looked for.
const REOPEN: Duration = Duration::from_secs(5);

/// The engine as this thread drives it; simulations and tests bring others.
pub(crate) trait Stepped: Send {
    fn handle(&mut self, event: Event);
    fn step(&mut self) -> Vec<Action>;
    fn wants_step(&mut self) -> bool;
    /// How long from now until [`Event::Tick`] is due at the latest.
    fn deadline(&mut self) -> Option<Duration>;
    fn view(&mut self) -> View;
    fn explain(&mut self, path: &RelPath) -> Explained;
    fn conflicts(&mut self) -> Vec<OpenConflict>;
    /// Where an entry is or was, as the server's tree has it; `None` for one that is not known.
    fn path_of(&mut self, entry: EntryId) -> Option<RelPath>;
    /// Whether something has this place, on the server or on the disk.
    fn taken(&mut self, place: &Place) -> bool;
}

/// What carries the engine's actions out. `session` is the newest that the engine was told of.
pub(crate) trait Hands: Send + Sync {
    fn act(&self, session: u64, action: Action);
    /// The server has lost these chunks of the root.
    fn heal(&self, digests: Vec<Digest>);
}

/// An engine that is ready to run, with what serves it.
pub(crate) struct Opened<E> {
    pub(crate) engine: E,
    pub(crate) hands: Arc<dyn Hands>,
}

/// Why an engine cannot be opened now.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// It may work later: the folder is away. One sentence for the user.
    Later(String),
    /// It will not work. One sentence for the user.
    Never(String),
}

/// Starts the thread. `open` makes the engine, on the thread, as that may take long; it is called again from time to
/// time while it answers [`Unopened::Later`]. `news` wakes the engine when the store has made something durable.
pub(crate) fn spawn<E, O>(
    name: &str,
    runtime: Handle,
    mail: Mail,
    views: watch::Sender<View>,
    news: watch::Receiver<u64>,
    open: O,
) -> io::Result<JoinHandle<()>>
where
    E: Stepped,
    O: FnMut() -> Result<Opened<E>, Unopened> + Send + 'static,
{
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Published when the thread ends in any way that it was not told to, a panic included.
        let mut epitaph = Epitaph { views: views.clone(), reason: Some("its engine ended by a defect".to_owned()) };
        match wait_open(&runtime, mail, &views, open) {
            Ok(Some((opened, mail, session))) => {
                let Opened { mut engine, hands } = opened;
                if let Some(_session) = session {
                    engine.handle(Event::Connected);
                }
                let session = session.unwrap_or(0);
                let mut thread = Thread { engine, mail, hands, views, news, session, published: None };
                thread.run(&runtime);
                epitaph.reason = None;
            }
            Ok(None) => epitaph.reason = None,
            Err(reason) => epitaph.reason = Some(reason),
        }
    })
}

/// Opens the engine, again and again while it is only away. `None`: the thread is to end. With it comes the session
/// that was opened meanwhile.
#[allow(clippy::type_complexity)]
fn wait_open<E>(
    runtime: &Handle,
    mut mail: Mail,
    views: &watch::Sender<View>,
    mut open: impl FnMut() -> Result<Opened<E>, Unopened>,
) -> Result<Option<(Opened<E>, Mail, Option<u64>)>, String> {
    let mut session = None;
    loop {
        match open() {
            Ok(opened) => return Ok(Some((opened, mail, session))),
            Err(Unopened::Never(reason)) => return Err(reason),
            Err(Unopened::Later(reason)) => {
                views.send_replace(View { running: true, hold: Some(reason), ..View::default() });
            }
        }
        let again = tokio::time::Instant::now() + REOPEN;
        loop {
            match runtime.block_on(async { tokio::time::timeout_at(again, mail.next()).await }) {
                Err(_elapsed) => break,
                Ok(None | Some(Input::Stop)) => return Ok(None),
                Ok(Some(Input::Connected(opened))) => session = Some(opened),
                Ok(Some(Input::Event(Event::Disconnected))) => session = None,
                Ok(Some(Input::Event(Event::Overflow))) => break,
                Ok(Some(Input::Barrier(answer))) => {
                    let _gone = answer.send(());
                }
                // An engine that is not there has asked for nothing; who asks for an explanation sees that it is gone.
                Ok(Some(Input::Event(_) | Input::Ask(_) | Input::Wanted(_))) => {}
            }
        }
    }
}

struct Epitaph {
    views: watch::Sender<View>,
    reason: Option<String>,
}

impl Drop for Epitaph {
    fn drop(&mut self) {
        if let Some(reason) = self.reason.take() {
            self.views.send_replace(View::failure(reason));
        }
    }
}

struct Thread<E> {
    engine: E,
    mail: Mail,
    hands: Arc<dyn Hands>,
    views: watch::Sender<View>,
    news: watch::Receiver<u64>,
    session: u64,
    published: Option<tokio::time::Instant>,
}

// It lives on the stack for a moment.
#[allow(clippy::large_enum_variant)]
enum Woken {
    Mail(Option<Input>),
    News,
    Time,
}

impl<E: Stepped> Thread<E> {
    fn run(&mut self, runtime: &Handle) {
        loop {
            let mut handled = 0;
            while handled < BURST
                && let Some(input) = self.mail.take()
            {
                handled += 1;
                if !self.handle(input) {
                    return;
                }
            }
            for action in self.engine.step() {
                self.hands.act(self.session, action);
            }
            let busy = self.engine.wants_step() || handled == BURST;
            let unpublished = self.publish(busy);
            if busy {
                continue;
            }
            let deadline = self.engine.deadline();
            let wait = match (deadline, unpublished) {
                (Some(deadline), Some(rest)) => Some(deadline.min(rest)),
                (deadline, rest) => deadline.or(rest),
            };
            let woken = runtime.block_on(async {
                let elapsed = async {
                    match wait {
                        None => std::future::pending().await,
                        Some(wait) => tokio::time::sleep(wait).await,
                    }
                };
                tokio::select! {
                    input = self.mail.next() => Woken::Mail(input),
                    Ok(()) = self.news.changed() => Woken::News,
                    () = elapsed => Woken::Time,
                }
            });
            match woken {
                Woken::Mail(Some(input)) => {
                    if !self.handle(input) {
                        return;
                    }
                }
                Woken::Mail(None) => return,
                Woken::News => {}
                Woken::Time => {
                    if wait == deadline {
                        self.engine.handle(Event::Tick);
                    }
                }
            }
        }
    }

    /// `false`: the thread is to end.
    fn handle(&mut self, input: Input) -> bool {
        match input {
            Input::Event(event) => self.engine.handle(event),
            Input::Connected(session) => {
                self.session = session;
                self.engine.handle(Event::Connected);
            }
            Input::Wanted(digests) => self.hands.heal(digests),
            Input::Ask(question) => (question.0)(&mut self.engine),
            Input::Barrier(answer) => {
                self.show();
                let _gone = answer.send(());
            }
            Input::Stop => return false,
        }
        true
    }

    /// Publishes the view, unless the last time was just now; then says how long that is to wait.
    fn publish(&mut self, busy: bool) -> Option<Duration> {
        let now = tokio::time::Instant::now();
        let rest = self.published.and_then(|last| (last + PUBLISH).checked_duration_since(now));
        match rest {
            Some(rest) if !rest.is_zero() => Some(rest).filter(|_| !busy),
            _ => {
                self.show();
                None
            }
        }
    }

    fn show(&mut self) {
        let view = self.engine.view();
        self.published = Some(tokio::time::Instant::now());
        self.views.send_if_modified(|shown| {
            let changed = *shown != view;
            if changed {
                *shown = view;
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use parking_lot::Mutex;

    use super::*;
    use crate::agent::inbox::inbox;

    /// Answers `Connected` with a resume, counts ticks, and is quiet once it was told `Overflow`.
    #[derive(Default)]
    struct Toy {
        connected: bool,
        quiet: bool,
        ticks: Arc<AtomicU64>,
        deadline: Option<Duration>,
        panics: bool,
    }

    impl Stepped for Toy {
        fn handle(&mut self, event: Event) {
            match event {
                Event::Connected => self.connected = true,
                Event::Overflow => self.quiet = true,
                Event::Tick => {
                    self.ticks.fetch_add(1, Ordering::SeqCst);
                    self.deadline = None;
                }
                Event::Fenced => self.panics = true,
                _ => {}
            }
        }

        fn step(&mut self) -> Vec<Action> {
            assert!(!self.panics, "asked to");
            if std::mem::take(&mut self.connected) { vec![Action::Resume { incarnation: 1 }] } else { Vec::new() }
        }

        fn wants_step(&mut self) -> bool {
            false
        }

        fn deadline(&mut self) -> Option<Duration> {
            self.deadline
        }

        fn conflicts(&mut self) -> Vec<OpenConflict> {
            Vec::new()
        }

        fn path_of(&mut self, _entry: EntryId) -> Option<RelPath> {
            None
        }

        fn taken(&mut self, _place: &Place) -> bool {
            false
        }

        fn view(&mut self) -> View {
            View { running: true, quiet: self.quiet, ..View::default() }
        }

        fn explain(&mut self, _path: &RelPath) -> Explained {
            Explained::default()
        }
    }

    #[derive(Default)]
    struct Recorder(Mutex<Vec<(u64, Action)>>);

    impl Hands for Recorder {
        fn act(&self, session: u64, action: Action) {
            self.0.lock().push((session, action));
        }

        fn heal(&self, _: Vec<Digest>) {}
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn actions_carry_the_session_that_the_engine_knew() {
        let (inbox, mail) = inbox();
        let hands = Arc::new(Recorder::default());
        let (views, _) = watch::channel(View::default());
        let thread = start(mail, views, hands.clone(), Toy::default());
        for session in [7, 8] {
            inbox.control(Input::Connected(session));
            while hands.0.lock().last().is_none_or(|(acted, _)| *acted != session) {
                tokio::task::yield_now().await;
            }
        }
        inbox.control(Input::Stop);
        tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
        let resume = Action::Resume { incarnation: 1 };
        assert_eq!(*hands.0.lock(), [(7, resume.clone()), (8, resume)]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_change_of_the_view_is_published_when_the_engine_rests() {
        let (inbox, mail) = inbox();
        let (views, mut seen) = watch::channel(View::default());
        let _thread = start(mail, views, Arc::default(), Toy::default());
        seen.wait_for(|view| view.running).await.unwrap();
        assert!(inbox.send(Event::Overflow, 1).await);
        seen.wait_for(|view| view.quiet).await.unwrap();
        inbox.control(Input::Stop);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_deadline_brings_a_tick() {
        let (inbox, mail) = inbox();
        let (views, _) = watch::channel(View::default());
        let ticks = Arc::new(AtomicU64::new(0));
        let toy = Toy { ticks: ticks.clone(), deadline: Some(Duration::from_millis(1)), ..Toy::default() };
        let thread = start(mail, views, Arc::default(), toy);
        while ticks.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        inbox.control(Input::Stop);
        tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
        assert_eq!(ticks.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_engine_that_does_not_open_or_dies_is_shown_as_failed() {
        let (_inbox, mail) = inbox();
        let (views, mut seen) = watch::channel(View::default());
        let none = || Err::<Opened<Toy>, _>(Unopened::Never("no disk".to_owned()));
        spawn("toy", Handle::current(), mail, views, watch::channel(0).1, none).unwrap();
        seen.wait_for(|view| view.failed.as_deref() == Some("no disk")).await.unwrap();

        let (inbox, mail) = super::super::inbox::inbox();
        let (views, mut seen) = watch::channel(View::default());
        start(mail, views, Arc::default(), Toy::default());
        assert!(inbox.send(Event::Fenced, 1).await);
        seen.wait_for(|view| view.failed.is_some()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_folder_that_is_away_is_looked_for_and_the_session_is_not_forgotten() {
        let (inbox, mail) = inbox();
        let (views, mut seen) = watch::channel(View::default());
        let hands = Arc::new(Recorder::default());
        let (there, served) = (Arc::new(AtomicU64::new(0)), hands.clone());
        let back = there.clone();
        let open = move || match back.load(Ordering::SeqCst) {
            0 => Err(Unopened::Later("it is away".to_owned())),
            _ => Ok(Opened { engine: Toy::default(), hands: served.clone() }),
        };
        let thread = spawn("toy", Handle::current(), mail, views, watch::channel(0).1, open).unwrap();
        seen.wait_for(|view| view.hold.as_deref() == Some("it is away")).await.unwrap();
        inbox.control(Input::Connected(5));
        there.store(1, Ordering::SeqCst);
        assert!(inbox.send(Event::Overflow, 1).await);
        seen.wait_for(|view| view.running && view.hold.is_none()).await.unwrap();
        inbox.control(Input::Stop);
        tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
        assert_eq!(*hands.0.lock(), [(5, Action::Resume { incarnation: 1 })]);
    }

    fn start(mail: Mail, views: watch::Sender<View>, hands: Arc<Recorder>, toy: Toy) -> JoinHandle<()> {
        let mut opened = Some(Opened { engine: toy, hands });
        let open = move || opened.take().ok_or(Unopened::Never("opened twice".to_owned()));
        spawn("toy", Handle::current(), mail, views, watch::channel(0).1, open).unwrap()
    }
}

//! The way into an engine thread: ordered, bounded by bytes, and never lossy without saying so.
//!
//! What comes from the server or from transfers waits for room, so a slow root slows its peers' streams down (flow
//! control) instead of filling memory. What the watcher saw never waits: where there is no room, the thread is told
//! that anything may have changed, and the scan finds out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quics_types::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::thread::Stepped;
use crate::engine::Event;

/// Bytes that wait for one engine at most: enough for a few of the largest messages.
const ROOM: usize = 16 << 20;
/// Room is counted in units of this many bytes.
const UNIT: usize = 1 << 10;

/// One thing for the engine thread to do.
// Nearly all are events; a box would cost each of them an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum Input {
    /// For the engine.
    Event(Event),
    /// The streams to the server are open, as a session of this number; the number goes on what the
    /// engine asks for from now on.
    Connected(u64),
    /// Chunks that the server has lost.
    Wanted(Vec<Digest>),
    /// A question to the engine.
    Ask(Question),
    /// Answered when everything before it was handled and its effect on the view is published.
    Barrier(oneshot::Sender<()>),
    /// Ends the thread.
    Stop,
}

impl From<Event> for Input {
    fn from(event: Event) -> Self {
        Input::Event(event)
    }
}

/// A question that is asked on the engine's own thread, between its steps. Dropped unasked when the engine is not there.
pub(crate) struct Question(pub(crate) Box<Ask>);

/// Asks an engine.
type Ask = dyn FnOnce(&mut dyn Stepped) + Send;

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Question")
    }
}

/// The sending end; clones send to the same thread.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    queue: mpsc::UnboundedSender<(Input, Option<OwnedSemaphorePermit>)>,
    room: Arc<Semaphore>,
    overflow: Arc<AtomicBool>,
}

/// The thread's end.
#[derive(Debug)]
pub(crate) struct Mail {
    queue: mpsc::UnboundedReceiver<(Input, Option<OwnedSemaphorePermit>)>,
    overflow: Arc<AtomicBool>,
}

/// Makes the two ends.
pub(crate) fn inbox() -> (Inbox, Mail) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let overflow = Arc::new(AtomicBool::new(false));
    let inbox = Inbox { queue: sender, room: Arc::new(Semaphore::new(ROOM / UNIT)), overflow: overflow.clone() };
    (inbox, Mail { queue: receiver, overflow })
}

impl Inbox {
    /// Hands over an event of about `bytes` bytes, waiting for room. `false`: the thread has ended.
    ///
    /// # Cancel safety
    /// A call that is dropped has handed over nothing.
    pub(crate) async fn send(&self, event: Event, bytes: usize) -> bool {
        self.hand(Input::Event(event), bytes).await
    }

    /// The same for any input.
    pub(crate) async fn hand(&self, input: Input, bytes: usize) -> bool {
        let units = (bytes / UNIT + 1).min(ROOM / UNIT);
        // At most ROOM / UNIT, which fits.
        let Ok(permit) = self.room.clone().acquire_many_owned(units as u32).await else { return false };
        self.queue.send((input, Some(permit))).is_ok()
    }

    /// Hands over what the watcher saw, at once: events of these, or none where there is no room.
    pub(crate) fn touch(&self, event: Event) {
        match self.room.clone().try_acquire_owned() {
            Ok(permit) => {
                let _ended = self.queue.send((Input::Event(event), Some(permit)));
            }
            // The queue is full, so the thread will come by and see this.
            Err(_) => self.overflow.store(true, Ordering::Release),
        }
    }

    /// Hands over something that is rare and small, at once. `false`: the thread has ended.
    pub(crate) fn control(&self, input: Input) -> bool {
        self.queue.send((input, None)).is_ok()
    }

    /// Hands over what has an answer, and waits for it. `None`: the thread has ended.
    pub(crate) async fn ask<T>(&self, input: Input, mut answered: oneshot::Receiver<T>) -> Option<T> {
        if !self.control(input) {
            return None;
        }
        tokio::select! {
            biased;
            answer = &mut answered => answer.ok(),
            // What is handed over while the thread's end is being dropped may stay in the queue, with its sender.
            () = self.queue.closed() => answered.try_recv().ok(),
        }
    }
}

impl Mail {
    /// Waits for the next thing; `None` when nobody can send any more.
    pub(crate) async fn next(&mut self) -> Option<Input> {
        self.queue.recv().await.map(|(input, _room)| input)
    }

    /// Takes the next thing if it is there.
    pub(crate) fn take(&mut self) -> Option<Input> {
        if self.overflow.swap(false, Ordering::AcqRel) {
            return Some(Input::Event(Event::Overflow));
        }
        self.queue.try_recv().ok().map(|(input, _room)| input)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::folder::RelPath;

    #[tokio::test]
    async fn a_full_inbox_makes_senders_wait_and_loses_nothing() {
        let (inbox, mut mail) = inbox();
        assert!(inbox.send(Event::Tick, ROOM).await);
        let waiting = inbox.clone();
        let sender = tokio::spawn(async move { waiting.send(Event::Disconnected, 1).await });
        assert!(inbox.control(Input::Stop));
        assert!(matches!(mail.next().await, Some(Input::Event(Event::Tick))));
        assert!(matches!(mail.next().await, Some(Input::Stop)));
        assert!(matches!(mail.next().await, Some(Input::Event(Event::Disconnected))));
        assert!(sender.await.unwrap());
    }

    #[tokio::test]
    async fn what_the_watcher_saw_without_room_becomes_an_overflow() {
        let (inbox, mut mail) = inbox();
        assert!(inbox.send(Event::Tick, ROOM).await);
        inbox.touch(Event::Touched(vec![RelPath::root()]));
        assert!(matches!(mail.take(), Some(Input::Event(Event::Overflow))));
        assert!(matches!(mail.take(), Some(Input::Event(Event::Tick))));
        assert!(mail.take().is_none());
        inbox.touch(Event::Touched(vec![RelPath::root()]));
        assert!(matches!(mail.take(), Some(Input::Event(Event::Touched(_)))));
    }

    #[test]
    fn what_is_asked_while_the_thread_ends_is_not_waited_for() {
        let begun = &AtomicUsize::new(0);
        let (hand_over, handed_over) = std::sync::mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (number, (mail, alive)) in handed_over.iter().enumerate() {
                    while begun.load(Ordering::Acquire) <= number {
                        std::hint::spin_loop();
                    }
                    drop::<Mail>(mail);
                    drop::<Arc<()>>(alive);
                }
            });
            for _ in 0..10_000 {
                let (inbox, mail) = inbox();
                let alive = Arc::new(());
                let dropped = Arc::downgrade(&alive);
                hand_over.send((mail, alive)).unwrap();
                begun.fetch_add(1, Ordering::Release);
                let mut waiting = Vec::new();
                while dropped.strong_count() > 0 {
                    let (answer, answered) = oneshot::channel();
                    let mut asked = Box::pin(inbox.ask(Input::Barrier(answer), answered));
                    if asked.as_mut().now_or_never().is_none() {
                        waiting.push(asked);
                    }
                }
                for asked in waiting {
                    assert_eq!(asked.now_or_never(), Some(None));
                }
            }
            drop(hand_over);
        });
    }
}

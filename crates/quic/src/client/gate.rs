//! The way into hyper's queue of requests, which its end does not overtake.
//!
//! hyper 1.12 hands requests to the future that drives a connection through a queue. Where that future is dropped while a
//! request is being put in, the queue can take the request and its end not see it: the request is then neither sent nor
//! given back as long as anybody may send on the connection, which a call in flight may. The call would wait for ever. So
//! nobody puts a request in while the future is being dropped: it comes before, and is given back, or after, and is
//! refused.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// Keeps those who pass apart from the end of what lies behind; clones are the same gate.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<Mutex<()>>);

impl Gate {
    /// Does something during which what lies behind the gate is not dropped; it must not block.
    pub(super) fn pass<T>(&self, step: impl FnOnce() -> T) -> T {
        let _open = self.lock();
        step()
    }

    /// Puts a future behind the gate.
    pub(super) fn guard<F: Future>(&self, future: F) -> Behind<F> {
        Behind { future: Some(Box::pin(future)), gate: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future that is dropped while nobody passes its gate, whether it has ended or not.
pub(super) struct Behind<F> {
    /// `None` only while it is dropped.
    future: Option<Pin<Box<F>>>,
    gate: Gate,
}

impl<F: Future> Future for Behind<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.future.as_mut().map_or(Poll::Pending, |future| future.as_mut().poll(cx))
    }
}

impl<F> Drop for Behind<F> {
    fn drop(&mut self) {
        let _shut = self.gate.lock();
        self.future = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use futures_util::FutureExt;
    use hyper::client::conn::http2;
    use hyper::rt::Executor;
    use hyper_util::rt::TokioIo;
    use tonic::body::Body;

    use super::*;

    /// Looks, when it is dropped, whether somebody passes.
    struct Looking<'a> {
        passing: &'a AtomicBool,
        seen: &'a AtomicBool,
    }

    impl Drop for Looking<'_> {
        fn drop(&mut self) {
            self.seen.store(self.passing.load(Ordering::Acquire), Ordering::Release);
        }
    }

    #[test]
    fn what_lies_behind_is_not_dropped_while_somebody_passes() {
        let (passing, seen) = (AtomicBool::new(false), AtomicBool::new(true));
        let looking = Looking { passing: &passing, seen: &seen };
        let gate = Gate::default();
        let behind = gate.guard(async move { drop(looking) });
        thread::scope(|scope| {
            gate.pass(|| {
                passing.store(true, Ordering::Release);
                scope.spawn(move || drop(behind));
                (0..1_000).for_each(|_| thread::yield_now());
                passing.store(false, Ordering::Release);
            });
        });
        assert!(!seen.load(Ordering::Acquire));
    }

    /// Drops what it is to run.
    #[derive(Clone)]
    struct Nowhere;

    impl<F> Executor<F> for Nowhere {
        fn execute(&self, _task: F) {}
    }

    #[test]
    fn a_request_that_is_put_in_while_its_connection_is_dropped_is_given_back() {
        let begun = &AtomicUsize::new(0);
        let (hand_over, handed_over) = mpsc::sync_channel(1);
        thread::scope(|scope| {
            scope.spawn(move || {
                for (number, (behind, alive)) in handed_over.iter().enumerate() {
                    while begun.load(Ordering::Acquire) <= number {
                        std::hint::spin_loop();
                    }
                    drop::<Behind<_>>(behind);
                    drop::<Arc<()>>(alive);
                }
            });
            for _ in 0..10_000 {
                let (io, _peer) = tokio::io::duplex(1_024);
                let connecting = http2::handshake(Nowhere, TokioIo::new(io));
                let (mut requests, driving) = connecting.now_or_never().expect("there is room").unwrap();
                let (gate, alive) = (Gate::default(), Arc::new(()));
                let dropped = Arc::downgrade(&alive);
                hand_over.send((gate.guard(driving), alive)).unwrap();
                begun.fetch_add(1, Ordering::Release);
                let mut answers = Vec::new();
                while dropped.strong_count() > 0 {
                    let request = http::Request::new(Body::empty());
                    answers.push(gate.pass(|| requests.try_send_request(request)));
                }
                for answer in answers {
                    let answer = answer.now_or_never().expect("nobody is left who could answer");
                    assert!(answer.unwrap_err().take_message().is_some());
                }
            }
            drop(hand_over);
        });
    }
}

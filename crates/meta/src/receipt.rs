//! The promise of a submitted batch.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::batch::{BlobRef, BlobSlot};
use crate::error::Error;

/// Resolves to the batch's seq when the batch is durable and visible to readers.
///
/// # Cancel safety
/// Dropping it does not take the batch back.
///
/// # Errors
/// [`Error::Fatal`] and [`Error::Closed`]: whether the batch is durable is known after the next opening.
/// [`Error::NoSpace`]: it is not durable and never will be.
pub struct Receipt {
    seq: u64,
    blobs: Vec<BlobRef>,
    done: oneshot::Receiver<Result<(), Error>>,
    answer: Option<Result<u64, Error>>,
}

/// The side of a receipt that the store keeps.
pub(crate) type Promise = oneshot::Sender<Result<(), Error>>;

impl Receipt {
    pub(crate) fn new(seq: u64, blobs: Vec<BlobRef>) -> (Promise, Self) {
        let (promise, done) = oneshot::channel();
        (promise, Self { seq, blobs, done, answer: None })
    }

    /// The seq that the batch has if it becomes durable. Nobody may be told before the receipt has resolved.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Where the blobs of the batch are, in the order in which they were added; readable at once.
    #[must_use]
    pub fn blobs(&self) -> &[BlobRef] {
        &self.blobs
    }

    /// Where one blob of the batch is.
    #[must_use]
    pub fn blob(&self, slot: BlobSlot) -> Option<BlobRef> {
        self.blobs.get(slot.index()).copied()
    }

    /// Gives the answer if it is there, without waiting and without a runtime; again and again the same one.
    pub fn try_poll(&mut self) -> Option<Result<u64, Error>> {
        if self.answer.is_none() {
            self.answer = match self.done.try_recv() {
                Ok(answer) => Some(answer.map(|()| self.seq)),
                Err(oneshot::error::TryRecvError::Empty) => None,
                Err(oneshot::error::TryRecvError::Closed) => Some(Err(Error::Closed)),
            };
        }
        self.answer.clone()
    }

    /// Blocks the thread until the answer is there. Not for async code: it panics on a thread of a runtime.
    ///
    /// # Errors
    /// As the receipt's own.
    pub fn wait(mut self) -> Result<u64, Error> {
        if let Some(answer) = self.try_poll() {
            return answer;
        }
        match self.done.blocking_recv() {
            Ok(answer) => answer.map(|()| self.seq),
            Err(_) => Err(Error::Closed),
        }
    }
}

impl Future for Receipt {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(answer) = &self.answer {
            return Poll::Ready(answer.clone());
        }
        match Pin::new(&mut self.done).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(answer) => {
                let seq = self.seq;
                let answer = answer.unwrap_or(Err(Error::Closed)).map(|()| seq);
                self.answer = Some(answer.clone());
                Poll::Ready(answer)
            }
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("seq", &self.seq).field("blobs", &self.blobs.len()).finish_non_exhaustive()
    }
}

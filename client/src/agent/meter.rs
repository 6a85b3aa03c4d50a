//! How far the transfers of a root are: bytes done and to be done in the work at hand.
//!
//! A piece of work begins with the first transfer and ends when none is left; then everything is zero again.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::transfer::{Counts, Progress};

/// Counts the transfers of one root.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    progress: Arc<Progress>,
    sending: Mutex<Flow>,
    receiving: Mutex<Flow>,
}

/// One direction.
#[derive(Debug, Default, Clone, Copy)]
struct Flow {
    running: u64,
    total: u64,
    /// The counter when the work began.
    base: u64,
}

impl Flow {
    fn begin(&mut self, size: u64, counter: u64) {
        if self.running == 0 {
            *self = Flow { running: 0, total: 0, base: counter };
        }
        self.running += 1;
        self.total = self.total.saturating_add(size);
    }

    /// Done and to be done. What was done twice (a file that changed meanwhile) does not make more of it.
    fn read(&self, counter: u64) -> (u64, u64) {
        if self.running == 0 { (0, 0) } else { (counter.saturating_sub(self.base).min(self.total), self.total) }
    }
}

/// How far both directions are, in bytes of content.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) sent: u64,
    pub(crate) to_send: u64,
    pub(crate) received: u64,
    pub(crate) to_receive: u64,
}

/// A transfer that is counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Counted {
    meter: Arc<Meter>,
    sends: bool,
}

impl Meter {
    /// The counters that the transfers raise.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// A file of this size is to be sent.
    pub(crate) fn begin_sending(self: &Arc<Self>, size: u64) -> Counted {
        self.sending.lock().begin(size, sent(self.progress.counts()));
        Counted { meter: self.clone(), sends: true }
    }

    /// A file of this size is to be received.
    pub(crate) fn begin_receiving(self: &Arc<Self>, size: u64) -> Counted {
        self.receiving.lock().begin(size, received(self.progress.counts()));
        Counted { meter: self.clone(), sends: false }
    }

    /// How far it is.
    pub(crate) fn read(&self) -> Reading {
        let counts = self.progress.counts();
        let (sent, to_send) = self.sending.lock().read(sent(counts));
        let (received, to_receive) = self.receiving.lock().read(received(counts));
        Reading { sent, to_send, received, to_receive }
    }
}

/// What was read is sent, or was found to be there: both run side by side.
fn sent(counts: Counts) -> u64 {
    counts.scanned
}

fn received(counts: Counts) -> u64 {
    counts.received.saturating_add(counts.reused)
}

impl Drop for Counted {
    fn drop(&mut self) {
        let flow = if self.sends { &self.meter.sending } else { &self.meter.receiving };
        let mut flow = flow.lock();
        flow.running = flow.running.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_begins_with_its_first_transfer_and_ends_with_its_last() {
        let meter = Arc::new(Meter::default());
        assert_eq!(meter.read(), Reading::default());
        let first = meter.begin_sending(100);
        let second = meter.begin_sending(50);
        let _other = meter.begin_receiving(7);
        drop(first);
        assert_eq!(meter.read(), Reading { sent: 0, to_send: 150, received: 0, to_receive: 7 });
        drop(second);
        assert_eq!(meter.read().to_send, 0);
        let _third = meter.begin_sending(1);
        assert_eq!(meter.read().to_send, 1, "the next work begins anew");
    }

    #[test]
    fn what_is_done_is_never_more_than_what_is_to_be_done() {
        let mut flow = Flow::default();
        flow.begin(10, 1000);
        assert_eq!(flow.read(1004), (4, 10));
        assert_eq!(flow.read(1500), (10, 10));
    }
}

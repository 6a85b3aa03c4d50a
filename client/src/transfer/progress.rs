//! How much transfers have moved, for `quics status`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::StreamExt;
use quics_reader::{Answers, Failure, Source};
use quics_types::Digest;

/// Counters that transfers raise while they work; all in bytes of chunk data as it travels, or of content.
#[derive(Debug, Default)]
pub struct Progress {
    sent: AtomicU64,
    received: AtomicU64,
    scanned: AtomicU64,
    reused: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes of chunks and pages handed to the network.
    pub sent: u64,
    /// Bytes of chunks and pages that came from it.
    pub received: u64,
    /// Bytes of local files that were read, cut and hashed.
    pub scanned: u64,
    /// Bytes of content that were here already and not fetched.
    pub reused: u64,
}

impl Progress {
    /// The counters now.
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            sent: load(&self.sent),
            received: load(&self.received),
            scanned: load(&self.scanned),
            reused: load(&self.reused),
        }
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn scanned(&self, bytes: usize) {
        self.scanned.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn reused(&self, bytes: u64) {
        self.reused.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A source of which is counted what comes.
pub(super) struct Counted<S> {
    pub(super) source: S,
    pub(super) progress: Arc<Progress>,
}

impl<S: Source> Source for Counted<S> {
    async fn fetch(&self, digests: Vec<Digest>) -> Result<Answers, Failure> {
        let progress = self.progress.clone();
        let answers = self.source.fetch(digests).await?;
        let counted = answers.inspect(move |chunks| {
            for chunk in chunks.iter().flatten() {
                progress.received(chunk.data.len());
            }
        });
        Ok(counted.boxed())
    }
}

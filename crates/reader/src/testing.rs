//! A source in memory, and faults on demand.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use quics_chunks::{Leaf, ManifestBuilder, Packed};
use quics_types::Digest;

use crate::{Answers, Failure, Source};

#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(pub(crate) Arc<State>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) chunks: Mutex<HashMap<Digest, Packed>>,
    /// What was asked for, in order.
    pub(crate) asked: Mutex<Vec<Digest>>,
    /// Answers break off when so many chunks came in all.
    pub(crate) breaks_after: Mutex<Option<usize>>,
    /// Answers come only so far: then they wait for ever.
    pub(crate) stops_after: Mutex<Option<usize>>,
    pub(crate) given: AtomicUsize,
    /// Answers that are there.
    pub(crate) running: AtomicUsize,
}

/// A content that was put into a source.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) id: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) leaves: Vec<Leaf>,
}

impl Content {
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Memory {
    /// Puts a content of so many chunks of these lengths in turn.
    pub(crate) fn put(&self, count: usize, lengths: &[u32]) -> Content {
        let (mut builder, mut pages) = (ManifestBuilder::new(), Vec::new());
        let (mut bytes, mut leaves) = (Vec::new(), Vec::new());
        for (number, length) in lengths.iter().cycle().take(count).enumerate() {
            let seed = (number as u64).to_le_bytes();
            let data: Vec<u8> = seed.iter().copied().cycle().take(*length as usize).collect();
            let digest = Digest::of(&data);
            leaves.push(Leaf { offset: bytes.len() as u64, digest, length: *length });
            bytes.extend_from_slice(&data);
            builder.push(digest, *length, &mut pages).unwrap();
            self.0.chunks.lock().insert(digest, Packed::of(digest, data.into()));
        }
        let id = builder.finish(&mut pages).unwrap().content;
        for (digest, page) in pages {
            self.0.chunks.lock().insert(digest, Packed::of(digest, page));
        }
        Content { id, bytes, leaves }
    }

    /// Replaces a chunk's bytes.
    pub(crate) fn damage(&self, digest: Digest) {
        if let Some(chunk) = self.0.chunks.lock().get_mut(&digest) {
            let mut data = chunk.data.to_vec();
            let middle = data.len() / 2;
            data[middle] ^= 1;
            chunk.data = Bytes::from(data);
        }
    }
}

struct Running(Arc<State>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Source for Memory {
    async fn fetch(&self, digests: Vec<Digest>) -> Result<Answers, Failure> {
        self.0.asked.lock().extend(&digests);
        self.0.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(self.0.clone());
        // Backwards: an order is not promised.
        let answers = stream::iter(digests.into_iter().rev()).then(move |digest| {
            let state = running.0.clone();
            async move {
                let given = state.given.fetch_add(1, Ordering::SeqCst);
                if state.stops_after.lock().is_some_and(|most| given >= most) {
                    std::future::pending::<()>().await;
                }
                if state.breaks_after.lock().is_some_and(|most| given >= most) {
                    return Err(Failure::Offline("it broke off".to_owned()));
                }
                let chunk = state.chunks.lock().get(&digest).cloned();
                Ok(vec![chunk.ok_or_else(|| Failure::Absent("1 chunks are absent".to_owned()))?])
            }
        });
        Ok(answers.boxed())
    }
}

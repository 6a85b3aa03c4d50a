//! Sends batches of chunks over several streams.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use futures_util::stream;
use quics_chunks::Packed;
use quics_types::limits;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};

use super::{Failure, Progress, Remote};

/// Streams at most.
const STREAMS: usize = 3;
/// Another stream is opened after so many bytes.
const BYTES_PER_STREAM: usize = 4 * limits::BATCH_BYTES;
/// Batches that wait for a stream.
const WAITING: usize = 2;

type Batches = Arc<Mutex<mpsc::Receiver<Vec<Packed>>>>;

/// The streams of one upload. Dropped, it breaks them off.
#[derive(Debug)]
pub(super) struct Uploader<R> {
    remote: R,
    progress: Arc<Progress>,
    sender: mpsc::Sender<Vec<Packed>>,
    batches: Batches,
    /// Whether the end of the batches is a proper end.
    complete: Arc<AtomicBool>,
    streams: JoinSet<Result<(), Failure>>,
    bytes: usize,
}

impl<R: Remote> Uploader<R> {
    pub(super) fn new(remote: R, progress: Arc<Progress>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let batches = Arc::new(Mutex::new(receiver));
        Self { remote, progress, sender, batches, complete: Arc::default(), streams: JoinSet::new(), bytes: 0 }
    }

    /// Sends chunks; waits while the network is busy.
    pub(super) async fn send(&mut self, chunks: Vec<Packed>) -> Result<(), Failure> {
        for batch in split(chunks) {
            self.check()?;
            if self.streams.len() < STREAMS && self.bytes >= self.streams.len() * BYTES_PER_STREAM {
                self.open();
            }
            self.bytes += batch.iter().map(|chunk| chunk.data.len()).sum::<usize>();
            // A stream that fails while this waits frees no room: both are watched.
            tokio::select! {
                sent = self.sender.send(batch) => sent.map_err(|_| broken())?,
                Some(ended) = self.streams.join_next() => return Err(early(ended)),
            }
        }
        Ok(())
    }

    /// A stream that has ended before all was sent has failed.
    fn check(&mut self) -> Result<(), Failure> {
        self.streams.try_join_next().map_or(Ok(()), |ended| Err(early(ended)))
    }

    fn open(&mut self) {
        let counted = Arc::new(AtomicU64::new(0));
        let state = (self.batches.clone(), self.complete.clone(), self.progress.clone(), counted.clone());
        let batches = stream::unfold(state, |(batches, complete, progress, counted)| async move {
            let batch = batches.lock().await.recv().await;
            match batch {
                Some(batch) => {
                    progress.sent(batch.iter().map(|chunk| chunk.data.len()).sum());
                    counted.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    Some((batch, (batches, complete, progress, counted)))
                }
                None if complete.load(Ordering::Acquire) => None,
                // Broken off: the stream must not look complete. It is aborted with its task.
                None => std::future::pending().await,
            }
        });
        let remote = self.remote.clone();
        self.streams.spawn(async move {
            let stored = remote.upload(batches).await?;
            if stored == counted.load(Ordering::Relaxed) { Ok(()) } else { Err(Failure::Wrong("a wrong count")) }
        });
    }

    /// Ends the streams and waits until everything is durable at the other end.
    pub(super) async fn finish(self) -> Result<(), Failure> {
        let Self { sender, complete, mut streams, .. } = self;
        complete.store(true, Ordering::Release);
        drop(sender);
        while let Some(ended) = streams.join_next().await {
            ended.map_err(|_| broken())??;
        }
        Ok(())
    }
}

fn early(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Failure {
    match ended {
        Ok(Err(failure)) => failure,
        _ => broken(),
    }
}

fn broken() -> Failure {
    Failure::Offline("the upload broke off".to_owned())
}

/// Messages of at most [`limits::BATCH_BYTES`], or of one chunk.
fn split(chunks: Vec<Packed>) -> Vec<Vec<Packed>> {
    let mut batches: Vec<Vec<Packed>> = Vec::new();
    let mut bytes = 0;
    for chunk in chunks {
        match batches.last_mut() {
            Some(batch) if bytes + chunk.data.len() <= limits::BATCH_BYTES => {
                bytes += chunk.data.len();
                batch.push(chunk);
            }
            _ => {
                bytes = chunk.data.len();
                batches.push(vec![chunk]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use bytes::Bytes;
    use futures_util::{StreamExt, stream::Stream};
    use quics_reader::{Answers, Source};
    use quics_types::Digest;

    use super::*;

    /// Takes everything and notes when a stream comes to its end.
    #[derive(Debug, Clone, Default)]
    struct Sink {
        chunks: Arc<AtomicU64>,
        ended: Arc<AtomicBool>,
        lies: bool,
    }

    impl Remote for Sink {
        async fn find_missing(&self, digests: Vec<Digest>) -> Result<Vec<Digest>, Failure> {
            Ok(digests)
        }

        fn upload(
            &self,
            batches: impl Stream<Item = Vec<Packed>> + Send + 'static,
        ) -> impl Future<Output = Result<u64, Failure>> + Send {
            let sink = self.clone();
            async move {
                let mut batches = Box::pin(batches);
                while let Some(batch) = batches.next().await {
                    sink.chunks.fetch_add(batch.len() as u64, Ordering::SeqCst);
                }
                sink.ended.store(true, Ordering::SeqCst);
                Ok(sink.chunks.load(Ordering::SeqCst) + u64::from(sink.lies))
            }
        }
    }

    impl Source for Sink {
        async fn fetch(&self, _: Vec<Digest>) -> Result<Answers, Failure> {
            Err(Failure::Wrong("it only takes"))
        }
    }

    fn chunk(number: u32) -> Packed {
        let bytes = Bytes::copy_from_slice(&number.to_le_bytes());
        Packed::raw(Digest::of(&bytes), bytes)
    }

    #[tokio::test]
    async fn batches_that_break_off_never_come_to_an_end() {
        let sink = Sink::default();
        let mut uploader = Uploader::new(sink.clone(), Arc::default());
        uploader.send((0..10).map(chunk).collect()).await.unwrap();
        // What dropping the uploader does, but for the streams, which go on for a while.
        let Uploader { sender, streams, .. } = uploader;
        drop(sender);
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(sink.chunks.load(Ordering::SeqCst), 10);
        assert!(!sink.ended.load(Ordering::SeqCst));
        drop(streams);
    }

    #[tokio::test]
    async fn an_upload_is_finished_when_everything_was_counted() {
        for lies in [false, true] {
            let sink = Sink { lies, ..Sink::default() };
            let mut uploader = Uploader::new(sink.clone(), Arc::default());
            uploader.send((0..10).map(chunk).collect()).await.unwrap();
            assert_eq!(uploader.finish().await.is_err(), lies);
            assert!(sink.ended.load(Ordering::SeqCst));
        }
    }

    #[test]
    fn messages_are_no_longer_than_a_batch() {
        let chunks: Vec<Packed> = (0..20u8)
            .map(|number| {
                let bytes = Bytes::from(vec![number; limits::CHUNK_BYTES]);
                Packed::raw(Digest::of(&bytes), bytes)
            })
            .collect();
        let batches = split(chunks.clone());
        assert!(batches.iter().all(|batch| batch.len() <= limits::BATCH_BYTES / limits::CHUNK_BYTES));
        assert_eq!(batches.concat(), chunks);
        assert!(split(Vec::new()).is_empty());
    }
}

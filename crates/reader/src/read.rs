//! Reads a range of a content from its beginning to its end, without keeping it anywhere.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::Range,
    sync::Arc,
    vec,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use quics_chunks::{Leaf, Packed};
use quics_types::{Digest, limits};
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_util::task::AbortOnDropHandle;

use crate::{Failure, Kept, LeafPage, Source, leaf_pages, leaves};

/// Leaf pages that are read at once.
const PAGES: usize = 4;
/// Bytes of pages that are kept: a content that repeats itself lists a page again soon.
const KEPT_BYTES: usize = 1024 * 1024;
/// Bytes of a window: what is asked for at once. With [`AHEAD`] in flight, one that waits to be taken behind one that waits
/// for room, and one that is being taken, this is ten mebibytes.
const WINDOW: usize = 2 * limits::BATCH_BYTES;
/// Windows in flight.
const AHEAD: usize = 2;

/// What may have a chunk's bytes at hand; it may block, and is not believed.
pub type Near = Arc<dyn Fn(&Leaf) -> Option<Bytes> + Send + Sync>;

/// The bytes of a content of `size` bytes that lie in `range`, as far as it lies in the content; in their order, each
/// piece verified. What `near` has is not fetched. After an error nothing comes any more; a stream that ends without one has
/// given everything. It reads ahead while what came is being used, on the runtime that this is called on.
///
/// # Cancel safety
/// Dropping the stream ends its work.
pub fn read<S: Source>(
    source: S,
    near: Option<Near>,
    content: Digest,
    size: u64,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    let (sender, windows) = mpsc::channel(1);
    let range = range.start..range.end.min(size);
    let work = async move { Work { source, near, range }.run(content, size, sender).await };
    let work = AbortOnDropHandle::new(tokio::spawn(work));
    let reading = Reading { window: Vec::new().into_iter(), windows, work };
    stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await {
            Ok(piece) => Some((Ok(piece?), Some(reading))),
            Err(failure) => Some((Err(failure), None)),
        }
    })
}

/// The side that is read from.
struct Reading {
    window: vec::IntoIter<Bytes>,
    windows: mpsc::Receiver<Vec<Bytes>>,
    work: AbortOnDropHandle<Result<(), Failure>>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(piece) = self.window.next() {
                return Ok(Some(piece));
            }
            match self.windows.recv().await {
                Some(window) => self.window = window.into_iter(),
                // Only the work's own end says whether that was all.
                None => return (&mut self.work).await.map_err(broken)?.map(|()| None),
            }
        }
    }
}

/// The side that brings.
struct Work<S> {
    source: S,
    near: Option<Near>,
    range: Range<u64>,
}

impl<S: Source> Work<S> {
    async fn run(&self, content: Digest, size: u64, sender: mpsc::Sender<Vec<Bytes>>) -> Result<(), Failure> {
        let mut kept = Kept::at_most(KEPT_BYTES);
        let pages = leaf_pages(&self.source, &mut kept, content, Some(size), &self.range).await?;
        let windows = self.windows(pages, kept).map_ok(|window| self.bring(window)).try_buffered(AHEAD);
        let mut windows = std::pin::pin!(windows);
        while let Some(pieces) = windows.try_next().await? {
            if sender.send(pieces).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The chunks of the range, as many at a time as are asked for at once.
    fn windows(&self, pages: Vec<LeafPage>, kept: Kept) -> impl Stream<Item = Result<Vec<Leaf>, Failure>> {
        let state = (VecDeque::from(pages), kept);
        let groups = stream::try_unfold(state, move |(mut pages, mut kept)| async move {
            let group: Vec<LeafPage> = pages.drain(..pages.len().min(PAGES)).collect();
            if group.is_empty() {
                return Ok::<_, Failure>(None);
            }
            let mut leaves = leaves(&self.source, &mut kept, &group).await?;
            leaves.retain(|leaf| !self.within(leaf).is_empty());
            Ok(Some((stream::iter(cut(leaves).into_iter().map(Ok::<_, Failure>)), (pages, kept))))
        });
        groups.try_flatten()
    }

    /// The bytes of some chunks that lie in the range, in their order.
    async fn bring(&self, window: Vec<Leaf>) -> Result<Vec<Bytes>, Failure> {
        let mut there = self.look_near(&window).await?;
        let mut missing = HashSet::new();
        let wanted = window.iter().map(|leaf| leaf.digest);
        let digests: Vec<Digest> = wanted.filter(|it| !there.contains_key(it) && missing.insert(*it)).collect();
        if !digests.is_empty() {
            let mut answers = self.source.fetch(digests).await?;
            while let Some(chunks) = answers.next().await {
                let chunks = chunks?;
                if !chunks.iter().all(|chunk| missing.remove(&chunk.digest)) {
                    return Err(Failure::Wrong("a chunk that was not asked for"));
                }
                there.extend(spawn_blocking(move || unpack(chunks)).await.map_err(broken)??);
            }
        }
        let take = |leaf: Leaf| match there.get(&leaf.digest) {
            Some(plain) if plain.len() == leaf.length as usize => Ok(plain.slice(self.within(&leaf))),
            Some(_) => Err(Failure::Absent("a chunk has another length than its manifest says".to_owned())),
            None => Err(Failure::Absent("not every chunk came".to_owned())),
        };
        window.into_iter().map(take).collect()
    }

    /// What is at hand of some chunks.
    async fn look_near(&self, window: &[Leaf]) -> Result<HashMap<Digest, Bytes>, Failure> {
        let Some(near) = self.near.clone() else { return Ok(HashMap::new()) };
        let window = window.to_vec();
        let look = move || {
            let found = window.iter().filter_map(|leaf| Some((leaf.digest, near(leaf)?)));
            found.filter(|(digest, bytes)| Digest::of(bytes) == *digest).collect()
        };
        spawn_blocking(look).await.map_err(broken)
    }

    /// Which bytes of a chunk lie in the range.
    fn within(&self, leaf: &Leaf) -> Range<usize> {
        let length = u64::from(leaf.length);
        // Of a chunk's length at most.
        let at = |offset: u64| offset.saturating_sub(leaf.offset).min(length) as usize;
        at(self.range.start)..at(self.range.end)
    }
}

/// Puts chunks together into windows: so many bytes at most, and what one question may ask for.
fn cut(leaves: Vec<Leaf>) -> Vec<Vec<Leaf>> {
    let mut windows: Vec<Vec<Leaf>> = Vec::new();
    let mut bytes = 0;
    for leaf in leaves {
        bytes += leaf.length as usize;
        match windows.last_mut() {
            Some(window) if bytes <= WINDOW && window.len() < limits::DIGESTS_PER_MESSAGE => window.push(leaf),
            _ => {
                bytes = leaf.length as usize;
                windows.push(vec![leaf]);
            }
        }
    }
    windows
}

fn unpack(chunks: Vec<Packed>) -> Result<Vec<(Digest, Bytes)>, Failure> {
    let unpack = |chunk: Packed| match chunk.unpack() {
        Ok(plain) => Ok((chunk.digest, plain)),
        Err(error) => Err(Failure::Absent(error.to_string())),
    };
    chunks.into_iter().map(unpack).collect()
}

fn broken(_: tokio::task::JoinError) -> Failure {
    Failure::Offline("reading was broken off".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::testing::{Content, Memory};

    /// Reads a range: its bytes, and the failure that it ended with.
    async fn all(memory: &Memory, content: &Content, range: Range<u64>) -> (Vec<u8>, Option<Failure>) {
        let mut pieces = Box::pin(read(memory.clone(), None, content.id, content.size(), range));
        let (mut bytes, mut failure) = (Vec::new(), None);
        while let Some(piece) = pieces.next().await {
            assert!(failure.is_none(), "something came after a failure");
            match piece {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(failed) => failure = Some(failed),
            }
        }
        (bytes, failure)
    }

    /// Waits until nothing is asked any more.
    async fn quiet(memory: &Memory) {
        while memory.0.running.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_whole_content_comes_in_its_order() {
        let memory = Memory::default();
        for (count, lengths) in [(0, &[1][..]), (1, &[1]), (5000, &[7, 300, 64]), (40, &[262_144, 100_000])] {
            let content = memory.put(count, lengths);
            let (came, failure) = all(&memory, &content, 0..content.size()).await;
            assert!(failure.is_none() && came == content.bytes, "{count} chunks: {failure:?}");
        }
    }

    #[tokio::test]
    async fn a_range_at_every_boundary_is_the_slice() {
        let memory = Memory::default();
        let content = memory.put(2500, &[3, 40, 9]);
        let size = content.size();
        let near = |offset: u64| [offset.saturating_sub(1), offset, (offset + 1).min(size)];
        let mut places: Vec<u64> = content.leaves.iter().step_by(271).flat_map(|leaf| near(leaf.offset)).collect();
        places.extend(near(size));
        for &start in &places {
            for &end in places.iter().filter(|end| start <= **end) {
                let (came, failure) = all(&memory, &content, start..end).await;
                assert_eq!(failure, None);
                assert!(came == content.bytes[start as usize..end as usize], "{start}..{end}");
            }
        }
        assert_eq!(all(&memory, &content, size - 5..u64::MAX).await.0, content.bytes[size as usize - 5..]);
        assert_eq!(all(&memory, &content, size + 5..size + 9).await, (Vec::new(), None));
    }

    #[tokio::test]
    async fn only_what_covers_a_range_is_fetched() {
        let memory = Memory::default();
        let content = memory.put(20_000, &[100]);
        let leaf = content.leaves[10_000];
        let (came, _) = all(&memory, &content, leaf.offset + 99..leaf.offset + 101).await;
        assert_eq!(came, content.bytes[leaf.offset as usize + 99..leaf.offset as usize + 101]);
        let asked = memory.0.asked.lock().clone();
        let chunks = asked.iter().filter(|digest| content.leaves.iter().any(|leaf| leaf.digest == **digest));
        assert_eq!(chunks.count(), 2);
        assert!(asked.len() <= 2 + 2 * 3, "{} chunks and pages", asked.len());
    }

    #[tokio::test]
    async fn absent_and_damaged_chunks_and_pages_end_it_before_a_wrong_byte() {
        for damaged in [false, true] {
            let memory = Memory::default();
            let content = memory.put(120, &[50_000]);
            let digests: Vec<Digest> = memory.0.chunks.lock().keys().copied().collect();
            for digest in digests {
                let whole = memory.0.chunks.lock().get(&digest).cloned().unwrap();
                if damaged {
                    memory.damage(digest)
                } else {
                    _ = memory.0.chunks.lock().remove(&digest)
                }
                let (came, failure) = all(&memory, &content, 0..content.size()).await;
                assert!(matches!(failure, Some(Failure::Absent(_))), "{failure:?}");
                assert!(came.len() < content.bytes.len() && came == content.bytes[..came.len()]);
                memory.0.chunks.lock().insert(digest, whole);
            }
            assert_eq!(all(&memory, &content, 0..content.size()).await.1, None);
        }
    }

    #[tokio::test]
    async fn another_size_is_refused() {
        let memory = Memory::default();
        let mut content = memory.put(10, &[100]);
        content.bytes.push(0);
        assert!(matches!(all(&memory, &content, 0..5).await.1, Some(Failure::Absent(_))));
    }

    #[tokio::test]
    async fn a_source_that_breaks_off_in_the_middle_is_told_after_what_came() {
        let memory = Memory::default();
        let content = memory.put(200, &[100_000]);
        *memory.0.breaks_after.lock() = Some(150);
        let (came, failure) = all(&memory, &content, 0..content.size()).await;
        assert!(matches!(failure, Some(Failure::Offline(_))), "{failure:?}");
        assert!(!came.is_empty() && came == content.bytes[..came.len()]);
        quiet(&memory).await;
    }

    #[tokio::test]
    async fn the_next_windows_are_asked_for_while_one_is_used_and_no_more() {
        let memory = Memory::default();
        let content = memory.put(600, &[100_000]);
        let mut pieces = Box::pin(read(memory.clone(), None, content.id, content.size(), 0..content.size()));
        assert!(pieces.next().await.is_some());
        // One is used, one waits behind it, one for room, and some are in flight.
        let most = 20 * (3 + AHEAD) + 10;
        let mut before = usize::MAX;
        loop {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            let asked = memory.0.asked.lock().len();
            if asked == before {
                break;
            }
            before = asked;
        }
        assert!((40..=most).contains(&before), "{before} chunks were asked for");
    }

    #[tokio::test]
    async fn dropping_it_ends_the_work() {
        let memory = Memory::default();
        let content = memory.put(200, &[100_000]);
        *memory.0.stops_after.lock() = Some(50);
        let mut pieces = Box::pin(read(memory.clone(), None, content.id, content.size(), 0..content.size()));
        assert!(pieces.next().await.is_some());
        while memory.0.given.load(Ordering::SeqCst) <= 50 {
            tokio::task::yield_now().await;
        }
        assert!(memory.0.running.load(Ordering::SeqCst) > 0);
        drop(pieces);
        quiet(&memory).await;
    }

    #[tokio::test]
    async fn what_is_near_is_not_fetched_and_not_believed() {
        let memory = Memory::default();
        let content = memory.put(100, &[1000]);
        let mut file = content.bytes.clone();
        file[50_500] ^= 1;
        let near: Near = Arc::new(move |leaf: &Leaf| {
            let start = leaf.offset as usize;
            Some(Bytes::copy_from_slice(&file[start..start + leaf.length as usize]))
        });
        let pieces = read(memory.clone(), Some(near), content.id, content.size(), 0..content.size());
        let came: Vec<Bytes> = pieces.try_collect().await.unwrap();
        assert!(came.concat() == content.bytes);
        let asked = memory.0.asked.lock().clone();
        let fetched: Vec<&Leaf> = content.leaves.iter().filter(|leaf| asked.contains(&leaf.digest)).collect();
        assert_eq!(fetched, [&content.leaves[50]]);
    }
}

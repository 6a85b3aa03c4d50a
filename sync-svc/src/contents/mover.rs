//! Moves small contents out of the journal, so that its segments can be dropped.

use quics_chunks::{Packed, inline_content};
use quics_meta::{BLOB_PAGE, Batch, Blob, BlobRef};
use quics_records::Reads;

use super::Contents;
use crate::Error;
use crate::db::keys;
use crate::db::records::{BlobTag, Inline};

/// Blobs of one page. Most segments are one page: each page reads its segment from the beginning.
const PAGE: usize = 8192;
/// Blobs whose rows are removed with one batch; readers of the metadata wait while it is applied.
const STEP: usize = 512;

/// Copies the contents of journal segments that take no more batches to the chunk store, then releases the segments.
///
/// A content is read from the journal, put into the chunk store and made durable there; then its rows are removed, and when
/// that is durable for all contents of a segment, the segment is released. A crash at any point leaves a content in one of
/// the two places or in both.
#[derive(Debug)]
pub struct Mover {
    contents: Contents,
    /// The segment that is being moved, and the last blob of it that was.
    at: Option<(u64, Option<BlobRef>)>,
}

impl Mover {
    /// Begins with the oldest segment.
    pub fn new(contents: Contents) -> Self {
        Self { contents, at: None }
    }

    /// Moves up to a page of contents. Blocks on the disk. Says whether there may be more to do at once.
    ///
    /// # Errors
    /// Those of the two stores; the next call tries the same again.
    pub fn step(&mut self) -> Result<bool, Error> {
        let (segment, after) = match self.at {
            Some(at) => at,
            None => match self.contents.meta.draining(1).first() {
                Some(segment) => (*segment, None),
                None => return Ok(false),
            },
        };
        let page = match self.contents.meta.blobs(segment, after, PAGE) {
            // Another step was faster, or the store was opened anew.
            Err(quics_meta::Error::Missing { .. }) => {
                self.at = None;
                return Ok(true);
            }
            other => other?,
        };
        for blobs in page.chunks(STEP) {
            self.contents.move_out(blobs)?;
        }
        let more = page.len() >= PAGE || page.iter().map(|blob| blob.bytes.len()).sum::<usize>() >= BLOB_PAGE;
        self.at = match page.last() {
            Some(last) if more => Some((segment, Some(last.at))),
            _ => {
                self.contents.meta.release(segment)?;
                tracing::debug!(segment, "journal.segment.released");
                None
            }
        };
        Ok(true)
    }
}

impl Contents {
    /// Moves the contents of these blobs, as far as their rows still name them.
    fn move_out(&self, blobs: &[Blob]) -> Result<(), Error> {
        let _asking = self.asking();
        let reads = Reads::latest(&*self.meta);
        let mut batch = Batch::new();
        for blob in blobs {
            let tag = BlobTag::decode(&blob.tag)?;
            let mut names_it = false;
            for digest in [tag.content, tag.chunk] {
                let key = keys::blob(tag.root, digest);
                let Some(row) = reads.raw(&key)? else { continue };
                if Inline::decode(&key, &row)?.at == blob.at {
                    names_it = true;
                    batch.delete(key);
                }
            }
            if names_it {
                let (content, page, _) = inline_content(&blob.bytes)?;
                self.put(tag.root, &Packed::of(tag.chunk, blob.bytes.clone()))?;
                self.put(tag.root, &Packed::raw(content, page))?;
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.chunks.flush()?;
        self.meta.submit(batch)?.wait()?;
        Ok(())
    }
}

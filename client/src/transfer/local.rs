//! A local file that probably shares chunks with a content that is wanted.

use std::{collections::HashMap, io};

use quics_chunks::Leaf;
use quics_types::Digest;

use crate::folder::Body;

/// Chunks that are remembered at most (at the average length this is a file of 32 GiB); the others are fetched.
const CHUNKS: usize = 512 * 1024;

/// Where a local file probably has which chunks. It may have changed since: what is read is hashed.
#[derive(Debug)]
pub(super) struct Similar {
    body: Body,
    chunks: HashMap<Digest, (u64, u32)>,
}

impl Similar {
    pub(super) fn new(body: Body) -> Self {
        Self { body, chunks: HashMap::new() }
    }

    /// Remembers where chunks are. `false` when no more are remembered.
    pub(super) fn add(&mut self, leaves: &[Leaf]) -> bool {
        for leaf in leaves {
            self.chunks.insert(leaf.digest, (leaf.offset, leaf.length));
        }
        self.chunks.len() < CHUNKS
    }

    /// Reads a chunk into `buffer`, if it is (still) there.
    pub(super) fn read(&self, leaf: &Leaf, buffer: &mut Vec<u8>) -> bool {
        match self.chunks.get(&leaf.digest) {
            Some((offset, length)) if *length == leaf.length => {
                read_verified(|bytes, at| self.body.read_exact_at(bytes, at), *offset, leaf, buffer)
            }
            _ => false,
        }
    }
}

/// Reads a chunk's bytes at an offset of a file; `false` when they are not the chunk's.
pub(super) fn read_verified(
    read: impl Fn(&mut [u8], u64) -> io::Result<()>,
    offset: u64,
    leaf: &Leaf,
    buffer: &mut Vec<u8>,
) -> bool {
    buffer.resize(leaf.length as usize, 0);
    read(buffer, offset).is_ok() && Digest::of(buffer) == leaf.digest
}

//! Where chunks and pages come from.

use std::future::Future;

use futures_util::stream::BoxStream;
use quics_chunks::Packed;
use quics_types::Digest;

use crate::Failure;

/// Chunks and pages as they come, some at a time.
pub type Answers = BoxStream<'static, Result<Vec<Packed>, Failure>>;

/// Gives the chunks and pages of one root.
///
/// # Cancel safety
/// Dropping a future or a stream ends the call.
pub trait Source: Send + Sync + 'static {
    /// Asks for at most [`quics_types::limits::DIGESTS_PER_MESSAGE`] chunks and pages. They come in any order and
    /// unverified, each at most once; a stream that ends without an error has brought all of them.
    fn fetch(&self, digests: Vec<Digest>) -> impl Future<Output = Result<Answers, Failure>> + Send;
}

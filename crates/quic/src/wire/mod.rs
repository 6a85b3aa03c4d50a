//! QUIC streams as `h3` wants them.
//!
//! This is a backend of `h3` over `quinn`. It takes the place of `h3-quinn` because four rules of ours belong exactly
//! here, where no path can go around them:
//!
//! - **A stream that is dropped before its proper end is reset**, in both directions. (`quinn` finishes a send stream
//!   that is dropped, which the peer would take for a clean end.)
//! - **Each read gives `h3` what it consumes and no more.** `h3` 0.0.8 pulls a chunk from the transport before it uses
//!   what it has buffered, so with many small frames its buffer outgrows any window. [`frames::Frames`] cuts what was
//!   read at frame borders, header and payload apart; each pull then brings just what that pull uses up.
//! - **What a peer may make us buffer is bounded**: a HEADERS frame of more than 64 KiB is refused before its payload is
//!   read, unknown frames are skipped without being kept, and a stream that ends within a frame is an error (where `h3`
//!   would report the end of the body, and then panic when asked for trailers).
//! - **Payload is sent without a copy** ([`payload`]).

pub(crate) mod body;
mod frames;
mod link;
mod payload;
mod recv;
mod send;

pub(crate) use frames::Fault;
pub(crate) use link::{Link, Opener, Side, Stopped};
pub(crate) use payload::Payload;
pub(crate) use recv::RecvStream;
pub(crate) use send::SendStream;

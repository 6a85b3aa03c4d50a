//! What stands in the metadata store: keys, values and their encodings.
//!
//! Numbers in keys are big-endian, so that ranges come in their order.
//!
//! | key | value |
//! |---|---|
//! | `l` root link | a link |

pub(crate) mod keys;
pub(crate) mod records;

//! What stands in the metadata store: keys, values and their encodings.
//!
//! Numbers in keys are big-endian, so that ranges come in their order.
//!
//! | key | value |
//! |---|---|
//! | `l` root link | a link |
//! | `i` link | its root |
//! | `k` hash of a token | root and link that it opens |
//! | `u` link | how often it was used |
//! | `e` link path | what is at the path in a pinned folder |
//! | `g` hash of a grant | a download that was begun |
//! | `d` link number | a line of its log |
//! | `p` root | the root's policy |
//! | `s` content | its checksums |
//! | `S` | the key of sessions |

pub(crate) mod keys;
pub(crate) mod records;

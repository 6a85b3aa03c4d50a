//! Limits that both sides hold. They bound memory; none of them is a tuning knob.

/// Bytes of a name.
pub const NAME_BYTES: usize = 255;
/// Bytes of a symlink's target. Linux allows 4095; with a name of 255 bytes a row has to fit into one index record.
pub const LINK_TARGET_BYTES: usize = 3072;
/// Contents of up to this size ride inside their proposal and their change record. It is also the smallest chunk
/// that the chunker cuts, so an inline content is always exactly one chunk.
pub const INLINE_BYTES: usize = 16 * 1024;
/// Bytes of the largest chunk, uncompressed; the chunker never cuts a longer one, and no page of a manifest is longer.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of a gRPC message, encoded.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of chunk data that a sender puts into one message.
pub const BATCH_BYTES: usize = 1024 * 1024;
/// Digests in one question or answer.
pub const DIGESTS_PER_MESSAGE: usize = 4096;
/// Attributes of an entry, and bytes of an attribute's key and value together.
pub const ATTRIBUTES: usize = 32;
/// Bytes of one attribute, key and value.
pub const ATTRIBUTE_BYTES: usize = 4096;
/// How deep an entry may lie below its root.
pub const DEPTH: usize = 1024;
/// Entries of one device's recent changes that are told apart by the brake.
pub const BURST: usize = 1 << 18;
/// Candidates of one conflict.
pub const CANDIDATES: usize = 64;
/// Conflicts that are answered at once.
pub const ANSWERS: usize = 1024;
/// Names of a root's unit directories; all of them fit into one record of the index.
pub const UNIT_NAMES: usize = 32;
/// Bytes of one of them, which leaves room for what is said behind it where a unit is kept beside another.
pub const UNIT_NAME_BYTES: usize = 64;
/// Files and directories in one unit.
pub const UNIT_MEMBERS: usize = 256 * 1024;
/// Bytes of the list of a unit's members.
pub const UNIT_LIST_BYTES: usize = 32 * 1024 * 1024;

//! The contracts of QUIC-S: the generated code, the descriptors, and the one place where messages become domain
//! types and back.
//!
//! The files below `proto/quics` are the contract; their comments say order, idempotency, limits and status codes of
//! every call.

mod codec;
mod conflicts;
mod convert;

pub use codec::Codec;
pub use convert::{Malformed, digests, mtime, timestamp};

/// Messages that several contracts share.
pub mod common {
    /// Version 1.
    #[allow(missing_docs, clippy::all, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("quics.common.v1");
    }
}

/// registry-svc: who.
pub mod registry {
    /// Version 1.
    #[allow(missing_docs, clippy::all, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("quics.registry.v1");
    }
}

/// sync-svc: what is now.
pub mod sync {
    /// Version 1.
    #[allow(missing_docs, clippy::all, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("quics.sync.v1");
    }
}

/// history-svc: what was.
pub mod history {
    /// Version 1.
    #[allow(missing_docs, clippy::all, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("quics.history.v1");
    }
}

/// share-svc: what people without an account may have.
pub mod share {
    /// Version 1.
    #[allow(missing_docs, clippy::all, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("quics.share.v1");
    }
}

/// The agent's local API.
pub mod agent {
    /// Version 1.
    #[allow(missing_docs, clippy::all, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("quics.agent.v1");
    }
}

/// The descriptors of all contracts, a serialized `FileDescriptorSet`, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The version of the contracts that this build speaks.
pub const VERSION: (u32, u32) = (1, 0);

/// The version message with which this build opens streams; `program` is for people.
pub fn version(program: &str) -> common::v1::Version {
    common::v1::Version { major: VERSION.0, minor: VERSION.1, program: program.to_owned() }
}

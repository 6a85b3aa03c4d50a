//! Compiles the contracts without protoc: `protox` reads the files, `tonic-prost-build` writes the code, and the
//! descriptors are kept for server reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "quics/common/v1/common.proto",
    "quics/registry/v1/registry.proto",
    "quics/registry/v1/admin.proto",
    "quics/sync/v1/sync.proto",
    "quics/sync/v1/relay.proto",
    "quics/sync/v1/references.proto",
    "quics/sync/v1/admin.proto",
    "quics/history/v1/history.proto",
    "quics/history/v1/keeping.proto",
    "quics/history/v1/admin.proto",
    "quics/share/v1/share.proto",
    "quics/share/v1/admin.proto",
    "quics/agent/v1/agent.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=quics");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").codec_path("crate::Codec").compile_fds(descriptors)?;
    Ok(())
}

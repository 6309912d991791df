//! Generates the Rust types and services of `proto/` without a `protoc` on the machine, and the description of them that
//! reflection answers with.

use std::path::Path;

use prost::Message as _;

/// What others may call: described by reflection.
const API: [&str; 2] = [
    "proto/pullgate/v1/admission.proto",
    "proto/pullgate/v1/control.proto",
];

/// What the state directory holds.
const STATE: [&str; 1] = ["proto/pullgate/state/v1/state.proto"];

/// What is read of the Container Runtime Interface.
const CRI: [&str; 1] = ["proto/runtime/v1/image.proto"];

/// What is asked of containerd beside the Container Runtime Interface.
const CONTAINERD: [&str; 1] = ["proto/containerd/services/images/v1/images.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = std::env::var("OUT_DIR")?;
    let mut api = protox::compile(API, ["proto"])?;
    tonic_prost_build::configure().compile_fds(api.clone())?;
    tonic_prost_build::configure().compile_fds(protox::compile(STATE, ["proto"])?)?;
    tonic_prost_build::configure().compile_fds(protox::compile(CRI, ["proto"])?)?;
    tonic_prost_build::configure().compile_fds(protox::compile(CONTAINERD, ["proto"])?)?;
    // The comments are for readers of the source: a caller of reflection asks for names and types.
    for file in &mut api.file {
        file.source_code_info = None;
    }
    std::fs::write(Path::new(&out).join("api.bin"), api.encode_to_vec())?;
    Ok(())
}

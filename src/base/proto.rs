//! The messages and services of `proto/`, generated at build time (`build.rs`). What each one means stands there.

/// `pullgate.v1`: what other programs may call.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unused_qualifications,
    reason = "generated: prost and tonic write it, from files that document each item"
)]
pub mod v1 {
    tonic::include_proto!("pullgate.v1");

    /// The files, for reflection: an encoded `google.protobuf.FileDescriptorSet`.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/api.bin"));
}

/// `pullgate.state.v1`: what the state directory keeps.
#[allow(
    clippy::pedantic,
    unreachable_pub,
    missing_docs,
    reason = "generated: prost writes it, from files that document each item"
)]
pub(crate) mod state {
    tonic::include_proto!("pullgate.state.v1");
}

/// `runtime.v1`: what is read of the Container Runtime Interface.
#[allow(
    clippy::pedantic,
    unreachable_pub,
    missing_docs,
    reason = "generated: prost writes it, from a file that documents each item"
)]
pub(crate) mod cri {
    tonic::include_proto!("runtime.v1");
}

/// `containerd.services.images.v1`: what is asked of containerd beside the CRI.
#[allow(
    clippy::pedantic,
    unreachable_pub,
    missing_docs,
    reason = "generated: prost writes it, from a file that documents each item"
)]
pub(crate) mod containerd {
    tonic::include_proto!("containerd.services.images.v1");
}

//! The messages and services of `proto/`, generated at build time (`build.rs`). The files there document them.

pub use generated::v1;
pub(crate) use generated::{containerd, cri, state};

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "prost and tonic generate the code, from files that document each item"
)]
mod generated {
    /// `pullgate.v1`: the calls that other programs may make.
    pub mod v1 {
        tonic::include_proto!("pullgate.v1");

        /// The files, for reflection: an encoded `google.protobuf.FileDescriptorSet`.
        pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/api.bin"));
    }

    /// `pullgate.state.v1`: the records of the state directory.
    pub mod state {
        tonic::include_proto!("pullgate.state.v1");
    }

    /// `runtime.v1`: the messages of the Container Runtime Interface that are read.
    pub mod cri {
        tonic::include_proto!("runtime.v1");
    }

    /// `containerd.services.images.v1`: the calls to containerd beside the CRI.
    pub mod containerd {
        tonic::include_proto!("containerd.services.images.v1");
    }
}

//! Programs that a container runtime starts.

pub mod containerd_verifier;

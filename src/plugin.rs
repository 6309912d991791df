//! Programs that a container runtime starts before a pull.

pub mod containerd_verifier;

//! The outside world: one HTTP client, registries, Oracle's cloud, and services behind Unix sockets.

pub mod uds_client;
pub(crate) mod transport;
pub mod registry;
pub mod oracle;

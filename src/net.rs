//! The outside world as the gate asks it: one HTTP client, registries, and Oracle's cloud.

pub mod uds_client;
pub(crate) mod transport;
pub mod registry;
pub mod oracle;

//! Stand-ins of the outside world.

pub mod registry;
pub mod pull_client;

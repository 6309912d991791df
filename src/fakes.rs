//! Stand-ins for the outside world: a registry in memory, and a client that pulls as container runtimes do.

pub mod registry;
pub mod pull_client;

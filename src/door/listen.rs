//! The parts that the doors share: listeners, connections, and their bounds.

pub(crate) mod accept;
pub mod callers;
pub(crate) mod connection_tasks;
pub(crate) mod grpc;
pub(crate) mod read_slots;
pub mod socket_settings;
pub mod unix_socket;
pub(crate) mod write_timeout;

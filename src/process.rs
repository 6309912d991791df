//! The process: configuration, log, metrics, and the daemon.

pub mod config;
pub mod telemetry;
pub mod daemon;

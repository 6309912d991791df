//! The process: its configuration, log, metrics and daemon.

pub mod config;
pub mod telemetry;
pub mod daemon;

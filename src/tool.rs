//! The operator's tool.

pub mod signature_store;
pub mod sign;
pub mod demo;
pub mod cli;

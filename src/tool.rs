//! The operator's side: the `pullgate` program, signing, and the records that it stores and deletes. The daemon uses
//! nothing of this layer.

pub mod signature_store;
pub mod sign;
pub mod demo;
pub mod cli;

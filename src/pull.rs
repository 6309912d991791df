//! The stages of one pull, declared in their order.

pub mod policy;
pub(crate) mod request;
pub mod resolve;
pub mod find;
pub mod verify;
pub(crate) mod derivations;
pub mod decide;
pub mod record;
pub mod gate;

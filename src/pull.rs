//! The map of a pull: its stages, declared in the order in which a pull passes through them. Each stage uses only stages
//! declared above it, and [`gate`] runs them.

pub mod policy;
pub mod request;
pub mod resolve;
pub mod find;
pub mod verify;
pub mod evidence;
pub(crate) mod derivations;
pub mod decide;
pub mod record;
pub mod gate;

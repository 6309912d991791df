//! Everything that the other layers stand on.

pub mod reason;
pub mod limits;
pub mod canonical_hash;
pub mod error_chain;
pub(crate) mod printable;
pub(crate) mod percent;
pub(crate) mod pem_block;
pub mod files;
pub(crate) mod secret;
pub(crate) mod single_flight;
pub(crate) mod link_header;
pub(crate) mod backoff;
pub mod proto;
pub(crate) mod strict_toml;

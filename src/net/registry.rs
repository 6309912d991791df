//! The client for container registries: the pull side of distribution-spec 1.1 and, for the operator's tool, the push
//! side, over the one HTTP client.
//!
//! The client bounds every body before it reads it, and hashes every manifest and compares it with the requested digest.
//! Only a 404 means absent. Requests go to the endpoints of the configuration or to the registry that an image names;
//! the transport's guard judges every other place that these lead to.
//!
//! One call of [`RegistryClient`] finds the registry (`registries`) and performs an operation (`read`, `referrers`,
//! `write`) at each mirror in turn and then at the endpoint (`endpoint`). An operation sends its requests through its
//! context (`operation`), which composes the `sender` (redirects, retries) with the authenticator (`auth`: credentials,
//! challenges, tokens).

mod error;
mod metrics;
mod config;
mod access;
mod challenge;
mod body;
mod docker_credentials;
mod tokens;
mod endpoint;
mod registries;
mod sender;
mod auth;
mod operation;
mod read;
mod referrers;
mod write;
mod client;

#[cfg(test)]
mod tests;

pub use self::access::{Access, BlobStream, DockerAuthError, FetchedManifest, Login, Presented, Target};
pub use self::client::RegistryClient;
pub use self::config::{Credentials, RegistryConfig};
pub use self::error::RegistryError;
pub use self::metrics::{RegistryObserver, RegistryOperation, RequestOutcome};
pub use self::referrers::ReferrersTag;
pub use crate::base::secret::Secret;

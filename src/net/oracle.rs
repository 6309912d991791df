//! Talking to Oracle Cloud Infrastructure: its configuration file, keys and tokens, the signature on each request, where
//! its services are, what they are asked and answer, and a client that asks them.
//!
//! All but [`Client`], [`Identity`] and [`Source`] are functions over bytes and a time that is handed in, and open no
//! connection. What comes from a service or a file is bounded before it is read. Where facts are from: the SDK `oci`
//! 2.189.0 and `oci-cli` 3.95.1, and Oracle's documentation where a comment says so.

pub(crate) mod error;
pub(crate) mod metrics;
pub(super) mod sender;
mod client;
mod config_file;
mod identity;
mod ocid;
mod operation;
mod endpoints;
mod regions;
mod request_key;
mod request_signing;
mod artifacts;
pub mod wire;

pub use client::{ApiError, Call, CallOutcome, OracleClient, OracleObserver, SignatureList};
pub use config_file::{Authentication, ConfigFileError, Profile, SyntaxError};
pub use identity::{Identity, IdentityError, InstancePrincipal, MetadataService};
pub use ocid::{Ocid, OcidError};
pub use operation::{Operation, OperationError, SignatureFilter};
pub use regions::{Realm, Region, RegionError};
pub use request_key::{
    FingerprintMismatch, KeyFingerprint, KeyFingerprintError, RequestKey, RequestKeyError,
};
pub use request_signing::{RequestSigner, SigningError};

pub use crate::base::files::FileError;
pub use crate::base::secret::Secret;
pub use crate::net::oracle::artifacts::{
    OracleRegistries, OracleRegistry, OracleRegistryConfig, OracleRegistryError,
};
pub use crate::net::oracle::endpoints::{RegionEndpoints, RegionEndpointsError, Service, ServiceEndpoint};
pub use crate::net::oracle::identity::certificate::{FederationError, LeafCertificate};
pub use crate::net::oracle::identity::profile_signer::ProfileSignerError;
pub use crate::net::oracle::identity::token::{SecurityToken, TokenError};

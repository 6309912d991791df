//! A client of Oracle Cloud Infrastructure: the configuration file, keys and tokens, the signature on each request, the
//! addresses of the services, and their requests and responses.
//!
//! Everything but [`OracleClient`], [`Identity`] and [`OracleRegistry`] is a function of bytes and of a time that is
//! passed in, and opens no connection. Input from a service or a file is bounded before it is read. The facts come from
//! the SDK `oci` 2.189.0 and `oci-cli` 3.95.1, and from Oracle's documentation where a comment says so.

pub(crate) mod error;
pub(crate) mod metrics;
mod artifacts;
mod call_error;
mod client;
mod config_file;
mod endpoints;
mod identity;
mod leaf_certificate;
mod ocid;
mod operation;
mod regions;
mod request_key;
mod request_signing;
mod security_token;
mod sender;
pub mod wire;

pub use artifacts::{OracleRegistries, OracleRegistry, OracleRegistryConfig, OracleRegistryError};
pub use call_error::CallError;
pub use client::{OracleClient, SignatureList};
pub use config_file::{Authentication, ConfigFileError, Profile, SyntaxError};
pub use endpoints::{EndpointError, RegionEndpoints, Service, ServiceEndpoint};
pub use error::{ApiError, ClientSetupError};
pub use identity::profile_signer::ProfileSignerError;
pub use identity::{Identity, IdentityError, InstancePrincipal, MetadataService};
pub use leaf_certificate::{LeafCertificate, LeafCertificateError};
pub use metrics::{Call, CallOutcome, OracleObserver};
pub use ocid::{Ocid, OcidError};
pub use operation::{Operation, OperationError, SignatureFilter};
pub use regions::{Realm, Region, RegionError};
pub use request_key::{
    FingerprintMismatch, KeyFingerprint, KeyFingerprintError, RequestKey, RequestKeyError,
};
pub use request_signing::{RequestSigner, SigningError};
pub use security_token::{SecurityToken, TokenError};

pub use crate::base::files::FileError;
pub use crate::base::secret::Secret;

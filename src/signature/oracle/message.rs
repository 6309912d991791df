//! The message that is signed (oci-cli 3.95.1, `artifacts_cli_extended.py`, lines 617-628).

use serde::Deserialize;

use crate::oci::json::{self, JsonError, Object};
use crate::oci::{Digest, DigestError};
use crate::trust::{SigningAlgorithm, UnknownAlgorithm};

/// What Oracle's signature says of an image. It holds no time, tag, tenancy or nonce: a signature is good for ever for
/// its digest and repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OracleMessage {
    /// Free text of the signer.
    pub description: String,
    /// The digest of the manifest that was signed.
    pub image_digest: Digest,
    /// The OCID of the key in the vault, or `sha256:<hex>` for a key outside any vault.
    pub kms_key_id: String,
    /// The OCID of the key's version, or `sha256:<hex>` for a key outside any vault.
    pub kms_key_version_id: String,
    /// JSON text of the signer, or nothing.
    pub metadata: String,
    /// The region of the signer's client, such as `us-phoenix-1`.
    pub region: String,
    /// The repository, without region host and tenancy namespace: `project01/acme`.
    pub repository_name: String,
    /// What the signature was made with.
    pub signing_algorithm: SigningAlgorithm,
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OracleMessageError {
    /// It names none of the four algorithms.
    #[error("the signed signingAlgorithm is unknown")]
    Algorithm(#[source] UnknownAlgorithm),
    /// What it signs is no digest.
    #[error("the signed imageDigest is not a digest")]
    Digest(#[source] DigestError),
    /// Not strict JSON, or not exactly the eight fields, each once and a text.
    #[error("the signed message is not one")]
    Json(#[source] JsonError),
}

impl OracleMessage {
    /// Reads the bytes of a message: exactly eight fields, each a text. Order and white space are free, for signers
    /// other than Oracle's client (Go SDK, Terraform) spell them otherwise.
    ///
    /// # Errors
    /// As [`MessageError`] says.
    pub fn parse(bytes: &[u8]) -> Result<Self, OracleMessageError> {
        let Object(wire): Object<MessageWire> = json::parse(bytes).map_err(OracleMessageError::Json)?;
        Ok(Self {
            description: wire.description,
            image_digest: wire.image_digest.parse().map_err(OracleMessageError::Digest)?,
            kms_key_id: wire.kms_key_id,
            kms_key_version_id: wire.kms_key_version_id,
            metadata: wire.metadata,
            region: wire.region,
            repository_name: wire.repository_name,
            signing_algorithm: wire
                .signing_algorithm
                .parse()
                .map_err(OracleMessageError::Algorithm)?,
        })
    }
}

/// An unknown field could carry a condition that we do not keep: refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MessageWire {
    description: String,
    image_digest: String,
    kms_key_id: String,
    kms_key_version_id: String,
    metadata: String,
    region: String,
    repository_name: String,
    signing_algorithm: String,
}

//! The message that is signed (oci-cli 3.95.1, `artifacts_cli_extended.py`, lines 617-628).

use serde::Deserialize;

use crate::oci::json::{self, JsonError, Object};
use crate::oci::{Digest, DigestError};
use crate::trust::{SigningAlgorithm, UnknownAlgorithm};

/// The claim of Oracle's signature about an image. It holds no time, tag, tenancy or nonce: a signature stays valid for
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
    /// JSON text of the signer, or empty.
    pub metadata: String,
    /// The region of the signer's client, such as `us-phoenix-1`.
    pub region: String,
    /// The repository, without region host and tenancy namespace: `project01/acme`.
    pub repository_name: String,
    /// The algorithm that made the signature.
    pub signing_algorithm: SigningAlgorithm,
}

/// Bytes that are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OracleMessageError {
    /// The message names another algorithm than the four.
    #[error("the signed signingAlgorithm is unknown")]
    Algorithm(#[source] UnknownAlgorithm),
    /// The signed text is not a digest.
    #[error("the signed imageDigest is not a digest")]
    Digest(#[source] DigestError),
    /// The bytes are not strict JSON, or do not hold exactly the eight fields, each once and as a text.
    #[error("the signed message is not one")]
    Json(#[source] JsonError),
}

impl OracleMessage {
    /// Reads the bytes of a message: exactly eight fields, each a text. Order and white space are free, because signers
    /// other than Oracle's client (Go SDK, Terraform) use others.
    ///
    /// # Errors
    /// [`OracleMessageError`] says what is wrong with the bytes.
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

/// Unknown fields are refused, because one could carry a condition that this release does not check.
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

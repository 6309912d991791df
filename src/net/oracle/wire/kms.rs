//! Vault keys (SDK 2.189.0, `key_management/models/sign_data_details.py`, `signed_data.py` and `key_version.py`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::{WireError, bounded, ocid, read};
use crate::base::limits::{KEY_BYTES, MESSAGE_BYTES, ORACLE_ANSWER_BYTES};
use crate::base::printable::excerpt;
use crate::net::oracle::Ocid;
use crate::oci::json::{self, Object};
use crate::trust::{PublicKey, SigningAlgorithm};

/// A message for a vault to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignRequest {
    key_id: Ocid,
    key_version_id: Ocid,
    algorithm: SigningAlgorithm,
    message: Vec<u8>,
}

impl SignRequest {
    /// The vault hashes the message itself. The version is always named: without it, the vault would use its newest,
    /// which may not be the one that the message names.
    ///
    /// # Errors
    /// [`WireError::Ocid`] when the ids are not a key's and a key version's, [`WireError::MessageTooLong`].
    pub fn new(
        key_id: &Ocid,
        key_version_id: &Ocid,
        algorithm: SigningAlgorithm,
        message: Vec<u8>,
    ) -> Result<Self, WireError> {
        if message.len() > MESSAGE_BYTES {
            return Err(WireError::MessageTooLong);
        }
        Ok(Self {
            key_id: ocid("keyId", "key", key_id.as_str())?,
            key_version_id: ocid("keyVersionId", "keyversion", key_version_id.as_str())?,
            algorithm,
            message,
        })
    }

    /// Names `messageType` although `RAW` is the default, because the other value, `DIGEST`, signs other bytes.
    pub(in crate::net::oracle) fn to_json(&self) -> Vec<u8> {
        json!({
            "keyId": self.key_id.as_str(),
            "keyVersionId": self.key_version_id.as_str(),
            "message": STANDARD.encode(&self.message),
            "messageType": "RAW",
            "signingAlgorithm": self.algorithm.as_str(),
        })
        .to_string()
        .into_bytes()
    }
}

/// A vault's signature, not yet verified with the public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignAnswer {
    /// The raw signature.
    pub signature: Vec<u8>,
}

impl SignAnswer {
    /// Parses the response to a request.
    ///
    /// # Errors
    /// [`WireError::Differs`] when another key, version or algorithm signed; else as [`WireError`] says.
    pub fn parse(unverified: &[u8], request: &SignRequest) -> Result<Self, WireError> {
        let wire: SignWire = read(unverified, ORACLE_ANSWER_BYTES)?;
        for (field, found, asked) in [
            ("keyId", &wire.key_id, request.key_id.as_str()),
            (
                "keyVersionId",
                &wire.key_version_id,
                request.key_version_id.as_str(),
            ),
            (
                "signingAlgorithm",
                &wire.signing_algorithm,
                request.algorithm.as_str(),
            ),
        ] {
            if found != asked {
                return Err(WireError::Differs { field });
            }
        }
        let signature = STANDARD
            .decode(wire.signature)
            .map_err(|source| WireError::Base64 {
                field: "signature",
                source,
            })?;
        Ok(Self { signature })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignWire {
    key_id: String,
    key_version_id: String,
    signature: String,
    signing_algorithm: String,
}

/// A key of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultKey {
    /// The OCID.
    pub id: Ocid,
    /// The display name.
    pub display_name: String,
    /// `RSA`, `ECDSA` or `AES`, as the service spells it. Only RSA keys sign images.
    pub algorithm: String,
    /// The length in bytes: 256, 384 or 512 for an RSA key.
    pub length: u64,
    /// The version that the vault uses by default.
    pub current_version: Ocid,
    /// Whether it may be used.
    pub lifecycle_state: KeyVersionState,
}

impl VaultKey {
    /// Parses the response to a request for one key.
    ///
    /// # Errors
    /// [`WireError::Differs`] when the response is about another key; else as [`WireError`] says.
    pub fn parse(unverified: &[u8], key_id: &Ocid) -> Result<Self, WireError> {
        let wire: VaultKeyWire = read(unverified, ORACLE_ANSWER_BYTES)?;
        let id = ocid("id", "key", &wire.id)?;
        if id != *key_id {
            return Err(WireError::Differs { field: "id" });
        }
        Ok(Self {
            id,
            display_name: bounded("displayName", wire.display_name, NAME_BYTES)?,
            algorithm: bounded("algorithm", wire.key_shape.algorithm, STATE_BYTES)?,
            length: wire.key_shape.length,
            current_version: ocid("currentKeyVersion", "keyversion", &wire.current_key_version)?,
            lifecycle_state: KeyVersionState::from_text(&bounded(
                "lifecycleState",
                wire.lifecycle_state,
                STATE_BYTES,
            )?),
        })
    }
}

/// The fields that are read; vault, compartment, times, tags and replication are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VaultKeyWire {
    id: String,
    display_name: String,
    key_shape: KeyShapeWire,
    current_key_version: String,
    lifecycle_state: String,
}

#[derive(Deserialize)]
struct KeyShapeWire {
    algorithm: String,
    length: u64,
}

/// One page of the versions of a key, without their public keys: those are in the response that [`KeyVersion::parse`]
/// reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersionPage {
    /// The versions, in the service's order: newest first.
    pub versions: Vec<KeyVersion>,
}

impl KeyVersionPage {
    /// Parses the response to a request for a key's versions: a bare array.
    ///
    /// # Errors
    /// [`WireError::Differs`] when a version is of another key; else as [`WireError`] says.
    pub fn parse(unverified: &[u8], key_id: &Ocid) -> Result<Self, WireError> {
        if unverified.len() > ORACLE_ANSWER_BYTES {
            return Err(WireError::TooLarge {
                limit: ORACLE_ANSWER_BYTES,
            });
        }
        let page: Vec<Object<KeyVersionWire>> = json::parse(unverified)?;
        let versions = page
            .into_iter()
            .map(|Object(version)| {
                let version = KeyVersion::try_from(version)?;
                if version.key_id == *key_id {
                    Ok(version)
                } else {
                    Err(WireError::Differs { field: "keyId" })
                }
            })
            .collect::<Result<_, WireError>>()?;
        Ok(Self { versions })
    }
}

/// One version of a key. Each version has its own key pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVersion {
    /// The OCID.
    pub id: Ocid,
    /// The OCID of the key.
    pub key_id: Ocid,
    /// Whether it may be used.
    pub lifecycle_state: KeyVersionState,
    /// The public key as PEM; `None` for a symmetric key.
    pub public_key_pem: Option<String>,
}

/// Whether a key version may be used (SDK, `KeyVersion.LIFECYCLE_STATE_*`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the name that its text spells")]
pub enum KeyVersionState {
    CancellingDeletion,
    Creating,
    Deleted,
    Deleting,
    Disabled,
    Disabling,
    Enabled,
    Enabling,
    PendingDeletion,
    SchedulingDeletion,
    /// A state of unknown meaning, which is never treated as [`Self::Enabled`].
    Other(String),
}

impl KeyVersion {
    /// Parses the response to a request for one version.
    ///
    /// # Errors
    /// [`WireError::Differs`] when the response is about another version; else as [`WireError`] says.
    pub fn parse(unverified: &[u8], key_id: &Ocid, key_version_id: &Ocid) -> Result<Self, WireError> {
        let version: Self = read::<KeyVersionWire>(unverified, ORACLE_ANSWER_BYTES)?.try_into()?;
        if version.key_id != *key_id {
            return Err(WireError::Differs { field: "keyId" });
        }
        if version.id != *key_version_id {
            return Err(WireError::Differs { field: "id" });
        }
        Ok(version)
    }

    /// Parses the public key.
    ///
    /// # Errors
    /// [`WireError::Key`], also for algorithms that this release does not support.
    pub fn public_key(&self) -> Result<Option<PublicKey>, WireError> {
        self.public_key_pem
            .as_ref()
            .map(|pem| PublicKey::from_pem(pem.as_bytes()).map_err(WireError::Key))
            .transpose()
    }
}

impl TryFrom<KeyVersionWire> for KeyVersion {
    type Error = WireError;

    fn try_from(wire: KeyVersionWire) -> Result<Self, WireError> {
        if let Some(pem) = &wire.public_key
            && pem.len() > KEY_BYTES
        {
            return Err(WireError::Text {
                field: "publicKey",
                limit: KEY_BYTES,
            });
        }
        Ok(Self {
            id: ocid("id", "keyversion", &wire.id)?,
            key_id: ocid("keyId", "key", &wire.key_id)?,
            lifecycle_state: KeyVersionState::from_text(&bounded(
                "lifecycleState",
                wire.lifecycle_state,
                STATE_BYTES,
            )?),
            public_key_pem: wire.public_key,
        })
    }
}

impl KeyVersionState {
    /// Returns the service's spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::CancellingDeletion => "CANCELLING_DELETION",
            Self::Creating => "CREATING",
            Self::Deleted => "DELETED",
            Self::Deleting => "DELETING",
            Self::Disabled => "DISABLED",
            Self::Disabling => "DISABLING",
            Self::Enabled => "ENABLED",
            Self::Enabling => "ENABLING",
            Self::PendingDeletion => "PENDING_DELETION",
            Self::SchedulingDeletion => "SCHEDULING_DELETION",
            Self::Other(other) => other,
        }
    }

    /// Parses the service's spelling.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match text {
            "CANCELLING_DELETION" => Self::CancellingDeletion,
            "CREATING" => Self::Creating,
            "DELETED" => Self::Deleted,
            "DELETING" => Self::Deleting,
            "DISABLED" => Self::Disabled,
            "DISABLING" => Self::Disabling,
            "ENABLED" => Self::Enabled,
            "ENABLING" => Self::Enabling,
            "PENDING_DELETION" => Self::PendingDeletion,
            "SCHEDULING_DELETION" => Self::SchedulingDeletion,
            other => Self::Other(excerpt(other)),
        }
    }
}

/// The fields that are read; times, vault, origin and replication are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyVersionWire {
    id: String,
    key_id: String,
    lifecycle_state: String,
    public_key: Option<String>,
}

/// Longer than any state.
const STATE_BYTES: usize = 64;

/// Longest display name (Oracle's documentation: at most 255 characters).
const NAME_BYTES: usize = 1024;

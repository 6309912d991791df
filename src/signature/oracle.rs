//! Oracle's image signature: a small JSON message about one image, signed by OCI Vault with RSA-PSS.
//!
//! Sources: oci-cli 3.95.1, `artifacts_cli_extended.py` (the message, and how the client verifies) and the SDK's
//! `CreateContainerImageSignatureDetails` (the record). Oracle's own `get-verify` compares nothing of what was signed
//! with the image; this module and [`crate::pull::verify`] compare all of it.
//!
//! One record costs at most one verification for each key of the rule: each key is tried once, and a record whose ids
//! belong to no configured key is tried only under the keys without configured ids.

mod message;
mod record;
mod repository_name;

use std::error::Error;
use std::sync::Arc;

use jiff::Timestamp;
pub use message::{OracleMessage, OracleMessageError};
pub use record::{Record, RecordError};
pub use repository_name::repository_name;

use super::{
    Candidate, Claim, ClaimedIdentity, ExpectedIdentity, Format, FormatName, Layers, Location,
    RequiredRepository, SignatureError,
};
use crate::base::error_chain::chain;
use crate::base::limits::RECORD_BYTES;
use crate::base::printable::excerpt;
use crate::oci::Repository;
use crate::trust::{Authority, Scheme, SignedBytes, Signer, SignerUnusable, SigningAlgorithm, TrustedKey};

/// The artifact type, and the layer's media type, under which a record is kept as a referrer.
pub const ARTIFACT_TYPE: &str = "application/vnd.pullgate.image-signature.v1+json";

/// The format.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

/// The word of this format.
pub const NAME: FormatName = FormatName("oracle");

/// A referrer with the record as its one layer, a file, or a record of Oracle's Artifacts API.
const LOCATIONS: &[Location] = &[
    Location::Artifact {
        artifact_type: ARTIFACT_TYPE,
        layers: Layers::One(&[ARTIFACT_TYPE]),
    },
    Location::File { suffix: ".json" },
    Location::Service { name: "oracle-api" },
];

impl Format for Oracle {
    fn name(&self) -> FormatName {
        NAME
    }

    fn locations(&self) -> &'static [Location] {
        LOCATIONS
    }

    fn max_bytes(&self) -> usize {
        RECORD_BYTES
    }

    /// A record signs a path without the host: the name that Oracle's client signs, or the one that the rule names.
    fn expected_identity(&self, pulled: &Repository, required: &RequiredRepository) -> ExpectedIdentity {
        ExpectedIdentity::Path(match required {
            RequiredRepository::AsPulled => repository_name(pulled).to_owned(),
            RequiredRepository::Named(name) => name.clone(),
        })
    }

    fn verify(
        &self,
        candidate: &Candidate,
        authorities: &[Arc<Authority>],
        now: Timestamp,
    ) -> Result<Claim, SignatureError> {
        let record = Record::parse(&candidate.unverified).map_err(malformed)?;
        if let Some(state) = record
            .lifecycle_state
            .as_deref()
            .filter(|state| *state != "AVAILABLE")
        {
            return Err(SignatureError::Withdrawn {
                state: excerpt(state),
            });
        }
        // These bytes, and no others, are verified and then read. A message that is serialized again from its fields
        // would differ from the signed one: Oracle's own signers spell the same fields in different bytes.
        let unverified_message = record.message_bytes().map_err(malformed)?;
        let signature = record.signature_bytes().map_err(malformed)?;
        let signer = verify_under(authorities, &record, &unverified_message, &signature, now)?;
        let message = read(&unverified_message, &record)?;
        Ok(Claim {
            digest: message.image_digest,
            identity: ClaimedIdentity::Path(message.repository_name),
            signer,
        })
    }
}

/// Verifies the signature under each key that can have made it, and checks that the signer may be used now.
fn verify_under(
    authorities: &[Arc<Authority>],
    record: &Record,
    unverified_message: &[u8],
    signature: &[u8],
    now: Timestamp,
) -> Result<Signer, SignatureError> {
    let untrusted = || SignatureError::UntrustedKey {
        key: excerpt(&record.kms_key_id),
    };
    let not_allowed = || SignatureError::AlgorithmNotAllowed {
        algorithm: excerpt(&record.signing_algorithm),
    };

    let keys = || {
        authorities.iter().map(|authority| {
            let Authority::Key(key) = authority.as_ref();
            key
        })
    };
    let candidates: Vec<_> = keys()
        .filter_map(|key| KeyMatch::new(key, record).map(|matched| (key, matched)))
        .collect();
    if candidates.is_empty() {
        return Err(untrusted());
    }
    let Ok(algorithm) = record.signing_algorithm.parse::<SigningAlgorithm>() else {
        return Err(not_allowed());
    };
    let (mut allowed, refused): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|(key, _)| scheme_of(key, algorithm).is_some());
    if allowed.is_empty() {
        return Err(not_allowed());
    }
    // One key can have two names, of which one has expired: the other is tried first. The sort is stable.
    allowed.sort_by_key(|(key, _)| key.validity.check(now).is_err());

    let verified = allowed.iter().find_map(|(key, _)| {
        let signed = SignedBytes {
            scheme: scheme_of(key, algorithm)?,
            message: unverified_message,
            signature,
        };
        key.verify(signed).ok()
    });
    if let Some(signer) = verified {
        // Only after the signature is verified: a forger learns nothing about windows.
        check_usable(&signer, keys(), now)?;
        return Ok(signer);
    }
    let named = |list: &[(&TrustedKey, KeyMatch)]| {
        list.iter()
            .find(|(_, matched)| *matched == KeyMatch::Named)
            .map(|(key, _)| key.name.to_string())
    };
    Err(match (named(&allowed), named(&refused)) {
        (Some(key), _) => SignatureError::BadSignature { key },
        (None, Some(_)) => not_allowed(),
        (None, None) => untrusted(),
    })
}

/// The scheme of this algorithm that the key may be used with. The record names the hash; the key's settings add the
/// salt, and decide whether the algorithm is allowed at all.
fn scheme_of(key: &TrustedKey, algorithm: SigningAlgorithm) -> Option<Scheme> {
    let mut schemes = key.schemes.iter().copied();
    schemes.find(|scheme| {
        scheme
            .salt()
            .is_some_and(|salt| algorithm.scheme(salt) == *scheme)
    })
}

/// The setting of `[[key]]` that holds the OCID of the key in OCI Vault. Where it is set, a record must name it.
pub const KMS_KEY_ID: &str = "kms_key_id";

/// The setting of `[[key]]` that holds the OCID of the key's version in OCI Vault. Where it is set, a record must name it.
pub const KMS_KEY_VERSION_ID: &str = "kms_key_version_id";

/// The relation between a record and a key before the signature is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyMatch {
    /// The record names this key.
    Named,
    /// This key can have made the record: the configuration gives it no id that a record could name.
    Unnamed,
}

impl KeyMatch {
    /// Returns `None` where the record names another key.
    fn new(key: &TrustedKey, record: &Record) -> Option<Self> {
        let id = |setting| key.ids.get(setting);
        match (id(KMS_KEY_ID), id(KMS_KEY_VERSION_ID)) {
            (None, None) if record.kms_key_id == key.public_key.fingerprint().to_string() => {
                Some(Self::Named)
            }
            (None, None) => Some(Self::Unnamed),
            (id, version) => {
                let is_same = |configured: Option<&String>, claimed: &String| {
                    configured.is_none_or(|configured| configured == claimed)
                };
                let is_named =
                    is_same(id, &record.kms_key_id) && is_same(version, &record.kms_key_version_id);
                is_named.then_some(Self::Named)
            }
        }
    }
}

/// Checks that the signer may be used now. Revocation concerns the public key itself: another name of it in the same rule
/// does not bring it back.
fn check_usable<'a>(
    signer: &Signer,
    mut keys: impl Iterator<Item = &'a TrustedKey>,
    now: Timestamp,
) -> Result<(), SignatureError> {
    if let Some(revoked) = keys.find(|key| key.validity.revoked && key.signer_id() == signer.id()) {
        return Err(SignatureError::KeyUnusable {
            key: revoked.name.to_string(),
            why: SignerUnusable::Revoked,
        });
    }
    signer.check(now).map_err(|why| SignatureError::KeyUnusable {
        key: signer.name().to_owned(),
        why,
    })
}

/// Parses a message that verified, and checks that the record that carried it makes the same claims.
fn read(verified_message: &[u8], record: &Record) -> Result<OracleMessage, SignatureError> {
    let differs = |claim| SignatureError::RecordDiffers { claim };
    let message = match OracleMessage::parse(verified_message) {
        Ok(message) => message,
        // The record's own algorithm is one of the four, or the signature would not have verified.
        Err(OracleMessageError::Algorithm(_)) => return Err(differs("signingAlgorithm")),
        Err(error) => return Err(malformed(error)),
    };
    if message.kms_key_id != record.kms_key_id {
        Err(differs("kmsKeyId"))
    } else if message.kms_key_version_id != record.kms_key_version_id {
        Err(differs("kmsKeyVersionId"))
    } else if message.signing_algorithm.as_str() != record.signing_algorithm {
        Err(differs("signingAlgorithm"))
    } else {
        Ok(message)
    }
}

/// Joins the chain of causes into one bounded line, because parts of it quote the record.
fn malformed(error: impl Error + 'static) -> SignatureError {
    SignatureError::Malformed(excerpt(&chain(&error)))
}

#[cfg(test)]
mod tests;

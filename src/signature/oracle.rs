//! Oracle's image signature: a small JSON message about one image, signed by OCI Vault with RSA-PSS.
//!
//! Sources: oci-cli 3.95.1, `artifacts_cli_extended.py` (the message, and how the client verifies) and the SDK's
//! `CreateContainerImageSignatureDetails` (the record). Oracle's own `get-verify` compares nothing of what was signed
//! with the image; here and in [`crate::pull::verify`] everything is.
//!
//! One record costs at most one verification for each key of the rule, whatever it says: a key is tried once, and a
//! record whose key ids are no configured key's is tried under none but the keys that have no ids configured.

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
use crate::trust::{KeyUnusable, SigningAlgorithm, TrustedKey};

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
        keys: &[Arc<TrustedKey>],
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
        // These bytes, and no others, are verified and then read. A message that was written anew from its fields
        // would not be what was signed: Oracle's own signers spell the same fields in different bytes.
        let unverified_message = record.message_bytes().map_err(malformed)?;
        let signature = record.signature_bytes().map_err(malformed)?;
        let signed_by = signer(&record, &unverified_message, &signature, keys, now)?;
        let message = read(&unverified_message, &record)?;
        Ok(Claim {
            digest: message.image_digest,
            identity: ClaimedIdentity::Path(message.repository_name),
            signed_by: Arc::clone(signed_by),
        })
    }
}

/// The key that made the signature, if it may be used now.
fn signer<'a>(
    record: &Record,
    unverified_message: &[u8],
    signature: &[u8],
    keys: &'a [Arc<TrustedKey>],
    now: Timestamp,
) -> Result<&'a Arc<TrustedKey>, SignatureError> {
    let untrusted = || SignatureError::UntrustedKey {
        key: excerpt(&record.kms_key_id),
    };
    let not_allowed = || SignatureError::AlgorithmNotAllowed {
        algorithm: excerpt(&record.signing_algorithm),
    };

    let candidates: Vec<_> = keys
        .iter()
        .filter_map(|key| KeyMatch::of(key, record).map(|standing| (key, standing)))
        .collect();
    if candidates.is_empty() {
        return Err(untrusted());
    }
    let Ok(algorithm) = record.signing_algorithm.parse::<SigningAlgorithm>() else {
        return Err(not_allowed());
    };
    let (mut allowed, refused): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|(key, _)| key.algorithms.contains(&algorithm));
    if allowed.is_empty() {
        return Err(not_allowed());
    }
    // One key under two names, of which one's window is over: the other one speaks. The sort is stable.
    allowed.sort_by_key(|(key, _)| key.usable(now).is_err());

    let verified = allowed.iter().find(|(key, _)| {
        key.public_key
            .verify(algorithm.scheme(key.salt), unverified_message, signature)
            .is_ok()
    });
    if let Some((key, _)) = verified {
        // Only after the signature is good: who forges one learns nothing of windows.
        usable(key, keys, now)?;
        return Ok(*key);
    }
    let named = |list: &[(&'a Arc<TrustedKey>, KeyMatch)]| {
        list.iter()
            .find(|(_, standing)| *standing == KeyMatch::Named)
            .map(|(key, _)| key.name.clone())
    };
    Err(match (named(&allowed), named(&refused)) {
        (Some(key), _) => SignatureError::BadSignature { key },
        (None, Some(_)) => not_allowed(),
        (None, None) => untrusted(),
    })
}

/// How a record and a key stand to each other before anything was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyMatch {
    /// The record names this key.
    Named,
    /// The record may be by this key: the configuration says of it no name by which a record could tell.
    Unnamed,
}

impl KeyMatch {
    /// None where the record says that another key made it.
    fn of(key: &TrustedKey, record: &Record) -> Option<Self> {
        match (&key.kms_key_id, &key.kms_key_version_id) {
            (None, None) if record.kms_key_id == key.public_key.fingerprint().to_string() => {
                Some(Self::Named)
            }
            (None, None) => Some(Self::Unnamed),
            (id, version) => {
                let same = |configured: &Option<String>, claimed: &String| {
                    configured.as_ref().is_none_or(|configured| configured == claimed)
                };
                let named = same(id, &record.kms_key_id) && same(version, &record.kms_key_version_id);
                named.then_some(Self::Named)
            }
        }
    }
}

/// Revocation is of the key itself: another name of it in the same rule does not bring it back.
fn usable(key: &TrustedKey, keys: &[Arc<TrustedKey>], now: Timestamp) -> Result<(), SignatureError> {
    let fingerprint = key.public_key.fingerprint();
    if let Some(revoked) = keys
        .iter()
        .find(|other| other.revoked && other.public_key.fingerprint() == fingerprint)
    {
        return Err(SignatureError::KeyUnusable {
            key: revoked.name.clone(),
            why: KeyUnusable::Revoked,
        });
    }
    key.usable(now).map_err(|why| SignatureError::KeyUnusable {
        key: key.name.clone(),
        why,
    })
}

/// What a message that verified says, if the record that carried it says the same.
fn read(verified_message: &[u8], record: &Record) -> Result<OracleMessage, SignatureError> {
    let differs = |claim| SignatureError::RecordDiffers { claim };
    let message = match OracleMessage::parse(verified_message) {
        Ok(message) => message,
        // The record's own is one of the four, or nothing would have verified.
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

/// The whole chain of causes in one bounded line: parts of it quote the record.
fn malformed(error: impl Error + 'static) -> SignatureError {
    SignatureError::Malformed(excerpt(&chain(&error)))
}

#[cfg(test)]
mod tests;

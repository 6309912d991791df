//! From records and keys to verified signatures, or the failure that says most. Digest and repository are compared
//! here, in one place for every format.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::base::printable::excerpt;
use crate::base::reason::Reason;
use crate::net::registry::SourceName;
use crate::oci::Digest;
use crate::pull::find::{Found, SourceFailure};
use crate::pull::policy::Signed;
use crate::signature::{Candidate, Claim, FormatName, SignatureError};
use crate::trust::Fingerprint;

/// A signature by a trusted key over the very digest and repository that are being pulled. Only this module makes one.
///
/// A caller can pass it on, and cannot make one: its fields are private.
///
/// ```
/// use pullgate::pull::verify::VerifiedSignature;
/// fn pass_on(verified: VerifiedSignature) -> VerifiedSignature {
///     verified
/// }
/// ```
///
/// ```compile_fail
/// use pullgate::pull::verify::VerifiedSignature;
/// fn forge(verified: VerifiedSignature) -> VerifiedSignature {
///     VerifiedSignature { ..verified }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct VerifiedSignature {
    claim: Claim,
}

impl VerifiedSignature {
    /// What was signed, by which key.
    #[must_use]
    pub const fn claim(&self) -> &Claim {
        &self.claim
    }
}

/// One record that was looked at, and what came of it.
#[derive(Clone, Debug)]
pub struct CheckedSignature {
    /// The kind of place it was found in.
    pub source: SourceName,
    /// Where exactly, for people.
    pub locator: String,
    /// The format it was read as.
    pub format: FormatName,
    /// What came of it.
    pub outcome: Result<VerifiedSignature, VerifyError>,
}

/// Why a record is no signature of this subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It signs another digest.
    #[error("key `{key}` signed the digest `{signed}`")]
    Digest {
        /// What it signs.
        signed: Digest,
        /// The name of the key.
        key: String,
    },
    /// It signs another repository.
    #[error("key `{key}` signed it as `{signed}`, not as `{wanted}`")]
    Repository {
        /// What it signs.
        signed: String,
        /// What the rule wants signed.
        wanted: String,
        /// The name of the key.
        key: String,
    },
    /// No trusted key made it, or not so.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl VerifyError {
    /// The code under which the failure is answered when it is the most telling one.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Digest { .. } => Reason::DigestMismatch,
            Self::Repository { .. } => Reason::RepositoryMismatch,
            Self::Signature(error) => error.reason(),
        }
    }

    /// The key that the failure is about, as far as the record could be read: a trusted key's name, or what the record
    /// calls its key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Digest { key, .. } | Self::Repository { key, .. } => Some(key),
            Self::Signature(error) => match error {
                SignatureError::BadSignature { key }
                | SignatureError::KeyUnusable { key, .. }
                | SignatureError::UntrustedKey { key } => Some(key),
                SignatureError::AlgorithmNotAllowed { .. }
                | SignatureError::Malformed(_)
                | SignatureError::RecordDiffers { .. }
                | SignatureError::Withdrawn { .. } => None,
            },
        }
    }
}

/// All that is known about who signed a subject: enough to decide, again and again, without asking anyone.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Every record that was looked at, at most [`crate::base::limits::CANDIDATES`].
    pub judged: Arc<[CheckedSignature]>,
    /// What could not be looked at.
    pub troubles: Arc<[SourceFailure]>,
    /// The places that were asked, in order.
    pub asked: Vec<SourceName>,
}

impl Evidence {
    /// The distinct keys, by fingerprint, that signed and may be used at `now`. One key under two names counts once.
    #[must_use]
    pub fn signers(&self, now: Timestamp) -> BTreeSet<Fingerprint> {
        self.judged
            .iter()
            .filter_map(|judged| judged.outcome.as_ref().ok())
            .map(|verified| &verified.claim.signed_by)
            .filter(|key| key.usable(now).is_ok())
            .map(|key| key.public_key.fingerprint())
            .collect()
    }
}

/// What must have been signed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// This digest.
    pub digest: &'a Digest,
    /// Under this name.
    pub repository: &'a str,
    /// By these keys.
    pub signed: &'a Signed,
}

/// Verifies what one source gave.
#[must_use]
pub fn verify(
    source: SourceName,
    found: &Found,
    wanted: Wanted<'_>,
    now: Timestamp,
) -> Vec<CheckedSignature> {
    found
        .candidates
        .iter()
        .map(|candidate| CheckedSignature {
            source,
            locator: candidate.locator.clone(),
            format: candidate.format,
            outcome: verify_one(candidate, wanted, now),
        })
        .collect()
}

fn verify_one(
    candidate: &Candidate,
    wanted: Wanted<'_>,
    now: Timestamp,
) -> Result<VerifiedSignature, VerifyError> {
    let claim = candidate
        .format
        .format()
        .open(candidate, &wanted.signed.keys, now)?;
    // The digest first: a record moved under another image is told apart from one for another repository.
    if claim.digest != *wanted.digest {
        return Err(VerifyError::Digest {
            signed: claim.digest,
            key: claim.signed_by.name.clone(),
        });
    }
    // An empty name is nobody's: it must not match a rule whose own expectation came out empty.
    let is_wanted = |signed: &str| signed == wanted.repository && !signed.is_empty();
    if let Some(signed) = claim.repository.as_deref().filter(|signed| !is_wanted(signed)) {
        return Err(VerifyError::Repository {
            // Whoever holds a key of the rule chose it: it must not write to terminals and logs as it likes.
            signed: excerpt(signed),
            wanted: wanted.repository.to_owned(),
            key: claim.signed_by.name.clone(),
        });
    }
    Ok(VerifiedSignature { claim })
}

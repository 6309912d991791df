//! From a record and the trusted keys to a verified signature, or to the reason why it is not one. This module compares
//! digest and identity in one place for every format.

use jiff::Timestamp;

use crate::base::reason::Reason;
use crate::oci::{Digest, Repository};
use crate::pull::policy::Signed;
use crate::signature::{
    Candidate, Claim, ClaimedIdentity, ExpectedIdentity, FormatName, Locator, RequiredRepository,
    SignatureError, SourceName,
};

/// A signature by a trusted key over the very digest and repository that are being pulled. Only [`verify`] makes one.
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
    is_repository_bound: bool,
}

impl VerifiedSignature {
    /// Returns what was signed, and by which key.
    #[must_use]
    pub const fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Whether the signature names the repository. It is false where the format signs none: then the scope of the rule is
    /// all that binds the signature to a repository.
    #[must_use]
    pub const fn is_repository_bound(&self) -> bool {
        self.is_repository_bound
    }

    /// Whether the key that signed may be used at `now`.
    #[must_use]
    pub fn counts_at(&self, now: Timestamp) -> bool {
        self.claim.signer.check(now).is_ok()
    }
}

/// One record that was verified, and the outcome.
#[derive(Clone, Debug)]
pub struct CheckedSignature {
    /// The source that listed the record.
    pub source: SourceName,
    /// Where exactly the source found the record.
    pub locator: Locator,
    /// The format of the record.
    pub format: FormatName,
    /// The verified signature, or why the record is not one.
    pub outcome: Result<VerifiedSignature, VerifyError>,
}

/// Why a record is not a signature of this image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The record signs another digest.
    #[error("key `{key}` signed the digest `{signed}`")]
    Digest {
        /// The digest that is signed.
        signed: Digest,
        /// The name of the key.
        key: String,
    },
    /// The rule does not accept the record's format.
    #[error("the rule does not accept the format `{0}`")]
    FormatNotAccepted(FormatName),
    /// The record signs another repository, or none where the format signs one.
    #[error("key `{key}` signed {signed}, not {expected}")]
    Repository {
        /// The identity that is signed.
        signed: ClaimedIdentity,
        /// The identity that the rule requires.
        expected: ExpectedIdentity,
        /// The name of the key.
        key: String,
    },
    /// No trusted key made the record, or the record breaks its format.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl VerifyError {
    /// Returns the reason code of a denial in which this failure is the most important one.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Digest { .. } => Reason::DigestMismatch,
            Self::FormatNotAccepted(_) => Reason::Unsigned,
            Self::Repository { .. } => Reason::RepositoryMismatch,
            Self::Signature(error) => error.reason(),
        }
    }

    /// Returns the key that the failure is about, as far as the record could be read: the name of a trusted key, or the
    /// name that the record gives its key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Digest { key, .. } | Self::Repository { key, .. } => Some(key),
            Self::FormatNotAccepted(_) => None,
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

/// The content that a signature must have to count.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The digest of the image.
    pub digest: Digest,
    /// The repository that the image is pulled from.
    pub pulled: Repository,
    /// The repository that the rule requires to have been signed.
    pub required_repository: RequiredRepository,
    /// Whose signatures count, and in which formats.
    pub signed: Signed,
}

/// Verifies one record.
#[must_use]
pub fn verify(candidate: &Candidate, wanted: &Wanted, now: Timestamp) -> CheckedSignature {
    CheckedSignature {
        source: candidate.source,
        locator: candidate.locator.clone(),
        format: candidate.format.name(),
        outcome: verify_one(candidate, wanted, now),
    }
}

fn verify_one(
    candidate: &Candidate,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<VerifiedSignature, VerifyError> {
    let format = candidate.format;
    // A source that yields a record of another format by mistake adds nothing.
    if !wanted.signed.formats.contains(&format.name()) {
        return Err(VerifyError::FormatNotAccepted(format.name()));
    }
    let claim = format.verify(candidate, &wanted.signed.authorities, now)?;
    let key = || claim.signer.name().to_owned();
    // The digest first: a record moved under another image is told apart from one for another repository.
    if claim.digest != wanted.digest {
        return Err(VerifyError::Digest {
            signed: claim.digest,
            key: key(),
        });
    }
    let expected = format.expected_identity(&wanted.pulled, &wanted.required_repository);
    match compare(&claim.identity, &expected) {
        Ok(is_repository_bound) => Ok(VerifiedSignature {
            is_repository_bound,
            claim,
        }),
        Err(OtherRepository) => Err(VerifyError::Repository {
            key: key(),
            signed: claim.identity,
            expected,
        }),
    }
}

/// The signed identity is not the expected one.
struct OtherRepository;

/// Compares the signed identity with the expected one, and returns whether the signature names the repository. "No
/// identity" passes only where the format itself expects none: a format that signs a repository and returns without one
/// is refused.
fn compare(signed: &ClaimedIdentity, expected: &ExpectedIdentity) -> Result<bool, OtherRepository> {
    let is_same = match (signed, expected) {
        (ClaimedIdentity::Nothing, ExpectedIdentity::NotSigned) => return Ok(false),
        // No rule means an empty name: it must not match where the rule's own expectation is empty.
        (ClaimedIdentity::Path(signed), ExpectedIdentity::Path(expected)) => {
            signed == expected && !signed.is_empty()
        }
        (ClaimedIdentity::Reference(signed), ExpectedIdentity::Reference(expected)) => signed == expected,
        (
            ClaimedIdentity::Nothing | ClaimedIdentity::Path(_) | ClaimedIdentity::Reference(_),
            ExpectedIdentity::NotSigned | ExpectedIdentity::Path(_) | ExpectedIdentity::Reference(_),
        ) => false,
    };
    if is_same { Ok(true) } else { Err(OtherRepository) }
}

#[cfg(test)]
mod tests {
    use super::compare;
    use crate::oci::Repository;
    use crate::signature::{ClaimedIdentity, ExpectedIdentity};

    #[test]
    fn no_identity_passes_only_where_none_is_expected() {
        let path = || ExpectedIdentity::Path("acme/app".to_owned());
        let repository = Repository::new("registry.example", "acme/app").unwrap();
        let reference = || ExpectedIdentity::Reference(repository.clone());
        let nothing = ClaimedIdentity::Nothing;
        assert_eq!(compare(&nothing, &ExpectedIdentity::NotSigned).ok(), Some(false));
        assert!(compare(&nothing, &path()).is_err());
        assert!(compare(&nothing, &reference()).is_err());

        let signed = ClaimedIdentity::Path("acme/app".to_owned());
        assert_eq!(compare(&signed, &path()).ok(), Some(true));
        assert!(compare(&signed, &ExpectedIdentity::NotSigned).is_err());
        assert!(compare(&signed, &reference()).is_err());
        assert!(compare(&ClaimedIdentity::Path("acme/ap".to_owned()), &path()).is_err());

        let signed = ClaimedIdentity::Reference(repository.clone());
        assert_eq!(compare(&signed, &reference()).ok(), Some(true));
        assert!(compare(&signed, &path()).is_err());
        let other = Repository::new("registry.example", "acme/other").unwrap();
        assert!(compare(&ClaimedIdentity::Reference(other), &reference()).is_err());
    }

    #[test]
    fn an_empty_name_matches_nothing() {
        let (signed, expected) = (
            ClaimedIdentity::Path(String::new()),
            ExpectedIdentity::Path(String::new()),
        );
        assert!(compare(&signed, &expected).is_err());
    }
}

//! The reasons for which a pull is blocked: one closed list with stable codes, the same in HTTP, gRPC, logs, metrics and
//! `--json`.

use std::fmt;

use strum::VariantArray;

/// The reason for which a pull was blocked.
///
/// The order is that of how much a reason tells, least first: of several failures of one pull the greatest is reported. A
/// fault in a signature by a trusted key tells more than the absence of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, VariantArray)]
pub enum Reason {
    /// No rule applies to the image, and the default is to reject.
    NoRule,
    /// No signature was found, and every source answered.
    Unsigned,
    /// The image is signed, but not by a key of the rule.
    UntrustedKey,
    /// The record or manifest does not follow its specification.
    Malformed,
    /// The record uses an unknown algorithm, or one that its key does not allow.
    AlgorithmNotAllowed,
    /// The signature is valid, but its key is not valid yet.
    KeyNotYetValid,
    /// The signature is valid, but its key has expired.
    KeyExpired,
    /// The signature is valid, but its key was revoked.
    KeyRevoked,
    /// A trusted key signed this digest for another repository.
    RepositoryMismatch,
    /// A trusted key signed another digest, or content does not have the digest by which it was requested.
    DigestMismatch,
    /// The record names a trusted key, but its signature does not verify.
    BadSignature,
    /// Fewer distinct keys signed than the rule requires.
    ThresholdNotMet,
    /// The requested blob or manifest does not belong to any admitted manifest.
    NotDerived,
    /// The rule rejects every image in its scope, or does not list the digest.
    RejectedByRule,
    /// The digest is on the deny list.
    DigestDenied,
    /// The registry does not have the image.
    ImageNotFound,
    /// The registry requires other credentials.
    RegistryUnauthorized,
    /// The registry did not answer, or answered with an error of its own.
    RegistryUnreachable,
    /// A source of signatures could not be read; whether the image is signed is not known.
    SourceUnreachable,
    /// A bound of [`crate::base::limits`] was reached.
    LimitExceeded,
    /// The deadline of the pull passed.
    DeadlineExceeded,
    /// The gate itself failed: a panic in this pull, which is a fault of pullgate and never of the image.
    InternalError,
}

impl Reason {
    /// All reasons in their order. The list is derived from the enum, so that it cannot miss one.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the stable code that scripts, metrics and logs use.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoRule => "no-rule",
            Self::Unsigned => "unsigned",
            Self::UntrustedKey => "untrusted-key",
            Self::Malformed => "malformed",
            Self::AlgorithmNotAllowed => "algorithm-not-allowed",
            Self::KeyNotYetValid => "key-not-yet-valid",
            Self::KeyExpired => "key-expired",
            Self::KeyRevoked => "key-revoked",
            Self::RepositoryMismatch => "repository-mismatch",
            Self::DigestMismatch => "digest-mismatch",
            Self::BadSignature => "bad-signature",
            Self::ThresholdNotMet => "threshold-not-met",
            Self::NotDerived => "not-derived",
            Self::RejectedByRule => "rejected-by-rule",
            Self::DigestDenied => "digest-denied",
            Self::ImageNotFound => "image-not-found",
            Self::RegistryUnauthorized => "registry-unauthorized",
            Self::RegistryUnreachable => "registry-unreachable",
            Self::SourceUnreachable => "source-unreachable",
            Self::LimitExceeded => "limit-exceeded",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::InternalError => "internal-error",
        }
    }

    /// Returns whether the gate could not tell: the pull is blocked, but trying again may help.
    #[must_use]
    pub const fn retryable(self) -> bool {
        match self {
            Self::RegistryUnreachable
            | Self::SourceUnreachable
            | Self::LimitExceeded
            | Self::DeadlineExceeded
            | Self::InternalError => true,
            Self::NoRule
            | Self::Unsigned
            | Self::UntrustedKey
            | Self::Malformed
            | Self::AlgorithmNotAllowed
            | Self::KeyNotYetValid
            | Self::KeyExpired
            | Self::KeyRevoked
            | Self::RepositoryMismatch
            | Self::DigestMismatch
            | Self::BadSignature
            | Self::ThresholdNotMet
            | Self::NotDerived
            | Self::RejectedByRule
            | Self::DigestDenied
            | Self::ImageNotFound
            | Self::RegistryUnauthorized => false,
        }
    }

    /// Returns the next step for the user or for the administrator of the node: an imperative clause without a full stop.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::NoRule => "add a [[rule]] whose scope covers this image",
            Self::Unsigned => "sign the image, or check where its signatures are stored",
            Self::UntrustedKey => {
                "sign the image with a key of the rule, or add the signer's key to the rule"
            }
            Self::Malformed => {
                "push the image and its signature again with a tool that follows the specification"
            }
            Self::AlgorithmNotAllowed => "sign with an algorithm that the key's `algorithms` allow",
            Self::KeyNotYetValid => "wait until the key's not_before, or check this node's clock",
            Self::KeyExpired => "sign with the current key, or check this node's clock",
            Self::KeyRevoked => "sign again with a key that is not revoked",
            Self::RepositoryMismatch => {
                "sign the image under the name by which it is pulled, or set signed_repository for a mirror"
            }
            Self::DigestMismatch => {
                "pull again; if the error persists, report that the registry or a mirror serves other content"
            }
            Self::BadSignature => {
                "report the record, which was altered or signed by another key, then sign again"
            }
            Self::ThresholdNotMet => "sign the image with another key of the rule as well",
            Self::NotDerived => "pull the image by its tag or by the digest that was signed",
            Self::RejectedByRule => {
                "use an image that the rule allows, or ask the administrator to change the rule"
            }
            Self::DigestDenied => "use a newer image: the administrator denied this digest",
            Self::ImageNotFound => "check the image's name and tag",
            Self::RegistryUnauthorized => {
                "log in to the registry, or configure credentials for it in pullgate"
            }
            Self::RegistryUnreachable => "check the network and the registry, then try again",
            Self::SourceUnreachable => "check the network and the source of the signatures, then try again",
            Self::LimitExceeded => "delete surplus signatures or make the manifest smaller, then try again",
            Self::DeadlineExceeded => "try again; if the error persists, check the speed of the registry",
            Self::InternalError => "try again, and report the log lines of this pull as a bug",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Reason;

    #[test]
    fn codes_are_distinct() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
    }

    #[test]
    fn all_reasons_are_listed_in_their_order() {
        assert!(Reason::ALL.is_sorted());
        assert_eq!(Reason::ALL.first(), Some(&Reason::NoRule));
        assert_eq!(Reason::ALL.last(), Some(&Reason::InternalError));
    }

    #[test]
    fn a_retry_helps_only_where_the_gate_could_not_tell() {
        let retryable: Vec<_> = Reason::ALL.iter().filter(|reason| reason.retryable()).collect();
        assert_eq!(
            retryable,
            [
                &Reason::RegistryUnreachable,
                &Reason::SourceUnreachable,
                &Reason::LimitExceeded,
                &Reason::DeadlineExceeded,
                &Reason::InternalError,
            ]
        );
    }
}

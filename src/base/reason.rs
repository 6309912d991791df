//! Why a pull was blocked: one closed list with stable codes, the same in HTTP, gRPC, logs, metrics and `--json`.

use std::fmt;

/// Why a pull was blocked.
///
/// Ordered by how much it tells, least first: of the failures of one pull the greatest is reported. A finding about
/// a trusted key's signature says more than "nobody signed this".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No rule speaks for the image and the default is to reject.
    NoRule,
    /// No signature was found anywhere, and every place could be asked.
    Unsigned,
    /// Signatures exist, none by a key of the rule.
    UntrustedKey,
    /// The record or manifest is not what its specification says.
    Malformed,
    /// The record names an algorithm that its key may not be used with, or that is unknown.
    AlgorithmNotAllowed,
    /// The signature is good, its key's window has not begun.
    KeyNotYetValid,
    /// The signature is good, its key's window is over.
    KeyExpired,
    /// The signature is good, its key was revoked.
    KeyRevoked,
    /// A trusted key signed this digest for another repository.
    RepositoryMismatch,
    /// A trusted key's record signs another digest, or bytes do not have the digest they were asked by.
    DigestMismatch,
    /// The record names a trusted key, and its signature does not verify.
    BadSignature,
    /// Fewer distinct keys signed than the rule wants.
    ThresholdNotMet,
    /// A blob or manifest was asked for that no admitted manifest names.
    NotDerived,
    /// The rule admits listed digests only, or rejects what matches.
    RejectedByRule,
    /// The digest is on the deny list.
    DigestDenied,
    /// The registry says that the image does not exist.
    ImageNotFound,
    /// The registry wants other credentials.
    RegistryUnauthorized,
    /// The registry did not answer, or answered with a fault of its own.
    RegistryUnreachable,
    /// A place where signatures are kept did not answer; whether the image is signed is not known.
    SourceUnreachable,
    /// A bound of [`crate::base::limits`] was reached.
    LimitExceeded,
    /// The pull's time was over.
    DeadlineExceeded,
    /// The gate itself failed: a panic in this pull. A fault of ours, never of the image.
    InternalError,
}

impl Reason {
    /// Every reason, for metrics and for the tests that want each one shown.
    pub const ALL: [Self; 22] = [
        Self::NoRule,
        Self::Unsigned,
        Self::UntrustedKey,
        Self::Malformed,
        Self::AlgorithmNotAllowed,
        Self::KeyNotYetValid,
        Self::KeyExpired,
        Self::KeyRevoked,
        Self::RepositoryMismatch,
        Self::DigestMismatch,
        Self::BadSignature,
        Self::ThresholdNotMet,
        Self::NotDerived,
        Self::RejectedByRule,
        Self::DigestDenied,
        Self::ImageNotFound,
        Self::RegistryUnauthorized,
        Self::RegistryUnreachable,
        Self::SourceUnreachable,
        Self::LimitExceeded,
        Self::DeadlineExceeded,
        Self::InternalError,
    ];

    /// The stable name that scripts, metrics and logs use.
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

    /// True where the gate could not tell: the pull is blocked as well, but trying again may help.
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

    /// What the person who pulled, or the node's administrator, can do next: one clause, no full stop.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::NoRule => "add a [[rule]] whose scope covers this image",
            Self::Unsigned => "sign the image, or check where its signatures are kept",
            Self::UntrustedKey => "sign with a key of the rule, or add the signer's key to it",
            Self::Malformed => {
                "push the image and its signature again with a tool that keeps to the specification"
            }
            Self::AlgorithmNotAllowed => "sign with an algorithm that the key's `algorithms` allow",
            Self::KeyNotYetValid => "wait for the key's not_before, or check this node's clock",
            Self::KeyExpired => "sign with the current key, or check this node's clock",
            Self::KeyRevoked => "sign again with a key that is not revoked",
            Self::RepositoryMismatch => {
                "sign the image under the name it is pulled by, or set signed_repository for a mirror"
            }
            Self::DigestMismatch => {
                "pull again; if it stays, the registry or a mirror serves other bytes: report it"
            }
            Self::BadSignature => "the record was altered or is not by that key: report it, then sign again",
            Self::ThresholdNotMet => "have another key of the rule sign the image",
            Self::NotDerived => "pull the image by its tag or by the digest that was signed",
            Self::RejectedByRule => "the administrator excluded this image by rule",
            Self::DigestDenied => "the administrator denied this digest: use a newer image",
            Self::ImageNotFound => "check the image's name and tag",
            Self::RegistryUnauthorized => "log in to the registry, or give the gate credentials for it",
            Self::RegistryUnreachable => "check the network and the registry, then try again",
            Self::SourceUnreachable => {
                "check the network and the place that keeps the signatures, then try again"
            }
            Self::LimitExceeded => "remove surplus signatures or shrink the manifest, then try again",
            Self::DeadlineExceeded => "try again; if it stays, check the registry's speed",
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
    use super::Reason;

    #[test]
    fn codes_are_distinct_and_the_list_is_whole_and_in_rank_order() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert!(Reason::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}

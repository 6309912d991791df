//! Why a record proves nothing.

use crate::base::reason::Reason;
use crate::trust::SignerUnusable;

/// Why a record is not a signature by a trusted key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The record names an algorithm that is unknown, or that its key may not be used with.
    #[error("the algorithm `{algorithm}` is not allowed for this key")]
    AlgorithmNotAllowed {
        /// The algorithm as the record spells it.
        algorithm: String,
    },
    /// The record names a trusted key, and that key did not make this signature.
    #[error("the signature does not verify under key `{key}`")]
    BadSignature {
        /// The trusted key's name.
        key: String,
    },
    /// The signature is valid, and its key may not be used now.
    #[error("signed by key `{key}`, which may not be used now")]
    KeyUnusable {
        /// The trusted key's name.
        key: String,
        /// The key's window or its revocation.
        #[source]
        why: SignerUnusable,
    },
    /// The record, or the message in it, breaks its format.
    #[error("not a well-formed record: {0}")]
    Malformed(String),
    /// The signed message and the record around it differ: the record was put together from two records.
    #[error("the signed {claim} differs from the record's")]
    RecordDiffers {
        /// The field, as the format names it.
        claim: &'static str,
    },
    /// The rule does not list the key that the record names.
    #[error("signed by `{key}`, which the rule does not trust")]
    UntrustedKey {
        /// The key as the record names it.
        key: String,
    },
    /// The service that keeps the record withdrew it (its lifecycle state is not `AVAILABLE`).
    #[error("the record was withdrawn: its state is `{state}`")]
    Withdrawn {
        /// The state as the record spells it.
        state: String,
    },
}

impl SignatureError {
    /// Returns the reason code of a denial in which this failure is the most important one.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::AlgorithmNotAllowed { .. } => Reason::AlgorithmNotAllowed,
            Self::BadSignature { .. } | Self::RecordDiffers { .. } => Reason::BadSignature,
            Self::KeyUnusable {
                why: SignerUnusable::Expired(_),
                ..
            } => Reason::KeyExpired,
            Self::KeyUnusable {
                why: SignerUnusable::NotYetValid(_),
                ..
            } => Reason::KeyNotYetValid,
            Self::KeyUnusable {
                why: SignerUnusable::Revoked,
                ..
            } => Reason::KeyRevoked,
            Self::Malformed(_) => Reason::Malformed,
            Self::UntrustedKey { .. } => Reason::UntrustedKey,
            Self::Withdrawn { .. } => Reason::Unsigned,
        }
    }
}

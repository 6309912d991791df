//! Signature formats: pure functions from a record's bytes and keys to a claim. A new format is one file here and one
//! line in [`FormatName::format`].
//!
//! A format verifies the bytes as they came, then parses those same bytes, and says what a trusted key claims. Whether
//! that claim is about the image being pulled is decided in one place for all formats, [`crate::pull::verify`].

mod key_kind;
pub mod oracle;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

pub use self::key_kind::{UnusedKeyKind, check_key_kind};
use crate::base::reason::Reason;
use crate::oci::Digest;
use crate::trust::{KeyUnusable, TrustedKey};

/// Bytes that may be a signature record, at most [`crate::base::limits::RECORD_BYTES`] long, and where they were found.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The format that the place of finding names.
    pub format: FormatName,
    /// Where it was found, for people: a digest of a referrer's manifest, or a file's path.
    pub locator: String,
    /// The record.
    pub unverified: Bytes,
}

/// A signature format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FormatName {
    /// Oracle's image signature: OCI Vault, RSA-PSS.
    Oracle,
}

impl FormatName {
    /// All formats, in the order they are looked for.
    pub const ALL: [Self; 1] = [Self::Oracle];

    /// As the configuration and `--json` spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oracle => "oracle",
        }
    }

    /// The format itself.
    #[must_use]
    pub fn format(self) -> &'static dyn Format {
        match self {
            Self::Oracle => &oracle::Oracle,
        }
    }
}

impl fmt::Display for FormatName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A name that is no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a signature format; there is `oracle`")]
pub struct UnknownFormat(pub String);

impl FromStr for FormatName {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|each| each.as_str() == text)
            .ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// One signature format.
pub trait Format: Sync {
    /// The artifact type of its referrers.
    fn artifact_type(&self) -> &'static str;

    /// Verifies the record under whichever of `keys` it names, then reads what that key signed.
    ///
    /// # Errors
    /// As [`SignatureError`] says; none of them stops another record from being tried.
    fn open(
        &self,
        candidate: &Candidate,
        keys: &[Arc<TrustedKey>],
        now: Timestamp,
    ) -> Result<Claim, SignatureError>;
}

/// What a trusted key said. Not yet that it said so of the image being pulled.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The digest that was signed.
    pub digest: Digest,
    /// The repository that was signed, without registry host, where the format signs one.
    pub repository: Option<String>,
    /// The key that signed.
    pub signed_by: Arc<TrustedKey>,
}

/// Why a record is not a signature by a trusted key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The record names an algorithm that is unknown or that its key may not be used with.
    #[error("the algorithm `{algorithm}` is not allowed for this key")]
    AlgorithmNotAllowed {
        /// As the record spells it.
        algorithm: String,
    },
    /// The record names a trusted key, and that key did not make this signature.
    #[error("the signature does not verify under key `{key}`")]
    BadSignature {
        /// The trusted key's name.
        key: String,
    },
    /// The signature is good and its key may not be used now.
    #[error("signed by key `{key}`, which may not be used now")]
    KeyUnusable {
        /// The trusted key's name.
        key: String,
        /// Window or revocation.
        #[source]
        why: KeyUnusable,
    },
    /// The record, or the message in it, is not what its format says.
    #[error("not a well-formed record: {0}")]
    Malformed(String),
    /// What was signed and what the record says of it differ: the record was put together from two.
    #[error("the signed {claim} differs from the record's")]
    RecordDiffers {
        /// The claim, as the format names it.
        claim: &'static str,
    },
    /// The record names no key of the rule.
    #[error("signed by `{key}`, which the rule does not trust")]
    UntrustedKey {
        /// As the record names its key.
        key: String,
    },
    /// The record was withdrawn where it is kept (a lifecycle state other than `AVAILABLE`).
    #[error("the record was withdrawn: its state is `{state}`")]
    Withdrawn {
        /// As the record spells it.
        state: String,
    },
}

impl SignatureError {
    /// The code under which the failure is answered when it is the most telling one.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::AlgorithmNotAllowed { .. } => Reason::AlgorithmNotAllowed,
            Self::BadSignature { .. } | Self::RecordDiffers { .. } => Reason::BadSignature,
            Self::KeyUnusable {
                why: KeyUnusable::Expired(_),
                ..
            } => Reason::KeyExpired,
            Self::KeyUnusable {
                why: KeyUnusable::NotYetValid(_),
                ..
            } => Reason::KeyNotYetValid,
            Self::KeyUnusable {
                why: KeyUnusable::Revoked,
                ..
            } => Reason::KeyRevoked,
            Self::Malformed(_) => Reason::Malformed,
            Self::UntrustedKey { .. } => Reason::UntrustedKey,
            Self::Withdrawn { .. } => Reason::Unsigned,
        }
    }
}

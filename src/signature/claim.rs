//! Claims: what a trusted key signed, and what it must have signed.

use std::fmt;

use crate::base::printable::excerpt;
use crate::oci::{Digest, Repository};
use crate::trust::Signer;

/// The statement that a trusted key signed. [`crate::pull::verify`] compares it with the image being pulled.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The digest that was signed.
    pub digest: Digest,
    /// The identity that was signed.
    pub identity: ClaimedIdentity,
    /// The signer, whose signature verified.
    pub signer: Signer,
}

/// The repository that the signed bytes name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimedIdentity {
    /// The signed bytes name no repository.
    Nothing,
    /// A repository's path, without the registry's host.
    Path(String),
    /// A repository with its registry.
    Reference(Repository),
}

impl fmt::Display for ClaimedIdentity {
    /// The holder of a trusted key chose the name, so it is escaped and cut before it reaches a terminal or a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("no repository"),
            Self::Path(path) => write!(formatter, "`{}`", excerpt(path)),
            Self::Reference(repository) => write!(formatter, "`{repository}`"),
        }
    }
}

/// The repository that the signed bytes must name for one pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedIdentity {
    /// The format signs no repository: the scope of the rule is all that binds the signature to one.
    NotSigned,
    /// This path, without the registry's host. No signature matches an empty path.
    Path(String),
    /// This repository with its registry.
    Reference(Repository),
}

impl fmt::Display for ExpectedIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSigned => formatter.write_str("no repository"),
            Self::Path(path) => write!(formatter, "`{path}`"),
            Self::Reference(repository) => write!(formatter, "`{repository}`"),
        }
    }
}

/// The repository that a rule requires to have been signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequiredRepository {
    /// The one that is pulled.
    AsPulled,
    /// This one, as signers of the format write it. Empty where the rule's `**` matched nothing, and no signature
    /// matches an empty name.
    Named(String),
}

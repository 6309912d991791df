//! The denial of a pull, and its text.

use http::HeaderValue;

use crate::base::reason::Reason;
use crate::net::registry::RegistryError;
use crate::oci::{Digest, Reference};
use crate::pull::request::{DoorName, PullContext, PullRequest, Purpose};

/// A blocked pull, with everything that the client is told about it.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The image as the client named it.
    pub reference: Reference,
    /// The digest that was evaluated, if it is known.
    pub digest: Option<Digest>,
    /// The name of the rule that applied, or `default`.
    pub rule: String,
    /// The code.
    pub reason: Reason,
    /// The exact cause, in a clause.
    pub detail: String,
    /// The registry's `WWW-Authenticate`, when the client should present its own credentials and try again.
    pub challenge: Option<HeaderValue>,
}

impl Denial {
    /// Makes a denial of this pull. Without a `digest` it names the digest of the request, if that has one.
    pub(crate) fn new(
        pull: PullContext<'_>,
        reason: Reason,
        digest: Option<Digest>,
        detail: impl Into<String>,
    ) -> Box<Self> {
        let reference = &pull.request.reference;
        Box::new(Self {
            reference: reference.clone(),
            digest: digest.or(reference.digest),
            rule: pull.rule.name().to_owned(),
            reason,
            detail: detail.into(),
            challenge: None,
        })
    }

    /// Makes a denial because the registry did not return the content of this pull.
    pub(crate) fn from_registry(
        pull: PullContext<'_>,
        error: &RegistryError,
        digest: Option<Digest>,
        detail: impl Into<String>,
    ) -> Box<Self> {
        let mut denial = Self::new(pull, reason_of(error), digest, detail);
        denial.challenge = match error {
            RegistryError::Unauthorized { challenge, .. } => challenge.clone(),
            RegistryError::Credentials { .. }
            | RegistryError::DeadlineExceeded { .. }
            | RegistryError::DigestMismatch { .. }
            | RegistryError::Malformed { .. }
            | RegistryError::NotFound { .. }
            | RegistryError::Refused { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::Unreachable { .. } => None,
        };
        denial
    }

    /// Returns whether this denial is the registry's request for credentials, to a client that has presented none yet, at a
    /// door that serves content. The client may present them next, and that request is decided.
    pub(crate) fn is_credentials_request(&self, request: &PullRequest) -> bool {
        request.purpose == Purpose::Serve
            && request.door != DoorName::TOOL
            && request.presented.is_none()
            && self.challenge.is_some()
    }
}

impl std::fmt::Display for Denial {
    /// Writes reason, image, digest, rule, detail and next step in one line, which reads well inside the errors of all
    /// runtimes.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "pullgate: {}: {}", self.reason, self.reference)?;
        if let Some(digest) = self
            .digest
            .filter(|digest| self.reference.digest != Some(*digest))
        {
            write!(formatter, " ({digest})")?;
        }
        let next = self.reason.next_step();
        write!(
            formatter,
            " blocked by rule {}: {}; {next}",
            self.rule, self.detail
        )
    }
}

/// Returns the code of a registry's failure to return the image itself.
const fn reason_of(error: &RegistryError) -> Reason {
    match error {
        RegistryError::Credentials { .. } | RegistryError::Unauthorized { .. } => {
            Reason::RegistryUnauthorized
        }
        RegistryError::DeadlineExceeded { .. } => Reason::DeadlineExceeded,
        RegistryError::DigestMismatch { .. } => Reason::DigestMismatch,
        RegistryError::Malformed { .. } => Reason::Malformed,
        RegistryError::NotFound { .. } => Reason::ImageNotFound,
        RegistryError::Refused { .. } | RegistryError::Unreachable { .. } => Reason::RegistryUnreachable,
        RegistryError::TooLarge { .. } => Reason::LimitExceeded,
    }
}

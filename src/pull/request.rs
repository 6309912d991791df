//! What a door asks.

use std::time::Instant;

use crate::net::registry::Presented;
use crate::oci::Reference;
use crate::pull::decide::Denial;
use crate::pull::policy::{EffectiveRule, Pod, Policy};
use crate::pull::record::DoorName;

/// What a door asks.
#[derive(Clone)]
pub struct PullRequest {
    /// Which door.
    pub door: DoorName,
    /// Who, for the record: a socket address or a process.
    pub peer: String,
    /// What.
    pub reference: Reference,
    /// The Kubernetes pod that it is pulled for, where the door knows.
    pub pod: Option<Pod>,
    /// The client's own credentials.
    pub presented: Option<Presented>,
    /// When the answer is due.
    pub deadline: Instant,
    /// What for.
    pub purpose: Purpose,
}

/// What becomes of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The door serves what is permitted to who asks: content that was read with the credentials of one client is not
    /// handed to another.
    Serve,
    /// The door tells the verdict alone, and who asks fetches by himself. Whose credentials the manifest was read with
    /// is nothing to him: what a digest names is the same for all.
    VerdictOnly(Option<DescribedManifest>),
}

/// What who asks was told of the manifest, beside its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedManifest {
    /// The media type.
    pub media_type: String,
    /// Bytes.
    pub size: u64,
}

impl PullRequest {
    /// The rule that speaks for it.
    #[must_use]
    pub fn effective_rule(&self, policy: &Policy) -> EffectiveRule {
        policy.effective_rule(&self.reference.repository, self.pod.as_ref())
    }

    /// Whether a denial is the registry's question for credentials, which goes to a client that has shown none yet: he
    /// may show them next, and then it is decided.
    pub(crate) fn is_asked_for_credentials(&self, denial: &Denial) -> bool {
        self.door == DoorName::Registry && self.presented.is_none() && denial.challenge.is_some()
    }
}

impl Purpose {
    /// The same for another manifest than the one that was described.
    pub(crate) const fn for_another_manifest(&self) -> Self {
        match self {
            Self::Serve => Self::Serve,
            Self::VerdictOnly(_) => Self::VerdictOnly(None),
        }
    }
}

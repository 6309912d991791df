//! The request of a door, and the context in which the stages of a pull read it.

use std::time::Instant;

use crate::net::registry::{Access, Presented};
use crate::oci::{Reference, Repository};
use crate::pull::policy::{EffectiveRule, Pod, Policy};

/// The name of a door, as logs and metrics spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DoorName(&'static str);

impl DoorName {
    /// `pullgate check`, which asks the gate without a door.
    pub const TOOL: Self = Self("tool");

    /// The name of a door.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Returns the spelling of logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// The question of a door: may this image be pulled?
#[derive(Clone)]
pub struct PullRequest {
    /// The door that asks.
    pub door: DoorName,
    /// The client, for the record: a socket address or a process.
    pub peer: String,
    /// The image as the client names it.
    pub reference: Reference,
    /// The Kubernetes pod for which the image is pulled, where the door knows it.
    pub pod: Option<Pod>,
    /// The client's own credentials.
    pub presented: Option<Presented>,
    /// The time at which the answer is due.
    pub deadline: Instant,
    /// The use that the door makes of the verdict.
    pub purpose: Purpose,
}

/// The use that a door makes of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The door serves the content to the client. Content that was read with the credentials of one client is not served
    /// to another.
    Serve,
    /// The door answers with the verdict alone, and the client fetches the content itself. The credentials with which the
    /// gate read the manifest do not matter then: the content of a digest is the same for every client.
    VerdictOnly(Option<DescribedManifest>),
}

/// The client's description of the manifest, beside its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedManifest {
    /// The media type.
    pub media_type: String,
    /// The size in bytes.
    pub size: u64,
}

/// A hash of the client's credentials, if it presented any. Only clients that present the same credentials share the
/// result of one request: a client without access must not decide the answer for a client with access.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CredentialsHash(Option<[u8; 32]>);

impl PullRequest {
    /// Returns the rule that applies to this pull.
    #[must_use]
    pub fn effective_rule(&self, policy: &Policy) -> EffectiveRule {
        policy.effective_rule(&self.reference.repository, self.pod.as_ref())
    }

    /// Returns the credentials and the deadline for requests to the registry.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            presented: self.presented.clone(),
            deadline: self.deadline,
        }
    }

    pub(crate) fn credentials_hash(&self) -> CredentialsHash {
        CredentialsHash(self.presented.as_ref().map(Presented::hash))
    }
}

impl Purpose {
    /// Returns the same purpose for another manifest than the one that the client described.
    pub(crate) const fn for_another_manifest(&self) -> Self {
        match self {
            Self::Serve => Self::Serve,
            Self::VerdictOnly(_) => Self::VerdictOnly(None),
        }
    }
}

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Until the rule is satisfied: for a pull.
    UntilSatisfied,
    /// Until every source was heard to its end: for a caller that wants every record.
    Everything,
}

/// One pull under the policy with which it started. A reload or a cleared cache does not change it half-way.
#[derive(Clone, Copy)]
pub(crate) struct PullContext<'a> {
    pub(crate) request: &'a PullRequest,
    pub(crate) policy: &'a Policy,
    /// The rule of the policy that applies to the request.
    pub(crate) rule: &'a EffectiveRule,
    /// The epoch of the caches in which the pull started. Clearing the caches begins another epoch.
    pub(crate) epoch: u64,
    /// How far the search for signatures goes.
    pub(crate) extent: Extent,
}

impl<'a> PullContext<'a> {
    pub(crate) const fn repository(self) -> &'a Repository {
        &self.request.reference.repository
    }

    /// Returns whether a verdict may be remembered for later pulls. Where anything is accepted nothing is remembered:
    /// pulls of such images must not fill the bounded store. A verdict under a rule for some pods does not hold for other
    /// pods, and is not remembered either.
    pub(crate) fn is_cacheable(self) -> bool {
        !self.rule.accepts_anything() && self.rule.pod_rule_name().is_none()
    }
}

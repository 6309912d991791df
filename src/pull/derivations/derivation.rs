//! One derivation, and how long it is valid.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::oci::{ChildKind, Digest, Repository};
use crate::pull::policy::Generation;

/// The fact that an admitted manifest, the root, names a child by its digest. The root names its child directly, or
/// through an index that it lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Derivation {
    repository: Repository,
    child: Digest,
    kind: ChildKind,
    root: Digest,
    generation: Generation,
}

impl Derivation {
    /// Makes a derivation. The callers are a permit, for the children of its manifest, and the file of an earlier process:
    /// write access to the state directory is trusted as the process is.
    pub(crate) const fn new(
        repository: Repository,
        child: Digest,
        kind: ChildKind,
        root: Digest,
        generation: Generation,
    ) -> Self {
        Self {
            repository,
            child,
            kind,
            root,
            generation,
        }
    }

    /// Returns the repository of both root and child.
    pub(crate) const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the digest that the root names.
    pub(crate) const fn child(&self) -> &Digest {
        &self.child
    }

    /// Returns whether the child is a manifest or a blob.
    pub(crate) const fn kind(&self) -> ChildKind {
        self.kind
    }

    /// Returns the manifest that was evaluated by itself.
    pub(crate) const fn root(&self) -> &Digest {
        &self.root
    }

    /// Returns the policy under which the root was admitted.
    pub(crate) const fn generation(&self) -> Generation {
        self.generation
    }
}

/// A derivation as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredDerivation {
    pub(crate) derivation: Derivation,
    /// The time until which the verdict on the root is remembered.
    pub(crate) expires_at: Timestamp,
    /// The time at which the first key of the rule expires.
    pub(crate) keys_end_at: Timestamp,
    /// The epoch in which it was stored. A derivation of an earlier epoch is still a fact, but its root has to be evaluated
    /// again.
    pub(crate) epoch: u64,
}

impl StoredDerivation {
    /// Returns whether the root was admitted under this policy and in this epoch.
    pub(crate) fn belongs_to(&self, generation: Generation, epoch: u64) -> bool {
        self.derivation.generation() == generation && self.epoch == epoch
    }

    /// Returns whether the verdict on the root is remembered: if not, the root is evaluated again.
    pub(crate) fn is_current(&self, generation: Generation, epoch: u64, now: Timestamp) -> bool {
        self.belongs_to(generation, epoch) && self.expires_at > now
    }
}

/// The times at which derivations expire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    /// The time until which the verdict on the root is remembered.
    pub(crate) expires_at: Timestamp,
    /// The time at which the first key of the rule expires.
    pub(crate) keys_end_at: Timestamp,
}

impl Expiry {
    /// Returns the expiry of derivations that are stored `now`: after `ttl`, and never later than `limit` or than the
    /// first of the rule's keys. `key_ends` are the times at which these keys expire.
    pub(crate) fn new(
        now: Timestamp,
        ttl: Duration,
        limit: Timestamp,
        key_ends: impl Iterator<Item = Timestamp>,
    ) -> Self {
        let ends = key_ends.filter(|end| *end > now);
        let keys_end_at = ends.fold(Timestamp::MAX, Timestamp::min);
        Self {
            expires_at: after(now, ttl).min(limit).min(keys_end_at),
            keys_end_at,
        }
    }
}

/// Returns the time after this duration, or the last time that there is.
pub(crate) fn after(now: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    now.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

//! The status of an image that is on the node already: from memory and the state directory, never from the network.

use jiff::Timestamp;

use super::Gate;
use crate::oci::{ChildKind, Digest, Repository};
use crate::pull::evidence::EvidenceKey;
use crate::pull::policy::{DefaultAction, EffectiveRule, Mode, Policy, Requirement};

/// The status of an image under the current policy, as far as it is known without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageStatus {
    /// The image may run: its rule requires nothing that could be missing, or the image was admitted under this policy.
    Admitted,
    /// The image may not run.
    Refused,
    /// The image was not evaluated under this policy, or the result is no longer remembered.
    Unknown,
}

impl Gate {
    /// Returns the status of the image that a runtime has under this digest. An image that was admitted under the current
    /// policy stays admitted until a key of its rule expires or [`Gate::clear`] is called, whatever `[cache] positive`
    /// says: it is on the node, and was verified when it was pulled.
    ///
    /// `identifier` is the runtime's identifier of the image, where that describes the content: the digest of its
    /// configuration or of its manifest. The names of an image prove nothing (an archive brings its own), so the identifier
    /// too must belong to an admitted manifest of this repository, though not necessarily of this digest.
    #[must_use]
    pub fn image_status(
        &self,
        repository: &Repository,
        digest: &Digest,
        identifier: Option<&Digest>,
    ) -> ImageStatus {
        let settings = self.settings();
        let policy = &settings.policy;
        if policy.denies(digest) {
            return ImageStatus::Refused;
        }
        let rule = match policy.effective_rule(repository, None) {
            EffectiveRule::Default(DefaultAction::InsecureAcceptAnything) => return ImageStatus::Admitted,
            EffectiveRule::Default(DefaultAction::Reject) => return ImageStatus::Refused,
            EffectiveRule::Rule(rule) if rule.mode == Mode::Warn => return ImageStatus::Admitted,
            EffectiveRule::Rule(rule) => rule,
        };
        let known = KnownImages {
            gate: self,
            policy,
            epoch: self.derivations.epoch(),
            now: Timestamp::now(),
            repository,
        };
        let is_admitted = match &rule.requirement {
            Requirement::InsecureAcceptAnything => return ImageStatus::Admitted,
            Requirement::Reject => return ImageStatus::Refused,
            // A manifest that a listed index names is admitted if it was pulled.
            Requirement::Digest(digests) => digests.contains(digest) || known.has_manifest(digest),
            Requirement::Signed(signed) => {
                known.is_signed(digest, signed.threshold.get()) || known.has_manifest(digest)
            }
        };
        let is_that_image = identifier.is_none_or(|identifier| {
            identifier == digest || known.has(identifier, ChildKind::Blob) || known.has_manifest(identifier)
        });
        if is_admitted && is_that_image {
            ImageStatus::Admitted
        } else {
            ImageStatus::Unknown
        }
    }
}

/// The remembered images of one repository under the current policy.
struct KnownImages<'a> {
    gate: &'a Gate,
    policy: &'a Policy,
    epoch: u64,
    now: Timestamp,
    repository: &'a Repository,
}

impl KnownImages<'_> {
    /// Returns whether the remembered evidence has enough signers.
    fn is_signed(&self, digest: &Digest, threshold: usize) -> bool {
        let key = EvidenceKey {
            repository: self.repository.clone(),
            digest: *digest,
            generation: self.policy.generation(),
            epoch: self.epoch,
            rule: None,
        };
        self.gate.evidence.count_signers(&key, self.now) >= threshold
    }

    fn has_manifest(&self, digest: &Digest) -> bool {
        self.has(digest, ChildKind::Manifest)
    }

    /// Returns whether an admitted manifest names this child, or is it.
    fn has(&self, child: &Digest, kind: ChildKind) -> bool {
        let stored = self.gate.derivations.parent_of(self.repository, child, kind);
        stored.is_some_and(|stored| {
            stored.belongs_to(self.policy.generation(), self.epoch)
                && stored.keys_end_at > self.now
                && !self.policy.denies(stored.derivation.root())
        })
    }
}

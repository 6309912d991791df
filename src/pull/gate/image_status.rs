//! What is known of an image that is on the node already: from memory and from the state directory, never from the network.

use std::time::Instant;

use jiff::Timestamp;

use super::Gate;
use super::memory::EvidenceKey;
use crate::oci::{ChildKind, Digest, Repository};
use crate::pull::policy::{DefaultAction, EffectiveRule, Mode, Policy, Requirement};

/// What the policy of now says of a manifest, as far as that is known without asking anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageStatus {
    /// It may run: its rule wants nothing that could be missing, or it was admitted under this policy.
    Admitted,
    /// It may not.
    Refused,
    /// It was not judged under this policy, or what was found out is no longer kept.
    Unknown,
}

impl Gate {
    /// What is known of the image that a runtime has under this digest. One that was admitted under the policy of now
    /// stands until a key of its rule ends or [`Gate::clear`] is called, `[cache] positive` or not: it is here, and was
    /// looked at when it came.
    ///
    /// `identifier` is what the runtime calls it by, where that says what it is: the digest of its configuration or of its
    /// manifest. The names are what someone gave it (an archive brings its own), so that one is asked for that is of an
    /// admitted manifest as well: of this repository, if not of this digest.
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
        let known = Known {
            gate: self,
            policy,
            epoch: self.derivations.epoch(),
            now: Timestamp::now(),
            repository,
        };
        let is_admitted = match &rule.requirement {
            Requirement::InsecureAcceptAnything => return ImageStatus::Admitted,
            Requirement::Reject => return ImageStatus::Refused,
            // A manifest of an index that is listed: as far as it was admitted.
            Requirement::Digest(digests) => digests.contains(digest) || known.covers_manifest(digest),
            Requirement::Signed(signed) => {
                known.is_signed(digest, signed.threshold.get()) || known.covers_manifest(digest)
            }
        };
        let is_it = identifier
            .is_none_or(|it| it == digest || known.covers(it, ChildKind::Blob) || known.covers_manifest(it));
        if is_admitted && is_it {
            ImageStatus::Admitted
        } else {
            ImageStatus::Unknown
        }
    }
}

/// What is kept of one repository, under the policy of now.
struct Known<'a> {
    gate: &'a Gate,
    policy: &'a Policy,
    epoch: u64,
    now: Timestamp,
    repository: &'a Repository,
}

impl Known<'_> {
    /// Whether it is remembered who signed it, and that is enough.
    fn is_signed(&self, digest: &Digest, threshold: usize) -> bool {
        let key = EvidenceKey {
            repository: self.repository.clone(),
            digest: *digest,
            generation: self.policy.generation(),
            epoch: self.epoch,
            rule: None,
        };
        self.gate.evidence.get(&key).is_some_and(|remembered| {
            remembered.until > Instant::now() && remembered.evidence.signers(self.now).len() >= threshold
        })
    }

    fn covers_manifest(&self, digest: &Digest) -> bool {
        self.covers(digest, ChildKind::Manifest)
    }

    /// Whether an admitted manifest names it, or is it.
    fn covers(&self, child: &Digest, kind: ChildKind) -> bool {
        let kept = self.gate.derivations.parent_of(self.repository, child, kind);
        kept.is_some_and(|kept| {
            kept.derivation.generation() == self.policy.generation()
                && kept.epoch == self.epoch
                && kept.keys_end_at > self.now
                && !self.policy.denies(kept.derivation.root())
        })
    }
}

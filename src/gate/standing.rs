//! What is known of an image that is on the node already: from memory and from the state directory, never from the network.

use std::time::Instant;

use jiff::Timestamp;

use super::Gate;
use super::memory::EvidenceKey;
use crate::oci::{ChildKind, Digest, Repository};
use crate::policy::{Default, Mode, Requirement, Ruling};

/// What the policy of now says of a manifest, as far as that is known without asking anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may run: its rule wants nothing that could be missing, or it was admitted under this policy.
    Admitted,
    /// It may not.
    Refused,
    /// It was not judged under this policy, or what was found out is no longer kept.
    Unknown,
}

impl Gate {
    /// What is known of this manifest. One that was admitted under the policy of now stands until a key of its rule ends
    /// or [`Gate::clear`] is called, `[cache] positive` or not: it is here, and was looked at when it came.
    #[must_use]
    pub fn standing(&self, repository: &Repository, digest: &Digest) -> Standing {
        let settings = self.settings();
        let policy = &settings.policy;
        if policy.denies(digest) {
            return Standing::Refused;
        }
        let signed = match policy.ruling(repository, None) {
            Ruling::Default(Default::InsecureAcceptAnything) => return Standing::Admitted,
            Ruling::Default(Default::Reject) => return Standing::Refused,
            Ruling::Rule(rule) if rule.mode == Mode::Warn => return Standing::Admitted,
            Ruling::Rule(rule) => rule,
        };
        let signed = match &signed.requirement {
            Requirement::InsecureAcceptAnything => return Standing::Admitted,
            Requirement::Reject => return Standing::Refused,
            Requirement::Digest(digests) if digests.contains(digest) => return Standing::Admitted,
            // A manifest of an index that is listed: as far as it was admitted.
            Requirement::Digest(_) => None,
            Requirement::Signed(signed) => Some(signed),
        };
        let (now, generation, epoch) = (Timestamp::now(), policy.generation(), self.permits.epoch());
        let key = EvidenceKey {
            repository: repository.clone(),
            digest: *digest,
            generation,
            epoch,
            rule: None,
        };
        if let Some(signed) = signed
            && let Some(remembered) = self.evidence.get(&key)
            && remembered.until > Instant::now()
            && remembered.evidence.signers(now).len() >= signed.threshold.get()
        {
            return Standing::Admitted;
        }
        match self.permits.covering(repository, digest, ChildKind::Manifest) {
            Some(kept)
                if kept.cover.generation() == generation
                    && kept.epoch == epoch
                    && kept.ends_at > now
                    && !policy.denies(kept.cover.root()) =>
            {
                Standing::Admitted
            }
            Some(_) | None => Standing::Unknown,
        }
    }
}

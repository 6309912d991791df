//! Remembering an evaluation, so that the next pull of the image needs no request.

use jiff::Timestamp;

use super::{Gate, GateSettings};
use crate::oci::ChildKind;
use crate::pull::decide::{Evaluation, Verdict};
use crate::pull::derivations::{Derivation, Expiry, after};
use crate::pull::evidence::EvidenceKey;
use crate::pull::request::PullContext;

impl Gate {
    /// Remembers the evidence and, of an admitted manifest, the derivations.
    pub(super) fn remember(&self, pull: PullContext<'_>, settings: &GateSettings, evaluation: &Evaluation) {
        self.remember_evidence(pull, settings, evaluation);
        let Verdict::Allow(permit) = &evaluation.verdict else {
            return;
        };
        if !pull.is_cacheable() {
            return;
        }
        let digest = *permit.subject().digest();
        // A manifest that is derived itself is admitted for as long as its root, from the evaluation of the root on.
        let parent = evaluation.root.and_then(|_| {
            self.derivations
                .parent_of(pull.repository(), &digest, ChildKind::Manifest)
        });
        let limit = parent.map_or_else(|| evidence_limit(evaluation), |parent| parent.expires_at);
        let root = evaluation.root.unwrap_or(digest);
        let derivations = permit.derivations(root, pull.policy.generation());
        self.remember_derivations(pull, settings, derivations, limit);
    }

    /// Remembers evidence that was found just now, for as long as the verdict to which it led is valid. A source that
    /// failed is queried again at once: an outage must not be remembered as a denial.
    pub(super) fn remember_evidence(
        &self,
        pull: PullContext<'_>,
        settings: &GateSettings,
        evaluation: &Evaluation,
    ) {
        let (Some(evidence), Some(digest)) = (&evaluation.evidence, evaluation.digest()) else {
            return;
        };
        let ttl = if evaluation.is_satisfied() {
            settings.positive_ttl
        } else if evidence.failures().is_empty() && !evidence.stopped_early() {
            settings.negative_ttl
        } else {
            return;
        };
        if !evaluation.cached && !ttl.is_zero() {
            self.evidence
                .remember(EvidenceKey::new(pull, digest), evidence, ttl);
        }
    }

    /// Remembers derivations until `limit` at most. A derivation expires with the first key of its rule.
    pub(super) fn remember_derivations(
        &self,
        pull: PullContext<'_>,
        settings: &GateSettings,
        derivations: impl Iterator<Item = Derivation>,
        limit: Timestamp,
    ) {
        let now = Timestamp::now();
        let authorities = pull
            .rule
            .signed()
            .into_iter()
            .flat_map(|(_, signed)| &signed.authorities);
        let key_ends = authorities.filter_map(|authority| authority.facts().validity().not_after);
        let expiry = Expiry::new(now, settings.positive_ttl, limit, key_ends);
        self.derivations.remember(derivations, now, expiry, pull.epoch);
    }
}

/// Returns the time at which remembered evidence expires. Evidence that was found just now sets no limit.
pub(super) fn evidence_limit(evaluation: &Evaluation) -> Timestamp {
    evaluation
        .evidence_ttl
        .map_or(Timestamp::MAX, |ttl| after(Timestamp::now(), ttl))
}

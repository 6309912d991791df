//! The decision. Only this module makes a [`Permit`].

mod denial;
mod evaluation;
mod steps;
mod permit;
mod primary_failure;

use std::sync::Arc;

pub use denial::Denial;
pub use evaluation::{Evaluation, Stage, Verdict};
use jiff::Timestamp;
pub use permit::Permit;
use primary_failure::primary_failure;
pub use steps::{ExplainStep, explain};

use crate::base::error_chain::chain;
use crate::base::reason::Reason;
use crate::oci::{Blob, ChildKind, Digest};
use crate::pull::derivations::Derivation;
use crate::pull::evidence::Evidence;
use crate::pull::policy::{DefaultAction, EffectiveRule, Requirement};
use crate::pull::request::PullContext;
use crate::pull::resolve::{ResolveError, Subject};

impl PullContext<'_> {
    /// Checks everything that can deny a pull before a request: denied digests, rejecting rules, no rule. A registry that
    /// no rule names is therefore never contacted.
    ///
    /// # Errors
    /// Returns the denial, unless it comes from a rule that only warns.
    pub(crate) fn check_rules(self) -> Result<(), Box<Denial>> {
        if let Some(digest) = self.request.reference.digest {
            self.check_deny_list(&digest)?;
        }
        match self.check_rule() {
            Err(_denial) if self.rule.only_warns() => Ok(()),
            checked => checked,
        }
    }

    /// Checks a digest against the deny list, which no `mode = "warn"` overrides.
    ///
    /// # Errors
    /// Returns the denial.
    pub(crate) fn check_deny_list(self, digest: &Digest) -> Result<(), Box<Denial>> {
        if self.policy.denies(digest) {
            return Err(self.denied_digest(*digest));
        }
        Ok(())
    }

    /// Decides on a manifest that is not derived from another. `evidence` is needed where the rule requires signatures.
    #[must_use]
    pub(crate) fn decide(
        self,
        subject: Arc<Subject>,
        evidence: Option<&Evidence>,
        now: Timestamp,
    ) -> Verdict {
        if let Err(denial) = self.check_content(&subject.manifest) {
            return Verdict::Deny(denial);
        }
        match self.check_requirement(&subject, evidence, now) {
            Ok(()) => Verdict::Allow(Permit::new(subject, None)),
            Err(denial) if self.rule.only_warns() => Verdict::Allow(Permit::new(subject, Some(denial))),
            Err(denial) => Verdict::Deny(denial),
        }
    }

    /// Decides on a manifest that an admitted manifest names by its digest: the signature over the root covers it.
    #[must_use]
    pub(crate) fn decide_derived(self, subject: Arc<Subject>, derivation: &Derivation) -> Verdict {
        let is_derived = derivation.child() == subject.digest()
            && derivation.kind() == ChildKind::Manifest
            && *derivation.repository() == subject.repository;
        let checked = self
            .check_content(&subject.manifest)
            .and_then(|()| self.check_deny_list(derivation.root()));
        match checked {
            Ok(()) if is_derived => Verdict::Allow(Permit::new(subject, None)),
            Ok(()) => Verdict::Deny(self.not_derived(subject.digest())),
            Err(denial) => Verdict::Deny(denial),
        }
    }

    /// Makes the denial of a reference that leads to no usable manifest.
    #[must_use]
    pub(crate) fn unresolved(self, error: &ResolveError) -> Box<Denial> {
        match error {
            ResolveError::Manifest { digest, .. } | ResolveError::NotAsDescribed { digest, .. } => {
                Denial::new(self, Reason::Malformed, Some(*digest), chain(error))
            }
            ResolveError::Registry(cause) => Denial::from_registry(self, cause, None, chain(error)),
        }
    }

    /// Makes the denial of content that no admitted manifest names.
    #[must_use]
    pub(crate) fn not_derived(self, digest: &Digest) -> Box<Denial> {
        let detail = "it does not belong to any admitted image of this repository";
        Denial::new(self, Reason::NotDerived, Some(*digest), detail)
    }

    /// Checks the rules that deny without any knowledge of the image.
    fn check_rule(self) -> Result<(), Box<Denial>> {
        let (reason, detail) = match self.rule {
            EffectiveRule::Default(DefaultAction::InsecureAcceptAnything) => return Ok(()),
            EffectiveRule::Default(DefaultAction::Reject) => (
                Reason::NoRule,
                "no rule applies to this image, and the default is to reject",
            ),
            EffectiveRule::Rule(rule) => match rule.requirement {
                Requirement::Reject => (
                    Reason::RejectedByRule,
                    "the rule rejects every image in its scope",
                ),
                Requirement::Digest(_) | Requirement::InsecureAcceptAnything | Requirement::Signed(_) => {
                    return Ok(());
                }
            },
        };
        Err(Denial::new(self, reason, None, detail))
    }

    /// Checks content against the deny list, by each digest that it has.
    fn check_content(self, manifest: &Blob) -> Result<(), Box<Denial>> {
        self.policy
            .denied_digest_of(manifest.bytes())
            .map_or(Ok(()), |digest| Err(self.denied_digest(digest)))
    }

    fn denied_digest(self, digest: Digest) -> Box<Denial> {
        let detail = "the digest is on this node's deny list";
        Denial::new(self, Reason::DigestDenied, Some(digest), detail)
    }

    fn check_requirement(
        self,
        subject: &Subject,
        evidence: Option<&Evidence>,
        now: Timestamp,
    ) -> Result<(), Box<Denial>> {
        let digest = subject.digest();
        let rule = match self.rule {
            EffectiveRule::Default(_) => return self.check_rule(),
            EffectiveRule::Rule(rule) => rule,
        };
        match &rule.requirement {
            Requirement::InsecureAcceptAnything => Ok(()),
            Requirement::Reject => self.check_rule(),
            Requirement::Digest(digests) if digests.contains(digest) => Ok(()),
            Requirement::Digest(digests) => {
                let detail = format!(
                    "the digest is not one of the {} digests that the rule lists",
                    digests.len()
                );
                Err(Denial::new(self, Reason::RejectedByRule, Some(*digest), detail))
            }
            Requirement::Signed(signed) => {
                let nothing = Evidence::default();
                let evidence = evidence.unwrap_or(&nothing);
                let (signers, threshold) = (evidence.signers(now).len(), signed.threshold.get());
                if signers >= threshold {
                    return Ok(());
                }
                let (reason, detail) = primary_failure(evidence, signers, threshold, now);
                Err(Denial::new(self, reason, Some(*digest), detail))
            }
        }
    }
}

#[cfg(test)]
mod tests;

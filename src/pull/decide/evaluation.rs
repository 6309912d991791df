//! The result of one pull.

use std::sync::Arc;
use std::time::Duration;

use super::{Denial, Permit};
use crate::oci::Digest;
use crate::pull::evidence::Evidence;
use crate::pull::request::PullContext;
use crate::pull::verify::CheckedSignature;

/// The gate's answer.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The pull goes through.
    Allow(Permit),
    /// The pull is blocked.
    Deny(Box<Denial>),
}

/// The stage at which a pull ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The rules alone denied the pull, without a request to a registry.
    Policy,
    /// The registry returned no usable manifest.
    Resolve,
    /// The manifest was resolved, and the rule decided.
    Decide,
    /// The deadline passed, or the gate itself failed, at some stage.
    Interrupted,
}

/// A verdict, with everything that led to it.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The verdict.
    pub verdict: Verdict,
    /// The name of the rule that applied, or `default`.
    pub rule: String,
    /// The stage at which the pull ended.
    pub stage: Stage,
    /// The signatures that were found, where the rule requires signatures and a search took place.
    pub evidence: Option<Arc<Evidence>>,
    /// Whether an earlier pull found the evidence, or admitted the root.
    pub cached: bool,
    /// How long the evidence is remembered from now on, where it is `cached`.
    pub evidence_ttl: Option<Duration>,
    /// The manifest that was evaluated by itself, where this one is derived from it.
    pub root: Option<Digest>,
}

impl Evaluation {
    /// Makes an evaluation without evidence.
    pub(crate) fn new(pull: PullContext<'_>, stage: Stage, verdict: Verdict) -> Self {
        Self {
            verdict,
            rule: pull.rule.name().to_owned(),
            stage,
            evidence: None,
            cached: false,
            evidence_ttl: None,
            root: None,
        }
    }

    /// Makes an evaluation that ended with a denial at this stage.
    pub(crate) fn denied(pull: PullContext<'_>, stage: Stage, denial: Box<Denial>) -> Self {
        Self::new(pull, stage, Verdict::Deny(denial))
    }

    /// Returns every record that was verified (at most [`crate::base::limits::CANDIDATES`] of each source).
    #[must_use]
    pub fn signatures(&self) -> &[CheckedSignature] {
        self.evidence
            .as_deref()
            .map_or(&[], |evidence| evidence.checked())
    }

    /// Returns the digest that was evaluated, if it is known.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        match &self.verdict {
            Verdict::Allow(permit) => Some(permit.subject().digest()),
            Verdict::Deny(denial) => denial.digest.as_ref(),
        }
    }

    /// Returns whether the rule is satisfied. A permit with a warning does not satisfy it.
    #[must_use]
    pub fn is_satisfied(&self) -> bool {
        matches!(&self.verdict, Verdict::Allow(permit) if permit.warning().is_none())
    }
}

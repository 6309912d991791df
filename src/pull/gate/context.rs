//! One pull on its way, and the floor under it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use jiff::Timestamp;

use super::memory::EvidenceKey;
use super::{CachedEvidence, GateSettings, PullRequest, Purpose};
use crate::base::reason::Reason;
use crate::net::registry::Access;
use crate::oci::Digest;
use crate::pull::decide::{Denial, Evaluation, PullContext, Verdict};
use crate::pull::derivations::StoredDerivation;
use crate::pull::policy::{DefaultAction, EffectiveRule, Requirement, Rule, Signed};
use crate::pull::resolve::Subject;

/// One pull on its way: what it asks, and the settings it began with.
#[derive(Clone, Copy)]
pub(super) struct Pull<'a> {
    pub(super) settings: &'a GateSettings,
    pub(super) ruling: &'a EffectiveRule,
    pub(super) request: &'a PullRequest,
    pub(super) epoch: u64,
}

impl<'a> Pull<'a> {
    pub(super) fn case(self) -> PullContext<'a> {
        PullContext {
            reference: &self.request.reference,
            policy: &self.settings.policy,
            ruling: self.ruling,
        }
    }

    /// What can be said before anything is asked, unless the rule only warns of it.
    pub(super) fn before_asking(self) -> Result<(), Box<Denial>> {
        let case = self.case();
        case.check_rules().or_else(|denial| {
            if case.warns() && denial.reason != Reason::DigestDenied {
                Ok(())
            } else {
                Err(denial)
            }
        })
    }

    pub(super) fn access(self) -> Access {
        Access {
            presented: self.request.presented.clone(),
            deadline: self.request.deadline,
        }
    }

    pub(super) fn signed(self) -> Option<(&'a Arc<Rule>, &'a Signed)> {
        match self.ruling {
            EffectiveRule::Rule(rule) => match &rule.requirement {
                Requirement::Signed(signed) => Some((rule, signed)),
                Requirement::Digest(_) | Requirement::InsecureAcceptAnything | Requirement::Reject => None,
            },
            EffectiveRule::Default(_) => None,
        }
    }

    pub(super) fn accepts_anything(self) -> bool {
        match self.ruling {
            EffectiveRule::Rule(rule) => matches!(rule.requirement, Requirement::InsecureAcceptAnything),
            EffectiveRule::Default(default) => *default == DefaultAction::InsecureAcceptAnything,
        }
    }

    pub(super) fn stands(self, kept: &StoredDerivation) -> bool {
        kept.derivation.generation() == self.settings.policy.generation()
            && kept.epoch == self.epoch
            && kept.expires_at > Timestamp::now()
    }

    pub(super) fn evidence_key(self, digest: &Digest) -> EvidenceKey {
        EvidenceKey {
            repository: self.request.reference.repository.clone(),
            digest: *digest,
            generation: self.settings.policy.generation(),
            epoch: self.epoch,
            rule: self.ruling.pod_rule_name().map(Arc::from),
        }
    }

    /// Whether what is permitted is kept for pulls to come.
    pub(super) fn is_cacheable(self) -> bool {
        !self.accepts_anything() && self.ruling.pod_rule_name().is_none()
    }

    /// Whether the subject is what the asker was told of it. The digest alone does not say how it is read.
    pub(super) fn as_described(self, subject: &Subject) -> Result<(), Box<Denial>> {
        let Purpose::VerdictOnly(Some(described)) = &self.request.purpose else {
            return Ok(());
        };
        let media_type = subject.document.media_type().as_str();
        let size = u64::try_from(subject.manifest.bytes().len()).unwrap_or(u64::MAX);
        let detail = if described.media_type != media_type {
            let told = described.media_type.escape_debug();
            format!("the asker was told that this is `{told}`, and it is `{media_type}`")
        } else if described.size != size {
            format!(
                "the asker was told of {} bytes, and the manifest has {size}",
                described.size
            )
        } else {
            return Ok(());
        };
        Err(self
            .case()
            .denial(Reason::Malformed, Some(*subject.digest()), detail))
    }

    pub(super) fn judged(self, verdict: Verdict, gathered: Option<&CachedEvidence>) -> Evaluation {
        Evaluation {
            verdict,
            rule: self.ruling.name().to_owned(),
            evidence: gathered.map(|it| Arc::clone(&it.evidence)),
            cached: gathered.is_some_and(|it| it.left.is_some()),
            evidence_ttl: gathered.and_then(|it| it.left),
            root: None,
        }
    }

    pub(super) fn denied(self, denial: Box<Denial>) -> Evaluation {
        self.judged(Verdict::Deny(denial), None)
    }

    /// Runs the stages with the pull's deadline and with a floor under them: late or crashed is denied.
    pub(super) async fn run_guarded(self, stages: impl Future<Output = Evaluation>) -> Evaluation {
        let stages = AssertUnwindSafe(stages).catch_unwind();
        match tokio::time::timeout_at(self.request.deadline.into(), stages).await {
            Ok(Ok(judgement)) => judgement,
            Ok(Err(_panic)) => self.denied(self.crashed()),
            Err(_elapsed) => self.denied(self.late()),
        }
    }

    pub(super) fn crashed(self) -> Box<Denial> {
        let detail = "pullgate itself failed on this pull; the log says where".to_owned();
        self.case().denial(Reason::InternalError, None, detail)
    }

    pub(super) fn late(self) -> Box<Denial> {
        let detail = "no verdict before the pull's deadline".to_owned();
        self.case().denial(Reason::DeadlineExceeded, None, detail)
    }
}

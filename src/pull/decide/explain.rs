//! How a judgement came about, step by step, for people.

use super::{Evaluation, Verdict};
use crate::base::error_chain::chain;
use crate::base::reason::Reason;
use crate::oci::{Digest, Document};
use crate::pull::policy::{DefaultAction, EffectiveRule, Mode, Requirement, Rule, Signed};
use crate::pull::verify::{CheckedSignature, Evidence};

/// One stage of the way of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainStep {
    /// `policy`, `resolve`, `find`, `verify` or `decide`.
    pub stage: &'static str,
    /// What came of it.
    pub text: String,
    /// Whether the way went on from here.
    pub passed: bool,
}

/// The steps of a judgement that this ruling led to.
#[must_use]
pub fn explain(judgement: &Evaluation, ruling: &EffectiveRule) -> Vec<ExplainStep> {
    let mut steps = vec![ExplainStep {
        stage: "policy",
        text: of_policy(ruling),
        passed: !spoke_before_asking(judgement),
    }];
    match &judgement.verdict {
        Verdict::Allow(permit) => {
            let text = of_document(permit.subject().digest(), permit.document());
            steps.push(passed("resolve", text));
        }
        Verdict::Deny(denial) => match denial.digest {
            Some(digest) if !spoke_before_asking(judgement) => {
                steps.push(passed("resolve", digest.to_string()));
            }
            Some(_) => {}
            None if spoke_before_asking(judgement) => {}
            None => steps.push(failed("resolve", denial.detail.clone())),
        },
    }
    if let Some(root) = judgement.root {
        steps.push(passed(
            "verify",
            format!("covered by {root}, which was judged by itself"),
        ));
    }
    if let Some(evidence) = &judgement.evidence {
        of_evidence(evidence, judgement.cached, &mut steps);
    }
    steps.push(of_verdict(&judgement.verdict));
    steps
}

fn passed(stage: &'static str, text: String) -> ExplainStep {
    ExplainStep {
        stage,
        text,
        passed: true,
    }
}

fn failed(stage: &'static str, text: String) -> ExplainStep {
    ExplainStep {
        stage,
        text,
        passed: false,
    }
}

/// Whether the rules alone said no: then nothing was asked.
fn spoke_before_asking(judgement: &Evaluation) -> bool {
    match &judgement.verdict {
        Verdict::Allow(_) => false,
        Verdict::Deny(denial) => {
            denial.reason == Reason::NoRule
                // A digest that is none of those that the rule lists is known; of a rule that rejects all, none is.
                || denial.reason == Reason::RejectedByRule && denial.digest.is_none()
                || denial.reason == Reason::DigestDenied && denial.digest == denial.reference.digest
        }
    }
}

fn of_policy(ruling: &EffectiveRule) -> String {
    match ruling {
        EffectiveRule::Default(DefaultAction::Reject) => {
            "no rule covers it, and the default rejects".to_owned()
        }
        EffectiveRule::Default(DefaultAction::InsecureAcceptAnything) => {
            "no rule covers it, and the default accepts anything".to_owned()
        }
        EffectiveRule::Rule(rule) => {
            let warns = match rule.mode {
                Mode::Enforce => "",
                Mode::Warn => "; failures are only recorded",
            };
            format!("the rule {} {}{warns}", rule.scope.as_str(), of_requirement(rule))
        }
    }
}

fn of_requirement(rule: &Rule) -> String {
    match &rule.requirement {
        Requirement::Digest(digests) => format!("wants one of {} digests", digests.len()),
        Requirement::InsecureAcceptAnything => "accepts anything".to_owned(),
        Requirement::Reject => "rejects everything".to_owned(),
        Requirement::Signed(Signed {
            keys,
            threshold,
            formats,
            ..
        }) => {
            let keys: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            let formats: Vec<&str> = formats.iter().map(|format| format.as_str()).collect();
            format!(
                "wants signatures by {threshold} of the keys {} (formats: {})",
                keys.join(", "),
                formats.join(", ")
            )
        }
    }
}

fn of_document(digest: &Digest, document: &Document) -> String {
    match document {
        Document::Image(_) => format!("{digest}, a manifest"),
        Document::Index(index) => format!("{digest}, an index of {} manifests", index.manifests.len()),
    }
}

fn of_evidence(evidence: &Evidence, cached: bool, steps: &mut Vec<ExplainStep>) {
    let places: Vec<&str> = evidence.asked.iter().map(|source| source.as_str()).collect();
    let remembered = if cached {
        ", remembered from an earlier pull"
    } else {
        ""
    };
    let found = evidence.judged.len();
    let places = places.join(", ");
    steps.push(passed("find", format!("{found} records in {places}{remembered}")));
    for trouble in evidence.troubles.iter() {
        let text = format!("{}: {}", trouble.source.as_str(), chain(&trouble.error));
        steps.push(failed("find", text));
    }
    steps.extend(evidence.judged.iter().map(of_judged));
}

fn of_judged(judged: &CheckedSignature) -> ExplainStep {
    let record = format!("{} {}", judged.source.as_str(), judged.locator);
    match &judged.outcome {
        Ok(verified) => {
            let key = &verified.claim().signed_by.name;
            passed("verify", format!("{record}: signed by the key {key}"))
        }
        Err(error) => failed(
            "verify",
            format!("{record}: {}: {}", error.reason(), chain(error)),
        ),
    }
}

fn of_verdict(verdict: &Verdict) -> ExplainStep {
    match verdict {
        Verdict::Allow(permit) => match permit.warning() {
            None => passed("decide", "allow".to_owned()),
            Some(denial) => passed("decide", format!("allow, with a warning: {denial}")),
        },
        Verdict::Deny(denial) => failed("decide", format!("deny: {denial}")),
    }
}

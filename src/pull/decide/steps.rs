//! The steps of an evaluation, as text for people.

use super::{Evaluation, Stage, Verdict};
use crate::base::error_chain::chain;
use crate::oci::{Digest, Document};
use crate::pull::evidence::Evidence;
use crate::pull::policy::{DefaultAction, EffectiveRule, Mode, Requirement, Rule, Signed};
use crate::pull::verify::CheckedSignature;

/// One step of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainStep {
    /// `policy`, `resolve`, `find`, `verify` or `decide`.
    pub stage: &'static str,
    /// The result of the step.
    pub text: String,
    /// Whether the pull went on after this step.
    pub passed: bool,
}

/// Returns the steps that led to an evaluation under this rule.
#[must_use]
pub fn explain(evaluation: &Evaluation, rule: &EffectiveRule) -> Vec<ExplainStep> {
    let mut steps = vec![ExplainStep {
        stage: "policy",
        text: describe_effective_rule(rule),
        passed: evaluation.stage != Stage::Policy,
    }];
    match evaluation.stage {
        Stage::Policy | Stage::Interrupted => {}
        Stage::Resolve => steps.extend(explain_unresolved(&evaluation.verdict)),
        Stage::Decide => {
            steps.extend(explain_resolved(&evaluation.verdict));
            if let Some(root) = evaluation.root {
                steps.push(passed("verify", format!("the admitted manifest {root} names it")));
            }
            if let Some(evidence) = &evaluation.evidence {
                explain_evidence(evidence, evaluation.cached, &mut steps);
            }
        }
    }
    steps.push(explain_verdict(&evaluation.verdict));
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

fn describe_effective_rule(rule: &EffectiveRule) -> String {
    match rule {
        EffectiveRule::Default(DefaultAction::Reject) => {
            "no rule applies, and the default is to reject".to_owned()
        }
        EffectiveRule::Default(DefaultAction::InsecureAcceptAnything) => {
            "no rule applies, and the default is to accept anything".to_owned()
        }
        EffectiveRule::Rule(rule) => {
            let mode = match rule.mode {
                Mode::Enforce => "",
                Mode::Warn => "; failures are only recorded",
            };
            format!("the rule {} {}{mode}", rule.name, describe_requirement(rule))
        }
    }
}

fn describe_requirement(rule: &Rule) -> String {
    match &rule.requirement {
        Requirement::Digest(digests) => format!("requires one of {} digests", digests.len()),
        Requirement::InsecureAcceptAnything => "accepts anything".to_owned(),
        Requirement::Reject => "rejects everything".to_owned(),
        Requirement::Signed(Signed {
            authorities,
            threshold,
            formats,
            ..
        }) => {
            let names: Vec<&str> = authorities
                .iter()
                .map(|authority| authority.facts().name())
                .collect();
            let formats: Vec<&str> = formats.iter().map(|format| format.as_str()).collect();
            format!(
                "requires signatures by {threshold} of the keys {} (formats: {})",
                names.join(", "),
                formats.join(", ")
            )
        }
    }
}

fn explain_unresolved(verdict: &Verdict) -> Option<ExplainStep> {
    match verdict {
        Verdict::Allow(_) => None,
        Verdict::Deny(denial) => Some(failed("resolve", denial.detail.clone())),
    }
}

fn explain_resolved(verdict: &Verdict) -> Option<ExplainStep> {
    let text = match verdict {
        Verdict::Allow(permit) => describe_document(permit.subject().digest(), permit.document()),
        Verdict::Deny(denial) => denial.digest?.to_string(),
    };
    Some(passed("resolve", text))
}

fn describe_document(digest: &Digest, document: &Document) -> String {
    match document {
        Document::Image(_) => format!("{digest}, a manifest"),
        Document::Index(index) => format!("{digest}, an index of {} manifests", index.manifests.len()),
    }
}

fn explain_evidence(evidence: &Evidence, cached: bool, steps: &mut Vec<ExplainStep>) {
    let sources: Vec<&str> = evidence
        .queried_sources()
        .iter()
        .map(|source| source.as_str())
        .collect();
    let origin = if cached {
        ", remembered from an earlier pull"
    } else {
        ""
    };
    let found = evidence.checked().len();
    let sources = sources.join(", ");
    steps.push(passed("find", format!("{found} records in {sources}{origin}")));
    for failure in evidence.failures().iter() {
        let text = format!("{}: {}", failure.source.as_str(), chain(&failure.error));
        steps.push(failed("find", text));
    }
    steps.extend(evidence.checked().iter().map(explain_signature));
}

fn explain_signature(checked: &CheckedSignature) -> ExplainStep {
    let record = format!("{} {}", checked.source.as_str(), checked.locator);
    match &checked.outcome {
        Ok(verified) => {
            let key = verified.claim().signer.name();
            passed("verify", format!("{record}: signed by the key {key}"))
        }
        Err(error) => failed(
            "verify",
            format!("{record}: {}: {}", error.reason(), chain(error)),
        ),
    }
}

fn explain_verdict(verdict: &Verdict) -> ExplainStep {
    match verdict {
        Verdict::Allow(permit) => match permit.warning() {
            None => passed("decide", "allow".to_owned()),
            Some(denial) => passed("decide", format!("allow, with a warning: {denial}")),
        },
        Verdict::Deny(denial) => failed("decide", format!("deny: {denial}")),
    }
}

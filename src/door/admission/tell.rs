//! Turns decisions of the gate into messages of the API.

use crate::base::error_chain::chain;
use crate::base::proto::v1;
use crate::oci::{Descriptor, Document};
use crate::pull::decide::{Denial, Evaluation, ExplainStep, Verdict};
use crate::pull::policy::Generation;
use crate::pull::record::{DecisionOutcome, RecordedDecision};
use crate::pull::verify::CheckedSignature;

/// Returns the verdict of an evaluation.
pub(crate) fn verdict(evaluation: &Evaluation, generation: Generation) -> v1::Verdict {
    let (outcome, found): (_, Option<&Denial>) = match &evaluation.verdict {
        Verdict::Allow(permit) => match permit.warning() {
            None => (v1::Outcome::Allow, None),
            Some(denial) => (v1::Outcome::Warn, Some(denial)),
        },
        Verdict::Deny(denial) => (v1::Outcome::Deny, Some(denial)),
    };
    let text = |of: &dyn Fn(&Denial) -> String| found.map(of).unwrap_or_default();
    v1::Verdict {
        outcome: outcome.into(),
        reason: text(&|denial| denial.reason.code().to_owned()),
        text: text(&ToString::to_string),
        detail: text(&|denial| denial.detail.clone()),
        next_step: text(&|denial| denial.reason.next_step().to_owned()),
        retryable: found.is_some_and(|denial| denial.reason.retryable()),
        rule: evaluation.rule.clone(),
        digest: evaluation.digest().map(ToString::to_string).unwrap_or_default(),
        root: evaluation.root.map(|root| root.to_string()).unwrap_or_default(),
        signatures: evaluation.signatures().iter().map(signature).collect(),
        generation: generation.to_string(),
        cached: evaluation.cached,
    }
}

pub(crate) fn signature(checked: &CheckedSignature) -> v1::Signature {
    let (key, reason, detail) = match &checked.outcome {
        Ok(verified) => (
            verified.claim().signer.name().to_owned(),
            String::new(),
            String::new(),
        ),
        Err(error) => (
            error.key().unwrap_or_default().to_owned(),
            error.reason().code().to_owned(),
            chain(error),
        ),
    };
    v1::Signature {
        source: checked.source.as_str().to_owned(),
        format: checked.format.as_str().to_owned(),
        id: checked.locator.to_string(),
        key,
        reason,
        detail,
    }
}

pub(crate) fn step(step: ExplainStep) -> v1::Step {
    v1::Step {
        stage: step.stage.to_owned(),
        text: step.text,
        passed: step.passed,
    }
}

/// Returns the first manifest of an admitted index for this platform.
pub(super) fn manifest_for(evaluation: &Evaluation, wanted: &v1::Platform) -> Option<v1::Descriptor> {
    let Verdict::Allow(permit) = &evaluation.verdict else {
        return None;
    };
    let Document::Index(index) = permit.document() else {
        return None;
    };
    let fits = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_some_and(|platform| {
            platform.os == wanted.os
                && platform.architecture == wanted.architecture
                && (wanted.variant.is_empty() || platform.variant.as_ref() == Some(&wanted.variant))
        })
    };
    index
        .manifests
        .iter()
        .find(fits)
        .map(|descriptor| v1::Descriptor {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.to_string(),
            size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        })
}

/// Returns a recorded decision.
pub(crate) fn decision(recorded: &RecordedDecision) -> v1::Decision {
    let (outcome, reason) = match recorded.outcome {
        DecisionOutcome::Allow => (v1::Outcome::Allow, ""),
        DecisionOutcome::Deny(reason) => (v1::Outcome::Deny, reason.code()),
        DecisionOutcome::Warn(reason) => (v1::Outcome::Warn, reason.code()),
    };
    v1::Decision {
        sequence: recorded.sequence,
        time: Some(timestamp(recorded.time)),
        door: recorded.door.as_str().to_owned(),
        peer: recorded.peer.clone(),
        reference: recorded.reference.clone(),
        digest: recorded
            .digest
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
        rule: recorded.rule.clone(),
        outcome: outcome.into(),
        reason: reason.to_owned(),
        detail: recorded.detail.clone(),
        cached: recorded.cached,
        took: prost_types::Duration::try_from(recorded.elapsed).ok(),
    }
}

pub(super) fn event(recorded: &RecordedDecision) -> v1::WatchDecisionsResponse {
    v1::WatchDecisionsResponse {
        event: Some(v1::watch_decisions_response::Event::Decision(decision(recorded))),
    }
}

pub(super) const fn missed(missed: u64) -> v1::WatchDecisionsResponse {
    v1::WatchDecisionsResponse {
        event: Some(v1::watch_decisions_response::Event::Missed(missed)),
    }
}

pub(crate) fn timestamp(time: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

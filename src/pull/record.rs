//! The record of decisions: one function writes the journal line and the counters, so that they cannot disagree.

mod feed;
mod label;
mod request_metrics;

use std::sync::Arc;
use std::time::Duration;

use feed::Feed;
pub use feed::{DecisionFeed, FeedEvent, MAX_RECORDED_DECISIONS, RecordedDecision};
use label::Label;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
pub use request_metrics::RequestMetrics;

use crate::base::reason::Reason;
use crate::oci::{Digest, Reference};
use crate::pull::decide::{Denial, Evaluation, Verdict};
use crate::pull::request::{DoorName, PullRequest};

/// One decision, as it is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The door that asked.
    pub door: DoorName,
    /// The client.
    pub peer: &'a str,
    /// The image as the client named it.
    pub reference: &'a Reference,
    /// The digest that was evaluated, if it is known.
    pub digest: Option<&'a Digest>,
    /// The name of the rule that applied, or `default`.
    pub rule: &'a str,
    /// The answer.
    pub outcome: DecisionOutcome,
    /// The cause in a clause; empty for an allowed pull.
    pub detail: &'a str,
    /// Whether the evidence was remembered from an earlier pull.
    pub cached: bool,
    /// The time from the request to the answer.
    pub elapsed: Duration,
}

/// The answer to a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecisionOutcome {
    /// The pull went through.
    Allow,
    /// It was blocked.
    Deny(Reason),
    /// It went through, and would have been blocked had its rule not said `mode = "warn"`.
    Warn(Reason),
}

impl DecisionOutcome {
    /// Returns `allow`, `deny` or `warn`.
    #[must_use]
    pub const fn verdict(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
            Self::Warn(_) => "warn",
        }
    }

    /// Returns the code of the reason, or `none`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Allow => "none",
            Self::Deny(reason) | Self::Warn(reason) => reason.code(),
        }
    }
}

impl<'a> Decision<'a> {
    /// Returns the decision of an evaluation.
    #[must_use]
    pub fn from_evaluation(evaluation: &'a Evaluation, request: &'a PullRequest, elapsed: Duration) -> Self {
        let (outcome, detail) = match &evaluation.verdict {
            Verdict::Allow(permit) => permit
                .warning()
                .map_or((DecisionOutcome::Allow, ""), |warning: &Denial| {
                    (DecisionOutcome::Warn(warning.reason), warning.detail.as_str())
                }),
            Verdict::Deny(denial) => (DecisionOutcome::Deny(denial.reason), denial.detail.as_str()),
        };
        Self {
            door: request.door,
            peer: &request.peer,
            reference: &request.reference,
            digest: evaluation.digest(),
            rule: &evaluation.rule,
            outcome,
            detail,
            cached: evaluation.cached,
            elapsed,
        }
    }
}

/// Counts and writes decisions. Labels come from closed lists alone, never from an image, a key or a message, so that a
/// client cannot grow the metrics.
#[derive(Debug)]
pub struct Recorder {
    pulls: Family<PullLabels, Counter>,
    durations: Family<DurationLabels, Histogram>,
    blobs: Family<PullLabels, Counter>,
    challenges: Counter,
    feed: Feed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PullLabels {
    door: Label,
    verdict: Label,
    reason: Label,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    door: Label,
    verdict: Label,
}

impl Recorder {
    /// Makes a recorder, and registers its metrics in `registry`, below the caller's prefix.
    pub fn new(registry: &mut Registry) -> Self {
        let recorder = Self {
            pulls: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            blobs: Family::default(),
            challenges: Counter::default(),
            feed: Feed::new(),
        };
        registry.register("pulls", "Decisions on manifests", recorder.pulls.clone());
        registry.register(
            "pull_duration_seconds",
            "Time from the request to the verdict",
            recorder.durations.clone(),
        );
        registry.register("blobs", "Requests for blobs", recorder.blobs.clone());
        registry.register(
            "challenges",
            "Requests that were answered with the registry's request for credentials",
            recorder.challenges.clone(),
        );
        recorder
    }

    /// Starts the counters of a door at zero, so that its first denial is an increase and not a new series, to an alert
    /// that watches for increases. `serves_blobs` says whether blobs are counted there as well.
    pub fn count_from_zero(&self, door: DoorName, serves_blobs: bool) {
        let denials = Reason::ALL.iter().copied().map(DecisionOutcome::Deny);
        for outcome in std::iter::once(DecisionOutcome::Allow).chain(denials) {
            drop(self.pulls.get_or_create(&PullLabels::new(door, outcome)));
            if serves_blobs {
                drop(self.blobs.get_or_create(&PullLabels::new(door, outcome)));
            }
        }
    }

    /// Records the decision on a manifest.
    pub fn record_pull(&self, decision: &Decision<'_>) {
        let Decision { door, outcome, .. } = *decision;
        self.pulls.get_or_create(&PullLabels::new(door, outcome)).inc();
        let labels = DurationLabels {
            door: Label(door.as_str()),
            verdict: Label(outcome.verdict()),
        };
        self.durations
            .get_or_create(&labels)
            .observe(decision.elapsed.as_secs_f64());
        self.write(decision);
    }

    /// Records the decision on a blob. An allowed blob is only counted: the log has one line for each pull.
    pub fn record_blob(&self, decision: &Decision<'_>) {
        self.blobs
            .get_or_create(&PullLabels::new(decision.door, decision.outcome))
            .inc();
        if decision.outcome != DecisionOutcome::Allow {
            self.write(decision);
        }
    }

    /// Records that a client was asked for credentials. A client with a pull secret sends its first request without it:
    /// that is not a decision yet, and does not count as a denial.
    pub fn record_challenge(&self, decision: &Decision<'_>) {
        self.challenges.inc();
        tracing::info!(
            target: "pullgate::challenge",
            door = decision.door.as_str(),
            peer = decision.peer,
            image.r#ref = %decision.reference,
            rule = decision.rule,
            "The registry requires credentials, and the client sent none; asking the client for them: {}",
            decision.reference
        );
    }

    fn write(&self, decision: &Decision<'_>) {
        let recorded = RecordedDecision::from_decision(decision);
        recorded.write();
        self.feed.add(recorded);
    }

    /// Returns the last `most` decisions (at most [`MAX_RECORDED_DECISIONS`]) that `wanted` selects, oldest first, and a
    /// feed of all later decisions.
    pub fn watch(
        &self,
        most: usize,
        wanted: impl Fn(&RecordedDecision) -> bool,
    ) -> (Vec<Arc<RecordedDecision>>, DecisionFeed) {
        self.feed.watch(most, wanted)
    }
}

impl PullLabels {
    const fn new(door: DoorName, outcome: DecisionOutcome) -> Self {
        Self {
            door: Label(door.as_str()),
            verdict: Label(outcome.verdict()),
            reason: Label(outcome.reason()),
        }
    }
}

impl RecordedDecision {
    /// Writes the journal line. Its fields are the same for allow and deny, so that one search finds both.
    fn write(&self) {
        let digest = self
            .digest
            .map_or_else(|| "-".to_owned(), |digest| digest.to_string());
        let took = u64::try_from(self.elapsed.as_micros()).unwrap_or(u64::MAX);
        // The message holds everything, for reading the journal; the fields hold the same, for searching it.
        let message = |what: &str| match &*self.detail {
            "" => format!("{what}: {}", self.reference),
            detail => format!("{what}: {}: {}: {detail}", self.reference, self.outcome.reason()),
        };
        macro_rules! line {
            ($level:ident, $what:literal) => {
                tracing::$level!(
                    target: "pullgate::decision",
                    door = self.door.as_str(),
                    peer = &*self.peer,
                    image.r#ref = &*self.reference,
                    image.digest = &*digest,
                    rule = &*self.rule,
                    verdict = self.outcome.verdict(),
                    reason = self.outcome.reason(),
                    detail = &*self.detail,
                    cached = self.cached,
                    took_us = took,
                    "{}",
                    message($what)
                )
            };
        }
        match self.outcome {
            DecisionOutcome::Allow => line!(info, "Pull allowed"),
            DecisionOutcome::Deny(_) => line!(warn, "Pull denied"),
            DecisionOutcome::Warn(_) => line!(warn, "Pull allowed by a rule that only warns"),
        }
    }
}

/// In seconds, from a remembered verdict (well under a millisecond) to the usual deadline.
const BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

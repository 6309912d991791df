//! Each decision, written once: a journal line and the counters out of one function, so that they cannot disagree.

mod feed;

use std::sync::Arc;
use std::time::Duration;

use feed::Feed;
pub use feed::{DecisionFeed, FeedEvent, MAX_RECORDED_DECISIONS, RecordedDecision};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::base::reason::Reason;
use crate::net::oracle;
use crate::net::registry::RegistryObserver;
use crate::oci::{Digest, Reference};
use crate::pull::decide::{Denial, Evaluation, Verdict};

/// The ways in, as logs and metrics spell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DoorName {
    /// `pullgate.v1.Admission`.
    Admission,
    /// The Container Runtime Interface.
    Cri,
    /// The registry API.
    Registry,
    /// `pullgate check`.
    Tool,
}

impl DoorName {
    /// As logs and metrics spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Cri => "cri",
            Self::Registry => "registry",
            Self::Tool => "tool",
        }
    }
}

/// One decision, as it is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// Which door.
    pub door: DoorName,
    /// Who asked.
    pub peer: &'a str,
    /// The image as it was asked for.
    pub reference: &'a Reference,
    /// The digest that was judged, if it came so far.
    pub digest: Option<&'a Digest>,
    /// The rule that spoke: its scope, or `default`.
    pub rule: &'a str,
    /// What was answered.
    pub outcome: DecisionOutcome,
    /// Why, in a clause; empty where there is nothing to say.
    pub detail: &'a str,
    /// Whether who signed was remembered from an earlier pull.
    pub cached: bool,
    /// From the door to the answer.
    pub elapsed: Duration,
}

/// What was answered.
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
    /// `allow`, `deny` or `warn`.
    #[must_use]
    pub const fn verdict(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
            Self::Warn(_) => "warn",
        }
    }

    /// The code of what was found wrong; `none` where nothing was.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Allow => "none",
            Self::Deny(reason) | Self::Warn(reason) => reason.code(),
        }
    }
}

impl<'a> Decision<'a> {
    /// The decision that a judgement is.
    #[must_use]
    pub fn from_evaluation(
        judgement: &'a Evaluation,
        door: DoorName,
        peer: &'a str,
        reference: &'a Reference,
        took: Duration,
    ) -> Self {
        let (outcome, detail) = match &judgement.verdict {
            Verdict::Allow(permit) => permit
                .warning()
                .map_or((DecisionOutcome::Allow, ""), |warned: &Denial| {
                    (DecisionOutcome::Warn(warned.reason), warned.detail.as_str())
                }),
            Verdict::Deny(denial) => (DecisionOutcome::Deny(denial.reason), denial.detail.as_str()),
        };
        Self {
            door,
            peer,
            reference,
            digest: judgement.digest(),
            rule: &judgement.rule,
            outcome,
            detail,
            cached: judgement.cached,
            elapsed: took,
        }
    }
}

/// Counts and writes decisions. Labels come from closed lists alone, never from an image, a key or a message: what a
/// client sends must not grow the metrics.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Label(&'static str);

impl EncodeLabelValue for Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

impl Recorder {
    /// A recorder whose metrics stand in `registry`, below the prefix that the caller chose.
    pub fn new(registry: &mut Registry) -> Self {
        let recorder = Self {
            pulls: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            blobs: Family::default(),
            challenges: Counter::default(),
            feed: Feed::new(),
        };
        registry.register("pulls", "Manifests that were judged", recorder.pulls.clone());
        registry.register(
            "pull_duration_seconds",
            "From the door to the verdict",
            recorder.durations.clone(),
        );
        registry.register("blobs", "Blobs that were asked for", recorder.blobs.clone());
        registry.register(
            "challenges",
            "Clients that were asked for credentials, as the registry wants some",
            recorder.challenges.clone(),
        );
        // From zero on: the first denial is an increase then, for who watches for one, and not a series out of nothing.
        for outcome in std::iter::once(DecisionOutcome::Allow).chain(Reason::ALL.map(DecisionOutcome::Deny)) {
            for door in [DoorName::Admission, DoorName::Cri, DoorName::Registry] {
                drop(recorder.pulls.get_or_create(&PullLabels::new(door, outcome)));
            }
            drop(
                recorder
                    .blobs
                    .get_or_create(&PullLabels::new(DoorName::Registry, outcome)),
            );
        }
        recorder
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

    /// Records the decision on a blob. Allowed ones are counted only: one line a pull is what people read.
    pub fn record_blob(&self, decision: &Decision<'_>) {
        self.blobs
            .get_or_create(&PullLabels::new(decision.door, decision.outcome))
            .inc();
        if decision.outcome != DecisionOutcome::Allow {
            self.write(decision);
        }
    }

    /// Records that a client was asked for credentials. A client with a pull secret asks without it first: that is no
    /// decision yet, and whoever counts denials must not count it.
    pub fn record_challenge(&self, decision: &Decision<'_>) {
        self.challenges.inc();
        tracing::info!(
            target: "pullgate::challenge",
            door = decision.door.as_str(),
            peer = decision.peer,
            image.r#ref = %decision.reference,
            rule = decision.rule,
            "The registry wants credentials and the client has shown none: it is asked for them: {}",
            decision.reference
        );
    }

    fn write(&self, decision: &Decision<'_>) {
        let recorded = RecordedDecision::from_decision(decision);
        recorded.write();
        self.feed.add(recorded);
    }

    /// The last `most` decisions (at most [`KEPT`]) of those that `wanted` takes, oldest first, and all that come after
    /// them.
    pub fn watch(
        &self,
        most: usize,
        wanted: impl Fn(&RecordedDecision) -> bool,
    ) -> (Vec<Arc<RecordedDecision>>, DecisionFeed) {
        self.feed.watch(most, wanted)
    }
}

/// Counts what is asked of registries, and of Oracle's services.
#[derive(Clone, Debug, std::default::Default)]
pub struct RequestMetrics {
    registries: Family<RequestLabels, Counter>,
    oracle: Family<RequestLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: Label,
    outcome: Label,
}

impl RequestMetrics {
    /// A counter that stands in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let requests = Self::default();
        registry.register(
            "registry_requests",
            "Requests to registries",
            requests.registries.clone(),
        );
        registry.register(
            "oracle_requests",
            "Requests to Oracle's services",
            requests.oracle.clone(),
        );
        requests
    }

    /// What a client of Oracle's services tells of its requests.
    #[must_use]
    pub fn oracle_observer(&self) -> oracle::OracleObserver {
        let counts = self.oracle.clone();
        Arc::new(move |call: oracle::Call, outcome: oracle::CallOutcome| {
            let labels = RequestLabels {
                operation: Label(call.as_str()),
                outcome: Label(outcome.as_str()),
            };
            counts.get_or_create(&labels).inc();
        })
    }

    /// What a client tells of its requests.
    #[must_use]
    pub fn observer(&self) -> RegistryObserver {
        let counts = self.registries.clone();
        Arc::new(move |operation, outcome| {
            let labels = RequestLabels {
                operation: Label(operation.as_str()),
                outcome: Label(outcome.as_str()),
            };
            counts.get_or_create(&labels).inc();
        })
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
    /// The same fields for allow and deny, so that one search finds both.
    fn write(&self) {
        let digest = self
            .digest
            .map_or_else(|| "-".to_owned(), |digest| digest.to_string());
        let took = u64::try_from(self.elapsed.as_micros()).unwrap_or(u64::MAX);
        // The whole in the message, for whoever reads the journal as it comes; the same in fields, for who searches it.
        let of = |what: &str| match &*self.detail {
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
                    of($what)
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

/// Seconds: from a warm verdict (well under a millisecond) to the usual deadline.
const BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

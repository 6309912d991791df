//! The gate: the stages of a pull in a row. [`Gate::admit`] shows the path of one pull; read it first.

mod blobs;
mod cached_verdicts;
mod guard;
mod identify;
mod image_status;
mod lists;
mod remember;
mod search;
mod settings;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
pub use blobs::BlobPermit;
pub use cached_verdicts::CachedVerdict;
use guard::run_guarded;
pub use identify::IdentifyError;
pub use image_status::ImageStatus;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use remember::evidence_limit;
use search::gather;
pub use settings::{GateSettings, Storage};

use crate::oci::{ChildKind, Reference};
use crate::pull::decide::{Evaluation, Stage, Verdict};
pub use crate::pull::derivations::DerivationsError;
use crate::pull::derivations::{Derivation, Derivations, StoredDerivation};
use crate::pull::evidence::EvidenceStore;
use crate::pull::policy::EffectiveRule;
use crate::pull::record::{Decision, DecisionFeed, RecordedDecision, Recorder};

use crate::pull::request::{DoorName, Extent, PullContext, PullRequest};
use crate::pull::resolve::Resolver;

/// The gate. One process has one, and all doors share it.
pub struct Gate {
    settings: ArcSwap<GateSettings>,
    resolver: Resolver,
    evidence: EvidenceStore,
    derivations: Derivations,
    recorder: Recorder,
}

impl Gate {
    /// Makes a gate, and registers its metrics in `metrics`.
    ///
    /// # Errors
    /// Returns an error if the file of derivations cannot be opened.
    pub fn new(
        settings: GateSettings,
        storage: &Storage,
        metrics: &mut Registry,
    ) -> Result<Self, DerivationsError> {
        let file = storage.derivations_file.as_deref();
        Ok(Self {
            settings: ArcSwap::from_pointee(settings),
            resolver: Resolver::new(),
            evidence: EvidenceStore::new(storage.max_records),
            derivations: Derivations::open(file, storage.max_derivations)?,
            recorder: Recorder::new(metrics),
        })
    }

    /// Evaluates one pull: policy, resolve, find, verify, decide; then remembers and records the result. A late pull or a
    /// panic ends in a denial, which is recorded like any other.
    pub async fn admit(&self, request: &PullRequest) -> Evaluation {
        self.admit_after(request, Extent::UntilSatisfied).await
    }

    /// Evaluates a pull as [`Self::admit`] does, for a caller that wants every record: where it has to search for
    /// signatures, it hears every source to its end. Evidence that is remembered answers as it would answer a pull.
    pub async fn explain(&self, request: &PullRequest) -> Evaluation {
        self.admit_after(request, Extent::Everything).await
    }

    async fn admit_after(&self, request: &PullRequest, extent: Extent) -> Evaluation {
        let started = Instant::now();
        let settings = self.settings();
        let rule = request.effective_rule(&settings.policy);
        let pull = PullContext {
            extent,
            ..self.context(request, &settings, &rule)
        };
        let stages = async {
            let evaluation = self.evaluate(pull, &settings).await;
            self.remember(pull, &settings, &evaluation);
            evaluation
        };
        let evaluation = run_guarded(pull, stages)
            .await
            .unwrap_or_else(|denial| Evaluation::denied(pull, Stage::Interrupted, denial));
        self.record_evaluation(request, &evaluation, started);
        evaluation
    }

    async fn evaluate(&self, pull: PullContext<'_>, settings: &GateSettings) -> Evaluation {
        if let Err(denial) = pull.check_rules() {
            return Evaluation::denied(pull, Stage::Policy, denial);
        }
        let parent = self.admitted_parent(pull, settings, ChildKind::Manifest).await;
        self.evaluate_subject(pull, settings, parent).await
    }

    /// Evaluates the root of a derivation. It does not look for a parent of the root: a client that pushes a chain of
    /// indexes, each of which lists the next, could otherwise make the evaluation recurse to the end of the stack.
    async fn evaluate_root(&self, pull: PullContext<'_>, settings: &GateSettings) -> Evaluation {
        if let Err(denial) = pull.check_rules() {
            return Evaluation::denied(pull, Stage::Policy, denial);
        }
        self.evaluate_subject(pull, settings, None).await
    }

    async fn evaluate_subject(
        &self,
        pull: PullContext<'_>,
        settings: &GateSettings,
        parent: Option<Derivation>,
    ) -> Evaluation {
        let subject = match self.resolver.resolve(pull, &settings.client).await {
            Ok(subject) => subject,
            Err(error) => return Evaluation::denied(pull, Stage::Resolve, pull.unresolved(&error)),
        };
        if let Some(parent) = parent {
            let verdict = pull.decide_derived(subject, &parent);
            return Evaluation {
                root: Some(*parent.root()),
                cached: true,
                ..Evaluation::new(pull, Stage::Decide, verdict)
            };
        }
        let Some((rule, signed)) = pull.rule.signed() else {
            let verdict = pull.decide(subject, None, Timestamp::now());
            return Evaluation::new(pull, Stage::Decide, verdict);
        };
        let access = pull.request.access();
        let search = || gather(settings, rule, &subject, &access, pull.extent);
        let collected = self
            .evidence
            .collect(pull, subject.digest(), signed.threshold, search)
            .await;
        let evidence = collected.evidence;
        let verdict = pull.decide(subject, Some(&evidence), Timestamp::now());
        Evaluation {
            evidence: Some(evidence),
            cached: collected.ttl.is_some(),
            evidence_ttl: collected.ttl,
            ..Evaluation::new(pull, Stage::Decide, verdict)
        }
    }

    /// Returns the derivation of the requested child, if its root is admitted now: by a verdict that is remembered, or
    /// because the root is evaluated again. A rule for some pods neither uses nor leaves derivations: the root may have
    /// been admitted under another rule.
    async fn admitted_parent(
        &self,
        pull: PullContext<'_>,
        settings: &GateSettings,
        kind: ChildKind,
    ) -> Option<Derivation> {
        let digest = pull.request.reference.digest?;
        if pull.rule.pod_rule_name().is_some() {
            return None;
        }
        let stored = self.derivations.parent_of(pull.repository(), &digest, kind)?;
        // A root is stored as its own child, for `image_status`; a pull of it is evaluated by itself.
        if kind == ChildKind::Manifest && *stored.derivation.root() == digest {
            return None;
        }
        if stored.is_current(pull.policy.generation(), pull.epoch, Timestamp::now()) {
            return Some(stored.derivation.clone());
        }
        // Boxed, because few pulls need the state of a second evaluation.
        Box::pin(self.admit_root_again(pull, settings, &stored)).await
    }

    /// Evaluates the root of a derivation again and, if it is admitted, renews the derivation.
    async fn admit_root_again(
        &self,
        pull: PullContext<'_>,
        settings: &GateSettings,
        stored: &StoredDerivation,
    ) -> Option<Derivation> {
        let outdated = &stored.derivation;
        let request = PullRequest {
            reference: Reference {
                repository: pull.repository().clone(),
                tag: None,
                digest: Some(*outdated.root()),
            },
            purpose: pull.request.purpose.for_another_manifest(),
            ..pull.request.clone()
        };
        let root = PullContext {
            request: &request,
            ..pull
        };
        let evaluation = self.evaluate_root(root, settings).await;
        self.remember_evidence(root, settings, &evaluation);
        match evaluation.verdict {
            Verdict::Deny(_) => None,
            Verdict::Allow(_) => {
                let derivation = Derivation::new(
                    pull.repository().clone(),
                    *outdated.child(),
                    outdated.kind(),
                    *outdated.root(),
                    pull.policy.generation(),
                );
                let renewed = std::iter::once(derivation.clone());
                self.remember_derivations(pull, settings, renewed, evidence_limit(&evaluation));
                Some(derivation)
            }
        }
    }

    fn record_evaluation(&self, request: &PullRequest, evaluation: &Evaluation, started: Instant) {
        let decision = Decision::from_evaluation(evaluation, request, started.elapsed());
        match &evaluation.verdict {
            Verdict::Deny(denial) if denial.is_credentials_request(request) => {
                self.recorder.record_challenge(&decision);
            }
            Verdict::Allow(_) | Verdict::Deny(_) => self.recorder.record_pull(&decision),
        }
    }

    fn context<'a>(
        &self,
        request: &'a PullRequest,
        settings: &'a GateSettings,
        rule: &'a EffectiveRule,
    ) -> PullContext<'a> {
        PullContext {
            request,
            policy: &settings.policy,
            rule,
            epoch: self.derivations.epoch(),
            extent: Extent::UntilSatisfied,
        }
    }

    /// Swaps policy and registries whole. A pull that is under way keeps those with which it started.
    pub fn replace_settings(&self, settings: GateSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// Returns the settings for pulls that start now.
    #[must_use]
    pub fn settings(&self) -> Arc<GateSettings> {
        self.settings.load_full()
    }

    /// Records a decision that a door made itself, after the gate had admitted the pull.
    pub fn record(&self, decision: &Decision<'_>) {
        self.recorder.record_pull(decision);
    }

    /// Starts the counters of a door at zero: see [`Recorder::count_from_zero`].
    pub fn count_from_zero(&self, door: DoorName, serves_blobs: bool) {
        self.recorder.count_from_zero(door, serves_blobs);
    }

    /// Returns the decisions of all doors: see [`Recorder::watch`].
    pub fn watch(
        &self,
        most: usize,
        wanted: impl Fn(&RecordedDecision) -> bool,
    ) -> (Vec<Arc<RecordedDecision>>, DecisionFeed) {
        self.recorder.watch(most, wanted)
    }
}

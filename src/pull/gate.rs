//! The stages in a row. [`Gate::admit`] is the way of one pull: read this first.

mod blobs;
mod identify;
mod memory;
mod context;
mod cached_verdicts;
mod search;
mod image_status;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
pub use blobs::BlobPermit;
pub use identify::IdentifyError;
use jiff::{SignedDuration, Timestamp};
use memory::{
    ByBytes, ByRecords, CredentialsHash, EvidenceKey, Question, READERS, ReadSubject, Remembered,
    SUBJECT_BYTES, SUBJECT_LIFE, SUBJECTS, SubjectKey,
};
use prometheus_client::registry::Registry;
use quick_cache::sync::Cache;
use search::gather;

use crate::base::reason::Reason;
use crate::base::single_flight::{Freshness, SingleFlight};
use crate::net::oracle::OracleRegistries;
use crate::net::registry::{RegistryClient, RegistryError};
use crate::oci::{ChildKind, Digest, Reference, Repository};
use crate::pull::decide::{Denial, Derivation, Evaluation, Verdict};
pub use crate::pull::derivations::DerivationsError;
use crate::pull::derivations::{Derivations, Expiry};
use crate::pull::find::SourceFailure;
pub use crate::pull::gate::cached_verdicts::CachedVerdict;
use crate::pull::gate::context::Pull;
pub use crate::pull::gate::image_status::ImageStatus;
use crate::pull::policy::Policy;
use crate::pull::record::{Decision, DecisionFeed, RecordedDecision, Recorder};
pub use crate::pull::request::{DescribedManifest, PullRequest, Purpose};
use crate::pull::resolve::{self, ResolveError, Subject, fetch};
use crate::pull::verify::Evidence;

/// What the gate takes from the configuration; swapped whole at a reload.
#[derive(Clone)]
pub struct GateSettings {
    /// Rules, keys, deny list.
    pub policy: Arc<Policy>,
    /// The registries.
    pub client: RegistryClient,
    /// The registries that have their signatures in Oracle's API, for the `oracle-api` source.
    pub oracle: OracleRegistries,
    /// `<state>/signatures`, for the `directory` source.
    pub signatures: PathBuf,
    /// How long an allow is remembered. Zero: not at all.
    pub positive_ttl: Duration,
    /// How long a denial is remembered. Zero: not at all.
    pub negative_ttl: Duration,
}

/// What is fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The file that keeps what was admitted across a restart; none: in memory alone.
    pub derivations_file: Option<PathBuf>,
    /// How many edges that file may hold.
    pub max_derivations: usize,
    /// How many signature records the remembered verdicts may hold.
    pub max_records: usize,
}

/// The gate: one for the process, shared by all doors.
pub struct Gate {
    settings: ArcSwap<GateSettings>,
    subjects: Cache<SubjectKey, Arc<ReadSubject>, ByBytes>,
    /// Whose credentials a manifest was read with last.
    readers: Cache<(Repository, Digest), CredentialsHash>,
    evidence: Cache<EvidenceKey, Arc<Remembered>, ByRecords>,
    questions: SingleFlight<Question, Result<Arc<Subject>, ResolveError>>,
    searches: SingleFlight<(EvidenceKey, CredentialsHash), Arc<Evidence>>,
    derivations: Derivations,
    recorder: Recorder,
}

impl Gate {
    /// A gate with these settings. Its metrics stand in `metrics`.
    ///
    /// # Errors
    /// When the file of permits can't be opened.
    pub fn new(
        settings: GateSettings,
        storage: &Storage,
        metrics: &mut Registry,
    ) -> Result<Self, DerivationsError> {
        let most = u64::try_from(storage.max_records).unwrap_or(u64::MAX);
        Ok(Self {
            settings: ArcSwap::from_pointee(settings),
            subjects: Cache::with_weighter(SUBJECTS, SUBJECT_BYTES, ByBytes),
            readers: Cache::new(READERS),
            evidence: Cache::with_weighter(storage.max_records, most, ByRecords),
            questions: SingleFlight::new(Freshness::Change),
            searches: SingleFlight::new(Freshness::Stand),
            derivations: Derivations::open(storage.derivations_file.as_deref(), storage.max_derivations)?,
            recorder: Recorder::new(metrics),
        })
    }

    /// Swaps policy and registries whole. A pull keeps what it began with.
    pub fn replace_settings(&self, settings: GateSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// What the pulls that begin now see.
    #[must_use]
    pub fn settings(&self) -> Arc<GateSettings> {
        self.settings.load_full()
    }

    /// Records what a door found out by itself on a pull that it had asked about.
    pub fn record(&self, decision: &Decision<'_>) {
        self.recorder.record_pull(decision);
    }

    /// The decisions of all doors: see [`Recorder::watch`].
    pub fn watch(
        &self,
        most: usize,
        wanted: impl Fn(&RecordedDecision) -> bool,
    ) -> (Vec<Arc<RecordedDecision>>, DecisionFeed) {
        self.recorder.watch(most, wanted)
    }

    /// The way of one pull: policy, resolve, find, verify, decide, record. Whatever happens on it, a panic too, ends in
    /// a verdict that is recorded.
    pub async fn admit(&self, request: &PullRequest) -> Evaluation {
        let began = Instant::now();
        let settings = self.settings();
        let ruling = request.effective_rule(&settings.policy);
        let pull = Pull {
            settings: &settings,
            ruling: &ruling,
            request,
            epoch: self.derivations.epoch(),
        };
        let stages = pin!(self.judge(pull));
        let judgement = pull.run_guarded(stages).await;
        // Where anything goes nothing need be covered: whoever pulls such images must not fill the bounded store. And what
        // a rule of some pods let through covers nothing for the others.
        if let Verdict::Allow(permit) = &judgement.verdict
            && pull.is_cacheable()
        {
            let digest = *permit.subject().digest();
            // What is covered by what is covered is good for as long as that is, from the root's own judgement on.
            let above = judgement.root.and_then(|_| {
                self.derivations
                    .parent_of(&request.reference.repository, &digest, ChildKind::Manifest)
            });
            let left = judgement.evidence_ttl.map_or(Timestamp::MAX, from_now);
            let until = above.map_or(left, |kept| kept.expires_at);
            let root = judgement.root.unwrap_or(digest);
            self.remember(
                pull,
                permit.derivations(root, settings.policy.generation()),
                until,
            );
        }
        let PullRequest {
            door,
            peer,
            reference,
            ..
        } = request;
        let decision = Decision::from_evaluation(&judgement, *door, peer, reference, began.elapsed());
        match &judgement.verdict {
            Verdict::Deny(denial) if request.is_asked_for_credentials(denial) => {
                self.recorder.record_challenge(&decision);
            }
            Verdict::Allow(_) | Verdict::Deny(_) => self.recorder.record_pull(&decision),
        }
        judgement
    }

    async fn judge(&self, pull: Pull<'_>) -> Evaluation {
        let case = pull.case();
        if let Err(denial) = pull.before_asking() {
            return pull.denied(denial);
        }
        if pull.ruling.pod_rule_name().is_some() {
            // What is covered elsewhere was judged under another rule.
            return self.judge_by_itself(pull).await;
        }
        let Some(cover) = self.admitted_cover(pull, ChildKind::Manifest).await else {
            return self.judge_by_itself(pull).await;
        };
        match self.known_subject(pull).await {
            Ok(subject) => Evaluation {
                root: Some(*cover.root()),
                cached: true,
                ..pull.judged(case.derived(subject, &cover), None)
            },
            Err(denial) => pull.denied(denial),
        }
    }

    /// Whatever lists it. A root is judged so, again too: if what lists the root were asked first, and so on, whoever
    /// pushes a chain of indexes would say how deep this goes, to the end of the stack.
    async fn judge_by_itself(&self, pull: Pull<'_>) -> Evaluation {
        let case = pull.case();
        if let Err(denial) = pull.before_asking() {
            return pull.denied(denial);
        }
        let subject = match self.known_subject(pull).await {
            Ok(subject) => subject,
            Err(denial) => return pull.denied(denial),
        };
        let gathered = self.evidence(pull, &subject).await;
        let evidence = gathered.as_ref().map(|gathered| &*gathered.evidence);
        let verdict = case.decide(subject, evidence, Timestamp::now());
        if let Some(gathered) = &gathered {
            self.keep(pull, &verdict, gathered);
        }
        pull.judged(verdict, gathered.as_ref())
    }

    /// The manifest that is meant, and that is what the asker was told of it.
    async fn known_subject(&self, pull: Pull<'_>) -> Result<Arc<Subject>, Box<Denial>> {
        let subject = self.subject(pull).await;
        let subject = subject.map_err(|error| pull.case().unresolved(&error))?;
        pull.as_described(&subject)?;
        Ok(subject)
    }

    /// The manifest that is meant. A tag is asked for each time; what a digest names does not change, so it is asked for
    /// once by clients that show the same credentials: a runtime reads HEAD by tag, then GET by digest.
    async fn subject(&self, pull: Pull<'_>) -> Result<Arc<Subject>, ResolveError> {
        let PullRequest { reference, .. } = pull.request;
        let shown = CredentialsHash::of(pull.request);
        if let Some(read) = self.read_before(pull.request, shown) {
            return Ok(Arc::clone(&read.subject));
        }
        let question = Question {
            repository: reference.repository.clone(),
            target: resolve::target(reference),
            shown,
            generation: pull.settings.policy.generation(),
            epoch: pull.epoch,
        };
        // A pull that is answered from memory does not carry along what asks a registry.
        let ask = || Box::pin(self.ask(pull, shown));
        self.questions.ask(question, ask, is_shareable).await
    }

    fn read_before(&self, request: &PullRequest, shown: CredentialsHash) -> Option<Arc<ReadSubject>> {
        let repository = &request.reference.repository;
        let digest = request.reference.digest?;
        let of = |shown| self.subjects.get(&(repository.clone(), digest, shown));
        match request.purpose {
            Purpose::Serve => of(shown).filter(|read| read.at.elapsed() < SUBJECT_LIFE),
            // Nothing of it is handed out, and it can not have changed: whoever read it last, and when, does as well.
            Purpose::VerdictOnly(_) => {
                of(shown).or_else(|| of(self.readers.get(&(repository.clone(), digest))?))
            }
        }
    }

    async fn ask(&self, pull: Pull<'_>, shown: CredentialsHash) -> Result<Arc<Subject>, ResolveError> {
        let repository = &pull.request.reference.repository;
        let fetched = fetch(&pull.settings.client, &pull.request.reference, &pull.access()).await?;
        let key = (repository.clone(), *fetched.blob.digest(), shown);
        let content_type = fetched.content_type.clone();
        let known = self.subjects.get(&key);
        let subject = match known.filter(|known| known.content_type == content_type) {
            // The tag has not moved: the same bytes, sent as the same type, were read before.
            Some(known) => Arc::clone(&known.subject),
            None => Arc::new(resolve::read(repository, fetched)?),
        };
        let read = ReadSubject {
            subject: Arc::clone(&subject),
            content_type,
            at: Instant::now(),
        };
        let (repository, digest, _) = key.clone();
        self.readers.insert((repository, digest), shown);
        self.subjects.insert(key, Arc::new(read));
        Ok(subject)
    }

    /// The edge that leads to what is asked for, if its root is admitted now: by a verdict that still stands, or by
    /// judging the root again.
    async fn admitted_cover(&self, pull: Pull<'_>, kind: ChildKind) -> Option<Derivation> {
        let repository = &pull.request.reference.repository;
        let digest = pull.request.reference.digest?;
        let kept = self.derivations.parent_of(repository, &digest, kind)?;
        // Kept for who asks whether it is admitted: it is judged by itself.
        if kind == ChildKind::Manifest && *kept.derivation.root() == digest {
            return None;
        }
        if pull.stands(&kept) {
            return Some(kept.derivation.clone());
        }
        let reference = Reference {
            repository: repository.clone(),
            tag: None,
            digest: Some(*kept.derivation.root()),
        };
        let request = PullRequest {
            reference,
            purpose: pull.request.purpose.for_another_manifest(),
            ..pull.request.clone()
        };
        let root = Pull {
            request: &request,
            ..pull
        };
        let judged = Box::pin(self.judge_by_itself(root)).await;
        match judged.verdict {
            Verdict::Allow(_) => {
                let cover = Derivation::new(
                    repository.clone(),
                    digest,
                    kind,
                    *kept.derivation.root(),
                    pull.settings.policy.generation(),
                );
                let until = judged.evidence_ttl.map_or(Timestamp::MAX, from_now);
                self.remember(pull, std::iter::once(cover.clone()), until);
                Some(cover)
            }
            Verdict::Deny(_) => None,
        }
    }

    /// Remembers edges, until then at most: a key whose window ends covers nothing after it.
    fn remember(&self, pull: Pull<'_>, covers: impl Iterator<Item = Derivation>, until: Timestamp) {
        let now = Timestamp::now();
        let life = from_now(pull.settings.positive_ttl).min(until);
        let ends = pull.signed().into_iter().flat_map(|(_, signed)| &signed.keys);
        let ends = ends.filter_map(|key| key.not_after).filter(|end| *end > now);
        let ends_at = ends.fold(Timestamp::MAX, Timestamp::min);
        let life = Expiry {
            expires_at: life.min(ends_at),
            ends_at,
        };
        self.derivations.remember(covers, now, life, pull.epoch);
    }

    /// Who signed the subject: remembered, or found and verified now. `None` where the rule wants no signature.
    async fn evidence(&self, pull: Pull<'_>, subject: &Arc<Subject>) -> Option<CachedEvidence> {
        let (rule, _) = pull.signed()?;
        let key = pull.evidence_key(subject.digest());
        if let Some(remembered) = self.evidence.get(&key) {
            let left = remembered.until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Some(CachedEvidence {
                    evidence: Arc::clone(&remembered.evidence),
                    left: Some(left),
                });
            }
            self.evidence.remove(&key);
        }
        let access = pull.access();
        let search = || Box::pin(async { Arc::new(gather(pull.settings, rule, subject, &access).await) });
        let sought = (key, CredentialsHash::of(pull.request));
        Some(CachedEvidence {
            evidence: self.searches.ask(sought, search, is_complete).await,
            left: None,
        })
    }

    /// Remembers who signed, for as long as the verdict it led to is good for. What could not be looked at is asked
    /// again at once: an outage is not remembered as a denial.
    fn keep(&self, pull: Pull<'_>, verdict: &Verdict, gathered: &CachedEvidence) {
        let CachedEvidence { evidence, left: None } = gathered else {
            return;
        };
        let (digest, life) = match verdict {
            Verdict::Allow(permit) if permit.warning().is_none() => {
                (*permit.subject().digest(), pull.settings.positive_ttl)
            }
            Verdict::Allow(permit) => (*permit.subject().digest(), pull.settings.negative_ttl),
            Verdict::Deny(denial) => match denial.digest {
                Some(digest) => (digest, pull.settings.negative_ttl),
                None => return,
            },
        };
        let satisfied = matches!(verdict, Verdict::Allow(permit) if permit.warning().is_none());
        if life.is_zero() || (!satisfied && !evidence.troubles.is_empty()) {
            return;
        }
        let until = Instant::now().checked_add(life).unwrap_or_else(Instant::now);
        let remembered = Remembered {
            evidence: Arc::clone(evidence),
            until,
        };
        self.evidence
            .insert(pull.evidence_key(&digest), Arc::new(remembered));
    }
}

/// Who signed, and how long that is remembered from now on, if it was.
struct CachedEvidence {
    evidence: Arc<Evidence>,
    left: Option<Duration>,
}

fn from_now(left: Duration) -> Timestamp {
    let left = SignedDuration::try_from(left).unwrap_or(SignedDuration::MAX);
    Timestamp::now().saturating_add(left).unwrap_or(Timestamp::MAX)
}

/// Whose time was over speaks for himself alone: another may have more.
fn is_shareable(answer: &Result<Arc<Subject>, ResolveError>) -> bool {
    !matches!(
        answer,
        Err(ResolveError::Registry(RegistryError::DeadlineExceeded { .. }))
    )
}

/// As [`is_for_all`]: what could not be looked at in time, others may have the time to look at.
fn is_complete(evidence: &Arc<Evidence>) -> bool {
    let late = |trouble: &SourceFailure| trouble.error.reason() == Reason::DeadlineExceeded;
    !evidence.troubles.iter().any(late)
}

//! The store of evidence: remembered between pulls, and one search at a time for each image.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::base::single_flight::{Freshness, SingleFlight};
use crate::oci::{Digest, Repository};
use crate::pull::evidence::Evidence;
use crate::pull::find::SourceFailure;
use crate::pull::policy::Generation;
use crate::pull::request::{CredentialsHash, Extent, PullContext};

/// Remembers evidence, bounded by the number of its records.
pub(crate) struct EvidenceStore {
    stored: Cache<EvidenceKey, Arc<StoredEvidence>, ByRecords>,
    searches: SingleFlight<(EvidenceKey, CredentialsHash, Extent), Arc<Evidence>>,
}

/// The image and the policy to which evidence belongs. Another policy makes another key, so a reload forgets everything.
/// Another epoch does too: a pull that was under way when `pullgate cache clear` ran stores its evidence where no later
/// pull looks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EvidenceKey {
    pub(crate) repository: Repository,
    pub(crate) digest: Digest,
    pub(crate) generation: Generation,
    pub(crate) epoch: u64,
    /// The name of a rule for some pods, since another rule may require other keys.
    pub(crate) rule: Option<Arc<str>>,
}

pub(crate) struct StoredEvidence {
    pub(crate) evidence: Arc<Evidence>,
    expires_at: Instant,
}

/// Evidence for one pull.
pub(crate) struct CollectedEvidence {
    pub(crate) evidence: Arc<Evidence>,
    /// How long the evidence is remembered from now on; `None` if it was found just now.
    pub(crate) ttl: Option<Duration>,
}

/// Bounds the store by records and not by images, because one image may have many.
#[derive(Clone)]
struct ByRecords;

impl Weighter<EvidenceKey, Arc<StoredEvidence>> for ByRecords {
    fn weight(&self, _: &EvidenceKey, stored: &Arc<StoredEvidence>) -> u64 {
        let evidence = &stored.evidence;
        u64::try_from(1 + evidence.checked().len() + evidence.failures().len()).unwrap_or(u64::MAX)
    }
}

impl EvidenceKey {
    pub(crate) fn new(pull: PullContext<'_>, digest: &Digest) -> Self {
        Self {
            repository: pull.repository().clone(),
            digest: *digest,
            generation: pull.policy.generation(),
            epoch: pull.epoch,
            rule: pull.rule.pod_rule_name().map(Arc::from),
        }
    }
}

impl StoredEvidence {
    /// Returns how long the evidence is remembered from `now` on.
    pub(crate) fn ttl(&self, now: Instant) -> Duration {
        self.expires_at.saturating_duration_since(now)
    }
}

impl EvidenceStore {
    pub(crate) fn new(max_records: usize) -> Self {
        let capacity = u64::try_from(max_records).unwrap_or(u64::MAX);
        Self {
            stored: Cache::with_weighter(max_records, capacity, ByRecords),
            searches: SingleFlight::new(Freshness::InFlight),
        }
    }

    /// Returns the evidence of a manifest for a rule that requires `threshold` distinct signers: the stored one, or else that
    /// of a search. Pulls with the same credentials share one search. Evidence of a search that stopped early is used only
    /// while it still admits the image: when the window of a key has ended since, the sources may hold other signatures.
    pub(crate) async fn collect<F: Future<Output = Evidence>>(
        &self,
        pull: PullContext<'_>,
        digest: &Digest,
        threshold: NonZeroUsize,
        search: impl FnOnce() -> F,
    ) -> CollectedEvidence {
        let key = EvidenceKey::new(pull, digest);
        if let Some(stored) = self.stored.get(&key) {
            let ttl = stored.ttl(Instant::now());
            if !ttl.is_zero() && stored.evidence.decides(threshold.get(), Timestamp::now()) {
                return CollectedEvidence {
                    evidence: Arc::clone(&stored.evidence),
                    ttl: Some(ttl),
                };
            }
            self.stored.remove(&key);
        }
        // Boxed, so that a pull that memory answers does not carry the state of a search.
        let search = || Box::pin(async { Arc::new(search().await) });
        let key = (key, pull.request.credentials_hash(), pull.extent);
        CollectedEvidence {
            evidence: self.searches.ask(key, search, is_complete).await,
            ttl: None,
        }
    }

    /// Stores the evidence of a manifest for this time.
    pub(crate) fn remember(&self, key: EvidenceKey, evidence: &Arc<Evidence>, ttl: Duration) {
        let now = Instant::now();
        let stored = StoredEvidence {
            evidence: Arc::clone(evidence),
            expires_at: now.checked_add(ttl).unwrap_or(now),
        };
        self.stored.insert(key, Arc::new(stored));
    }

    /// Returns the number of distinct keys that signed, by the stored evidence; zero where none is stored.
    pub(crate) fn count_signers(&self, key: &EvidenceKey, now: Timestamp) -> usize {
        let stored = self.stored.get(key);
        stored
            .filter(|stored| !stored.ttl(Instant::now()).is_zero())
            .map_or(0, |stored| stored.evidence.signers(now).len())
    }

    /// Returns everything that is stored for a policy and an epoch, in no order.
    pub(crate) fn current(
        &self,
        generation: Generation,
        epoch: u64,
        now: Instant,
    ) -> impl Iterator<Item = (EvidenceKey, Arc<StoredEvidence>)> {
        self.stored.iter().filter(move |(key, stored)| {
            key.epoch == epoch && key.generation == generation && !stored.ttl(now).is_zero()
        })
    }

    /// Forgets everything, and returns how many manifests had evidence.
    pub(crate) fn clear(&self) -> usize {
        let count = self.stored.len();
        self.stored.clear();
        count
    }
}

/// Returns whether other callers may receive this evidence too. A deadline error applies to one caller only; others may
/// have more time left.
fn is_complete(evidence: &Arc<Evidence>) -> bool {
    let is_late = |failure: &SourceFailure| failure.error.is_deadline();
    !evidence.failures().iter().any(is_late)
}

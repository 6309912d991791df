//! The verdicts that are remembered, as people see them, and how they are forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::memory::{EvidenceKey, Remembered};
use super::{DerivationsError, Gate};
use crate::oci::{Digest, Repository};

/// One remembered verdict, for people.
#[derive(Clone, Debug)]
pub struct CachedVerdict {
    /// Where.
    pub repository: Repository,
    /// What.
    pub digest: Digest,
    /// The keys that signed it and are good now, by name.
    pub signers: BTreeSet<String>,
    /// How many records were looked at.
    pub records: usize,
    /// How long it is remembered from now on.
    pub left: Duration,
}

impl Gate {
    /// Forgets every verdict: what is asked from now on is judged anew, whatever is under way. It waits for the disk.
    ///
    /// # Errors
    /// When the store could not be written: what was admitted before a restart may be served after it, for as long as
    /// its verdict was remembered.
    pub fn clear(&self) -> Result<usize, DerivationsError> {
        let advanced = self.derivations.advance();
        let forgotten = self.evidence.len();
        self.evidence.clear();
        self.subjects.clear();
        advanced.map(|()| forgotten)
    }

    /// The verdicts that are remembered now, in no order.
    #[must_use]
    pub fn cached_verdicts(&self) -> Vec<CachedVerdict> {
        let now = Instant::now();
        let standing = self.standing_evidence(now);
        let verdicts = standing.map(|(key, remembered)| CachedVerdict {
            signers: remembered
                .evidence
                .judged
                .iter()
                .filter_map(|judged| judged.outcome.as_ref().ok())
                .map(|verified| &verified.claim().signed_by)
                .filter(|key| key.usable(Timestamp::now()).is_ok())
                .map(|key| key.name.clone())
                .collect(),
            records: remembered.evidence.judged.len(),
            left: remembered.until.saturating_duration_since(now),
            repository: key.repository,
            digest: key.digest,
        });
        verdicts.collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count_cached_verdicts(&self) -> usize {
        self.standing_evidence(Instant::now()).count()
    }

    fn standing_evidence(&self, now: Instant) -> impl Iterator<Item = (EvidenceKey, Arc<Remembered>)> {
        let epoch = self.derivations.epoch();
        let generation = self.settings().policy.generation();
        self.evidence.iter().filter(move |(key, remembered)| {
            key.epoch == epoch && key.generation == generation && remembered.until > now
        })
    }
}

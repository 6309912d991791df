//! The remembered verdicts: listing and clearing them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{DerivationsError, Gate};
use crate::oci::{Digest, Repository};
use crate::pull::evidence::{EvidenceKey, StoredEvidence};

/// One remembered verdict.
#[derive(Clone, Debug)]
pub struct CachedVerdict {
    /// The repository of the image.
    pub repository: Repository,
    /// The digest of the image.
    pub digest: Digest,
    /// The names of the keys that signed it and are valid now.
    pub signers: BTreeSet<String>,
    /// The number of signature records that were verified.
    pub records: usize,
    /// How long the verdict is remembered from now on.
    pub left: Duration,
}

impl Gate {
    /// Forgets every verdict, and returns how many manifests had one. Pulls that start from now on are evaluated again,
    /// even while earlier ones are under way. It waits for the disk.
    ///
    /// # Errors
    /// Returns an error if the file of derivations could not be written: images that were admitted before may then be
    /// served after a restart, for as long as their verdict was remembered.
    pub fn clear(&self) -> Result<usize, DerivationsError> {
        let advanced = self.derivations.advance();
        let forgotten = self.evidence.clear();
        self.resolver.clear();
        advanced.map(|()| forgotten)
    }

    /// Returns the verdicts that are remembered now, in no order.
    #[must_use]
    pub fn cached_verdicts(&self) -> Vec<CachedVerdict> {
        let now = Instant::now();
        let verdicts = self.current_evidence(now).map(|(key, stored)| CachedVerdict {
            signers: stored
                .evidence
                .checked()
                .iter()
                .filter_map(|checked| checked.outcome.as_ref().ok())
                .map(|verified| &verified.claim().signer)
                .filter(|signer| signer.check(Timestamp::now()).is_ok())
                .map(|signer| signer.name().to_owned())
                .collect(),
            records: stored.evidence.checked().len(),
            left: stored.ttl(now),
            repository: key.repository,
            digest: key.digest,
        });
        verdicts.collect()
    }

    /// Returns the number of verdicts that are remembered now.
    #[must_use]
    pub fn count_cached_verdicts(&self) -> usize {
        self.current_evidence(Instant::now()).count()
    }

    fn current_evidence(&self, now: Instant) -> impl Iterator<Item = (EvidenceKey, Arc<StoredEvidence>)> {
        let generation = self.settings().policy.generation();
        self.evidence.current(generation, self.derivations.epoch(), now)
    }
}

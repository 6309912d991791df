//! The evidence about the signers of an image: find and verify, run together.

pub mod search;
mod store;

use std::collections::BTreeSet;

use jiff::Timestamp;

pub(crate) use crate::pull::evidence::store::{EvidenceKey, EvidenceStore, StoredEvidence};
use crate::pull::find::SourceFailure;
use crate::pull::verify::CheckedSignature;
use crate::signature::SourceName;
use crate::trust::SignerId;

/// Everything that one search found out about the signers of an image: enough to decide again and again without a request.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    checked: Vec<CheckedSignature>,
    failures: Vec<SourceFailure>,
    queried_sources: Vec<SourceName>,
    stopped_early: bool,
}

impl Evidence {
    /// Evidence of a search that queries these sources, before the first record.
    #[must_use]
    pub fn from_sources(queried_sources: Vec<SourceName>) -> Self {
        Self {
            queried_sources,
            ..Self::default()
        }
    }

    /// Adds a record that was verified. A record that was added before is not added again.
    pub fn add(&mut self, checked: CheckedSignature) {
        let is_same =
            |known: &CheckedSignature| known.format == checked.format && known.locator == checked.locator;
        if !self.checked.iter().any(is_same) {
            self.checked.push(checked);
        }
    }

    /// Adds a source, or a record in it, that could not be read.
    pub fn fail(&mut self, failure: SourceFailure) {
        self.failures.push(failure);
    }

    /// Every record that was verified, in the order of the sources.
    #[must_use]
    pub fn checked(&self) -> &[CheckedSignature] {
        &self.checked
    }

    /// Everything that could not be read.
    #[must_use]
    pub fn failures(&self) -> &[SourceFailure] {
        &self.failures
    }

    /// The sources that were queried, in the order of the configuration.
    #[must_use]
    pub fn queried_sources(&self) -> &[SourceName] {
        &self.queried_sources
    }

    /// Whether the search stopped because the rule was satisfied. Such evidence can admit an image and cannot deny one:
    /// the sources may hold other signatures.
    #[must_use]
    pub const fn stopped_early(&self) -> bool {
        self.stopped_early
    }

    /// Returns the distinct signers that may be used at `now`, over all formats. One key under
    /// two names, or in two formats, counts once.
    #[must_use]
    pub fn signers(&self, now: Timestamp) -> BTreeSet<SignerId> {
        self.checked
            .iter()
            .filter_map(|checked| checked.outcome.as_ref().ok())
            .filter(|verified| verified.counts_at(now))
            .map(|verified| verified.claim().signer.id())
            .collect()
    }

    /// Whether this evidence decides a rule that wants `threshold` distinct signers: they were found, or every source was
    /// heard. The question comes again at each use, since the window of a key can end in between.
    #[must_use]
    pub fn decides(&self, threshold: usize, now: Timestamp) -> bool {
        !self.stopped_early || self.signers(now).len() >= threshold
    }

    /// Sorts the records and failures by source, so that one image is described in one way, whichever source answered
    /// first.
    fn sort(&mut self) {
        let sources = &self.queried_sources;
        let rank = |source: &SourceName| sources.iter().position(|known| known == source);
        self.checked.sort_by_key(|checked| rank(&checked.source));
        self.failures.sort_by_key(|failure| rank(&failure.source));
    }
}

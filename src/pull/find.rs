//! Where signature records of an image are looked for. A source is one file here and one line in [`SOURCES`].
//!
//! A source lists the records of an image once, for all formats of the rule, and gives each record to the format that the
//! listing names. The records are untrusted bytes of bounded length and number. A record that could not be read is
//! reported beside the others: absent is not unreachable.

pub mod query;
mod artifact;
pub mod directory;
pub mod oracle_api;
pub mod referrers;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use crate::net::oracle::OracleRegistries;
use crate::net::registry::RegistryClient;
pub use crate::pull::find::query::{FindError, Query, SourceError, SourceFailure};
use crate::signature::{Candidate, FormatName, Location, Locator, SourceName};

/// Every source, by the word that `[[registry]] signatures` uses, in the order in which people see them.
pub static SOURCES: &[(SourceName, BuildSource)] = &[
    (referrers::NAME, referrers::build),
    (oracle_api::NAME, oracle_api::build),
    (directory::NAME, directory::build),
];

/// Makes a source from what the process has.
pub type BuildSource = fn(&SourceContext) -> Arc<dyn Source>;

/// The parts that sources are made from.
#[derive(Clone)]
pub struct SourceContext {
    /// The registries.
    pub client: RegistryClient,
    /// The registries that keep signatures in Oracle's API.
    pub oracle: OracleRegistries,
    /// `<state>/signatures`.
    pub directory: PathBuf,
}

/// A place where records are looked for.
pub trait Source: fmt::Debug + Send + Sync {
    /// The word that `[[registry]] signatures` uses.
    fn name(&self) -> SourceName;

    /// Whether records at this location can be in this source. A source that serves no location of the rule's formats is
    /// not queried.
    fn serves(&self, location: &Location) -> bool;

    /// Yields records as they arrive, and the reason for each one that could not be read. Dropping the stream ends the
    /// search. A source reads no more records than [`Query::limit`]; [`records_of`] cuts the stream there in any case.
    fn find<'a>(&'a self, query: Query<'a>) -> BoxStream<'a, Result<Candidate, FindError>>;
}

/// Makes the sources of these names, each once, in this order.
#[must_use]
pub fn sources(names: &[SourceName], context: &SourceContext) -> Vec<Arc<dyn Source>> {
    let mut sources: Vec<Arc<dyn Source>> = Vec::with_capacity(names.len());
    for &name in names {
        let is_known = sources.iter().any(|source| source.name() == name);
        let build = SOURCES.iter().find(|(known, _)| *known == name);
        if let (false, Some((_, build))) = (is_known, build) {
            sources.push(build(context));
        }
    }
    sources
}

/// Returns the words that `[[registry]] signatures` may use.
#[must_use]
pub fn source_names() -> Vec<SourceName> {
    SOURCES.iter().map(|(name, _)| *name).collect()
}

/// Yields the records of one source within its budget: each record is charged once, whatever the number of formats that
/// it is given to, and a record that the source lists twice is yielded once.
pub fn records_of<'a>(
    source: &'a dyn Source,
    query: Query<'a>,
) -> BoxStream<'a, Result<Candidate, FindError>> {
    let bounded = BudgetedRecords {
        records: source.find(query),
        charged: BTreeSet::new(),
        yielded: BTreeSet::new(),
        failures: 0,
        limit: query.limit,
    };
    stream::unfold(Some(bounded), |bounded| async {
        let mut bounded = bounded?;
        match bounded.next().await? {
            Err(error @ FindError::TooMany { .. }) => Some((Err(error), None)),
            record => Some((record, Some(bounded))),
        }
    })
    .boxed()
}

struct BudgetedRecords<'a> {
    records: BoxStream<'a, Result<Candidate, FindError>>,
    charged: BTreeSet<Locator>,
    yielded: BTreeSet<(FormatName, Locator)>,
    failures: usize,
    limit: usize,
}

impl BudgetedRecords<'_> {
    async fn next(&mut self) -> Option<Result<Candidate, FindError>> {
        while let Some(record) = self.records.next().await {
            match &record {
                Ok(candidate) => {
                    let locator = candidate.locator.clone();
                    if !self.yielded.insert((candidate.format.name(), locator.clone())) {
                        continue;
                    }
                    self.charged.insert(locator);
                }
                Err(_) => self.failures += 1,
            }
            if self.charged.len() + self.failures > self.limit {
                return Some(Err(FindError::TooMany { limit: self.limit }));
            }
            return Some(record);
        }
        None
    }
}

/// Reads every record that these sources have, one source after the other, and collects everything that could not be
/// read.
pub async fn find_all(sources: &[Arc<dyn Source>], query: Query<'_>) -> (Vec<Candidate>, Vec<SourceFailure>) {
    let (mut candidates, mut failures) = (Vec::new(), Vec::new());
    for source in query.queried(sources) {
        let mut records = records_of(source.as_ref(), query);
        while let Some(record) = records.next().await {
            match record {
                Ok(candidate) => candidates.push(candidate),
                Err(error) => failures.push(SourceFailure {
                    source: source.name(),
                    error,
                }),
            }
        }
    }
    (candidates, failures)
}

#[cfg(test)]
mod tests {
    use super::{SOURCES, source_names};
    use crate::signature::SourceName;

    #[test]
    fn every_default_source_exists() {
        for name in SourceName::DEFAULT {
            assert!(SOURCES.iter().any(|(known, _)| *known == name), "{name}");
            assert!(source_names().contains(&name));
        }
    }
}

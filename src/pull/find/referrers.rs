//! The registry itself: the referrers API, and the fallback tag of distribution-spec 1.1 ("Unavailable Referrers API").

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};

use crate::base::reason::Reason;
use crate::net::registry::{Access, ReferrersTag, RegistryClient, RegistryError};
use crate::oci::{Descriptor, Digest};
use crate::pull::find::artifact::{claimed_by, read_records, reason_of_registry};
use crate::pull::find::query::{FindError, Query, SourceError};
use crate::pull::find::{Source, SourceContext};
use crate::signature::{Candidate, Location, SourceName};

/// The word of this source.
pub const NAME: SourceName = SourceName("referrers");

pub(super) fn build(context: &SourceContext) -> Arc<dyn Source> {
    Arc::new(Referrers {
        client: context.client.clone(),
    })
}

struct Referrers {
    client: RegistryClient,
}

/// Why a registry did not list the referrers of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferrersError {
    /// The registry did not give the list, or gave something that is not a list.
    #[error("could not list the signatures in the registry")]
    Registry(#[from] RegistryError),
}

impl SourceError for ReferrersError {
    fn reason(&self) -> Reason {
        match self {
            Self::Registry(error) => reason_of_registry(error),
        }
    }
}

/// The two lists of referrers that a registry can have. A registry that has the API may still hold signatures under the
/// tag that a client wrote before, so the tag is read after the API.
#[derive(Clone, Copy)]
enum Listing {
    Api,
    Tag,
}

impl Source for Referrers {
    fn name(&self) -> SourceName {
        NAME
    }

    fn serves(&self, location: &Location) -> bool {
        match location {
            Location::Artifact { .. } => true,
            Location::File { .. } | Location::Service { .. } => false,
        }
    }

    fn find<'a>(&'a self, query: Query<'a>) -> BoxStream<'a, Result<Candidate, FindError>> {
        let listings = stream::iter([Listing::Api, Listing::Tag]);
        let lists = listings.then(move |listing| async move {
            match listing {
                Listing::Api => self.list_by_api(query).await,
                Listing::Tag => self.list_by_tag(query).await,
            }
        });
        let records = lists.scan(BTreeSet::new(), move |seen, list| {
            let records = match list {
                Ok(descriptors) => self.read(query, descriptors, seen),
                Err(error) => stream::iter([Err(error.into())]).boxed(),
            };
            async move { Some(records) }
        });
        records.flatten().boxed()
    }
}

impl Referrers {
    async fn list_by_api(&self, query: Query<'_>) -> Result<Vec<Descriptor>, ReferrersError> {
        let artifact_types = artifact_types(query);
        // Half of the time: an API that hangs must not hide the records that the tag lists.
        let remaining = query.access.deadline.saturating_duration_since(Instant::now());
        let access = Access {
            presented: query.access.presented.clone(),
            deadline: query
                .access
                .deadline
                .checked_sub(remaining / 2)
                .unwrap_or(query.access.deadline),
        };
        let listed = self
            .client
            .referrers(query.repository, query.subject, &artifact_types, &access)
            .await;
        match listed {
            // The registry has no referrers API.
            Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            listed => Ok(listed?),
        }
    }

    async fn list_by_tag(&self, query: Query<'_>) -> Result<Vec<Descriptor>, ReferrersError> {
        let tag = self
            .client
            .referrers_tag(query.repository, query.subject, query.access)
            .await?;
        let index = match tag {
            ReferrersTag::Index { index, .. } => index,
            // An image under this tag is an image of that name, and not a list of referrers.
            ReferrersTag::Absent | ReferrersTag::Image => return Ok(Vec::new()),
        };
        // Some clients leave the type out of the list. The manifest itself has it, and is what counts.
        let may_be_claimed = |descriptor: &Descriptor| match &descriptor.artifact_type {
            Some(artifact_type) => claimed_by(query, artifact_type).next().is_some(),
            None => true,
        };
        Ok(index.manifests.into_iter().filter(may_be_claimed).collect())
    }

    /// Reads the manifests that were not read before. A manifest that the list embeds costs no request and is read again:
    /// the registry may not have given it the first time.
    fn read<'a>(
        &'a self,
        query: Query<'a>,
        mut descriptors: Vec<Descriptor>,
        seen: &mut BTreeSet<Digest>,
    ) -> BoxStream<'a, Result<Candidate, FindError>> {
        descriptors
            .retain(|descriptor| seen.insert(descriptor.digest) || descriptor.unverified_data.is_some());
        let limit = query.limit;
        let too_many = (descriptors.len() > limit).then_some(Err(FindError::TooMany { limit }));
        descriptors.truncate(limit);
        read_records(NAME, &self.client, query, descriptors)
            .chain(stream::iter(too_many))
            .boxed()
    }
}

/// Returns the artifact types of the rule's formats, each once.
fn artifact_types(query: Query<'_>) -> Vec<&'static str> {
    let types: BTreeSet<_> = query
        .locations()
        .filter_map(|(_, location)| match location {
            Location::Artifact { artifact_type, .. } => Some(*artifact_type),
            Location::File { .. } | Location::Service { .. } => None,
        })
        .collect();
    types.into_iter().collect()
}

impl fmt::Debug for Referrers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Referrers").finish_non_exhaustive()
    }
}

//! Oracle's Artifacts API, which keeps signature records of the images in OCI Container Registry.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};

use crate::base::reason::Reason;
use crate::net::oracle::wire::{ImageSignature, WireError};
use crate::net::oracle::{ApiError, CallError, OracleRegistries, OracleRegistryError};
use crate::pull::find::query::{FindError, Query, SourceError};
use crate::pull::find::{Source, SourceContext};
use crate::signature::{Candidate, Format, Location, Locator, SourceName};

/// The word of this source.
pub const NAME: SourceName = SourceName("oracle-api");

pub(super) fn build(context: &SourceContext) -> Arc<dyn Source> {
    Arc::new(OracleApi {
        registries: context.oracle.clone(),
    })
}

struct OracleApi {
    registries: OracleRegistries,
}

/// Why Oracle's API did not give the records, or not all of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OracleApiError {
    /// The API answered with a failure, or with a part of the list.
    #[error("could not read all signatures from Oracle's API")]
    Api(#[from] ApiError),
    /// The configuration names this source for the registry and does not say how to reach it.
    #[error("the configuration does not say how to reach Oracle's API for this registry")]
    NotConfigured,
    /// The API lists something that is not a signature record.
    #[error("Oracle's API returned an invalid signature record")]
    Record(#[from] WireError),
    /// The API could not be queried for this repository.
    #[error("could not query Oracle's API for the signatures")]
    Registry(#[from] OracleRegistryError),
}

impl SourceError for OracleApiError {
    fn reason(&self) -> Reason {
        match self {
            Self::Api(error) | Self::Registry(OracleRegistryError::Compartment(error)) => {
                reason_of_api(error)
            }
            Self::NotConfigured => Reason::SourceUnreachable,
            Self::Record(_) | Self::Registry(OracleRegistryError::Namespace { .. }) => Reason::Malformed,
        }
    }

    fn is_deadline(&self) -> bool {
        match self {
            Self::Api(error) | Self::Registry(OracleRegistryError::Compartment(error)) => error.is_deadline(),
            Self::NotConfigured | Self::Record(_) | Self::Registry(OracleRegistryError::Namespace { .. }) => {
                false
            }
        }
    }
}

/// An answer that is not a list says nothing about the image. That is true of the service's 404, too.
fn reason_of_api(error: &ApiError) -> Reason {
    match error {
        ApiError::Call(error) => reason_of_call(error),
        ApiError::Identity { .. } => Reason::SourceUnreachable,
    }
}

fn reason_of_call(error: &CallError) -> Reason {
    match error {
        // The failure before says more than the deadline that cut its repetition off.
        CallError::CutOff { earlier, .. } => reason_of_call(earlier),
        CallError::DeadlineExceeded { .. } => Reason::DeadlineExceeded,
        CallError::TooLarge { .. } => Reason::LimitExceeded,
        CallError::Clock { .. }
        | CallError::Malformed { .. }
        | CallError::NotFound { .. }
        | CallError::Operation { .. }
        | CallError::PageLoop { .. }
        | CallError::Protocol { .. }
        | CallError::Refused { .. }
        | CallError::Service { .. }
        | CallError::Signing { .. }
        | CallError::Unauthorized { .. }
        | CallError::Unreachable { .. } => Reason::SourceUnreachable,
    }
}

impl Source for OracleApi {
    fn name(&self) -> SourceName {
        NAME
    }

    fn serves(&self, location: &Location) -> bool {
        match location {
            Location::Service { name } => *name == NAME.as_str(),
            Location::Artifact { .. } | Location::File { .. } => false,
        }
    }

    fn find<'a>(&'a self, query: Query<'a>) -> BoxStream<'a, Result<Candidate, FindError>> {
        let records = async move {
            let records = self.list(query).await.unwrap_or_else(|error| vec![Err(error)]);
            stream::iter(records.into_iter().map(|record| record.map_err(FindError::from)))
        };
        stream::once(records).flatten().boxed()
    }
}

impl OracleApi {
    /// Lists the records of the image. The service filters the list, and the filter proves nothing: each record is judged
    /// by what it signs.
    async fn list(&self, query: Query<'_>) -> Result<Vec<Result<Candidate, OracleApiError>>, OracleApiError> {
        let registry = self.registries.get(query.repository.registry());
        let list = registry
            .ok_or(OracleApiError::NotConfigured)?
            .signatures(
                query.repository,
                query.subject,
                query.limit,
                query.access.deadline,
            )
            .await?;
        let formats: Vec<_> = query
            .locations()
            .filter(|(_, location)| self.serves(location))
            .map(|(format, _)| format)
            .collect();
        let mut records = Vec::new();
        for signature in list.signatures {
            match signature {
                Ok(signature) => records.extend(formats.iter().map(|format| candidate(&signature, *format))),
                Err(error) => records.push(Err(error.into())),
            }
        }
        records.extend(list.incomplete.map(|error| Err(error.into())));
        Ok(records)
    }
}

fn candidate(signature: &ImageSignature, format: &'static dyn Format) -> Result<Candidate, OracleApiError> {
    let unverified: Bytes = signature.record.to_json().into();
    let limit = format.max_bytes();
    if unverified.len() > limit {
        return Err(WireError::TooLarge { limit }.into());
    }
    Ok(Candidate {
        format,
        source: NAME,
        locator: Locator::Service(signature.id.to_string()),
        unverified_media_type: None,
        unverified,
    })
}

impl fmt::Debug for OracleApi {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OracleApi").finish_non_exhaustive()
    }
}

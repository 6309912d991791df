//! The question that a source answers, and the ways in which it fails.

use std::error::Error;
use std::sync::Arc;

use crate::base::reason::Reason;
use crate::net::registry::Access;
use crate::oci::{Digest, Repository};
use crate::pull::find::Source;
use crate::signature::{Format, Location, SourceName};

/// Which image, and in which formats.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The digest of the image whose records are looked for.
    pub subject: &'a Digest,
    /// The repository that the image is pulled from.
    pub repository: &'a Repository,
    /// The formats of the rule.
    pub formats: &'a [&'static dyn Format],
    /// The client's credentials, and the deadline of each request.
    pub access: &'a Access,
    /// The most records that each source gives. Each source has a budget of its own: a client that can push to a registry
    /// cannot use up the budget of another source.
    pub limit: usize,
}

impl<'a> Query<'a> {
    /// Returns every format with each of its locations.
    pub fn locations(self) -> impl Iterator<Item = (&'static dyn Format, &'static Location)> + 'a {
        let locations = |format: &&'static dyn Format| {
            let format = *format;
            format.locations().iter().map(move |location| (format, location))
        };
        self.formats.iter().flat_map(locations)
    }

    /// Returns the sources that can hold records of the rule's formats.
    pub fn queried(self, sources: &[Arc<dyn Source>]) -> impl Iterator<Item = &Arc<dyn Source>> {
        sources
            .iter()
            .filter(move |source| self.locations().any(|(_, location)| source.serves(location)))
    }
}

/// A source, or one record in it, that could not be read. Whether it holds a good signature is not known.
#[derive(Clone, Debug)]
pub struct SourceFailure {
    /// The source.
    pub source: SourceName,
    /// The cause.
    pub error: FindError,
}

/// Why a source, or one record in it, could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FindError {
    /// The source had not answered to the end when the search had to stop.
    #[error("no complete answer before the pull's deadline")]
    DeadlineExceeded,
    /// The source failed in a way of its own.
    #[error(transparent)]
    Source(Arc<dyn SourceError>),
    /// The source has more records than a pull reads.
    #[error("there are more than {limit} signature records")]
    TooMany {
        /// The bound.
        limit: usize,
    },
}

/// The error of one source. Each source has a closed enum of its own.
pub trait SourceError: Error + Send + Sync + 'static {
    /// Returns the reason code of a denial in which this failure is the most important one.
    fn reason(&self) -> Reason;

    /// Whether the caller's deadline is the cause: another caller, with more time, may get an answer.
    fn is_deadline(&self) -> bool {
        self.reason() == Reason::DeadlineExceeded
    }
}

impl<E: SourceError> From<E> for FindError {
    fn from(error: E) -> Self {
        Self::Source(Arc::new(error))
    }
}

impl FindError {
    /// Returns the reason code of a denial in which this failure is the most important one.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::DeadlineExceeded => Reason::DeadlineExceeded,
            Self::Source(error) => error.reason(),
            Self::TooMany { .. } => Reason::LimitExceeded,
        }
    }

    /// Whether the caller's deadline is the cause. Such a failure concerns one caller and is never shared.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        match self {
            Self::DeadlineExceeded => true,
            Self::Source(error) => error.is_deadline(),
            Self::TooMany { .. } => false,
        }
    }
}

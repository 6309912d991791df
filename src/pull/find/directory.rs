//! A directory on this host: `<state>/signatures/<algorithm>/<hex>/`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};

use crate::base::files::{self, FileError};
use crate::base::reason::Reason;
use crate::pull::find::query::{FindError, Query, SourceError};
use crate::pull::find::{Source, SourceContext};
use crate::signature::{Candidate, FORMATS, Format, Location, Locator, SourceName};

/// The word of this source.
pub const NAME: SourceName = SourceName("directory");

pub(super) fn build(context: &SourceContext) -> Arc<dyn Source> {
    Arc::new(Directory {
        root: context.directory.clone(),
    })
}

#[derive(Debug)]
struct Directory {
    root: PathBuf,
}

/// Why a directory or a file in it could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// A file in it is not readable, not a regular file, or too large.
    #[error(transparent)]
    File(FileError),
    /// The system did not list it.
    #[error("could not list `{}`: {what}", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// The system's own words.
        what: String,
    },
}

impl DirectoryError {
    fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            what: error.to_string(),
        }
    }
}

impl SourceError for DirectoryError {
    fn reason(&self) -> Reason {
        match self {
            Self::File(_) | Self::Unreadable { .. } => Reason::SourceUnreachable,
        }
    }
}

impl Source for Directory {
    fn name(&self) -> SourceName {
        NAME
    }

    fn serves(&self, location: &Location) -> bool {
        match location {
            Location::File { .. } => true,
            Location::Artifact { .. } | Location::Service { .. } => false,
        }
    }

    fn find<'a>(&'a self, query: Query<'a>) -> BoxStream<'a, Result<Candidate, FindError>> {
        let records = async move {
            match self.list(query).await {
                Ok(listed) => {
                    let limit = query.limit;
                    let too_many = listed.is_cut.then_some(Err(FindError::TooMany { limit }));
                    let files = stream::iter(listed.files);
                    let records = files.then(|(path, format)| read_record(path, format));
                    records.chain(stream::iter(too_many)).boxed()
                }
                Err(error) => stream::iter([Err(error.into())]).boxed(),
            }
        };
        stream::once(records).flatten().boxed()
    }
}

/// The files of an image that are records, in the order of their names.
#[derive(Default)]
struct Listed {
    files: Vec<(PathBuf, &'static dyn Format)>,
    /// There are more of them than a pull reads.
    is_cut: bool,
}

impl Directory {
    async fn list(&self, query: Query<'_>) -> Result<Listed, DirectoryError> {
        let directory = self
            .root
            .join(query.subject.algorithm())
            .join(query.subject.encoded());
        let unreadable = |error: std::io::Error| DirectoryError::unreadable(&directory, &error);
        let mut entries = match tokio::fs::read_dir(&directory).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Listed::default()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut listed = Listed::default();
        while let Some(entry) = entries.next_entry().await.map_err(unreadable)? {
            let path = entry.path();
            let Some(format) = format_of(&path, query.formats) else {
                continue;
            };
            if listed.files.len() >= query.limit {
                listed.is_cut = true;
                break;
            }
            listed.files.push((path, format));
        }
        listed.files.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(listed)
    }
}

/// Returns the format of the rule that keeps records in files of this name: the one whose suffix is the longest over all
/// formats, so that a record of `.sigstore.json` is not taken for a record of `.json`.
fn format_of(path: &Path, formats: &[&'static dyn Format]) -> Option<&'static dyn Format> {
    let all = formats.iter().chain(FORMATS);
    let longest = all
        .filter_map(|format| suffix_in(path, *format))
        .max_by_key(|suffix| suffix.len())?;
    formats
        .iter()
        .copied()
        .find(|format| suffix_in(path, *format) == Some(longest))
}

/// Returns the longest suffix of the format that the file's name has after at least one character.
fn suffix_in(path: &Path, format: &dyn Format) -> Option<&'static str> {
    let name = path.file_name()?.as_encoded_bytes();
    let suffixes = format.locations().iter().filter_map(|location| match location {
        Location::File { suffix } => Some(*suffix),
        Location::Artifact { .. } | Location::Service { .. } => None,
    });
    suffixes
        .filter(|suffix| name.len() > suffix.len() && name.ends_with(suffix.as_bytes()))
        .max_by_key(|suffix| suffix.len())
}

async fn read_record(path: PathBuf, format: &'static dyn Format) -> Result<Candidate, FindError> {
    // A regular file only: a pipe of this name would never end.
    let unverified = match files::read_async(&path, format.max_bytes()).await {
        Ok(bytes) => Bytes::copy_from_slice(&bytes),
        Err(error) => return Err(DirectoryError::File(error).into()),
    };
    Ok(Candidate {
        format,
        source: NAME,
        locator: Locator::File(path),
        unverified_media_type: None,
        unverified,
    })
}

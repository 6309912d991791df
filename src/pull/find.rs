//! Where signatures of a subject are looked for: in its registry, and in a directory on this host.
//!
//! What is found is untrusted bytes of bounded length and number. What could not be looked at is kept beside it: absent
//! is not unreachable.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::io::AsyncReadExt as _;

use crate::base::limits;
use crate::base::reason::Reason;
use crate::net::oracle::wire::WireError;
use crate::net::oracle::{ApiError, CallError, OracleRegistry, OracleRegistryError};
use crate::net::registry::{Access, RegistryClient, RegistryError, SourceName, Target};
use crate::oci::{Blob, Descriptor, Digest, Document, ManifestError, Repository, Tag};
use crate::signature::{Candidate, FormatName};

/// How many referrers of one subject are read at the same time.
const PARALLEL: usize = 4;

/// How many records may still be looked at for this pull.
#[derive(Debug)]
pub struct Budget {
    candidates: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            candidates: limits::CANDIDATES,
        }
    }
}

/// What one source gave.
#[derive(Debug, Default)]
pub struct Found {
    /// Records to verify.
    pub candidates: Vec<Candidate>,
    /// What could not be looked at.
    pub troubles: Vec<SourceFailure>,
}

/// Something that should have been looked at and could not be. Whether it holds a good signature is not known.
#[derive(Clone, Debug)]
pub struct SourceFailure {
    /// Where.
    pub source: SourceName,
    /// What happened.
    pub error: FindError,
}

/// Why a source, or one record in it, could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// Oracle's API did not give the signatures, or not all of them.
    #[error("Oracle's API did not give the signatures")]
    Api(#[from] ApiError),
    /// A directory or file could not be read.
    #[error("`{path}` could not be read: {what}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        what: String,
    },
    /// Oracle's API is named as a source, and nothing says how it is asked.
    #[error("nothing says how Oracle's API is asked about images of this registry")]
    NoSource,
    /// Something that Oracle's API lists is no signature record.
    #[error("a signature that Oracle's API lists is none")]
    Record(#[from] WireError),
    /// A referrer is not what refers to this subject, or not what its format says.
    #[error("the referrer `{referrer}` {what}")]
    Referrer {
        /// Its digest.
        referrer: Digest,
        /// What is wrong with it.
        what: String,
    },
    /// The referrers tag holds something that is no index.
    #[error("the referrers tag holds no index")]
    ReferrersTag(#[source] ManifestError),
    /// The registry did not give it.
    #[error("the registry did not give the signatures")]
    Registry(#[from] RegistryError),
    /// Oracle's API was not asked.
    #[error("Oracle's API was not asked for the signatures")]
    Source(#[from] OracleRegistryError),
    /// More records than a pull may look at.
    #[error("there are more than {limit} signature records")]
    TooMany {
        /// The bound.
        limit: usize,
    },
}

impl FindError {
    /// The code under which it is answered when no good signature was found elsewhere.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Api(error) | Self::Source(OracleRegistryError::Compartment(error)) => of_api(error),
            Self::File { .. } | Self::NoSource => Reason::SourceUnreachable,
            Self::Record(_)
            | Self::Referrer { .. }
            | Self::ReferrersTag(_)
            | Self::Source(OracleRegistryError::Namespace { .. }) => Reason::Malformed,
            Self::TooMany { .. } => Reason::LimitExceeded,
            Self::Registry(error) => match error {
                RegistryError::DeadlineExceeded { .. } => Reason::DeadlineExceeded,
                RegistryError::DigestMismatch { .. } => Reason::DigestMismatch,
                RegistryError::Malformed { .. } => Reason::Malformed,
                RegistryError::TooLarge { .. } => Reason::LimitExceeded,
                RegistryError::Credentials { .. } | RegistryError::Unauthorized { .. } => {
                    Reason::RegistryUnauthorized
                }
                // A referrer that its own index names and the registry does not have: it may have been the good one.
                RegistryError::NotFound { .. }
                | RegistryError::Refused { .. }
                | RegistryError::Unreachable { .. } => Reason::SourceUnreachable,
            },
        }
    }
}

/// Whatever the service says but an answer, it says nothing about the image: not even its 404 does.
const fn of_api(error: &ApiError) -> Reason {
    let error = match error {
        ApiError::Call(error) => error,
        ApiError::Identity { .. } => return Reason::SourceUnreachable,
    };
    match error {
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

/// What is being asked about.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// Whose signatures.
    pub digest: &'a Digest,
    /// Where it is kept.
    pub repository: &'a Repository,
    /// In which format.
    pub format: FormatName,
    /// `<state>/signatures`.
    pub directory: &'a Path,
    /// Oracle's API, where the registry has its signatures there.
    pub oracle: Option<&'a OracleRegistry>,
}

/// Looks in one source.
pub async fn find(
    source: SourceName,
    sought: Sought<'_>,
    client: &RegistryClient,
    access: &Access,
    budget: &mut Budget,
) -> Found {
    let found = match source {
        SourceName::Directory => in_directory(sought, budget).await,
        SourceName::OracleApi => in_oracle_api(sought, access, budget).await,
        SourceName::Referrers => in_referrers(sought, client, access, budget).await,
        SourceName::Tag => in_referrers_tag(sought, client, access, budget).await,
    };
    found.unwrap_or_else(|error| Found {
        candidates: Vec::new(),
        troubles: vec![SourceFailure { source, error }],
    })
}

async fn in_referrers(
    sought: Sought<'_>,
    client: &RegistryClient,
    access: &Access,
    budget: &mut Budget,
) -> Result<Found, FindError> {
    let artifact_type = sought.format.format().artifact_type();
    match client
        .referrers(sought.repository, sought.digest, &[artifact_type], access)
        .await
    {
        Ok(descriptors) => {
            Ok(read_all(SourceName::Referrers, sought, descriptors, client, access, budget).await)
        }
        // No referrers API here: the tag is the place (distribution-spec 1.1, "Unavailable Referrers API").
        Err(RegistryError::NotFound { .. }) => Ok(Found::default()),
        Err(error) => Err(error.into()),
    }
}

async fn in_referrers_tag(
    sought: Sought<'_>,
    client: &RegistryClient,
    access: &Access,
    budget: &mut Budget,
) -> Result<Found, FindError> {
    let tag = Target::Tag(Tag::of_referrers(sought.digest));
    let fetched = match client.manifest(sought.repository, &tag, access).await {
        Ok(fetched) => fetched,
        Err(RegistryError::NotFound { .. }) => return Ok(Found::default()),
        Err(error) => return Err(error.into()),
    };
    let document =
        Document::parse(&fetched.blob, fetched.content_type.as_deref()).map_err(FindError::ReferrersTag)?;
    let Document::Index(index) = document else {
        // An image under this tag is somebody's image, not a list of referrers.
        return Ok(Found::default());
    };
    let artifact_type = sought.format.format().artifact_type();
    // Some writers leave the type out of the list; the manifest itself says it (and is what is believed).
    let descriptors = index
        .manifests
        .into_iter()
        .filter(|each| {
            each.artifact_type
                .as_deref()
                .is_none_or(|named| named == artifact_type)
        })
        .collect();
    Ok(read_all(SourceName::Tag, sought, descriptors, client, access, budget).await)
}

/// Reads the records that these descriptors lead to, as far as the budget goes.
async fn read_all(
    source: SourceName,
    sought: Sought<'_>,
    mut descriptors: Vec<Descriptor>,
    client: &RegistryClient,
    access: &Access,
    budget: &mut Budget,
) -> Found {
    let mut found = Found::default();
    if descriptors.len() > budget.candidates {
        descriptors.truncate(budget.candidates);
        found.troubles.push(too_many(source));
    }
    budget.candidates -= descriptors.len();
    // Boxed one by one: a closure over borrowed arguments would not be `Send` for every lifetime.
    let reads: Vec<_> = descriptors
        .into_iter()
        .map(|descriptor| read_record(sought, descriptor, client, access).boxed())
        .collect();
    let mut reads = stream::iter(reads).buffered(PARALLEL);
    while let Some(read) = reads.next().await {
        match read {
            Ok(Some(candidate)) => found.candidates.push(candidate),
            Ok(None) => {}
            Err(error) => found.troubles.push(SourceFailure { source, error }),
        }
    }
    found
}

/// One referrer's record; `None` when it is an artifact of another kind.
async fn read_record(
    sought: Sought<'_>,
    descriptor: Descriptor,
    client: &RegistryClient,
    access: &Access,
) -> Result<Option<Candidate>, FindError> {
    let refused = |what: String| FindError::Referrer {
        referrer: descriptor.digest,
        what,
    };
    let (blob, content_type) = match &descriptor.unverified_data {
        // Embedded in the list: hashed like anything else, and one request less.
        Some(data) => {
            let blob =
                Blob::check(&descriptor.digest, data.clone()).map_err(|error| refused(error.to_string()))?;
            (blob, Some(descriptor.media_type.clone()))
        }
        None => {
            let target = Target::Digest(descriptor.digest);
            let fetched = client.manifest(sought.repository, &target, access).await?;
            (fetched.blob, fetched.content_type)
        }
    };
    let document =
        Document::parse(&blob, content_type.as_deref()).map_err(|error| refused(error.to_string()))?;
    let artifact_type = sought.format.format().artifact_type();
    let Document::Image(manifest) = document else {
        return Ok(None);
    };
    if manifest.artifact_type != artifact_type {
        return Ok(None);
    }
    // The list is the registry's word; the subject is in the hashed bytes (formats differ, attacks repeat: a referrer
    // of another image listed under this one).
    if manifest
        .subject
        .as_ref()
        .is_none_or(|subject| subject.digest != *sought.digest)
    {
        return Err(refused("refers to another image".to_owned()));
    }
    let [layer] = manifest.layers.as_slice() else {
        return Err(refused(format!(
            "has {} layers, a signature has one",
            manifest.layers.len()
        )));
    };
    if layer.media_type != artifact_type {
        return Err(refused(format!("has a layer of type `{}`", layer.media_type)));
    }
    let record = client
        .blob(sought.repository, layer, limits::RECORD_BYTES, access)
        .await?;
    Ok(Some(Candidate {
        format: sought.format,
        locator: descriptor.digest.to_string(),
        unverified: record.bytes().clone(),
    }))
}

/// `<state>/signatures/<algorithm>/<hex>/*.json`, in the order of their names.
async fn in_directory(sought: Sought<'_>, budget: &mut Budget) -> Result<Found, FindError> {
    let source = SourceName::Directory;
    let directory = sought
        .directory
        .join(sought.digest.algorithm())
        .join(sought.digest.encoded());
    let unreadable = |path: &Path, error: &std::io::Error| FindError::File {
        path: path.to_owned(),
        what: error.to_string(),
    };
    let mut entries = match tokio::fs::read_dir(&directory).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(error) => return Err(unreadable(&directory, &error)),
    };
    let mut found = Found::default();
    let mut paths = Vec::new();
    while let Some(entry) = entries
        .next_entry()
        .await
        .map_err(|error| unreadable(&directory, &error))?
    {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        if budget.candidates == 0 {
            found.troubles.push(too_many(source));
            break;
        }
        budget.candidates -= 1;
        paths.push(path);
    }
    paths.sort();
    for path in paths {
        match read_bounded(&path).await {
            Ok(unverified) => found.candidates.push(Candidate {
                format: sought.format,
                locator: path.display().to_string(),
                unverified,
            }),
            Err(error) => {
                found.troubles.push(SourceFailure {
                    source,
                    error: unreadable(&path, &error),
                });
            }
        }
    }
    Ok(found)
}

/// What the API lists of the manifest. Its filters are not believed: each record is judged by what it signs.
async fn in_oracle_api(sought: Sought<'_>, access: &Access, budget: &mut Budget) -> Result<Found, FindError> {
    let source = SourceName::OracleApi;
    let oracle = match sought.format {
        FormatName::Oracle => sought.oracle.ok_or(FindError::NoSource)?,
    };
    let list = oracle
        .signatures(
            sought.repository,
            sought.digest,
            budget.candidates,
            access.deadline,
        )
        .await?;
    let mut found = Found::default();
    let mut trouble = |error| found.troubles.push(SourceFailure { source, error });
    for signature in list.signatures {
        budget.candidates = budget.candidates.saturating_sub(1);
        let record = match signature {
            Ok(signature) => signature.record,
            Err(error) => {
                trouble(error.into());
                continue;
            }
        };
        let unverified: Bytes = record.to_json().into();
        if unverified.len() > limits::RECORD_BYTES {
            trouble(FindError::Record(WireError::TooLarge {
                limit: limits::RECORD_BYTES,
            }));
            continue;
        }
        found.candidates.push(Candidate {
            format: sought.format,
            locator: record.locator(),
            unverified,
        });
    }
    if let Some(error) = list.incomplete {
        trouble(error.into());
    }
    Ok(found)
}

async fn read_bounded(path: &Path) -> Result<Bytes, std::io::Error> {
    let file = tokio::fs::File::open(path).await?;
    let limit = u64::try_from(limits::RECORD_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > limits::RECORD_BYTES {
        let what = format!("larger than {} bytes", limits::RECORD_BYTES);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes.into())
}

const fn too_many(source: SourceName) -> SourceFailure {
    SourceFailure {
        source,
        error: FindError::TooMany {
            limit: limits::CANDIDATES,
        },
    }
}

//! The referrers of a manifest: the referrers API (distribution-spec 1.1, "Listing Referrers"), page by page, and the
//! referrers tag that stands in for it ("Unavailable Referrers API").

use http::{HeaderValue, StatusCode, header};
use url::Url;

use super::access::FetchedManifest;
use super::body::{self, chain};
use super::endpoint::NoReferrersApi;
use super::error::RegistryError;
use super::metrics::RegistryOperation;
use super::operation::{RegistryTask, RequestContext};
use super::sender::{Attempts, RegistryRequest, RegistryResponse};
use super::tokens::TokenScope;
use crate::base::limits;
use crate::base::link_header::next_target;
use crate::base::printable::excerpt_bytes;
use crate::net::transport::guard::{host_of, same_origin};
use crate::oci::{Blob, Descriptor, Digest, Document, Index, ManifestError, MediaType};

/// The body of a 404 where Go's HTTP server has no such route at all, as in distribution 2.x and 3.x. A registry that
/// knows the route sends the error document of the specification.
const NO_ROUTE: &[u8] = b"404 page not found";

/// Lists the referrers of some types, or of every type, on all pages.
pub(super) struct ReferrersTask<'a> {
    pub(super) repository: &'a str,
    pub(super) digest: &'a Digest,
    pub(super) artifact_types: Option<&'a [&'a str]>,
}

impl RegistryTask for ReferrersTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Referrers;
    type Output = Vec<Descriptor>;

    async fn run(&self, context: &RequestContext<'_>) -> Result<Vec<Descriptor>, RegistryError> {
        let Self {
            repository,
            digest,
            artifact_types,
        } = self;
        let endpoint = context.sender.endpoint;
        let not_found = || RegistryError::NotFound {
            host: endpoint.host.clone(),
        };
        if context.no_referrers_api.contains(endpoint.root(), repository) {
            return Err(not_found());
        }
        let mut url = endpoint.url(repository, &format!("referrers/{digest}"));
        // The API filters by one type at most.
        if let Some([artifact_type]) = artifact_types {
            url.query_pairs_mut().append_pair("artifactType", artifact_type);
        }
        let mut found = Vec::new();
        for page in 0..limits::REFERRER_PAGES {
            let mut request = RegistryRequest::get(url);
            let accept = HeaderValue::from_static(MediaType::OciIndex.as_str());
            request.headers.insert(header::ACCEPT, accept);
            let response = context.send(&request, TokenScope::pull(repository)).await?;
            if response.status() == StatusCode::NOT_FOUND {
                return Err(match page {
                    0 => {
                        remember_absence(context.no_referrers_api, endpoint.root(), repository, response)
                            .await
                    }
                    // The API exists: half of a list must not read as "no referrers".
                    _ => response.malformed("a page of referrers that it named does not exist".to_owned()),
                });
            }
            let response = response.expect(&[StatusCode::OK]).await?;
            let next = next_page(&response)?;
            // Registries may ignore the filter, so that it is applied again here.
            found.extend(
                read_page(response)
                    .await?
                    .into_iter()
                    .filter(|one| artifact_types.is_none_or(|types| is_of_type(one, types))),
            );
            // One more than the bound tells the caller that there are too many.
            if found.len() > limits::CANDIDATES {
                found.truncate(limits::CANDIDATES + 1);
                return Ok(found);
            }
            match next {
                Some(next) => url = next,
                // A mirror copies images: that it has no signatures does not mean that the registry has none.
                None if found.is_empty() && context.sender.attempts == Attempts::Mirror => {
                    return Err(not_found());
                }
                None => return Ok(found),
            }
        }
        Err(RegistryError::TooLarge {
            host: endpoint.host.clone(),
            limit: limits::REFERRER_PAGES,
            unit: "pages",
        })
    }
}

/// The content of a referrers tag.
#[derive(Clone, Debug)]
pub enum ReferrersTag {
    /// The registry has no such tag.
    Absent,
    /// An image stands under the tag, not a list of referrers.
    Image,
    /// The list of referrers.
    Index {
        /// The list, of every artifact type. An entry may lack its type: some writers leave it out.
        index: Index,
        /// The content from which it was parsed.
        blob: Blob,
    },
}

impl ReferrersTag {
    /// Reads the manifest that was found under a referrers tag.
    ///
    /// # Errors
    /// [`ManifestError`] when it is neither an image manifest nor an index.
    pub(super) fn from_manifest(fetched: FetchedManifest) -> Result<Self, ManifestError> {
        match Document::parse(&fetched.blob, fetched.content_type.as_deref())? {
            Document::Index(index) => Ok(Self::Index {
                index,
                blob: fetched.blob,
            }),
            Document::Image(_) => Ok(Self::Image),
        }
    }
}

/// Keeps in mind that the referrers API is missing, at the endpoint where its route does not exist, otherwise in this
/// repository.
async fn remember_absence(
    no_referrers_api: &NoReferrersApi,
    endpoint: &Url,
    repository: &str,
    response: RegistryResponse,
) -> RegistryError {
    let RegistryResponse { response, host, .. } = response;
    // The body is only a hint: one that cannot be read says nothing about the route.
    let is_no_route = body::read_bounded(response, &host, limits::ERROR_BYTES)
        .await
        .is_ok_and(|body| body.trim_ascii() == NO_ROUTE);
    no_referrers_api.insert(endpoint, Some(repository).filter(|_| !is_no_route));
    RegistryError::NotFound { host }
}

fn is_of_type(descriptor: &Descriptor, artifact_types: &[&str]) -> bool {
    descriptor
        .artifact_type
        .as_deref()
        .is_some_and(|artifact_type| artifact_types.contains(&artifact_type))
}

/// Reads one page: an OCI index with that media type. A registry that answers every path with its start page does not
/// list referrers, and must not look as if it had none.
async fn read_page(response: RegistryResponse) -> Result<Vec<Descriptor>, RegistryError> {
    body::refuse_compressed(&response.response, &response.host)?;
    let content_type = response.content_type()?;
    if content_type.as_deref().and_then(MediaType::from_content_type) != Some(MediaType::OciIndex) {
        let actual = content_type.as_deref().unwrap_or("-");
        return Err(response.malformed(format!(
            "a list of referrers is an index, not `{}`",
            excerpt_bytes(actual.as_bytes())
        )));
    }
    let RegistryResponse { response, host, .. } = response;
    let bytes = body::read_bounded(response, &host, limits::MANIFEST_BYTES).await?;
    match Document::parse(&Blob::from_bytes(bytes), content_type.as_deref()) {
        Ok(Document::Index(index)) => Ok(index.manifests),
        Ok(Document::Image(_)) => Err(RegistryError::Malformed {
            host,
            what: "a list of referrers is an index, not an image manifest".to_owned(),
        }),
        Err(ManifestError::TooManyChildren { limit }) => Err(RegistryError::TooLarge {
            host,
            limit,
            unit: "referrers",
        }),
        Err(error) => {
            let what = format!("the list of referrers: {}", chain(&error));
            Err(RegistryError::Malformed { host, what })
        }
    }
}

/// Returns the URL of the next page (`Link`, as distribution-spec 1.1 uses it): on the same host and port, or refused.
fn next_page(response: &RegistryResponse) -> Result<Option<Url>, RegistryError> {
    let fields = response.headers().get_all(header::LINK);
    let Some(target) = next_target(fields).map_err(|error| response.malformed(error.to_string()))? else {
        return Ok(None);
    };
    let next = response.url.join(target);
    let mut next = next.map_err(|error| response.malformed(format!("the next page: {error}")))?;
    if !same_origin(&next, &response.url) || !next.username().is_empty() || next.password().is_some() {
        let why = "the next page is at another host".to_owned();
        return Err(RegistryError::Refused {
            host: host_of(&next),
            why,
        });
    }
    next.set_fragment(None);
    Ok(Some(next))
}

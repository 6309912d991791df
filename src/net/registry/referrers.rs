//! The referrers API (distribution-spec 1.1, "Listing Referrers"), page by page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode, header};
use url::Url;

use super::auth::{Actions, Need};
use super::body::chain;
use super::client::RegistryTask;
use super::{RegistryError, body};
use crate::base::limits;
use crate::base::link_header::next_target;
use crate::base::printable::excerpt_bytes;
use crate::net::registry::metrics::RegistryOperation;
use crate::net::registry::read as content;
use crate::net::registry::sender::{Attempts, RegistryRequest, RegistryResponse, Turn};
use crate::net::transport::guard::{host_of, same_origin};
use crate::oci::{Blob, Descriptor, Digest, Document, ManifestError, MediaType};

/// How long it is remembered that a registry has no referrers API: what changes is an upgrade of the registry.
const MEMORY: Duration = Duration::from_secs(10 * 60);

/// Most repositories and endpoints of which that is remembered.
const REMEMBERED: usize = 1024;

/// What Go's HTTP server answers where it has no such route at all, and with it distribution 2.x and 3.x. A registry that
/// knows the route answers in the error document of the specification.
const NO_ROUTE: &[u8] = b"404 page not found";

/// Where there is no referrers API. Of one repository; of a whole endpoint only where its answer says that the route does
/// not exist: else one pull of a repository that does not exist would hide the signatures of all others.
pub(super) struct WithoutReferrers {
    kept: quick_cache::sync::Cache<(Url, Option<Arc<str>>), Instant>,
}

impl WithoutReferrers {
    pub(super) fn new() -> Self {
        Self {
            kept: quick_cache::sync::Cache::new(REMEMBERED),
        }
    }

    fn knows(&self, endpoint: &Url, repository: &str) -> bool {
        let now = Instant::now();
        let is_fresh = |key| self.kept.get(&key).is_some_and(|until: Instant| now < until);
        is_fresh((endpoint.clone(), None)) || is_fresh((endpoint.clone(), Some(Arc::from(repository))))
    }

    fn keep(&self, endpoint: &Url, repository: Option<&str>) {
        self.kept.insert(
            (endpoint.clone(), repository.map(Arc::from)),
            Instant::now() + MEMORY,
        );
    }
}

/// The referrers of one type, or of every type, all pages.
pub(super) struct ReferrersTask<'a> {
    pub(super) repository: &'a str,
    pub(super) digest: &'a Digest,
    pub(super) artifact_type: Option<&'a str>,
    pub(super) without: &'a WithoutReferrers,
}

impl RegistryTask for ReferrersTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Referrers;
    type Given = Vec<Descriptor>;

    async fn at(&self, turn: &Turn<'_>) -> Result<Vec<Descriptor>, RegistryError> {
        let Self {
            repository,
            digest,
            artifact_type,
            without,
        } = self;
        if without.knows(turn.endpoint.root(), repository) {
            return Err(RegistryError::NotFound {
                host: turn.endpoint.host.clone(),
            });
        }
        let mut url = turn.endpoint.url(repository, &format!("referrers/{digest}"));
        if let Some(artifact_type) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", artifact_type);
        }
        let mut found = Vec::new();
        for page in 0..limits::REFERRER_PAGES {
            let mut ask = RegistryRequest::get(url);
            let accept = HeaderValue::from_static(MediaType::OciIndex.as_str());
            ask.headers.insert(header::ACCEPT, accept);
            let answer = turn
                .ask(
                    &ask,
                    &Need {
                        repository,
                        actions: Actions::Pull,
                    },
                )
                .await?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Err(match page {
                    0 => turn.absent(repository, answer, without).await,
                    // The API is there: half of a list must not read as "none here".
                    _ => answer.malformed("a page of referrers that it named is not there".to_owned()),
                });
            }
            let answer = answer.expect(&[StatusCode::OK]).await?;
            let next = next_page(&answer)?;
            found.extend(
                page_of(answer)
                    .await?
                    .into_iter()
                    .filter(|one| artifact_type.is_none_or(|artifact_type| is_of_type(one, artifact_type))),
            );
            // One more than is looked at tells the caller that there are too many.
            if found.len() > limits::CANDIDATES {
                found.truncate(limits::CANDIDATES + 1);
                return Ok(found);
            }
            match next {
                Some(next) => url = next,
                // A mirror copies images; that it knows no signatures does not say that there are none.
                None if found.is_empty() && turn.attempts == Attempts::Mirror => {
                    return Err(RegistryError::NotFound {
                        host: turn.endpoint.host.clone(),
                    });
                }
                None => return Ok(found),
            }
        }
        let host = turn.endpoint.host.clone();
        Err(RegistryError::TooLarge {
            host,
            limit: limits::REFERRER_PAGES,
            unit: "pages",
        })
    }
}

impl Turn<'_> {
    async fn absent(
        &self,
        repository: &str,
        answer: RegistryResponse,
        without: &WithoutReferrers,
    ) -> RegistryError {
        let RegistryResponse { response, host, .. } = answer;
        // Only a hint: a body that cannot be read says nothing of the route.
        let is_no_route = body::read_bounded(response, &host, limits::ERROR_BYTES)
            .await
            .is_ok_and(|body| body.trim_ascii() == NO_ROUTE);
        without.keep(self.endpoint.root(), Some(repository).filter(|_| !is_no_route));
        RegistryError::NotFound { host }
    }
}

fn is_of_type(descriptor: &Descriptor, artifact_type: &str) -> bool {
    descriptor.artifact_type.as_deref() == Some(artifact_type)
}

/// One page: an OCI index, and called one (a registry that answers any path with its start page has no referrers to
/// tell of, and must not look as if it had none).
async fn page_of(answer: RegistryResponse) -> Result<Vec<Descriptor>, RegistryError> {
    body::refuse_compressed(&answer.response, &answer.host)?;
    let content_type = content::content_type(&answer)?;
    if content_type.as_deref().and_then(MediaType::from_content_type) != Some(MediaType::OciIndex) {
        let said = content_type.as_deref().unwrap_or("-");
        return Err(answer.malformed(format!(
            "referrers are an index, not `{}`",
            excerpt_bytes(said.as_bytes())
        )));
    }
    let RegistryResponse { response, host, .. } = answer;
    let bytes = body::read_bounded(response, &host, limits::MANIFEST_BYTES).await?;
    match Document::parse(&Blob::of(bytes), content_type.as_deref()) {
        Ok(Document::Index(index)) => Ok(index.manifests),
        Ok(Document::Image(_)) => Err(RegistryError::Malformed {
            host,
            what: "referrers are an index, not a manifest".to_owned(),
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

/// Where the next page is (RFC 8288, as distribution-spec 1.1 uses it): on the same host and port, or refused.
fn next_page(answer: &RegistryResponse) -> Result<Option<Url>, RegistryError> {
    let fields = answer.headers().get_all(header::LINK);
    let Some(target) = next_target(fields).map_err(|error| answer.malformed(error.to_string()))? else {
        return Ok(None);
    };
    let next = answer.url.join(target);
    let mut next = next.map_err(|error| answer.malformed(format!("the next page: {error}")))?;
    if !same_origin(&next, &answer.url) || !next.username().is_empty() || next.password().is_some() {
        let why = "the next page is at another host".to_owned();
        return Err(RegistryError::Refused {
            host: host_of(&next),
            why,
        });
    }
    next.set_fragment(None);
    Ok(Some(next))
}

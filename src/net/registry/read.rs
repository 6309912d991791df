//! The reads: manifests, blobs and tag lists.

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::access::{BlobStream, FetchedManifest, Target};
use super::body;
use super::config::Credentials;
use super::error::RegistryError;
use super::metrics::RegistryOperation;
use super::operation::{RegistryTask, RequestContext};
use super::sender::{RegistryRequest, RegistryResponse};
use super::tokens::TokenScope;
use crate::base::limits;
use crate::base::printable::excerpt_bytes;
use crate::oci::{Blob, Descriptor, Digest, DigestMismatch, MediaType};

/// The registry's name for the digest of the content that it sends (distribution-spec 1.1).
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The header fields of a blob that are passed on. A cookie or a policy of the origin is not pullgate's.
const BLOB_HEADERS: [HeaderName; 5] = [
    header::ACCEPT_RANGES,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ETAG,
];

/// Every media type of a manifest that is read. docker-registry answers 404 for a type that is not named.
static ANY_MANIFEST: LazyLock<HeaderValue> = LazyLock::new(|| {
    let all = MediaType::ALL.map(MediaType::as_str).join(", ");
    HeaderValue::from_str(&all).unwrap_or(HeaderValue::from_static("*/*"))
});

/// Reads a manifest whole.
pub(super) struct ManifestTask<'a> {
    pub(super) repository: &'a str,
    pub(super) target: &'a Target,
}

impl RegistryTask for ManifestTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Manifest;
    type Output = FetchedManifest;

    async fn run(&self, context: &RequestContext<'_>) -> Result<FetchedManifest, RegistryError> {
        let Self { repository, target } = self;
        let endpoint = context.sender.endpoint;
        let mut request = RegistryRequest::get(endpoint.url(repository, &format!("manifests/{target}")));
        request.headers.insert(header::ACCEPT, ANY_MANIFEST.clone());
        let response = context
            .send(&request, TokenScope::pull(repository))
            .await?
            .expect(&[StatusCode::OK])
            .await?;
        body::refuse_compressed(&response.response, &response.host)?;
        let content_type = response.content_type()?;
        let claimed = response.headers().get(CONTENT_DIGEST).cloned();
        let RegistryResponse { response, host, .. } = response;
        let bytes = body::read_bounded(response, &host, limits::MANIFEST_BYTES).await?;
        let blob = match target {
            Target::Digest(digest) => check(digest, bytes, &host)?,
            Target::Tag(_) => {
                if let Some(claimed) = claimed {
                    check(&claimed_digest(&claimed, &host)?, bytes.clone(), &host)?;
                }
                Blob::from_bytes(bytes)
            }
        };
        Ok(FetchedManifest { blob, content_type })
    }
}

/// Reads a small blob whole.
pub(super) struct BlobTask<'a> {
    pub(super) repository: &'a str,
    pub(super) descriptor: &'a Descriptor,
    pub(super) limit: usize,
}

impl RegistryTask for BlobTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Blob;
    type Output = Blob;

    async fn run(&self, context: &RequestContext<'_>) -> Result<Blob, RegistryError> {
        let Self {
            repository,
            descriptor,
            limit,
        } = self;
        let endpoint = context.sender.endpoint;
        let request = RegistryRequest::get(endpoint.url(repository, &format!("blobs/{}", descriptor.digest)));
        let response = context
            .send(&request, TokenScope::pull(repository))
            .await?
            .expect(&[StatusCode::OK])
            .await?;
        body::refuse_compressed(&response.response, &response.host)?;
        let RegistryResponse { response, host, .. } = response;
        let bytes = body::read_bounded(response, &host, *limit).await?;
        sized(descriptor, bytes, &host)
    }
}

/// Passes a blob on as it arrives.
pub(super) struct BlobStreamTask<'a> {
    pub(super) repository: &'a str,
    pub(super) digest: &'a Digest,
    pub(super) method: Method,
    pub(super) range: Option<HeaderValue>,
}

impl RegistryTask for BlobStreamTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Blob;
    type Output = BlobStream;

    async fn run(&self, context: &RequestContext<'_>) -> Result<BlobStream, RegistryError> {
        const WHOLE: &[StatusCode] = &[StatusCode::OK];
        const RANGE: &[StatusCode] = &[
            StatusCode::OK,
            StatusCode::PARTIAL_CONTENT,
            StatusCode::RANGE_NOT_SATISFIABLE,
        ];
        let Self {
            repository,
            digest,
            method,
            range,
        } = self;
        let range = range.as_ref().filter(|range| is_simple_range(range));
        let mut headers = HeaderMap::new();
        headers.extend(range.map(|range| (header::RANGE, range.clone())));
        let request = RegistryRequest {
            method: method.clone(),
            url: context
                .sender
                .endpoint
                .url(repository, &format!("blobs/{digest}")),
            headers,
            body: None,
        };
        let response = context
            .send(&request, TokenScope::pull(repository))
            .await?
            .expect(if range.is_some() { RANGE } else { WHOLE })
            .await?;
        body::refuse_compressed(&response.response, &response.host)?;
        let status = response.status();
        let mut headers = HeaderMap::new();
        for name in BLOB_HEADERS {
            headers.extend(response.headers().get(&name).cloned().map(|value| (name, value)));
        }
        let RegistryResponse { response, host, .. } = response;
        let body = if *method == Method::HEAD {
            stream::empty().boxed()
        } else {
            body::stream(response, host, limits::BLOB_IDLE)
        };
        Ok(BlobStream {
            status,
            headers,
            body,
        })
    }
}

/// Reads one page of the tag list.
pub(super) struct TagsTask<'a> {
    pub(super) repository: &'a str,
    pub(super) query: Option<&'a str>,
}

impl RegistryTask for TagsTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Tags;
    type Output = (Bytes, Option<HeaderValue>);

    async fn run(&self, context: &RequestContext<'_>) -> Result<(Bytes, Option<HeaderValue>), RegistryError> {
        let Self { repository, query } = self;
        let mut url = context.sender.endpoint.url(repository, "tags/list");
        // No other field of the client's query reaches the origin.
        let fields = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        for (name, value) in fields.filter(|(name, _)| name == "n" || name == "last") {
            url.query_pairs_mut().append_pair(&name, &value);
        }
        let response = context
            .send(&RegistryRequest::get(url), TokenScope::pull(repository))
            .await?
            .expect(&[StatusCode::OK])
            .await?;
        body::refuse_compressed(&response.response, &response.host)?;
        let link = response.headers().get(header::LINK).cloned();
        let RegistryResponse { response, host, .. } = response;
        let bytes = body::read_bounded(response, &host, limits::TAGS_BYTES).await?;
        Ok((bytes, link))
    }
}

/// Reads the challenge that `/v2/` sends to a client without credentials.
pub(super) struct ChallengeTask;

impl RegistryTask for ChallengeTask {
    const OPERATION: RegistryOperation = RegistryOperation::Challenge;
    type Output = Option<HeaderValue>;

    async fn run(&self, context: &RequestContext<'_>) -> Result<Option<HeaderValue>, RegistryError> {
        if context.registry.credentials != Credentials::Passthrough {
            // A client that logged in would disclose credentials that pullgate does not use.
            return Ok(None);
        }
        let request = RegistryRequest::get(context.sender.endpoint.root().clone());
        let response = context.sender.send(&request, None).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            body::drain(response.expect(&[StatusCode::OK]).await?.response).await;
            return Ok(None);
        }
        let unusable = || response.malformed("a 401 without a usable challenge".to_owned());
        response.challenge().map(Some).ok_or_else(unusable)
    }
}

/// Returns the blob that a descriptor embeds in its `data`, without a request; `None` where it embeds none.
pub(super) fn embedded(descriptor: &Descriptor, host: &str) -> Option<Result<Blob, RegistryError>> {
    let bytes = descriptor.unverified_data.clone()?;
    Some(sized(descriptor, bytes, host))
}

fn check(digest: &Digest, bytes: Bytes, host: &str) -> Result<Blob, RegistryError> {
    Blob::check(digest, bytes).map_err(|mismatch: DigestMismatch| RegistryError::DigestMismatch {
        host: host.to_owned(),
        mismatch,
    })
}

/// Checks a blob against its descriptor. Another size is reported as such: the digest would differ as well, and say
/// less.
fn sized(descriptor: &Descriptor, bytes: Bytes, host: &str) -> Result<Blob, RegistryError> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length == descriptor.size) {
        return check(&descriptor.digest, bytes, host);
    }
    let what = format!(
        "`{}` is {} bytes, not {}",
        descriptor.digest,
        bytes.len(),
        descriptor.size
    );
    Err(RegistryError::Malformed {
        host: host.to_owned(),
        what,
    })
}

fn claimed_digest(claimed: &HeaderValue, host: &str) -> Result<Digest, RegistryError> {
    let digest = claimed.to_str().ok().and_then(|text| text.parse().ok());
    digest.ok_or_else(|| RegistryError::Malformed {
        host: host.to_owned(),
        what: format!(
            "`Docker-Content-Digest` is `{}`",
            excerpt_bytes(claimed.as_bytes())
        ),
    })
}

/// Whether a range is one range of bytes (RFC 9110, 14.1.2): `bytes=0-`, `bytes=0-99`, `bytes=-100`. Lists cost an
/// origin work and runtimes do not send them; the whole blob answers a range that is not passed on.
fn is_simple_range(range: &HeaderValue) -> bool {
    let digits = |text: &str| text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit());
    range
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
        .is_some_and(|(first, last)| digits(first) && digits(last) && !(first.is_empty() && last.is_empty()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::is_simple_range;

    #[test]
    fn only_one_plain_range_is_passed_on() {
        for range in ["bytes=0-", "bytes=0-0", "bytes=-5", "bytes=5-9999999999999999999"] {
            assert!(is_simple_range(&HeaderValue::from_static(range)), "{range}");
        }
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=0-1,3-4",
            "bytes= 0-1",
            "Bytes=0-1",
            "items=0-1",
            "bytes=1-x",
            "bytes=--1",
            "bytes=+1-2",
            "bytes=0-99999999999999999999",
        ] {
            assert!(!is_simple_range(&HeaderValue::from_static(range)), "{range}");
        }
    }
}

//! Manifests, blobs and tag lists: what is read.

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::auth::{Actions, Need};
use super::client::RegistryTask;
use super::{BlobStream, Credentials, FetchedManifest, RegistryError, Target, body};
use crate::base::limits;
use crate::base::printable::excerpt_bytes;
use crate::net::registry::metrics::RegistryOperation;
use crate::net::registry::sender::{RegistryRequest, RegistryResponse, Turn};
use crate::oci::{Blob, Descriptor, Digest, DigestMismatch, MediaType};

/// What a registry calls the digest of what it sends (distribution-spec 1.1).
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Longest `Content-Type` that is handed on.
const CONTENT_TYPE_BYTES: usize = 256;

/// Headers of a blob that are handed on. Nothing else is: a cookie or a policy of the origin is not the gate's.
const BLOB_HEADERS: [HeaderName; 5] = [
    header::ACCEPT_RANGES,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ETAG,
];

/// Every kind of manifest that is read. docker-registry answers 404 for what is not named.
static ANY_MANIFEST: LazyLock<HeaderValue> = LazyLock::new(|| {
    let all = MediaType::ALL.map(MediaType::as_str).join(", ");
    HeaderValue::from_str(&all).unwrap_or(HeaderValue::from_static("*/*"))
});

/// A manifest, read whole.
pub(super) struct ManifestTask<'a> {
    pub(super) repository: &'a str,
    pub(super) target: &'a Target,
}

impl RegistryTask for ManifestTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Manifest;
    type Given = FetchedManifest;

    async fn at(&self, turn: &Turn<'_>) -> Result<FetchedManifest, RegistryError> {
        let Self { repository, target } = self;
        let mut ask = RegistryRequest::get(
            turn.endpoint
                .url(repository, &format!("manifests/{}", named(target))),
        );
        ask.headers.insert(header::ACCEPT, ANY_MANIFEST.clone());
        let answer = turn
            .ask(
                &ask,
                &Need {
                    repository,
                    actions: Actions::Pull,
                },
            )
            .await?
            .expect(&[StatusCode::OK])
            .await?;
        body::refuse_compressed(&answer.response, &answer.host)?;
        let content_type = content_type(&answer)?;
        let claimed = answer.headers().get(CONTENT_DIGEST).cloned();
        let RegistryResponse { response, host, .. } = answer;
        let bytes = body::read_bounded(response, &host, limits::MANIFEST_BYTES).await?;
        let blob = match target {
            Target::Digest(digest) => check(digest, bytes, &host)?,
            Target::Tag(_) => {
                if let Some(claimed) = claimed {
                    check(&claimed_digest(&claimed, &host)?, bytes.clone(), &host)?;
                }
                Blob::of(bytes)
            }
        };
        Ok(FetchedManifest { blob, content_type })
    }
}

/// A small blob, read whole.
pub(super) struct BlobTask<'a> {
    pub(super) repository: &'a str,
    pub(super) descriptor: &'a Descriptor,
    pub(super) limit: usize,
}

impl RegistryTask for BlobTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Blob;
    type Given = Blob;

    async fn at(&self, turn: &Turn<'_>) -> Result<Blob, RegistryError> {
        let Self {
            repository,
            descriptor,
            limit,
        } = self;
        let ask = RegistryRequest::get(
            turn.endpoint
                .url(repository, &format!("blobs/{}", descriptor.digest)),
        );
        let answer = turn
            .ask(
                &ask,
                &Need {
                    repository,
                    actions: Actions::Pull,
                },
            )
            .await?
            .expect(&[StatusCode::OK])
            .await?;
        body::refuse_compressed(&answer.response, &answer.host)?;
        let RegistryResponse { response, host, .. } = answer;
        let bytes = body::read_bounded(response, &host, *limit).await?;
        sized(descriptor, bytes, &host)
    }
}

/// A blob, as it comes.
pub(super) struct BlobStreamTask<'a> {
    pub(super) repository: &'a str,
    pub(super) digest: &'a Digest,
    pub(super) method: Method,
    pub(super) range: Option<HeaderValue>,
}

impl RegistryTask for BlobStreamTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Blob;
    type Given = BlobStream;

    async fn at(&self, turn: &Turn<'_>) -> Result<BlobStream, RegistryError> {
        let Self {
            repository,
            digest,
            method,
            range,
        } = self;
        let range = range.as_ref().filter(|range| is_simple_range(range));
        let mut headers = HeaderMap::new();
        headers.extend(range.map(|range| (header::RANGE, range.clone())));
        let url = turn.endpoint.url(repository, &format!("blobs/{digest}"));
        let ask = RegistryRequest {
            method: method.clone(),
            url,
            headers,
            body: None,
        };
        let mut wanted = vec![StatusCode::OK];
        if range.is_some() {
            wanted.extend([StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE]);
        }
        let answer = turn
            .ask(
                &ask,
                &Need {
                    repository,
                    actions: Actions::Pull,
                },
            )
            .await?
            .expect(&wanted)
            .await?;
        body::refuse_compressed(&answer.response, &answer.host)?;
        let status = answer.status();
        let mut headers = HeaderMap::new();
        for name in BLOB_HEADERS {
            headers.extend(answer.headers().get(&name).cloned().map(|value| (name, value)));
        }
        let RegistryResponse { response, host, .. } = answer;
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

/// One page of the tag list.
pub(super) struct TagsTask<'a> {
    pub(super) repository: &'a str,
    pub(super) query: Option<&'a str>,
}

impl RegistryTask for TagsTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Tags;
    type Given = (Bytes, Option<HeaderValue>);

    async fn at(&self, turn: &Turn<'_>) -> Result<(Bytes, Option<HeaderValue>), RegistryError> {
        let Self { repository, query } = self;
        let mut url = turn.endpoint.url(repository, "tags/list");
        // Whatever else a client put there does not reach the origin.
        let fields = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        for (name, value) in fields.filter(|(name, _)| name == "n" || name == "last") {
            url.query_pairs_mut().append_pair(&name, &value);
        }
        let ask = RegistryRequest::get(url);
        let answer = turn
            .ask(
                &ask,
                &Need {
                    repository,
                    actions: Actions::Pull,
                },
            )
            .await?
            .expect(&[StatusCode::OK])
            .await?;
        body::refuse_compressed(&answer.response, &answer.host)?;
        let link = answer.headers().get(header::LINK).cloned();
        let RegistryResponse { response, host, .. } = answer;
        let bytes = body::read_bounded(response, &host, limits::TAGS_BYTES).await?;
        Ok((bytes, link))
    }
}

/// What `/v2/` says to someone without credentials.
pub(super) struct ChallengeTask;

impl RegistryTask for ChallengeTask {
    const OPERATION: RegistryOperation = RegistryOperation::Challenge;
    type Given = Option<HeaderValue>;

    async fn at(&self, turn: &Turn<'_>) -> Result<Option<HeaderValue>, RegistryError> {
        if turn.registry.credentials != Credentials::Passthrough {
            // Who logged in would show the gate credentials that it does not use.
            return Ok(None);
        }
        let answer = turn
            .send(&RegistryRequest::get(turn.endpoint.root().clone()), None)
            .await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            body::drain(answer.expect(&[StatusCode::OK]).await?.response).await;
            return Ok(None);
        }
        let unclear = || answer.malformed("a 401 without a usable challenge".to_owned());
        answer.challenge().map(Some).ok_or_else(unclear)
    }
}

/// A blob that its descriptor holds, without asking anyone. None where it holds none.
pub(super) fn embedded(descriptor: &Descriptor, host: &str) -> Option<Result<Blob, RegistryError>> {
    let bytes = descriptor.unverified_data.clone()?;
    Some(sized(descriptor, bytes, host))
}

/// A tag or digest as it stands in a path.
pub(super) fn named(target: &Target) -> String {
    match target {
        Target::Digest(digest) => digest.to_string(),
        Target::Tag(tag) => tag.to_string(),
    }
}

/// `Content-Type`, if it was sent.
pub(super) fn content_type(answer: &RegistryResponse) -> Result<Option<String>, RegistryError> {
    let Some(value) = answer.headers().get(header::CONTENT_TYPE) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) if text.len() <= CONTENT_TYPE_BYTES => Ok(Some(text.to_owned())),
        Ok(_) | Err(_) => {
            Err(answer.malformed(format!("`Content-Type` is `{}`", excerpt_bytes(value.as_bytes()))))
        }
    }
}

fn check(digest: &Digest, bytes: Bytes, host: &str) -> Result<Blob, RegistryError> {
    Blob::check(digest, bytes).map_err(|mismatch: DigestMismatch| RegistryError::DigestMismatch {
        host: host.to_owned(),
        mismatch,
    })
}

/// A size that differs is said as such: the digest would differ as well, and would tell less.
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

/// One range of bytes (RFC 9110, 14.1.2): `bytes=0-`, `bytes=0-99`, `bytes=-100`. Lists make an origin work, and
/// no runtime sends them; a range that is not passed on is answered with the whole blob.
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
    fn one_plain_range_is_passed_on_and_nothing_else() {
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

//! Responses of the registry.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

use crate::fakes::registry::store::StoreError;
use crate::oci::Digest;

/// A successful response.
pub(super) struct FakeResponse(Response<Full<Bytes>>);

impl FakeResponse {
    pub(super) fn empty(status: StatusCode) -> Self {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Self(response)
    }

    pub(super) fn document(media_type: &str, bytes: Bytes) -> Self {
        let size = bytes.len().to_string();
        let answer = Self(Response::new(Full::new(bytes)));
        answer
            .with(header::CONTENT_TYPE, media_type)
            .with(header::CONTENT_LENGTH, &size)
    }

    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self::document("application/json", value.to_string().into())
    }

    /// Returns a blob, or the one range of it that is requested (RFC 9110, 14.1.2). An invalid header and one with several
    /// ranges are ignored, as 14.2 allows.
    pub(super) fn ranged(bytes: Bytes, range: Option<&HeaderValue>) -> Result<Self, ErrorResponse> {
        let size = bytes.len();
        let bounds = range.and_then(|value| value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
        let bounds = bounds.and_then(
            |(first, last)| match (first.parse::<usize>(), last.parse::<usize>()) {
                (Ok(first), Ok(last)) if first <= last => Some((first, last.saturating_add(1).min(size))),
                (Ok(first), Err(_)) if last.is_empty() => Some((first, size)),
                (Err(_), Ok(suffix)) if first.is_empty() => Some((size.saturating_sub(suffix), size)),
                (_, _) => None,
            },
        );
        match bounds {
            None => Ok(Self::document(OCTETS, bytes).with(header::ACCEPT_RANGES, "bytes")),
            Some((first, end)) if first < end => {
                let range = format!("bytes {first}-{}/{size}", end - 1);
                let mut answer =
                    Self::document(OCTETS, bytes.slice(first..end)).with(header::CONTENT_RANGE, &range);
                *answer.0.status_mut() = StatusCode::PARTIAL_CONTENT;
                Ok(answer)
            }
            Some(_) => {
                Err(
                    ErrorResponse::new(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", "no such range")
                        .with(header::CONTENT_RANGE, &format!("bytes */{size}")),
                )
            }
        }
    }

    pub(super) fn blob_created(name: &str, digest: &Digest) -> Self {
        Self::empty(StatusCode::CREATED)
            .with_location(&format!("/v2/{name}/blobs/{digest}"))
            .with_digest(digest)
    }

    /// Returns the location of an upload. It already has a query, as in docker-registry, and a client must add `digest` to
    /// it.
    pub(super) fn upload(status: StatusCode, name: &str, id: &str, size: usize) -> Self {
        Self::empty(status)
            .with_location(&format!("/v2/{name}/blobs/uploads/{id}?state={size}"))
            .with(header::RANGE, &format!("0-{}", size.saturating_sub(1)))
    }

    pub(super) fn with_digest(self, digest: &Digest) -> Self {
        self.with(DOCKER_CONTENT_DIGEST, &digest.to_string())
            .with(header::ETAG, &format!("\"{digest}\""))
    }

    pub(super) fn with_location(self, location: &str) -> Self {
        self.with(header::LOCATION, location)
    }

    pub(super) fn with_next_link(self, next: &str) -> Self {
        self.with(header::LINK, &format!("<{next}>; rel=\"next\""))
    }

    /// Adds a header. Values consist of checked names and digests or were received as headers; an invalid value is left out.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers_mut().insert(name, value);
        }
        self
    }

    /// Converts to hyper's response, without a body if only the head is requested.
    pub(super) fn into_response(self, head_only: bool) -> Response<Full<Bytes>> {
        let mut response = self.with(API_VERSION, "registry/2.0").0;
        if head_only {
            *response.body_mut() = Full::default();
        }
        response
    }
}

/// An error response with the body of distribution-spec 1.1, "Error Codes".
pub(super) struct ErrorResponse(Box<FakeResponse>);

impl ErrorResponse {
    pub(super) fn new(status: StatusCode, code: &str, message: &str) -> Self {
        let mut answer = FakeResponse::json(&json!({ "errors": [{ "code": code, "message": message }] }));
        *answer.0.status_mut() = status;
        Self(Box::new(answer))
    }

    pub(super) fn blob_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "no such blob")
    }

    pub(super) fn manifest_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "no such manifest")
    }

    pub(super) fn upload_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no such upload")
    }

    pub(super) fn no_endpoint() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such endpoint")
    }

    pub(super) fn no_such_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "this endpoint does not support the method",
        )
    }

    pub(super) fn with(self, name: HeaderName, value: &str) -> Self {
        Self(Box::new(self.0.with(name, value)))
    }

    pub(super) fn into_answer(self) -> FakeResponse {
        *self.0
    }
}

impl From<StoreError> for ErrorResponse {
    fn from(error: StoreError) -> Self {
        let (status, code) = match error {
            StoreError::Digest => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            StoreError::Full | StoreError::TooMany => (StatusCode::INSUFFICIENT_STORAGE, "TOOMANYREQUESTS"),
            StoreError::Unknown => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
        };
        Self::new(status, code, &error.to_string())
    }
}

/// Parses a digest in a path or query.
pub(super) fn parse_digest(text: &str) -> Result<Digest, ErrorResponse> {
    text.parse::<Digest>()
        .map_err(|error| ErrorResponse::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", &error.to_string()))
}

const OCTETS: &str = "application/octet-stream";
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

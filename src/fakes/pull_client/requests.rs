//! Single requests of a pull, as the runtime sends them.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha512};
use url::Url;

use super::{ClientPullError, Dialect, PullClient, WireRefusal, tag_or_digest};
use crate::base::error_chain::chain;
use crate::base::limits::{ERROR_BYTES, MANIFEST_BYTES};
use crate::base::percent;
use crate::net::transport::guard::ConnectPolicy;
use crate::net::transport::{OutgoingRequest, TransportResponse};
use crate::oci::{Blob, Digest, MediaType, Reference};

impl PullClient {
    /// Resolves a tag or digest with HEAD. After a refusal sends GET as well, for the body of the refusal.
    ///
    /// # Errors
    /// [`ClientPullError`].
    pub async fn head(&self, image: &Reference) -> Result<Digest, ClientPullError> {
        let path = self.path(image, "manifests", &tag_or_digest(image));
        let response = match self.get(Method::HEAD, path.clone(), None).await {
            Ok(response) => response,
            Err(ClientPullError::Refused(head)) => {
                return Err(match self.get(Method::GET, path, None).await {
                    // The reason phrase of the HEAD stays; the body adds code and message (containerd 2.3.3 and later).
                    Err(ClientPullError::Refused(body)) => ClientPullError::Refused(Box::new(WireRefusal {
                        method: Method::HEAD,
                        phrase: head.phrase,
                        ..*body
                    })),
                    Err(other) => other,
                    Ok(_) => ClientPullError::Refused(head),
                });
            }
            Err(other) => return Err(other),
        };
        let digest = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        digest.ok_or(ClientPullError::Unusable {
            path,
            what: "the answer has no digest",
        })
    }

    /// Gets a manifest by tag or digest, and checks a digest against the bytes.
    pub(super) async fn manifest(
        &self,
        image: &Reference,
        reference: &str,
    ) -> Result<PulledManifest, ClientPullError> {
        let path = self.path(image, "manifests", reference);
        let response = self.get(Method::GET, path.clone(), None).await?;
        let bytes = response.read_all(MANIFEST_BYTES).await?;
        let blob = match reference.parse() {
            Ok(digest) => Blob::check(&digest, bytes)
                .map_err(|_mismatch| ClientPullError::Corrupt { path: path.clone() })?,
            Err(_tag) => Blob::from_bytes(bytes),
        };
        match serde_json::from_slice(blob.bytes()) {
            Ok(json) => Ok(PulledManifest { blob, json, path }),
            Err(_not_json) => Err(ClientPullError::Unusable {
                path,
                what: "is not JSON",
            }),
        }
    }

    /// Gets a blob, hashes it without storing it, and returns its size in bytes.
    ///
    /// # Errors
    /// [`ClientPullError`].
    pub async fn blob(&self, image: &Reference, digest: &Digest) -> Result<u64, ClientPullError> {
        let path = self.path(image, "blobs", &digest.to_string());
        let mut response = self.get(Method::GET, path.clone(), None).await?;
        let mut hasher = DigestHasher::new(digest);
        let mut size = 0;
        while let Some(chunk) = response.chunk().await? {
            hasher.update(&chunk);
            size += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        }
        if hasher.finish() == *digest {
            Ok(size)
        } else {
            Err(ClientPullError::Corrupt { path })
        }
    }

    /// Sends one request as this runtime does. Every status of 400 or above is a refusal.
    ///
    /// # Errors
    /// [`ClientPullError`].
    pub async fn get(
        &self,
        method: Method,
        path: String,
        range: Option<&str>,
    ) -> Result<PullResponse, ClientPullError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(self.dialect.user_agent()),
        );
        for media_type in MediaType::ALL {
            headers.append(header::ACCEPT, HeaderValue::from_static(media_type.as_str()));
        }
        headers.extend(
            self.authorization
                .clone()
                .map(|shown| (header::AUTHORIZATION, shown)),
        );
        let unusable = |what| ClientPullError::Unusable {
            path: path.clone(),
            what,
        };
        if let Some(range) = range {
            let range = HeaderValue::from_str(range);
            headers.insert(
                header::RANGE,
                range.map_err(|_bytes| unusable("is requested with an invalid range"))?,
            );
        }
        let url = Url::parse(&format!("http://{}{path}", self.gate));
        let outgoing = OutgoingRequest {
            method: &method,
            url: &url.map_err(|_not_a_url| unusable("is not a valid path"))?,
            headers,
            body: None,
        };
        let response = self.transport.execute(outgoing, LOOPBACK).await;
        let response = response.map_err(|failure| connection_error(&path, failure.to_string()))?;
        if response.status().as_u16() < 400 {
            return Ok(PullResponse { response, path });
        }
        let status = response.status();
        let phrase = response.phrase();
        let phrase = phrase.map(|phrase| String::from_utf8_lossy(phrase).into_owned());
        let challenge = response.headers().get(header::WWW_AUTHENTICATE).cloned();
        let body = PullResponse {
            response,
            path: path.clone(),
        };
        let body = body.read_all(ERROR_BYTES).await?;
        // A body that does not follow the specification has neither code nor message, as in runtimes.
        let error = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let field = |path: &str| error.pointer(path).and_then(Value::as_str).map(str::to_owned);
        Err(ClientPullError::Refused(Box::new(WireRefusal {
            method,
            path,
            status,
            phrase,
            code: field("/errors/0/code").unwrap_or_default(),
            message: field("/errors/0/message").unwrap_or_default(),
            reason: field("/errors/0/detail/reason"),
            challenge,
        })))
    }

    /// Returns the path by which this runtime requests a manifest or blob of an image.
    #[must_use]
    pub fn path(&self, image: &Reference, kind: &str, last: &str) -> String {
        let repository = &image.repository;
        match self.dialect {
            Dialect::Containerd => {
                let namespace = percent::encode(repository.registry());
                format!("/v2/{}/{kind}/{last}?ns={namespace}", repository.path())
            }
            Dialect::Docker | Dialect::Podman => format!("/v2/{repository}/{kind}/{last}"),
        }
    }
}

/// A successful response whose body has not been read.
pub struct PullResponse {
    response: TransportResponse,
    path: String,
}

impl std::fmt::Debug for PullResponse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.path, self.response.status())
    }
}

impl PullResponse {
    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the header fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Reads the next bytes of the body; returns `None` at its end.
    ///
    /// # Errors
    /// [`ClientPullError::Connection`] when the body breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientPullError> {
        let chunk = self.response.chunk().await.transpose();
        chunk.map_err(|error| connection_error(&self.path, chain(&error)))
    }

    async fn read_all(mut self, limit: usize) -> Result<Bytes, ClientPullError> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len().saturating_add(chunk.len()) > limit {
                return Err(ClientPullError::Unusable {
                    path: self.path,
                    what: "is too large",
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}

/// A manifest that was pulled, unparsed but for its JSON.
pub(super) struct PulledManifest {
    pub(super) blob: Blob,
    pub(super) json: Value,
    path: String,
}

impl PulledManifest {
    pub(super) fn unusable(&self, what: &'static str) -> ClientPullError {
        ClientPullError::Unusable {
            path: self.path.clone(),
            what,
        }
    }
}

fn connection_error(path: &str, what: String) -> ClientPullError {
    ClientPullError::Connection {
        path: path.to_owned(),
        what,
    }
}

/// Requests go to the gate without a proxy, also to a private address.
const LOOPBACK: ConnectPolicy = ConnectPolicy {
    direct: true,
    own_port: None,
    private: true,
};

enum DigestHasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl DigestHasher {
    fn new(digest: &Digest) -> Self {
        match digest {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::Sha512(_) => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            Self::Sha512(hasher) => Digest::Sha512(hasher.finalize().into()),
        }
    }
}

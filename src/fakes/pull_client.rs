//! A client that pulls as container runtimes do: the same requests in the same order, every byte hashed. `pullgate demo`
//! and the tests see through it what a runtime would see.
//!
//! The sequences are those that containerd 1.6 to 2.3, Docker 20.10 and Podman 4 were seen to send: containerd asks HEAD
//! by tag with `?ns=`, then GET by digest; Docker does so with the registry's host as the first part of the path; Podman
//! begins with `GET /v2/` and asks GET by tag.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rustls::RootCertStore;
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha512};
use url::Url;

use crate::base::error_chain::chain;
use crate::base::limits::{ERROR_BYTES, MANIFEST_BYTES};
use crate::base::percent;
use crate::net::transport::guard::{ConnectPolicy, Guard};
use crate::net::transport::{OutgoingRequest, Response, Transport, TransportSetupError};
use crate::oci::{Blob, Digest, MediaType, Platform, Reference};

/// Whose requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// containerd with a `hosts.toml`: the registry in `?ns=`.
    Containerd,
    /// `docker pull localhost:<port>/<registry>/<image>`.
    Docker,
    /// Podman, Skopeo and CRI-O with `location = "127.0.0.1:<port>/<registry>"`.
    Podman,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Containerd, Self::Docker, Self::Podman];

    /// How it calls itself.
    const fn user_agent(self) -> &'static str {
        match self {
            Self::Containerd => "containerd/2.1.9",
            Self::Docker => "docker/20.10.24 go/go1.19.8 os/linux",
            Self::Podman => "containers/5.23.1 (github.com/containers/image)",
        }
    }
}

/// The client of a runtime could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the client can not be set up")]
pub struct SetUpError(#[from] TransportSetupError);

/// A runtime that has been told to pull through a gate.
#[derive(Clone)]
pub struct PullClient {
    dialect: Dialect,
    gate: SocketAddr,
    transport: Arc<Transport>,
    authorization: Option<HeaderValue>,
}

/// What a pull brought in; every manifest and blob had the digest that it was asked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What the tag meant.
    pub digest: Digest,
    /// The manifests in the order of the pull, the root first.
    pub manifests: Vec<Digest>,
    /// The configuration and the layers.
    pub blobs: Vec<Digest>,
    /// The size of the blobs together.
    pub bytes: u64,
}

/// Why a pull brought in nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientPullError {
    /// The gate, or the registry through it, said no.
    #[error("{} {}: {} {}", .0.method, .0.path, .0.status.as_u16(), .0.message)]
    Refused(Box<WireRefusal>),
    /// No connection, or one that broke off.
    #[error("{path}: {what}")]
    Connection {
        /// What was asked for.
        path: String,
        /// What happened, with its causes.
        what: String,
    },
    /// Other bytes came than were asked for.
    #[error("{path}: the content has another digest")]
    Corrupt {
        /// What was asked for.
        path: String,
    },
    /// The answer is no manifest that a runtime can use.
    #[error("{path}: {what}")]
    Unusable {
        /// What was asked for.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A refusal as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireRefusal {
    /// What was asked.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The status.
    pub status: StatusCode,
    /// The reason phrase, where it is not the status's usual one: all that older runtimes print of a refused HEAD.
    pub phrase: Option<String>,
    /// The code of the error body.
    pub code: String,
    /// The message of the error body.
    pub message: String,
    /// The gate's reason, which it puts into the error's `detail` for programs.
    pub reason: Option<String>,
    /// `WWW-Authenticate`.
    pub challenge: Option<HeaderValue>,
}

impl WireRefusal {
    /// The stable code of the gate's reason. None where it was not the gate that refused.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

/// An answer that is no refusal, its body unread.
pub struct PullResponse {
    response: Response,
    path: String,
}

impl std::fmt::Debug for PullResponse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.path, self.response.status())
    }
}

impl PullResponse {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// [`PullError::Connection`] when it ends before its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientPullError> {
        let chunk = self.response.chunk().await.transpose();
        chunk.map_err(|error| broken(&self.path, chain(&error)))
    }

    async fn whole(mut self, limit: usize) -> Result<Bytes, ClientPullError> {
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

impl PullClient {
    /// A runtime that pulls through the gate at `gate`, over plain HTTP.
    ///
    /// # Errors
    /// When the HTTP client can not be set up.
    pub fn new(dialect: Dialect, gate: SocketAddr) -> Result<Self, SetUpError> {
        let guard = Arc::new(Guard::new(Vec::new(), Vec::new()));
        let transport = Transport::new(guard, &RootCertStore::empty(), None)?;
        Ok(Self {
            dialect,
            gate,
            transport: Arc::new(transport),
            authorization: None,
        })
    }

    /// The same, with these credentials on every request.
    #[must_use]
    pub fn with_authorization(self, authorization: HeaderValue) -> Self {
        Self {
            authorization: Some(authorization),
            ..self
        }
    }

    /// Pulls an image: manifest, the child for this platform where it is an index, configuration, layers.
    ///
    /// # Errors
    /// As [`PullError`] says; what came before the failure is forgotten.
    pub async fn pull(&self, image: &Reference) -> Result<Pulled, ClientPullError> {
        let root = match self.dialect {
            Dialect::Containerd | Dialect::Docker => {
                let digest = self.head(image).await?;
                self.manifest(image, &digest.to_string()).await?
            }
            Dialect::Podman => {
                self.get(Method::GET, "/v2/".to_owned(), None).await?;
                self.manifest(image, &asked(image)).await?
            }
        };
        let digest = *root.blob.digest();
        let mut manifests = vec![digest];
        let image_manifest = match root.json.get("manifests") {
            None => root,
            Some(listed) => {
                let child = for_this_platform(listed)
                    .ok_or_else(|| root.unusable("holds no manifest for this platform"))?
                    .to_owned();
                let child = self.manifest(image, &child).await?;
                manifests.push(*child.blob.digest());
                child
            }
        };
        let layers = image_manifest.json.get("layers").and_then(Value::as_array);
        let layers = layers.ok_or_else(|| image_manifest.unusable("has no layers"))?;
        let mut pulled = Pulled {
            digest,
            manifests,
            blobs: Vec::new(),
            bytes: 0,
        };
        for descriptor in image_manifest.json.get("config").into_iter().chain(layers) {
            let digest = descriptor
                .get("digest")
                .and_then(Value::as_str)
                .and_then(|text| text.parse().ok());
            let digest = digest.ok_or_else(|| image_manifest.unusable("names a blob by no digest"))?;
            pulled.bytes += self.blob(image, &digest).await?;
            pulled.blobs.push(digest);
        }
        Ok(pulled)
    }

    /// HEAD by tag or digest: what it is called. A refusal is asked again with GET, for its body.
    ///
    /// # Errors
    /// As [`PullError`] says.
    pub async fn head(&self, image: &Reference) -> Result<Digest, ClientPullError> {
        let path = self.path(image, "manifests", &asked(image));
        let response = match self.get(Method::HEAD, path.clone(), None).await {
            Ok(response) => response,
            Err(ClientPullError::Refused(head)) => {
                return Err(match self.get(Method::GET, path, None).await {
                    // What is printed of the head stays; the body adds code and message (containerd 2.3.3 and later).
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
        let named = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        named.ok_or(ClientPullError::Unusable {
            path,
            what: "the answer names no digest",
        })
    }

    /// GET of a manifest by tag or digest. By digest, the bytes have it.
    async fn manifest(&self, image: &Reference, asked: &str) -> Result<PulledManifest, ClientPullError> {
        let path = self.path(image, "manifests", asked);
        let response = self.get(Method::GET, path.clone(), None).await?;
        let bytes = response.whole(MANIFEST_BYTES).await?;
        let blob = match asked.parse() {
            Ok(digest) => Blob::check(&digest, bytes)
                .map_err(|_other| ClientPullError::Corrupt { path: path.clone() })?,
            Err(_it_is_a_tag) => Blob::of(bytes),
        };
        match serde_json::from_slice(blob.bytes()) {
            Ok(json) => Ok(PulledManifest { blob, json, path }),
            Err(_no_json) => Err(ClientPullError::Unusable {
                path,
                what: "is not JSON",
            }),
        }
    }

    /// GET of a blob: hashed as it comes and kept nowhere. Its size.
    ///
    /// # Errors
    /// As [`PullError`] says.
    pub async fn blob(&self, image: &Reference, digest: &Digest) -> Result<u64, ClientPullError> {
        let path = self.path(image, "blobs", &digest.to_string());
        let mut response = self.get(Method::GET, path.clone(), None).await?;
        let mut hasher = Hasher::of(digest);
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

    /// One request as this runtime sends it. Every answer of 400 and more is a refusal.
    ///
    /// # Errors
    /// As [`PullError`] says.
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
                range.map_err(|_bytes| unusable("is asked for by no range"))?,
            );
        }
        let url = Url::parse(&format!("http://{}{path}", self.gate));
        let outgoing = OutgoingRequest {
            method: &method,
            url: &url.map_err(|_no_url| unusable("is no path"))?,
            headers,
            body: None,
        };
        let response = self.transport.execute(outgoing, ON_THIS_MACHINE).await;
        let response = response.map_err(|failure| broken(&path, failure.to_string()))?;
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
        let body = body.whole(ERROR_BYTES).await?;
        // A body that is none of the specification's has neither code nor message, as runtimes see it.
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

    /// The path that this runtime asks for something of an image.
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

    /// What this runtime prints when it is refused so; from its own error texts.
    #[must_use]
    pub fn prints(&self, image: &Reference, refusal: &WireRefusal) -> String {
        let WireRefusal {
            method,
            status,
            code,
            message,
            ..
        } = refusal;
        let code = code.to_ascii_lowercase();
        match self.dialect {
            Dialect::Containerd => {
                let phrase = refusal
                    .phrase
                    .as_deref()
                    .or(status.canonical_reason())
                    .unwrap_or_default();
                let url = format!("http://{}{}", self.gate, refusal.path);
                format!(
                    "unexpected status from {method} request to {url}: {} {phrase}",
                    status.as_u16()
                )
            }
            Dialect::Docker if code == "denied" => format!(
                "Error response from daemon: pull access denied for localhost:{}/{}, repository does not exist or may \
                 require 'docker login': denied: {message}",
                self.gate.port(),
                image.repository
            ),
            Dialect::Docker => format!("Error response from daemon: {code}: {message}"),
            Dialect::Podman => {
                format!(
                    "reading manifest {} in {}/{}: {code}: {message}",
                    asked(image),
                    self.gate,
                    image.repository
                )
            }
        }
    }
}

/// The tag, or the digest where one is named.
fn asked(image: &Reference) -> String {
    match (&image.digest, &image.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_string(),
        (None, None) => "latest".to_owned(),
    }
}

struct PulledManifest {
    blob: Blob,
    json: Value,
    path: String,
}

impl PulledManifest {
    fn unusable(&self, what: &'static str) -> ClientPullError {
        ClientPullError::Unusable {
            path: self.path.clone(),
            what,
        }
    }
}

/// The digest of the child that a runtime on this machine would pull.
fn for_this_platform(manifests: &Value) -> Option<&str> {
    let host = Platform::of_this_machine();
    let fits = |child: &&Value| {
        child.pointer("/platform/os").and_then(Value::as_str) == Some(host.os.as_str())
            && child.pointer("/platform/architecture").and_then(Value::as_str)
                == Some(host.architecture.as_str())
    };
    manifests.as_array()?.iter().find(fits)?.get("digest")?.as_str()
}

fn broken(path: &str, what: String) -> ClientPullError {
    ClientPullError::Connection {
        path: path.to_owned(),
        what,
    }
}

/// The gate is asked without a proxy, wherever it listens.
const ON_THIS_MACHINE: ConnectPolicy = ConnectPolicy {
    direct: true,
    own_port: None,
    private: true,
};

enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    fn of(digest: &Digest) -> Self {
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

#[cfg(test)]
mod tests;

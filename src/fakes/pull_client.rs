//! A client that pulls as container runtimes do: it sends the same requests in the same order and hashes every byte. It
//! shows `pullgate demo` and the tests what a runtime would see.
//!
//! The sequences were observed with containerd 1.6 to 2.3, Docker 20.10 and Podman 4: containerd sends HEAD by tag with
//! `?ns=`, then GET by digest; Docker does the same with the registry's host as the first part of the path; Podman begins
//! with `GET /v2/` and sends GET by tag.

mod requests;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};
pub use requests::PullResponse;
use rustls::RootCertStore;
use serde_json::Value;

use crate::net::transport::guard::Guard;
use crate::net::transport::{Transport, TransportSetupError};
use crate::oci::{Digest, Platform, Reference};

/// Runtime whose requests the client sends.
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
    /// Every dialect.
    pub const ALL: [Self; 3] = [Self::Containerd, Self::Docker, Self::Podman];

    /// Returns the runtime's `User-Agent`.
    const fn user_agent(self) -> &'static str {
        match self {
            Self::Containerd => "containerd/2.1.9",
            Self::Docker => "docker/20.10.24 go/go1.19.8 os/linux",
            Self::Podman => "containers/5.23.1 (github.com/containers/image)",
        }
    }
}

/// Error of setting up the client.
#[derive(Debug, thiserror::Error)]
#[error("could not set up the HTTP client")]
pub struct SetUpError(#[from] TransportSetupError);

/// A client that pulls through a gate as a runtime does.
#[derive(Clone)]
pub struct PullClient {
    dialect: Dialect,
    gate: SocketAddr,
    transport: Arc<Transport>,
    authorization: Option<HeaderValue>,
}

/// Content of a successful pull. Every manifest and blob had the digest by which it was requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Digest that the tag resolved to.
    pub digest: Digest,
    /// Digests of the manifests in the order of the pull, the root first.
    pub manifests: Vec<Digest>,
    /// Digests of the configuration and the layers.
    pub blobs: Vec<Digest>,
    /// Total size of the blobs in bytes.
    pub bytes: u64,
}

/// Error of a pull.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientPullError {
    /// The gate refused the request, or the registry refused it through the gate.
    #[error("{} {}: {} {}", .0.method, .0.path, .0.status.as_u16(), .0.message)]
    Refused(Box<WireRefusal>),
    /// The connection failed or broke off.
    #[error("{path}: {what}")]
    Connection {
        /// Path and query of the request.
        path: String,
        /// The failure with its causes.
        what: String,
    },
    /// The content does not have the requested digest.
    #[error("{path}: the content has another digest")]
    Corrupt {
        /// Path and query of the request.
        path: String,
    },
    /// A runtime could not use the answer as a manifest.
    #[error("{path}: {what}")]
    Unusable {
        /// Path and query of the request.
        path: String,
        /// The problem with the answer.
        what: &'static str,
    },
}

/// A refusal as the client received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireRefusal {
    /// Method of the request.
    pub method: Method,
    /// Path and query of the request.
    pub path: String,
    /// Status of the answer.
    pub status: StatusCode,
    /// Reason phrase, if it differs from the usual one of the status. Older runtimes print nothing else of a refused HEAD.
    pub phrase: Option<String>,
    /// Error code in the body.
    pub code: String,
    /// Message in the body.
    pub message: String,
    /// Reason code of the gate, which is in the error's `detail`.
    pub reason: Option<String>,
    /// Value of `WWW-Authenticate`.
    pub challenge: Option<HeaderValue>,
}

impl WireRefusal {
    /// Returns the gate's reason code, or `None` when the gate was not the one that refused.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl PullClient {
    /// Creates a client that pulls through the gate at `gate`, over plain HTTP.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
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

    /// Sends these credentials with every request.
    #[must_use]
    pub fn with_authorization(self, authorization: HeaderValue) -> Self {
        Self {
            authorization: Some(authorization),
            ..self
        }
    }

    /// Pulls an image: its manifest, for an index the child manifest for this platform, the configuration and the layers.
    ///
    /// # Errors
    /// [`ClientPullError`]. Content received before the failure is discarded.
    pub async fn pull(&self, image: &Reference) -> Result<Pulled, ClientPullError> {
        let root = match self.dialect {
            Dialect::Containerd | Dialect::Docker => {
                let digest = self.head(image).await?;
                self.manifest(image, &digest.to_string()).await?
            }
            Dialect::Podman => {
                self.get(Method::GET, "/v2/".to_owned(), None).await?;
                self.manifest(image, &tag_or_digest(image)).await?
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
            let digest =
                digest.ok_or_else(|| image_manifest.unusable("names a blob without a valid digest"))?;
            pulled.bytes += self.blob(image, &digest).await?;
            pulled.blobs.push(digest);
        }
        Ok(pulled)
    }

    /// Returns the text that this runtime prints for a refusal.
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
                    tag_or_digest(image),
                    self.gate,
                    image.repository
                )
            }
        }
    }
}

/// Returns the digest of the reference, or its tag if it has no digest.
fn tag_or_digest(image: &Reference) -> String {
    match (&image.digest, &image.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_string(),
        (None, None) => "latest".to_owned(),
    }
}

/// Returns the digest of the child manifest that a runtime on this machine would pull.
fn for_this_platform(manifests: &Value) -> Option<&str> {
    let host = Platform::from_this_machine();
    let fits = |child: &&Value| {
        child.pointer("/platform/os").and_then(Value::as_str) == Some(host.os.as_str())
            && child.pointer("/platform/architecture").and_then(Value::as_str)
                == Some(host.architecture.as_str())
    };
    manifests.as_array()?.iter().find(fits)?.get("digest")?.as_str()
}

#[cfg(test)]
mod tests;

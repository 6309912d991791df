//! An OCI registry in memory, for `pullgate demo` and the tests: distribution-spec 1.1, push and pull, on loopback.
//!
//! Clients see a complete registry (uploads, ranges, referrers in pages, Basic and Bearer authentication). Its owner can
//! store content without HTTP, replace the content of a digest, and read a log of the requests. Because `demo --keep`
//! leaves the registry running, its bytes, entries, connections and log entries are bounded.

mod auth;
mod image;
mod serve;
mod store;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use auth::AuthPolicy;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
pub use image::{Files, tar};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use store::RegistryStore;
pub use store::StoreError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::oci::{Descriptor, Digest, Platform};

/// Behaviour of the registry.
#[derive(Clone, Debug)]
pub struct FakeRegistryOptions {
    /// Whether it has the referrers API. Without it, the path answers 404 and no push is answered with `OCI-Subject`, as in
    /// registries before distribution-spec 1.1.
    pub referrers: bool,
    /// Descriptors on one page of referrers, at least one. `Link` names the next page.
    pub page: usize,
    /// Access control.
    pub auth: AuthPolicy,
    /// Certificate and key, to serve HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// Maximum of stored bytes, including unfinished uploads.
    pub capacity: u32,
}

impl Default for FakeRegistryOptions {
    /// Referrers in pages of 100, no access control, HTTP, 256 MiB.
    fn default() -> Self {
        Self {
            referrers: true,
            page: 100,
            auth: AuthPolicy::Open,
            tls: None,
            capacity: 256 * 1024 * 1024,
        }
    }
}

/// Certificate chain and key for HTTPS, in PEM.
#[derive(Clone)]
pub struct Tls {
    /// Certificate chain, leaf first.
    pub certificate: Vec<u8>,
    /// Private key of the leaf.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tls(not shown)")
    }
}

/// Log entry of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedRequest {
    /// Method of the request.
    pub method: Method,
    /// Path and query as received.
    pub target: String,
    /// Credentials of the request, marked sensitive so that `Debug` does not print them.
    pub authorization: Option<HeaderValue>,
    /// Status of the response.
    pub status: StatusCode,
}

/// A running registry. Dropping it closes its socket and every connection.
#[derive(Debug)]
pub struct EmbeddedRegistry {
    addr: SocketAddr,
    shared: Arc<FakeRegistryState>,
    task: JoinHandle<()>,
}

impl EmbeddedRegistry {
    /// Listens on a free port of 127.0.0.1 and serves in a task of the current tokio runtime.
    ///
    /// # Errors
    /// When no port is free, or `tls` does not hold a chain and its key.
    pub async fn start(options: FakeRegistryOptions) -> io::Result<Self> {
        let acceptor = options.tls.as_ref().map(tls_acceptor).transpose()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let shared = Arc::new(FakeRegistryState {
            url: format!("{scheme}://{addr}"),
            store: Mutex::new(RegistryStore::new(options.capacity)),
            tokens: auth::GrantedTokens::default(),
            log: Mutex::new(VecDeque::new()),
            requests: AtomicU64::new(0),
            options,
        });
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&shared)));
        Ok(Self { addr, shared, task })
    }

    /// Returns the address of the listener.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns scheme, address and port without a path, as in `endpoint` of a `[[registry]]`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Returns the requests since the start or the last [`Self::clear_log`], in the order of their responses; at most the
    /// newest 65 536.
    #[must_use]
    pub fn log(&self) -> Vec<ServedRequest> {
        lock(&self.shared.log).iter().cloned().collect()
    }

    /// Clears the log. The counter of requests continues.
    pub fn clear_log(&self) {
        lock(&self.shared.log).clear();
    }

    /// Returns the number of requests since the start.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Stores a blob and returns its descriptor, with the media type `application/octet-stream`.
    ///
    /// # Errors
    /// [`StoreError`] at a bound, as for every `put`.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Result<Descriptor, StoreError> {
        let bytes = bytes.into();
        let (digest, size) = (Digest::sha256(&bytes), image::size(&bytes));
        lock(&self.shared.store).put_blob(repository, digest, bytes)?;
        Ok(image::descriptor("application/octet-stream", digest, size))
    }

    /// Stores these bytes as a manifest without any check, so that a test can store anything.
    ///
    /// # Errors
    /// As [`Self::put_blob`].
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Descriptor, StoreError> {
        let bytes = bytes.into();
        let (digest, size) = (Digest::sha256(&bytes), image::size(&bytes));
        lock(&self.shared.store).put_manifest(repository, tag, digest, media_type, bytes)?;
        Ok(image::descriptor(media_type, digest, size))
    }

    /// Stores an OCI image of these layers for this machine's platform. The layers must be uncompressed tar archives if a
    /// runtime unpacks them. With an empty `tag` the image is stored by digest only.
    ///
    /// # Errors
    /// As [`Self::put_blob`].
    pub fn put_image(&self, repository: &str, tag: &str, layers: &[&[u8]]) -> Result<Descriptor, StoreError> {
        self.put_image_for(repository, tag, Platform::from_this_machine(), layers)
    }

    /// As [`Self::put_image`], for another platform.
    ///
    /// # Errors
    /// As [`Self::put_blob`].
    pub fn put_image_for(
        &self,
        repository: &str,
        tag: &str,
        platform: Platform,
        layers: &[&[u8]],
    ) -> Result<Descriptor, StoreError> {
        let image = image::build(&platform, layers);
        for blob in image.blobs {
            self.put_blob(repository, blob)?;
        }
        let descriptor = self.put_manifest(repository, non_empty(tag), image::MANIFEST, image.manifest)?;
        Ok(Descriptor {
            platform: Some(platform),
            ..descriptor
        })
    }

    /// Stores an OCI index of these manifests. With an empty `tag` it is stored by digest only.
    ///
    /// # Errors
    /// As [`Self::put_blob`].
    pub fn put_index(
        &self,
        repository: &str,
        tag: &str,
        manifests: &[Descriptor],
    ) -> Result<Descriptor, StoreError> {
        self.put_manifest(repository, non_empty(tag), image::INDEX, image::index(manifests))
    }

    /// Points a tag at a stored manifest.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when the manifest is not stored.
    pub fn tag(&self, repository: &str, tag: &str, digest: &Digest) -> Result<(), StoreError> {
        lock(&self.shared.store).tag(repository, tag, digest)
    }

    /// Serves other bytes under a digest from now on, as an attacker with access to the registry's disk could.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when neither a manifest nor a blob has the digest, [`StoreError::Full`].
    pub fn tamper(
        &self,
        repository: &str,
        digest: &Digest,
        bytes: impl Into<Bytes>,
    ) -> Result<(), StoreError> {
        lock(&self.shared.store).tamper(repository, digest, bytes.into())
    }

    /// Returns the bytes that are served for a manifest, by tag or digest.
    #[must_use]
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<Bytes> {
        lock(&self.shared.store)
            .manifest(repository, reference)
            .map(|(_, manifest)| manifest.bytes())
    }
}

impl Drop for EmbeddedRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// State that all connections share.
#[derive(Debug)]
struct FakeRegistryState {
    url: String,
    options: FakeRegistryOptions,
    store: Mutex<RegistryStore>,
    tokens: auth::GrantedTokens,
    log: Mutex<VecDeque<ServedRequest>>,
    requests: AtomicU64,
}

impl FakeRegistryState {
    fn record(&self, access: ServedRequest) {
        let mut log = lock(&self.log);
        if log.len() >= LOG_ENTRIES {
            log.pop_front();
        }
        log.push_back(access);
    }
}

/// Locks a mutex. A poisoned lock is used too: the values are consistent between two statements, so a panic in another
/// task leaves none of them half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn non_empty(tag: &str) -> Option<&str> {
    Some(tag).filter(|tag| !tag.is_empty())
}

fn tls_acceptor(tls: &Tls) -> io::Result<TlsAcceptor> {
    let invalid = |error| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("not a PEM chain and key: {error}"),
        )
    };
    let chain = CertificateDer::pem_slice_iter(&tls.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(invalid)?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(invalid)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections until the task is aborted. The set then aborts every connection.
async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<FakeRegistryState>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_out_of_descriptors_or_gone_already) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let _permit = permit;
            match acceptor {
                None => connection(stream, shared).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(IDLE, acceptor.accept(stream)).await {
                        connection(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<FakeRegistryState>) {
    let service = service_fn(|request| serve::answer(Arc::clone(&shared), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // A client that disconnects is not an error of the registry.
    drop(served);
}

/// Maximum of concurrent connections; further ones wait in the kernel.
const CONNECTIONS: usize = 256;
/// Time after which an idle connection, or one whose request body does not arrive, is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Maximum of log entries.
const LOG_ENTRIES: usize = 65_536;

#[cfg(test)]
mod tests;

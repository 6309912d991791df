//! An OCI registry in memory: distribution-spec 1.1, push and pull, on loopback. `pullgate demo` and the tests use it.
//!
//! It is a real registry to its clients (uploads, ranges, referrers with pages, Basic and Bearer authentication), and
//! an open book to its owner: content can be put without HTTP, replaced under its digest, and every request is noted.
//! It is bounded, since `demo --keep` leaves it running: bytes, entries, connections and notes all have a ceiling.

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

/// How the registry behaves.
#[derive(Clone, Debug)]
pub struct FakeRegistryOptions {
    /// Whether it has the referrers API. Without, its path answers 404 and no push is answered with `OCI-Subject`,
    /// as registries before distribution-spec 1.1 do.
    pub referrers: bool,
    /// Descriptors on one page of referrers; the next page is named in `Link`. At least one.
    pub page: usize,
    /// Who may come in.
    pub auth: AuthPolicy,
    /// HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// Bytes it holds at most, uploads under way included.
    pub capacity: u32,
}

impl Default for FakeRegistryOptions {
    /// Referrers in pages of 100, everybody may come in over HTTP, 256 MiB.
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

/// What HTTPS needs, both PEM.
#[derive(Clone)]
pub struct Tls {
    /// The chain, leaf first.
    pub certificate: Vec<u8>,
    /// The leaf's private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tls(not shown)")
    }
}

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedRequest {
    /// The method.
    pub method: Method,
    /// Path and query, as they came.
    pub target: String,
    /// The credentials that were shown; marked sensitive, so `Debug` does not print them.
    pub authorization: Option<HeaderValue>,
    /// What was answered.
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
    /// When there is no port, or `tls` holds no chain and key that fit.
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

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Scheme, address and port, without a path: what a `[[registry]]` has as `endpoint`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The requests since the start or the last [`Self::clear_log`], in the order of their answers; the newest
    /// 65 536 of them.
    #[must_use]
    pub fn log(&self) -> Vec<ServedRequest> {
        lock(&self.shared.log).iter().cloned().collect()
    }

    /// Forgets the requests so far. The counter goes on.
    pub fn clear_log(&self) {
        lock(&self.shared.log).clear();
    }

    /// How many requests came since the start.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Stores a blob, of media type `application/octet-stream` as far as the descriptor says.
    ///
    /// # Errors
    /// [`StoreError`] at a ceiling, as for every `put`.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Result<Descriptor, StoreError> {
        let bytes = bytes.into();
        let (digest, size) = (Digest::sha256(&bytes), image::size(&bytes));
        lock(&self.shared.store).put_blob(repository, digest, bytes)?;
        Ok(image::descriptor("application/octet-stream", digest, size))
    }

    /// Stores a manifest as these very bytes, whatever they are: nothing is checked, so that a test can put anything.
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

    /// Stores an OCI image of these layers (uncompressed tar archives, where a runtime is to unpack them) for this
    /// machine's platform. An empty `tag` stores it by digest alone.
    ///
    /// # Errors
    /// As [`Self::put_blob`].
    pub fn put_image(&self, repository: &str, tag: &str, layers: &[&[u8]]) -> Result<Descriptor, StoreError> {
        self.put_image_for(repository, tag, Platform::of_this_machine(), layers)
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
        let descriptor = self.put_manifest(repository, some(tag), image::MANIFEST, image.manifest)?;
        Ok(Descriptor {
            platform: Some(platform),
            ..descriptor
        })
    }

    /// Stores an OCI index of these manifests. An empty `tag` stores it by digest alone.
    ///
    /// # Errors
    /// As [`Self::put_blob`].
    pub fn put_index(
        &self,
        repository: &str,
        tag: &str,
        manifests: &[Descriptor],
    ) -> Result<Descriptor, StoreError> {
        self.put_manifest(repository, some(tag), image::INDEX, image::index(manifests))
    }

    /// Points a tag at a manifest that is stored.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when it is not.
    pub fn tag(&self, repository: &str, tag: &str, digest: &Digest) -> Result<(), StoreError> {
        lock(&self.shared.store).tag(repository, tag, digest)
    }

    /// From now on serves these bytes under a digest that they do not have: what a thief of the registry's disk does.
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

    /// The bytes that are served for a manifest, by tag or digest.
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

/// What all connections share.
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
    fn note(&self, access: ServedRequest) {
        let mut log = lock(&self.log);
        if log.len() >= NOTES {
            log.pop_front();
        }
        log.push_back(access);
    }
}

/// Every value behind these locks is whole between two statements, so a panic elsewhere spoils none of them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn some(tag: &str) -> Option<&str> {
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

/// Accepts until the task is aborted; the set then aborts every connection with it.
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
    // A client that went away is no event of the registry's.
    drop(served);
}

/// Connections at one time; the next one waits in the kernel.
const CONNECTIONS: usize = 256;
/// A connection on which nothing is asked, or a body that does not come, is closed after this time.
const IDLE: Duration = Duration::from_secs(60);
/// Requests that are remembered.
const NOTES: usize = 65_536;

#[cfg(test)]
mod tests;

//! The one HTTP client: TLS, proxies, a pool of connections, and the guard that judges where a request may go. It follows
//! no redirect, repeats no request that was answered, and leaves the body to the caller.
//!
//! Hand-written on hyper's connections. The general clients (reqwest, hyper-util's `client::legacy`) resolve names without
//! knowledge of the request, so that the guard could not judge each address by the rules of that request; and they drive
//! each connection in a task of its own, while here the task that reads a blob drives it, which saves the wake-ups between
//! two tasks for each chunk. The rows "hyper relay" of docs/performance.md measure the difference.

pub(crate) mod guard;
mod io;
mod pool_key;
mod tls;
mod connect;
mod error;
mod connection;
mod pool;
mod response;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::uri::InvalidUri;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CipherSuite, RootCertStore};
use url::{Position, Url};

use self::connect::{Dialer, Forwarded};
use self::connection::{Connection, UnansweredRequest};
pub(crate) use self::error::{TransportError, TransportSetupError};
use self::guard::{ConnectPolicy, Guard};
use self::pool::Pool;
use self::pool_key::PoolKey;
pub(crate) use self::response::{BrokenOff, IncomingBody, TransportResponse, Unread};

/// The `User-Agent` of requests that name none.
const NAME: HeaderValue = HeaderValue::from_static(concat!("pullgate/", env!("CARGO_PKG_VERSION")));

/// The connections under one set of trusted certificates.
pub(crate) struct Transport {
    dialer: Dialer,
    pool: Arc<Pool>,
}

/// A request. `Host` and, where it is missing, `User-Agent` are added to its header fields.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingRequest<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl Transport {
    /// Creates a transport that trusts the certificates of `system` and, if there are any, the PEM certificates of `ca`.
    pub(crate) fn new(
        guard: Arc<Guard>,
        system: &RootCertStore,
        ca: Option<&[u8]>,
    ) -> Result<Self, TransportSetupError> {
        let mut roots = system.clone();
        if let Some(ca) = ca {
            let mut found = 0_usize;
            for certificate in CertificateDer::pem_slice_iter(ca) {
                roots.add(certificate?)?;
                found = found.saturating_add(1);
            }
            if found == 0 {
                return Err(TransportSetupError::NoCertificate);
            }
        }
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // Most servers take the client's first offer. AES-128 costs four fifths of the work of AES-256, and Go's clients,
        // which the runtimes are, offer it first as well.
        provider
            .cipher_suites
            .sort_by_key(|suite| !is_aes_128(suite.suite()));
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            dialer: Dialer::new(guard, tls),
            pool: Arc::default(),
        })
    }

    /// Sends one request and waits for the head of its response. `policy` is the guard's judgement of the URL.
    pub(crate) async fn execute(
        &self,
        outgoing: OutgoingRequest<'_>,
        policy: ConnectPolicy,
    ) -> Result<TransportResponse, TransportError> {
        let key = PoolKey::new(outgoing.url, policy).map_err(|error| TransportError::new(&error))?;
        // The server may have closed an idle connection while the request was under way. It has not seen the request
        // then, so that the request is sent again where a second execution would be harmless.
        let repeatable = matches!(*outgoing.method, Method::GET | Method::HEAD);
        while let Some(connection) = self.pool.take(&key) {
            let request = outgoing.request(&key, connection.forwarded.as_ref())?;
            match connection.send(request).await {
                Ok((response, connection)) => {
                    return Ok(TransportResponse::new(response, connection, key, &self.pool));
                }
                Err(UnansweredRequest { is_unsent: true, .. }) => {}
                Err(failed) if repeatable && failed.is_silence() => break,
                Err(failed) => return Err(TransportError::new(&failed.error)),
            }
        }
        // Boxed: this part runs once for each connection, and every request would carry its state.
        let (socket, forwarded) = Box::pin(self.dialer.connect(&key)).await?;
        let request = outgoing.request(&key, forwarded.as_ref())?;
        let connection = Connection::new(socket, forwarded).await?;
        match connection.send(request).await {
            Ok((response, connection)) => Ok(TransportResponse::new(response, connection, key, &self.pool)),
            Err(failed) => Err(TransportError::new(&failed.error)),
        }
    }
}

impl OutgoingRequest<'_> {
    fn request(
        &self,
        key: &PoolKey,
        forwarded: Option<&Forwarded>,
    ) -> Result<Request<Full<Bytes>>, TransportError> {
        let mut request = Request::new(Full::new(self.body.clone().unwrap_or_default()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, key.authority.clone());
        headers.entry(USER_AGENT).or_insert(NAME);
        let target = match forwarded {
            None => &self.url[Position::BeforePath..Position::AfterQuery],
            Some(forwarded) => {
                let authorization = forwarded.authorization.clone();
                headers.extend(authorization.map(|value| (PROXY_AUTHORIZATION, value)));
                &self.url[..Position::AfterQuery]
            }
        };
        *request.uri_mut() = target
            .parse()
            .map_err(|error: InvalidUri| TransportError::new(&error))?;
        Ok(request)
    }
}

/// Reads the certificates that the system trusts. A system without any still reaches registries that have a `ca`, or over
/// http.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "Could not read a file of trusted certificates");
    }
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::warn!(
            ignored,
            "Could not read some of the system's trusted certificates"
        );
    }
    roots
}

fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

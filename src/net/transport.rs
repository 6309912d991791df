//! The one HTTP client: TLS, proxies, pools, and the guard that says where a request may go. It follows nothing,
//! retries nothing that was answered, and reads no body by itself.

mod connect;
mod connection;
pub(crate) mod guard;
mod pool;
mod tls;

use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::uri::InvalidUri;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CipherSuite, RootCertStore};
use url::{Position, Url};

use self::connect::{ConnectError, Dialer, Forwarded};
use self::connection::{Connection, UnansweredRequest};
use self::guard::{ConnectPolicy, Forbidden, Guard};
use self::pool::Pool;

/// How the gate calls itself.
const NAME: HeaderValue = HeaderValue::from_static(concat!("pullgate/", env!("CARGO_PKG_VERSION")));

/// The connections under one set of trusted certificates.
pub(crate) struct Transport {
    dialer: Dialer,
    pool: Arc<Pool>,
}

/// What is sent. `Host` and `User-Agent` are added where they are not among the fields.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingRequest<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl Transport {
    /// `ca`: PEM certificates trusted beside `system`'s.
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
        // Most servers take the client's first offer. AES-128 does four fifths of the work of AES-256, and Go's clients,
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

    /// Sends one request and waits for the head of its answer. Follows nothing.
    pub(crate) async fn execute(
        &self,
        outgoing: OutgoingRequest<'_>,
        lane: ConnectPolicy,
    ) -> Result<Response, TransportError> {
        let place = PoolKey::of(outgoing.url, lane)?;
        // A connection that stood unused may have been closed while the request was on its way: then nobody has
        // looked at it, and it may be sent again where doing it twice does no harm.
        let repeatable = matches!(*outgoing.method, Method::GET | Method::HEAD);
        while let Some(connection) = self.pool.take(&place) {
            let request = outgoing.request(&place, connection.forwarded.as_ref())?;
            match connection.send(request).await {
                Ok((answer, connection)) => return Ok(self.response(answer, connection, place)),
                Err(UnansweredRequest { unsent: true, .. }) => {}
                Err(failed) if repeatable && failed.is_silence() => break,
                Err(failed) => return Err(TransportError::of(&failed.error)),
            }
        }
        // What is done once a connection has a place of its own: each request would carry it along.
        let (socket, forwarded) = Box::pin(self.dialer.connect(&place)).await?;
        let request = outgoing.request(&place, forwarded.as_ref())?;
        let connection = Connection::new(socket, forwarded).await?;
        match connection.send(request).await {
            Ok((answer, connection)) => Ok(self.response(answer, connection, place)),
            Err(failed) => Err(TransportError::of(&failed.error)),
        }
    }

    fn response(&self, answer: http::Response<Incoming>, connection: Connection, place: PoolKey) -> Response {
        let (head, incoming) = answer.into_parts();
        let mut body = IncomingBody {
            left: incoming.size_hint().exact(),
            incoming,
            under_way: Some(Box::new(UnderWay {
                connection,
                place,
                pool: Arc::clone(&self.pool),
            })),
        };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        Response { head, body }
    }
}

impl OutgoingRequest<'_> {
    fn request(
        &self,
        place: &PoolKey,
        forwarded: Option<&Forwarded>,
    ) -> Result<Request<Full<Bytes>>, TransportError> {
        let mut request = Request::new(Full::new(self.body.clone().unwrap_or_default()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, place.authority.clone());
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
            .map_err(|error: InvalidUri| TransportError::of(&error))?;
        Ok(request)
    }
}

/// Connections to one place may serve each other's requests.
#[derive(Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    lane: ConnectPolicy,
    is_tls: bool,
    /// Host, and port where it is not the scheme's own.
    authority: HeaderValue,
}

impl PoolKey {
    fn of(url: &Url, lane: ConnectPolicy) -> Result<Self, TransportError> {
        let authority = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])
            .map_err(|error| TransportError::of(&error))?;
        let is_tls = url.scheme() == "https";
        Ok(Self {
            lane,
            is_tls,
            authority,
        })
    }

    fn uri(&self) -> Result<Uri, http::Error> {
        let scheme = if self.is_tls { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).path_and_query("/");
        uri.authority(self.authority.as_bytes()).build()
    }
}

/// An answer, its body unread. Whoever drops it before the body's end closes the connection.
pub(crate) struct Response {
    head: response::Parts,
    body: IncomingBody,
}

impl Response {
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The first encoding of the body that is one. None is ever asked for: a bound on compressed bytes would bound
    /// nothing.
    pub(crate) fn compressed(&self) -> Option<&HeaderValue> {
        let mut encodings = self.headers().get_all(CONTENT_ENCODING).iter();
        encodings.find(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    }

    /// The reason phrase, where it is not the status's own (RFC 9112, 4).
    pub(crate) fn phrase(&self) -> Option<&[u8]> {
        let phrase = self.head.extensions.get::<hyper::ext::ReasonPhrase>();
        phrase.map(hyper::ext::ReasonPhrase::as_bytes)
    }

    /// How long the body is, if that was said.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.body.left
    }

    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        poll_fn(|context| self.body.poll_chunk(context)).await
    }

    /// Reads the body whole. A length over the bound is refused before anything is read; what is read is counted all
    /// the same, because a chunked body announces none.
    pub(crate) async fn whole(mut self, limit: usize) -> Result<Bytes, Unread> {
        let announced = usize::try_from(self.announced().unwrap_or(0))
            .ok()
            .filter(|length| *length <= limit);
        let announced = announced.ok_or(Unread::TooLarge)?;
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk?;
            if chunk.len() > limit.saturating_sub(whole.len()) {
                return Err(Unread::TooLarge);
            }
            if whole.is_empty() {
                if chunk.len() == announced {
                    // The usual manifest: one read, and no copy.
                    return Ok(chunk);
                }
                whole.reserve(announced);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    pub(crate) fn into_body(self) -> IncomingBody {
        self.body
    }
}

/// A body as it comes: nothing is read ahead of whoever polls it.
pub(crate) struct IncomingBody {
    incoming: Incoming,
    /// None: not announced, or chunked.
    left: Option<u64>,
    /// Gone once the body has ended.
    under_way: Option<Box<UnderWay>>,
}

struct UnderWay {
    connection: Connection,
    place: PoolKey,
    pool: Arc<Pool>,
}

/// The body ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(crate) struct BrokenOff(#[source] hyper::Error);

/// A body that was not read whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error(transparent)]
    BrokenOff(#[from] BrokenOff),
    #[error("the answer is over its bound")]
    TooLarge,
}

impl IncomingBody {
    /// The next chunk; `None` at the end.
    pub(crate) fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let Some(under_way) = &mut self.under_way else {
            return Poll::Ready(None);
        };
        let next = ready!(under_way.connection.poll_chunk(&mut self.incoming, context));
        match next {
            Some(Ok(chunk)) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
                    // Who knows the length asks for no more, and the connection would be lost.
                    if *left == 0
                        && let Poll::Ready(None) =
                            under_way.connection.poll_chunk(&mut self.incoming, context)
                    {
                        self.finish();
                    }
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Some(Err(error)) => {
                self.under_way = None;
                Poll::Ready(Some(Err(BrokenOff(error))))
            }
            None => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    fn finish(&mut self) {
        if let Some(under_way) = self.under_way.take() {
            let UnderWay {
                mut connection,
                place,
                pool,
            } = *under_way;
            if connection.is_open() {
                pool.put(place, connection);
            }
        }
    }
}

/// The certificates that the system trusts. A system without any still reaches registries with a `ca`, or over http.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "A file of trusted certificates cannot be read");
    }
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::warn!(
            ignored,
            "Some of the system's trusted certificates cannot be read"
        );
    }
    roots
}

/// Why connections cannot be set up at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportSetupError {
    #[error("no PEM certificate in `ca`")]
    NoCertificate,
    #[error("`ca` is not PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("`ca` or TLS cannot be used")]
    Tls(#[from] rustls::Error),
}

/// A request that got no answer. Each holds what happened, with its causes, in one printable line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// Its name leads to a place that must not be asked.
    #[error("{0}")]
    Forbidden(Forbidden),
    /// The head of the answer is not HTTP, or too large.
    #[error("{0}")]
    Malformed(String),
    /// No connection, or none that held.
    #[error("{what}")]
    Unreachable {
        what: String,
        /// The same request may meet a better moment. Not so where a certificate is wrong.
        transient: bool,
    },
}

impl TransportError {
    fn of(error: &(dyn Error + 'static)) -> Self {
        if let Some(why) = cause::<Forbidden>(error) {
            return Self::Forbidden(*why);
        }
        let what = crate::base::error_chain::chain(error);
        if cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
            return Self::Malformed(format!("the head of the answer cannot be read: {what}"));
        }
        let transient = cause::<rustls::Error>(error).is_none();
        Self::Unreachable { what, transient }
    }
}

impl From<ConnectError> for TransportError {
    fn from(error: ConnectError) -> Self {
        Self::of(&error)
    }
}

impl From<hyper::Error> for TransportError {
    fn from(error: hyper::Error) -> Self {
        Self::of(&error)
    }
}

fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

/// Looks for a cause, also inside `io::Error`, which skips what it wraps when it is asked for its source.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Whether a configured endpoint is on this machine or in a private network: only then may it lead to others there.
/// A name that does not resolve is taken for public, which allows less.
pub(crate) async fn endpoint_is_private(url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return false;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match tokio::net::lookup_host((host, port)).await {
        Ok(mut found) => found.any(|address| guard::is_private(address.ip())),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::endpoint_is_private;

    #[tokio::test]
    async fn an_endpoint_is_where_its_address_is() {
        for (url, private) in [
            ("http://127.0.0.1:5000/", true),
            ("http://[::1]:5000/", true),
            ("http://localhost:5000/", true),
            ("https://10.1.2.3/", true),
            ("https://192.0.2.7/", false),
            ("https://[2001:db8::1]/", false),
        ] {
            assert_eq!(endpoint_is_private(&url.parse().unwrap()).await, private, "{url}");
        }
    }
}

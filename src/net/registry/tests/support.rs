//! A registry that answers byte for byte as a test wants, on a loopback port of its own, and the helpers that the tests share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use crate::net::registry::{
    Access, Credentials, Presented, RegistryClient, RegistryConfig, RegistryError, RegistryOperation,
    RequestOutcome, Target,
};
use crate::oci::{Blob, Descriptor, Digest, Repository, Tag};

/// The registry that images of the tests name.
pub(crate) const HOST: &str = "registry.test";

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// One request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }
}

/// The reply to one request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Sends these bytes and closes the connection.
    Close(Vec<u8>),
    /// Sends these bytes and keeps the connection for the next request.
    Keep(Vec<u8>),
    /// Sends the head, then this chunk again and again, with this pause.
    Forever(Vec<u8>, Vec<u8>, Duration),
    /// Closes the connection without a byte.
    HangUp,
}

/// A running registry. It ends with the test's runtime.
pub(crate) struct Liar {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl Liar {
    /// Starts a registry that answers each request by `lie`, which gets the request and the number of earlier ones.
    pub(crate) async fn new(lie: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), lie)
    }

    pub(crate) fn on(
        listener: TcpListener,
        lie: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, lie) = (Arc::clone(&seen), Arc::new(lie));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(connection, Arc::clone(&log), Arc::clone(&lie)));
            }
        });
        Self {
            address,
            seen,
            connections,
        }
    }

    /// Starts one over TLS at `localhost`, and returns the certificate of its authority as PEM.
    pub(crate) async fn tls(lie: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> (Self, Vec<u8>) {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, lie) = (Arc::clone(&seen), Arc::new(lie));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (acceptor, log, lie) = (acceptor.clone(), Arc::clone(&log), Arc::clone(&lie));
                tokio::spawn(async move {
                    if let Ok(connection) = acceptor.accept(connection).await {
                        serve(connection, log, lie).await;
                    }
                });
            }
        });
        (
            Self {
                address,
                seen,
                connections,
            },
            made.cert.pem().into_bytes(),
        )
    }

    /// How many connections were made, not counting those over TLS.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn targets(&self) -> Vec<String> {
        self.seen()
            .into_iter()
            .map(|seen| format!("{} {}", seen.method, seen.target))
            .collect()
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("http://{}{rest}", self.address)
    }

    /// Returns a client with this one registry.
    pub(crate) fn client(&self, credentials: Credentials) -> RegistryClient {
        client(&[&self.url("/")], credentials, vec![])
    }
}

async fn serve<C: AsyncRead + AsyncWrite + Unpin, L: Fn(&Seen, usize) -> Reply>(
    mut connection: C,
    log: Arc<Mutex<Vec<Seen>>>,
    lie: Arc<L>,
) {
    while let Some(request) = read_request(&mut connection).await {
        let before = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        match lie(&request, before) {
            Reply::Keep(bytes) => {
                if connection.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::Close(bytes) => {
                let _gone = connection.write_all(&bytes).await;
                return;
            }
            Reply::Forever(head, chunk, pause) => {
                if connection.write_all(&head).await.is_err() {
                    return;
                }
                while connection.write_all(&chunk).await.is_ok() {
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                return;
            }
            Reply::HangUp => return,
        }
    }
}

async fn read_request(connection: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    let mut line = head.split(' ');
    let (method, target) = (line.next()?.to_owned(), line.next()?.to_owned());
    let mut seen = Seen {
        method,
        target,
        head,
        body,
    };
    let length: usize = seen
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while seen.body.len() < length {
        if connection.read_buf(&mut seen.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(seen)
}

/// An honest answer: status, headers, body with its length.
pub(crate) fn answer(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    Reply::Keep(bytes)
}

pub(crate) fn redirect(location: &str) -> Reply {
    answer("307 Temporary Redirect", &[("location", location)], "")
}

pub(crate) fn challenge(challenge: &str) -> Reply {
    answer("401 Unauthorized", &[("www-authenticate", challenge)], "")
}

/// A client for [`HOST`], with these endpoints.
pub(crate) fn client(endpoints: &[&str], credentials: Credentials, own: Vec<SocketAddr>) -> RegistryClient {
    RegistryClient::new(vec![config(endpoints, credentials)], own).unwrap()
}

pub(crate) fn config(endpoints: &[&str], credentials: Credentials) -> RegistryConfig {
    RegistryConfig {
        host: HOST.to_owned(),
        endpoints: endpoints
            .iter()
            .map(|endpoint| Url::parse(endpoint).unwrap())
            .collect(),
        ca: None,
        credentials,
        signatures: crate::signature::SourceName::DEFAULT.to_vec(),
    }
}

pub(crate) fn repository() -> Repository {
    Repository::new(HOST, "team/app").unwrap()
}

/// The access of a client without credentials that has a minute: more than any test needs.
pub(crate) fn anonymous() -> Access {
    Access {
        presented: None,
        deadline: Instant::now() + Duration::from_secs(60),
    }
}

pub(crate) fn presenting(authorization: &'static str) -> Access {
    Access {
        presented: Some(Presented::Header(HeaderValue::from_static(authorization))),
        ..anonymous()
    }
}

pub(crate) fn within(time: Duration) -> Access {
    Access {
        presented: None,
        deadline: Instant::now() + time,
    }
}

/// A time that no test reaches, unless the code under test hangs.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Lets the runtime's clock jump ahead. Until the end of the test, deadlines are met that much earlier.
pub(crate) async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Waits until a condition holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn latest() -> Target {
    Target::Tag(Tag::latest())
}

/// Reads the manifest under `latest`.
pub(crate) async fn pull(client: &RegistryClient, access: &Access) -> Result<(), RegistryError> {
    client
        .manifest(&repository(), &latest(), access)
        .await
        .map(|_| ())
}

/// Writes a credentials file with the login `user:pass` for [`HOST`].
pub(crate) fn login() -> (tempfile::TempDir, Credentials) {
    file(&format!(r#"{{"auths":{{"{HOST}":{{"auth":"dXNlcjpwYXNz"}}}}}}"#))
}

/// Writes a credentials file.
pub(crate) fn file(text: &str) -> (tempfile::TempDir, Credentials) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.json");
    std::fs::write(&path, text).unwrap();
    (folder, Credentials::File(path))
}

/// The answer of a token realm that grants this token for five minutes.
pub(crate) fn token(token: &str) -> Reply {
    answer(
        "200 OK",
        &[("content-type", "application/json")],
        format!(r#"{{"token":"{token}","expires_in":300}}"#),
    )
}

/// Starts a registry that asks for a token of its own realm, `/token`, at which `realm` answers.
pub(crate) async fn bearer(realm: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Liar {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let line = format!(
        r#"Bearer realm="http://{address}/token",service="the service",scope="repository:evil:push""#
    );
    Liar::on(listener, move |seen, before| {
        match (seen.path(), seen.header("authorization")) {
            ("/token", _) => realm(seen, before),
            (_, Some(shown)) if shown.starts_with("Bearer good") => manifest(),
            _ => challenge(&line),
        }
    })
}

/// The head of a response with a chunked body.
pub(crate) fn chunked(head: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{head}transfer-encoding: chunked\r\n\r\n").into_bytes()
}

/// One chunk of spaces.
pub(crate) fn chunk(length: usize) -> Vec<u8> {
    let mut chunk = format!("{length:x}\r\n").into_bytes();
    chunk.resize(chunk.len() + length, b' ');
    chunk.extend_from_slice(b"\r\n");
    chunk
}

pub(crate) const MANIFEST: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;

pub(crate) fn manifest() -> Reply {
    answer("200 OK", &[("content-type", OCI_MANIFEST)], MANIFEST)
}

pub(crate) fn manifest_digest() -> Digest {
    Digest::sha256(MANIFEST)
}

pub(crate) fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "application/octet-stream".to_owned(),
        digest: Digest::sha256(content),
        size: content.len().try_into().unwrap(),
        artifact_type: None,
        unverified_data: None,
        platform: None,
    }
}

pub(crate) fn blob(content: &'static [u8]) -> Blob {
    Blob::from_bytes(Bytes::from_static(content))
}

/// The kind of an error, for tables.
pub(crate) fn kind<T: std::fmt::Debug>(result: &Result<T, RegistryError>) -> RequestOutcome {
    RequestOutcome::new(result)
}

/// An observer that keeps each report.
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<Mutex<Vec<(RegistryOperation, RequestOutcome)>>>);

impl Counted {
    pub(crate) fn observe(&self, client: RegistryClient) -> RegistryClient {
        let counted = Arc::clone(&self.0);
        client.observed(Arc::new(move |operation, outcome| {
            counted.lock().unwrap().push((operation, outcome))
        }))
    }

    pub(crate) fn all(&self) -> Vec<(RegistryOperation, RequestOutcome)> {
        self.0.lock().unwrap().clone()
    }
}

//! The minimal proxy in Rust: hyper's server directly in front of hyper-util's pooled client. The bench starts itself a second
//! time as the relay, so that the relay is a process of its own.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use http::header::{CONNECTION, HOST};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::net::{TcpListener, TcpStream};

use super::process::Process;

/// The environment variable that makes a child process of the bench the relay. Its value is the origin's address.
const ORIGIN: &str = "PULLGATE_BENCH_RELAY";
/// The environment variable with the path of the certificate that the relay trusts.
const CA: &str = "PULLGATE_BENCH_CA";

/// A running relay.
pub struct Relay {
    pub process: Process,
    pub address: SocketAddr,
}

impl Relay {
    /// Starts a relay in front of an origin, over TLS if the origin's certificate is given.
    pub fn start(origin: SocketAddr, ca: Option<&Path>) -> Self {
        let mut command = Process::command(std::env::current_exe().unwrap());
        command.env(ORIGIN, origin.to_string()).stdout(Stdio::piped());
        if let Some(ca) = ca {
            command.env(CA, ca);
        }
        let mut process = Process::spawn(&mut command);
        let address = printed_address(&mut process);
        Self { process, address }
    }
}

/// Reads the address that a child process of the bench prints as its first line.
pub fn printed_address(process: &mut Process) -> SocketAddr {
    let mut line = String::new();
    BufReader::new(process.child().stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    line.trim().parse().unwrap()
}

/// Becomes the relay if the parent process set the environment variable for it.
pub fn serve_if_selected() {
    let Ok(origin) = std::env::var(ORIGIN) else { return };
    let ca = std::env::var_os(CA).map(|file| std::fs::read(file).unwrap());
    // The relay has as many threads as `pullgated`.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(serve(origin.parse().unwrap(), ca));
    std::process::exit(0);
}

type Upstream = Client<HttpsConnector<HttpConnector>, Incoming>;

async fn serve(origin: Authority, ca: Option<Vec<u8>>) {
    let scheme = if ca.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    let client = client(ca.as_deref());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    loop {
        let (stream, _peer) = listener.accept().await.unwrap();
        tokio::spawn(connection(stream, client.clone(), scheme.clone(), origin.clone()));
    }
}

async fn connection(stream: TcpStream, client: Upstream, scheme: Scheme, origin: Authority) {
    stream.set_nodelay(true).unwrap();
    let service = service_fn(|request| relay(request, &client, &scheme, &origin));
    // A client may disconnect at any time.
    let _ended = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn relay(
    mut request: Request<Incoming>,
    client: &Upstream,
    scheme: &Scheme,
    origin: &Authority,
) -> Result<Response<Incoming>, Infallible> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(scheme.clone());
    uri.authority = Some(origin.clone());
    *request.uri_mut() = Uri::from_parts(uri).unwrap();
    request.headers_mut().remove(HOST);
    request.headers_mut().remove(CONNECTION);
    Ok(client.request(request).await.unwrap())
}

fn client(ca: Option<&[u8]>) -> Upstream {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.unwrap_or_default()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Client::builder(TokioExecutor::new()).build(connector)
}

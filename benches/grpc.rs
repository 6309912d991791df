//! Measures what the gRPC doors add: a warm `Check` beside a handler that does nothing, `pullgate-verifier` beside an empty
//! program, a CRI call through the door beside the same call without it, and the memory of a thousand concurrent calls.
#![allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::exit,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that cannot continue must stop at once, and it prints its results"
)]
#![allow(missing_docs, unreachable_pub, reason = "only this bench uses these items")]

#[path = "support/support.rs"]
mod support;

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pullgate::base::proto::v1;
use pullgate::base::proto::v1::admission_client::AdmissionClient;
use pullgate::base::proto::v1::admission_server::{Admission, AdmissionServer};
use pullgate::fakes::registry::{EmbeddedRegistry, FakeRegistryOptions};
use pullgate::net::uds_client::{Channel, origin};
use support::figures::{Figure, goal};
use support::gate::{Gate, HOST, Setup};
use support::image::{Image, Pushed, Store as _, put_signed};
use support::process::{Process, free_address};
use support::signer::Signer;
use support::{prepare, rounds};
use tokio::net::{UnixListener, UnixStream};
use tonic::service::Routes;
use tower_service::Service as _;

const REPOSITORY: &str = "acme/app";
/// The environment variable that makes a child process of the bench the peer. Its value is the socket to serve.
const PEER: &str = "PULLGATE_BENCH_GRPC_PEER";
/// The number of calls of one kind in one round.
const BATCH: usize = 200;
/// The number of concurrent calls whose memory is measured.
const CROWD: usize = 1000;

fn main() {
    if let Some(socket) = std::env::var_os(PEER) {
        runtime().block_on(serve_peer(Path::new(&socket)));
    }
    if !prepare("grpc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let registry = runtime
        .block_on(EmbeddedRegistry::start(FakeRegistryOptions::default()))
        .unwrap();
    let signer = Signer::new(2048);
    let mut store = Pushed::to(registry.addr());
    let layer = store.blob(REPOSITORY, b"a layer");
    let image = put_signed(&mut store, REPOSITORY, "v1", &[layer], &signer);
    let peer = Peer::start(&folder.path().join("peer.sock"));
    let (gate, admission, cri) = start_gate(folder.path(), &registry, &signer, &peer.socket);
    let rounds = rounds(41);
    runtime.block_on(check(&admission, &peer.socket, &image, rounds));
    let size = registry.manifest(REPOSITORY, "v1").unwrap().len();
    verifier(folder.path(), &admission, &image, size, rounds);
    runtime.block_on(call(&cri, &peer.socket, rounds));
    runtime.block_on(crowd(&gate, &cri, &admission, &image));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn start_gate(
    folder: &Path,
    registry: &EmbeddedRegistry,
    signer: &Signer,
    peer: &Path,
) -> (Gate, PathBuf, PathBuf) {
    let folder = folder.join("gate");
    std::fs::create_dir_all(&folder).unwrap();
    let address = free_address();
    let file = Setup::in_front_of(registry.addr(), signer).write(&folder, address);
    let text = std::fs::read_to_string(&file).unwrap();
    let sockets = format!(
        "[door.cri]\nlisten = \"cri.sock\"\nruntime = \"{}\"\n[daemon]\nadmission = \"admission.sock\"\n",
        peer.display()
    );
    std::fs::write(&file, text.replacen("[daemon]\n", &sockets, 1)).unwrap();
    let gate = Gate::start_with(&folder, &file, address);
    (gate, folder.join("admission.sock"), folder.join("cri.sock"))
}

/// Measures the question that containerd asks, answered from the cache.
async fn check(admission: &Path, peer: &Path, image: &Image, rounds: usize) {
    let question = v1::CheckRequest {
        reference: format!("{HOST}/{REPOSITORY}:v1"),
        digest: image.digest.clone(),
        ..v1::CheckRequest::default()
    };
    let mut figure = Figure::new("One `Check`, p50 of each round", "us");
    let mut clients = Vec::new();
    for (name, socket) in [("trivial handler", peer), ("gate, warm", admission)] {
        let channel = Channel::connect(socket).await.unwrap();
        let mut client = AdmissionClient::with_origin(channel, origin());
        let response = client.check(question.clone()).await.unwrap().into_inner();
        assert_eq!(response.verdict.unwrap().outcome(), v1::Outcome::Allow, "{name}");
        clients.push((name, client));
    }
    for _ in 0..rounds {
        for (name, client) in &mut clients {
            let mut took = Vec::with_capacity(BATCH);
            for _ in 0..BATCH {
                let started = Instant::now();
                client.check(question.clone()).await.unwrap();
                took.push(started.elapsed().as_secs_f64() * 1e6);
            }
            figure.add(name, support::figures::median(took));
        }
    }
    figure.print(&["trivial handler"]);
    let ratio = figure.ratio("gate, warm", "trivial handler");
    goal("a warm `Check` beside a trivial handler", ratio, 1.3, " x");
}

/// Measures `pullgate-verifier` from spawn to exit, as containerd runs it, beside a program that does nothing and is linked
/// the same way.
fn verifier(folder: &Path, admission: &Path, image: &Image, size: usize, rounds: usize) {
    let source = folder.join("empty.rs");
    std::fs::write(&source, "fn main() {}").unwrap();
    let empty = folder.join("empty");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc)
        .args(["-O", "-C", "strip=debuginfo", "-o"])
        .args([&empty, &source])
        .status();
    assert!(built.unwrap().success(), "rustc");
    let descriptor = format!(
        "{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{}\",\"size\":{}}}\n",
        image.digest, size
    );
    let mut figure = Figure::new("A program from spawn to exit, p50 of each round", "ms");
    let verifier = PathBuf::from(env!("CARGO_BIN_EXE_pullgate-verifier"));
    for _ in 0..rounds {
        for (name, program) in [("empty program", &empty), ("pullgate-verifier", &verifier)] {
            let mut took = Vec::new();
            for _ in 0..BATCH / 10 {
                let started = Instant::now();
                let mut child = Command::new(program)
                    .args([
                        "-name",
                        &format!("{HOST}/{REPOSITORY}:v1"),
                        "-digest",
                        &image.digest,
                    ])
                    .args(["-stdin-media-type", "application/vnd.oci.descriptor.v1+json"])
                    .env("PULLGATE_ADMISSION", admission)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                // The empty program reads nothing and may have exited already.
                let _gone = child.stdin.take().unwrap().write_all(descriptor.as_bytes());
                let output = child.wait_with_output().unwrap();
                took.push(started.elapsed().as_secs_f64() * 1e3);
                assert!(output.status.success(), "{output:?}");
            }
            figure.add(name, support::figures::median(took));
        }
    }
    figure.print(&["empty program"]);
    let ratio = figure.ratio("pullgate-verifier", "empty program");
    goal("pullgate-verifier beside an empty program", ratio, 2.0, " x");
}

/// Measures a call that the door forwards.
async fn call(cri: &Path, peer: &Path, rounds: usize) {
    for (title, body) in [("100 bytes", 100), ("64 KiB", 64 * 1024)] {
        let mut figure = Figure::new(
            format!("One CRI call of {title} each way, p50 of each round"),
            "us",
        );
        let mut senders = Vec::new();
        for (name, socket) in [("runtime", peer), ("through the door", cri)] {
            senders.push((name, connect(socket).await));
        }
        let body = Bytes::from(vec![7; body]);
        for _ in 0..rounds {
            for (name, sender) in &mut senders {
                let mut took = Vec::with_capacity(BATCH);
                for _ in 0..BATCH {
                    let started = Instant::now();
                    let response =
                        sender.send_request(request("Version", Full::new(body.clone()).boxed_unsync()));
                    let response = response.await.unwrap().into_body().collect().await.unwrap();
                    took.push(started.elapsed().as_secs_f64() * 1e6);
                    assert_eq!(response.trailers().unwrap()["grpc-status"], "0");
                }
                figure.add(name, support::figures::median(took));
            }
        }
        figure.print(&["runtime"]);
        let added = figure.difference("through the door", "runtime");
        if body.len() == 100 {
            goal("a CRI call through the door", added, 150.0, " us");
        } else {
            println!("{added:+.0} us through the door\n");
        }
    }
}

/// Measures the daemon's resident memory while a thousand calls are open.
async fn crowd(gate: &Gate, cri: &Path, admission: &Path, image: &Image) {
    let before = gate.process.resident();
    let mut open = Vec::new();
    let mut senders = Vec::new();
    for number in 0..CROWD {
        if number % 100 == 0 {
            senders.push(connect(cri).await);
        }
        let sender = senders.last_mut().unwrap();
        let message = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; 1000])))]);
        // The stream then stays open without a message, like a stream of events.
        let body = StreamBody::new(message.chain(stream::pending())).boxed_unsync();
        let response = sender.send_request(request("Follow", body)).await.unwrap();
        let mut body = response.into_body();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap().len(),
            1000
        );
        open.push(body);
    }
    let streams = gate.process.resident();
    drop((open, senders));
    let question = v1::CheckRequest {
        reference: format!("{HOST}/{REPOSITORY}:v1"),
        digest: image.digest.clone(),
        ..v1::CheckRequest::default()
    };
    let checks = resident_after_checks(gate, admission, &question, 10).await;
    let programs = resident_after_checks(gate, admission, &question, CROWD).await;
    let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    let more = |bytes: u64| mib(bytes) - mib(before);
    println!(
        "{CROWD} open streams through the CRI door: {:+.1} MiB; {CROWD} concurrent checks on 10 connections: {:+.1} MiB; on \
         {CROWD} connections: {:+.1} MiB; before: {:.1} MiB\n",
        more(streams),
        more(checks),
        more(programs),
        mib(before)
    );
    goal("1000 open CRI calls", more(streams), 32.0, " MiB");
    goal("1000 concurrent checks", more(checks), 32.0, " MiB");
}

/// Returns the daemon's memory after a thousand concurrent checks, while this number of connections is still open.
async fn resident_after_checks(
    gate: &Gate,
    admission: &Path,
    question: &v1::CheckRequest,
    connections: usize,
) -> u64 {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let channel = Channel::connect(admission).await.unwrap();
        clients.push(AdmissionClient::with_origin(channel, origin()));
    }
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..CROWD {
        let (mut client, question) = (clients[number % connections].clone(), question.clone());
        calls.spawn(async move { client.check(question).await.unwrap() });
    }
    assert_eq!(calls.join_all().await.len(), CROWD);
    gate.process.resident()
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn request(method: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://localhost/runtime.v1.RuntimeService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

async fn connect(socket: &Path) -> SendRequest<Body> {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// A second process of the bench: an admission service that does nothing, and a runtime that echoes.
struct Peer {
    _process: Process,
    socket: PathBuf,
}

impl Peer {
    fn start(socket: &Path) -> Self {
        let mut command = Process::command(std::env::current_exe().unwrap());
        command.env(PEER, socket).stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let mut line = String::new();
        BufReader::new(process.child().stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            _process: process,
            socket: socket.to_owned(),
        }
    }
}

struct Trivial;

#[tonic::async_trait]
impl Admission for Trivial {
    async fn check(
        &self,
        request: tonic::Request<v1::CheckRequest>,
    ) -> Result<tonic::Response<v1::CheckResponse>, tonic::Status> {
        // The response is as large as a real one.
        let text = request.into_inner().reference;
        Ok(tonic::Response::new(v1::CheckResponse {
            verdict: Some(v1::Verdict {
                outcome: v1::Outcome::Allow.into(),
                rule: text.clone(),
                digest: text.clone(),
                generation: text.clone(),
                signatures: vec![v1::Signature {
                    source: text.clone(),
                    id: text,
                    ..v1::Signature::default()
                }],
                ..v1::Verdict::default()
            }),
            manifest: None,
        }))
    }

    async fn explain(
        &self,
        _request: tonic::Request<v1::ExplainRequest>,
    ) -> Result<tonic::Response<v1::ExplainResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented(""))
    }

    type WatchDecisionsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchDecisionsResponse, tonic::Status>> + Send>>;

    async fn watch_decisions(
        &self,
        _request: tonic::Request<v1::WatchDecisionsRequest>,
    ) -> Result<tonic::Response<Self::WatchDecisionsStream>, tonic::Status> {
        Err(tonic::Status::unimplemented(""))
    }
}

async fn serve_peer(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    let routes = Routes::new(AdmissionServer::new(Trivial)).prepare();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let routes = routes.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| response(routes.clone(), request));
            let _ended = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(5000)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        tokio::task::yield_now().await;
    }
}

type PeerBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

async fn response(mut routes: Routes, request: Request<Incoming>) -> Result<Response<PeerBody>, Infallible> {
    if request.uri().path().starts_with("/pullgate") {
        let response = routes.call(request.map(tonic::body::Body::new)).await.unwrap();
        return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
    }
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    let end = stream::iter([Ok(Frame::trailers(trailers))]);
    let body = request.into_body();
    let echo = stream::unfold(body, |mut body| async {
        let frame = body.frame().await?;
        Some((frame.map_err(Into::into), body))
    });
    Ok(Response::new(StreamBody::new(echo.chain(end)).boxed_unsync()))
}

//! The CRI door between a kubelet and a runtime: it forwards calls unchanged and lets no image past its check.

mod failures;
mod forward;
mod present;
mod pull;
mod runtime;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use pullgate::door::cri::{CriDoor, CriDoorSettings};
use pullgate::door::listen::socket_settings::SocketSettings;
use pullgate::door::{DoorLimits, ServeContext};
use pullgate::fakes::registry::EmbeddedRegistry;
use pullgate::oci::Descriptor;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::runtime::{FakeRuntime, State, frame_message, wire};
use crate::support::{LATEST, Node, REPOSITORY, socket_folder, wait_until};

/// A node with a CRI door between a kubelet and a runtime.
struct CriNode {
    runtime: Option<FakeRuntime>,
    state: Arc<State>,
    socket: PathBuf,
    node: Node,
    _stop: DropGuard,
    folder: TempDir,
}

/// The response to a call.
#[derive(Debug)]
struct CallResponse {
    head: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl CallResponse {
    fn status(&self) -> &str {
        let trailers = self.trailers.as_ref().unwrap_or(&self.head);
        trailers["grpc-status"].to_str().unwrap()
    }

    fn text(&self) -> String {
        let trailers = self.trailers.as_ref().unwrap_or(&self.head);
        let text = trailers
            .get("grpc-message")
            .map_or("", |text| text.to_str().unwrap());
        text.replace("%E2%80%A6", "…")
    }

    fn message<M: Message + Default>(&self) -> M {
        assert_eq!(self.status(), "0", "{self:?}");
        M::decode(self.body.slice(5..)).unwrap()
    }
}

type Sender = SendRequest<UnsyncBoxBody<Bytes, Infallible>>;

impl CriNode {
    async fn start(config: &str, recheck_present: bool) -> Self {
        let folder = socket_folder();
        let runtime = FakeRuntime::start(&folder.path().join("runtime.sock"));
        let node = Node::start(config).await;
        let settings = CriDoorSettings {
            socket: SocketSettings {
                path: folder.path().join("cri.sock"),
                mode: 0o600,
                group: None,
            },
            runtime: runtime.path.clone(),
            recheck_present,
        };
        let limits = DoorLimits {
            pull: Duration::from_secs(30),
            connections: 64,
            ..DoorLimits::default()
        };
        let door = CriDoor::bind(settings, limits).await.unwrap();
        let socket = folder.path().join("cri.sock");
        let stop = CancellationToken::new();
        tokio::spawn(door.serve(ServeContext {
            gate: Arc::clone(&node.gate),
            stop: stop.clone(),
            grace: Duration::from_secs(1),
        }));
        Self {
            state: Arc::clone(&runtime.state),
            runtime: Some(runtime),
            socket,
            node,
            _stop: stop.drop_guard(),
            folder,
        }
    }

    async fn connect(&self) -> Sender {
        connect(&self.socket).await
    }

    /// Prepares the image that the runtime stores when it pulls this name.
    fn prepare_pull(&self, name: &str, id: &str, digests: &[String]) {
        let image = wire::Image {
            id: id.to_owned(),
            repo_tags: vec![name.to_owned()],
            repo_digests: digests.to_vec(),
            size: 7,
        };
        self.state.pulls.lock().unwrap().insert(name.to_owned(), image);
    }

    async fn pull(&self, request: &wire::PullImageRequest) -> CallResponse {
        let path = "/runtime.v1.ImageService/PullImage";
        call(&mut self.connect().await, path, &[], frame_message(request)).await
    }

    /// Waits until a pull has reached the runtime.
    async fn await_runtime_pull(&self) {
        let reached = async || self.state.paths().contains(&"PullImage".to_owned());
        wait_until(reached, "the pull has reached the runtime").await;
    }

    async fn image_call(&self, method: &str, image: &str) -> CallResponse {
        let request = wire::OfImage {
            image: Some(spec(image)),
        };
        let path = format!("/runtime.v1.ImageService/{method}");
        call(&mut self.connect().await, &path, &[], frame_message(&request)).await
    }

    async fn assert_denied(&self, request: &wire::PullImageRequest, prefix: &str) -> String {
        let before = self.state.seen.lock().unwrap().len();
        let response = self.pull(request).await;
        assert_eq!(response.status(), "2", "{response:?}");
        assert!(response.text().starts_with(prefix), "{}", response.text());
        let seen = self.state.paths();
        assert!(!seen[before..].contains(&"PullImage".to_owned()), "{seen:?}");
        response.text()
    }
}

async fn connect(socket: &Path) -> Sender {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

async fn call(sender: &mut Sender, path: &str, headers: &[(&str, &str)], body: Bytes) -> CallResponse {
    let mut request = Request::post(format!("http://kubelet.invalid{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body).boxed_unsync()).unwrap();
    let answer = sender.send_request(request);
    let answer = tokio::time::timeout(LATEST, answer).await.unwrap().unwrap();
    let (head, body) = answer.into_parts();
    let body = tokio::time::timeout(LATEST, body.collect())
        .await
        .unwrap()
        .unwrap();
    CallResponse {
        head: head.headers,
        trailers: body.trailers().cloned(),
        body: body.to_bytes(),
    }
}

fn spec(image: &str) -> wire::ImageSpec {
    wire::ImageSpec {
        image: image.to_owned(),
        user_specified_image: "the name in the pod".to_owned(),
    }
}

fn pull_request(image: &str) -> wire::PullImageRequest {
    wire::PullImageRequest {
        image: Some(spec(image)),
        auth: None,
        sandbox: None,
        later: "of a later kubelet".to_owned(),
    }
}

const NAME: &str = "registry.example/acme/app:v1";
const ID: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

/// Returns the digest of an image's configuration, which runtimes use as the image's identifier.
fn configuration(registry: &EmbeddedRegistry, image: &Descriptor) -> String {
    let manifest = registry.manifest(REPOSITORY, &image.digest.to_string()).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    manifest["config"]["digest"].as_str().unwrap().to_owned()
}

fn named_by_digest(digest: &impl std::fmt::Display) -> String {
    format!("registry.example/acme/app@{digest}")
}

//! The CRI door between a kubelet and a runtime: what it passes on is what came, and no image gets by it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use pullgate::door::cri;
use pullgate::door::listen::socket_settings::SocketSettings;
use pullgate::door::{DoorLimits, ServeContext};
use pullgate::fakes::registry::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions};
use pullgate::oci::Descriptor;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::liar::{Answer, Liar};
use crate::support::signer::attach;
use crate::support::{
    LATEST, Node, REPOSITORY, SIGNED, config, put, put_signed, registry, resident, signer, socket_folder,
};

/// `runtime.v1`, as far as these tests speak it; written down here from its specification and not taken from the door.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ImageSpec {
        #[prost(string, tag = "1")]
        pub image: String,
        /// The door knows nothing of it.
        #[prost(string, tag = "18")]
        pub user_specified_image: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Auth {
        #[prost(string, tag = "1")]
        pub username: String,
        #[prost(string, tag = "2")]
        pub password: String,
        #[prost(string, tag = "3")]
        pub auth: String,
        #[prost(string, tag = "4")]
        pub server_address: String,
        #[prost(string, tag = "5")]
        pub identity_token: String,
        #[prost(string, tag = "6")]
        pub registry_token: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Sandbox {
        #[prost(message, optional, tag = "1")]
        pub metadata: Option<Metadata>,
        #[prost(map = "string, string", tag = "6")]
        pub labels: std::collections::HashMap<String, String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Metadata {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "3")]
        pub namespace: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PullImageRequest {
        #[prost(message, optional, tag = "1")]
        pub image: Option<ImageSpec>,
        #[prost(message, optional, tag = "2")]
        pub auth: Option<Auth>,
        #[prost(message, optional, tag = "3")]
        pub sandbox: Option<Sandbox>,
        /// The door knows nothing of it.
        #[prost(string, tag = "999")]
        pub later: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PullImageResponse {
        #[prost(string, tag = "1")]
        pub image_ref: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct OfImage {
        #[prost(message, optional, tag = "1")]
        pub image: Option<ImageSpec>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Image {
        #[prost(string, tag = "1")]
        pub id: String,
        #[prost(string, repeated, tag = "2")]
        pub repo_tags: Vec<String>,
        #[prost(string, repeated, tag = "3")]
        pub repo_digests: Vec<String>,
        #[prost(uint64, tag = "4")]
        pub size: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Images {
        #[prost(message, repeated, tag = "1")]
        pub images: Vec<Image>,
        /// The door knows nothing of it.
        #[prost(string, tag = "77")]
        pub later: String,
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A call as the runtime saw it.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    authority: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A runtime that has images and pulls what it is told to.
struct FakeRuntime {
    path: PathBuf,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// How a pull is answered that brought an image.
#[derive(Clone)]
enum Answers {
    /// With an error.
    Failed(&'static str),
    /// With an error, and the image comes so much later.
    Late(Duration),
    /// With another identifier.
    Said(String),
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    /// By the name that they are asked for with, and by identifier.
    images: Mutex<BTreeMap<String, wire::Image>>,
    /// What a pull of a name brings.
    pulls: Mutex<BTreeMap<String, wire::Image>>,
    /// An answer of a pull after the image has its name already: with a status, or with this identifier.
    answers: Mutex<Option<Answers>>,
    /// A pull stops there until told to go on.
    hold: Mutex<Option<Arc<Notify>>>,
    cancelled: Notify,
    /// It does not say what it has.
    is_starting: AtomicBool,
    /// It is no containerd: by a name it removes the name alone, and knows no other way.
    is_another: AtomicBool,
}

impl State {
    /// The runtime has this image, by this name.
    fn has(&self, name: String, image: wire::Image) {
        self.images.lock().unwrap().insert(name, image);
    }

    fn paths(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .map(|seen| seen.path.rsplit('/').next().unwrap().to_owned())
            .collect()
    }

    fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

impl FakeRuntime {
    fn start(path: &Path) -> Self {
        Self::start_with(path, Arc::default())
    }

    fn start_with(path: &Path, state: Arc<State>) -> Self {
        let _old = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let state = Arc::clone(&state);
                        async move { Ok::<_, Infallible>(runtime(&state, request).await) }
                    });
                    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .max_concurrent_streams(5000)
                        .auto_date_header(false)
                        .serve_connection(TokioIo::new(stream), service);
                    let _ended = connection.await;
                });
            }
        });
        Self {
            path: path.to_owned(),
            state,
            task,
        }
    }

    async fn stop(self) -> Arc<State> {
        self.task.abort();
        let _aborted = self.task.await;
        std::fs::remove_file(&self.path).unwrap();
        self.state
    }
}

/// Tells when it goes before its time.
struct Guard(Arc<State>, bool);

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cancelled.notify_one();
        }
    }
}

async fn runtime(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if path == "/runtime.v1.RuntimeService/GetContainerEvents" {
        return events(body);
    }
    if path == "/runtime.v1.RuntimeService/Follow" {
        let guard = Guard(Arc::clone(state), false);
        let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"first")))]);
        let never = stream::pending().map(move |frame| {
            let _held = &guard;
            frame
        });
        return Response::new(StreamBody::new(first.chain(never)).boxed_unsync());
    }
    let body = body.collect().await.unwrap().to_bytes();
    state.seen.lock().unwrap().push(Seen {
        path: path.clone(),
        authority: head.uri.authority().unwrap().to_string(),
        headers: head.headers.clone(),
        body: body.clone(),
    });
    let message = body.slice(body.len().min(5)..);
    let named = || {
        wire::OfImage::decode(message.clone())
            .unwrap()
            .image
            .unwrap()
            .image
    };
    match path.rsplit('/').next().unwrap() {
        "PullImage" => {
            let hold = state.hold.lock().unwrap().clone();
            if let Some(hold) = hold {
                let mut guard = Guard(Arc::clone(state), false);
                hold.notified().await;
                guard.1 = true;
            }
            let name = named();
            let pulled = state.pulls.lock().unwrap().get(&name).cloned();
            let Some(image) = pulled else {
                return failed("5", "no such image");
            };
            let answers = state.answers.lock().unwrap().clone();
            let (known, id) = (Arc::clone(state), image.id.clone());
            let insert = move || {
                let mut images = known.images.lock().unwrap();
                images.insert(name, image.clone());
                images.insert(image.id.clone(), image);
            };
            if let Some(Answers::Late(pause)) = answers {
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    insert();
                });
                return failed("4", "too late");
            }
            insert();
            let image_ref = match answers {
                Some(Answers::Failed(status)) => return failed(status, "no such layer"),
                Some(Answers::Said(id)) => id,
                Some(Answers::Late(_)) | None => id,
            };
            ok(&wire::PullImageResponse { image_ref })
        }
        "ImageStatus" if state.is_starting.load(Ordering::SeqCst) => failed("14", "not ready"),
        "ImageStatus" => {
            let image = state.images.lock().unwrap().get(&named()).cloned();
            ok(&wire::Images {
                images: image.into_iter().collect(),
                later: "kept".to_owned(),
            })
        }
        "ListImages" => {
            let images = state.images.lock().unwrap();
            let images = images.iter().filter(|(name, _)| name.starts_with("sha256:"));
            ok(&wire::Images {
                images: images.map(|(_, image)| image.clone()).collect(),
                later: "kept".to_owned(),
            })
        }
        "RemoveImage" => {
            let name = named();
            let mut images = state.images.lock().unwrap();
            if state.is_another.load(Ordering::SeqCst) && !name.starts_with("sha256:") {
                unname(&mut images, &name);
                return ok(&wire::Images::default());
            }
            let id = images.get(&name).map_or(name, |image| image.id.clone());
            images.retain(|_, image| image.id != id);
            ok(&wire::Images::default())
        }
        "Delete" if state.is_another.load(Ordering::SeqCst) => failed("12", "unknown service"),
        "Delete" => {
            assert_eq!(head.headers["containerd-namespace"], "k8s.io");
            let name = wire::ImageSpec::decode(message).unwrap().image;
            let known = unname(&mut state.images.lock().unwrap(), &name);
            if known {
                ok(&wire::Images::default())
            } else {
                failed("5", "no such name")
            }
        }
        // Whatever it is: the same back, with heads and trailers of its own.
        _ => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("7"));
            trailers.insert("grpc-message", HeaderValue::from_static("as%20it%20came"));
            trailers.insert("x-detail-bin", HeaderValue::from_static("AAEC"));
            let frames = vec![Ok(Frame::data(body)), Ok(Frame::trailers(trailers))];
            let mut answer = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
            answer
                .headers_mut()
                .insert("content-type", HeaderValue::from_static("application/grpc+proto"));
            answer
                .headers_mut()
                .insert("x-from-runtime", HeaderValue::from_static("yes"));
            answer
        }
    }
}

/// Takes a name away, wherever it stands, and says whether it stood anywhere.
fn unname(images: &mut BTreeMap<String, wire::Image>, name: &str) -> bool {
    let before = images.clone();
    images.remove(name);
    for image in images.values_mut() {
        image.repo_tags.retain(|known| known != name);
        image.repo_digests.retain(|known| known != name);
    }
    *images != before
}

/// Back as it comes, message by message, for as long as the client goes on.
fn events(body: Incoming) -> Response<Body> {
    let frames = stream::unfold(body, |mut body| async {
        let frame = body.frame().await?.ok()?;
        Some((Ok(frame), body))
    });
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    answer
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
}

fn framed(message: &impl Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut framed = BytesMut::from(&[0][..]);
    framed.extend_from_slice(&u32::try_from(encoded.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&encoded);
    framed.freeze()
}

fn ok(message: &impl Message) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-runtime", HeaderValue::from_static("fake"));
    let frames = vec![Ok(Frame::data(framed(message))), Ok(Frame::trailers(trailers))];
    let mut answer = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
    answer
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
}

fn failed(status: &'static str, message: &'static str) -> Response<Body> {
    let mut answer = Response::new(Full::default().boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(status));
    headers.insert("grpc-message", HeaderValue::from_static(message));
    answer
}

/// A kubelet, a door, a gate and a runtime.
struct World {
    runtime: Option<FakeRuntime>,
    state: Arc<State>,
    socket: PathBuf,
    node: Node,
    _stop: DropGuard,
    folder: TempDir,
}

/// What a call brought.
#[derive(Debug)]
struct Called {
    head: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Called {
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

impl World {
    async fn start(config: &str, recheck_present: bool) -> Self {
        let folder = socket_folder();
        let runtime = FakeRuntime::start(&folder.path().join("runtime.sock"));
        let node = Node::start(config).await;
        let settings = cri::CriDoorSettings {
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
        let door = cri::CriDoor::bind(settings, limits).await.unwrap();
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

    /// What the runtime gets when it is asked for this name.
    fn will_pull(&self, name: &str, id: &str, digests: &[String]) {
        let image = wire::Image {
            id: id.to_owned(),
            repo_tags: vec![name.to_owned()],
            repo_digests: digests.to_vec(),
            size: 7,
        };
        self.state.pulls.lock().unwrap().insert(name.to_owned(), image);
    }

    async fn pull(&self, request: &wire::PullImageRequest) -> Called {
        let path = "/runtime.v1.ImageService/PullImage";
        call(&mut self.connect().await, path, &[], framed(request)).await
    }

    async fn ask(&self, method: &str, image: &str) -> Called {
        let request = wire::OfImage {
            image: Some(spec(image)),
        };
        let path = format!("/runtime.v1.ImageService/{method}");
        call(&mut self.connect().await, &path, &[], framed(&request)).await
    }

    async fn assert_denied(&self, request: &wire::PullImageRequest, begins: &str) -> String {
        let before = self.state.seen.lock().unwrap().len();
        let called = self.pull(request).await;
        assert_eq!(called.status(), "2", "{called:?}");
        assert!(called.text().starts_with(begins), "{}", called.text());
        let seen = self.state.paths();
        assert!(!seen[before..].contains(&"PullImage".to_owned()), "{seen:?}");
        called.text()
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

async fn call(sender: &mut Sender, path: &str, headers: &[(&str, &str)], body: Bytes) -> Called {
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
    Called {
        head: head.headers,
        trailers: body.trailers().cloned(),
        body: body.to_bytes(),
    }
}

fn spec(image: &str) -> wire::ImageSpec {
    wire::ImageSpec {
        image: image.to_owned(),
        user_specified_image: "as the pod spells it".to_owned(),
    }
}

fn pulling(image: &str) -> wire::PullImageRequest {
    wire::PullImageRequest {
        image: Some(spec(image)),
        auth: None,
        sandbox: None,
        later: "of a later kubelet".to_owned(),
    }
}

const NAME: &str = "registry.example/acme/app:v1";
const ID: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

/// The digest of an image's configuration, by which runtimes call it.
fn configuration(registry: &EmbeddedRegistry, image: &Descriptor) -> String {
    let manifest = registry.manifest(REPOSITORY, &image.digest.to_string()).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    manifest["config"]["digest"].as_str().unwrap().to_owned()
}

fn at(digest: &impl std::fmt::Display) -> String {
    format!("registry.example/acme/app@{digest}")
}

#[tokio::test]
async fn what_is_not_ours_passes_as_it_came() {
    let registry = registry().await;
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    let mut sender = world.connect().await;
    let body = Bytes::from_static(b"\x01\x00\x00\x00\x03\xff\xfe\xfd and more that is no message");
    for path in [
        "/runtime.v1.RuntimeService/Version",
        "/runtime.v1.ImageService/ImageFsInfo",
        "/runtime.v1.ImageService/StreamImages",
        "/runtime.v1.RuntimeService/OfALaterKubelet?that=asks",
        "/runtime.v1alpha2.RuntimeService/Version",
        "/grpc.health.v1.Health/Check",
    ] {
        let headers = [
            ("grpc-timeout", "9S"),
            ("grpc-encoding", "gzip"),
            ("x-trace-bin", "AAEC"),
            ("user-agent", "grpc-go/1.83"),
            ("authorization", "Bearer of-nobody-s-business"),
        ];
        let called = call(&mut sender, path, &headers, body.clone()).await;
        let seen = world.state.last();
        assert_eq!(seen.path, path.split('?').next().unwrap());
        assert_eq!(seen.authority, "localhost");
        for (name, value) in headers {
            assert_eq!(seen.headers[name], value, "{path}");
        }
        assert_eq!(seen.headers["te"], "trailers");
        assert_eq!(seen.body, body);
        assert_eq!(called.body, body, "{path}");
        assert_eq!(called.head["content-type"], "application/grpc+proto");
        assert_eq!(called.head["x-from-runtime"], "yes");
        assert!(!called.head.contains_key("date"), "{:?}", called.head);
        let trailers = called.trailers.unwrap();
        assert_eq!(
            (
                &trailers["grpc-status"],
                &trailers["grpc-message"],
                &trailers["x-detail-bin"]
            ),
            (
                &HeaderValue::from_static("7"),
                &HeaderValue::from_static("as%20it%20came"),
                &HeaderValue::from_static("AAEC")
            )
        );
    }
}

#[tokio::test]
async fn streams_go_both_ways_as_they_come_and_end_with_the_caller() {
    let registry = registry().await;
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    let mut sender = world.connect().await;
    let (feed, fed) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let fed = stream::unfold(fed, |mut fed| async {
        let data = fed.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(data)), fed))
    });
    let request = Request::post("http://localhost/runtime.v1.RuntimeService/GetContainerEvents")
        .header("content-type", "application/grpc")
        .body(StreamBody::new(fed).boxed_unsync())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let mut body = answer.into_body();
    for number in 0..50_u8 {
        // Nothing waits for a message to be whole, nor for the next.
        feed.send(Bytes::from(vec![number; 100])).unwrap();
        let mut got = Vec::new();
        while got.len() < 100 {
            let frame = tokio::time::timeout(LATEST, body.frame()).await.unwrap();
            got.extend_from_slice(&frame.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(got, vec![number; 100]);
    }
    drop((feed, body));

    let request = Request::post("http://localhost/runtime.v1.RuntimeService/Follow")
        .body(Full::default().boxed_unsync())
        .unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    tokio::time::timeout(LATEST, body.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    drop(body);
    // The runtime hears that nobody listens any more.
    tokio::time::timeout(LATEST, world.state.cancelled.notified())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_signed_image_is_pulled_and_others_are_not() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    put(&registry, REPOSITORY, "v2");
    put_signed(&registry, "wrong", signer::get("stranger"));
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    world.will_pull(NAME, &configuration(&registry, &signed), &[at(&signed.digest)]);
    let request = pulling(NAME);
    let called = world.pull(&request).await;
    assert_eq!(
        called.message::<wire::PullImageResponse>().image_ref,
        configuration(&registry, &signed)
    );
    assert_eq!(called.trailers.as_ref().unwrap()["x-runtime"], "fake");
    // What the runtime was asked is what the kubelet asked, byte for byte.
    let seen = world.state.seen.lock().unwrap().clone();
    let pull = seen.iter().find(|seen| seen.path.ends_with("PullImage")).unwrap();
    assert_eq!(pull.body, framed(&request));
    assert_eq!(world.state.paths(), ["ImageStatus", "PullImage", "ImageStatus"]);

    let text = world
        .assert_denied(
            &pulling("registry.example/acme/app:v2"),
            "SignatureValidationFailed: pullgate: unsigned: ",
        )
        .await;
    assert!(
        text.contains("registry.example/acme/app:v2") && text.contains("registry.example/**"),
        "{text}"
    );
    let wrong = pulling("registry.example/acme/app:wrong");
    world
        .assert_denied(&wrong, "SignatureValidationFailed: pullgate: untrusted-key: ")
        .await;
    let nowhere = pulling("nginx");
    let text = world
        .assert_denied(&nowhere, "SignatureValidationFailed: pullgate: no-rule: ")
        .await;
    assert!(text.contains("docker.io/library/nginx:latest"), "{text}");
    let none = pulling("registry.example/acme/app:none");
    world
        .assert_denied(&none, "RegistryUnavailable: pullgate: image-not-found: ")
        .await;
    for no_name in ["", "acme/APP", &ID[7..], "a b"] {
        let text = world
            .assert_denied(
                &pulling(no_name),
                "SignatureValidationFailed: pullgate: malformed: ",
            )
            .await;
        assert!(text.contains("is not an image name"), "{text}");
    }
    let (recorded, _) = world
        .node
        .gate
        .watch(9, |recorded| recorded.door.as_str() == "cri");
    assert!(
        recorded.iter().all(|recorded| recorded.peer.starts_with("uid=")),
        "{recorded:?}"
    );
    // The runtime's own failures are its own.
    let unknown = pulling(&at(&signed.digest));
    let called = world.pull(&unknown).await;
    assert_eq!((called.status(), called.text().as_str()), ("5", "no such image"));
}

#[tokio::test]
async fn the_older_api_is_no_way_around() {
    let registry = registry().await;
    put(&registry, REPOSITORY, "v1");
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    world.will_pull(NAME, ID, &[]);
    let mut sender = world.connect().await;
    let request = framed(&pulling(NAME));
    let path = "/runtime.v1alpha2.ImageService/PullImage";
    let called = call(&mut sender, path, &[], request.clone()).await;
    assert!(called.text().contains("unsigned"), "{called:?}");
    // What can not be read is not decided on, and does not pass.
    let mut twice = BytesMut::from(&request[..]);
    twice.extend_from_slice(&request);
    let mut compressed = BytesMut::from(&request[..]);
    compressed[0] = 1;
    let mut short = BytesMut::from(&request[..]);
    short.truncate(request.len() - 1);
    let mut large = BytesMut::from(&request[..]);
    large.extend_from_slice(&vec![0; 2 * 1024 * 1024]);
    let garbage = Bytes::from_static(b"\x00\x00\x00\x00\x03\xff\xff\xff");
    for (body, code) in [
        (twice.freeze(), "3"),
        (compressed.freeze(), "12"),
        (short.freeze(), "3"),
        (large.freeze(), "8"),
        (garbage, "3"),
        (Bytes::new(), "3"),
        (Bytes::from_static(b"\x00\x00"), "3"),
    ] {
        let path = "/runtime.v1.ImageService/PullImage";
        let called = call(&mut sender, path, &[("grpc-encoding", "gzip")], body).await;
        assert_eq!(called.status(), code, "{called:?}");
        assert_eq!(called.head["grpc-accept-encoding"], "identity");
    }
    assert_eq!(world.state.paths(), Vec::<String>::new());
    // A message that stands in two parts is one, to protobuf in Go as here: the name that is pulled is the last.
    put_signed(&registry, "v9", signer::get("release"));
    let mut parts = pulling("registry.example/acme/app:v9").encode_to_vec();
    parts.extend_from_slice(&pulling(NAME).encode_to_vec());
    let mut body = BytesMut::from(&[0][..]);
    body.extend_from_slice(&u32::try_from(parts.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&parts);
    let path = "/runtime.v1.ImageService/PullImage";
    let called = call(&mut sender, path, &[], body.freeze()).await;
    assert!(
        called.text().contains("acme/app:v1") && called.text().contains("unsigned"),
        "{called:?}"
    );
    // What may be a pull to a runtime that is newer than this door is not passed on.
    for path in [
        "/runtime.v2.ImageService/PullImage",
        "/runtime.v1.ImageService//PullImage",
        "//runtime.v1.ImageService/PullImage",
        "/PullImage",
        "/runtime.v1.ImageService/PullImage?no=method",
        "/runtime.v1.ImageService/PullImageWithProgress",
        "/containerd.services.transfer.v1.Transfer/Transfer",
        "/containerd.services.content.v1.Content/Write",
        "/containerd.services.images.v1.Images/Create",
        "/runtime.v2.RuntimeService/CreateContainer",
    ] {
        let called = call(&mut sender, path, &[], request.clone()).await;
        assert!(["12", "2"].contains(&called.status()), "{path}: {called:?}");
    }
    assert_eq!(world.state.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn what_was_pulled_is_what_was_admitted_or_it_goes() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    let mismatch = "SignatureValidationFailed: pullgate: digest-mismatch: ";
    // The tag was moved between the decision and the pull; no digest; not there at all.
    for digests in [vec![at(&other.digest)], vec![], vec!["nonsense".to_owned()]] {
        world.will_pull(NAME, ID, &digests);
        let called = world.pull(&pulling(NAME)).await;
        assert_eq!(called.status(), "2", "{called:?}");
        assert!(called.text().starts_with(mismatch), "{}", called.text());
        assert!(called.text().contains("it was removed"), "{}", called.text());
        assert_eq!(world.state.images.lock().unwrap().len(), 0);
        let (recorded, _) = world.node.gate.watch(1, |_| true);
        assert_eq!(recorded[0].outcome.reason(), "digest-mismatch");
    }
    // Beside the others that it had before, the right one.
    world.will_pull(
        NAME,
        &configuration(&registry, &signed),
        &[at(&other.digest), at(&signed.digest)],
    );
    assert_eq!(world.pull(&pulling(NAME)).await.status(), "0");
    // A pull that fails leaves what is there.
    world.state.pulls.lock().unwrap().clear();
    assert_eq!(world.pull(&pulling(NAME)).await.status(), "5");
    assert!(world.state.images.lock().unwrap().contains_key(NAME));
}

/// Who is asked for an image of his own may give the runtime another's. It must not be deleted for that, nor keep his names.
#[tokio::test]
async fn what_another_repository_calls_its_own_stays_under_that_name() {
    const PAUSE: &str = "registry.k8s.example/pause:3.9";
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    let elsewhere = format!("registry.k8s.example/pause@{}", other.digest);
    for is_another in [false, true] {
        world.state.is_another.store(is_another, Ordering::SeqCst);
        for digests in [
            vec![elsewhere.clone(), at(&other.digest)],
            vec![elsewhere.clone(), at(&signed.digest)],
            vec![elsewhere.clone()],
        ] {
            // To the runtime it is one image: it has the same configuration.
            let pulled = wire::Image {
                id: ID.to_owned(),
                repo_tags: vec![PAUSE.to_owned(), NAME.to_owned()],
                repo_digests: digests,
                size: 7,
            };
            world.state.has(PAUSE.to_owned(), pulled.clone());
            world.state.pulls.lock().unwrap().insert(NAME.to_owned(), pulled);
            let text = world.pull(&pulling(NAME)).await.text();
            assert!(text.contains("digest-mismatch"), "{text}");
            assert!(
                text.contains("its names in this repository were removed"),
                "{text}"
            );
            let images = world.state.images.lock().unwrap();
            assert!(!images.contains_key(NAME));
            assert_eq!(images[ID].repo_tags, [PAUSE]);
            assert_eq!(images[ID].repo_digests, std::slice::from_ref(&elsewhere));
            assert!(images.contains_key(PAUSE));
        }
    }
}

/// An index of these manifests, tagged `v1` and signed by `release`.
fn put_signed_index(registry: &EmbeddedRegistry, manifests: &[Descriptor]) -> Descriptor {
    let index = registry.put_index(REPOSITORY, "v1", manifests).unwrap();
    let record = signer::get("release").record(&index.digest, REPOSITORY);
    attach(registry, REPOSITORY, &index, &record.to_string());
    index
}

/// What a reload or a cleared cache took back while the runtime pulled is not kept anew.
#[tokio::test]
async fn an_image_that_is_found_in_an_index_is_kept_under_the_policy_that_admitted_it() {
    for (change, is_kept) in [(None, true), (Some(false), false), (Some(true), false)] {
        let registry = registry().await;
        let here = registry.put_image(REPOSITORY, "", &[b"here"]).unwrap();
        let index = put_signed_index(&registry, std::slice::from_ref(&here));
        let world = World::start(&config(registry.url(), SIGNED), false).await;
        let id = configuration(&registry, &here);
        world.will_pull(NAME, &id, &[at(&index.digest)]);
        let hold = Arc::new(Notify::new());
        *world.state.hold.lock().unwrap() = Some(Arc::clone(&hold));
        let request = pulling(NAME);
        let (called, ()) = tokio::join!(world.pull(&request), async {
            let until = Instant::now() + LATEST;
            while !world.state.paths().contains(&"PullImage".to_owned()) {
                assert!(Instant::now() < until, "the runtime is not asked");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            match change {
                None => {}
                Some(false) => world
                    .node
                    .reload(&config(registry.url(), &SIGNED.replace("release", "qa"))),
                Some(true) => {
                    world.node.gate.clear().unwrap();
                }
            }
            hold.notify_one();
        });
        assert_eq!(called.status(), "0", "{called:?}");
        let blob = pullgate::pull::request::PullRequest {
            door: pullgate::pull::request::DoorName::new("registry"),
            peer: String::new(),
            reference: at(&id).parse().unwrap(),
            pod: None,
            presented: None,
            deadline: Instant::now() + LATEST,
            purpose: pullgate::pull::request::Purpose::Serve,
        };
        let admitted = world.node.gate.admit_blob(&blob).await;
        assert_eq!(admitted.is_ok(), is_kept, "{change:?}: {admitted:?}");
    }
}

/// An archive brings its own names: the one with the admitted digest may be another image's.
#[tokio::test]
async fn a_name_with_the_admitted_digest_does_not_make_an_image_the_admitted_one() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let digest = signed.digest.to_string();
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    let no_digest = format!("{digest}0");
    for (id, detail) in [
        (ID, "the runtime has another image under the admitted name"),
        (&*no_digest, "the runtime calls what it pulled"),
        ("", "the runtime calls what it pulled"),
    ] {
        world.will_pull(NAME, id, &[at(&signed.digest)]);
        *world.state.answers.lock().unwrap() = (id.is_empty()).then(|| Answers::Said(NAME.to_owned()));
        let called = world.pull(&pulling(NAME)).await;
        assert_eq!(called.status(), "2", "{called:?}");
        let text = called.text();
        assert!(
            text.contains("digest-mismatch") && text.contains(detail),
            "{text}"
        );
        assert!(text.contains("it was removed"), "{text}");
    }
    // By its manifest, as a Docker that keeps images in containerd calls it; by no digest at all, as CRI-O does, which
    // computes the names from the manifests that it has.
    for id in [&*digest, &ID[7..]] {
        world.will_pull(NAME, id, &[at(&signed.digest)]);
        assert_eq!(world.pull(&pulling(NAME)).await.status(), "0");
    }
}

/// Of an index the image is one that it lists. Whichever that is, its manifest says.
#[tokio::test]
async fn an_image_of_an_index_is_found_in_what_the_index_lists() {
    let registry = registry().await;
    let child = |number: u8| registry.put_image(REPOSITORY, "", &[&[number]]).unwrap();
    let (first, second, other) = (child(1), child(2), child(3));
    let index = put_signed_index(&registry, &[first.clone(), second.clone()]);
    let world = World::start(&config(registry.url(), SIGNED), true).await;
    let is_there = async |id: &str| {
        let status: wire::Images = world.ask("ImageStatus", id).await.message();
        !status.images.is_empty()
    };
    let pulled = async |image: &Descriptor| {
        let id = configuration(&registry, image);
        world.will_pull(NAME, &id, &[at(&index.digest)]);
        (world.pull(&pulling(NAME)).await, is_there(&id).await)
    };
    let (called, is_shown) = pulled(&other).await;
    assert_eq!(called.status(), "2", "{called:?}");
    let text = called.text();
    assert!(
        text.contains("which no manifest of the admitted index has"),
        "{text}"
    );
    assert!(!is_shown);
    // Known before it was pulled by this name, and not under the policy of then.
    for image in [&second, &first] {
        let (called, is_shown) = pulled(image).await;
        assert_eq!(called.status(), "0", "{called:?}");
        assert!(is_shown);
    }
    registry.clear_log();
    assert_eq!(pulled(&first).await.0.status(), "0");
    let asked: Vec<_> = registry.log().into_iter().map(|access| access.target).collect();
    let listed = |image: &Descriptor| {
        asked
            .iter()
            .any(|target| target.contains(&image.digest.to_string()))
    };
    assert!(!listed(&first) && !listed(&second), "{asked:?}");
    // A manifest that the deny list names is not what was admitted.
    world.node.reload(&config(
        registry.url(),
        &format!("{SIGNED}[deny]\ndigests = [\"{}\"]\n", second.digest),
    ));
    assert_eq!(pulled(&first).await.0.status(), "0");
    assert_eq!(pulled(&second).await.0.status(), "2");
}

/// A copy of an index without the manifests of other platforms: what is there is found, and what is not is said.
#[tokio::test]
async fn an_index_whose_manifests_are_not_all_there_still_serves() {
    let registry = registry().await;
    let here = registry.put_image(REPOSITORY, "", &[b"here"]).unwrap();
    let missing = Descriptor {
        digest: pullgate::oci::Digest::sha256(b"of another platform"),
        platform: None,
        ..here.clone()
    };
    let index = put_signed_index(&registry, &[missing, here.clone()]);
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    world.will_pull(NAME, &configuration(&registry, &here), &[at(&index.digest)]);
    assert_eq!(world.pull(&pulling(NAME)).await.status(), "0");
    world.will_pull(NAME, ID, &[at(&index.digest)]);
    let text = world.pull(&pulling(NAME)).await.text();
    assert!(
        text.contains("could not read every manifest of the admitted index"),
        "{text}"
    );
}

/// Half a request holds its place no longer than 10 s.
#[tokio::test]
async fn a_request_that_does_not_end_is_given_up() {
    let registry = registry().await;
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    let mut sender = world.connect().await;
    let half = framed(&pulling(NAME)).slice(..9);
    let body = stream::iter([Ok::<_, Infallible>(Frame::data(half))]).chain(stream::pending());
    let request = Request::post("http://localhost/runtime.v1.ImageService/PullImage")
        .header("content-type", "application/grpc")
        .body(StreamBody::new(body).boxed_unsync())
        .unwrap();
    let began = Instant::now();
    let answer = sender.send_request(request);
    let answer = tokio::time::timeout(LATEST, answer).await.unwrap().unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4");
    assert!(began.elapsed() > Duration::from_secs(5));
    assert_eq!(world.state.paths(), Vec::<String>::new());
}

/// A registry that gives the runtime another image than the gate may let the runtime fail when the image has its name.
#[tokio::test]
async fn a_pull_that_failed_leaves_nothing_that_was_not_admitted() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    let answers = |answers| *world.state.answers.lock().unwrap() = Some(answers);
    for status in ["5", "4", "2", "13"] {
        world.will_pull(NAME, ID, &[at(&other.digest)]);
        answers(Answers::Failed(status));
        let called = world.pull(&pulling(NAME)).await;
        assert_eq!(called.status(), "2", "{called:?}");
        assert!(called.text().contains("digest-mismatch"), "{called:?}");
        assert_eq!(world.state.images.lock().unwrap().len(), 0);
    }
    // The error is the runtime's own where nothing is wrong with what it has.
    world.will_pull(NAME, &configuration(&registry, &signed), &[at(&signed.digest)]);
    let called = world.pull(&pulling(NAME)).await;
    assert_eq!((called.status(), called.text().as_str()), ("13", "no such layer"));
    assert!(world.state.images.lock().unwrap().contains_key(NAME));
    // A runtime that does not say what it has has nothing wrong: the error is its own, and nothing goes.
    let denials = world.node.gate.watch(usize::MAX, |_| true).0.len();
    world.state.is_starting.store(true, Ordering::SeqCst);
    let called = world.pull(&pulling(NAME)).await;
    assert_eq!((called.status(), called.text().as_str()), ("13", "no such layer"));
    tokio::time::sleep(Duration::from_millis(1000)).await;
    world.state.is_starting.store(false, Ordering::SeqCst);
    assert!(world.state.images.lock().unwrap().contains_key(NAME));
    // The pull was allowed, and that is all that the record has of it.
    assert_eq!(world.node.gate.watch(usize::MAX, |_| true).0.len(), denials + 1);
    world.state.images.lock().unwrap().clear();
    // What comes when the answer is gone is found too.
    world.will_pull(NAME, ID, &[at(&other.digest)]);
    answers(Answers::Late(Duration::from_millis(200)));
    assert_eq!(world.pull(&pulling(NAME)).await.status(), "4");
    let until = Instant::now() + LATEST;
    while !world.state.paths().contains(&"RemoveImage".to_owned())
        || !world.state.images.lock().unwrap().is_empty()
        || world.node.gate.watch(1, |_| true).0[0].outcome.reason() != "digest-mismatch"
    {
        assert!(Instant::now() < until, "what came late stayed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the kubelet starts is what the answer names. Another pull may have moved the tag since.
#[tokio::test]
async fn what_the_answer_names_is_compared_as_well() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    let evil = wire::Image {
        id: ID.replace('1', "2"),
        repo_digests: vec![at(&other.digest)],
        ..wire::Image::default()
    };
    for said in [evil.id.clone(), "sha256:of-nothing".to_owned(), String::new()] {
        world.will_pull(NAME, &configuration(&registry, &signed), &[at(&signed.digest)]);
        world.state.has(evil.id.clone(), evil.clone());
        *world.state.answers.lock().unwrap() = Some(Answers::Said(said.clone()));
        let called = world.pull(&pulling(NAME)).await;
        assert_eq!(called.status(), "2", "{said}: {called:?}");
        assert!(called.text().contains("digest-mismatch"), "{called:?}");
        let gone = !world.state.images.lock().unwrap().contains_key(&evil.id);
        assert_eq!(gone, said == evil.id);
    }
    // As CRI-O may answer: by the digest.
    *world.state.answers.lock().unwrap() = Some(Answers::Said(at(&signed.digest)));
    let right = wire::Image {
        id: configuration(&registry, &signed),
        repo_digests: vec![at(&signed.digest)],
        ..wire::Image::default()
    };
    world.state.has(at(&signed.digest), right);
    assert_eq!(world.pull(&pulling(NAME)).await.status(), "0");
}

/// The tag moves from one signed image to the next while both are pulled: neither takes the other's away.
#[tokio::test]
async fn a_tag_that_moves_between_admitted_images_is_no_mismatch() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let next = put_signed(&registry, "v2", signer::get("release"));
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    world.will_pull(NAME, &configuration(&registry, &next), &[at(&next.digest)]);
    // Nobody has asked for the next one yet.
    assert_eq!(world.pull(&pulling(NAME)).await.status(), "2");
    let name = "registry.example/acme/app:v2";
    world.will_pull(name, &configuration(&registry, &next), &[at(&next.digest)]);
    assert_eq!(world.pull(&pulling(name)).await.status(), "0");
    assert_eq!(world.pull(&pulling(NAME)).await.status(), "0");
}

#[tokio::test]
async fn who_gives_up_leaves_nothing_unlooked_at() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    let hold = Arc::new(Notify::new());
    *world.state.hold.lock().unwrap() = Some(Arc::clone(&hold));
    let mut sender = world.connect().await;
    let give_up = tokio::time::timeout(
        Duration::from_millis(500),
        call(
            &mut sender,
            "/runtime.v1.ImageService/PullImage",
            &[],
            framed(&pulling(NAME)),
        ),
    );
    give_up.await.unwrap_err();
    // The runtime hears of it.
    tokio::time::timeout(LATEST, world.state.cancelled.notified())
        .await
        .unwrap();
    // And had the image already, another one: it goes.
    let image = wire::Image {
        id: ID.to_owned(),
        repo_digests: vec![at(&other.digest)],
        ..wire::Image::default()
    };
    let until = Instant::now() + LATEST;
    *world.state.hold.lock().unwrap() = Some(hold);
    loop {
        let mut sender = world.connect().await;
        let calling = tokio::spawn(async move {
            tokio::time::timeout(
                Duration::from_millis(500),
                call(
                    &mut sender,
                    "/runtime.v1.ImageService/PullImage",
                    &[],
                    framed(&pulling(NAME)),
                ),
            )
            .await
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.state.has(NAME.to_owned(), image.clone());
        world.state.has(ID.to_owned(), image.clone());
        let _gave_up = calling.await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if world.state.images.lock().unwrap().is_empty() {
            break;
        }
        assert!(Instant::now() < until, "what was not admitted stayed");
        world.state.images.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn a_pull_is_decided_on_with_its_own_credentials() {
    for (auth, of_registry) in [
        (
            wire::Auth {
                username: "bob".to_owned(),
                password: "secret".to_owned(),
                ..wire::Auth::default()
            },
            "basic",
        ),
        (
            wire::Auth {
                auth: "Ym9iOnNlY3JldA==".to_owned(),
                server_address: "https://registry.example".to_owned(),
                ..wire::Auth::default()
            },
            "bearer",
        ),
    ] {
        let (user, password) = ("bob".to_owned(), "secret".to_owned());
        let auth_of_registry = match of_registry {
            "basic" => AuthPolicy::Basic { user, password },
            _ => AuthPolicy::Bearer {
                user,
                password,
                anonymous_pull: false,
            },
        };
        let registry = EmbeddedRegistry::start(FakeRegistryOptions {
            auth: auth_of_registry,
            ..FakeRegistryOptions::default()
        })
        .await
        .unwrap();
        let signed = put_signed(&registry, "v1", signer::get("release"));
        let world = World::start(&config(registry.url(), SIGNED), false).await;
        world.will_pull(NAME, &configuration(&registry, &signed), &[at(&signed.digest)]);
        let with = |auth| wire::PullImageRequest {
            auth,
            ..pulling(NAME)
        };
        let unauthorized = "RegistryUnavailable: pullgate: registry-unauthorized: ";
        world.assert_denied(&with(None), unauthorized).await;
        let wrong = wire::Auth {
            password: "guess".to_owned(),
            auth: "Ym9iOmd1ZXNz".to_owned(),
            ..auth.clone()
        };
        world.assert_denied(&with(Some(wrong)), unauthorized).await;
        let called = world.pull(&with(Some(auth.clone()))).await;
        assert_eq!(called.status(), "0", "{called:?}");
        world.assert_denied(&with(None), unauthorized).await;
        let broken = wire::Auth {
            auth: "secret and no base64".to_owned(),
            username: String::new(),
            ..auth
        };
        let text = world
            .assert_denied(
                &with(Some(broken)),
                "SignatureValidationFailed: pullgate: malformed: ",
            )
            .await;
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_registry_that_stalls_is_a_denial_in_the_callers_time() {
    let liar = Liar::start(None, |_| Answer::Silence).await;
    let world = World::start(&config(&liar.url(), SIGNED), false).await;
    let mut sender = world.connect().await;
    let began = Instant::now();
    let path = "/runtime.v1.ImageService/PullImage";
    let called = call(
        &mut sender,
        path,
        &[("grpc-timeout", "2S")],
        framed(&pulling(NAME)),
    )
    .await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // The code that its own clock would give it: DEADLINE_EXCEEDED.
    assert_eq!(called.status(), "4", "{called:?}");
    assert!(
        called.text().starts_with("pullgate: deadline-exceeded: "),
        "{called:?}"
    );
}

#[tokio::test]
async fn a_runtime_that_is_down_is_said_to_be_and_one_that_comes_back_is_found() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let mut world = World::start(&config(registry.url(), SIGNED), false).await;
    world.will_pull(NAME, &configuration(&registry, &signed), &[at(&signed.digest)]);
    let mut sender = world.connect().await;
    let version = "/runtime.v1.RuntimeService/Version";
    let alive = call(&mut sender, version, &[], Bytes::from_static(b"x")).await;
    assert_eq!(alive.status(), "7");
    let state = world.runtime.take().unwrap().stop().await;
    let began = Instant::now();
    for path in [version, "/runtime.v1.ImageService/PullImage"] {
        let called = call(&mut sender, path, &[], framed(&pulling(NAME))).await;
        assert_eq!(called.status(), "14", "{called:?}");
        assert!(called.text().contains("runtime.sock"), "{called:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    let path = world.folder.path().join("runtime.sock");
    world.runtime = Some(FakeRuntime::start_with(&path, state));
    // The same connection of the kubelet, which knows nothing of all this.
    let called = call(&mut sender, version, &[], Bytes::from_static(b"x")).await;
    assert_eq!(called.status(), "7", "{called:?}");
    assert_eq!(world.pull(&pulling(NAME)).await.status(), "0");
}

#[tokio::test]
async fn images_that_were_not_admitted_are_not_there() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let rules = config(registry.url(), SIGNED);
    let world = World::start(&rules, true).await;
    let imported = wire::Image {
        id: "sha256:2222222222222222222222222222222222222222222222222222222222222222".to_owned(),
        repo_tags: vec!["registry.example/acme/imported:v1".to_owned()],
        repo_digests: vec![],
        size: 9,
    };
    let unsigned = wire::Image {
        id: "sha256:3333333333333333333333333333333333333333333333333333333333333333".to_owned(),
        repo_digests: vec![at(&pullgate::oci::Digest::sha256(b"another"))],
        ..imported.clone()
    };
    // It was given the name of the signed one.
    let forged = wire::Image {
        id: "sha256:4444444444444444444444444444444444444444444444444444444444444444".to_owned(),
        repo_digests: vec![at(&signed.digest)],
        ..imported.clone()
    };
    let nameless = wire::Image {
        id: "no digest".to_owned(),
        ..forged.clone()
    };
    {
        let mut images = world.state.images.lock().unwrap();
        for image in [&imported, &unsigned, &forged, &nameless] {
            images.insert(image.id.clone(), image.clone());
        }
        images.insert("registry.example/acme/imported:v1".to_owned(), imported.clone());
    }
    world.will_pull(NAME, &configuration(&registry, &signed), &[at(&signed.digest)]);
    assert_eq!(world.pull(&pulling(NAME)).await.status(), "0");
    registry.clear_log();

    let ids = async |world: &World| -> Vec<String> {
        let listed = world.ask("ListImages", "").await;
        let listed: wire::Images = listed.message();
        assert_eq!(listed.later, "kept");
        listed.images.into_iter().map(|image| image.id).collect()
    };
    let is_there = async |world: &World, name: &str| {
        let status: wire::Images = world.ask("ImageStatus", name).await.message();
        !status.images.is_empty()
    };
    let id = configuration(&registry, &signed);
    assert_eq!(ids(&world).await, [id.as_str()]);
    assert!(is_there(&world, NAME).await && is_there(&world, &id).await);
    assert!(!is_there(&world, "registry.example/acme/imported:v1").await);
    for hidden in [&imported, &unsigned, &forged, &nameless] {
        assert!(!is_there(&world, &hidden.id).await, "{hidden:?}");
    }
    let streamed = world.ask("StreamImages", "").await;
    assert_eq!(streamed.status(), "12");
    assert_eq!(registry.log(), [], "a registry was asked");

    // What may run under one name may not under another.
    let open = "registry.example/open/app:v1";
    let two_names = wire::Image {
        id: "sha256:5555555555555555555555555555555555555555555555555555555555555555".to_owned(),
        repo_tags: vec![open.to_owned(), "registry.example/acme/app:v2".to_owned()],
        repo_digests: vec![
            format!("registry.example/open/app@{}", signed.digest),
            at(&pullgate::oci::Digest::sha256(b"another")),
        ],
        size: 9,
    };
    for name in [
        &*two_names.id,
        open,
        "registry.example/acme/app:v2",
        "555555555555",
    ] {
        world.state.has(name.to_owned(), two_names.clone());
    }
    world.node.reload(&config(
        registry.url(),
        &format!(
            "{SIGNED}[[rule]]\nscope = \"registry.example/open/**\"\nrequire = \"insecure-accept-anything\"\n"
        ),
    ));
    assert!(is_there(&world, open).await);
    assert!(is_there(&world, &two_names.id).await && is_there(&world, "555555555555").await);
    assert!(!is_there(&world, "registry.example/acme/app:v2").await);
    assert!(ids(&world).await.contains(&two_names.id));
    world.node.reload(&rules);

    // Another policy: what it admits was not looked at yet.
    let other = format!("{SIGNED}threshold = 2\n").replace("[\"release\"]", "[\"release\", \"qa\"]");
    world.node.reload(&config(registry.url(), &other));
    assert!(!is_there(&world, NAME).await);
    world.node.reload(&rules);
    assert!(is_there(&world, NAME).await);
    world.node.reload(&config(
        registry.url(),
        &format!("{SIGNED}[deny]\ndigests = [\"{}\"]\n", signed.digest),
    ));
    assert!(!is_there(&world, NAME).await);
    let anything = "[[rule]]\nscope = \"registry.example/**\"\nrequire = \"insecure-accept-anything\"\n";
    world.node.reload(&config(registry.url(), anything));
    assert!(is_there(&world, &unsigned.id).await);
    world.node.reload(&rules);
    world.node.gate.clear().unwrap();
    assert!(!is_there(&world, NAME).await, "what was forgotten still stands");

    // Off, which is the default: the runtime's word.
    let world = World::start(&rules, false).await;
    world.state.has(imported.id.clone(), imported.clone());
    assert_eq!(ids(&world).await, [imported.id.as_str()]);
}

/// A rule of some pods speaks for them and leaves nothing behind that would speak elsewhere.
#[tokio::test]
async fn namespaces_and_labels_have_rules_of_their_own() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let child = registry
        .put_image(REPOSITORY, "", &[b"for this machine"])
        .unwrap();
    let unsigned = registry
        .put_index(REPOSITORY, "v2", std::slice::from_ref(&child))
        .unwrap();
    let both = SIGNED.replace("[\"release\"]", "[\"release\", \"qa\"]");
    let testers = SIGNED.replace("[\"release\"]", "[\"qa\"]");
    let anything = "[[rule]]\nscope = \"registry.example/**\"\nrequire = \"insecure-accept-anything\"\n";
    let rules = format!(
        "{SIGNED}{both}threshold = 2\nnamespaces = [\"prod\"]\n{testers}namespaces = [\"test\"]\n\
         {anything}namespaces = [\"dev\", \"lab\"]\n\
         {testers}labels = [\"tier=web\", \"zone=outer\"]\n\
         [[rule]]\nscope = \"registry.example/acme/closed\"\nrequire = \"reject\"\n"
    );
    let world = World::start(&config(registry.url(), &rules), false).await;
    let other = "registry.example/acme/app:v2";
    world.will_pull(NAME, &configuration(&registry, &signed), &[at(&signed.digest)]);
    world.will_pull(other, &configuration(&registry, &child), &[at(&unsigned.digest)]);
    let of_pod_with = |image: &str, namespace: &str, labels: &[(&str, &str)]| wire::PullImageRequest {
        sandbox: Some(wire::Sandbox {
            metadata: Some(wire::Metadata {
                name: "pod".to_owned(),
                namespace: namespace.to_owned(),
            }),
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }),
        ..pulling(image)
    };
    let of_pod = |image: &str, namespace: &str| of_pod_with(image, namespace, &[]);
    // Whichever comes first, none speaks for another; and so again, from memory.
    for _ in 0..2 {
        let text = world
            .assert_denied(
                &of_pod(NAME, "prod"),
                "SignatureValidationFailed: pullgate: threshold-not-met: ",
            )
            .await;
        assert!(text.contains("registry.example/** in prod"), "{text}");
        // Who signed is the same, and not what counts.
        world
            .assert_denied(
                &of_pod(NAME, "test"),
                "SignatureValidationFailed: pullgate: untrusted-key: ",
            )
            .await;
        // Its labels, all of them, say more of a pod than its namespace.
        let web = [("tier", "web"), ("zone", "outer"), ("app", "shop")];
        for namespace in ["default", "dev"] {
            let text = world
                .assert_denied(
                    &of_pod_with(NAME, namespace, &web),
                    "SignatureValidationFailed: pullgate: untrusted-key: ",
                )
                .await;
            assert!(
                text.contains("registry.example/** with tier=web, zone=outer"),
                "{text}"
            );
        }
        let inner = of_pod_with(NAME, "default", &web[..1]);
        assert_eq!(world.pull(&inner).await.status(), "0");
        assert_eq!(world.pull(&of_pod(NAME, "default")).await.status(), "0");
        assert_eq!(world.pull(&pulling(NAME)).await.status(), "0");
        assert_eq!(world.pull(&of_pod(other, "dev")).await.status(), "0");
        assert_eq!(world.pull(&of_pod(other, "lab")).await.status(), "0");
        for elsewhere in [
            of_pod(other, "default"),
            of_pod(other, "prod"),
            of_pod(other, "de"),
            pulling(other),
        ] {
            world
                .assert_denied(&elsewhere, "SignatureValidationFailed: pullgate: unsigned: ")
                .await;
        }
        // At the door that knows no namespace: the index, what it lists, and what that lists.
        let by_digest = |digest| format!("acme/app@{digest}");
        for digest in [&unsigned.digest, &child.digest] {
            let image = crate::support::image(&by_digest(digest));
            world
                .node
                .assert_denied(&image, pullgate::base::reason::Reason::Unsigned)
                .await;
        }
    }
    // A more specific scope speaks before the namespace's own rule.
    put(&registry, "acme/closed", "v1");
    let closed = of_pod("registry.example/acme/closed:v1", "dev");
    world
        .assert_denied(&closed, "SignatureValidationFailed: pullgate: rejected-by-rule: ")
        .await;
}

/// What was admitted before a restart still stands after it, with no network, and beyond `[cache] positive`.
#[tokio::test]
async fn what_was_admitted_stands_over_a_restart() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let rules = config(registry.url(), &format!("{SIGNED}[cache]\npositive = \"1s\"\n"));
    let world = World::start(&rules, true).await;
    world.will_pull(NAME, &configuration(&registry, &signed), &[at(&signed.digest)]);
    assert_eq!(world.pull(&pulling(NAME)).await.status(), "0");
    let World { node, _stop, .. } = world;
    drop(_stop);
    let until = Instant::now() + LATEST;
    while Arc::strong_count(&node.gate) > 2 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let folder = node.stop().await;
    drop(registry);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let node = Node::start_in(folder, &rules).await;
    let repository = "registry.example/acme/app:v1"
        .parse::<pullgate::oci::Reference>()
        .unwrap()
        .repository;
    assert_eq!(
        node.gate.image_status(&repository, &signed.digest, None),
        pullgate::pull::gate::ImageStatus::Admitted
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_one_time_take_little_memory() {
    let registry = registry().await;
    let world = World::start(&config(registry.url(), SIGNED), false).await;
    let hold = Arc::new(Notify::new());
    let mut sender = world.connect().await;
    drop(
        call(
            &mut sender,
            "/runtime.v1.RuntimeService/Version",
            &[],
            Bytes::from_static(b"x"),
        )
        .await,
    );
    let before = resident();
    // Streams that stay open, each with a message on its way.
    let mut open = Vec::new();
    for _ in 0..1000 {
        let (feed, fed) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let fed = stream::unfold(fed, |mut fed| async {
            let data = fed.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(data)), fed))
        });
        feed.send(Bytes::from_static(&[7; 1000])).unwrap();
        let request = Request::post("http://localhost/runtime.v1.RuntimeService/GetContainerEvents")
            .body(StreamBody::new(fed.boxed()).boxed_unsync())
            .unwrap();
        let answer = sender.send_request(request);
        open.push((feed, tokio::spawn(answer)));
    }
    let mut streams = Vec::new();
    for (feed, answer) in open {
        let answer = tokio::time::timeout(LATEST, answer)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let mut body = answer.into_body();
        let frame = tokio::time::timeout(LATEST, body.frame()).await.unwrap();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap().len(), 1000);
        streams.push((feed, body));
    }
    let after = resident();
    // Client, door and runtime stand in this one process; the door's share is measured in benches/.
    assert!(
        after.saturating_sub(before) < 96 * 1024 * 1024,
        "{before} {after}"
    );
    drop(hold);
}

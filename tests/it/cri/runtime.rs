//! A container runtime for tests: it pulls the images that a test has prepared, and records the calls that it receives.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// The messages of `runtime.v1` that these tests use. They are written from the specification and not taken from the door, so
/// that a mistake in the door's messages shows.
pub(super) mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ImageSpec {
        #[prost(string, tag = "1")]
        pub image: String,
        /// The door does not know this field.
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
        /// The door does not know this field.
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
        /// The door does not know this field.
        #[prost(string, tag = "77")]
        pub later: String,
    }
}

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A call as the runtime saw it.
#[derive(Clone, Debug)]
pub(super) struct SeenCall {
    pub(super) path: String,
    pub(super) authority: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A runtime that has images and pulls those that a test has prepared.
pub(super) struct FakeRuntime {
    pub(super) path: PathBuf,
    pub(super) state: Arc<State>,
    pub(super) task: JoinHandle<()>,
}

/// The response to a pull that stored an image.
#[derive(Clone)]
pub(super) enum PullResponse {
    /// An error.
    Failed(&'static str),
    /// An error. The image arrives later, when the test sends the notification.
    Late(Arc<Notify>),
    /// Another identifier.
    Named(String),
}

#[derive(Default)]
pub(super) struct State {
    pub(super) seen: Mutex<Vec<SeenCall>>,
    /// The images by name and by identifier.
    pub(super) images: Mutex<BTreeMap<String, wire::Image>>,
    /// The image that a pull of a name stores.
    pub(super) pulls: Mutex<BTreeMap<String, wire::Image>>,
    /// The response to a pull, in place of the usual one.
    pub(super) pull_response: Mutex<Option<PullResponse>>,
    /// A pull waits until it is notified.
    pub(super) hold: Mutex<Option<Arc<Notify>>>,
    pub(super) cancelled: Notify,
    /// The runtime does not report its images.
    pub(super) is_starting: AtomicBool,
    /// The runtime is not containerd: it has no service that removes a name, and `RemoveImage` with a name removes the name
    /// only.
    pub(super) is_not_containerd: AtomicBool,
}

impl State {
    /// Stores an image under this name.
    pub(super) fn store(&self, name: String, image: wire::Image) {
        self.images.lock().unwrap().insert(name, image);
    }

    pub(super) fn paths(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .map(|seen| seen.path.rsplit('/').next().unwrap().to_owned())
            .collect()
    }

    pub(super) fn last(&self) -> SeenCall {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

impl FakeRuntime {
    pub(super) fn start(path: &Path) -> Self {
        Self::start_with(path, Arc::default())
    }

    pub(super) fn start_with(path: &Path, state: Arc<State>) -> Self {
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

    pub(super) async fn stop(self) -> Arc<State> {
        self.task.abort();
        let _aborted = self.task.await;
        std::fs::remove_file(&self.path).unwrap();
        self.state
    }
}

/// Notifies the test when a call is dropped before its end.
pub(super) struct CancelGuard(Arc<State>, bool);

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cancelled.notify_one();
        }
    }
}

pub(super) async fn runtime(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if path == "/runtime.v1.RuntimeService/GetContainerEvents" {
        return echo_stream(body);
    }
    if path == "/runtime.v1.RuntimeService/Follow" {
        let guard = CancelGuard(Arc::clone(state), false);
        let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"first")))]);
        let never = stream::pending().map(move |frame| {
            let _held = &guard;
            frame
        });
        return Response::new(StreamBody::new(first.chain(never)).boxed_unsync());
    }
    let body = body.collect().await.unwrap().to_bytes();
    state.seen.lock().unwrap().push(SeenCall {
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
                let mut guard = CancelGuard(Arc::clone(state), false);
                hold.notified().await;
                guard.1 = true;
            }
            let name = named();
            let pulled = state.pulls.lock().unwrap().get(&name).cloned();
            let Some(image) = pulled else {
                return failed("5", "no such image");
            };
            let response = state.pull_response.lock().unwrap().clone();
            let (known, id) = (Arc::clone(state), image.id.clone());
            let insert = move || {
                let mut images = known.images.lock().unwrap();
                images.insert(name, image.clone());
                images.insert(image.id.clone(), image);
            };
            if let Some(PullResponse::Late(arrival)) = response {
                tokio::spawn(async move {
                    arrival.notified().await;
                    insert();
                });
                return failed("4", "too late");
            }
            insert();
            let image_ref = match response {
                Some(PullResponse::Failed(status)) => return failed(status, "no such layer"),
                Some(PullResponse::Named(id)) => id,
                Some(PullResponse::Late(_)) | None => id,
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
            if state.is_not_containerd.load(Ordering::SeqCst) && !name.starts_with("sha256:") {
                remove_name(&mut images, &name);
                return ok(&wire::Images::default());
            }
            let id = images.get(&name).map_or(name, |image| image.id.clone());
            images.retain(|_, image| image.id != id);
            ok(&wire::Images::default())
        }
        "Delete" if state.is_not_containerd.load(Ordering::SeqCst) => failed("12", "unknown service"),
        "Delete" => {
            assert_eq!(head.headers["containerd-namespace"], "k8s.io");
            let name = wire::ImageSpec::decode(message).unwrap().image;
            let known = remove_name(&mut state.images.lock().unwrap(), &name);
            if known {
                ok(&wire::Images::default())
            } else {
                failed("5", "no such name")
            }
        }
        // Every other call is echoed, with the runtime's own headers and trailers.
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

/// Removes a name from all images. Returns whether an image had it.
pub(super) fn remove_name(images: &mut BTreeMap<String, wire::Image>, name: &str) -> bool {
    let before = images.clone();
    images.remove(name);
    for image in images.values_mut() {
        image.repo_tags.retain(|known| known != name);
        image.repo_digests.retain(|known| known != name);
    }
    *images != before
}

/// Echoes a stream message by message until the client ends it.
pub(super) fn echo_stream(body: Incoming) -> Response<Body> {
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

pub(super) fn frame_message(message: &impl Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut frame_message = BytesMut::from(&[0][..]);
    frame_message.extend_from_slice(&u32::try_from(encoded.len()).unwrap().to_be_bytes());
    frame_message.extend_from_slice(&encoded);
    frame_message.freeze()
}

pub(super) fn ok(message: &impl Message) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-runtime", HeaderValue::from_static("fake"));
    let frames = vec![
        Ok(Frame::data(frame_message(message))),
        Ok(Frame::trailers(trailers)),
    ];
    let mut answer = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
    answer
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
}

pub(super) fn failed(status: &'static str, message: &'static str) -> Response<Body> {
    let mut answer = Response::new(Full::default().boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(status));
    headers.insert("grpc-message", HeaderValue::from_static(message));
    answer
}

//! The CRI door: a socket that speaks the Container Runtime Interface and passes everything to the runtime as the bytes that
//! came. `PullImage` is decided on first; with `recheck_present` images that are there are looked at as well.
//!
//! A call's way: [`unix::Socket`] knows the caller, `Method` says what is asked, `runtime` is the way to the runtime and
//! `message` what is read on it (and `fields` what is left out of it); `pull` and `present` are the calls that we have a
//! say in, and `images` what we ask ourselves.

mod answer;
pub mod fields;
mod images;
mod message;
mod present;
mod pull;
mod runtime;
mod settings;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tonic::Code;

use self::answer::CriBody;
use self::message::{GrpcMessage, GrpcMessageError};
use self::runtime::RuntimeConnection;
pub use self::settings::CriDoorSettings;
use crate::base::error_chain::chain;
use crate::door::DoorLimits;
use crate::door::listen::callers::Peer;
use crate::door::listen::connection_tasks::Spawner;
use crate::door::listen::read_slots::Reading;
use crate::door::listen::unix_socket::{BoundSocket, CallerBounds, SocketError};
use crate::pull::gate::Gate;

/// Calls at one time on one connection. The kubelet has a few hundred at most; each holds some 10 KiB.
const STREAMS: u32 = 4096;

/// Requests for a pull that are read at one time: of root, and as many of all others.
const READING: usize = 32;

/// Largest request that is read: `runtime.v1` carries a pod's labels and annotations with a pull, which Kubernetes bounds at
/// 256 KiB a pod (apimachinery, `TotalAnnotationSizeLimitB`).
const REQUEST_BYTES: usize = 1024 * 1024;

/// A request comes over a local socket at once. Who sends half of one holds a place and memory no longer.
const REQUEST: Duration = Duration::from_secs(10);

/// Pulls that failed and are looked after at one time, half a minute each.
const LOOKING: usize = 1024;

/// A bound socket, not yet served.
#[derive(Debug)]
pub struct CriDoor {
    socket: BoundSocket,
    settings: CriDoorSettings,
    limits: DoorLimits,
}

impl CriDoor {
    /// Makes the socket. The runtime need not be there yet.
    ///
    /// # Errors
    /// As [`SocketError`] says.
    pub async fn bind(settings: CriDoorSettings, limits: DoorLimits) -> Result<Self, SocketError> {
        let socket = BoundSocket::bind(&settings.socket).await?;
        Ok(Self {
            socket,
            settings,
            limits,
        })
    }

    /// The socket that was made.
    #[must_use]
    pub const fn socket(&self) -> &BoundSocket {
        &self.socket
    }

    /// Serves until `stop` says true, then lets what is under way finish for at most `grace`.
    pub async fn serve(self, gate: Arc<Gate>, stop: watch::Receiver<bool>, grace: Duration) {
        let CriDoorSettings {
            runtime,
            recheck_present,
            socket: _,
        } = self.settings;
        let shared = Arc::new(CriShared {
            gate,
            recheck_present,
            deadline: self.limits.pull,
            reading: Reading::new(READING),
            looking: Arc::new(Semaphore::new(LOOKING)),
        });
        let path: Arc<Path> = runtime.into();
        // Nothing is wrong with a runtime that comes up later; with a socket that we may not open there is. Apart: a
        // runtime that hangs must not keep the door from those who ask.
        let early = RuntimeConnection::new(Arc::clone(&path), Spawner::Apart);
        tokio::spawn(async move {
            if let Err(error) = early.reach().await {
                tracing::warn!(
                    error = chain(&error),
                    hint = error.hint(),
                    "The CRI door does not reach the runtime yet"
                );
            }
        });
        let bounds = CallerBounds {
            connections: self.limits.connections,
            streams: STREAMS,
            window: None,
        };
        // One for each connection: see `runtime`.
        let service = move |spawner| {
            let (shared, runtime) = (
                Arc::clone(&shared),
                RuntimeConnection::new(Arc::clone(&path), spawner),
            );
            move |peer, request| {
                let (shared, runtime) = (Arc::clone(&shared), runtime.clone());
                async move { answered(&shared, runtime, peer, request).await }
            }
        };
        self.socket.serve_each(bounds, stop, grace, service).await;
    }
}

/// What all calls use.
struct CriShared {
    gate: Arc<Gate>,
    recheck_present: bool,
    deadline: Duration,
    /// A place for each pull's message that is being read: a MiB at most.
    reading: Reading,
    /// A place for each pull that failed and is still looked after.
    looking: Arc<Semaphore>,
}

impl CriShared {
    /// Reads the message of a request, or answers why that could not be.
    async fn read(&self, peer: Peer, body: Incoming) -> Result<GrpcMessage, Response<CriBody>> {
        let reading = async {
            let _place = self.reading.place(peer).await;
            message::read(body, REQUEST_BYTES).await
        };
        match timeout(REQUEST, reading).await {
            Ok(Ok((Some(message), _))) => Ok(message),
            Ok(Ok((None, _))) => Err(answer::unreadable(&GrpcMessageError::NotOne)),
            Ok(Err(error)) => Err(answer::unreadable(&error)),
            Err(_elapsed) => Err(answer::status(
                Code::DeadlineExceeded,
                "pullgate: the call's message did not come",
            )),
        }
    }
}

/// Who asks, and whom we ask.
struct CallContext {
    peer: Peer,
    runtime: RuntimeConnection,
    service: &'static str,
}

/// What is asked, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Pull(&'static str),
    Present(&'static str),
    /// The images as a stream (`runtime.v1`, `StreamImages`).
    Stream,
    Other,
    /// Of a service that is not the interface's, or one by which a later release may pull, or no path of a method at all.
    Unknown,
}

impl Method {
    /// By the whole path, as gRPC servers look methods up. One without its slash is no path: servers have taken it for the
    /// same method, and a check of the path for another.
    ///
    /// Nothing passes but the interface: containerd serves its own on the same socket, by which images are pulled,
    /// written and run as well (`containerd.services.transfer.v1`, `….content.v1`), and a later version of the
    /// interface is one that we can't decide on.
    fn of(path: &str) -> Self {
        let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) else {
            return Self::Unknown;
        };
        let service = match service {
            "runtime.v1.ImageService" => "http://localhost/runtime.v1.ImageService",
            "runtime.v1alpha2.ImageService" => "http://localhost/runtime.v1alpha2.ImageService",
            "runtime.v1.RuntimeService" | "runtime.v1alpha2.RuntimeService" | "grpc.health.v1.Health" => {
                return Self::Other;
            }
            _ => return Self::Unknown,
        };
        match method {
            "PullImage" => Self::Pull(service),
            "ImageStatus" | "ListImages" => Self::Present(service),
            "StreamImages" => Self::Stream,
            // Another way to pull, which this release can't read.
            _ if method.starts_with("Pull") => Self::Unknown,
            _ => Self::Other,
        }
    }
}

async fn answered(
    shared: &Arc<CriShared>,
    runtime: RuntimeConnection,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<CriBody> {
    let asked = |service| CallContext {
        peer,
        runtime: runtime.clone(),
        service,
    };
    match Method::of(request.uri().path()) {
        // What is rare has a place of its own: every other call would carry it along.
        Method::Pull(service) => Box::pin(pull::pull(shared, asked(service), request)).await,
        Method::Present(service) if shared.recheck_present => {
            Box::pin(present::answer(shared, asked(service), request)).await
        }
        // The kubelet asks for the list then.
        Method::Stream if shared.recheck_present => answer::status(
            Code::Unimplemented,
            "pullgate: with `recheck_present` images are listed, and not streamed",
        ),
        Method::Unknown => answer::status(
            Code::Unimplemented,
            "pullgate: this door passes the Container Runtime Interface on and nothing else: ask the runtime's own socket",
        ),
        Method::Present(_) | Method::Stream | Method::Other => passed_on(&runtime, request).await,
    }
}

/// Both ways as it comes: heads, messages, trailers, and who ends it first.
async fn passed_on(runtime: &RuntimeConnection, request: Request<Incoming>) -> Response<CriBody> {
    match runtime.call(request.map(Either::Left)).await {
        Ok(answer) => answer.map(|body| body.boxed_unsync()),
        Err(error) => answer::unanswered(&error),
    }
}

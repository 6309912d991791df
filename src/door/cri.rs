//! The CRI door: a socket that speaks the Container Runtime Interface and passes every call to the runtime as the bytes that
//! came. `PullImage` is decided first; with `recheck_present` the images that are present are checked as well.
//!
//! The way of a call: [`BoundSocket`] knows the caller, `Method` classifies the call, `runtime` reaches the runtime,
//! `message` reads what must be read (and `fields` leaves parts of it out). `pull` and `present` are the calls in which the
//! door has a say, and `images` are the calls that the door makes itself.

mod answer;
pub mod fields;
mod images;
mod message;
mod recheck_present;
mod pull;
mod runtime;
mod settings;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tonic::Code;

use self::answer::CriBody;
use self::message::{GrpcMessage, GrpcMessageError};
use self::runtime::RuntimeConnection;
pub use self::settings::CriDoorSettings;
use crate::base::error_chain::chain;
use crate::door::listen::callers::Peer;
use crate::door::listen::connection_tasks::Spawner;
use crate::door::listen::read_slots::ReadSlots;
use crate::door::listen::unix_socket::{BoundSocket, CallerBounds, SocketError};
use crate::door::{Door, DoorLimits, ListenAddress, ServeContext};
use crate::pull::gate::Gate;

/// Calls at one time on one connection. The kubelet has a few hundred at most; a call holds some 10 KiB.
const STREAMS: u32 = 4096;

/// Requests for a pull that are read at one time, for root and again for all other users.
const READ_SLOTS: usize = 32;

/// Largest request that is read. With a pull, `runtime.v1` carries the labels and annotations of its pod, which Kubernetes
/// bounds at 256 KiB (apimachinery, `TotalAnnotationSizeLimitB`).
const REQUEST_BYTES: usize = 1024 * 1024;

/// The time within which a request must have come: over a local socket it comes at once. After that, a caller that sent a
/// part of it no longer holds a slot and memory.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Pulls that failed and are rechecked at one time, for half a minute each.
const RECHECKS: usize = 1024;

/// A bound socket, not yet served.
#[derive(Debug)]
pub struct CriDoor {
    socket: BoundSocket,
    settings: CriDoorSettings,
    limits: DoorLimits,
}

impl CriDoor {
    /// Creates the socket. The runtime need not be there yet.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub async fn bind(settings: CriDoorSettings, limits: DoorLimits) -> Result<Self, SocketError> {
        let socket = BoundSocket::bind(&settings.socket).await?;
        Ok(Self {
            socket,
            settings,
            limits,
        })
    }

    /// Serves until it is told to stop, then lets the calls in progress finish for at most the grace period.
    pub async fn serve(self, context: ServeContext) {
        let ServeContext { gate, stop, grace } = context;
        let CriDoorSettings {
            runtime,
            recheck_present,
            socket: _,
        } = self.settings;
        let shared = Arc::new(CriShared {
            gate,
            recheck_present,
            deadline: self.limits.pull,
            read_slots: ReadSlots::new(READ_SLOTS),
            rechecks: Arc::new(Semaphore::new(RECHECKS)),
        });
        let path: Arc<Path> = runtime.into();
        // A runtime may start later than the door, but a socket that the door may not open is an error of the node, which
        // the log reports early. In a task of its own: a runtime that hangs must not keep the door from serving.
        let early = RuntimeConnection::new(Arc::clone(&path), Spawner::Detached);
        tokio::spawn(async move {
            if let Err(error) = early.check().await {
                tracing::warn!(
                    error = chain(&error),
                    hint = error.hint(),
                    "The CRI door could not reach the runtime yet"
                );
            }
        });
        let bounds = CallerBounds {
            connections: self.limits.connections,
            streams: STREAMS,
            window: None,
        };
        // A connection to the runtime for each connection of a client: `runtime` says why.
        let service = move |spawner| {
            let (shared, runtime) = (
                Arc::clone(&shared),
                RuntimeConnection::new(Arc::clone(&path), spawner),
            );
            move |peer, request| {
                let (shared, runtime) = (Arc::clone(&shared), runtime.clone());
                async move { answer(&shared, runtime, peer, request).await }
            }
        };
        self.socket.serve_each(bounds, stop, grace, service).await;
    }
}

impl Door for CriDoor {
    fn listens_at(&self) -> ListenAddress {
        ListenAddress::Unix(self.socket.path().to_owned())
    }

    fn serve(self: Box<Self>, context: ServeContext) -> BoxFuture<'static, ()> {
        Box::pin((*self).serve(context))
    }
}

/// The state that all calls share.
struct CriShared {
    gate: Arc<Gate>,
    recheck_present: bool,
    deadline: Duration,
    /// A slot for each request that is being read, of a MiB at most.
    read_slots: ReadSlots,
    /// A slot for each pull that failed and is still rechecked.
    rechecks: Arc<Semaphore>,
}

impl CriShared {
    /// Reads the message of a request, or returns the answer to a request that cannot be read.
    async fn read(&self, peer: Peer, body: Incoming) -> Result<GrpcMessage, Response<CriBody>> {
        let read = message::read(body, REQUEST_BYTES);
        match self.read_slots.read(peer, REQUEST_DEADLINE, read).await {
            Ok(Ok((Some(message), _))) => Ok(message),
            Ok(Ok((None, _))) => Err(answer::unreadable(&GrpcMessageError::NotOne)),
            Ok(Err(error)) => Err(answer::unreadable(&error)),
            Err(_elapsed) => Err(answer::status(
                Code::DeadlineExceeded,
                "pullgate: the message of the call did not come in time",
            )),
        }
    }
}

/// The caller of a call, and the runtime behind the door.
struct CallContext {
    peer: Peer,
    runtime: RuntimeConnection,
    service: &'static str,
}

/// The method of a call, as far as the door treats methods differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// `PullImage` of this service.
    Pull(&'static str),
    /// `ImageStatus` or `ListImages` of this service.
    Present(&'static str),
    /// The images as a stream (`runtime.v1`, `StreamImages`).
    Stream,
    /// Another method of the interface, which is passed on.
    PassOn,
    /// A method of another service, one by which a later release may pull, or a path that is not a method's.
    Refuse,
}

impl Method {
    /// Classifies a call by its whole path, as gRPC servers look methods up. A path without its first slash is refused:
    /// servers have taken it for the same method where a check of the path took it for another.
    ///
    /// The interface alone passes. containerd serves its own services on the same socket, by which images are pulled,
    /// written and run as well (`containerd.services.transfer.v1`, `….content.v1`), and on a later version of the
    /// interface the door cannot decide.
    fn from_path(path: &str) -> Self {
        let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) else {
            return Self::Refuse;
        };
        let service = match service {
            "runtime.v1.ImageService" => "http://localhost/runtime.v1.ImageService",
            "runtime.v1alpha2.ImageService" => "http://localhost/runtime.v1alpha2.ImageService",
            "runtime.v1.RuntimeService" | "runtime.v1alpha2.RuntimeService" | "grpc.health.v1.Health" => {
                return Self::PassOn;
            }
            _ => return Self::Refuse,
        };
        match method {
            "PullImage" => Self::Pull(service),
            "ImageStatus" | "ListImages" => Self::Present(service),
            "StreamImages" => Self::Stream,
            // Another way to pull, which this release cannot read.
            _ if method.starts_with("Pull") => Self::Refuse,
            _ => Self::PassOn,
        }
    }
}

async fn answer(
    shared: &Arc<CriShared>,
    runtime: RuntimeConnection,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<CriBody> {
    let context = |service| CallContext {
        peer,
        runtime: runtime.clone(),
        service,
    };
    match Method::from_path(request.uri().path()) {
        // The futures of rare calls are boxed: every other call would carry their size.
        Method::Pull(service) => Box::pin(pull::pull(shared, context(service), request)).await,
        Method::Present(service) if shared.recheck_present => {
            Box::pin(recheck_present::answer(shared, context(service), request)).await
        }
        // The kubelet falls back to the list.
        Method::Stream if shared.recheck_present => answer::status(
            Code::Unimplemented,
            "pullgate: with `recheck_present` images are listed, and not streamed",
        ),
        Method::Refuse => answer::status(
            Code::Unimplemented,
            "pullgate: this door passes on the Container Runtime Interface alone: call the runtime's own socket",
        ),
        Method::Present(_) | Method::Stream | Method::PassOn => pass_on(&runtime, request).await,
    }
}

/// Passes a call on, in both directions as it comes: heads, messages, trailers, and an early end of either side.
async fn pass_on(runtime: &RuntimeConnection, request: Request<Incoming>) -> Response<CriBody> {
    match runtime.call(request.map(Either::Left)).await {
        Ok(answer) => answer.map(|body| body.boxed_unsync()),
        Err(error) => answer::unanswered(&error),
    }
}

//! The admission door: `pullgate.v1.Admission` on a Unix socket. Its caller fetches the image itself, and asks whether it
//! may.

pub(crate) mod ask;
mod settings;
pub(crate) mod tell;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

pub use self::settings::AdmissionDoorSettings;
use crate::base::limits;
use crate::base::proto::v1;
use crate::base::proto::v1::admission_server::{Admission, AdmissionServer};
use crate::door::listen::grpc;
use crate::door::listen::unix_socket::{BoundSocket, SocketError};
use crate::door::{Door, DoorLimits, ListenAddress, ServeContext};
use crate::pull::decide::{Evaluation, explain};
use crate::pull::gate::Gate;
use crate::pull::record::{
    DecisionFeed, DecisionOutcome, FeedEvent, MAX_RECORDED_DECISIONS, RecordedDecision,
};
use crate::pull::request::{Extent, PullRequest};

/// Checks at one time; more are refused. A check that waits for a registry takes some 20 KiB.
const CALLS: usize = 4096;

/// Watchers at one time; more are refused.
const WATCHERS: usize = 64;

/// A bound socket, not yet served.
#[derive(Debug)]
pub struct AdmissionDoor {
    socket: BoundSocket,
    limits: DoorLimits,
}

impl AdmissionDoor {
    /// Creates the socket.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub async fn bind(settings: &AdmissionDoorSettings, limits: DoorLimits) -> Result<Self, SocketError> {
        let socket = BoundSocket::bind(&settings.socket).await?;
        Ok(Self { socket, limits })
    }

    /// Serves until it is told to stop, then lets the calls in progress finish for at most the grace period.
    pub async fn serve(self, context: ServeContext) {
        let ServeContext { gate, stop, grace } = context;
        let server = AdmissionServer::new(AdmissionService {
            gate,
            deadline: self.limits.pull,
            calls: Arc::new(Semaphore::new(CALLS)),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            stop: stop.clone(),
        })
        .max_decoding_message_size(limits::GRPC_REQUEST_BYTES);
        let name = grpc::name_of(&server);
        let routes = Routes::new(server);
        grpc::serve(self.socket, routes, name, self.limits.connections, stop, grace).await;
    }
}

impl Door for AdmissionDoor {
    fn listens_at(&self) -> ListenAddress {
        ListenAddress::Unix(self.socket.path().to_owned())
    }

    fn serve(self: Box<Self>, context: ServeContext) -> BoxFuture<'static, ()> {
        Box::pin((*self).serve(context))
    }
}

struct AdmissionService {
    gate: Arc<Gate>,
    deadline: Duration,
    calls: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    stop: CancellationToken,
}

/// A call that the gate has decided, with everything that the answers are made of.
struct DecidedCall {
    request: PullRequest,
    platform: Option<v1::Platform>,
    evaluation: Evaluation,
    verdict: v1::Verdict,
}

impl AdmissionService {
    /// Reads the request of a call, and asks the gate.
    async fn decide<T>(
        &self,
        request: Request<T>,
        check: impl FnOnce(T) -> Option<v1::CheckRequest>,
        extent: Extent,
    ) -> Result<DecidedCall, Status> {
        let _slot = try_acquire(&self.calls)?;
        let peer = grpc::peer_of(&request)?;
        let deadline = grpc::deadline(request.metadata(), self.deadline)?;
        let check = check(request.into_inner());
        let check = check.ok_or_else(|| Status::invalid_argument("`check` is missing"))?;
        let platform = check.platform.clone();
        let request = ask::read(check, peer.to_string(), deadline)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let evaluation = match extent {
            Extent::UntilSatisfied => self.gate.admit(&request).await,
            Extent::Everything => self.gate.explain(&request).await,
        };
        let verdict = tell::verdict(&evaluation, self.gate.settings().policy.generation());
        Ok(DecidedCall {
            request,
            platform,
            evaluation,
            verdict,
        })
    }
}

fn try_acquire(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    let slot = Arc::clone(slots).try_acquire_owned();
    slot.map_err(|_full| Status::resource_exhausted("too many calls at one time; try again"))
}

#[tonic::async_trait]
impl Admission for AdmissionService {
    async fn check(&self, request: Request<v1::CheckRequest>) -> Result<Response<v1::CheckResponse>, Status> {
        let decided = self.decide(request, Some, Extent::UntilSatisfied).await?;
        let manifest = decided
            .platform
            .as_ref()
            .and_then(|platform| tell::manifest_for(&decided.evaluation, platform));
        Ok(Response::new(v1::CheckResponse {
            verdict: Some(decided.verdict),
            manifest,
        }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let decided = self
            .decide(request, |request| request.check, Extent::Everything)
            .await?;
        let rule = decided.request.effective_rule(&self.gate.settings().policy);
        let steps = explain(&decided.evaluation, &rule);
        Ok(Response::new(v1::ExplainResponse {
            verdict: Some(decided.verdict),
            steps: steps.into_iter().map(tell::step).collect(),
        }))
    }

    type WatchDecisionsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchDecisionsResponse, Status>> + Send>>;

    async fn watch_decisions(
        &self,
        request: Request<v1::WatchDecisionsRequest>,
    ) -> Result<Response<Self::WatchDecisionsStream>, Status> {
        let slot = try_acquire(&self.watchers)?;
        let request = request.into_inner();
        let backlog = usize::try_from(request.backlog).map_or(MAX_RECORDED_DECISIONS, |backlog| {
            backlog.min(MAX_RECORDED_DECISIONS)
        });
        let denials_only = request.denials_only;
        let (recorded, decisions) = self
            .gate
            .watch(backlog, |recorded| is_wanted(recorded, denials_only));
        let watcher = Watcher {
            backlog: recorded.into(),
            decisions,
            denials_only,
            stop: self.stop.clone(),
            _slot: slot,
        };
        let events = stream::unfold(watcher, |mut watcher| async {
            let event = watcher.next().await?;
            Some((Ok(event), watcher))
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// One watcher. It holds no queue of its own: the feed drops and counts the decisions that it does not fetch in time.
struct Watcher {
    backlog: VecDeque<Arc<RecordedDecision>>,
    decisions: DecisionFeed,
    denials_only: bool,
    stop: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

impl Watcher {
    async fn next(&mut self) -> Option<v1::WatchDecisionsResponse> {
        if let Some(recorded) = self.backlog.pop_front() {
            return Some(tell::event(&recorded));
        }
        loop {
            let event = tokio::select! {
                event = self.decisions.next() => event,
                () = self.stop.cancelled() => return None,
            };
            match event {
                FeedEvent::Decision(recorded) if is_wanted(&recorded, self.denials_only) => {
                    return Some(tell::event(&recorded));
                }
                FeedEvent::Decision(_) => {}
                FeedEvent::Missed(missed) => return Some(tell::missed(missed)),
                FeedEvent::End => return None,
            }
        }
    }
}

/// Whether a decision is one that the caller wants to see.
pub(crate) fn is_wanted(recorded: &RecordedDecision, denials_only: bool) -> bool {
    !denials_only || recorded.outcome != DecisionOutcome::Allow
}

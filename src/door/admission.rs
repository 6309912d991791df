//! The admission door: `pullgate.v1.Admission` on a Unix socket. Who asks here fetches the image by itself, and is told
//! whether it may.

pub(crate) mod ask;
mod settings;
pub(crate) mod tell;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

pub use self::settings::AdmissionDoorSettings;
use crate::base::limits;
use crate::base::proto::v1;
use crate::base::proto::v1::admission_server::{Admission, AdmissionServer};
use crate::door::DoorLimits;
use crate::door::listen::accept::stopped;
use crate::door::listen::grpc;
use crate::door::listen::unix_socket::{BoundSocket, SocketError};
use crate::pull::decide::{Evaluation, explain};
use crate::pull::gate::Gate;
use crate::pull::record::{
    DecisionFeed, DecisionOutcome, FeedEvent, MAX_RECORDED_DECISIONS, RecordedDecision,
};
use crate::pull::request::PullRequest;

/// A bound socket, not yet served.
#[derive(Debug)]
pub struct AdmissionDoor {
    socket: BoundSocket,
    limits: DoorLimits,
}

impl AdmissionDoor {
    /// Makes the socket.
    ///
    /// # Errors
    /// As [`SocketError`] says.
    pub async fn bind(settings: &AdmissionDoorSettings, limits: DoorLimits) -> Result<Self, SocketError> {
        let socket = BoundSocket::bind(&settings.socket).await?;
        Ok(Self { socket, limits })
    }

    /// The socket that was made.
    #[must_use]
    pub const fn socket(&self) -> &BoundSocket {
        &self.socket
    }

    /// Serves until `stop` says true, then lets what is under way finish for at most `grace`.
    pub async fn serve(self, gate: Arc<Gate>, stop: watch::Receiver<bool>, grace: Duration) {
        let server = AdmissionServer::new(Answers {
            gate,
            deadline: self.limits.pull,
            calls: Arc::new(Semaphore::new(CALLS)),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            stop: stop.clone(),
        })
        .max_decoding_message_size(limits::GRPC_REQUEST_BYTES);
        let named = grpc::name_of(&server);
        let routes = Routes::new(server);
        grpc::serve(self.socket, routes, named, self.limits.connections, stop, grace).await;
    }
}

/// Checks at one time; more are turned away. One that waits for a registry takes some 20 KiB.
const CALLS: usize = 4096;

/// Watchers at one time; more are turned away.
const WATCHERS: usize = 64;

struct Answers {
    gate: Arc<Gate>,
    deadline: Duration,
    calls: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Answers {
    /// What was asked, judged; and the question, for those who explain the answer.
    async fn judge<T>(
        &self,
        request: Request<T>,
        check: impl FnOnce(T) -> Option<v1::CheckRequest>,
    ) -> Result<Judged, Status> {
        let _call = place(&self.calls)?;
        let peer = grpc::peer_of(&request)?;
        let deadline = grpc::deadline(request.metadata(), self.deadline)?;
        let asked = check(request.into_inner());
        let asked = asked.ok_or_else(|| Status::invalid_argument("`check` is missing"))?;
        let platform = asked.platform.clone();
        let request = ask::read(asked, peer.to_string(), deadline)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let judgement = self.gate.admit(&request).await;
        let verdict = tell::verdict(&judgement, self.gate.settings().policy.generation());
        Ok(Judged {
            request,
            platform,
            judgement,
            verdict,
        })
    }
}

struct Judged {
    request: PullRequest,
    platform: Option<v1::Platform>,
    judgement: Evaluation,
    verdict: v1::Verdict,
}

fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    let place = Arc::clone(places).try_acquire_owned();
    place.map_err(|_full| Status::resource_exhausted("too many calls at one time; try again"))
}

#[tonic::async_trait]
impl Admission for Answers {
    async fn check(&self, request: Request<v1::CheckRequest>) -> Result<Response<v1::CheckResponse>, Status> {
        let judged = self.judge(request, Some).await?;
        let manifest = judged
            .platform
            .as_ref()
            .and_then(|platform| tell::manifest_for(&judged.judgement, platform));
        Ok(Response::new(v1::CheckResponse {
            verdict: Some(judged.verdict),
            manifest,
        }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let judged = self.judge(request, |request| request.check).await?;
        let ruling = judged.request.effective_rule(&self.gate.settings().policy);
        let steps = explain(&judged.judgement, &ruling);
        Ok(Response::new(v1::ExplainResponse {
            verdict: Some(judged.verdict),
            steps: steps.into_iter().map(tell::step).collect(),
        }))
    }

    type WatchDecisionsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchDecisionsResponse, Status>> + Send>>;

    async fn watch_decisions(
        &self,
        request: Request<v1::WatchDecisionsRequest>,
    ) -> Result<Response<Self::WatchDecisionsStream>, Status> {
        let place = place(&self.watchers)?;
        let asked = request.into_inner();
        let backlog = usize::try_from(asked.backlog)
            .map_or(MAX_RECORDED_DECISIONS, |most| most.min(MAX_RECORDED_DECISIONS));
        let denials_only = asked.denials_only;
        let (before, decisions) = self
            .gate
            .watch(backlog, |recorded| is_wanted(recorded, denials_only));
        let watching = Watching {
            before: before.into(),
            decisions,
            denials_only,
            stop: self.stop.clone(),
            _place: place,
        };
        let events = stream::unfold(watching, |mut watching| async {
            let event = watching.next().await?;
            Some((Ok(event), watching))
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// One watcher. Nothing gathers for it here: what it does not fetch in time, the feed drops and counts.
struct Watching {
    before: VecDeque<Arc<RecordedDecision>>,
    decisions: DecisionFeed,
    denials_only: bool,
    stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    async fn next(&mut self) -> Option<v1::WatchDecisionsResponse> {
        if let Some(recorded) = self.before.pop_front() {
            return Some(tell::event(&recorded));
        }
        loop {
            let event = tokio::select! {
                event = self.decisions.next() => event,
                () = stopped(&mut self.stop) => return None,
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

pub(crate) fn is_wanted(recorded: &RecordedDecision, denials_only: bool) -> bool {
    !denials_only || recorded.outcome != DecisionOutcome::Allow
}

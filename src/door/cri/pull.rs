//! `PullImage`: the gate decides before the runtime sees the call, and the door compares afterwards what the runtime pulled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response, request, response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tonic::Code;
use tonic::metadata::MetadataMap;

use super::answer::{self, CriBody};
use super::images::{ANSWER_BYTES, Images, Removed};
use super::message::{self, GrpcMessage, GrpcMessageError};
use super::runtime::RuntimeError;
use super::settings::CriDoorSettings;
use super::{CallContext, CriShared, recheck_present};
use crate::base::error_chain::chain;
use crate::base::printable::excerpt;
use crate::base::proto::{cri, v1};
use crate::base::reason::Reason;
use crate::door::DoorSettings as _;
use crate::door::admission::ask::{RequestCredentialsError, presented};
use crate::door::listen::grpc;
use crate::oci::{ChildKind, Digest, Reference};
use crate::pull::decide::{Denial, Evaluation, Permit, Verdict};
use crate::pull::gate::ImageStatus;
use crate::pull::policy::Pod;
use crate::pull::record::{Decision, DecisionOutcome};
use crate::pull::request::{PullRequest, Purpose};

/// The pauses before the rechecks of a pull that failed. containerd 1.6 and 2.x store the name of an image before they unpack
/// it, and their CRI learns of the name by an event. A pull that was cancelled may end at any time.
const RECHECK_PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
    Duration::from_secs(8),
    Duration::from_secs(20),
];

/// Why the gate could not be asked about a request.
#[derive(Debug, thiserror::Error)]
enum CriPullError {
    #[error(transparent)]
    Message(#[from] GrpcMessageError),
    #[error("`{image}` is not an image name: {why}")]
    Reference { image: String, why: String },
    #[error("could not read the credentials: {0}")]
    Credentials(#[from] RequestCredentialsError),
}

/// Answers a pull.
pub(super) async fn pull(
    shared: &Arc<CriShared>,
    context: CallContext,
    request: Request<Incoming>,
) -> Response<CriBody> {
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let deadline = match grpc::deadline(&metadata, shared.deadline) {
        Ok(deadline) => deadline,
        Err(refused) => return answer::status(refused.code(), refused.message()),
    };
    // Whether the deadline is the caller's, which is then earlier than ours.
    let is_callers_deadline =
        deadline.saturating_duration_since(Instant::now()) + Duration::from_secs(1) < shared.deadline;
    let (head, body) = request.into_parts();
    let message = match shared.read(context.peer, body).await {
        Ok(message) => message,
        Err(unread) => return unread,
    };
    let (image, request) = match read(&message, context.peer.to_string(), deadline) {
        Ok(read) => read,
        Err(CriPullError::Message(error)) => return answer::unreadable(&error),
        Err(error) => return answer::failed(Reason::Malformed, &chain(&error)),
    };
    let started = Instant::now();
    let evaluation = shared.gate.admit(&request).await;
    let permit = match &evaluation.verdict {
        Verdict::Allow(permit) => permit.clone(),
        // The status that the client would make by its own clock, with our reason in it.
        Verdict::Deny(denial) if is_callers_deadline && denial.reason == Reason::DeadlineExceeded => {
            return answer::status(Code::DeadlineExceeded, &denial.to_string());
        }
        Verdict::Deny(denial) => return answer::denied(denial),
    };
    let pull = ForwardedPull {
        shared: Arc::clone(shared),
        images: Images {
            runtime: context.runtime.detached(),
            service: context.service,
        },
        image,
        request,
        evaluation,
        permit,
        started,
    };
    // In a task of its own: if the caller gives up, the runtime may have the image all the same, and it must be compared.
    let (still_wanted, given_up) = oneshot::channel::<()>();
    let forwarded = tokio::spawn(Arc::new(pull).run(head, message, given_up));
    let answer = forwarded.await;
    drop(still_wanted);
    answer.unwrap_or_else(|error| {
        tracing::error!(%error, "A pull crashed; it is blocked");
        let detail = "pullgate itself failed on this pull; the log says where";
        answer::failed(Reason::InternalError, detail)
    })
}

fn read(
    message: &GrpcMessage,
    peer: String,
    deadline: Instant,
) -> Result<(String, PullRequest), CriPullError> {
    let pull: cri::PullImageRequest = message.decode()?;
    let image = pull.image.unwrap_or_default().image;
    let reference: Reference = image.parse().map_err(|error| CriPullError::Reference {
        image: excerpt(&image),
        why: chain(&error),
    })?;
    let auth = pull.auth.unwrap_or_default();
    let presented = presented(
        v1::Credentials {
            username: auth.username,
            password: auth.password,
            auth: auth.auth,
            server_address: auth.server_address,
            identity_token: auth.identity_token,
            registry_token: auth.registry_token,
        },
        reference.repository.registry(),
    )?;
    let pod = pull.sandbox_config.map(|config| Pod {
        namespace: config.metadata.unwrap_or_default().namespace,
        labels: config.labels,
    });
    let request = PullRequest {
        door: CriDoorSettings::NAME,
        peer,
        reference,
        pod,
        presented,
        deadline,
        purpose: Purpose::VerdictOnly(None),
    };
    Ok((image, request))
}

/// A pull that was admitted and is forwarded to the runtime.
struct ForwardedPull {
    shared: Arc<CriShared>,
    images: Images,
    /// The name by which the runtime is asked for the image.
    image: String,
    request: PullRequest,
    evaluation: Evaluation,
    permit: Permit,
    started: Instant,
}

impl ForwardedPull {
    async fn run(
        self: Arc<Self>,
        head: request::Parts,
        message: GrpcMessage,
        given_up: oneshot::Receiver<()>,
    ) -> Response<CriBody> {
        // An image that is there already is left alone if the pull fails.
        let before = self.images.status(&self.image).await.ok().flatten();
        let pulled = tokio::select! {
            pulled = self.forward(head, message) => pulled,
            // The caller is gone. The call to the runtime is cancelled, and what it has by then is checked.
            _gone = given_up => Err(ForwardError::GivenUp),
        };
        let failed = match pulled {
            Ok((head, answer, trailers)) if answer::code(&head, trailers.as_ref()) == Code::Ok => {
                return match self.check_pulled(answer.as_ref()).await {
                    Ok(()) => answer::replayed(head, answer.as_ref(), trailers),
                    Err(denial) => answer::denied(&denial),
                };
            }
            // The runtime did not receive the call.
            Err(
                failed @ ForwardError::Runtime(RuntimeError::Connect { .. } | RuntimeError::Protocol { .. }),
            ) => {
                return failed.answer();
            }
            Ok((head, answer, trailers)) => answer::replayed(head, answer.as_ref(), trailers),
            Err(failed) => failed.answer(),
        };
        // A failed pull may have left an image: a registry that serves the runtime another image than the gate can let the
        // pull fail when that image has its name already.
        match self.check_leftover(before.as_ref()).await {
            Ok(()) | Err(Leftover::Unknown(_)) => {
                self.recheck_later(before).await;
                failed
            }
            Err(Leftover::Another(denial)) => answer::denied(&denial),
        }
    }

    /// Compares the image under the pulled name with the admitted one, and the image that the runtime says it pulled as well:
    /// another pull may have moved the name since, and the client starts the image that the answer names.
    async fn check_pulled(&self, answer: Option<&GrpcMessage>) -> Result<(), Box<Denial>> {
        let response = answer.and_then(|answer| answer.decode::<cri::PullImageResponse>().ok());
        let Some(response) = response.filter(|response| !response.image_ref.is_empty()) else {
            let detail = "the runtime does not report what it pulled".to_owned();
            return Err(self.revoke(Offender::Called(self.image.clone()), detail).await);
        };
        let id = self
            .compare(self.images.status(&self.image).await, &response.image_ref)
            .await?;
        if id != response.image_ref {
            let found = self.images.status(&response.image_ref).await;
            self.compare(found, &response.image_ref).await?;
        }
        Ok(())
    }

    /// Compares the image that a failed pull left, if there is one.
    async fn check_leftover(&self, before: Option<&cri::Image>) -> Result<(), Leftover> {
        match self.images.status(&self.image).await {
            Ok(after) if after.is_none() || after.as_ref() == before => Ok(()),
            Ok(after) => match self.compare(Ok(after), &self.image).await {
                Ok(_id) => Ok(()),
                Err(denial) => Err(Leftover::Another(denial)),
            },
            Err(error) => Err(Leftover::Unknown(error)),
        }
    }

    /// Rechecks in a task of its own, after the answer. Waits first if too many pulls are being rechecked.
    async fn recheck_later(self: Arc<Self>, before: Option<cri::Image>) {
        let slot = Arc::clone(&self.shared.rechecks).acquire_owned().await;
        tokio::spawn(async move {
            let _slot = slot;
            let mut last = Ok(());
            for pause in RECHECK_PAUSES {
                sleep(pause).await;
                // The caller has its answer already, so a denial goes to the record alone. The rechecks go on: a runtime that
                // did not answer this one may have the image at the next.
                last = self.check_leftover(before.as_ref()).await;
            }
            if let Err(Leftover::Unknown(error)) = last {
                tracing::warn!(
                    image.r#ref = self.image,
                    error,
                    "The runtime does not report what a failed pull left; `recheck_present` would hide an image that was not admitted"
                );
            }
        });
    }

    async fn forward(
        &self,
        head: request::Parts,
        message: GrpcMessage,
    ) -> Result<(response::Parts, Option<GrpcMessage>, Option<HeaderMap>), ForwardError> {
        let request = Request::from_parts(head, Either::Right(Full::new(message.framed())));
        let answer = self
            .images
            .runtime
            .call(request)
            .await
            .map_err(ForwardError::Runtime)?;
        let (head, body) = answer.into_parts();
        let (message, trailers) = message::read(body, ANSWER_BYTES)
            .await
            .map_err(ForwardError::Message)?;
        Ok((head, message, trailers))
    }

    /// Compares the image that the runtime has with the admitted one, and returns its identifier. Another image is removed.
    /// `id` is the image that the runtime says it pulled.
    async fn compare(
        &self,
        found: Result<Option<cri::Image>, String>,
        id: &str,
    ) -> Result<String, Box<Denial>> {
        let (offender, detail) = match found {
            Ok(Some(image)) => match self.check_admitted(&image).await {
                Ok(()) => return Ok(image.id),
                // An image without an identifier is removed by the name that was pulled.
                Err(detail) if image.id.is_empty() => (Offender::Called(self.image.clone()), detail),
                Err(detail) => (Offender::Found(image), detail),
            },
            Ok(None) => (
                Offender::Called(id.to_owned()),
                "the runtime does not have the image that it says it pulled".to_owned(),
            ),
            Err(error) => (
                Offender::Called(id.to_owned()),
                format!("the runtime does not report what it pulled: {error}"),
            ),
        };
        Err(self.revoke(offender, detail).await)
    }

    /// Checks that the image is the admitted one, by a digest that it has in this repository and by its identifier; the error
    /// says how it differs. Names alone prove nothing: another image may have got a name with the admitted digest before.
    async fn check_admitted(&self, image: &cri::Image) -> Result<(), String> {
        let subject = self.permit.subject();
        let identifier = recheck_present::identifier(&image.id);
        let identifier = identifier.map_err(|error| {
            format!(
                "the runtime calls what it pulled `{}`: {}",
                excerpt(&image.id),
                chain(&error)
            )
        })?;
        let here =
            recheck_present::digests(image).filter(|(repository, _)| *repository == subject.repository);
        let digests: Vec<Digest> = here.map(|(_, digest)| digest).collect();
        // Another pull was admitted with this image: the tag was moved from one signed image to the next meanwhile.
        if digests
            .iter()
            .any(|digest| self.is_admitted_for_all_pods(digest, identifier.as_ref()))
        {
            return Ok(());
        }
        if !digests.iter().any(|digest| self.is_of_subject(digest)) {
            let names: Vec<String> = image.repo_digests.iter().map(|name| excerpt(name)).collect();
            let pulled = if names.is_empty() {
                "an image without a digest".to_owned()
            } else {
                names.join(", ")
            };
            return Err(format!(
                "the runtime pulled {pulled}, and {} was admitted",
                subject.digest()
            ));
        }
        let Some(identifier) = identifier else {
            return Ok(());
        };
        let request = PullRequest {
            // The deadline of the request was that of the decision; the pull has taken its own time since.
            deadline: Instant::now() + self.shared.deadline,
            ..self.request.clone()
        };
        let root = self.evaluation.root.unwrap_or(*subject.digest());
        let found = self
            .shared
            .gate
            .identify(&request, &self.permit, root, &identifier);
        found
            .await
            .map_err(|error| format!("the runtime has another image under the admitted name: {error}"))
    }

    /// Whether this digest is the admitted one, or that of a manifest in the admitted index: CRI-O names both.
    fn is_of_subject(&self, digest: &Digest) -> bool {
        let subject = self.permit.subject();
        digest == subject.digest()
            || subject
                .document
                .children()
                .any(|(child, kind)| kind == ChildKind::Manifest && child.digest == *digest)
    }

    /// Whether an earlier pull admitted this image under the rule of this one. The images on the node are known to be admitted
    /// by the rule for all pods, which does not decide for pods that have a rule of their own.
    fn is_admitted_for_all_pods(&self, digest: &Digest, identifier: Option<&Digest>) -> bool {
        let gate = &self.shared.gate;
        let repository = &self.request.reference.repository;
        self.request
            .effective_rule(&gate.settings().policy)
            .pod_rule_name()
            .is_none()
            && gate.image_status(repository, digest, identifier) == ImageStatus::Admitted
    }

    /// Removes an image, and revokes the verdict.
    async fn revoke(&self, offender: Offender, detail: String) -> Box<Denial> {
        let removed = match &offender {
            Offender::Found(image) => {
                let repository = &self.request.reference.repository;
                self.images.remove_from(repository, image).await
            }
            Offender::Called(name) => self.images.remove(name).await,
        };
        let detail = match removed {
            Ok(Removed::Image) => format!("{detail}; it was removed"),
            Ok(Removed::Names) => format!("{detail}; its names in this repository were removed"),
            Err(error) => {
                tracing::error!(
                    image = offender.name(),
                    error,
                    "An image that was not admitted could not be removed"
                );
                format!("{detail}; it could not be removed: {error}")
            }
        };
        self.denied(detail)
    }

    /// Records and returns the denial that revokes the verdict.
    fn denied(&self, detail: String) -> Box<Denial> {
        let reason = Reason::DigestMismatch;
        self.shared.gate.record(&Decision {
            door: CriDoorSettings::NAME,
            peer: &self.request.peer,
            reference: &self.request.reference,
            digest: self.evaluation.digest(),
            rule: &self.evaluation.rule,
            outcome: DecisionOutcome::Deny(reason),
            detail: &detail,
            cached: false,
            elapsed: self.started.elapsed(),
        });
        Box::new(Denial {
            reference: self.request.reference.clone(),
            digest: self.evaluation.digest().copied(),
            rule: self.evaluation.rule.clone(),
            reason,
            detail,
            challenge: None,
        })
    }
}

/// An image that the runtime must not keep.
enum Offender {
    /// The image was reported by the runtime.
    Found(cri::Image),
    /// The image has this name or identifier, and the runtime did not report more about it.
    Called(String),
}

impl Offender {
    fn name(&self) -> &str {
        match self {
            Self::Found(image) => &image.id,
            Self::Called(name) => name,
        }
    }
}

/// The image that a failed pull may have left behind.
enum Leftover {
    /// Another image than the admitted one. It was removed.
    Another(Box<Denial>),
    /// The runtime does not report it, perhaps because it restarts.
    Unknown(String),
}

/// Why a forwarded pull brought no answer.
enum ForwardError {
    GivenUp,
    Runtime(RuntimeError),
    Message(GrpcMessageError),
}

impl ForwardError {
    fn answer(&self) -> Response<CriBody> {
        match self {
            Self::GivenUp => answer::status(Code::Cancelled, "the caller gave up"),
            Self::Runtime(error) => answer::unanswered(error),
            Self::Message(error) => answer::unreadable(error),
        }
    }
}

//! `PullImage`: decided before the runtime hears of it, and compared after it is done.

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
use super::{CallContext, CriShared, present};
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

/// After a pull that failed it is looked again after each of these: containerd 1.6 and 2.x write the image's name down
/// before they unpack it and its CRI hears of that by an event, and a pull that was cancelled ends when it likes.
const LOOK_AGAIN: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
    Duration::from_secs(8),
    Duration::from_secs(20),
];

/// Why a request can not be decided on.
#[derive(Debug, thiserror::Error)]
enum CriPullError {
    #[error(transparent)]
    Message(#[from] GrpcMessageError),
    #[error("`{image}` is not an image's name: {why}")]
    Reference { image: String, why: String },
    #[error("the credentials: {0}")]
    Credentials(#[from] RequestCredentialsError),
}

/// Answers a pull.
pub(super) async fn pull(
    shared: &Arc<CriShared>,
    asked: CallContext,
    request: Request<Incoming>,
) -> Response<CriBody> {
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let deadline = match grpc::deadline(&metadata, shared.deadline) {
        Ok(deadline) => deadline,
        Err(refused) => return answer::status(refused.code(), refused.message()),
    };
    // Whose time it is: ours, or the caller's, who has said less.
    let is_callers =
        deadline.saturating_duration_since(Instant::now()) + Duration::from_secs(1) < shared.deadline;
    let (head, body) = request.into_parts();
    let message = match shared.read(asked.peer, body).await {
        Ok(message) => message,
        Err(unread) => return unread,
    };
    let (image, request) = match read(&message, asked.peer.to_string(), deadline) {
        Ok(read) => read,
        Err(CriPullError::Message(error)) => return answer::unreadable(&error),
        Err(error) => return answer::failed(Reason::Malformed, &chain(&error)),
    };
    let began = Instant::now();
    let judgement = shared.gate.admit(&request).await;
    let permit = match &judgement.verdict {
        Verdict::Allow(permit) => permit.clone(),
        // The status that his client gives him by its own clock, with the reason in it.
        Verdict::Deny(denial) if is_callers && denial.reason == Reason::DeadlineExceeded => {
            return answer::status(Code::DeadlineExceeded, &denial.to_string());
        }
        Verdict::Deny(denial) => return answer::denied(denial),
    };
    let pulling = ForwardedPull {
        shared: Arc::clone(shared),
        images: Images {
            runtime: asked.runtime.detached(),
            service: asked.service,
        },
        image,
        request,
        judgement,
        permit,
        began,
    };
    // Apart from the caller: when he gives up, the runtime may have the image all the same, and it is compared.
    let (still_wanted, given_up) = oneshot::channel::<()>();
    let done = tokio::spawn(Arc::new(pulling).run(head, message, given_up));
    let answered = done.await;
    drop(still_wanted);
    answered.unwrap_or_else(|error| {
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
    let asked: cri::PullImageRequest = message.decode()?;
    let image = asked.image.unwrap_or_default().image;
    let reference: Reference = image.parse().map_err(|error| CriPullError::Reference {
        image: excerpt(&image),
        why: chain(&error),
    })?;
    let shown = asked.auth.unwrap_or_default();
    let presented = presented(
        v1::Credentials {
            username: shown.username,
            password: shown.password,
            auth: shown.auth,
            server_address: shown.server_address,
            identity_token: shown.identity_token,
            registry_token: shown.registry_token,
        },
        reference.repository.registry(),
    )?;
    let pod = asked.sandbox_config.map(|config| Pod {
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

/// A pull that was let through.
struct ForwardedPull {
    shared: Arc<CriShared>,
    images: Images,
    /// As the runtime was asked for it.
    image: String,
    request: PullRequest,
    judgement: Evaluation,
    permit: Permit,
    began: Instant,
}

impl ForwardedPull {
    async fn run(
        self: Arc<Self>,
        head: request::Parts,
        message: GrpcMessage,
        given_up: oneshot::Receiver<()>,
    ) -> Response<CriBody> {
        // A pull that fails leaves what was there before, and that is none of its business.
        let before = self.images.status(&self.image).await.ok().flatten();
        let pulled = tokio::select! {
            pulled = self.forward(head, message) => pulled,
            // Whoever waits is gone. The runtime is told so; what it has by then is looked at.
            _gone = given_up => Err(ForwardError::GivenUp),
        };
        let failed = match pulled {
            Ok((head, answer, trailers)) if answer::code(&head, trailers.as_ref()) == Code::Ok => {
                return match self.pulled(answer.as_ref()).await {
                    Ok(()) => answer::replayed(head, answer.as_ref(), trailers),
                    Err(denial) => answer::denied(&denial),
                };
            }
            // Nothing was asked of it.
            Err(
                failed @ ForwardError::Runtime(RuntimeError::Connect { .. } | RuntimeError::Protocol { .. }),
            ) => {
                return failed.answer();
            }
            Ok((head, answer, trailers)) => answer::replayed(head, answer.as_ref(), trailers),
            Err(failed) => failed.answer(),
        };
        // That it failed does not say that it left nothing: a registry that gives the runtime another image than the gate
        // can let it fail when the image has its name already.
        match self.left(before.as_ref()).await {
            Ok(()) | Err(Leftover::Unknown(_)) => {
                self.recheck_later(before).await;
                failed
            }
            Err(Leftover::Another(denial)) => answer::denied(&denial),
        }
    }

    /// Compares what a pull brought: under the name, and what the runtime says that it pulled. Another pull may have moved
    /// the name since, and who asked starts what he was told.
    async fn pulled(&self, answer: Option<&GrpcMessage>) -> Result<(), Box<Denial>> {
        let said = answer.and_then(|answer| answer.decode::<cri::PullImageResponse>().ok());
        let Some(said) = said.filter(|said| !said.image_ref.is_empty()) else {
            let detail = "the runtime does not say what it pulled".to_owned();
            return Err(self.revoke(Offender::Called(self.image.clone()), detail).await);
        };
        let id = self
            .compared(self.images.status(&self.image).await, &said.image_ref)
            .await?;
        if id != said.image_ref {
            let found = self.images.status(&said.image_ref).await;
            self.compared(found, &said.image_ref).await?;
        }
        Ok(())
    }

    /// Compares what a pull left that failed, if anything.
    async fn left(&self, before: Option<&cri::Image>) -> Result<(), Leftover> {
        match self.images.status(&self.image).await {
            Ok(after) if after.is_none() || after.as_ref() == before => Ok(()),
            Ok(after) => match self.compared(Ok(after), &self.image).await {
                Ok(_id) => Ok(()),
                Err(denial) => Err(Leftover::Another(denial)),
            },
            Err(error) => Err(Leftover::Unknown(error)),
        }
    }

    /// Goes on looking, apart from the answer. Waits where too many are looked after already.
    async fn recheck_later(self: Arc<Self>, before: Option<cri::Image>) {
        let place = Arc::clone(&self.shared.rechecks).acquire_owned().await;
        tokio::spawn(async move {
            let _place = place;
            let mut last = Ok(());
            for pause in LOOK_AGAIN {
                sleep(pause).await;
                // The record has what is wrong: nobody waits for an answer any more. The next look is taken all the same:
                // a runtime that did not answer this one may have the image then.
                last = self.left(before.as_ref()).await;
            }
            if let Err(Leftover::Unknown(error)) = last {
                tracing::warn!(
                    image.r#ref = self.image,
                    error,
                    "The runtime does not say what a pull left that failed: `recheck_present` holds what was not admitted"
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

    /// Compares what the runtime has with what was admitted, and gives its identifier; what is another is removed. `id` is
    /// what the runtime says it pulled.
    async fn compared(
        &self,
        found: Result<Option<cri::Image>, String>,
        id: &str,
    ) -> Result<String, Box<Denial>> {
        let (wrong, detail) = match found {
            Ok(Some(image)) => match self.is_admitted(&image).await {
                Ok(()) => return Ok(image.id),
                // One that it calls by nothing goes by the name that was pulled.
                Err(detail) if image.id.is_empty() => (Offender::Called(self.image.clone()), detail),
                Err(detail) => (Offender::Found(image), detail),
            },
            Ok(None) => (
                Offender::Called(id.to_owned()),
                "the runtime does not have what it says it pulled".to_owned(),
            ),
            Err(error) => (
                Offender::Called(id.to_owned()),
                format!("the runtime does not say what it pulled: {error}"),
            ),
        };
        Err(self.revoke(wrong, detail).await)
    }

    /// Whether the image is the admitted one, or says how it is another: by a digest that it has in this repository, and
    /// by what it is. Names alone prove nothing; a name with the admitted digest may have been given to another image
    /// before.
    async fn is_admitted(&self, image: &cri::Image) -> Result<(), String> {
        let subject = self.permit.subject();
        let identifier = present::identifier(&image.id);
        let identifier = identifier.map_err(|error| {
            format!(
                "the runtime calls what it pulled `{}`: {}",
                excerpt(&image.id),
                chain(&error)
            )
        })?;
        let here = present::digests(image).filter(|(repository, _)| *repository == subject.repository);
        let digests: Vec<Digest> = here.map(|(_, digest)| digest).collect();
        // Another pull was admitted with it: the tag was moved from one signed image to the next meanwhile.
        if digests
            .iter()
            .any(|digest| self.stands(digest, identifier.as_ref()))
        {
            return Ok(());
        }
        if !digests.iter().any(|digest| self.is_named(digest)) {
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
            // Its time was that of the decision; the pull has taken its own since.
            deadline: Instant::now() + self.shared.deadline,
            ..self.request.clone()
        };
        let root = self.judgement.root.unwrap_or(*subject.digest());
        let found = self
            .shared
            .gate
            .identify(&request, &self.permit, root, &identifier);
        found
            .await
            .map_err(|error| format!("the runtime has another image under the admitted name: {error}"))
    }

    /// Whether this digest is the admitted one, or that of a manifest which the admitted index lists: CRI-O names both.
    fn is_named(&self, digest: &Digest) -> bool {
        let subject = self.permit.subject();
        digest == subject.digest()
            || subject
                .document
                .children()
                .any(|(child, kind)| kind == ChildKind::Manifest && child.digest == *digest)
    }

    /// Whether this image may run under the rule of this pull. What stands was admitted by the rule for all pods, which
    /// says nothing of those that have their own.
    fn stands(&self, digest: &Digest, identifier: Option<&Digest>) -> bool {
        let gate = &self.shared.gate;
        let repository = &self.request.reference.repository;
        self.request
            .effective_rule(&gate.settings().policy)
            .pod_rule_name()
            .is_none()
            && gate.image_status(repository, digest, identifier) == ImageStatus::Admitted
    }

    /// Removes an image, and takes the verdict back.
    async fn revoke(&self, wrong: Offender, detail: String) -> Box<Denial> {
        let removed = match &wrong {
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
                    image = wrong.name(),
                    error,
                    "An image that was not admitted could not be removed"
                );
                format!("{detail}; it could not be removed: {error}")
            }
        };
        self.denied(detail)
    }

    /// The verdict is taken back, and the record says so.
    fn denied(&self, detail: String) -> Box<Denial> {
        let reason = Reason::DigestMismatch;
        self.shared.gate.record(&Decision {
            door: CriDoorSettings::NAME,
            peer: &self.request.peer,
            reference: &self.request.reference,
            digest: self.judgement.digest(),
            rule: &self.judgement.rule,
            outcome: DecisionOutcome::Deny(reason),
            detail: &detail,
            cached: false,
            elapsed: self.began.elapsed(),
        });
        Box::new(Denial {
            reference: self.request.reference.clone(),
            digest: self.judgement.digest().copied(),
            rule: self.judgement.rule.clone(),
            reason,
            detail,
            challenge: None,
        })
    }
}

/// What the runtime must not keep.
enum Offender {
    /// This image.
    Found(cri::Image),
    /// Whatever has this name or identifier: what it is is not known.
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

/// What is there after a pull that failed, and should not be.
enum Leftover {
    /// Another image than was admitted. It was removed.
    Another(Box<Denial>),
    /// The runtime, which is perhaps started anew, does not say. Nothing is known to be wrong.
    Unknown(String),
}

/// Why the runtime's pull did not come to an answer.
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

//! Calls that the door makes itself: which images the runtime has, and the removal of an image.

use std::time::Duration;

use http::{Request, request};
use http_body_util::{Either, Full};
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::answer;
use super::message::{self, GrpcMessage};
use super::runtime::RuntimeConnection;
use crate::base::error_chain::chain;
use crate::base::proto::{containerd, cri};
use crate::oci::{Reference, Repository};

/// Largest answer about one image that is read.
pub(super) const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// The time within which the runtime must report or remove an image.
const LOCAL_CALL: Duration = Duration::from_secs(60);

/// The pauses before the checks whether an image is gone: containerd's CRI learns by an event that a name was removed.
const REMOVAL_CHECKS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(2),
];

/// Removes one name of an image. It is containerd's own method: through the Container Runtime Interface containerd removes
/// all names of an image (`internal/cri/server/images/image_remove.go`).
const DELETE: &str = "/containerd.services.images.v1.Images/Delete";

/// The namespace in which containerd's CRI keeps its images (`internal/cri/constants`, `K8sContainerdNamespace`).
const NAMESPACE: (&str, &str) = ("containerd-namespace", "k8s.io");

/// The images of one runtime.
pub(super) struct Images {
    pub(super) runtime: RuntimeConnection,
    /// `/runtime.v1.ImageService`, or the older service that the client called.
    pub(super) service: &'static str,
}

/// The outcome of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// The image is gone.
    Image,
    /// The image keeps the names that it has in other repositories, and has lost those in this one.
    Names,
}

/// Why a call to the runtime failed.
enum ImageServiceError {
    /// The runtime answered with this status.
    Status(Code),
    /// The call did not come to an answer, or the answer could not be read.
    Broken(String),
}

impl Images {
    /// Returns the image that has this name or identifier, if there is one.
    pub(super) async fn status(&self, image: &str) -> Result<Option<cri::Image>, String> {
        let request = cri::ImageStatusRequest { image: spec(image) };
        let answer = self.call_cri("ImageStatus", &request).await?;
        let answer: cri::ImageStatusResponse = answer.decode().map_err(|error| chain(&error))?;
        Ok(answer.image)
    }

    /// Removes an image with all its names.
    pub(super) async fn remove(&self, image: &str) -> Result<Removed, String> {
        let request = cri::RemoveImageRequest { image: spec(image) };
        self.call_cri("RemoveImage", &request).await?;
        Ok(Removed::Image)
    }

    /// Removes the names that an image has in a repository, and the image if it has no others. Its names in other
    /// repositories stay: a registry that gives the runtime another's image under its own name must not be able to have
    /// that image deleted. If the names do not go, the image is removed with all its names.
    pub(super) async fn remove_from(
        &self,
        repository: &Repository,
        image: &cri::Image,
    ) -> Result<Removed, String> {
        if !is_named_outside(repository, image) {
            return self.remove(&image.id).await;
        }
        for name in names_in(repository, image) {
            self.remove_name(name).await?;
        }
        for pause in REMOVAL_CHECKS {
            sleep(pause).await;
            match self.status(&image.id).await? {
                None => return Ok(Removed::Image),
                // Two calls may remove its last names at one time.
                Some(left) if !is_named_outside(repository, &left) => break,
                Some(left) if names_in(repository, &left).next().is_none() => return Ok(Removed::Names),
                Some(_) => {}
            }
        }
        self.remove(&image.id).await
    }

    /// Removes one name. CRI-O and cri-dockerd, which do not know containerd's method, remove the one name that they are
    /// given.
    async fn remove_name(&self, name: &str) -> Result<(), String> {
        let request = containerd::DeleteImageRequest {
            name: name.to_owned(),
        };
        match self
            .call(Request::post(DELETE).header(NAMESPACE.0, NAMESPACE.1), &request)
            .await
        {
            Ok(_) | Err(ImageServiceError::Status(Code::NotFound)) => Ok(()),
            Err(ImageServiceError::Status(Code::Unimplemented)) => self.remove(name).await.map(|_| ()),
            Err(error) => Err(error.describe("Delete")),
        }
    }

    async fn call_cri(&self, method: &str, message: &impl prost::Message) -> Result<GrpcMessage, String> {
        let head = Request::post(format!("{}/{method}", self.service));
        let answer = self.call(head, message).await;
        answer.map_err(|error| error.describe(method))
    }

    async fn call(
        &self,
        head: request::Builder,
        message: &impl prost::Message,
    ) -> Result<GrpcMessage, ImageServiceError> {
        let request = head
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("pullgate/", env!("CARGO_PKG_VERSION")))
            .body(Either::Right(Full::new(GrpcMessage::new(message).framed())))
            .map_err(|error| ImageServiceError::Broken(chain(&error)))?;
        let answer = async {
            let answer = self.runtime.call(request).await;
            let answer = answer.map_err(|error| ImageServiceError::Broken(chain(&error)))?;
            let (head, body) = answer.into_parts();
            let read = message::read(body, ANSWER_BYTES).await;
            let (message, trailers) = read.map_err(|error| ImageServiceError::Broken(chain(&error)))?;
            let code = answer::code(&head, trailers.as_ref());
            if code != Code::Ok {
                return Err(ImageServiceError::Status(code));
            }
            Ok(message.unwrap_or_else(|| GrpcMessage::from_bytes(&[])))
        };
        match timeout(LOCAL_CALL, answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ImageServiceError::Broken("the runtime took too long".to_owned())),
        }
    }
}

impl ImageServiceError {
    fn describe(self, method: &str) -> String {
        match self {
            Self::Status(code) => format!("{method} failed: {code:?}"),
            Self::Broken(why) => format!("{method}: {why}"),
        }
    }
}

fn spec(image: &str) -> Option<cri::ImageSpec> {
    Some(cri::ImageSpec {
        image: image.to_owned(),
    })
}

fn names_in<'a>(repository: &'a Repository, image: &'a cri::Image) -> impl Iterator<Item = &'a str> {
    names(image).filter_map(move |(name, of)| (of == *repository).then_some(name))
}

fn is_named_outside(repository: &Repository, image: &cri::Image) -> bool {
    names(image).any(|(_, of)| of != *repository)
}

/// Returns the names of an image, each with its repository.
pub(super) fn names(image: &cri::Image) -> impl Iterator<Item = (&str, Repository)> {
    let of = |name: &str| name.parse::<Reference>().ok();
    let tags = image.repo_tags.iter().map(move |name| (name, of(name)));
    let digests = image.repo_digests.iter();
    let digests = digests.map(move |name| (name, of(name).filter(|of| of.digest.is_some())));
    tags.chain(digests)
        .filter_map(|(name, of)| Some((name.as_str(), of?.repository)))
}

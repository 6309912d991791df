//! What the runtime has, and how it is made to have it no more: questions of our own.

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

/// How long the runtime may take to say what it has, and to remove it.
const LOCAL_CALL: Duration = Duration::from_secs(60);

/// containerd's CRI hears by an event that a name is gone: it is asked so often, so much later each time.
const GONE: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(2),
];

/// Takes one name away, and is no part of the Container Runtime Interface, by which containerd removes all names of an image
/// (`internal/cri/server/images/image_remove.go`).
const DELETE: &str = "/containerd.services.images.v1.Images/Delete";

/// Where containerd's CRI keeps its images (`internal/cri/constants`, `K8sContainerdNamespace`).
const NAMESPACE: (&str, &str) = ("containerd-namespace", "k8s.io");

/// The images of one runtime.
pub(super) struct Images {
    pub(super) runtime: RuntimeConnection,
    /// `/runtime.v1.ImageService`, or the older one that was asked.
    pub(super) service: &'static str,
}

/// What became of an image that must not stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// It is gone.
    Image,
    /// It stays under the names that it has in other repositories, and has none in this one.
    Names,
}

/// Why a question was not answered.
enum ImageServiceError {
    /// With a status that is no success.
    Status(Code),
    /// Not at all, or with something that is no answer.
    Broken(String),
}

impl Images {
    /// The image that has this name or identifier, if there is one.
    pub(super) async fn status(&self, image: &str) -> Result<Option<cri::Image>, String> {
        let request = cri::ImageStatusRequest { image: spec(image) };
        let answer = self.ask_cri("ImageStatus", &request).await?;
        let answer: cri::ImageStatusResponse = answer.decode().map_err(|error| chain(&error))?;
        Ok(answer.image)
    }

    /// Takes an image away with all its names.
    pub(super) async fn remove(&self, image: &str) -> Result<Removed, String> {
        let request = cri::RemoveImageRequest { image: spec(image) };
        self.ask_cri("RemoveImage", &request).await?;
        Ok(Removed::Image)
    }

    /// Takes an image away from a repository. What others call it is not this repository's business: whoever gives the
    /// runtime another's image under his own name must not be able to have it deleted. Where that does not come to
    /// pass the image goes with all its names.
    pub(super) async fn remove_from(
        &self,
        repository: &Repository,
        image: &cri::Image,
    ) -> Result<Removed, String> {
        if !is_named_outside(repository, image) {
            return self.remove(&image.id).await;
        }
        for name in names_in(repository, image) {
            self.unname(name).await?;
        }
        for pause in GONE {
            sleep(pause).await;
            match self.status(&image.id).await? {
                None => return Ok(Removed::Image),
                // Its last names may be taken from two sides at one time.
                Some(left) if !is_named_outside(repository, &left) => break,
                Some(left) if names_in(repository, &left).next().is_none() => return Ok(Removed::Names),
                Some(_) => {}
            }
        }
        self.remove(&image.id).await
    }

    /// CRI-O and cri-dockerd take away the one name by which they are asked.
    async fn unname(&self, name: &str) -> Result<(), String> {
        let request = containerd::DeleteImageRequest {
            name: name.to_owned(),
        };
        match self
            .ask(Request::post(DELETE).header(NAMESPACE.0, NAMESPACE.1), &request)
            .await
        {
            Ok(_) | Err(ImageServiceError::Status(Code::NotFound)) => Ok(()),
            Err(ImageServiceError::Status(Code::Unimplemented)) => self.remove(name).await.map(|_| ()),
            Err(error) => Err(error.said("Delete")),
        }
    }

    async fn ask_cri(&self, method: &str, message: &impl prost::Message) -> Result<GrpcMessage, String> {
        let head = Request::post(format!("{}/{method}", self.service));
        let answer = self.ask(head, message).await;
        answer.map_err(|error| error.said(method))
    }

    async fn ask(
        &self,
        head: request::Builder,
        message: &impl prost::Message,
    ) -> Result<GrpcMessage, ImageServiceError> {
        let request = head
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("pullgate/", env!("CARGO_PKG_VERSION")))
            .body(Either::Right(Full::new(GrpcMessage::of(message).framed())))
            .map_err(|error| ImageServiceError::Broken(chain(&error)))?;
        let asked = async {
            let answer = self.runtime.call(request).await;
            let answer = answer.map_err(|error| ImageServiceError::Broken(chain(&error)))?;
            let (head, body) = answer.into_parts();
            let read = message::read(body, ANSWER_BYTES).await;
            let (message, trailers) = read.map_err(|error| ImageServiceError::Broken(chain(&error)))?;
            let code = answer::code(&head, trailers.as_ref());
            if code != Code::Ok {
                return Err(ImageServiceError::Status(code));
            }
            Ok(message.unwrap_or_else(|| GrpcMessage::framing(&[])))
        };
        match timeout(LOCAL_CALL, asked).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ImageServiceError::Broken("it took too long".to_owned())),
        }
    }
}

impl ImageServiceError {
    fn said(self, method: &str) -> String {
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

/// The names of an image, each with its repository.
pub(super) fn names(image: &cri::Image) -> impl Iterator<Item = (&str, Repository)> {
    let of = |name: &str| name.parse::<Reference>().ok();
    let tags = image.repo_tags.iter().map(move |name| (name, of(name)));
    let digests = image.repo_digests.iter();
    let digests = digests.map(move |name| (name, of(name).filter(|of| of.digest.is_some())));
    tags.chain(digests)
        .filter_map(|(name, of)| Some((name.as_str(), of?.repository)))
}

//! `ImageStatus` and `ListImages` with `recheck_present`: an image that is on the node but was not admitted is reported as
//! absent, so that it cannot start. This needs no request over a network.

use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use prost::Message as _;

use super::answer::{self, CriBody};
use super::fields::{self, NotProtobuf};
use super::message::{self, GrpcMessage};
use super::{CallContext, CriShared, images};
use crate::base::proto::cri;
use crate::oci::{Digest, DigestError, Reference, Repository};
use crate::pull::gate::{Gate, ImageStatus};

/// Largest answer that is read: the most that containerd sends (`defaults.DefaultMaxSendMsgSize`).
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// `ImageResponse.image` and `ListImagesResponse.images`.
const IMAGES: u64 = 1;

/// Passes the call on, and leaves images that were not admitted out of the answer.
pub(super) async fn answer(
    shared: &CriShared,
    context: CallContext,
    request: Request<Incoming>,
) -> Response<CriBody> {
    let is_status = request.uri().path().ends_with("/ImageStatus");
    let (head, body) = request.into_parts();
    let (body, repository) = if is_status {
        let message = match shared.read(context.peer, body).await {
            Ok(message) => message,
            Err(unread) => return unread,
        };
        let repository = match message.decode() {
            Ok(request) => requested_repository(request),
            Err(error) => return answer::unreadable(&error),
        };
        (Either::Right(Full::new(message.framed())), repository)
    } else {
        (Either::Left(body), None)
    };
    let request = Request::from_parts(head, body);
    let answer = match context.runtime.call(request).await {
        Ok(answer) => answer,
        Err(error) => return answer::unanswered(&error),
    };
    let (head, body) = answer.into_parts();
    let (answer, trailers) = match message::read(body, ANSWER_BYTES).await {
        Ok(read) => read,
        Err(error) => return answer::unreadable(&error),
    };
    match answer
        .map(|answer| without_unadmitted(&shared.gate, &answer, repository.as_ref()))
        .transpose()
    {
        Ok(answer) => answer::replayed(head, answer.as_ref(), trailers),
        Err(error) => answer::unreadable(&error.into()),
    }
}

/// Returns the answer without the images that were not admitted. A status without its image says that the image is absent;
/// the other fields of an answer stay as they came.
fn without_unadmitted(
    gate: &Gate,
    answer: &GrpcMessage,
    repository: Option<&Repository>,
) -> Result<GrpcMessage, NotProtobuf> {
    let mut hidden = 0;
    let kept = fields::without(answer.bytes(), IMAGES, |image| {
        let is_admitted = cri::Image::decode(image).is_ok_and(|image| is_admitted(gate, &image, repository));
        hidden += usize::from(!is_admitted);
        is_admitted
    })?;
    if hidden == 0 {
        return Ok(answer.clone());
    }
    Ok(GrpcMessage::from_bytes(&kept))
}

/// Returns the repository of the name by which an image is requested. An identifier, or the beginning of one, may look like
/// such a name.
fn requested_repository(request: cri::ImageStatusRequest) -> Option<Repository> {
    let name = request.image.unwrap_or_default().image;
    let reference: Reference = name.parse().ok()?;
    Some(reference.repository)
}

/// Whether an image was admitted under any of its names; an imported image has no digest that was. An image that is
/// requested by one of its names must have been admitted in the repository of that name: an image that may run under one
/// name need not be one that may run under another.
fn is_admitted(gate: &Gate, image: &cri::Image, repository: Option<&Repository>) -> bool {
    let Ok(identifier) = identifier(&image.id) else {
        return false;
    };
    let requested =
        repository.filter(|requested| images::names(image).any(|(_, named)| named == **requested));
    let mut digests =
        digests(image).filter(|(repository, _)| requested.is_none_or(|requested| repository == requested));
    digests.any(|(repository, digest)| {
        gate.image_status(&repository, &digest, identifier.as_ref()) == ImageStatus::Admitted
    })
}

/// Returns the digests of an image, each with the repository in which the image has it.
pub(super) fn digests(image: &cri::Image) -> impl Iterator<Item = (Repository, Digest)> {
    let names = image.repo_digests.iter();
    names.filter_map(|name| {
        let Reference {
            repository, digest, ..
        } = name.parse().ok()?;
        Some((repository, digest?))
    })
}

/// Reads the identifier by which the runtime calls an image: `sha256:` and the digest of its configuration (containerd's CRI,
/// `internal/cri/store/image`; cri-dockerd) or of its manifest (cri-dockerd before Docker's containerd store).
///
/// `None` for the 64 digits of CRI-O: they are not the digest of any content if layers were pulled in parts
/// (containers/storage, `zstd:chunked`). The digests that CRI-O names are those of the manifests that it keeps (cri-o, `internal/storage`, `makeRepoDigests`).
pub(super) fn identifier(id: &str) -> Result<Option<Digest>, DigestError> {
    if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    id.parse().map(Some)
}

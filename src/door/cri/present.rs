//! `ImageStatus` and `ListImages` with `recheck_present`: an image that is on the node and was not admitted is answered as
//! not there, so that it can't start. Nothing is asked of a network for that.

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

/// Largest answer that is read: what containerd sends at most (`defaults.DefaultMaxSendMsgSize`).
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// `ImageResponse.image` and `ListImagesResponse.images`.
const IMAGES: u64 = 1;

/// Passes the call on, and takes out of the answer what was not admitted.
pub(super) async fn answer(
    shared: &CriShared,
    asked: CallContext,
    request: Request<Incoming>,
) -> Response<CriBody> {
    let is_status = request.uri().path().ends_with("/ImageStatus");
    let (head, body) = request.into_parts();
    let (body, named) = if is_status {
        let message = match shared.read(asked.peer, body).await {
            Ok(message) => message,
            Err(unread) => return unread,
        };
        let named = match message.decode() {
            Ok(question) => repository(question),
            Err(error) => return answer::unreadable(&error),
        };
        (Either::Right(Full::new(message.framed())), named)
    } else {
        (Either::Left(body), None)
    };
    let request = Request::from_parts(head, body);
    let answer = match asked.runtime.call(request).await {
        Ok(answer) => answer,
        Err(error) => return answer::unanswered(&error),
    };
    let (head, body) = answer.into_parts();
    let (answer, trailers) = match message::read(body, ANSWER_BYTES).await {
        Ok(read) => read,
        Err(error) => return answer::unreadable(&error),
    };
    match answer
        .map(|answer| shown(&shared.gate, &answer, named.as_ref()))
        .transpose()
    {
        Ok(answer) => answer::replayed(head, answer.as_ref(), trailers),
        Err(error) => answer::unreadable(&error.into()),
    }
}

/// The answer without the images that were not admitted. Without its image a status says that there is none; all else in
/// an answer stays as it came.
fn shown(gate: &Gate, answer: &GrpcMessage, named: Option<&Repository>) -> Result<GrpcMessage, NotProtobuf> {
    let mut hidden = 0;
    let kept = fields::without(answer.bytes(), IMAGES, |image| {
        let shown = cri::Image::decode(image).is_ok_and(|image| is_shown(gate, &image, named));
        hidden += usize::from(!shown);
        shown
    })?;
    if hidden == 0 {
        return Ok(answer.clone());
    }
    Ok(GrpcMessage::framing(&kept))
}

/// Of which repository an image is asked for. An identifier, or its beginning, may look like one.
fn repository(question: cri::ImageStatusRequest) -> Option<Repository> {
    let name = question.image.unwrap_or_default().image;
    let reference: Reference = name.parse().ok()?;
    Some(reference.repository)
}

/// Whether it was admitted, by any name by which it is here. What was imported has no digest that was. If it is asked for by
/// one of its names it must have been admitted in that repository: what may run as another's may not as this one's.
fn is_shown(gate: &Gate, image: &cri::Image, named: Option<&Repository>) -> bool {
    let Ok(identifier) = identifier(&image.id) else {
        return false;
    };
    let named = named.filter(|named| images::names(image).any(|(_, of)| of == **named));
    let mut digests = digests(image).filter(|(repository, _)| named.is_none_or(|named| repository == named));
    digests.any(|(repository, digest)| {
        gate.image_status(&repository, &digest, identifier.as_ref()) == ImageStatus::Admitted
    })
}

/// The digests that an image has, each with the repository in which it has it.
pub(super) fn digests(image: &cri::Image) -> impl Iterator<Item = (Repository, Digest)> {
    let names = image.repo_digests.iter();
    names.filter_map(|name| {
        let Reference {
            repository, digest, ..
        } = name.parse().ok()?;
        Some((repository, digest?))
    })
}

/// What an image is, by what the runtime calls it: `sha256:` and the digest of its configuration (containerd's CRI,
/// `internal/cri/store/image`; cri-dockerd) or of its manifest (cri-dockerd before Docker's containerd store).
///
/// None of CRI-O, which says 64 digits: they are of no content where layers were pulled in parts (containers/storage,
/// `zstd:chunked`). The digests that it names are of the manifests that it keeps (cri-o, `internal/storage`, `makeRepoDigests`).
pub(super) fn identifier(id: &str) -> Result<Option<Digest>, DigestError> {
    if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    id.parse().map(Some)
}

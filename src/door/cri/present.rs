//! `ImageStatus` and `ListImages` with `recheck_present`: an image that is on the node and was not admitted is answered as
//! not there, so that it can't start. Nothing is asked of a network for that.

use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use prost::Message as _;

use super::answer::{self, Body};
use super::message::{self, Message, MessageError};
use super::{Asked, Shared};
use crate::gate::{Gate, Standing};
use crate::oci::Reference;
use crate::proto::cri;

/// Largest answer that is read: what containerd sends at most (`defaults.DefaultMaxSendMsgSize`).
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// `ImageResponse.image` and `ListImagesResponse.images`.
const IMAGES: u64 = 1;

/// Passes the call on, and takes out of the answer what was not admitted.
pub(super) async fn answer(shared: &Shared, asked: Asked, request: Request<Incoming>) -> Response<Body> {
    let answer = match asked.runtime.call(request.map(Either::Left)).await {
        Ok(answer) => answer,
        Err(error) => return answer::unanswered(&error),
    };
    let (head, body) = answer.into_parts();
    let (answer, trailers) = match message::read(body, ANSWER_BYTES).await {
        Ok(read) => read,
        Err(error) => return answer::unreadable(&error),
    };
    match answer.map(|answer| shown(&shared.gate, &answer)).transpose() {
        Ok(answer) => answer::replayed(head, answer.as_ref(), trailers),
        Err(error) => answer::unreadable(&error),
    }
}

/// The answer without the images that were not admitted. Without its image a status says that there is none; all else in
/// an answer stays as it came.
fn shown(gate: &Gate, answer: &Message) -> Result<Message, MessageError> {
    let mut hidden = 0;
    let kept = message::without(answer.bytes(), IMAGES, |image| {
        let shown = cri::Image::decode(image).is_ok_and(|image| is_shown(gate, &image));
        hidden += usize::from(!shown);
        shown
    })?;
    if hidden == 0 {
        return Ok(answer.clone());
    }
    Ok(Message::framing(&kept))
}

/// Whether any name by which it is here was admitted. What was imported has no digest that was.
fn is_shown(gate: &Gate, image: &cri::Image) -> bool {
    image.repo_digests.iter().any(|name| {
        name.parse::<Reference>().is_ok_and(|named| {
            named
                .digest
                .is_some_and(|digest| gate.standing(&named.repository, &digest) == Standing::Admitted)
        })
    })
}

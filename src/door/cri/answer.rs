//! Answers that the door makes itself.

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Frame;
use tonic::Code;

use super::message::{GrpcMessage, GrpcMessageError};
use super::runtime::RuntimeError;
use crate::base::error_chain::chain;
use crate::base::percent;
use crate::base::reason::Reason;
use crate::door::wire_codes::cri_answer;
use crate::pull::decide::Denial;

/// The body of an answer to a client.
pub(super) type CriBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// Longest message of a status. The message stands in a head, of which clients accept 8 KiB and more; encoded it may be
/// three times as long.
const MESSAGE_BYTES: usize = 2048;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const STATUS_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Returns an answer of a status and no message ("Trailers-Only").
pub(super) fn status(code: Code, text: &str) -> Response<CriBody> {
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, HeaderValue::from(i32::from(code)));
    // An encoded text is visible ASCII, which a header accepts.
    let text = HeaderValue::try_from(encoded(text)).unwrap_or_else(|_| HeaderValue::from_static("denied"));
    headers.insert(STATUS_MESSAGE, text);
    answer
}

/// Answers a pull that was blocked, so that the kubelet shows why.
pub(super) fn denied(denial: &Denial) -> Response<CriBody> {
    blocked(denial.reason, denial)
}

/// As [`denied`], for a failure of the door itself: the request could not be read, or the call crashed.
pub(super) fn failed(reason: Reason, detail: &str) -> Response<CriBody> {
    blocked(reason, format_args!("pullgate: {reason}: {detail}"))
}

fn blocked(reason: Reason, text: impl std::fmt::Display) -> Response<CriBody> {
    status(Code::Unknown, &format!("{}: {text}", cri_answer(reason)))
}

/// Answers a call that the runtime did not answer.
pub(super) fn unanswered(error: &RuntimeError) -> Response<CriBody> {
    let hint = error.hint().map_or(String::new(), |hint| format!("; {hint}"));
    status(Code::Unavailable, &format!("pullgate: {}{hint}", chain(error)))
}

/// Answers a call that could not be read, and so could not be decided.
pub(super) fn unreadable(error: &GrpcMessageError) -> Response<CriBody> {
    let code = match error {
        GrpcMessageError::Compressed => Code::Unimplemented,
        GrpcMessageError::Large(_) => Code::ResourceExhausted,
        GrpcMessageError::Malformed(_) | GrpcMessageError::NotOne => Code::InvalidArgument,
        GrpcMessageError::Broken(_) => Code::Cancelled,
    };
    let mut answer = status(code, &format!("pullgate: {}", chain(error)));
    answer.headers_mut().insert(
        HeaderName::from_static("grpc-accept-encoding"),
        HeaderValue::from_static("identity"),
    );
    answer
}

/// Passes on an answer of the runtime that was read: its head and trailers as they came, with this message.
pub(super) fn replayed(
    mut head: response::Parts,
    message: Option<&GrpcMessage>,
    trailers: Option<HeaderMap>,
) -> Response<CriBody> {
    head.headers.remove(http::header::CONTENT_LENGTH);
    let data = message.map(|message| Ok(Frame::data(message.framed())));
    let trailers = trailers.map(|trailers| Ok(Frame::trailers(trailers)));
    let frames: Vec<_> = data.into_iter().chain(trailers).collect();
    let body = if frames.is_empty() {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    };
    Response::from_parts(head, body)
}

/// Returns the status of an answer of the runtime, or `Unknown` if it has none.
pub(super) fn code(head: &response::Parts, trailers: Option<&HeaderMap>) -> Code {
    let status = trailers
        .and_then(|trailers| trailers.get(&STATUS))
        .or_else(|| head.headers.get(&STATUS));
    status.map_or(Code::Unknown, |status| Code::from_bytes(status.as_bytes()))
}

/// The beginning of a status message, percent-encoded.
fn encoded(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    percent::encode_grpc_message(text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn a_status_message_is_short_visible_ascii() {
        assert_eq!(encoded("a b~%\n\u{e9}…"), "a b~%25%0A%C3%A9%E2%80%A6");
        let long = encoded(&"é".repeat(4000));
        assert_eq!(long.len(), 2048 * 3);
    }
}

//! Responses to clients, and the text of a denial in every place where a runtime looks for it.
//!
//! A denial carries the same text in three places, because no two runtimes read the same one: in the HTTP/1.1 reason
//! phrase (the only one that containerd before 2.3.3 prints for a HEAD), in the message of the error body (Podman, Docker,
//! containerd from 2.3.3 on) and, for programs, in the fields of its `detail`.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LINK, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::ext::ReasonPhrase;
use serde::Serialize;
use tokio::time::Instant;

use super::body::ResponseBody;
use super::route::RouteError;
use crate::base::error_chain::chain;
use crate::base::printable::printable;
use crate::base::reason::Reason;
use crate::door::wire_codes::http_answer;
use crate::net::registry::BlobStream;
use crate::oci::{Descriptor, Digest, MediaType};
use crate::pull::decide::{Denial, Permit};
use crate::pull::gate::BlobPermit;

/// The client, as far as the text of a denial depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Puller {
    /// Docker Engine.
    Docker,
    /// Any other client.
    Other,
}

impl Puller {
    /// Recognises Docker Engine by its `User-Agent`, `docker/<version> …`. It changes a word, never a verdict.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        match headers.get(USER_AGENT) {
            Some(agent) if agent.as_bytes().starts_with(b"docker/") => Self::Docker,
            Some(_) | None => Self::Other,
        }
    }

    /// Before the text of `DENIED`, Docker's classic image store writes "pull access denied for …, repository does not exist
    /// or may require 'docker login'". It adds nothing to `UNSUPPORTED`, and does not repeat the request either.
    fn code(self, code: &'static str) -> &'static str {
        match (self, code) {
            (Self::Docker, "DENIED") => "UNSUPPORTED",
            (Self::Docker | Self::Other, code) => code,
        }
    }
}

/// Answers `/v2/`: this is a registry, and with a challenge, one that wants credentials.
pub(super) fn base(challenge: Option<HeaderValue>) -> Response<ResponseBody> {
    match challenge {
        None => with_headers(
            StatusCode::OK,
            ResponseBody::whole(Bytes::from_static(b"{}")),
            JSON,
        ),
        Some(challenge) => {
            let entry = DoorErrorEntry {
                code: "UNAUTHORIZED",
                message: "pullgate: the registry behind the gate wants credentials".to_owned(),
                detail: None,
            };
            let mut response = error(StatusCode::UNAUTHORIZED, &entry, &entry.message);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            response
        }
    }
}

/// Answers with the very bytes of the manifest that was admitted.
pub(super) fn manifest(permit: &Permit) -> Response<ResponseBody> {
    let media_type = HeaderValue::from_static(permit.document().media_type().as_str());
    let mut response = with_headers(
        StatusCode::OK,
        ResponseBody::whole(permit.manifest().bytes().clone()),
        media_type,
    );
    name_content(&mut response, permit.manifest().digest());
    response
}

/// Answers with a blob as it comes from its registry, cut at `deadline`.
pub(super) fn blob(permit: &BlobPermit, stream: BlobStream, deadline: Instant) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::blob(stream.body, *permit.digest(), deadline));
    *response.status_mut() = stream.status;
    *response.headers_mut() = stream.headers;
    response.headers_mut().insert(API_VERSION, REGISTRY_2);
    name_content(&mut response, permit.digest());
    response
}

/// Answers with one page of a tag list as it came. `next` leads to the next page.
pub(super) fn tags(page: Bytes, next: Option<&str>) -> Response<ResponseBody> {
    let mut response = with_headers(StatusCode::OK, ResponseBody::whole(page), JSON);
    if let Some(next) = next {
        response
            .headers_mut()
            .insert(LINK, header_value(&format!("<{next}>; rel=\"next\"")));
    }
    response
}

/// Answers with an index of the manifests that refer to a manifest (distribution-spec 1.1, "Listing Referrers").
pub(super) fn referrers(descriptors: &[Descriptor], filtered: bool) -> Response<ResponseBody> {
    let index = ReferrersIndex {
        schema_version: 2,
        media_type: MediaType::OciIndex.as_str(),
        manifests: descriptors
            .iter()
            .map(|descriptor| ReferrersEntry {
                media_type: &descriptor.media_type,
                digest: &descriptor.digest,
                size: descriptor.size,
                artifact_type: descriptor.artifact_type.as_deref(),
            })
            .collect(),
    };
    let index_type = HeaderValue::from_static(MediaType::OciIndex.as_str());
    let mut response = with_headers(StatusCode::OK, ResponseBody::whole(json(&index)), index_type);
    if filtered {
        response
            .headers_mut()
            .insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    response
}

/// Answers a pull that was blocked.
pub(super) fn denied(denial: &Denial, puller: Puller) -> Response<ResponseBody> {
    // The client's own credentials may open the registry, so the registry's challenge is passed on. A 401 must carry a
    // challenge (RFC 9110, 15.5.2).
    let challenge = denial
        .challenge
        .as_ref()
        .filter(|_| denial.reason == Reason::RegistryUnauthorized);
    let (status, code) = match challenge {
        Some(_) => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
        None => http_answer(denial.reason),
    };
    let entry = DoorErrorEntry {
        code: puller.code(code),
        message: cut(&printable(&denial.to_string()), MESSAGE_BYTES).into_owned(),
        detail: Some(Detail {
            image: Some(denial.reference.to_string()),
            digest: denial.digest.map(|digest| digest.to_string()),
            rule: Some(cut(&printable(&denial.rule), RULE_BYTES).into_owned()),
            reason: denial.reason.code(),
            next: denial.reason.next_step(),
            retry: denial.reason.retryable(),
        }),
    };
    let mut response = error(status, &entry, &in_short(denial));
    if let Some(challenge) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
    }
    response
}

/// Answers a request that this door does not serve.
pub(super) fn refused(refusal: &RouteError) -> Response<ResponseBody> {
    let (status, code) = refusal.answer();
    let message = cut(
        &printable(&format!("pullgate: {}", chain(refusal))),
        MESSAGE_BYTES,
    )
    .into_owned();
    let mut response = error(
        status,
        &DoorErrorEntry {
            code,
            message: message.clone(),
            detail: None,
        },
        &message,
    );
    if let RouteError::Method { allow } = refusal {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// Answers a request on which the gate itself failed.
pub(super) fn crashed() -> Response<ResponseBody> {
    let reason = Reason::InternalError;
    let (status, code) = http_answer(reason);
    let message = format!(
        "pullgate: {reason}: the gate itself failed on this request; {}",
        reason.next_step()
    );
    let (next, retry) = (reason.next_step(), reason.retryable());
    let detail = Detail {
        image: None,
        digest: None,
        rule: None,
        reason: reason.code(),
        next,
        retry,
    };
    error(
        status,
        &DoorErrorEntry {
            code,
            message: message.clone(),
            detail: Some(detail),
        },
        &message,
    )
}

/// The error body of distribution-spec 1.1, "Error Codes".
#[derive(Serialize)]
struct Errors<'a> {
    errors: [&'a DoorErrorEntry; 1],
}

#[derive(Serialize)]
struct DoorErrorEntry {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Detail>,
}

#[derive(Serialize)]
struct Detail {
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    reason: &'static str,
    next: &'static str,
    retry: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferrersIndex<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<ReferrersEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferrersEntry<'a> {
    media_type: &'a str,
    digest: &'a Digest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
}

fn error(status: StatusCode, entry: &DoorErrorEntry, short: &str) -> Response<ResponseBody> {
    let mut response = with_headers(
        status,
        ResponseBody::whole(json(&Errors { errors: [entry] })),
        JSON,
    );
    response.extensions_mut().insert(reason_phrase(short));
    response
}

fn with_headers(status: StatusCode, body: ResponseBody, content_type: HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(API_VERSION, REGISTRY_2);
    response
}

fn name_content(response: &mut Response<ResponseBody>, digest: &Digest) {
    response
        .headers_mut()
        .insert(CONTENT_DIGEST, header_value(&digest.to_string()));
}

#[expect(
    clippy::expect_used,
    reason = "a derived Serialize over text, numbers and booleans does not fail"
)]
fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("plain data serialises").into()
}

#[expect(
    clippy::expect_used,
    reason = "digests and percent-encoded text are visible ASCII, which any header may hold"
)]
fn header_value(visible: &str) -> HeaderValue {
    HeaderValue::from_str(visible).expect("visible ASCII is a header value")
}

/// Returns a reason phrase of printable ASCII, so that no byte of it ends the status line. A long text is cut at the end of
/// a word.
#[expect(
    clippy::expect_used,
    reason = "printable ASCII is a subset of what a reason phrase may hold (RFC 9112, 4)"
)]
fn reason_phrase(text: &str) -> ReasonPhrase {
    let ascii: String = text
        .chars()
        .map(|letter| if matches!(letter, ' '..='~') { letter } else { '?' })
        .collect();
    ReasonPhrase::try_from(cut(ascii.trim(), PHRASE_BYTES).into_owned())
        .expect("printable ASCII is a reason phrase")
}

/// Returns a denial in one short line. The digest is left out, for it would take a third of the line. The detail is cut so
/// that the next step fits.
fn in_short(denial: &Denial) -> String {
    let head = format!(
        "pullgate: {}: {} blocked by rule {}",
        denial.reason, denial.reference, denial.rule
    );
    let next = denial.reason.next_step();
    let room = PHRASE_BYTES.saturating_sub(head.len() + ": ".len() + "; ".len() + next.len());
    let detail = printable(&denial.detail);
    match cut(&detail, room).as_ref() {
        "" | ELLIPSIS => format!("{head}; {next}"),
        detail => format!("{head}: {detail}; {next}"),
    }
}

/// Cuts a text to at most `most` bytes at the end of a word, and marks it as cut.
fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let room = most.saturating_sub(ELLIPSIS.len());
    let begin = (0..=room)
        .rev()
        .find_map(|room| text.get(..room))
        .unwrap_or_default();
    // A word that takes more than half of the room is cut too: a name alone may be longer.
    let end = begin
        .rfind(' ')
        .filter(|end| *end > room / 2)
        .unwrap_or(begin.len());
    let kept = begin.get(..end).unwrap_or_default().trim_end();
    Cow::Owned(format!("{kept}{ELLIPSIS}"))
}

const ELLIPSIS: &str = "...";

/// Longest reason phrase: it has room for the names and the next step. The kubelet cuts the text of an event at 1024
/// characters, and containerd puts words of its own before it.
const PHRASE_BYTES: usize = 240;

/// Longest message: the whole error body stays below 4 KiB, even if every character is a quote or backslash, which JSON
/// doubles. containerd reads 64 KB of an error body; those of Docker Hub have a few hundred bytes.
const MESSAGE_BYTES: usize = 1200;

/// Longest name of a rule: its scope is at most as long as an image name, which has at most 255 characters.
const RULE_BYTES: usize = 256;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Docker asks for this header of a registry (distribution-spec 1.1, "Legacy Docker support HTTP headers").
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const REGISTRY_2: HeaderValue = HeaderValue::from_static("registry/2.0");

/// containerd trusts this header in the answer to a HEAD; without it, containerd reads the manifest to hash it.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Distribution-spec 1.1, "Listing Referrers": says that the filter was applied.
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

#[cfg(test)]
mod tests;

//! Uploads of blobs, in one request and in chunks, and the bounded reading of bodies (distribution-spec 1.1, "Push").

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::FormQuery;
use super::answers::{ErrorResponse, FakeResponse, parse_digest};
use crate::fakes::registry::{FakeRegistryState, IDLE, lock};
use crate::oci::Digest;

/// Handles POST: starts an upload, stores a complete blob (`?digest=`) or mounts one of another repository
/// (`?mount=&from=`).
pub(super) async fn start(
    shared: &FakeRegistryState,
    name: &str,
    query: &FormQuery,
    request: Request<Incoming>,
) -> Result<FakeResponse, ErrorResponse> {
    if *request.method() != Method::POST {
        return Err(ErrorResponse::no_such_method());
    }
    let whole = query.digest()?;
    let mount = query.first("mount").map(parse_digest).transpose()?;
    if let (Some(digest), Some(from)) = (mount, query.first("from")) {
        let mut store = lock(&shared.store);
        if let Some(bytes) = store.blob(from, &digest) {
            store.put_blob(name, digest, bytes)?;
            return Ok(FakeResponse::blob_created(name, &digest));
        }
    }
    let id = format!("{:032x}", rand::random::<u128>());
    lock(&shared.store).start_upload(name, &id)?;
    match whole {
        Some(digest) => finish(shared, name, &id, &digest, request).await,
        None => Ok(FakeResponse::upload(StatusCode::ACCEPTED, name, &id, 0)),
    }
}

/// Handles GET, PATCH, PUT and DELETE of an unfinished upload.
pub(super) async fn continue_upload(
    shared: &FakeRegistryState,
    name: &str,
    id: &str,
    query: &FormQuery,
    request: Request<Incoming>,
) -> Result<FakeResponse, ErrorResponse> {
    let size = lock(&shared.store)
        .upload_size(name, id)
        .ok_or_else(ErrorResponse::upload_unknown)?;
    match *request.method() {
        Method::GET => Ok(FakeResponse::upload(StatusCode::NO_CONTENT, name, id, size)),
        Method::PATCH => {
            if !in_order(request.headers(), size) {
                return Ok(FakeResponse::upload(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    name,
                    id,
                    size,
                ));
            }
            let (bytes, room) = read(shared, request.into_body(), usize::MAX).await?;
            let size = lock(&shared.store).append(name, id, &bytes, room)?;
            Ok(FakeResponse::upload(StatusCode::ACCEPTED, name, id, size))
        }
        Method::PUT => {
            if !in_order(request.headers(), size) {
                return Ok(FakeResponse::upload(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    name,
                    id,
                    size,
                ));
            }
            let digest = query.digest()?;
            let digest = digest
                .ok_or_else(|| ErrorResponse::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "no digest"))?;
            finish(shared, name, id, &digest, request).await
        }
        Method::DELETE => {
            lock(&shared.store).cancel_upload(name, id)?;
            Ok(FakeResponse::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(ErrorResponse::no_such_method()),
    }
}

async fn finish(
    shared: &FakeRegistryState,
    name: &str,
    id: &str,
    digest: &Digest,
    request: Request<Incoming>,
) -> Result<FakeResponse, ErrorResponse> {
    let (bytes, room) = read(shared, request.into_body(), usize::MAX).await?;
    let mut store = lock(&shared.store);
    store.append(name, id, &bytes, room)?;
    store.finish_upload(name, id, digest)?;
    Ok(FakeResponse::blob_created(name, digest))
}

/// Returns whether a chunk that states its offset begins at the end of the upload ("Pushing a blob in chunks").
fn in_order(headers: &HeaderMap, size: usize) -> bool {
    headers.get(header::CONTENT_RANGE).is_none_or(|range| {
        let begin = range
            .to_str()
            .ok()
            .and_then(|text| text.trim_start_matches("bytes ").split_once('-'));
        begin.and_then(|(begin, _)| begin.parse().ok()) == Some(size)
    })
}

/// Reads a body frame by frame, and reserves space in the store before it keeps a frame.
pub(super) async fn read(
    shared: &FakeRegistryState,
    mut body: Incoming,
    limit: usize,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ErrorResponse> {
    let bad = |status, message| ErrorResponse::new(status, "SIZE_INVALID", message);
    let mut bytes = BytesMut::new();
    let mut room: Option<OwnedSemaphorePermit> = None;
    loop {
        let frame = tokio::time::timeout(IDLE, body.frame()).await;
        let frame = frame.map_err(|_slow| bad(StatusCode::REQUEST_TIMEOUT, "the body arrived too slowly"))?;
        let Some(frame) = frame else {
            return Ok((bytes.freeze(), room));
        };
        let frame = frame.map_err(|_broken| bad(StatusCode::BAD_REQUEST, "the body broke off"))?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len().saturating_add(data.len()) > limit {
            return Err(bad(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
        }
        let more = lock(&shared.store).reserve(data.len())?;
        match &mut room {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        bytes.extend_from_slice(data);
    }
}

//! The endpoints of distribution-spec 1.1 ("Endpoints"), end-1 to end-12b.

mod answers;
mod uploads;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use answers::{ErrorResponse, FakeResponse, parse_digest};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::auth::{RequiredAccess, TokenGrant};
use super::store::StoreError;
use super::{FakeRegistryState, ServedRequest, image, lock};
use crate::base::limits::MANIFEST_BYTES;
use crate::base::percent;
use crate::oci::{Blob, Digest};

/// Answers one request and logs it.
pub(super) async fn answer(
    shared: Arc<FakeRegistryState>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let method = request.method().clone();
    let target = request
        .uri()
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let mut authorization = request.headers().get(header::AUTHORIZATION).cloned();
    if let Some(value) = &mut authorization {
        value.set_sensitive(true);
    }
    let answer = handle(&shared, request)
        .await
        .unwrap_or_else(ErrorResponse::into_answer);
    let response = answer.into_response(method == Method::HEAD);
    shared.record(ServedRequest {
        method,
        target,
        authorization,
        status: response.status(),
    });
    Ok(response)
}

async fn handle(
    shared: &FakeRegistryState,
    request: Request<Incoming>,
) -> Result<FakeResponse, ErrorResponse> {
    // Clients may escape the colon of a digest.
    let path = percent::decode(request.uri().path())
        .ok_or_else(ErrorResponse::no_endpoint)?
        .into_owned();
    let query = FormQuery::parse(request.uri().query().unwrap_or_default());
    if path == "/token" {
        return token(shared, request.headers(), &query);
    }
    let route = FakeRoute::parse(&path).ok_or_else(ErrorResponse::no_endpoint)?;
    let wanted = RequiredAccess::new(request.method(), route.repository());
    shared
        .options
        .auth
        .check(request.headers(), &wanted, &shared.tokens, &shared.url)
        .map_err(|challenge| {
            ErrorResponse::new(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "authentication required",
            )
            .with(header::WWW_AUTHENTICATE, &challenge)
        })?;
    match route {
        FakeRoute::Base => {
            require_read(request.method())?;
            Ok(FakeResponse::json(&json!({})))
        }
        FakeRoute::Manifest { name, reference } => manifest(shared, name, reference, request).await,
        FakeRoute::Blob { name, digest } => blob(shared, name, digest, &request),
        FakeRoute::Uploads { name } => uploads::start(shared, name, &query, request).await,
        FakeRoute::Upload { name, id } => uploads::continue_upload(shared, name, id, &query, request).await,
        FakeRoute::Tags { name } => tags(shared, name, &query, request.method()),
        FakeRoute::Referrers { name, digest } => referrers(shared, name, digest, &query, request.method()),
    }
}

/// Endpoint that a path names.
enum FakeRoute<'a> {
    Base,
    Blob { name: &'a str, digest: &'a str },
    Manifest { name: &'a str, reference: &'a str },
    Referrers { name: &'a str, digest: &'a str },
    Tags { name: &'a str },
    Upload { name: &'a str, id: &'a str },
    Uploads { name: &'a str },
}

impl<'a> FakeRoute<'a> {
    /// Parses a path from its end, because a repository name may itself contain parts such as `blobs`.
    fn parse(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix("/v2")?;
        if path.is_empty() || path == "/" {
            return Some(Self::Base);
        }
        let path = path.strip_prefix('/')?;
        let uploads = path
            .strip_suffix("/blobs/uploads/")
            .or_else(|| path.strip_suffix("/blobs/uploads"));
        if let Some(name) = uploads {
            return Some(Self::Uploads {
                name: repository_name(name)?,
            });
        }
        let (rest, last) = path.rsplit_once('/')?;
        if let Some(name) = rest.strip_suffix("/blobs/uploads") {
            return Some(Self::Upload {
                name: repository_name(name)?,
                id: last,
            });
        }
        let (name, kind) = rest.rsplit_once('/')?;
        let name = repository_name(name)?;
        match (kind, last) {
            ("manifests", reference) => Some(Self::Manifest { name, reference }),
            ("blobs", digest) => Some(Self::Blob { name, digest }),
            ("referrers", digest) => Some(Self::Referrers { name, digest }),
            ("tags", "list") => Some(Self::Tags { name }),
            (_, _) => None,
        }
    }

    const fn repository(&self) -> Option<&'a str> {
        match self {
            Self::Base => None,
            Self::Blob { name, .. }
            | Self::Manifest { name, .. }
            | Self::Referrers { name, .. }
            | Self::Tags { name }
            | Self::Upload { name, .. }
            | Self::Uploads { name } => Some(name),
        }
    }
}

/// Checks `<name>` of distribution-spec 1.1: parts of lower-case letters and digits, with separators only inside a part.
fn repository_name(name: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        part.bytes()
            .all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
            && part.bytes().next().is_some_and(plain)
            && part.bytes().next_back().is_some_and(plain)
    };
    (name.len() <= 255 && name.split('/').all(part)).then_some(name)
}

/// Returns whether `<reference>` is a tag of the same specification.
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

struct FormQuery(Vec<(String, String)>);

impl FormQuery {
    fn parse(query: &str) -> Self {
        Self(
            url::form_urlencoded::parse(query.as_bytes())
                .take(64)
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }

    fn all(&self, key: &'static str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(each, _)| each == key)
            .map(|(_, value)| value.as_str())
    }

    fn first(&self, key: &'static str) -> Option<&str> {
        self.all(key).next()
    }

    fn digest(&self) -> Result<Option<Digest>, ErrorResponse> {
        self.first("digest").map(parse_digest).transpose()
    }
}

fn token(
    shared: &FakeRegistryState,
    headers: &HeaderMap,
    query: &FormQuery,
) -> Result<FakeResponse, ErrorResponse> {
    let pull_only = match shared.options.auth.token_grant(headers) {
        TokenGrant::All => false,
        TokenGrant::PullOnly => true,
        TokenGrant::NoEndpoint => return Err(ErrorResponse::no_endpoint()),
        TokenGrant::Refused => {
            return Err(ErrorResponse::new(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "wrong user or password",
            )
            .with(header::WWW_AUTHENTICATE, "Basic realm=\"pullgate demo\""));
        }
    };
    // One scope parameter may hold several scopes, separated by spaces.
    let scopes = query.all("scope").flat_map(|scope| scope.split(' '));
    let secret = shared.tokens.grant(scopes, pull_only);
    Ok(FakeResponse::json(
        &json!({ "token": secret, "access_token": secret, "expires_in": 300 }),
    ))
}

async fn manifest(
    shared: &FakeRegistryState,
    name: &str,
    reference: &str,
    request: Request<Incoming>,
) -> Result<FakeResponse, ErrorResponse> {
    match *request.method() {
        Method::GET | Method::HEAD => {
            let store = lock(&shared.store);
            let (digest, manifest) = store
                .manifest(name, reference)
                .ok_or_else(ErrorResponse::manifest_unknown)?;
            Ok(FakeResponse::document(manifest.media_type(), manifest.bytes()).with_digest(&digest))
        }
        Method::PUT => put_manifest(shared, name, reference, request).await,
        Method::DELETE => {
            lock(&shared.store)
                .delete_manifest(name, reference)
                .map_err(|error| match error {
                    StoreError::Unknown => ErrorResponse::manifest_unknown(),
                    StoreError::Digest | StoreError::Full | StoreError::TooMany => ErrorResponse::from(error),
                })?;
            Ok(FakeResponse::empty(StatusCode::ACCEPTED))
        }
        _ => Err(ErrorResponse::no_such_method()),
    }
}

async fn put_manifest(
    shared: &FakeRegistryState,
    name: &str,
    reference: &str,
    request: Request<Incoming>,
) -> Result<FakeResponse, ErrorResponse> {
    let invalid = |message: &str| ErrorResponse::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message);
    let media_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = media_type.ok_or_else(|| invalid("no Content-Type"))?.to_owned();
    let (bytes, room) = uploads::read(shared, request.into_body(), MANIFEST_BYTES).await?;
    // The store reserves its own space.
    drop(room);
    let document: Value = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
    let (blob, tag) = match reference.parse::<Digest>() {
        Ok(digest) => (
            Blob::check(&digest, bytes).map_err(|_mismatch| StoreError::Digest)?,
            None,
        ),
        Err(_it_is_a_tag) if is_tag(reference) => (Blob::from_bytes(bytes), Some(reference)),
        Err(_neither) => return Err(invalid("neither a tag nor a digest")),
    };
    let mut store = lock(&shared.store);
    if let Some(missing) = store.missing_blob(name, &document) {
        let message = format!("no blob `{missing}`");
        return Err(ErrorResponse::new(
            StatusCode::NOT_FOUND,
            "MANIFEST_BLOB_UNKNOWN",
            &message,
        ));
    }
    store.put_manifest(name, tag, *blob.digest(), &media_type, blob.bytes().clone())?;
    let created = FakeResponse::empty(StatusCode::CREATED)
        .with_location(&format!("/v2/{name}/manifests/{}", blob.digest()))
        .with_digest(blob.digest());
    let stored = store.manifest(name, &blob.digest().to_string());
    match stored
        .and_then(|(_, manifest)| manifest.subject())
        .filter(|_| shared.options.referrers)
    {
        Some(subject) => Ok(created.with(OCI_SUBJECT, &subject.to_string())),
        None => Ok(created),
    }
}

fn blob(
    shared: &FakeRegistryState,
    name: &str,
    digest: &str,
    request: &Request<Incoming>,
) -> Result<FakeResponse, ErrorResponse> {
    let digest = parse_digest(digest)?;
    match *request.method() {
        Method::GET | Method::HEAD => {
            let bytes = lock(&shared.store)
                .blob(name, &digest)
                .ok_or_else(ErrorResponse::blob_unknown)?;
            Ok(FakeResponse::ranged(bytes, request.headers().get(header::RANGE))?.with_digest(&digest))
        }
        Method::DELETE => {
            lock(&shared.store)
                .delete_blob(name, &digest)
                .map_err(|_unknown| ErrorResponse::blob_unknown())?;
            Ok(FakeResponse::empty(StatusCode::ACCEPTED))
        }
        _ => Err(ErrorResponse::no_such_method()),
    }
}

fn tags(
    shared: &FakeRegistryState,
    name: &str,
    query: &FormQuery,
    method: &Method,
) -> Result<FakeResponse, ErrorResponse> {
    require_read(method)?;
    let store = lock(&shared.store);
    let tags = store.tags(name);
    let tags =
        tags.ok_or_else(|| ErrorResponse::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such repository"))?;
    let last = query.first("last").unwrap_or_default();
    let rest: Vec<&str> = tags.into_iter().filter(|tag| *tag > last).collect();
    let count = query
        .first("n")
        .and_then(|count| count.parse().ok())
        .unwrap_or(rest.len());
    let page = rest.get(..count).unwrap_or(&rest);
    let answer = FakeResponse::json(&json!({ "name": name, "tags": page }));
    match page.last().filter(|_| page.len() < rest.len()) {
        Some(last) => Ok(answer.with_next_link(&format!("/v2/{name}/tags/list?n={count}&last={last}"))),
        None => Ok(answer),
    }
}

fn referrers(
    shared: &FakeRegistryState,
    name: &str,
    digest: &str,
    query: &FormQuery,
    method: &Method,
) -> Result<FakeResponse, ErrorResponse> {
    if !shared.options.referrers {
        return Err(ErrorResponse::no_endpoint());
    }
    require_read(method)?;
    let subject = parse_digest(digest)?;
    let filter = query.first("artifactType");
    let last = query.first("last").map(parse_digest).transpose()?;
    let store = lock(&shared.store);
    let mut rest = store.referrers(name, &subject);
    rest.retain(|(each, shown)| {
        last.is_none_or(|last| *each > last)
            && filter.is_none_or(|wanted| shown.get("artifactType").and_then(Value::as_str) == Some(wanted))
    });
    let page = rest.get(..shared.options.page.max(1)).unwrap_or(&rest);
    let manifests: Vec<&Value> = page.iter().map(|(_, shown)| *shown).collect();
    let body = json!({ "schemaVersion": 2, "mediaType": image::INDEX, "manifests": manifests });
    let mut answer = FakeResponse::document(image::INDEX, body.to_string().into());
    if filter.is_some() {
        answer = answer.with(OCI_FILTERS_APPLIED, "artifactType");
    }
    match page.last().filter(|_| page.len() < rest.len()) {
        Some((last, _)) => {
            let mut next = url::form_urlencoded::Serializer::new(String::new());
            next.append_pair("last", &last.to_string());
            next.extend_pairs(filter.map(|wanted| ("artifactType", wanted)));
            Ok(answer.with_next_link(&format!("/v2/{name}/referrers/{subject}?{}", next.finish())))
        }
        None => Ok(answer),
    }
}

fn require_read(method: &Method) -> Result<(), ErrorResponse> {
    if matches!(*method, Method::GET | Method::HEAD) {
        Ok(())
    } else {
        Err(ErrorResponse::no_such_method())
    }
}

/// Returns the repository that a path names, for the tests.
#[cfg(test)]
pub(super) fn repository_of(path: &str) -> Option<&str> {
    FakeRoute::parse(path).and_then(|route| route.repository())
}

const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

//! The writes of the operator's tool (distribution-spec 1.1, "Push"). No write is repeated on its own.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::access::Target;
use super::body;
use super::error::RegistryError;
use super::metrics::RegistryOperation;
use super::operation::{RegistryTask, RequestContext};
use super::sender::{RegistryRequest, RegistryResponse, location};
use super::tokens::{Actions, TokenScope};
use crate::oci::{Blob, Digest};

/// The header field by which a registry confirms that it recorded a manifest's `subject`.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Stores a blob: POST, then PUT.
pub(super) struct PushBlobTask<'a> {
    pub(super) repository: &'a str,
    pub(super) blob: &'a Blob,
}

impl RegistryTask for PushBlobTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Push;
    type Output = ();

    async fn run(&self, context: &RequestContext<'_>) -> Result<(), RegistryError> {
        let Self { repository, blob } = self;
        let scope = TokenScope {
            repository,
            actions: Actions::PullPush,
        };
        if blob_exists(context, scope, blob.digest()).await? {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        // hyper sends no length for an empty body, and proxies answer a POST without a length with 411.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        let start = RegistryRequest {
            method: Method::POST,
            url: context.sender.endpoint.url(repository, "blobs/uploads/"),
            headers,
            body: None,
        };
        let started = context
            .send(&start, scope)
            .await?
            .expect(&[StatusCode::ACCEPTED])
            .await?;
        let mut url = upload_url(&started)?;
        body::drain(started.response).await;
        url.query_pairs_mut()
            .append_pair("digest", &blob.digest().to_string());
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        let put = RegistryRequest {
            method: Method::PUT,
            url,
            headers,
            body: Some(blob.bytes().clone()),
        };
        let stored = if context.sender.is_endpoint(&put.url) {
            context.send(&put, scope).await?
        } else {
            // Another host, which the registry named, is not shown the registry's credentials.
            context.sender.send(&put, None).await?
        };
        body::drain(stored.expect(&[StatusCode::CREATED]).await?.response).await;
        Ok(())
    }
}

/// Stores a manifest, and returns whether the registry recorded its `subject`.
pub(super) struct PushManifestTask<'a> {
    pub(super) repository: &'a str,
    pub(super) target: &'a Target,
    pub(super) media_type: &'a str,
    pub(super) blob: &'a Blob,
}

impl RegistryTask for PushManifestTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Push;
    type Output = bool;

    async fn run(&self, context: &RequestContext<'_>) -> Result<bool, RegistryError> {
        let Self {
            repository,
            target,
            media_type,
            blob,
        } = self;
        let endpoint = context.sender.endpoint;
        let content_type =
            HeaderValue::from_str(media_type)
                .ok()
                .ok_or_else(|| RegistryError::Malformed {
                    host: endpoint.host.clone(),
                    what: "the media type of the manifest is not a header value".to_owned(),
                })?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type);
        let put = RegistryRequest {
            method: Method::PUT,
            url: endpoint.url(repository, &format!("manifests/{target}")),
            headers,
            body: Some(blob.bytes().clone()),
        };
        let scope = TokenScope {
            repository,
            actions: Actions::PullPush,
        };
        let stored = context
            .send(&put, scope)
            .await?
            .expect(&[StatusCode::CREATED])
            .await?;
        let is_subject_recorded = stored.headers().contains_key(SUBJECT);
        body::drain(stored.response).await;
        Ok(is_subject_recorded)
    }
}

/// Deletes a manifest or a tag.
pub(super) struct DeleteManifestTask<'a> {
    pub(super) repository: &'a str,
    pub(super) target: &'a Target,
}

impl RegistryTask for DeleteManifestTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Delete;
    type Output = ();

    async fn run(&self, context: &RequestContext<'_>) -> Result<(), RegistryError> {
        let Self { repository, target } = self;
        let endpoint = context.sender.endpoint;
        let delete = RegistryRequest {
            method: Method::DELETE,
            url: endpoint.url(repository, &format!("manifests/{target}")),
            headers: HeaderMap::new(),
            body: None,
        };
        let scope = TokenScope {
            repository,
            actions: Actions::PullDelete,
        };
        let deleted = context
            .send(&delete, scope)
            .await?
            .expect(&[StatusCode::ACCEPTED, StatusCode::OK])
            .await?;
        body::drain(deleted.response).await;
        Ok(())
    }
}

async fn blob_exists(
    context: &RequestContext<'_>,
    scope: TokenScope<'_>,
    digest: &Digest,
) -> Result<bool, RegistryError> {
    let head = RegistryRequest {
        method: Method::HEAD,
        url: context
            .sender
            .endpoint
            .url(scope.repository, &format!("blobs/{digest}")),
        headers: HeaderMap::new(),
        body: None,
    };
    let response = context.send(&head, scope).await?;
    if response.status() == StatusCode::OK {
        return Ok(true);
    }
    response.expect(&[StatusCode::NOT_FOUND]).await?;
    Ok(false)
}

/// Returns the URL to which the registry wants a blob sent, relative or absolute.
fn upload_url(started: &RegistryResponse) -> Result<Url, RegistryError> {
    location(started)?.ok_or_else(|| started.malformed("an upload without a usable `Location`".to_owned()))
}

//! What the operator's tool writes (distribution-spec 1.1, "Push"). Nothing here is sent twice of its own accord.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::auth::{Actions, Need};
use super::client::RegistryTask;
use super::{RegistryError, Target, body};
use crate::net::registry::metrics::RegistryOperation;
use crate::net::registry::read::named;
use crate::net::registry::sender::{RegistryRequest, RegistryResponse, Turn};
use crate::net::transport::guard::host_of;
use crate::oci::Blob;

/// How a registry says that it took note of a manifest's `subject`.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// A blob to store: POST, then PUT.
pub(super) struct PushBlobTask<'a> {
    pub(super) repository: &'a str,
    pub(super) blob: &'a Blob,
}

impl RegistryTask for PushBlobTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Push;
    type Given = ();

    async fn at(&self, turn: &Turn<'_>) -> Result<(), RegistryError> {
        let Self { repository, blob } = self;
        let need = Need {
            repository,
            actions: Actions::PullPush,
        };
        let url = turn.endpoint.url(repository, &format!("blobs/{}", blob.digest()));
        let known = turn
            .ask(
                &RegistryRequest {
                    method: Method::HEAD,
                    url,
                    headers: HeaderMap::new(),
                    body: None,
                },
                &need,
            )
            .await?;
        if known.status() == StatusCode::OK {
            return Ok(());
        }
        known.expect(&[StatusCode::NOT_FOUND]).await?;
        let mut headers = HeaderMap::new();
        // An empty body announces no length of itself, and proxies answer a POST without one with 411.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        let start = RegistryRequest {
            method: Method::POST,
            url: turn.endpoint.url(repository, "blobs/uploads/"),
            headers,
            body: None,
        };
        let started = turn
            .ask(&start, &need)
            .await?
            .expect(&[StatusCode::ACCEPTED])
            .await?;
        let mut url = turn.upload_place(&started)?;
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
        let stored = if turn.is_endpoint(&put.url) {
            turn.ask(&put, &need).await?
        } else {
            turn.send(&put, None).await?
        };
        body::drain(stored.expect(&[StatusCode::CREATED]).await?.response).await;
        Ok(())
    }
}

/// A manifest to store; gives whether its `subject` was noted.
pub(super) struct PushManifestTask<'a> {
    pub(super) repository: &'a str,
    pub(super) target: &'a Target,
    pub(super) media_type: &'a str,
    pub(super) blob: &'a Blob,
}

impl RegistryTask for PushManifestTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Push;
    type Given = bool;

    async fn at(&self, turn: &Turn<'_>) -> Result<bool, RegistryError> {
        let Self {
            repository,
            target,
            media_type,
            blob,
        } = self;
        let url = turn
            .endpoint
            .url(repository, &format!("manifests/{}", named(target)));
        let content_type =
            HeaderValue::from_str(media_type)
                .ok()
                .ok_or_else(|| RegistryError::Malformed {
                    host: turn.endpoint.host.clone(),
                    what: "the media type to store is no header value".to_owned(),
                })?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type);
        let put = RegistryRequest {
            method: Method::PUT,
            url,
            headers,
            body: Some(blob.bytes().clone()),
        };
        let need = Need {
            repository,
            actions: Actions::PullPush,
        };
        let stored = turn
            .ask(&put, &need)
            .await?
            .expect(&[StatusCode::CREATED])
            .await?;
        let noted = stored.headers().contains_key(SUBJECT);
        body::drain(stored.response).await;
        Ok(noted)
    }
}

/// A manifest or tag to delete.
pub(super) struct DeleteManifestTask<'a> {
    pub(super) repository: &'a str,
    pub(super) target: &'a Target,
}

impl RegistryTask for DeleteManifestTask<'_> {
    const OPERATION: RegistryOperation = RegistryOperation::Delete;
    type Given = ();

    async fn at(&self, turn: &Turn<'_>) -> Result<(), RegistryError> {
        let Self { repository, target } = self;
        let url = turn
            .endpoint
            .url(repository, &format!("manifests/{}", named(target)));
        let delete = RegistryRequest {
            method: Method::DELETE,
            url,
            headers: HeaderMap::new(),
            body: None,
        };
        let need = Need {
            repository,
            actions: Actions::PullDelete,
        };
        let deleted = turn
            .ask(&delete, &need)
            .await?
            .expect(&[StatusCode::ACCEPTED, StatusCode::OK])
            .await?;
        body::drain(deleted.response).await;
        Ok(())
    }
}

impl Turn<'_> {
    /// Where a blob is to be sent: the registry's word, relative or not. Another host gets it without credentials.
    fn upload_place(&self, started: &RegistryResponse) -> Result<Url, RegistryError> {
        let location = started
            .headers()
            .get(header::LOCATION)
            .and_then(|location| location.to_str().ok());
        let place = location.and_then(|location| started.url.join(location).ok());
        let place =
            place.ok_or_else(|| started.malformed("an upload without a usable `Location`".to_owned()))?;
        if started.url.scheme() == "https" && place.scheme() != "https" {
            let why = crate::net::transport::guard::Forbidden::Downgrade.to_string();
            return Err(RegistryError::Refused {
                host: host_of(&place),
                why,
            });
        }
        Ok(place)
    }
}

//! The requests to Oracle's services: method, URL and body of each, ready to be signed.

use http::Method;
use url::Url;

use super::wire::{CreateSignature, FederationRequest, LookUpImage, SignRequest, UpdateTags};
use super::{Ocid, ServiceEndpoint};
use crate::base::printable::excerpt;
use crate::oci::Digest;

/// One request. Its URL and body are signed and sent exactly as they are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The method.
    pub method: Method,
    /// The URL, percent-encoded.
    pub url: Url,
    /// The body as JSON, or empty.
    pub body: Vec<u8>,
}

/// Selects the signature records of a list (SDK 2.189.0, `artifacts_client.list_container_image_signatures`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureFilter<'a> {
    /// The compartment that is searched.
    pub compartment_id: &'a Ocid,
    /// Whether the compartments below it are searched too. The service allows that only for a tenancy's root
    /// compartment.
    pub in_subtree: bool,
    /// The repository, without region host and tenancy namespace.
    pub repository_name: &'a str,
    /// The digest of the manifest.
    pub image_digest: &'a Digest,
    /// Maximum number of records on one page.
    pub limit: usize,
    /// The `opc-next-page` of the previous response.
    pub page: Option<&'a str>,
}

/// Why no request can be built of the arguments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The name of the next page is longer than any that a service sends.
    #[error("the name of the next page has more than {limit} bytes")]
    Page {
        /// The bound.
        limit: usize,
    },
    /// Subcompartments are to be searched, and the compartment is not a tenancy.
    #[error("`{0}` is not a tenancy, and subcompartments can be searched from a tenancy only")]
    Subtree(String),
    /// The repository's name contains `*`: the service would take it for a pattern, and list the signatures of other
    /// repositories.
    #[error("the repository `{0}` has a `*` in it")]
    Wildcard(String),
}

impl Operation {
    /// `GET /container/imageSignatures`.
    ///
    /// # Errors
    /// As [`OperationError`] says.
    pub fn list_signatures(
        artifacts: &ServiceEndpoint,
        filter: &SignatureFilter<'_>,
    ) -> Result<Self, OperationError> {
        if filter.repository_name.contains('*') {
            return Err(OperationError::Wildcard(excerpt(filter.repository_name)));
        }
        if filter.in_subtree && filter.compartment_id.kind() != "tenancy" {
            return Err(OperationError::Subtree(filter.compartment_id.to_string()));
        }
        if filter.page.is_some_and(|page| page.len() > PAGE_BYTES) {
            return Err(OperationError::Page { limit: PAGE_BYTES });
        }
        let digest = filter.image_digest.to_string();
        let limit = filter.limit.to_string();
        let mut query = vec![("compartmentId", filter.compartment_id.as_str())];
        if filter.in_subtree {
            query.push(("compartmentIdInSubtree", "true"));
        }
        query.push(("repositoryName", filter.repository_name));
        query.push(("imageDigest", &digest));
        query.push(("limit", &limit));
        query.extend(filter.page.map(|page| ("page", page)));
        Ok(Self::get(
            artifacts.url_for(&["container", "imageSignatures"], &query),
        ))
    }

    /// `GET /container/imageSignatures/{imageSignatureId}`.
    #[must_use]
    pub fn get_signature(artifacts: &ServiceEndpoint, signature_id: &Ocid) -> Self {
        Self::get(artifacts.url_for(&["container", "imageSignatures", signature_id.as_str()], &[]))
    }

    /// `POST /container/imageSignatures`.
    #[must_use]
    pub fn create_signature(artifacts: &ServiceEndpoint, signature: &CreateSignature) -> Self {
        Self::post(
            artifacts.url_for(&["container", "imageSignatures"], &[]),
            signature.to_json(),
        )
    }

    /// `DELETE /container/imageSignatures/{imageSignatureId}`.
    #[must_use]
    pub fn delete_signature(artifacts: &ServiceEndpoint, signature_id: &Ocid) -> Self {
        Self {
            method: Method::DELETE,
            ..Self::get_signature(artifacts, signature_id)
        }
    }

    /// `PUT /container/imageSignatures/{imageSignatureId}`: replaces tags, the only mutable part of a record.
    #[must_use]
    pub fn update_signature(artifacts: &ServiceEndpoint, signature_id: &Ocid, tags: &UpdateTags) -> Self {
        Self {
            method: Method::PUT,
            body: tags.to_json(),
            ..Self::get_signature(artifacts, signature_id)
        }
    }

    /// `GET /container/images/{imageId}`.
    #[must_use]
    pub fn get_image(artifacts: &ServiceEndpoint, image_id: &Ocid) -> Self {
        Self::get(artifacts.url_for(&["container", "images", image_id.as_str()], &[]))
    }

    /// `POST /container/images/actions/lookupImageByUri`: finds the OCID and compartment of the image that a name
    /// means.
    #[must_use]
    pub fn look_up_image(artifacts: &ServiceEndpoint, image: &LookUpImage) -> Self {
        let path = ["container", "images", "actions", "lookupImageByUri"];
        Self::post(artifacts.url_for(&path, &[]), image.to_json())
    }

    /// `POST /sign` of a vault's crypto endpoint.
    #[must_use]
    pub fn sign(kms_crypto: &ServiceEndpoint, request: &SignRequest) -> Self {
        Self::post(kms_crypto.url_for(&["sign"], &[]), request.to_json())
    }

    /// `GET /keys/{keyId}` of a vault's management endpoint.
    #[must_use]
    pub fn get_key(kms_management: &ServiceEndpoint, key_id: &Ocid) -> Self {
        Self::get(kms_management.url_for(&["keys", key_id.as_str()], &[]))
    }

    /// `GET /keys/{keyId}/keyVersions` of a vault's management endpoint.
    ///
    /// # Errors
    /// [`OperationError::Page`].
    pub fn list_key_versions(
        kms_management: &ServiceEndpoint,
        key_id: &Ocid,
        limit: usize,
        page: Option<&str>,
    ) -> Result<Self, OperationError> {
        if page.is_some_and(|page| page.len() > PAGE_BYTES) {
            return Err(OperationError::Page { limit: PAGE_BYTES });
        }
        let limit = limit.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(page.map(|page| ("page", page)));
        Ok(Self::get(
            kms_management.url_for(&["keys", key_id.as_str(), "keyVersions"], &query),
        ))
    }

    /// `GET /keys/{keyId}/keyVersions/{keyVersionId}` of a vault's management endpoint.
    #[must_use]
    pub fn get_key_version(kms_management: &ServiceEndpoint, key_id: &Ocid, key_version_id: &Ocid) -> Self {
        let path = ["keys", key_id.as_str(), "keyVersions", key_version_id.as_str()];
        Self::get(kms_management.url_for(&path, &[]))
    }

    /// `POST /v1/x509`.
    #[must_use]
    pub fn federate(federation: &ServiceEndpoint, request: &FederationRequest) -> Self {
        Self::post(federation.as_url().clone(), request.to_json())
    }

    const fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            body: Vec::new(),
        }
    }

    const fn post(url: Url, body: Vec<u8>) -> Self {
        Self {
            method: Method::POST,
            url,
            body,
        }
    }
}

/// Longest accepted `opc-next-page`: it becomes part of a URL, which servers bound at 8 KiB or so.
const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests;

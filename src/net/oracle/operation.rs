//! What Oracle's services are asked: method, URL and body of each request, ready to be signed.

use http::Method;
use url::Url;

use super::wire::{CreateSignature, FederationRequest, LookUpImage, SignRequest, UpdateTags};
use super::{Ocid, ServiceEndpoint};
use crate::base::printable::excerpt;
use crate::oci::Digest;

/// One request. What is signed is what stands here: URL and body go out as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The method.
    pub method: Method,
    /// The URL, encoded.
    pub url: Url,
    /// The body, JSON; empty where there is none.
    pub body: Vec<u8>,
}

/// Which signature records are listed (SDK 2.189.0, `artifacts_client.list_container_image_signatures`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureFilter<'a> {
    /// The compartment that is looked through.
    pub compartment_id: &'a Ocid,
    /// And those in it. The service takes it for a tenancy's root compartment alone.
    pub in_subtree: bool,
    /// The repository, without region host and tenancy namespace.
    pub repository_name: &'a str,
    /// The digest of the manifest.
    pub image_digest: &'a Digest,
    /// Records on one page.
    pub limit: usize,
    /// What the last answer's `opc-next-page` said.
    pub page: Option<&'a str>,
}

/// Why a request is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// A page name that no service gives.
    #[error("the name of the next page has more than {limit} bytes")]
    Page {
        /// The bound.
        limit: usize,
    },
    /// Subcompartments of what is not a tenancy.
    #[error("`{0}` is no tenancy, and subcompartments are looked through from a tenancy alone")]
    Subtree(String),
    /// The service would take it for a pattern, and list the signatures of other repositories.
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
            artifacts.below(&["container", "imageSignatures"], &query),
        ))
    }

    /// `GET /container/imageSignatures/{imageSignatureId}`.
    #[must_use]
    pub fn get_signature(artifacts: &ServiceEndpoint, signature_id: &Ocid) -> Self {
        Self::get(artifacts.below(&["container", "imageSignatures", signature_id.as_str()], &[]))
    }

    /// `POST /container/imageSignatures`.
    #[must_use]
    pub fn create_signature(artifacts: &ServiceEndpoint, signature: &CreateSignature) -> Self {
        Self::post(
            artifacts.below(&["container", "imageSignatures"], &[]),
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

    /// `PUT /container/imageSignatures/{imageSignatureId}`: tags, the only thing of a signature that changes.
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
        Self::get(artifacts.below(&["container", "images", image_id.as_str()], &[]))
    }

    /// `POST /container/images/actions/lookupImageByUri`: from what is pulled to the image's OCID and compartment.
    #[must_use]
    pub fn look_up_image(artifacts: &ServiceEndpoint, image: &LookUpImage) -> Self {
        let path = ["container", "images", "actions", "lookupImageByUri"];
        Self::post(artifacts.below(&path, &[]), image.to_json())
    }

    /// `POST /sign` of a vault's crypto endpoint.
    #[must_use]
    pub fn sign(kms_crypto: &ServiceEndpoint, request: &SignRequest) -> Self {
        Self::post(kms_crypto.below(&["sign"], &[]), request.to_json())
    }

    /// `GET /keys/{keyId}` of a vault's management endpoint.
    #[must_use]
    pub fn get_key(kms_management: &ServiceEndpoint, key_id: &Ocid) -> Self {
        Self::get(kms_management.below(&["keys", key_id.as_str()], &[]))
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
            kms_management.below(&["keys", key_id.as_str(), "keyVersions"], &query),
        ))
    }

    /// `GET /keys/{keyId}/keyVersions/{keyVersionId}` of a vault's management endpoint.
    #[must_use]
    pub fn get_key_version(kms_management: &ServiceEndpoint, key_id: &Ocid, key_version_id: &Ocid) -> Self {
        let path = ["keys", key_id.as_str(), "keyVersions", key_version_id.as_str()];
        Self::get(kms_management.below(&path, &[]))
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

/// What `opc-next-page` may have: it goes into a URL, which servers bound at 8 KiB or so.
const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests;

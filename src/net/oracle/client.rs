//! The calls to Oracle's services: signatures and images of the Artifacts API, keys and signing of OCI Vault.
//!
//! Each response is bounded before it is read, each call ends at its deadline, and a call that met a transient failure
//! is repeated before that: every operation is harmless when performed twice, and one that creates something carries a
//! token under which the service creates it once.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustls::RootCertStore;

use super::wire::{
    ContainerImage, CreateSignature, ImageSignature, KeyVersion, KeyVersionPage, LookUpImage, SignAnswer,
    SignRequest, SignaturePage, UpdateTags, VaultKey, WireError,
};
use super::{Identity, Ocid, Operation, OperationError, ServiceEndpoint, SignatureFilter};
use crate::base::error_chain::chain;
use crate::base::limits::{ORACLE_ANSWER_BYTES, ORACLE_PAGE_BYTES, RECORD_BYTES};
use crate::net::oracle::call_error::CallError;
use crate::net::oracle::error::{ApiError, ClientSetupError};
use crate::net::oracle::metrics::{Call, OracleObserver};
use crate::net::oracle::sender::{ApiRequest, ApiResponse, ApiSender, ApiTransport};
use crate::net::transport::guard::{Guard, host_of, proxies_of_environment};
use crate::net::transport::{Transport, system_roots};

/// Pages of a key's versions that are followed, of up to 100 each.
const KEY_VERSION_PAGES: usize = 16;

/// Pages of signature records that are followed for one question: a service that names a next page each time must not
/// keep a pull busy. A page holds up to 100 records, so [`CANDIDATES`](crate::base::limits::CANDIDATES) are on two.
const ORACLE_PAGES: usize = 16;

/// Items on one page. Oracle's services accept this many at least.
pub(super) const PAGE_LIMIT: usize = 100;

/// A client of Oracle's services that signs as one identity. Cheap to clone.
#[derive(Clone)]
pub struct OracleClient {
    identity: Arc<Identity>,
    transport: Arc<ApiTransport>,
    observer: Option<OracleObserver>,
}

/// The records of a list. Those that arrived before a failure are included, because the wanted one may be among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureList {
    /// Each record, or the reason why it is malformed.
    pub signatures: Vec<Result<ImageSignature, WireError>>,
    /// Why the list is incomplete; `None` if it is complete.
    pub incomplete: Option<ApiError>,
}

impl OracleClient {
    /// A client that signs as `identity`. It never connects to `own_listeners`, the gate's own addresses. `ca` is PEM
    /// of certificates that are trusted beside the system's.
    ///
    /// # Errors
    /// [`ClientSetupError`] when `ca` or the system's certificates are unusable.
    pub fn new(
        identity: impl Into<Arc<Identity>>,
        own_listeners: Vec<SocketAddr>,
        ca: Option<&[u8]>,
    ) -> Result<Self, ClientSetupError> {
        Self::with_roots(identity, own_listeners, &system_roots(), ca)
    }

    /// As [`Self::new`], with the system's certificates already read: reading them takes milliseconds.
    pub(super) fn with_roots(
        identity: impl Into<Arc<Identity>>,
        own_listeners: Vec<SocketAddr>,
        system: &RootCertStore,
        ca: Option<&[u8]>,
    ) -> Result<Self, ClientSetupError> {
        let guard = Arc::new(Guard::new(own_listeners, proxies_of_environment()));
        let transport = Transport::new(Arc::clone(&guard), system, ca)
            .map_err(|error| ClientSetupError { what: chain(&error) })?;
        Ok(Self {
            identity: identity.into(),
            transport: Arc::new(ApiTransport { guard, transport }),
            observer: None,
        })
    }

    /// Returns the same client, which reports each call to `observer`.
    #[must_use]
    pub fn observed(self, observer: OracleObserver) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// Returns the identity that requests are signed as.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Lists the signature records that match the filter, from the filter's `page` on: all pages, up to `records`
    /// records and `ORACLE_PAGES` pages. The service's filtering is not trusted: a record is judged by its signed
    /// message.
    pub async fn list_signatures(
        &self,
        artifacts: &ServiceEndpoint,
        filter: &SignatureFilter<'_>,
        records: usize,
        deadline: Instant,
    ) -> SignatureList {
        let mut list = SignatureList::default();
        list.incomplete = self
            .all_pages(artifacts, filter, records, deadline, &mut list.signatures)
            .await
            .err();
        list
    }

    async fn all_pages(
        &self,
        artifacts: &ServiceEndpoint,
        filter: &SignatureFilter<'_>,
        records: usize,
        deadline: Instant,
        signatures: &mut Vec<Result<ImageSignature, WireError>>,
    ) -> Result<(), ApiError> {
        let host = host_of(artifacts.as_url());
        let too_large = |limit, unit| {
            ApiError::Call(CallError::TooLarge {
                host: host.clone(),
                limit,
                unit,
            })
        };
        let mut seen = HashSet::new();
        let mut page = filter.page.map(str::to_owned);
        for _ in 0..ORACLE_PAGES {
            let filter = SignatureFilter {
                page: page.as_deref(),
                ..filter.clone()
            };
            let operation = Operation::list_signatures(artifacts, &filter);
            let operation = operation.map_err(|source| not_built(&host, source))?;
            let request = api_request(Call::ListSignatures, &operation, ORACLE_PAGE_BYTES);
            let response = self.send(request, deadline).await?;
            for signature in parsed(&host, SignaturePage::parse(&response.body))?.signatures {
                if signatures.len() >= records {
                    return Err(too_large(records, "records"));
                }
                signatures.push(signature);
            }
            match response.next_page {
                None => return Ok(()),
                Some(next) if !seen.insert(next.clone()) => {
                    return Err(CallError::PageLoop { host: host.clone() }.into());
                }
                Some(next) => page = Some(next),
            }
        }
        Err(too_large(ORACLE_PAGES, "pages"))
    }

    /// Reads one signature record.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn get_signature(
        &self,
        artifacts: &ServiceEndpoint,
        signature_id: &Ocid,
        deadline: Instant,
    ) -> Result<ImageSignature, ApiError> {
        let operation = Operation::get_signature(artifacts, signature_id);
        let request = api_request(Call::GetSignature, &operation, RECORD_BYTES);
        let response = self.send(request, deadline).await?;
        parsed(&request.host(), ImageSignature::parse(&response.body))
    }

    /// Creates a signature record, and returns it as the service stores it.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn create_signature(
        &self,
        artifacts: &ServiceEndpoint,
        signature: &CreateSignature,
        deadline: Instant,
    ) -> Result<ImageSignature, ApiError> {
        let operation = Operation::create_signature(artifacts, signature);
        let token = retry_token();
        let request = ApiRequest {
            retry_token: Some(&token),
            ..api_request(Call::CreateSignature, &operation, RECORD_BYTES)
        };
        let response = self.send(request, deadline).await?;
        parsed(&request.host(), ImageSignature::parse(&response.body))
    }

    /// Replaces the tags of a signature record.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn update_signature(
        &self,
        artifacts: &ServiceEndpoint,
        signature_id: &Ocid,
        tags: &UpdateTags,
        deadline: Instant,
    ) -> Result<ImageSignature, ApiError> {
        let operation = Operation::update_signature(artifacts, signature_id, tags);
        let request = api_request(Call::UpdateSignature, &operation, RECORD_BYTES);
        let response = self.send(request, deadline).await?;
        parsed(&request.host(), ImageSignature::parse(&response.body))
    }

    /// Deletes a signature record. When the response to a first attempt is lost, the second attempt fails with
    /// [`CallError::NotFound`].
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn delete_signature(
        &self,
        artifacts: &ServiceEndpoint,
        signature_id: &Ocid,
        deadline: Instant,
    ) -> Result<(), ApiError> {
        let operation = Operation::delete_signature(artifacts, signature_id);
        self.send(
            api_request(Call::DeleteSignature, &operation, RECORD_BYTES),
            deadline,
        )
        .await
        .map(drop)
    }

    /// Reads an image by its OCID.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn get_image(
        &self,
        artifacts: &ServiceEndpoint,
        image_id: &Ocid,
        deadline: Instant,
    ) -> Result<ContainerImage, ApiError> {
        let operation = Operation::get_image(artifacts, image_id);
        let request = api_request(Call::GetImage, &operation, ORACLE_ANSWER_BYTES);
        let response = self.send(request, deadline).await?;
        parsed(&request.host(), ContainerImage::parse(&response.body))
    }

    /// Looks an image up by the name that a runtime pulls. The result is the service's claim: compare it with the
    /// request.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn look_up_image(
        &self,
        artifacts: &ServiceEndpoint,
        image: &LookUpImage,
        deadline: Instant,
    ) -> Result<ContainerImage, ApiError> {
        let operation = Operation::look_up_image(artifacts, image);
        let request = api_request(Call::LookUpImage, &operation, ORACLE_ANSWER_BYTES);
        let response = self.send(request, deadline).await?;
        parsed(&request.host(), ContainerImage::parse(&response.body))
    }

    /// Signs a message with a key of a vault.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn sign(
        &self,
        kms_crypto: &ServiceEndpoint,
        to_sign: &SignRequest,
        deadline: Instant,
    ) -> Result<SignAnswer, ApiError> {
        let operation = Operation::sign(kms_crypto, to_sign);
        let request = api_request(Call::Sign, &operation, ORACLE_ANSWER_BYTES);
        let response = self.send(request, deadline).await?;
        parsed(&request.host(), SignAnswer::parse(&response.body, to_sign))
    }

    /// Reads a key of a vault: its algorithm, length and current version.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn get_key(
        &self,
        kms_management: &ServiceEndpoint,
        key_id: &Ocid,
        deadline: Instant,
    ) -> Result<VaultKey, ApiError> {
        let operation = Operation::get_key(kms_management, key_id);
        let request = api_request(Call::GetKey, &operation, ORACLE_ANSWER_BYTES);
        let response = self.send(request, deadline).await?;
        parsed(&request.host(), VaultKey::parse(&response.body, key_id))
    }

    /// Lists the versions of a key, all pages, without their public keys: [`Self::get_key_version`] returns those.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn list_key_versions(
        &self,
        kms_management: &ServiceEndpoint,
        key_id: &Ocid,
        deadline: Instant,
    ) -> Result<Vec<KeyVersion>, ApiError> {
        let host = host_of(kms_management.as_url());
        let mut versions = Vec::new();
        let mut seen = HashSet::new();
        let mut page: Option<String> = None;
        for _ in 0..KEY_VERSION_PAGES {
            let operation = Operation::list_key_versions(kms_management, key_id, PAGE_LIMIT, page.as_deref());
            let operation = operation.map_err(|source| not_built(&host, source))?;
            let request = api_request(Call::ListKeyVersions, &operation, ORACLE_ANSWER_BYTES);
            let response = self.send(request, deadline).await?;
            versions.extend(parsed(&host, KeyVersionPage::parse(&response.body, key_id))?.versions);
            match response.next_page {
                None => return Ok(versions),
                Some(next) if !seen.insert(next.clone()) => return Err(CallError::PageLoop { host }.into()),
                Some(next) => page = Some(next),
            }
        }
        Err(ApiError::Call(CallError::TooLarge {
            host,
            limit: KEY_VERSION_PAGES,
            unit: "pages",
        }))
    }

    /// Reads one version of a key, with its public key.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn get_key_version(
        &self,
        kms_management: &ServiceEndpoint,
        key_id: &Ocid,
        key_version_id: &Ocid,
        deadline: Instant,
    ) -> Result<KeyVersion, ApiError> {
        let operation = Operation::get_key_version(kms_management, key_id, key_version_id);
        let request = api_request(Call::GetKeyVersion, &operation, ORACLE_ANSWER_BYTES);
        let response = self.send(request, deadline).await?;
        parsed(
            &request.host(),
            KeyVersion::parse(&response.body, key_id, key_version_id),
        )
    }

    /// Sends a request, signed as the identity. A token that the service refuses before it expires is renewed once.
    async fn send(&self, request: ApiRequest<'_>, deadline: Instant) -> Result<ApiResponse, ApiError> {
        let sender = ApiSender {
            transport: &self.transport,
            observer: self.observer.as_ref(),
            deadline,
        };
        let host = request.host();
        let work = async {
            let no_signer = |source| ApiError::Identity {
                host: host.clone(),
                source,
            };
            let leased = self.identity.signer(sender).await.map_err(no_signer)?;
            match sender.send_signed(request, &leased.signer).await {
                Err(CallError::Unauthorized { .. }) if self.identity.drop_refused(&leased).await => {
                    let leased = self.identity.signer(sender).await.map_err(no_signer)?;
                    Ok(sender.send_signed(request, &leased.signer).await?)
                }
                other => Ok(other?),
            }
        };
        sender.within_deadline(request.call, &host, work).await
    }
}

const fn api_request(call: Call, operation: &Operation, limit: usize) -> ApiRequest<'_> {
    ApiRequest {
        call,
        operation,
        limit,
        retry_token: None,
    }
}

fn parsed<T>(host: &str, response: Result<T, WireError>) -> Result<T, ApiError> {
    response.map_err(|source| {
        ApiError::Call(CallError::Malformed {
            host: host.to_owned(),
            source,
        })
    })
}

fn not_built(host: &str, source: OperationError) -> ApiError {
    ApiError::Call(CallError::Operation {
        host: host.to_owned(),
        source,
    })
}

/// Returns 128 random bits, so that two requests never share a token.
fn retry_token() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

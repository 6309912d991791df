//! What is asked of Oracle's services: signatures and images of the Artifacts API, keys and signing of OCI Vault.
//!
//! Each answer is bounded before it is read, each question ends at its deadline, and a question that met a bad moment is
//! asked again before that: nothing here does harm when it is done twice, and what is created carries a token under
//! which the service creates it once.

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
use crate::base::limits::{
    KEY_VERSION_PAGES, ORACLE_ANSWER_BYTES, ORACLE_PAGE_BYTES, ORACLE_PAGES, RECORD_BYTES,
};
pub use crate::net::oracle::error::ApiError;
pub use crate::net::oracle::metrics::{Call, CallOutcome, OracleObserver};
use crate::net::oracle::sender::{ApiRequest, ApiTransport, Exchange, Given};
use crate::net::transport::guard::{Guard, host_of, proxies_of_environment};
use crate::net::transport::{Transport, system_roots};

/// A client of Oracle's services with somebody's identity. Cheap to clone.
#[derive(Clone)]
pub struct OracleClient {
    identity: Arc<Identity>,
    wire: Arc<ApiTransport>,
    observer: Option<OracleObserver>,
}

/// What a list gave. Records that came before something went wrong are there all the same: one of them may be what is
/// sought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureList {
    /// Each record, or why it is none.
    pub signatures: Vec<Result<ImageSignature, WireError>>,
    /// Why it is not the whole list, where it is not.
    pub incomplete: Option<ApiError>,
}

impl OracleClient {
    /// A client that signs as `identity`. `own` are the gate's own listeners, which it must never ask; `ca` is PEM of
    /// certificates that are trusted beside the system's.
    ///
    /// # Errors
    /// [`ApiError::Setup`].
    pub fn new(
        identity: impl Into<Arc<Identity>>,
        own: Vec<SocketAddr>,
        ca: Option<&[u8]>,
    ) -> Result<Self, ApiError> {
        Self::trusting(identity, own, &system_roots(), ca)
    }

    /// As [`Self::new`], with the system's certificates, which take milliseconds to read.
    pub(super) fn trusting(
        identity: impl Into<Arc<Identity>>,
        own: Vec<SocketAddr>,
        system: &RootCertStore,
        ca: Option<&[u8]>,
    ) -> Result<Self, ApiError> {
        let guard = Arc::new(Guard::new(own, proxies_of_environment()));
        let transport = Transport::new(Arc::clone(&guard), system, ca)
            .map_err(|error| ApiError::Setup { what: chain(&error) })?;
        Ok(Self {
            identity: identity.into(),
            wire: Arc::new(ApiTransport { guard, transport }),
            observer: None,
        })
    }

    /// The same client, telling `observer` of each thing that is asked for.
    #[must_use]
    pub fn observed(self, observer: OracleObserver) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// As whom requests are signed.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The signature records that the filter lets through, all pages, as far as `records` go and at most
    /// [`ORACLE_PAGES`]. The service's filters are not trusted: whoever judges a record looks at its own message. The
    /// filter's `page` is where it begins.
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
        let too_large = |limit, unit| ApiError::TooLarge {
            host: host.clone(),
            limit,
            unit,
        };
        let mut seen = HashSet::new();
        let mut page = filter.page.map(str::to_owned);
        for _ in 0..ORACLE_PAGES {
            let filter = SignatureFilter {
                page: page.as_deref(),
                ..filter.clone()
            };
            let operation = Operation::list_signatures(artifacts, &filter);
            let operation = operation.map_err(|source| not_asked(&host, source))?;
            let ask = ask(Call::ListSignatures, &operation, ORACLE_PAGE_BYTES);
            let given = self.ask(ask, deadline).await?;
            let found = parsed(&host, SignaturePage::parse(&given.body))?;
            for signature in found.signatures {
                if signatures.len() >= records {
                    return Err(too_large(records, "records"));
                }
                signatures.push(signature);
            }
            match given.next_page {
                None => return Ok(()),
                Some(next) if !seen.insert(next.clone()) => {
                    return Err(ApiError::PageLoop { host: host.clone() });
                }
                Some(next) => page = Some(next),
            }
        }
        Err(too_large(ORACLE_PAGES, "pages"))
    }

    /// One signature record.
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
        let ask = ask(Call::GetSignature, &operation, RECORD_BYTES);
        let given = self.ask(ask, deadline).await?;
        parsed(&ask.host(), ImageSignature::parse(&given.body))
    }

    /// Puts a signature record into the registry, and gives it as it is kept.
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
        let ask = ApiRequest {
            retry_token: Some(&token),
            ..ask(Call::CreateSignature, &operation, RECORD_BYTES)
        };
        let given = self.ask(ask, deadline).await?;
        parsed(&ask.host(), ImageSignature::parse(&given.body))
    }

    /// Gives a signature record other tags.
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
        let ask = ask(Call::UpdateSignature, &operation, RECORD_BYTES);
        let given = self.ask(ask, deadline).await?;
        parsed(&ask.host(), ImageSignature::parse(&given.body))
    }

    /// Deletes a signature record. Asked again after a first answer that was lost, the service says
    /// [`ApiError::NotFound`].
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
        self.ask(ask(Call::DeleteSignature, &operation, RECORD_BYTES), deadline)
            .await
            .map(drop)
    }

    /// An image by its id.
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
        let ask = ask(Call::GetImage, &operation, ORACLE_ANSWER_BYTES);
        let given = self.ask(ask, deadline).await?;
        parsed(&ask.host(), ContainerImage::parse(&given.body))
    }

    /// An image by what a runtime pulls. The answer is the service's word: compare it with what was asked for.
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
        let ask = ask(Call::LookUpImage, &operation, ORACLE_ANSWER_BYTES);
        let given = self.ask(ask, deadline).await?;
        parsed(&ask.host(), ContainerImage::parse(&given.body))
    }

    /// A signature by a vault's key.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn sign(
        &self,
        kms_crypto: &ServiceEndpoint,
        request: &SignRequest,
        deadline: Instant,
    ) -> Result<SignAnswer, ApiError> {
        let operation = Operation::sign(kms_crypto, request);
        let ask = ask(Call::Sign, &operation, ORACLE_ANSWER_BYTES);
        let given = self.ask(ask, deadline).await?;
        parsed(&ask.host(), SignAnswer::parse(&given.body, request))
    }

    /// A key of a vault: of what kind it is, and its current version.
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
        let ask = ask(Call::GetKey, &operation, ORACLE_ANSWER_BYTES);
        let given = self.ask(ask, deadline).await?;
        parsed(&ask.host(), VaultKey::parse(&given.body, key_id))
    }

    /// The versions of a key, all pages. None of them has its public half here: [`Self::get_key_version`] gives it.
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
            let operation = operation.map_err(|source| not_asked(&host, source))?;
            let ask = ask(Call::ListKeyVersions, &operation, ORACLE_ANSWER_BYTES);
            let given = self.ask(ask, deadline).await?;
            versions.extend(parsed(&host, KeyVersionPage::parse(&given.body, key_id))?.versions);
            match given.next_page {
                None => return Ok(versions),
                Some(next) if !seen.insert(next.clone()) => return Err(ApiError::PageLoop { host }),
                Some(next) => page = Some(next),
            }
        }
        Err(ApiError::TooLarge {
            host,
            limit: KEY_VERSION_PAGES,
            unit: "pages",
        })
    }

    /// One version of a key, with its public half.
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
        let ask = ask(Call::GetKeyVersion, &operation, ORACLE_ANSWER_BYTES);
        let given = self.ask(ask, deadline).await?;
        parsed(
            &ask.host(),
            KeyVersion::parse(&given.body, key_id, key_version_id),
        )
    }

    /// Asks as the identity. A token that the service takes no more, although it has not ended, is renewed once.
    async fn ask(&self, ask: ApiRequest<'_>, deadline: Instant) -> Result<Given, ApiError> {
        let exchange = Exchange {
            wire: &self.wire,
            observer: self.observer.as_ref(),
            deadline,
        };
        let host = ask.host();
        let work = async {
            let nobody = |source| ApiError::Identity {
                host: host.clone(),
                source: Box::new(source),
            };
            let lent = self.identity.signer(exchange).await.map_err(nobody)?;
            match exchange.signed(ask, &lent.signer).await {
                Err(ApiError::Unauthorized { .. }) if self.identity.give_back(&lent).await => {
                    let lent = self.identity.signer(exchange).await.map_err(nobody)?;
                    exchange.signed(ask, &lent.signer).await
                }
                other => other,
            }
        };
        exchange.in_time(ask.call, &host, work).await
    }
}

const fn ask(call: Call, operation: &Operation, limit: usize) -> ApiRequest<'_> {
    ApiRequest {
        call,
        operation,
        limit,
        retry_token: None,
    }
}

fn parsed<T>(host: &str, answer: Result<T, WireError>) -> Result<T, ApiError> {
    answer.map_err(|source| ApiError::Malformed {
        host: host.to_owned(),
        source,
    })
}

fn not_asked(host: &str, source: OperationError) -> ApiError {
    ApiError::Operation {
        host: host.to_owned(),
        source,
    }
}

/// Nobody else's: 128 bits by chance.
fn retry_token() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// Items on one page. Oracle's services take at least so many.
pub(super) const PAGE_LIMIT: usize = 100;

//! Instance principals (SDK 2.189.0, `auth/signers/instance_principals_security_token_signer.py` and
//! `auth/federation_client.py`): the metadata service gives an instance its certificate and key, Oracle's token service
//! issues a token for them, and the token together with a session key signs requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Mutex;
use url::Url;

use super::super::call_error::CallError;
use super::super::metrics::Call;
use super::super::wire::{FederationRequest, read_token};
use super::super::{
    EndpointError, LeafCertificate, LeafCertificateError, Operation, Region, RegionEndpoints, RequestKey,
    RequestSigner, SecurityToken, ServiceEndpoint,
};
use super::error::IdentityError;
use crate::base::limits::ORACLE_ANSWER_BYTES;
use crate::net::oracle::sender::{ApiRequest, ApiSender};

/// How long a failure is returned to every caller: those that waited for it need not repeat the same long exchange.
const FAILURE_LIFE: Duration = Duration::from_secs(1);

/// Bits of a session key (SDK, `auth/session_key_supplier.py`).
const SESSION_KEY_BITS: usize = 2048;

/// The addresses of Oracle's metadata service (SDK, as above). The second is for hosts without a route to the first.
const METADATA: [&str; 2] = [
    "http://169.254.169.254/opc/v2",
    "http://[fd00:c1::a9fe:a9fe]/opc/v2",
];

/// The services that give an instance its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancePrincipal {
    /// The metadata service; `None` for the two addresses at which Oracle provides it.
    pub metadata: Option<MetadataService>,
    /// The token service; `None` for that of the instance's region.
    pub federation: Option<ServiceEndpoint>,
}

/// The base URL of a metadata service: the value of `OCI_METADATA_BASE_URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataService(Url);

impl MetadataService {
    /// Parses a base URL, such as `http://169.254.169.254/opc/v2`.
    ///
    /// # Errors
    /// As [`EndpointError`] says.
    pub fn new(text: &str) -> Result<Self, EndpointError> {
        ServiceEndpoint::parse_base_url(text).map(Self)
    }

    /// Returns the base URL.
    #[must_use]
    pub const fn as_url(&self) -> &Url {
        &self.0
    }

    fn url_for(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{path}", self.0.path().trim_end_matches('/')));
        url
    }
}

/// An instance and its current token.
#[derive(Debug)]
pub(super) struct Instance {
    principal: InstancePrincipal,
    /// Locked while a token is being issued, so that concurrent callers wait for the same one.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<InstanceToken>,
    /// How many tokens have been issued.
    generation: u64,
    /// The last failure and its time, for callers that waited for it.
    failed: Option<(Instant, IdentityError)>,
}

#[derive(Debug)]
struct InstanceToken {
    token: SecurityToken,
    signer: RequestSigner,
}

/// The instance's identity, as the metadata service states it.
struct InstanceFacts {
    leaf: LeafCertificate,
    key: RequestKey,
    intermediate: Vec<u8>,
    /// The metadata service that answered.
    service: MetadataService,
}

impl Instance {
    pub(super) fn new(principal: InstancePrincipal) -> Self {
        Self {
            principal,
            state: Mutex::default(),
        }
    }

    pub(super) const fn principal(&self) -> &InstancePrincipal {
        &self.principal
    }

    /// Returns a signer and the generation of its token. A token that expires within a minute is replaced; if that
    /// fails, it is used until it expires.
    pub(super) async fn signer(&self, sender: ApiSender<'_>) -> Result<(RequestSigner, u64), IdentityError> {
        let mut state = self.state.lock().await;
        let now = Timestamp::now();
        if let Some(current) = &state.token
            && !current.token.is_due(now)?
        {
            return Ok((current.signer.clone(), state.generation));
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < FAILURE_LIFE
        {
            let error = error.clone();
            return state.unexpired_signer(now).ok_or(error);
        }
        match self.request_token(sender).await {
            Ok(issued) => {
                let signer = issued.signer.clone();
                state.generation = state.generation.wrapping_add(1);
                state.token = Some(issued);
                state.failed = None;
                Ok((signer, state.generation))
            }
            Err(error) => {
                // A deadline concerns one caller only; the next may have more time left.
                if !error.is_deadline() {
                    state.failed = Some((Instant::now(), error.clone()));
                }
                state.unexpired_signer(now).ok_or(error)
            }
        }
    }

    /// Drops the token of this generation, which a service refused. A token that another caller has got since is kept.
    pub(super) async fn forget(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.token = None;
        }
    }

    async fn request_token(&self, sender: ApiSender<'_>) -> Result<InstanceToken, IdentityError> {
        let facts = self.read_facts(sender).await?;
        let federation = match &self.principal.federation {
            Some(configured) => configured.clone(),
            None => self.federation_of_region(&facts, sender).await?,
        };
        // Takes a second or so of computing: not on a thread that other tasks wait for.
        let session_key = compute(|| RequestKey::generate(SESSION_KEY_BITS)).await??;
        let session_key = Arc::new(session_key);
        let request = FederationRequest::new(&facts.leaf, &[facts.intermediate.as_slice()], &session_key)?;
        let operation = Operation::federate(&federation, &request);
        let request = ApiRequest {
            call: Call::Federate,
            operation: &operation,
            limit: ORACLE_ANSWER_BYTES,
            retry_token: None,
        };
        let signer = RequestSigner::federation(&facts.leaf, Arc::new(facts.key));
        let sent = sender.send_signed(request, &signer);
        let response = sender
            .within_deadline(request.call, &request.host(), sent)
            .await
            .map_err(IdentityError::TokenService)?;
        let token = read_token(&response.body)?;
        // A token that does not say when it expires could not be renewed in time.
        token.expires_at()?;
        let signer = RequestSigner::security_token(&token, session_key);
        Ok(InstanceToken { token, signer })
    }

    /// Returns the token service of the region that the instance is in.
    async fn federation_of_region(
        &self,
        facts: &InstanceFacts,
        sender: ApiSender<'_>,
    ) -> Result<ServiceEndpoint, IdentityError> {
        let service = &facts.service;
        let url = service.url_for("instance/region");
        let region = sender
            .read_metadata(&url, service.as_url())
            .await
            .map_err(IdentityError::Metadata)?;
        let region: Region = String::from_utf8_lossy(region.trim_ascii()).parse()?;
        Ok(RegionEndpoints::new(region, facts.leaf.tenancy())?.federation()?)
    }

    /// Reads the instance's identity. Certificate and key are two responses, and the service may renew them in between:
    /// if they do not match, both are read once more.
    async fn read_facts(&self, sender: ApiSender<'_>) -> Result<InstanceFacts, IdentityError> {
        match self.read_facts_once(sender).await {
            Err(IdentityError::Certificate(LeafCertificateError::KeyMismatch)) => {
                self.read_facts_once(sender).await
            }
            other => other,
        }
    }

    async fn read_facts_once(&self, sender: ApiSender<'_>) -> Result<InstanceFacts, IdentityError> {
        let (service, certificate) = self.read_certificate(sender).await?;
        let read = |path| {
            let service = &service;
            async move {
                sender
                    .read_metadata(&service.url_for(path), service.as_url())
                    .await
                    .map_err(IdentityError::Metadata)
            }
        };
        let key = read("identity/key.pem").await?;
        let key = zeroize::Zeroizing::new(key.to_vec());
        let intermediate = read("identity/intermediate.pem").await?.to_vec();
        let leaf = LeafCertificate::from_pem(&certificate)?;
        let key = compute(move || RequestKey::from_pem(&key, None)).await??;
        leaf.check(&key)?;
        Ok(InstanceFacts {
            leaf,
            key,
            intermediate,
            service,
        })
    }

    /// Reads the certificate from the configured metadata service, or else from the first of Oracle's addresses that is
    /// reachable.
    async fn read_certificate(
        &self,
        sender: ApiSender<'_>,
    ) -> Result<(MetadataService, Vec<u8>), IdentityError> {
        let read = async |service: MetadataService| {
            let url = service.url_for("identity/cert.pem");
            let certificate = sender.read_metadata(&url, service.as_url()).await?;
            Ok((service, certificate.to_vec()))
        };
        if let Some(configured) = &self.principal.metadata {
            return read(configured.clone()).await.map_err(IdentityError::Metadata);
        }
        let [first, second] = METADATA;
        let (first, second) = (MetadataService::new(first)?, MetadataService::new(second)?);
        match read(first).await {
            Err(unreachable @ CallError::Unreachable { .. }) => match read(second).await {
                // Reports the first address: most hosts have no route to the second.
                Err(CallError::Unreachable { .. }) => Err(unreachable),
                other => other,
            },
            other => other,
        }
        .map_err(IdentityError::Metadata)
    }
}

impl State {
    /// Returns the signer of a token that should be replaced and has not expired yet.
    fn unexpired_signer(&self, now: Timestamp) -> Option<(RequestSigner, u64)> {
        let current = self.token.as_ref()?;
        let expires_at = current.token.expires_at().ok()?;
        (expires_at > now).then(|| (current.signer.clone(), self.generation))
    }
}

async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, IdentityError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| IdentityError::from_join(&error))
}

//! Instance principals (SDK 2.189.0, `auth/signers/instance_principals_security_token_signer.py` and
//! `auth/federation_client.py`): what an instance is, by its metadata service's word, becomes a token of Oracle's
//! token service, and the token with a session key signs requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Mutex;
use url::Url;

use super::super::client::{ApiError, Call};
use super::super::wire::{FederationRequest, read_token};
use super::super::{
    FederationError, LeafCertificate, Operation, Region, RegionEndpoints, RegionEndpointsError, RequestKey,
    RequestSigner, SecurityToken, ServiceEndpoint,
};
use super::IdentityError;
use crate::base::limits::ORACLE_ANSWER_BYTES;
use crate::net::oracle::sender::{ApiRequest, Exchange};

/// What is asked for an instance's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancePrincipal {
    /// The metadata service; the two addresses that Oracle's has where none is named.
    pub metadata: Option<MetadataService>,
    /// The token service; that of the instance's region where none is named.
    pub federation: Option<ServiceEndpoint>,
}

/// Where a metadata service is: what `OCI_METADATA_BASE_URL` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataService(Url);

impl MetadataService {
    /// A base URL, such as `http://169.254.169.254/opc/v2`.
    ///
    /// # Errors
    /// As [`PlaceError`] says.
    pub fn new(text: &str) -> Result<Self, RegionEndpointsError> {
        ServiceEndpoint::checked(text).map(Self)
    }

    /// The URL.
    #[must_use]
    pub const fn as_url(&self) -> &Url {
        &self.0
    }

    fn below(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{path}", self.0.path().trim_end_matches('/')));
        url
    }
}

/// An instance, and the token that it has.
#[derive(Debug)]
pub(super) struct Instance {
    principal: InstancePrincipal,
    /// Held while a token is had: whoever comes meanwhile waits for that one.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Held>,
    /// How many tokens there were.
    generation: u64,
    /// The last failure, for those who have waited for it.
    failed: Option<(Instant, IdentityError)>,
}

#[derive(Debug)]
struct Held {
    token: SecurityToken,
    signer: RequestSigner,
}

/// How long a failure is the answer for everybody: those who waited for it need not each go the same long way.
const FAILED: Duration = Duration::from_secs(1);

/// Bits of a session key (SDK, `auth/session_key_supplier.py`).
const SESSION_KEY_BITS: usize = 2048;

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

    /// A signer, and which token's it is. A token that will end within a minute is replaced; if that fails, it is used
    /// to its end.
    pub(super) async fn signer(&self, exchange: Exchange<'_>) -> Result<(RequestSigner, u64), IdentityError> {
        let mut state = self.state.lock().await;
        let now = Timestamp::now();
        if let Some(held) = &state.token
            && !held.token.is_due(now)?
        {
            return Ok((held.signer.clone(), state.generation));
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < FAILED
        {
            let error = error.clone();
            return state.until_its_end(now).ok_or(error);
        }
        match self.token(exchange).await {
            Ok(held) => {
                let signer = held.signer.clone();
                state.generation = state.generation.wrapping_add(1);
                state.token = Some(held);
                state.failed = None;
                Ok((signer, state.generation))
            }
            Err(error) => {
                // Another one's deadline is later.
                if !error.is_deadline() {
                    state.failed = Some((Instant::now(), error.clone()));
                }
                state.until_its_end(now).ok_or(error)
            }
        }
    }

    /// The token of this generation is not taken any more. One that somebody else has had since is kept.
    pub(super) async fn forget(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.token = None;
        }
    }

    async fn token(&self, exchange: Exchange<'_>) -> Result<Held, IdentityError> {
        let found = self.found(exchange).await?;
        let federation = match &self.principal.federation {
            Some(named) => named.clone(),
            None => self.federation(&found, exchange).await?,
        };
        // A second or so of computing: not on a thread that others wait for.
        let session_key = computed(|| RequestKey::generate(SESSION_KEY_BITS)).await??;
        let session_key = Arc::new(session_key);
        let request = FederationRequest::new(&found.leaf, &[found.intermediate.as_slice()], &session_key)?;
        let operation = Operation::federate(&federation, &request);
        let ask = ApiRequest {
            call: Call::Federate,
            operation: &operation,
            limit: ORACLE_ANSWER_BYTES,
            retry_token: None,
        };
        let signer = RequestSigner::federation(&found.leaf, Arc::new(found.key));
        let asked = exchange.signed(ask, &signer);
        let given = exchange.in_time(ask.call, &ask.host(), asked).await;
        let given = given.map_err(|error| IdentityError::TokenService(Box::new(error)))?;
        let token = read_token(&given.body)?;
        // One that does not say when it ends could not be renewed in time.
        token.expires_at()?;
        let signer = RequestSigner::security_token(&token, session_key);
        Ok(Held { token, signer })
    }

    /// The token service of the region that the instance is in.
    async fn federation(
        &self,
        found: &InstanceFacts,
        exchange: Exchange<'_>,
    ) -> Result<ServiceEndpoint, IdentityError> {
        let service = &found.service;
        let url = service.below("instance/region");
        let region = exchange.metadata(&url, service.as_url()).await;
        let region = region.map_err(|error| IdentityError::Metadata(Box::new(error)))?;
        let region: Region = String::from_utf8_lossy(region.trim_ascii()).parse()?;
        Ok(RegionEndpoints::new(region, found.leaf.tenancy())?.federation()?)
    }

    /// What the metadata service says. Certificate and key are two answers, and may be renewed in between: then both are
    /// asked for once more.
    async fn found(&self, exchange: Exchange<'_>) -> Result<InstanceFacts, IdentityError> {
        match self.asked(exchange).await {
            Err(IdentityError::Certificate(FederationError::Key)) => self.asked(exchange).await,
            other => other,
        }
    }

    async fn asked(&self, exchange: Exchange<'_>) -> Result<InstanceFacts, IdentityError> {
        let (service, certificate) = self.certificate(exchange).await?;
        let rest = |path| {
            let service = &service;
            async move {
                let answer = exchange.metadata(&service.below(path), service.as_url()).await;
                answer.map_err(|error| IdentityError::Metadata(Box::new(error)))
            }
        };
        let key = rest("identity/key.pem").await?;
        let key = zeroize::Zeroizing::new(key.to_vec());
        let intermediate = rest("identity/intermediate.pem").await?.to_vec();
        let leaf = LeafCertificate::from_pem(&certificate)?;
        let key = computed(move || RequestKey::from_pem(&key, None)).await??;
        leaf.check(&key)?;
        Ok(InstanceFacts {
            leaf,
            key,
            intermediate,
            service,
        })
    }

    /// The first that answers of the places that it may be at.
    async fn certificate(&self, exchange: Exchange<'_>) -> Result<(MetadataService, Vec<u8>), IdentityError> {
        let places = match &self.principal.metadata {
            Some(named) => vec![named.clone()],
            None => METADATA
                .iter()
                .map(|text| MetadataService::new(text))
                .collect::<Result<_, _>>()?,
        };
        let mut failed = None;
        for service in places {
            let asked = exchange
                .metadata(&service.below("identity/cert.pem"), service.as_url())
                .await;
            match asked {
                Ok(certificate) => return Ok((service, certificate.to_vec())),
                // The first one's words: the other address is for hosts that have no such route.
                Err(error @ ApiError::Unreachable { .. }) => {
                    failed.get_or_insert(error);
                }
                Err(error) => return Err(IdentityError::Metadata(Box::new(error))),
            }
        }
        let nowhere = || ApiError::Unreachable {
            host: "-".to_owned(),
            what: "there is no metadata service".to_owned(),
        };
        Err(IdentityError::Metadata(Box::new(failed.unwrap_or_else(nowhere))))
    }
}

impl State {
    /// What is due may still be good.
    fn until_its_end(&self, now: Timestamp) -> Option<(RequestSigner, u64)> {
        let held = self.token.as_ref()?;
        let ends = held.token.expires_at().ok()?;
        (ends > now).then(|| (held.signer.clone(), self.generation))
    }
}

/// What the metadata service said.
struct InstanceFacts {
    leaf: LeafCertificate,
    key: RequestKey,
    intermediate: Vec<u8>,
    /// Which said it.
    service: MetadataService,
}

async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, IdentityError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| IdentityError::crashed(&error))
}

/// Oracle's metadata service (SDK, as above): the second where a host has no route to the first.
const METADATA: [&str; 2] = [
    "http://169.254.169.254/opc/v2",
    "http://[fd00:c1::a9fe:a9fe]/opc/v2",
];

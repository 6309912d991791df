//! One operation at one endpoint: the sender and the authenticator composed, under a deadline, and counted.

use std::time::Instant;

use http::StatusCode;

use super::access::Presented;
use super::auth::{Authenticator, InitialAuth};
use super::body;
use super::config::Credentials;
use super::endpoint::{NoReferrersApi, Registry};
use super::error::RegistryError;
use super::metrics::RegistryOperation;
use super::sender::{RegistryRequest, RegistryResponse, Sender};
use super::tokens::{TokenCache, TokenScope};

/// One operation, at whichever endpoint it is performed.
pub(super) trait RegistryTask {
    /// The kind under which it is counted.
    const OPERATION: RegistryOperation;
    /// The result of a success.
    type Output: Send;

    /// Performs the operation at one endpoint.
    fn run(
        &self,
        context: &RequestContext<'_>,
    ) -> impl Future<Output = Result<Self::Output, RegistryError>> + Send;
}

/// The context of the requests to one endpoint.
pub(super) struct RequestContext<'a> {
    pub(super) sender: Sender<'a>,
    pub(super) registry: &'a Registry,
    pub(super) tokens: &'a TokenCache,
    pub(super) no_referrers_api: &'a NoReferrersApi,
    /// The credentials that the client presented.
    pub(super) presented: Option<&'a Presented>,
}

impl RequestContext<'_> {
    /// Performs an operation before the deadline, and counts it.
    pub(super) async fn perform<T: RegistryTask>(&self, task: &T) -> Result<T::Output, RegistryError> {
        let late = || RegistryError::DeadlineExceeded {
            host: self.sender.endpoint.host.clone(),
        };
        let deadline = self.sender.deadline;
        let result = if Instant::now() >= deadline {
            // `timeout_at` polls the task once before it checks the clock, which would send a request.
            Err(late())
        } else {
            match tokio::time::timeout_at(deadline.into(), task.run(self)).await {
                Ok(result) => result,
                Err(tokio::time::error::Elapsed { .. }) => Err(late()),
            }
        };
        self.sender.observe(T::OPERATION, &result);
        result.map_err(|error| without_unanswerable_challenge(&self.registry.credentials, error))
    }

    /// Sends a request with the credentials that it needs: those that an earlier request needed at once, otherwise
    /// those that the registry's challenge asks for, once.
    pub(super) async fn send(
        &self,
        request: &RegistryRequest,
        scope: TokenScope<'_>,
    ) -> Result<RegistryResponse, RegistryError> {
        let authenticator = self.authenticator();
        let initial = authenticator.initial(scope).await?;
        let response = self.sender.send(request, initial.header()).await?;
        // A challenge from the target of a redirect is not the registry's.
        if response.status() != StatusCode::UNAUTHORIZED || !response.is_from_endpoint {
            return Ok(response);
        }
        let key = match initial {
            // The client must answer its registry's challenge itself: pullgate does not hold its secret.
            InitialAuth::OfClient(_) => return Ok(response),
            InitialAuth::Cached(_, key) => {
                self.tokens.remove(&key);
                key
            }
            InitialAuth::Nothing(key) => key,
        };
        let Some(granted) = Box::pin(authenticator.answer(&response, key, scope)).await? else {
            return Ok(response);
        };
        body::drain(response.response).await;
        let response = self.sender.send(request, Some(&granted.authorization)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            self.tokens.insert(granted);
        }
        Ok(response)
    }

    fn authenticator(&self) -> Authenticator<'_> {
        Authenticator {
            sender: &self.sender,
            tokens: self.tokens,
            registry: self.registry,
            // A mirror elsewhere is never shown the client's credentials: they are for the registry that it named.
            presented: self.presented.filter(|_| self.sender.endpoint.is_own),
        }
    }
}

/// Drops the challenge where the client's own credentials do not pass through: pullgate would not show them to the
/// registry, so that asking the client for them would only disclose them to pullgate.
fn without_unanswerable_challenge(credentials: &Credentials, mut error: RegistryError) -> RegistryError {
    if *credentials != Credentials::Passthrough
        && let RegistryError::Unauthorized { challenge, .. } = &mut error
    {
        *challenge = None;
    }
    error
}

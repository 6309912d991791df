//! Blobs, which are served if an admitted manifest names them.

use std::time::Instant;

use http::{HeaderValue, Method};

use super::{Gate, GateSettings, run_guarded};
use crate::base::error_chain::chain;
use crate::base::reason::Reason;
use crate::net::registry::BlobStream;
use crate::oci::{ChildKind, Digest, Repository};
use crate::pull::decide::Denial;
use crate::pull::record::{Decision, DecisionOutcome};
use crate::pull::request::{PullContext, PullRequest};

/// Permission to serve one blob: an admitted manifest names it, or its rule accepts anything. Only the gate makes one.
///
/// A caller can pass it on, but cannot make one: its fields are private.
///
/// ```
/// use pullgate::pull::gate::BlobPermit;
/// fn pass_on(permit: BlobPermit) -> BlobPermit {
///     permit
/// }
/// ```
///
/// ```compile_fail
/// use pullgate::pull::gate::BlobPermit;
/// fn forge(permit: BlobPermit) -> BlobPermit {
///     BlobPermit { ..permit }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct BlobPermit {
    repository: Repository,
    digest: Digest,
}

impl BlobPermit {
    /// Returns the blob that may be served.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Gate {
    /// Decides whether a blob may be served. `request.reference` names it by digest.
    ///
    /// # Errors
    /// Returns the denial, which is already recorded.
    pub async fn admit_blob(&self, request: &PullRequest) -> Result<BlobPermit, Box<Denial>> {
        let started = Instant::now();
        let settings = self.settings();
        let rule = request.effective_rule(&settings.policy);
        let pull = self.context(request, &settings, &rule);
        let decided = run_guarded(pull, self.decide_blob(pull, &settings))
            .await
            .flatten();
        let (outcome, detail) = match &decided {
            Ok(_) => (DecisionOutcome::Allow, ""),
            Err(denial) => (DecisionOutcome::Deny(denial.reason), denial.detail.as_str()),
        };
        self.recorder.record_blob(&Decision {
            door: request.door,
            peer: &request.peer,
            reference: &request.reference,
            digest: request.reference.digest.as_ref(),
            rule: rule.name(),
            outcome,
            detail,
            cached: true,
            elapsed: started.elapsed(),
        });
        decided
    }

    async fn decide_blob(
        &self,
        pull: PullContext<'_>,
        settings: &GateSettings,
    ) -> Result<BlobPermit, Box<Denial>> {
        let repository = pull.repository().clone();
        let Some(digest) = pull.request.reference.digest else {
            let detail = "a blob must be requested by digest";
            return Err(Denial::new(pull, Reason::Malformed, None, detail));
        };
        pull.check_rules()?;
        if pull.rule.only_warns() || pull.rule.accepts_anything() {
            return Ok(BlobPermit { repository, digest });
        }
        match self.admitted_parent(pull, settings, ChildKind::Blob).await {
            Some(parent) => {
                pull.check_deny_list(parent.root())?;
                Ok(BlobPermit { repository, digest })
            }
            None => Err(pull.not_derived(&digest)),
        }
    }

    /// Opens an admitted blob at its registry, with the credentials of this client.
    ///
    /// # Errors
    /// Returns the denial, which is already recorded, if the registry returns an error.
    pub async fn open_blob(
        &self,
        permit: &BlobPermit,
        method: Method,
        range: Option<HeaderValue>,
        request: &PullRequest,
    ) -> Result<BlobStream, Box<Denial>> {
        let started = Instant::now();
        let settings = self.settings();
        let rule = settings
            .policy
            .effective_rule(&permit.repository, request.pod.as_ref());
        let pull = self.context(request, &settings, &rule);
        let opened = settings
            .client
            .blob_stream(
                &permit.repository,
                &permit.digest,
                method,
                range,
                &request.access(),
            )
            .await;
        opened.map_err(|error| {
            let denial = Denial::from_registry(pull, &error, Some(permit.digest), chain(&error));
            let decision = Decision {
                door: request.door,
                peer: &request.peer,
                reference: &request.reference,
                digest: Some(&permit.digest),
                rule: rule.name(),
                outcome: DecisionOutcome::Deny(denial.reason),
                detail: &denial.detail,
                cached: false,
                elapsed: started.elapsed(),
            };
            if denial.is_credentials_request(request) {
                self.recorder.record_challenge(&decision);
            } else {
                self.recorder.record_blob(&decision);
            }
            denial
        })
    }
}

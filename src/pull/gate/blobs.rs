//! Blobs: served where an admitted manifest names them.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Instant;

use futures_util::FutureExt as _;
use http::{HeaderValue, Method};

use super::{Gate, PullRequest};
use crate::base::error_chain::chain;
use crate::base::reason::Reason;
use crate::net::registry::BlobStream;
use crate::oci::{ChildKind, Digest, Repository};
use crate::pull::decide::{Denial, registry_failure};
use crate::pull::gate::context::Pull;
use crate::pull::record::{Decision, DecisionOutcome};

/// Leave to serve one blob: an admitted manifest names it, or its rule accepts anything. Only the gate makes one.
///
/// A caller can pass it on, and cannot make one: its fields are private.
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
    /// What may be served.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Gate {
    /// Whether an admitted manifest names this blob. `request.reference` names it by digest.
    ///
    /// # Errors
    /// The denial, already recorded.
    pub async fn admit_blob(&self, request: &PullRequest) -> Result<BlobPermit, Box<Denial>> {
        let began = Instant::now();
        let settings = self.settings();
        let ruling = request.effective_rule(&settings.policy);
        let pull = Pull {
            settings: &settings,
            ruling: &ruling,
            request,
            epoch: self.derivations.epoch(),
        };
        let work = pin!(self.judge_blob(pull));
        let work = AssertUnwindSafe(work).catch_unwind();
        let judged = match tokio::time::timeout_at(request.deadline.into(), work).await {
            Ok(Ok(judged)) => judged,
            Ok(Err(_panic)) => Err(pull.crashed()),
            Err(_elapsed) => Err(pull.late()),
        };
        let outcome = judged.as_ref().map_or_else(
            |denial| DecisionOutcome::Deny(denial.reason),
            |_| DecisionOutcome::Allow,
        );
        self.recorder.record_blob(&Decision {
            door: request.door,
            peer: &request.peer,
            reference: &request.reference,
            digest: request.reference.digest.as_ref(),
            rule: ruling.name(),
            outcome,
            detail: judged
                .as_ref()
                .map_or_else(|denial| denial.detail.as_str(), |_| ""),
            cached: true,
            elapsed: began.elapsed(),
        });
        judged
    }

    async fn judge_blob(&self, pull: Pull<'_>) -> Result<BlobPermit, Box<Denial>> {
        let case = pull.case();
        let repository = pull.request.reference.repository.clone();
        let Some(digest) = pull.request.reference.digest else {
            let detail = "a blob is asked for by digest".to_owned();
            return Err(case.denial(Reason::Malformed, None, detail));
        };
        pull.before_asking()?;
        if case.warns() || pull.accepts_anything() {
            return Ok(BlobPermit { repository, digest });
        }
        match self.admitted_cover(pull, ChildKind::Blob).await {
            Some(cover) => {
                case.not_denied(cover.root())?;
                Ok(BlobPermit { repository, digest })
            }
            None => Err(case.not_derived(&digest)),
        }
    }

    /// Asks the origin for an admitted blob, with the credentials of whoever asks now.
    ///
    /// # Errors
    /// The denial that the origin's failure is, already recorded.
    pub async fn open_blob(
        &self,
        permit: &BlobPermit,
        method: Method,
        range: Option<HeaderValue>,
        request: &PullRequest,
    ) -> Result<BlobStream, Box<Denial>> {
        let began = Instant::now();
        let settings = self.settings();
        let ruling = settings
            .policy
            .effective_rule(&permit.repository, request.pod.as_ref());
        let pull = Pull {
            settings: &settings,
            ruling: &ruling,
            request,
            epoch: self.derivations.epoch(),
        };
        let opened = settings
            .client
            .blob_stream(&permit.repository, &permit.digest, method, range, &pull.access())
            .await;
        opened.map_err(|error| {
            let (reason, challenge) = registry_failure(&error);
            let mut denial = pull.case().denial(reason, Some(permit.digest), chain(&error));
            denial.challenge = challenge;
            let decision = Decision {
                door: request.door,
                peer: &request.peer,
                reference: &request.reference,
                digest: Some(&permit.digest),
                rule: ruling.name(),
                outcome: DecisionOutcome::Deny(reason),
                detail: &denial.detail,
                cached: false,
                elapsed: began.elapsed(),
            };
            if request.is_asked_for_credentials(&denial) {
                self.recorder.record_challenge(&decision);
            } else {
                self.recorder.record_blob(&decision);
            }
            denial
        })
    }
}

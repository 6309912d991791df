//! The search for signatures: find and verify, source by source.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::GateSettings;
use crate::net::registry::{Access, SourceName};
use crate::oci::{Digest, Repository};
use crate::pull::find::{Budget, Found, Sought, find};
use crate::pull::policy::{Requirement, Rule};
use crate::pull::resolve::Subject;
use crate::pull::verify::{CheckedSignature, Evidence, Wanted, verify};

/// Until the rule is satisfied: a place that is not needed is not asked.
pub(super) async fn gather(
    settings: &GateSettings,
    rule: &Arc<Rule>,
    subject: &Subject,
    access: &Access,
) -> Evidence {
    let Requirement::Signed(signed) = &rule.requirement else {
        return Evidence::default();
    };
    let (digest, repository) = (subject.digest(), &subject.repository);
    let mut remote = Budget::default();
    let mut evidence = Evidence::default();
    for source in settings.client.sources(repository.registry()).iter().copied() {
        // Whoever may push to the registry must not use up what other places are looked at with.
        let mut local = Budget::default();
        let budget = match source {
            SourceName::Directory | SourceName::OracleApi => &mut local,
            SourceName::Referrers | SourceName::Tag => &mut remote,
        };
        for format in signed.formats.iter().copied() {
            let directory: &Path = &settings.signatures;
            let sought = Sought {
                digest,
                repository,
                format,
                directory,
                oracle: settings.oracle.get(repository.registry()),
            };
            let found = find(source, sought, &settings.client, access, budget).await;
            let (judged, found) =
                verified(source, found, Arc::clone(rule), *digest, repository.clone()).await;
            evidence.judged = evidence.judged.iter().cloned().chain(judged).collect();
            evidence.troubles = evidence.troubles.iter().cloned().chain(found.troubles).collect();
        }
        evidence.asked.push(source);
        if evidence.signers(Timestamp::now()).len() >= signed.threshold.get() {
            break;
        }
    }
    evidence
}

/// Verifies what was found. More than a few records apart from the threads that serve: 128 of them under many large keys
/// take seconds, and no other pull must wait for them.
async fn verified(
    source: SourceName,
    found: Found,
    rule: Arc<Rule>,
    digest: Digest,
    repository: Repository,
) -> (Vec<CheckedSignature>, Found) {
    if found.candidates.is_empty() {
        return (Vec::new(), found);
    }
    let keys = match &rule.requirement {
        Requirement::Signed(signed) => signed.keys.len(),
        Requirement::Digest(_) | Requirement::InsecureAcceptAnything | Requirement::Reject => 0,
    };
    let is_little = found.candidates.len().saturating_mul(keys) <= AT_ONCE;
    let work = move || {
        let Requirement::Signed(signed) = &rule.requirement else {
            return (Vec::new(), found);
        };
        let name = rule.signed_name(&repository);
        let wanted = Wanted {
            digest: &digest,
            repository: &name,
            signed,
        };
        (verify(source, &found, wanted, Timestamp::now()), found)
    };
    if is_little {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(judged) => judged,
        // A panic goes on to where panics of a pull are turned into a denial.
        Err(crash) => std::panic::resume_unwind(crash.into_panic()),
    }
}

/// RSA verifications that a thread which serves does by itself: of 2048 bits one takes 0.06 ms, of 8192 less than 1 ms. To
/// wake another thread, and be woken by it, takes as long as the first of them.
const AT_ONCE: usize = 4;

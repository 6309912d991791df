//! The failure that is reported when a rule is not satisfied.

use jiff::Timestamp;

use crate::base::error_chain::chain;
use crate::base::reason::Reason;
use crate::pull::evidence::Evidence;
use crate::signature::SignatureError;

/// Returns the most telling of all failures (by the order of [`Reason`]), and its text.
pub(super) fn primary_failure(
    evidence: &Evidence,
    signers: usize,
    threshold: usize,
    now: Timestamp,
) -> (Reason, String) {
    let sources: Vec<_> = evidence
        .queried_sources()
        .iter()
        .map(|source| source.as_str())
        .collect();
    let mut primary = (
        Reason::Unsigned,
        format!("no signature found (looked in: {})", sources.join(", ")),
    );
    let mut consider = |reason: Reason, detail: &dyn Fn() -> String| {
        if reason > primary.0 {
            primary = (reason, detail());
        }
    };
    for checked in evidence.checked().iter() {
        match &checked.outcome {
            Err(error) => consider(error.reason(), &|| chain(error)),
            // The signature was valid when verified, but its key may have expired since.
            Ok(verified) => {
                if let Err(why) = verified.claim().signer.check(now) {
                    let key = verified.claim().signer.name().to_owned();
                    let error = SignatureError::KeyUnusable { key, why };
                    consider(error.reason(), &|| chain(&error));
                }
            }
        }
    }
    if signers > 0 {
        consider(Reason::ThresholdNotMet, &|| {
            format!("{signers} of the {threshold} required keys signed it")
        });
    }
    for failure in evidence.failures().iter() {
        consider(failure.error.reason(), &|| {
            format!("{}: {}", failure.source.as_str(), chain(&failure.error))
        });
    }
    primary
}

//! The one table from [`Reason`] to the answer in each protocol. A reason that is added must be given an answer here.

use http::StatusCode;

use crate::base::reason::Reason;

/// Returns the HTTP status of a reason, and the code of the error body (distribution-spec 1.1, "Error Codes").
///
/// The status is 403 for all reasons but one, because every runtime shows the text of a 403: containerd asks the origin
/// after 401, 404 and 5xx alike where it has one, and of a 404 it prints "not found" alone; Podman and Docker drop the
/// body of a 5xx. The runtimes print the code before the message, and Podman decides by it (containers/common,
/// `pkg/retry`): it repeats the request three times, a second apart, unless the code is `DENIED`. So a lasting denial is
/// `DENIED`, and one that may pass by itself is `UNAVAILABLE`, which all runtimes print as they do `DENIED`.
///
/// 404 is kept for an image that its registry reports as missing.
#[must_use]
pub const fn http_answer(reason: Reason) -> (StatusCode, &'static str) {
    match reason {
        Reason::ImageNotFound => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        Reason::DeadlineExceeded
        | Reason::InternalError
        | Reason::LimitExceeded
        | Reason::RegistryUnreachable
        | Reason::SourceUnreachable => (StatusCode::FORBIDDEN, "UNAVAILABLE"),
        Reason::AlgorithmNotAllowed
        | Reason::BadSignature
        | Reason::DigestDenied
        | Reason::DigestMismatch
        | Reason::KeyExpired
        | Reason::KeyNotYetValid
        | Reason::KeyRevoked
        | Reason::Malformed
        | Reason::NoRule
        | Reason::NotDerived
        | Reason::RegistryUnauthorized
        | Reason::RejectedByRule
        | Reason::RepositoryMismatch
        | Reason::ThresholdNotMet
        | Reason::Unsigned
        | Reason::UntrustedKey => (StatusCode::FORBIDDEN, "DENIED"),
    }
}

/// Returns the first word of a CRI error message. The status is always UNKNOWN: for that status alone the kubelet's
/// client leaves out its own prefix (kubernetes/cri-client, `pkg/remote_image.go`), so that this word comes first. The
/// kubelet looks for it to name the pod's state (kubernetes, `pkg/kubelet/images/image_manager.go`, `evalCRIPullErr`;
/// cri-api, `pkg/errors`).
#[must_use]
pub const fn cri_answer(reason: Reason) -> &'static str {
    match reason {
        Reason::DeadlineExceeded
        | Reason::ImageNotFound
        | Reason::RegistryUnauthorized
        | Reason::RegistryUnreachable
        | Reason::SourceUnreachable => "RegistryUnavailable",
        Reason::AlgorithmNotAllowed
        | Reason::BadSignature
        | Reason::DigestDenied
        | Reason::DigestMismatch
        | Reason::InternalError
        | Reason::KeyExpired
        | Reason::KeyNotYetValid
        | Reason::KeyRevoked
        | Reason::LimitExceeded
        | Reason::Malformed
        | Reason::NoRule
        | Reason::NotDerived
        | Reason::RejectedByRule
        | Reason::RepositoryMismatch
        | Reason::ThresholdNotMet
        | Reason::Unsigned
        | Reason::UntrustedKey => "SignatureValidationFailed",
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::http_answer;
    use crate::base::reason::Reason;

    #[test]
    fn a_denial_is_403_and_only_a_missing_image_404() {
        for &reason in Reason::ALL {
            let expected = if reason == Reason::ImageNotFound {
                (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN")
            } else if reason.retryable() {
                (StatusCode::FORBIDDEN, "UNAVAILABLE")
            } else {
                (StatusCode::FORBIDDEN, "DENIED")
            };
            assert_eq!(http_answer(reason), expected, "{reason}");
        }
    }
}

//! The ways in: one runtime front door a file, and the one table from [`Reason`] to what each protocol answers.

pub mod listen;
pub mod admission;
pub mod cri;
pub mod registry;

use http::StatusCode;

use crate::base::reason::Reason;

/// How a reason is answered over HTTP: the status, and the code of the error body (distribution-spec 1.1, "Error
/// Codes").
///
/// 403 for all but one, because it is the one status whose text every runtime shows: containerd asks the origin after
/// 401, 404 and 5xx alike where it has one, and "not found" is all it prints of a 404; Podman and Docker drop the body
/// of a 5xx. The code is what the runtimes print before the message, and what Podman (containers/common, `pkg/retry`)
/// judges by: it asks again three times, a second apart, unless the code is `DENIED`. So a denial that stands is
/// `DENIED`, and one that may pass by itself is `UNAVAILABLE`, which all of them print as they do `DENIED`.
///
/// 404 is kept for an image that its registry says does not exist.
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

/// How a reason begins that is answered over CRI. The status is always UNKNOWN: of that alone the kubelet's client leaves
/// out its own prefix (kubernetes/cri-client, `pkg/remote_image.go`), so that these words come first, which it looks for to
/// name the pod's state (kubernetes, `pkg/kubelet/images/image_manager.go`, `evalCRIPullErr`; cri-api, `pkg/errors`).
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
        for reason in Reason::ALL {
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

//! Why a registry did not provide what was requested.

use http::HeaderValue;

use crate::oci::DigestMismatch;

/// Why a registry did not provide what was requested. Absent, unauthorized and unreachable are never confused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The node's own credentials for this registry could not be read, so that no request was sent.
    #[error("could not get the credentials for `{host}`: {what}")]
    Credentials {
        /// The registry as image names write it.
        host: String,
        /// The file or program, and what happened.
        what: String,
    },
    /// The pull's deadline passed.
    #[error("`{host}` did not answer before the pull's deadline")]
    DeadlineExceeded {
        /// The host that was contacted, with its port where the URL has one.
        host: String,
    },
    /// The content does not have the requested digest.
    #[error("`{host}` sent content with another digest than requested")]
    DigestMismatch {
        /// The host that was contacted.
        host: String,
        /// The requested and the actual digest.
        #[source]
        mismatch: DigestMismatch,
    },
    /// The response violates the specification.
    #[error("`{host}` sent an invalid response: {what}")]
    Malformed {
        /// The host that was contacted.
        host: String,
        /// The violation.
        what: String,
    },
    /// 404: the registry does not have it.
    #[error("not found at `{host}`")]
    NotFound {
        /// The host that was contacted.
        host: String,
    },
    /// The request would have gone to a forbidden place: a link-local address, a metadata service, pullgate's own
    /// listeners, another scheme.
    #[error("refused to contact `{host}`: {why}")]
    Refused {
        /// The host of the forbidden request.
        host: String,
        /// The rule that forbids it.
        why: String,
    },
    /// The response exceeds a bound in size or number.
    #[error("`{host}` sent more than {limit} {unit}")]
    TooLarge {
        /// The host that was contacted.
        host: String,
        /// The bound.
        limit: usize,
        /// The unit of the bound: `bytes`, `pages`, `redirects`, `referrers`.
        unit: &'static str,
    },
    /// 401 or 403, after all credentials that may be shown were shown.
    #[error("`{host}` refused the credentials: {message}")]
    Unauthorized {
        /// The host that was contacted.
        host: String,
        /// The registry's own words, made printable and bounded.
        message: String,
        /// The origin's `WWW-Authenticate`, for a client whose own credentials pass through.
        challenge: Option<HeaderValue>,
    },
    /// No connection, a TLS failure, 429, 5xx, or a response that ended early.
    #[error("`{host}` is unavailable: {what}")]
    Unreachable {
        /// The host that was contacted.
        host: String,
        /// The failure, with its causes.
        what: String,
    },
}

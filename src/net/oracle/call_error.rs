//! The error of one call over the network: the part of [`crate::net::oracle::ApiError`] that knows no identities.

use jiff::Timestamp;

use crate::net::oracle::OperationError;
use crate::net::oracle::metrics::{CallOutcome, CountedError};
use crate::net::oracle::wire::WireError;

/// Why a call to a service failed. Absent, unauthorized and unreachable are distinct as far as the service itself
/// distinguishes them. The service's own texts are shortened and printable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// 401, and the service's clock shows another time: a signature is valid for five minutes.
    #[error(
        "`{host}` refused the signature: its clock shows {there} and this machine's {here}, and they may differ by five \
         minutes: set this machine's clock"
    )]
    Clock {
        /// The service.
        host: String,
        /// When the request was signed, by this machine's clock.
        here: Timestamp,
        /// The time in the service's response.
        there: Timestamp,
    },
    /// The deadline passed while a failed request was repeated. The cause is the failure of the attempt before; another
    /// caller, with more time, may succeed.
    #[error("no answer from `{host}` to the repeated request before the deadline")]
    CutOff {
        /// The service.
        host: String,
        /// The failure of the attempt before.
        #[source]
        earlier: Box<Self>,
    },
    /// The deadline passed, and no earlier attempt had failed for another reason.
    #[error("no answer from `{host}` before the deadline")]
    DeadlineExceeded {
        /// The service.
        host: String,
    },
    /// The response is not as the service documents it.
    #[error("could not read the response of `{host}`")]
    Malformed {
        /// The service.
        host: String,
        /// The fault in it.
        #[source]
        source: WireError,
    },
    /// 404. Oracle's services send it as well for resources that exist and may not be seen.
    #[error(
        "the resource does not exist on `{host}`, or this identity may not see it; the service does not say which of \
         the two: {}",
        quoted(code, message)
    )]
    NotFound {
        /// The service.
        host: String,
        /// One word: `NotAuthorizedOrNotFound`. Empty where the service sent none.
        code: String,
        /// The service's own text.
        message: String,
    },
    /// No request can be made of the arguments; nothing was sent.
    #[error("could not build the request to `{host}`")]
    Operation {
        /// The service that would have been asked.
        host: String,
        /// The fault in the arguments.
        #[source]
        source: OperationError,
    },
    /// The pages of a list form a loop.
    #[error("`{host}` lists its pages in a loop: one names an earlier page as the next")]
    PageLoop {
        /// The service.
        host: String,
    },
    /// The head of the response is not HTTP, or has a header that it must not have.
    #[error("`{host}` sent an invalid HTTP response: {what}")]
    Protocol {
        /// The service.
        host: String,
        /// The fault in it.
        what: String,
    },
    /// The request would have gone to an address that must not be asked; nothing was sent.
    #[error("refused to send a request to `{host}`: {why}")]
    Refused {
        /// Where it would have gone.
        host: String,
        /// The rule against it.
        why: String,
    },
    /// Any other error status.
    #[error("`{host}` answered {status}: {}", quoted(code, message))]
    Service {
        /// The service.
        host: String,
        /// The status.
        status: u16,
        /// One word. Empty where the service sent none.
        code: String,
        /// The service's own text.
        message: String,
    },
    /// The key could not sign the request; nothing was sent.
    #[error("could not sign the request to `{host}`: {what}")]
    Signing {
        /// The service that would have been asked.
        host: String,
        /// The cause, with its own causes.
        what: String,
    },
    /// The response is larger, or the list longer, than its bound.
    #[error("`{host}` has more than {limit} {unit}")]
    TooLarge {
        /// The service.
        host: String,
        /// The bound.
        limit: usize,
        /// The unit of the bound: `bytes`, `pages`, `records`.
        unit: &'static str,
    },
    /// 401 or 403, and the clocks agree.
    #[error("`{host}` refused the signature or the signer: {}", quoted(code, message))]
    Unauthorized {
        /// The service.
        host: String,
        /// One word: `NotAuthenticated`. Empty where the service sent none.
        code: String,
        /// The service's own text.
        message: String,
    },
    /// No connection, a TLS failure, or a response that broke off.
    #[error("`{host}` is not reachable: {what}")]
    Unreachable {
        /// The service.
        host: String,
        /// The cause, with its own causes.
        what: String,
    },
}

impl CallError {
    /// Whether the caller's deadline ended the call: another caller, with more time, may succeed.
    #[must_use]
    pub const fn is_deadline(&self) -> bool {
        matches!(self, Self::CutOff { .. } | Self::DeadlineExceeded { .. })
    }
}

impl CountedError for CallError {
    fn outcome(&self) -> CallOutcome {
        match self {
            Self::CutOff { earlier, .. } => earlier.outcome(),
            Self::Clock { .. } => CallOutcome::Clock,
            Self::DeadlineExceeded { .. } => CallOutcome::DeadlineExceeded,
            Self::Malformed { .. } | Self::PageLoop { .. } | Self::Protocol { .. } => CallOutcome::Malformed,
            Self::NotFound { .. } => CallOutcome::NotFound,
            Self::Operation { .. } | Self::Refused { .. } => CallOutcome::Refused,
            Self::Service { .. } => CallOutcome::Service,
            Self::Signing { .. } => CallOutcome::Identity,
            Self::TooLarge { .. } => CallOutcome::TooLarge,
            Self::Unauthorized { .. } => CallOutcome::Unauthorized,
            Self::Unreachable { .. } => CallOutcome::Unreachable,
        }
    }
}

/// Formats a service's code, where it sent one, and its message.
fn quoted(code: &str, message: &str) -> String {
    if code.is_empty() {
        message.to_owned()
    } else {
        format!("`{code}`: {message}")
    }
}

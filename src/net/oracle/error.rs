//! Why a service of Oracle's did not give what was asked.

use jiff::Timestamp;

use crate::net::oracle::OperationError;
use crate::net::oracle::identity::IdentityError;
use crate::net::oracle::wire::WireError;

/// Why a service did not give what was asked. Absent, unauthorized and unreachable are never confused, as far as the
/// service itself tells them apart. Texts of the service are shortened and printable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// 401, and the service's clock shows another time: a signature is good for five minutes.
    #[error(
        "`{host}` refused the signature: its clock shows {there} and this machine's {here}, and they may differ by five \
         minutes: set this machine's clock"
    )]
    Clock {
        /// Whom we asked.
        host: String,
        /// When it was asked, by this machine's clock.
        here: Timestamp,
        /// What the service's answer says.
        there: Timestamp,
    },
    /// The deadline passed.
    #[error("no answer from `{host}` before the deadline")]
    DeadlineExceeded {
        /// Whom we asked.
        host: String,
    },
    /// There is nobody to sign the request as.
    #[error("requests to `{host}` cannot be signed")]
    Identity {
        /// Whom we would have asked.
        host: String,
        /// Why not.
        #[source]
        source: Box<IdentityError>,
    },
    /// The answer is not what the service is documented to answer.
    #[error("`{host}` answered against its documentation")]
    Malformed {
        /// Whom we asked.
        host: String,
        /// What is wrong.
        #[source]
        source: WireError,
    },
    /// 404. Oracle's services answer it as well where something is there and may not be seen.
    #[error(
        "`{host}` has it not, or does not let it be seen, and does not say which of the two: `{code}`: {message}"
    )]
    NotFound {
        /// Whom we asked.
        host: String,
        /// One word: `NotAuthorizedOrNotFound`.
        code: String,
        /// The service's own words.
        message: String,
    },
    /// It is never asked so.
    #[error("`{host}` is not asked")]
    Operation {
        /// Whom we would have asked.
        host: String,
        /// Why not.
        #[source]
        source: OperationError,
    },
    /// The list goes round in a circle.
    #[error("`{host}` names the page that it has just given as the next one")]
    PageLoop {
        /// Whom we asked.
        host: String,
    },
    /// The answer's head is not HTTP, or says what it may not.
    #[error("`{host}` answered with what is not an answer: {what}")]
    Protocol {
        /// Whom we asked.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// The request would have gone to a place that it must not go to.
    #[error("refused to ask `{host}`: {why}")]
    Refused {
        /// Where it would have gone.
        host: String,
        /// Why not.
        why: String,
    },
    /// Any other status.
    #[error("`{host}` answered {status}: `{code}`: {message}")]
    Service {
        /// Whom we asked.
        host: String,
        /// The status.
        status: u16,
        /// One word; empty where it says none.
        code: String,
        /// The service's own words.
        message: String,
    },
    /// No TLS or no trusted certificates: nothing can be asked.
    #[error("no connections can be made: {what}")]
    Setup {
        /// Why not.
        what: String,
    },
    /// The answer is larger, or goes on longer, than its bound.
    #[error("`{host}` has more than {limit} {unit}")]
    TooLarge {
        /// Whom we asked.
        host: String,
        /// The bound.
        limit: usize,
        /// Of what: `bytes`, `pages`, `records`.
        unit: &'static str,
    },
    /// 401 or 403, and the clocks agree.
    #[error("`{host}` refused the signature or the signer: `{code}`: {message}")]
    Unauthorized {
        /// Whom we asked.
        host: String,
        /// One word: `NotAuthenticated`.
        code: String,
        /// The service's own words.
        message: String,
    },
    /// No connection, TLS failure, or an answer that broke off.
    #[error("`{host}` is not reachable: {what}")]
    Unreachable {
        /// Whom we asked.
        host: String,
        /// What happened, with its causes.
        what: String,
    },
}

//! The body of an error response.

use std::fmt;

use serde::Deserialize;

use super::{WireError, read};
use crate::base::limits::ERROR_BYTES;
use crate::base::printable::excerpt;

/// `{"code", "message"}` (Oracle's documentation, "API Errors"). The texts are the service's, shortened and with
/// without characters that a terminal or a log would interpret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError {
    /// One word, such as `NotAuthenticated`.
    pub code: String,
    /// A sentence for the user.
    pub message: String,
}

impl ServiceError {
    /// Parses the body of a response whose status is an error.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] and [`WireError::Json`]: the response may come from a proxy on the way.
    pub fn parse(unverified: &[u8]) -> Result<Self, WireError> {
        let wire: ErrorWire = read(unverified, ERROR_BYTES)?;
        Ok(Self {
            code: excerpt(&wire.code),
            message: excerpt(&wire.message),
        })
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`: {}", self.code, self.message)
    }
}

/// The fields that are read. Others are ignored (`opc-request-id`, `originalMessage` of some services).
#[derive(Deserialize)]
struct ErrorWire {
    code: String,
    #[serde(default)]
    message: String,
}

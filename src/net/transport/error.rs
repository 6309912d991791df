//! Why a request got no response.

use std::error::Error;

use super::connect::ConnectError;
use super::guard::Forbidden;
use crate::base::error_chain::chain;

/// Why connections cannot be set up at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportSetupError {
    #[error("`ca` holds no PEM certificate")]
    NoCertificate,
    #[error("`ca` is not PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("could not use `ca` or set up TLS")]
    Tls(#[from] rustls::Error),
}

/// Why a request got no response. Each text holds what happened, with its causes, in one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// The host's name leads to a forbidden address.
    #[error("{0}")]
    Forbidden(Forbidden),
    /// The head of the response is not HTTP, or too large.
    #[error("{0}")]
    Malformed(String),
    /// No connection could be made, or the connection ended before the response.
    #[error("{what}")]
    Unreachable {
        what: String,
        /// Whether the same request may succeed later. A wrong certificate stays wrong.
        transient: bool,
    },
}

impl TransportError {
    pub(super) fn new(error: &(dyn Error + 'static)) -> Self {
        if let Some(why) = cause::<Forbidden>(error) {
            return Self::Forbidden(*why);
        }
        let what = chain(error);
        if cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
            return Self::Malformed(format!("could not read the head of the response: {what}"));
        }
        let transient = cause::<rustls::Error>(error).is_none();
        Self::Unreachable { what, transient }
    }
}

impl From<ConnectError> for TransportError {
    fn from(error: ConnectError) -> Self {
        Self::new(&error)
    }
}

impl From<hyper::Error> for TransportError {
    fn from(error: hyper::Error) -> Self {
        Self::new(&error)
    }
}

/// Returns the first cause of one type. An `io::Error` omits the error that it wraps from its sources, so that this
/// function looks inside it.
pub(super) fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

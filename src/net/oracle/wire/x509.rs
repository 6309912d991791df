//! Tokens for instances (SDK 2.189.0, `auth/federation_client.py`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::{WireError, read};
use crate::base::limits::ORACLE_ANSWER_BYTES;
use crate::net::oracle::identity::certificate::certificate_der;
use crate::net::oracle::{FederationError, LeafCertificate, RequestKey, SecurityToken, TokenError};

/// What a token is asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederationRequest {
    certificate: String,
    intermediates: Vec<String>,
    public_key: String,
}

impl FederationRequest {
    /// For the instance of this certificate, and for requests that this session key will sign. The intermediate
    /// certificates are PEM, as the metadata service gives them.
    ///
    /// # Errors
    /// As [`FederationError`] says, of the intermediate certificates.
    pub fn new(
        leaf: &LeafCertificate,
        intermediates: &[&[u8]],
        session_key: &RequestKey,
    ) -> Result<Self, FederationError> {
        let intermediates = intermediates
            .iter()
            .map(|pem| Ok(STANDARD.encode(certificate_der(pem)?)))
            .collect::<Result<_, FederationError>>()?;
        Ok(Self {
            certificate: leaf.body(),
            intermediates,
            public_key: STANDARD.encode(session_key.public_der()),
        })
    }

    pub(in crate::net::oracle) fn to_json(&self) -> Vec<u8> {
        let mut request = json!({ "certificate": self.certificate, "publicKey": self.public_key });
        // The SDK leaves the field out where there are none.
        if let (Some(object), false) = (request.as_object_mut(), self.intermediates.is_empty()) {
            object.insert("intermediateCertificates".to_owned(), json!(self.intermediates));
        }
        request.to_string().into_bytes()
    }
}

/// Reads the answer: `{"token"}`.
///
/// # Errors
/// [`WireError::TooLarge`] and [`WireError::Token`].
pub fn read_token(unverified: &[u8]) -> Result<SecurityToken, WireError> {
    let wire = match read::<TokenWire>(unverified, ORACLE_ANSWER_BYTES) {
        Ok(wire) => wire,
        Err(WireError::TooLarge { limit }) => return Err(WireError::TooLarge { limit }),
        // What is wrong with the JSON is told with words of it, and some of them are the token.
        Err(_quotes_the_answer) => return Err(WireError::Token(TokenError::Syntax)),
    };
    SecurityToken::parse(wire.token.as_bytes()).map_err(WireError::Token)
}

#[derive(Deserialize)]
struct TokenWire {
    token: String,
}

//! Tokens for instances (SDK 2.189.0, `auth/federation_client.py`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::{WireError, read};
use crate::base::limits::ORACLE_ANSWER_BYTES;
use crate::net::oracle::leaf_certificate::certificate_der;
use crate::net::oracle::{LeafCertificate, LeafCertificateError, RequestKey, SecurityToken, TokenError};

/// A request for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederationRequest {
    certificate: String,
    intermediates: Vec<String>,
    public_key: String,
}

impl FederationRequest {
    /// Requests a token for the instance of this certificate. The session key will sign the requests that show the
    /// token. The intermediate certificates are PEM, as the metadata service returns them.
    ///
    /// # Errors
    /// [`LeafCertificateError`] when an intermediate certificate is malformed.
    pub fn new(
        leaf: &LeafCertificate,
        intermediates: &[&[u8]],
        session_key: &RequestKey,
    ) -> Result<Self, LeafCertificateError> {
        let intermediates = intermediates
            .iter()
            .map(|pem| Ok(STANDARD.encode(certificate_der(pem)?)))
            .collect::<Result<_, LeafCertificateError>>()?;
        Ok(Self {
            certificate: leaf.body(),
            intermediates,
            public_key: STANDARD.encode(session_key.public_der()),
        })
    }

    pub(in crate::net::oracle) fn to_json(&self) -> Vec<u8> {
        let mut request = json!({ "certificate": self.certificate, "publicKey": self.public_key });
        // As the SDK does, omits the field if there are none.
        if let (Some(object), false) = (request.as_object_mut(), self.intermediates.is_empty()) {
            object.insert("intermediateCertificates".to_owned(), json!(self.intermediates));
        }
        request.to_string().into_bytes()
    }
}

/// Parses the response: `{"token"}`.
///
/// # Errors
/// [`WireError::TooLarge`] and [`WireError::Token`].
pub fn read_token(unverified: &[u8]) -> Result<SecurityToken, WireError> {
    let wire = match read::<TokenWire>(unverified, ORACLE_ANSWER_BYTES) {
        Ok(wire) => wire,
        Err(WireError::TooLarge { limit }) => return Err(WireError::TooLarge { limit }),
        // A JSON error quotes the response, which may hold the token.
        Err(_quotes_the_answer) => return Err(WireError::Token(TokenError::Syntax)),
    };
    SecurityToken::parse(wire.token.as_bytes()).map_err(WireError::Token)
}

#[derive(Deserialize)]
struct TokenWire {
    token: String,
}

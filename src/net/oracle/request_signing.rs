//! The signature on each request: draft-cavage-http-signatures-08, version 1 (SDK 2.189.0, `signer.py`; Oracle's
//! documentation, "Request Signatures").

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{LeafCertificate, Ocid, Operation, RequestKey, Secret, SecurityToken};

/// A key with the id under which a service looks it up.
#[derive(Clone, Debug)]
pub struct RequestSigner {
    /// Secret, because it may hold a token.
    key_id: Secret,
    key: Arc<RequestKey>,
    signs_host: bool,
}

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The method's signature does not cover a body, and there is one.
    #[error("a {0} request cannot have a body: the signature would not cover it")]
    Body(Method),
    /// The time does not fit an HTTP date.
    #[error("the clock's time does not fit an HTTP date")]
    Date(#[source] jiff::Error),
    /// A value holds characters that a header must not hold.
    #[error("could not write a header of the request")]
    Header(#[from] InvalidHeaderValue),
    /// Oracle's signatures do not define the method.
    #[error("{0} requests cannot be signed")]
    Method(Method),
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
    /// The `rsa` crate failed.
    #[error("could not sign with the key")]
    Rsa(#[source] rsa::Error),
}

impl RequestSigner {
    /// Signs with an API key of a user. The key id is `<tenancy>/<user>/<fingerprint>`.
    #[must_use]
    pub fn api_key(tenancy: &Ocid, user: &Ocid, key: Arc<RequestKey>) -> Self {
        Self {
            key_id: Secret::new(format!("{tenancy}/{user}/{}", key.fingerprint())),
            key,
            signs_host: true,
        }
    }

    /// Signs with a token and the key that it was issued for. The key id is `ST$<token>` (SDK,
    /// `auth/signers/security_token_signer.py`).
    #[must_use]
    pub fn security_token(token: &SecurityToken, key: Arc<RequestKey>) -> Self {
        Self {
            key_id: Secret::new(format!("ST${}", token.expose())),
            key,
            signs_host: true,
        }
    }

    /// Signs a token request with an instance's certificate and its `key`. The key id is
    /// `<tenancy>/fed-x509/<SHA-1 of the certificate>`, and the host is not signed (SDK, `auth/federation_client.py`).
    #[must_use]
    pub fn federation(leaf: &LeafCertificate, key: Arc<RequestKey>) -> Self {
        Self {
            key_id: Secret::new(format!("{}/fed-x509/{}", leaf.tenancy(), leaf.fingerprint())),
            key,
            signs_host: false,
        }
    }

    /// Signs a request. Returns `authorization` and all the headers that it covers. Send them with the operation's
    /// method, URL and body unchanged, and within five minutes of `now` by Oracle's clock.
    ///
    /// # Errors
    /// As [`SigningError`] says.
    pub fn sign(&self, operation: &Operation, now: Timestamp) -> Result<HeaderMap, SigningError> {
        let date = DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&now)
            .map_err(SigningError::Date)?;
        self.sign_at(operation, &date)
    }

    fn sign_at(&self, operation: &Operation, date: &str) -> Result<HeaderMap, SigningError> {
        let lines = self.lines(operation, date)?;
        let signature = self
            .key
            .sign(signing_string(&lines).as_bytes())
            .map_err(SigningError::Rsa)?;
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        // In the order of Oracle's own client.
        let mut authorization = HeaderValue::try_from(format!(
            r#"Signature algorithm="rsa-sha256",headers="{}",keyId="{}",signature="{}",version="1""#,
            names.join(" "),
            self.key_id.expose(),
            STANDARD.encode(signature),
        ))?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            if let Some(header) = header(name) {
                headers.insert(header, HeaderValue::try_from(value)?);
            }
        }
        headers.insert(AUTHORIZATION, authorization);
        Ok(headers)
    }

    /// Returns the signed names and values, in their order.
    fn lines(&self, operation: &Operation, date: &str) -> Result<Vec<(&'static str, String)>, SigningError> {
        let Operation { method, url, body } = operation;
        let mut lines = vec![
            ("date", date.to_owned()),
            (REQUEST_TARGET, request_target(method, url)),
        ];
        if self.signs_host {
            lines.push(("host", authority(url)?));
        }
        match *method {
            Method::GET | Method::HEAD | Method::DELETE if body.is_empty() => {}
            Method::GET | Method::HEAD | Method::DELETE => return Err(SigningError::Body(method.clone())),
            Method::POST | Method::PUT | Method::PATCH => {
                lines.push(("content-length", body.len().to_string()));
                lines.push(("content-type", "application/json".to_owned()));
                // An empty body is hashed as well.
                lines.push((CONTENT_SHA256, STANDARD.encode(Sha256::digest(body))));
            }
            _ => return Err(SigningError::Method(method.clone())),
        }
        Ok(lines)
    }
}

/// Joins the lines `name: value`, without a line break after the last.
fn signing_string(lines: &[(&'static str, String)]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    lines.join("\n")
}

/// Returns the method in lower case, and path and query exactly as they are sent.
fn request_target(method: &Method, url: &Url) -> String {
    let method = method.as_str().to_ascii_lowercase();
    match url.query() {
        Some(query) => format!("{method} {}?{query}", url.path()),
        None => format!("{method} {}", url.path()),
    }
}

/// Returns the value that HTTP clients send as `host`: the host, with the port unless it is the scheme's default.
fn authority(url: &Url) -> Result<String, SigningError> {
    let host = url.host_str().ok_or(SigningError::NoHost)?;
    Ok(url
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Returns the header of a line; `(request-target)` is not a header.
fn header(name: &str) -> Option<HeaderName> {
    match name {
        "content-length" => Some(CONTENT_LENGTH),
        "content-type" => Some(CONTENT_TYPE),
        "date" => Some(DATE),
        "host" => Some(HOST),
        CONTENT_SHA256 => Some(HeaderName::from_static(CONTENT_SHA256)),
        _ => None,
    }
}

const CONTENT_SHA256: &str = "x-content-sha256";

const REQUEST_TARGET: &str = "(request-target)";

#[cfg(test)]
mod tests;

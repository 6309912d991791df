//! The signature of a request: draft-cavage-http-signatures-08 with RSA and SHA-256, as Oracle's "Request Signatures"
//! page describes it and its SDK writes it. It is never lenient: a client that passes has signed
//! everything that it must sign.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use md5::Md5;
use rsa::PublicKey;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use sha2::{Digest as _, Sha256};

use super::http::Request;

/// Why a request is not authentic. The client sees `NotAuthenticated` only; the log of requests has the flaw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// `Authorization` is missing or duplicated.
    Absent,
    /// The algorithm is not `rsa-sha256`.
    Algorithm,
    /// `x-content-sha256` is not the body's.
    BodyHash,
    /// `date` is not a date.
    Date,
    /// The token or the certificate has expired.
    Expired,
    /// A signed header is missing or duplicated.
    Header(String),
    /// `content-length` is not the body's.
    Length,
    /// A parameter is missing, duplicated or malformed.
    Parameter(&'static str),
    /// The scheme is not `Signature`, or its parameters are not a list.
    Scheme,
    /// The signature is not the key's.
    Signature,
    /// The date differs from the cloud's clock by more than five minutes.
    Skew,
    /// A header that must be signed is not signed.
    Unsigned(&'static str),
    /// The key is unknown.
    UnknownKey,
    /// The version is not 1.
    Version,
}

/// The content of an `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub key_id: String,
    /// The names of the signed headers, in order.
    pub headers: Vec<String>,
    pub signature: Vec<u8>,
}

impl Credentials {
    pub fn from_request(request: &Request) -> Result<Self, Flaw> {
        let mut every = request.every("authorization");
        let (Some(value), None) = (every.next(), every.next()) else {
            return Err(Flaw::Absent);
        };
        Self::parse(value)
    }

    /// Parses the header's value. The parameters may have any order.
    pub fn parse(value: &str) -> Result<Self, Flaw> {
        let mut rest = value.strip_prefix("Signature ").ok_or(Flaw::Scheme)?;
        let mut found: [Option<&str>; 5] = [None; 5];
        loop {
            let (name, after) = rest.split_once("=\"").ok_or(Flaw::Scheme)?;
            let (value, after) = after.split_once('"').ok_or(Flaw::Scheme)?;
            let at = PARAMETERS.iter().position(|each| *each == name.trim());
            if let Some(at) = at.filter(|at| found[*at].replace(value).is_some()) {
                return Err(Flaw::Parameter(PARAMETERS[at]));
            }
            match after.strip_prefix(',') {
                Some(after) => rest = after,
                None if after.is_empty() => break,
                None => return Err(Flaw::Scheme),
            }
        }
        let parameter = |at: usize| found[at].ok_or(Flaw::Parameter(PARAMETERS[at]));
        if parameter(0)? != "rsa-sha256" {
            return Err(Flaw::Algorithm);
        }
        if parameter(4)? != "1" {
            return Err(Flaw::Version);
        }
        let signature = BASE64_STANDARD.decode(parameter(3)?);
        Ok(Self {
            key_id: parameter(2)?.to_owned(),
            headers: parameter(1)?.split(' ').map(str::to_owned).collect(),
            signature: signature.map_err(|_base64| Flaw::Parameter("signature"))?,
        })
    }

    fn signs(&self, name: &str) -> bool {
        self.headers.iter().any(|each| each == name)
    }
}

/// Checks that the key signed the request, and everything that must be signed. The federation endpoint does not require
/// `host`.
pub fn verify(
    request: &Request,
    credentials: &Credentials,
    key: &PublicKey,
    with_host: bool,
) -> Result<(), Flaw> {
    if !credentials.signs("date") && !credentials.signs("x-date") {
        return Err(Flaw::Unsigned("date"));
    }
    let host = with_host.then_some("host");
    for name in ["(request-target)"].into_iter().chain(host) {
        if !credentials.signs(name) {
            return Err(Flaw::Unsigned(name));
        }
    }
    if ["POST", "PUT", "PATCH"].contains(&request.method.as_str()) {
        for name in BODY_HEADERS {
            if !credentials.signs(name) {
                return Err(Flaw::Unsigned(name));
            }
        }
        if request.header("content-length") != Some(&request.body.len().to_string()) {
            return Err(Flaw::Length);
        }
        if request.header("x-content-sha256") != Some(&request.body_hash()) {
            return Err(Flaw::BodyHash);
        }
    }
    let signed = signing_string(request, &credentials.headers)?;
    key.pkcs1v15_verify::<Sha256>(signed.as_bytes(), &credentials.signature)
        .map_err(|_rsa| Flaw::Signature)
}

/// Returns the signed text: one line for each header, without a line feed at the end.
pub fn signing_string(request: &Request, headers: &[String]) -> Result<String, Flaw> {
    let mut lines = Vec::with_capacity(headers.len());
    for name in headers {
        if name == "(request-target)" {
            let method = request.method.to_ascii_lowercase();
            lines.push(format!("(request-target): {method} {}", request.target));
            continue;
        }
        let mut every = request.every(name);
        let (Some(value), None) = (every.next(), every.next()) else {
            return Err(Flaw::Header(name.clone()));
        };
        lines.push(format!("{name}: {value}"));
    }
    Ok(lines.join("\n"))
}

/// Checks that the request was made within five minutes of `now`. `x-date` replaces `date` if it is signed.
pub fn fresh(request: &Request, credentials: &Credentials, now: Timestamp) -> Result<(), Flaw> {
    let name = if credentials.signs("x-date") {
        "x-date"
    } else {
        "date"
    };
    let text = request.header(name).ok_or(Flaw::Date)?;
    if !text.ends_with(" GMT") {
        return Err(Flaw::Date);
    }
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let made = parser.parse_timestamp(text).map_err(|_jiff| Flaw::Date)?;
    if made.duration_since(now).abs() > SKEW {
        return Err(Flaw::Skew);
    }
    Ok(())
}

/// Returns an API key's fingerprint: the MD5 of its DER as 16 pairs of hex digits.
pub fn fingerprint(key: &PublicKey) -> String {
    let der = key.to_public_key_der().expect("an RSA key has a DER");
    pairs(&hex::encode(Md5::digest(der.as_bytes())))
}

/// Formats hex digits as pairs, separated by colons.
pub fn pairs(hex: &str) -> String {
    let bytes = hex.as_bytes().chunks(2);
    let pairs: Vec<_> = bytes.map(String::from_utf8_lossy).collect();
    pairs.join(":")
}

/// Returns the fingerprint of a public key in PEM.
pub fn pem_fingerprint(public_key: &str) -> String {
    let key = PublicKey::from_public_key_pem(public_key).expect("a public RSA key in PEM");
    fingerprint(&key)
}

const PARAMETERS: [&str; 5] = ["algorithm", "headers", "keyId", "signature", "version"];
/// The headers that a request with a body must sign as well.
const BODY_HEADERS: [&str; 3] = ["content-length", "content-type", "x-content-sha256"];
/// Largest difference of clocks ("Request Signatures"); beyond it the answer is 401.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

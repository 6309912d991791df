//! The signature of a request: draft-cavage-http-signatures-08 with RSA and SHA-256, as Oracle's "Request Signatures"
//! page describes it and its SDK writes it. Nothing is lenient here: a client that passes has signed all that it must.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use md5::Md5;
use rsa::PublicKey;
use rsa::pkcs8::EncodePublicKey as _;
use sha2::{Digest as _, Sha256};

use super::http::Request;

/// Why a request is not taken. Clients only ever see `NotAuthenticated`; the log of requests has this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No `Authorization`, or more than one.
    Absent,
    /// Another algorithm than `rsa-sha256`.
    Algorithm,
    /// `x-content-sha256` is not the body's.
    BodyHash,
    /// `date` is no date.
    Date,
    /// The token is over.
    Expired,
    /// A header that is signed is missing, or there twice.
    Header(String),
    /// `content-length` is not the body's.
    Length,
    /// A parameter that is missing, there twice or malformed.
    Parameter(&'static str),
    /// Not `Signature`, or no list of parameters.
    Scheme,
    /// The signature is not the key's.
    Signature,
    /// More than five minutes off.
    Skew,
    /// A header that must be signed is not.
    Unsigned(&'static str),
    /// Nobody has this key.
    UnknownKey,
    /// Another version than 1.
    Version,
}

/// What an `Authorization` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub key_id: String,
    /// What is signed, in order.
    pub headers: Vec<String>,
    pub signature: Vec<u8>,
}

impl Credentials {
    pub fn of(request: &Request) -> Result<Self, Flaw> {
        let mut every = request.every("authorization");
        let (Some(value), None) = (every.next(), every.next()) else {
            return Err(Flaw::Absent);
        };
        Self::parse(value)
    }

    /// Reads the header's value. The order of the parameters is free.
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

/// Whether the key signed this request, and all of it that must be signed. `host` is not asked of the federation
/// endpoint's clients.
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

/// The bytes that are signed: a line each, no line feed at the end.
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

/// Whether the request was made within five minutes of now. `x-date` stands for `date` where it is signed.
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

/// How an API key is named: the MD5 of its DER as 16 pairs of hex digits.
pub fn fingerprint(key: &PublicKey) -> String {
    let der = key.to_public_key_der().expect("an RSA key has a DER");
    pairs(&hex::encode(Md5::digest(der.as_bytes())))
}

/// Hex digits in pairs with colons between.
pub fn pairs(hex: &str) -> String {
    let bytes = hex.as_bytes().chunks(2);
    let pairs: Vec<_> = bytes.map(String::from_utf8_lossy).collect();
    pairs.join(":")
}

const PARAMETERS: [&str; 5] = ["algorithm", "headers", "keyId", "signature", "version"];
/// What a request with a body signs besides.
const BODY_HEADERS: [&str; 3] = ["content-length", "content-type", "x-content-sha256"];
/// "Request Signatures": a clock that is off by more is answered 401.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

mod keys;
mod malformed;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use rsa::pkcs8::DecodePrivateKey as _;
use serde_json::{Value, json};
use sha2::{Sha256, Sha384};

use super::*;
use crate::signature::{Locator, SourceName};
use crate::trust::{PublicKey, Salt, Validity};

const PUBLIC: &[u8] = include_bytes!("../../../tests/fixtures/keys/rsa-2048.public.pem");
const PRIVATE: &str = include_str!("../../../tests/fixtures/keys/rsa-2048.private.pem");
const OTHER: &[u8] = include_bytes!("../../../tests/fixtures/oracle/keys/other-2048.v1.public.pem");
const DIGEST: &str = "sha256:289676fac4febfea1de58adff7e2c1a5a8ec97945559927c94d9153ffef1d603";
const FINGERPRINT: &str = "sha256:59d9bb5bf531ff81cee5d778421402776fe015073c3172f634ca65573b18437c";
const NOW: &str = "2026-06-01T00:00:00Z";

/// A key without ids or window that may be used with each algorithm.
fn key(name: &str, pem: &[u8]) -> TrustedKey {
    let public_key = PublicKey::from_pem(pem).unwrap();
    TrustedKey::new(name, public_key, SigningAlgorithm::every_scheme(Salt::Any))
}

fn release() -> TrustedKey {
    key("release", PUBLIC)
}

/// `release`, with these ids.
fn with_ids(ids: &[(&'static str, &str)]) -> TrustedKey {
    TrustedKey {
        ids: ids
            .iter()
            .map(|(setting, id)| (*setting, (*id).to_owned()))
            .collect(),
        ..release()
    }
}

/// `release`, known in a vault as `key` in version `version`.
fn vault(version: &str) -> TrustedKey {
    with_ids(&[(KMS_KEY_ID, "key"), (KMS_KEY_VERSION_ID, version)])
}

/// `key`, to be used in this window.
fn valid(key: TrustedKey, validity: Validity) -> TrustedKey {
    TrustedKey { validity, ..key }
}

const REVOKED: Validity = Validity {
    not_before: None,
    not_after: None,
    revoked: true,
};

fn message() -> Value {
    json!({
        "description": "",
        "imageDigest": DIGEST,
        "kmsKeyId": "key",
        "kmsKeyVersionId": "v1",
        "metadata": "",
        "region": "local",
        "repositoryName": "project01/acme",
        "signingAlgorithm": "SHA_256_RSA_PKCS_PSS",
    })
}

fn with(mut object: Value, field: &str, value: impl Into<Value>) -> Value {
    object[field] = value.into();
    object
}

/// A record whose message is `message`, signed with SHA-256 by the private half of `release`.
fn record(message: &[u8]) -> Value {
    let private = rsa::PrivateKey::from_pkcs8_pem(PRIVATE).unwrap();
    json!({
        "kmsKeyId": "key",
        "kmsKeyVersionId": "v1",
        "signingAlgorithm": "SHA_256_RSA_PKCS_PSS",
        "message": STANDARD.encode(message),
        "signature": STANDARD.encode(private.pss_sign::<Sha256>(message).unwrap()),
    })
}

fn good() -> Value {
    record(message().to_string().as_bytes())
}

fn open_bytes(record: impl Into<Bytes>, keys: &[TrustedKey]) -> Result<Claim, SignatureError> {
    let candidate = Candidate {
        format: &Oracle,
        source: SourceName("test"),
        locator: Locator::Service("test".to_owned()),
        unverified_media_type: None,
        unverified: record.into(),
    };
    let authorities: Vec<_> = keys
        .iter()
        .map(|key| Arc::new(Authority::from(key.clone())))
        .collect();
    Oracle.verify(&candidate, &authorities, NOW.parse().unwrap())
}

fn open(record: &Value, keys: &[TrustedKey]) -> Result<Claim, SignatureError> {
    open_bytes(record.to_string(), keys)
}

fn error(record: &Value, keys: &[TrustedKey]) -> SignatureError {
    open(record, keys).unwrap_err()
}

fn bad(key: &str) -> SignatureError {
    SignatureError::BadSignature { key: key.to_owned() }
}

fn untrusted(key: &str) -> SignatureError {
    SignatureError::UntrustedKey { key: key.to_owned() }
}

fn not_allowed(algorithm: &str) -> SignatureError {
    SignatureError::AlgorithmNotAllowed {
        algorithm: algorithm.to_owned(),
    }
}

fn unusable(key: &str, why: SignerUnusable) -> SignatureError {
    SignatureError::KeyUnusable {
        key: key.to_owned(),
        why,
    }
}

/// The text of `Malformed`.
#[track_caller]
fn malformed_text(outcome: Result<Claim, SignatureError>) -> String {
    match outcome {
        Err(SignatureError::Malformed(text)) => text,
        other => panic!("not malformed: {other:?}"),
    }
}

#[test]
fn a_good_record_yields_the_digest_the_repository_and_the_signer() {
    for keys in [
        vec![release()],
        vec![vault("v1")],
        vec![with_ids(&[(KMS_KEY_ID, "key")])],
        vec![with_ids(&[(KMS_KEY_VERSION_ID, "v1")])],
        vec![key("other", OTHER), release()],
    ] {
        let claim = open(&good(), &keys).unwrap();
        assert_eq!(claim.digest.to_string(), DIGEST);
        assert_eq!(claim.identity, ClaimedIdentity::Path("project01/acme".to_owned()));
        assert_eq!(claim.signer.name(), "release");
    }
}

#[test]
fn the_signed_bytes_are_verified_in_any_spelling() {
    // Other signers use another order, white space and escapes; serialized again, none of these would verify.
    let pretty = format!("\n{}\n", serde_json::to_string_pretty(&message()).unwrap());
    for spelled in [
        pretty,
        message()
            .to_string()
            .replace("project01/acme", "project01\\/acme"),
        message()
            .to_string()
            .replace("project01/acme", "project01/\\u0061cme"),
        with(message(), "description", "naïve 画像 🔏 <b>&").to_string(),
    ] {
        let claim = open(&record(spelled.as_bytes()), &[release()]).unwrap();
        assert_eq!(
            claim.identity,
            ClaimedIdentity::Path("project01/acme".to_owned()),
            "{spelled}"
        );
    }
}

#[test]
fn an_altered_record_does_not_verify() {
    let text = message().to_string();
    for (field, value) in [
        ("message", STANDARD.encode(text.replace("acme", "evil"))),
        ("message", STANDARD.encode(format!("{text} "))),
        ("message", String::new()),
        ("signature", String::new()),
        ("signature", STANDARD.encode([0; 256])),
        ("signature", STANDARD.encode([0xFF; 256])),
        ("signingAlgorithm", "SHA_384_RSA_PKCS_PSS".to_owned()),
    ] {
        assert_eq!(
            error(&with(good(), field, value), &[vault("v1")]),
            bad("release"),
            "{field}"
        );
    }
    let signature = STANDARD.decode(good()["signature"].as_str().unwrap()).unwrap();
    for other in [
        &signature[..255],
        &signature[1..],
        &[signature.as_slice(), &[0]].concat(),
    ] {
        assert_eq!(
            error(&with(good(), "signature", STANDARD.encode(other)), &[vault("v1")]),
            bad("release")
        );
    }
}

#[test]
fn a_record_that_differs_from_the_signed_message_is_refused() {
    let differs = |claim| SignatureError::RecordDiffers { claim };
    for (field, value) in [
        ("kmsKeyId", "other"),
        ("kmsKeyVersionId", "v2"),
        ("signingAlgorithm", "SHA_384_RSA_PKCS_PSS"),
        ("signingAlgorithm", "SHA_256_RSA_PKCS1_V1_5"),
        ("signingAlgorithm", "sha_256_rsa_pkcs_pss"),
    ] {
        let signed = record(with(message(), field, value).to_string().as_bytes());
        assert_eq!(error(&signed, &[release()]), differs(field), "{value}");
        assert_eq!(differs(field).reason(), crate::base::reason::Reason::BadSignature);
    }
    // No signature covers the outer record: an attacker can change the key or algorithm that it names.
    assert_eq!(
        error(&with(good(), "kmsKeyId", "other"), &[release()]),
        differs("kmsKeyId")
    );
    assert_eq!(
        error(&with(good(), "kmsKeyVersionId", "v2"), &[release()]),
        differs("kmsKeyVersionId")
    );
    // Signed with SHA-384, said so by the record, and SHA-256 in the message.
    let private = rsa::PrivateKey::from_pkcs8_pem(PRIVATE).unwrap();
    let signature = private
        .pss_sign::<Sha384>(message().to_string().as_bytes())
        .unwrap();
    let record = with(
        with(good(), "signingAlgorithm", "SHA_384_RSA_PKCS_PSS"),
        "signature",
        STANDARD.encode(signature),
    );
    assert_eq!(error(&record, &[release()]), differs("signingAlgorithm"));
}

#[test]
fn a_withdrawn_record_is_refused() {
    open(&with(good(), "lifecycleState", "AVAILABLE"), &[release()]).unwrap();
    open(&with(good(), "lifecycleState", Value::Null), &[release()]).unwrap();
    for state in ["DELETING", "DELETED", "available", "", "AVAILABLE "] {
        let expected = SignatureError::Withdrawn {
            state: state.to_owned(),
        };
        assert_eq!(
            error(&with(good(), "lifecycleState", state), &[release()]),
            expected
        );
    }
    let text = malformed_text(open(&with(good(), "lifecycleState", 1), &[release()]));
    assert_eq!(text, "`lifecycleState` is not a text");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        open_bytes(bytes.clone(), &[release()]).unwrap_err();
        OracleMessage::parse(&bytes).unwrap_err();
    }

    /// With any bit flipped, a record yields the signed claim or an error.
    #[test]
    fn a_flipped_bit_never_changes_the_claim(position in 0..1000_usize, bit in 0..7_u8) {
        let mut bytes = good().to_string().into_bytes();
        let position = position % bytes.len();
        bytes[position] ^= 1 << bit;
        if let Ok(claim) = open_bytes(bytes, &[release()]) {
            prop_assert_eq!(claim.digest.to_string(), DIGEST);
            prop_assert_eq!(claim.identity, ClaimedIdentity::Path("project01/acme".to_owned()));
        }
    }
}

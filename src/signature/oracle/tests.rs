use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use proptest::prelude::*;
use rsa::pkcs8::DecodePrivateKey as _;
use serde_json::{Value, json};
use sha2::{Sha256, Sha384};

use super::*;
use crate::base::limits::{MESSAGE_BYTES, RECORD_BYTES};
use crate::signature::{Locator, SourceName};
use crate::trust::{PublicKey, Salt};

const PUBLIC: &[u8] = include_bytes!("../../../tests/fixtures/keys/rsa-2048.public.pem");
const PRIVATE: &str = include_str!("../../../tests/fixtures/keys/rsa-2048.private.pem");
const OTHER: &[u8] = include_bytes!("../../../tests/fixtures/oracle/keys/other-2048.v1.public.pem");
const DIGEST: &str = "sha256:289676fac4febfea1de58adff7e2c1a5a8ec97945559927c94d9153ffef1d603";
const FINGERPRINT: &str = "sha256:59d9bb5bf531ff81cee5d778421402776fe015073c3172f634ca65573b18437c";
const NOW: &str = "2026-06-01T00:00:00Z";

/// A key without ids, window or narrowing.
fn key(name: &str, pem: &[u8]) -> TrustedKey {
    TrustedKey {
        name: name.to_owned(),
        public_key: PublicKey::from_pem(pem).unwrap(),
        algorithms: SigningAlgorithm::ALL.into(),
        salt: Salt::Any,
        kms_key_id: None,
        kms_key_version_id: None,
        not_before: None,
        not_after: None,
        revoked: false,
    }
}

fn release() -> TrustedKey {
    key("release", PUBLIC)
}

/// `release`, known in a vault as `key` in version `version`.
fn vault(version: &str) -> TrustedKey {
    TrustedKey {
        kms_key_id: Some("key".to_owned()),
        kms_key_version_id: Some(version.to_owned()),
        ..release()
    }
}

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
    let keys: Vec<_> = keys.iter().cloned().map(Arc::new).collect();
    Oracle.verify(&candidate, &keys, NOW.parse().unwrap())
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

fn unusable(key: &str, why: KeyUnusable) -> SignatureError {
    SignatureError::KeyUnusable {
        key: key.to_owned(),
        why,
    }
}

/// What `Malformed` says.
#[track_caller]
fn malformed_text(outcome: Result<Claim, SignatureError>) -> String {
    match outcome {
        Err(SignatureError::Malformed(text)) => text,
        other => panic!("not malformed: {other:?}"),
    }
}

#[test]
fn a_good_record_says_what_was_signed_and_by_whom() {
    for keys in [
        vec![release()],
        vec![vault("v1")],
        vec![TrustedKey {
            kms_key_version_id: None,
            ..vault("v1")
        }],
        vec![TrustedKey {
            kms_key_id: None,
            ..vault("v1")
        }],
        vec![key("other", OTHER), release()],
    ] {
        let claim = open(&good(), &keys).unwrap();
        assert_eq!(claim.digest.to_string(), DIGEST);
        assert_eq!(claim.identity, ClaimedIdentity::Path("project01/acme".to_owned()));
        assert_eq!(claim.signed_by.name, "release");
    }
}

#[test]
fn the_bytes_that_were_signed_are_verified_however_they_are_spelled() {
    // Other signers write other order, white space and escapes; re-serialised, none of these would verify.
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
fn keys_are_chosen_by_the_ids_that_are_configured() {
    let other_ids = |id: &str, version: &str| TrustedKey {
        kms_key_id: Some(id.to_owned()),
        kms_key_version_id: Some(version.to_owned()),
        ..release()
    };
    // The right key material under the wrong ids: the record is by another key, by the configuration's word.
    for stranger in [
        other_ids("other", "v1"),
        other_ids("key", "v2"),
        other_ids("KEY", "v1"),
        other_ids("key ", "v1"),
        other_ids("", ""),
    ] {
        assert_eq!(error(&good(), &[stranger]), untrusted("key"));
    }
    assert_eq!(error(&good(), &[]), untrusted("key"));
    // Named, and not by its hand.
    let impostor = TrustedKey {
        public_key: key("other", OTHER).public_key,
        ..vault("v1")
    };
    assert_eq!(error(&good(), std::slice::from_ref(&impostor)), bad("release"));
    // Not named, and not by its hand: nothing says that it should have been.
    assert_eq!(error(&good(), &[key("other", OTHER)]), untrusted("key"));
    // A key without ids is tried beside one that is named.
    let impostor = TrustedKey {
        name: "impostor".to_owned(),
        ..impostor
    };
    assert_eq!(
        open(&good(), &[impostor.clone(), release()])
            .unwrap()
            .signed_by
            .name,
        "release"
    );
    assert_eq!(error(&good(), &[impostor, key("other", OTHER)]), bad("impostor"));
}

#[test]
fn a_key_outside_any_vault_is_named_by_its_fingerprint() {
    let message = with(
        with(message(), "kmsKeyId", FINGERPRINT),
        "kmsKeyVersionId",
        FINGERPRINT,
    )
    .to_string();
    let local = with(
        with(record(message.as_bytes()), "kmsKeyId", FINGERPRINT),
        "kmsKeyVersionId",
        FINGERPRINT,
    );
    assert_eq!(open(&local, &[release()]).unwrap().signed_by.name, "release");
    let altered = with(local, "message", STANDARD.encode(message.replace("acme", "evil")));
    assert_eq!(error(&altered, &[release()]), bad("release"));
    assert_eq!(error(&altered, &[key("other", OTHER)]), untrusted(FINGERPRINT));
    // With ids configured a record must name those.
    assert_eq!(error(&altered, &[vault("v1")]), untrusted(FINGERPRINT));
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
fn the_record_says_what_was_signed_or_is_refused() {
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
    // The outer record is nobody's word: changed, it names another key or algorithm than what was signed.
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
fn algorithms_are_the_keys_word() {
    let only = |algorithm| TrustedKey {
        algorithms: [algorithm].into(),
        ..vault("v1")
    };
    let sha512 = only(SigningAlgorithm::Sha512RsaPkcsPss);
    assert_eq!(
        error(&good(), std::slice::from_ref(&sha512)),
        not_allowed("SHA_256_RSA_PKCS_PSS")
    );
    open(&good(), &[only(SigningAlgorithm::Sha256RsaPkcsPss)]).unwrap();
    for unknown in [
        "SHA_256_RSA_PKCS1_V1_5",
        "ECDSA_SHA_256",
        "sha_256_rsa_pkcs_pss",
        "",
        "none",
    ] {
        let record = with(good(), "signingAlgorithm", unknown);
        assert_eq!(error(&record, &[vault("v1")]), not_allowed(unknown));
        // Whose key is not trusted is not told more.
        assert_eq!(
            error(
                &record,
                &[TrustedKey {
                    kms_key_id: Some("other".to_owned()),
                    ..release()
                }]
            ),
            untrusted("key")
        );
    }
    // The named key may not, a key without ids may and did not.
    assert_eq!(
        error(&good(), &[sha512.clone(), key("other", OTHER)]),
        not_allowed("SHA_256_RSA_PKCS_PSS")
    );
    // A narrowed name of one key does not narrow the other.
    assert_eq!(
        open(
            &good(),
            &[
                TrustedKey {
                    name: "narrow".to_owned(),
                    ..sha512
                },
                release()
            ]
        )
        .unwrap()
        .signed_by
        .name,
        "release"
    );
}

#[test]
fn a_window_is_judged_after_the_signature() {
    let begin = "2026-06-01T00:00:00.000000001Z".parse().unwrap();
    let end = NOW.parse().unwrap();
    let early = TrustedKey {
        not_before: Some(begin),
        ..vault("v1")
    };
    let late = TrustedKey {
        not_after: Some(end),
        ..vault("v1")
    };
    let revoked = TrustedKey {
        revoked: true,
        ..vault("v1")
    };
    let forged = with(good(), "message", STANDARD.encode("{}"));
    for (key, why) in [
        (early, KeyUnusable::NotYetValid(begin)),
        (late, KeyUnusable::Expired(end)),
        (revoked, KeyUnusable::Revoked),
    ] {
        assert_eq!(
            error(&good(), std::slice::from_ref(&key)),
            unusable("release", why)
        );
        assert_eq!(error(&forged, &[key]), bad("release"));
    }
    // What a key that may not be used signed is not even read.
    let nonsense = record(b"nonsense");
    assert_eq!(
        error(
            &nonsense,
            &[TrustedKey {
                revoked: true,
                ..vault("v1")
            }]
        ),
        unusable("release", KeyUnusable::Revoked)
    );
}

#[test]
fn one_key_under_two_names_speaks_by_the_one_that_may() {
    let old = TrustedKey {
        name: "old".to_owned(),
        not_after: Some(NOW.parse().unwrap()),
        ..release()
    };
    let new = TrustedKey {
        name: "new".to_owned(),
        not_before: Some(NOW.parse().unwrap()),
        ..vault("v1")
    };
    for keys in [vec![old.clone(), new.clone()], vec![new.clone(), old.clone()]] {
        assert_eq!(open(&good(), &keys).unwrap().signed_by.name, "new");
    }
    let both = [
        old.clone(),
        TrustedKey {
            name: "older".to_owned(),
            ..old
        },
    ];
    assert_eq!(
        error(&good(), &both),
        unusable("old", KeyUnusable::Expired(NOW.parse().unwrap()))
    );
    // Of two good names the first of the rule.
    assert_eq!(
        open(&good(), &[new.clone(), release()]).unwrap().signed_by.name,
        "new"
    );
    assert_eq!(
        open(&good(), &[release(), new.clone()]).unwrap().signed_by.name,
        "release"
    );
    // A revoked key does not come back under its other name, also where the record does not name the revoked one.
    let revoked = TrustedKey {
        name: "leaked".to_owned(),
        revoked: true,
        ..vault("v9")
    };
    for keys in [vec![revoked.clone(), new.clone()], vec![new, revoked]] {
        assert_eq!(error(&good(), &keys), unusable("leaked", KeyUnusable::Revoked));
    }
}

#[test]
fn a_withdrawn_record_is_none() {
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

#[test]
fn a_signed_message_has_eight_texts_and_nothing_else() {
    let refused = |message: &str| malformed_text(open(&record(message.as_bytes()), &[release()]));
    for field in message().as_object().unwrap().keys() {
        let mut lacking = message();
        lacking.as_object_mut().unwrap().remove(field);
        assert!(
            refused(&lacking.to_string()).contains(&format!("missing field `{field}`")),
            "{field}"
        );
        for other in [json!(null), json!(1), json!(true), json!([]), json!({})] {
            let text = refused(&with(message(), field, other).to_string());
            assert!(text.contains("expected a string"), "{text}");
        }
        let twice = message()
            .to_string()
            .replacen('{', &format!("{{\"{field}\":\"x\","), 1);
        assert!(refused(&twice).contains("stands twice"), "{field}");
        let folded =
            message()
                .to_string()
                .replacen('{', &format!("{{\"{}\":\"x\",", field.to_uppercase()), 1);
        assert!(refused(&folded).contains("stands twice"), "{field}");
    }
    assert!(refused(&with(message(), "tag", "latest").to_string()).contains("unknown field `tag`"));
    let texts: Vec<_> = message().as_object().unwrap().values().cloned().collect();
    for (hostile, expected) in [
        (Value::Array(texts).to_string(), "expected an object"),
        ("nonsense".to_owned(), "expected ident"),
        (String::new(), "EOF"),
        ("null".to_owned(), "expected an object"),
        (format!("{}{}", message(), message()), "trailing characters"),
        (
            format!("{{\"description\":{}", "[".repeat(MESSAGE_BYTES - 100)),
            "nested too deeply",
        ),
        (
            with(message(), "description", "x")
                .to_string()
                .replace("\"x\"", "\"\\ud83d\""),
            "hex escape",
        ),
    ] {
        let text = refused(&hostile);
        assert!(
            text.starts_with("the signed message is not one: ") && text.contains(expected),
            "{text}"
        );
    }
    let invalid = [message().to_string().as_bytes(), &[0xFF]].concat();
    assert!(malformed_text(open(&record(&invalid), &[release()])).contains("utf-8"));
    for digest in [
        "",
        "latest",
        "sha256:00",
        &DIGEST.to_uppercase(),
        &format!("{DIGEST}\n"),
        "../../etc",
    ] {
        let text = refused(&with(message(), "imageDigest", digest).to_string());
        assert!(
            text.starts_with("the signed imageDigest is not a digest: "),
            "{text}"
        );
    }
}

#[test]
fn nothing_is_said_of_a_message_that_did_not_verify() {
    // The same hostile messages, unsigned: bad signatures, whatever is in them.
    for hostile in [
        &b"nonsense"[..],
        b"",
        b"{}",
        &[0xFF; 100],
        message().to_string().to_uppercase().as_bytes(),
    ] {
        let record = with(good(), "message", STANDARD.encode(hostile));
        assert_eq!(error(&record, &[vault("v1")]), bad("release"));
    }
}

#[test]
fn base64_has_one_spelling() {
    let text = good()["message"].as_str().unwrap().to_owned();
    let signature = good()["signature"].as_str().unwrap().to_owned();
    assert!(text.ends_with('=') && signature.ends_with("=="));
    for field in ["message", "signature"] {
        let good_text = good()[field].as_str().unwrap().to_owned();
        let decoded = STANDARD.decode(&good_text).unwrap();
        // Bits that are left over: another letter of the same value.
        let trailing = {
            let end = good_text.trim_end_matches('=').len();
            let last = good_text.as_bytes()[end - 1];
            let next = if last == b'9' { '+' } else { char::from(last + 1) };
            format!("{}{next}{}", &good_text[..end - 1], &good_text[end..])
        };
        for hostile in [
            format!("{good_text}\n"),
            format!(" {good_text}"),
            format!("{}\n{}", &good_text[..76], &good_text[76..]),
            good_text.trim_end_matches('=').to_owned(),
            format!("{good_text}="),
            format!("{good_text}{good_text}"),
            trailing,
            URL_SAFE.encode([&[0xFB; 3], decoded.as_slice()].concat()),
            "\u{ff21}".to_owned(),
        ] {
            let outcome = open(&with(good(), field, hostile.clone()), &[release()]);
            let expected = format!("`{field}` is not base64: ");
            assert!(
                malformed_text(outcome).starts_with(&expected),
                "{field}: {hostile}"
            );
        }
    }
}

#[test]
fn records_are_strict_json_objects_of_bounded_size() {
    let refused = |record: &str| malformed_text(open_bytes(record.to_owned(), &[release()]));
    let good = good().to_string();
    for (hostile, expected) in [
        (String::new(), "EOF"),
        ("[]".to_owned(), "expected a map"),
        ("null".to_owned(), "expected a map"),
        (format!("{good}x"), "trailing characters"),
        (format!("{good}{good}"), "trailing characters"),
        (
            good.replacen('{', "{\"message\":\"\",", 1),
            "the key `message` stands twice",
        ),
        (good.replacen('{', "{\"Message\":\"\",", 1), "stands twice"),
        (good.replacen('{', "{\"me\\u0073sage\":\"\",", 1), "stands twice"),
        (
            good.replacen('{', &format!("{{\"a\":{}1{},", "[".repeat(40), "]".repeat(40)), 1),
            "nested too deeply",
        ),
        (
            good.replacen('{', &format!("{{\"a\":{}", "[".repeat(60_000)), 1),
            "nested too deeply",
        ),
    ] {
        let text = refused(&hostile);
        assert!(
            text.starts_with("not a JSON object: ") && text.contains(expected),
            "{text}"
        );
    }
    assert!(malformed_text(open_bytes(vec![0xFF; 10], &[release()])).contains("utf-8"));
    for field in [
        "kmsKeyId",
        "kmsKeyVersionId",
        "signingAlgorithm",
        "message",
        "signature",
    ] {
        let mut lacking: Value = serde_json::from_str(&good).unwrap();
        lacking.as_object_mut().unwrap().remove(field);
        assert_eq!(refused(&lacking.to_string()), format!("`{field}` is missing"));
        lacking[field] = json!(["x"]);
        assert_eq!(refused(&lacking.to_string()), format!("`{field}` is not a text"));
        lacking[field] = Value::Null;
        assert_eq!(refused(&lacking.to_string()), format!("`{field}` is missing"));
    }
    let filled = |bytes: usize| format!("{good}{}", " ".repeat(bytes - good.len()));
    open_bytes(filled(RECORD_BYTES), &[release()]).unwrap();
    assert_eq!(refused(&filled(RECORD_BYTES + 1)), "longer than 65536 bytes");
}

#[test]
fn a_message_is_as_long_as_the_vault_signs() {
    let padded = |bytes: usize| {
        let text = message().to_string();
        record(format!("{text}{}", " ".repeat(bytes - text.len())).as_bytes())
    };
    open(&padded(MESSAGE_BYTES), &[release()]).unwrap();
    let text = malformed_text(open(&padded(MESSAGE_BYTES + 1), &[release()]));
    assert_eq!(text, "the message is longer than 4096 bytes");
}

#[test]
fn errors_quote_no_more_of_a_record_than_fits_a_line() {
    let long = "x\n\u{1b}[31m".repeat(5000);
    for (field, key) in [
        ("kmsKeyId", vault("v1")),
        ("signingAlgorithm", release()),
        ("lifecycleState", release()),
    ] {
        let text = error(&with(good(), field, long.clone()), &[key]).to_string();
        assert!(
            text.len() < 2000 && !text.contains('\n') && !text.contains('\u{1b}'),
            "{text}"
        );
    }
    let text = malformed_text(open(
        &record(with(message(), &long[..1000], "").to_string().as_bytes()),
        &[release()],
    ));
    assert!(
        text.len() < 2000 && !text.contains('\n') && !text.contains('\u{1b}'),
        "{text}"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        open_bytes(bytes.clone(), &[release()]).unwrap_err();
        OracleMessage::parse(&bytes).unwrap_err();
    }

    /// Whatever is flipped in a record, it says what was signed or nothing.
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

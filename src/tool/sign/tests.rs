use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::oci::{Blob, Descriptor, Document, MediaType};
use crate::signature::oracle::{ARTIFACT_TYPE, Oracle};
use crate::signature::{Candidate, Claim, ClaimedIdentity, Format as _, Locator, SignatureError, SourceName};
use crate::trust::{KeyError, PublicKey, Salt, SigningAlgorithm, TrustedKey};

const PRIVATE: &str = include_str!("../../../tests/fixtures/keys/rsa-2048.private.pem");
const NOW: &str = "2026-11-23T16:49:59.329Z";

fn key() -> PrivateKey {
    PrivateKey::from_pem(PRIVATE).unwrap()
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn message() -> OracleMessage {
    let fingerprint = key().fingerprint().to_string();
    OracleMessage {
        description: String::new(),
        image_digest: crate::oci::Digest::sha256(b"an image"),
        kms_key_id: fingerprint.clone(),
        kms_key_version_id: fingerprint,
        metadata: String::new(),
        region: "local".to_owned(),
        repository_name: "project01/acme".to_owned(),
        signing_algorithm: SigningAlgorithm::Sha256RsaPkcsPss,
    }
}

/// Opens a record as a gate does that trusts the key and accepts only salts as long as the hash.
fn open(record: Vec<u8>, public_key: &PublicKey) -> Result<Claim, SignatureError> {
    let schemes = SigningAlgorithm::every_scheme(Salt::Digest);
    let key = TrustedKey::new("release", public_key.clone(), schemes);
    let unverified = Bytes::from(record);
    let candidate = Candidate {
        format: &Oracle,
        source: SourceName("test"),
        locator: Locator::Service("test".to_owned()),
        unverified_media_type: None,
        unverified,
    };
    Oracle.verify(&candidate, &[Arc::new(key.into())], now())
}

#[test]
fn a_message_is_encoded_as_by_oracles_client() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oracle/positive");
    let mut messages = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let case: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        let made_by = case["made_by"].as_str().unwrap();
        assert!(made_by.contains("sign-upload"), "{made_by}");
        let signed = STANDARD
            .decode(case["api_record"]["message"].as_str().unwrap())
            .unwrap();
        // The fields come from another parser, so that a mistake of ours cannot cancel itself out.
        let fields: Value = serde_json::from_slice(&signed).unwrap();
        let text = |field: &str| fields[field].as_str().unwrap().to_owned();
        let message = OracleMessage {
            description: text("description"),
            image_digest: text("imageDigest").parse().unwrap(),
            kms_key_id: text("kmsKeyId"),
            kms_key_version_id: text("kmsKeyVersionId"),
            metadata: text("metadata"),
            region: text("region"),
            repository_name: text("repositoryName"),
            signing_algorithm: text("signingAlgorithm").parse().unwrap(),
        };
        assert_eq!(
            message_bytes::encode(&message),
            String::from_utf8(signed.clone()).unwrap()
        );
        assert_eq!(OracleMessage::parse(&signed), Ok(message));
        messages += 1;
    }
    assert_eq!(messages, 13);
}

#[test]
fn a_gate_that_trusts_the_key_opens_the_record() {
    let key = key();
    for signing_algorithm in SigningAlgorithm::ALL {
        let signed = OracleMessage {
            signing_algorithm,
            description: "naïve 🔏".to_owned(),
            ..message()
        };
        let record = sign(&signed, &key, now()).unwrap();
        let claim = open(record.to_json(), key.public()).unwrap();
        assert_eq!(claim.digest, signed.image_digest);
        assert_eq!(claim.identity, ClaimedIdentity::Path("project01/acme".to_owned()));
        let other = PublicKey::from_pem(include_bytes!(
            "../../../tests/fixtures/oracle/keys/prod-2048.v1.public.pem"
        ));
        assert_eq!(
            open(record.to_json(), &other.unwrap()).unwrap_err(),
            SignatureError::UntrustedKey {
                key: key.fingerprint().to_string()
            }
        );
        let altered = Record {
            message: STANDARD.encode(message_bytes::encode(&message())),
            ..record
        };
        assert_eq!(
            open(altered.to_json(), key.public()).unwrap_err(),
            SignatureError::BadSignature {
                key: "release".to_owned()
            }
        );
    }
}

#[test]
fn a_record_has_the_fields_that_the_api_stores() {
    let ids = OracleMessage {
        kms_key_id: "ocid1.key.oc1.phx.bgxjkmty6zcls.nijj4e74yg".to_owned(),
        kms_key_version_id: "ocid1.keyversion.b5nq53pf26".to_owned(),
        ..message()
    };
    let record = sign(&ids, &key(), now()).unwrap();
    let signature = record.signature_bytes().unwrap();
    let id = format!(
        "urn:pullgate:signature:{}",
        crate::oci::Digest::sha256(&signature)
    );
    assert_eq!(signature.len(), 256);
    assert_eq!(
        record.message_bytes().unwrap(),
        message_bytes::encode(&ids).into_bytes()
    );
    let object: Value = serde_json::from_slice(&record.to_json()).unwrap();
    assert_eq!(object["id"], id);
    assert_eq!(
        object["displayName"],
        format!(
            "nijj4e74yg::b5nq53pf26::SHA_256_RSA_PKCS_PSS::{}",
            &id[id.len() - 10..]
        )
    );
    assert_eq!(object["kmsKeyId"], ids.kms_key_id);
    assert_eq!(object["kmsKeyVersionId"], ids.kms_key_version_id);
    assert_eq!(object["lifecycleState"], "AVAILABLE");
    assert_eq!(object["signingAlgorithm"], "SHA_256_RSA_PKCS_PSS");
    assert_eq!(object["timeCreated"], NOW);
    assert_eq!(object.as_object().unwrap().len(), 9);
    assert_eq!(Record::parse(&record.to_json()), Ok(record.clone()));
    // The salt is random, so an image that is signed twice has two records.
    assert_ne!(sign(&ids, &key(), now()).unwrap().id, record.id);
}

#[test]
fn metadata_is_empty_or_json_and_is_signed_unchanged() {
    for metadata in [
        "",
        "{}",
        "{\"buildnumber\": \"8447\"}",
        " [1, 2]\n",
        "null",
        "\"x\"",
        "{\"a\":1,\"a\":2}",
    ] {
        let record = sign(
            &OracleMessage {
                metadata: metadata.to_owned(),
                ..message()
            },
            &key(),
            now(),
        )
        .unwrap();
        assert_eq!(
            OracleMessage::parse(&record.message_bytes().unwrap())
                .unwrap()
                .metadata,
            metadata
        );
    }
    for metadata in [" ", "x", "{", "{}{}", "{'a': 1}", "\u{feff}{}"] {
        let refused = sign(
            &OracleMessage {
                metadata: metadata.to_owned(),
                ..message()
            },
            &key(),
            now(),
        );
        assert!(matches!(refused, Err(SignError::Metadata(_))), "{metadata}");
    }
}

#[test]
fn a_message_longer_than_the_vault_signs_is_refused() {
    let room = MESSAGE_BYTES - message_bytes::encode(&message()).len();
    let signed = |description: String| {
        sign(
            &OracleMessage {
                description,
                ..message()
            },
            &key(),
            now(),
        )
    };
    let record = signed("a".repeat(room)).unwrap();
    assert_eq!(record.message_bytes().unwrap().len(), MESSAGE_BYTES);
    assert!(matches!(
        signed("a".repeat(room + 1)),
        Err(SignError::MessageTooLong { bytes: 4097 })
    ));
    // The encoded length counts: six bytes for one letter.
    assert!(matches!(
        signed("é".repeat(room / 6 + 1)),
        Err(SignError::MessageTooLong { .. })
    ));
}

#[test]
fn reads_pkcs1_and_pkcs8_keys_and_names_other_files() {
    let pkcs1 = include_str!("../../../tests/fixtures/keys/rsa-2048.private-pkcs1.pem");
    let public = include_str!("../../../tests/fixtures/keys/rsa-2048.public.pem");
    for pem in [
        PRIVATE,
        pkcs1,
        &format!("\n\n{PRIVATE}"),
        &PRIVATE.replace('\n', "\r\n"),
        PRIVATE.trim_end(),
    ] {
        let key = PrivateKey::from_pem(pem).unwrap();
        let expected = PublicKey::from_pem(public.as_bytes()).unwrap();
        assert_eq!(
            (key.fingerprint(), key.public_pem()),
            (expected.fingerprint(), public)
        );
    }
    let label = |label: &str| PrivateKeyError::Label {
        label: label.to_owned(),
    };
    for (pem, expected) in [
        ("", PrivateKeyError::NotPem),
        ("release key", PrivateKeyError::NotPem),
        (public, label("PUBLIC KEY")),
        (
            include_str!("../../../tests/fixtures/keys/rsa-2048.public-pkcs1.pem"),
            label("RSA PUBLIC KEY"),
        ),
        (
            include_str!("../../../tests/fixtures/keys/rsa-2048.certificate.pem"),
            label("CERTIFICATE"),
        ),
        (
            include_str!("../../../tests/fixtures/keys/rsa-2048.private-openssh.pem"),
            label("OPENSSH PRIVATE KEY"),
        ),
        (
            include_str!("../../../tests/fixtures/keys/rsa-2048.private-encrypted.pem"),
            PrivateKeyError::Encrypted,
        ),
        (
            include_str!("../../../tests/fixtures/keys/rsa-2048.private-pkcs1-encrypted.pem"),
            PrivateKeyError::Encrypted,
        ),
        (
            include_str!("../../../tests/fixtures/keys/ec-p256.private.pem"),
            PrivateKeyError::NotRsa,
        ),
        (
            include_str!("../../../tests/fixtures/keys/ec-p256.private-sec1.pem"),
            PrivateKeyError::NotRsa,
        ),
        (
            include_str!("../../../tests/fixtures/keys/rsa-1024.private.pem"),
            PrivateKeyError::Public(KeyError::Bits {
                bits: 1024,
                min: 2048,
                max: 8192,
            }),
        ),
    ] {
        assert_eq!(PrivateKey::from_pem(pem).unwrap_err(), expected, "{pem}");
    }
    for damaged in [
        PRIVATE.replacen("MII", "MIJ", 1),
        format!("{PRIVATE}{PRIVATE}"),
        format!("{PRIVATE}x"),
        PRIVATE.replace("-----END PRIVATE KEY-----", ""),
    ] {
        assert!(
            matches!(PrivateKey::from_pem(&damaged), Err(PrivateKeyError::Pkcs8(_))),
            "{damaged}"
        );
    }
    let damaged = pkcs1.replacen("MII", "MIJ", 1);
    assert!(matches!(
        PrivateKey::from_pem(&damaged),
        Err(PrivateKeyError::Pkcs1(_))
    ));
    // One number is replaced, so the private and public parts do not match.
    let lines: Vec<_> = PRIVATE.lines().collect();
    let mixed = PRIVATE.replacen(lines[20], lines[19], 1);
    assert!(matches!(
        PrivateKey::from_pem(&mixed),
        Err(PrivateKeyError::Pkcs8(_))
    ));
}

#[test]
fn a_private_key_is_never_printed() {
    let key = key();
    let printed = format!("{key:?}");
    assert_eq!(
        printed,
        format!("PrivateKey {{ public: {}, .. }}", key.fingerprint())
    );
}

#[test]
fn a_gate_loads_a_generated_key() {
    let key = PrivateKey::generate(2048).unwrap();
    assert_eq!(
        PublicKey::from_pem(key.public_pem().as_bytes())
            .unwrap()
            .fingerprint(),
        key.fingerprint()
    );
    assert_eq!(
        PrivateKey::generate(1024).unwrap_err(),
        PrivateKeyError::Public(KeyError::Bits {
            bits: 1024,
            min: 2048,
            max: 8192
        })
    );
    assert_eq!(
        PrivateKey::generate(512).unwrap_err(),
        PrivateKeyError::Generate(rsa::Error::ModulusTooSmall)
    );
}

#[test]
fn a_referrer_carries_the_record_in_its_manifest() {
    let subject = Blob::from_bytes(Bytes::from_static(b"{\"schemaVersion\":2}"));
    let record = sign(&message(), &key(), now()).unwrap();
    let referrer = artifact(
        &record,
        &subject,
        MediaType::DockerManifest,
        Timestamp::UNIX_EPOCH,
    );
    let content_type = Some(MediaType::OciManifest.as_str());
    let Document::Image(manifest) = Document::parse(&referrer.manifest, content_type).unwrap() else {
        panic!()
    };
    assert_eq!(
        (manifest.artifact_type.as_str(), referrer.artifact_type.as_str()),
        (ARTIFACT_TYPE, ARTIFACT_TYPE)
    );
    let named = manifest.subject.clone().unwrap();
    assert_eq!(named.media_type, MediaType::DockerManifest.as_str());
    assert_eq!((named.digest, named.size), (*subject.digest(), 19));
    let [layer] = manifest.layers.as_slice() else {
        panic!("{manifest:?}")
    };
    assert_eq!(layer.media_type, ARTIFACT_TYPE);
    assert_eq!(manifest.config.media_type, "application/vnd.oci.empty.v1+json");
    // The embedded and the pushed bytes are the same, with the digests that the manifest names.
    let expected = [(&manifest.config, b"{}".to_vec()), (layer, record.to_json())];
    assert_eq!(referrer.blobs.len(), expected.len());
    for ((descriptor, bytes), blob) in expected.iter().zip(&referrer.blobs) {
        let Descriptor {
            digest,
            size,
            unverified_data,
            ..
        } = descriptor;
        assert_eq!(unverified_data.as_deref(), Some(bytes.as_slice()));
        assert_eq!(
            (digest, size),
            (blob.digest(), &u64::try_from(bytes.len()).unwrap())
        );
        assert_eq!(blob.bytes(), bytes);
    }
    let json: Value = serde_json::from_slice(referrer.manifest.bytes()).unwrap();
    assert_eq!(
        json["annotations"],
        serde_json::json!({"org.opencontainers.image.created": NOW})
    );
}

#[test]
fn one_record_makes_one_referrer_however_often_it_is_attached() {
    let subject = Blob::from_bytes(Bytes::from_static(b"{}"));
    let record = sign(&message(), &key(), now()).unwrap();
    let digest = |record: &Record, at: Timestamp| {
        *artifact(record, &subject, MediaType::OciIndex, at)
            .manifest
            .digest()
    };
    assert_eq!(
        digest(&record, Timestamp::UNIX_EPOCH),
        digest(&record, Timestamp::MAX)
    );
    // The same instant as Oracle's command line prints it, a record without a date, and one with an invalid date.
    let printed = Record {
        time_created: Some("2026-11-23T16:49:59.329000+00:00".to_owned()),
        ..record.clone()
    };
    for (time_created, expected) in [
        (printed.time_created, NOW),
        (None, "1970-01-01T00:00:00Z"),
        (Some("yesterday\n".to_owned()), "1970-01-01T00:00:00Z"),
    ] {
        let record = Record {
            time_created,
            ..record.clone()
        };
        let made = artifact(&record, &subject, MediaType::OciIndex, Timestamp::UNIX_EPOCH);
        let json: Value = serde_json::from_slice(made.manifest.bytes()).unwrap();
        assert_eq!(json["annotations"]["org.opencontainers.image.created"], expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_text_is_parsed_as_it_was_signed(description in ".{0,60}", region in any::<String>().prop_map(|text| text.chars().take(60).collect::<String>()), repository_name in "\\PC{0,40}") {
        let message = OracleMessage { description, region, repository_name, ..message() };
        let key = key();
        let record = sign(&message, &key, now()).unwrap();
        prop_assert_eq!(OracleMessage::parse(&record.message_bytes().unwrap()), Ok(message.clone()));
        prop_assert_eq!(open(record.to_json(), key.public()).unwrap().identity, ClaimedIdentity::Path(message.repository_name));
    }
}

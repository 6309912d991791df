//! Tests Oracle's format against every case of `fixtures/oracle/expected.json`, in every spelling of a record.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic in a helper fails its test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use pullgate::signature::oracle::{KMS_KEY_ID, KMS_KEY_VERSION_ID, Oracle, OracleMessage, Record};
use pullgate::signature::{
    Candidate, Claim, ClaimedIdentity, Format as _, Locator, SignatureError, SourceName,
};
use pullgate::trust::{Authority, PublicKey, Salt, SigningAlgorithm, TrustedKey};
use serde::Deserialize;
use serde_json::{Map, Value};

#[test]
fn every_case_has_its_expected_outcome() {
    let expected = Expected::read();
    let mut compared = 0;
    for (name, case) in &expected.cases {
        let fixture = Fixture::read(&case.file);
        for salt in [Salt::Any, Salt::Digest] {
            for record in fixture.spellings() {
                let outcome = open(&record, &expected.trusted_keys(salt));
                assert_answer(name, case, &fixture, salt, outcome);
                compared += 1;
            }
        }
    }
    assert_eq!((expected.cases.len(), compared), (22, 22 * 2 * 3));
}

/// Compares the outcome of a case with its entry in `expected.json`.
fn assert_answer(
    name: &str,
    case: &Case,
    fixture: &Fixture,
    salt: Salt,
    outcome: Result<Claim, SignatureError>,
) {
    let verifies = match salt {
        Salt::Any => case.crypto_ok_any_salt,
        Salt::Digest => case.crypto_ok_salt_is_digest_length,
    };
    let failed: BTreeSet<&str> = case.failed_checks.iter().map(String::as_str).collect();
    let at = format!("{name}, salt {salt:?}: {outcome:?}");
    if failed.contains("key-not-trusted") {
        let key = fixture.api_record["kmsKeyId"].as_str().unwrap().to_owned();
        assert_eq!(outcome.unwrap_err(), SignatureError::UntrustedKey { key }, "{at}");
    } else if !verifies {
        // All these records name a trusted key.
        let key = fixture.key_name();
        assert_eq!(outcome.unwrap_err(), SignatureError::BadSignature { key }, "{at}");
    } else if failed.contains("message-json (duplicate key imageDigest)") {
        let SignatureError::Malformed(text) = outcome.unwrap_err() else {
            panic!("{at}")
        };
        assert!(text.contains("`imageDigest` occurs twice"), "{at}");
    } else {
        // The gate compares the claim with the pulled image; here the case names the image.
        let claim = outcome.unwrap();
        let other_digest = claim.digest.to_string() != fixture.image_digest;
        let other_repository = claim.identity != ClaimedIdentity::Path(fixture.repository.clone());
        assert_eq!(other_digest, failed.contains("message.imageDigest"), "{at}");
        assert_eq!(
            other_repository,
            failed.contains("message.repositoryName"),
            "{at}"
        );
        assert_eq!(claim.signer.name(), fixture.key_name(), "{at}");
        let accepted = !other_digest && !other_repository;
        assert_eq!(accepted, case.expect != "invalid", "{at}");
        if accepted {
            assert!(
                matches!(
                    case.expect.as_str(),
                    "valid" | "valid-if-any-salt-length-is-taken"
                ),
                "{at}"
            );
        }
    }
    // Independent of the other columns: an invalid case never yields a claim about its own image.
    if let (Ok(claim), "invalid") = (
        open(&fixture.api_record, &Expected::read().trusted_keys(salt)),
        case.expect.as_str(),
    ) {
        assert_ne!(claim.digest.to_string(), fixture.image_digest, "{at}");
    }
}

#[test]
fn every_fixture_file_is_a_case() {
    let cases = Expected::read().cases;
    let mut files = BTreeSet::new();
    for folder in ["positive", "negative", "variant"] {
        for entry in std::fs::read_dir(path(folder)).unwrap() {
            files.insert(format!(
                "{folder}/{}",
                entry.unwrap().file_name().into_string().unwrap()
            ));
        }
    }
    assert_eq!(files, cases.into_values().map(|case| case.file).collect());
}

#[test]
fn a_case_describes_its_own_message() {
    // The fixture contains the signed bytes a second time, as text.
    for case in Expected::read().cases.into_values() {
        let fixture = Fixture::read(&case.file);
        let bytes = fixture.record().message_bytes().unwrap();
        assert_eq!(bytes, fixture.message_text.as_bytes(), "{}", case.file);
        if case
            .failed_checks
            .iter()
            .all(|check| !check.starts_with("message-json"))
        {
            let message = OracleMessage::parse(&bytes).unwrap();
            let differs = message.kms_key_id != fixture.api_record["kmsKeyId"].as_str().unwrap();
            assert_eq!(
                differs,
                case.failed_checks.iter().any(|check| check == "message.kmsKeyId"),
                "{}",
                case.file
            );
        }
    }
}

#[test]
fn the_versions_of_a_rotated_key_are_separate_keys() {
    let keys = Expected::read().trusted_keys(Salt::Any);
    let only = |name: &str| -> Vec<_> {
        keys.iter()
            .filter(|key| key.facts().name() == name)
            .cloned()
            .collect()
    };
    let (v1, v2) = (
        Fixture::read("positive/rotated-v1.json"),
        Fixture::read("positive/rotated-v2.json"),
    );
    for (fixture, own, other) in [
        (&v1, "prod-2048.v1", "prod-2048.v2"),
        (&v2, "prod-2048.v2", "prod-2048.v1"),
    ] {
        assert_eq!(open(&fixture.api_record, &only(own)).unwrap().signer.name(), own);
        let key = fixture.api_record["kmsKeyId"].as_str().unwrap().to_owned();
        assert_eq!(
            open(&fixture.api_record, &only(other)).unwrap_err(),
            SignatureError::UntrustedKey { key },
            "the record names the version that is not trusted"
        );
    }
}

#[test]
fn listings_of_the_client_and_of_the_api_parse_alike() {
    let read = |file: &str| Record::parse_listing(&std::fs::read(path(file)).unwrap()).unwrap();
    let got = read("wire/get.stdout.json");
    let listed = read("wire/list.stdout.json");
    assert_eq!((got.len(), listed.len()), (1, 1));
    let keys = Expected::read().trusted_keys(Salt::Any);
    for record in got.iter().chain(&listed) {
        let record: Value = serde_json::from_slice(&record.to_json()).unwrap();
        let fixture = Fixture::read("positive/acme-no-options.json");
        assert_eq!(
            open(&record, &keys).unwrap().digest.to_string(),
            fixture.image_digest
        );
        for field in [
            "compartmentId",
            "displayName",
            "freeformTags",
            "id",
            "imageId",
            "kmsKeyVersionId",
            "lifecycleState",
        ] {
            assert_eq!(record[field], fixture.api_record[field], "{field}");
        }
    }
    let multi = read("lists/multi.json");
    let outcomes: Vec<_> = multi
        .iter()
        .map(|record| {
            open(&serde_json::from_slice(&record.to_json()).unwrap(), &keys)
                .map(|claim| claim.signer.name().to_owned())
        })
        .collect();
    let stranger =
        "ocid1.key.oc1.phx.bgxjkmty6zcls.abyl2pu4cpr32uliatc4na5ad267o3td2rjb4jdgm467uodmzxedcmq5ogp5";
    assert_eq!(
        outcomes,
        [
            Ok("prod-4096".to_owned()),
            Ok("prod-2048.v1".to_owned()),
            Err(SignatureError::UntrustedKey {
                key: stranger.to_owned()
            })
        ]
    );
}

/// The contents of `expected.json`.
#[derive(Deserialize)]
struct Expected {
    trusted_key_names: Vec<String>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    expect: String,
    crypto_ok_any_salt: bool,
    crypto_ok_salt_is_digest_length: bool,
    failed_checks: Vec<String>,
}

/// The file of a case. Its other fields describe how it was made.
#[derive(Deserialize)]
struct Fixture {
    key: String,
    key_version: u32,
    public_key_pem: String,
    image_digest: String,
    repository: String,
    message_text: String,
    api_record: Value,
}

impl Expected {
    fn read() -> Self {
        serde_json::from_slice(&std::fs::read(path("expected.json")).unwrap()).unwrap()
    }

    /// Returns the trusted keys. Both versions of `prod-2048` come from their files, other keys from the cases that they
    /// signed.
    fn trusted_keys(&self, salt: Salt) -> Vec<Arc<Authority>> {
        let listed: Map<String, Value> =
            serde_json::from_slice(&std::fs::read(path("keys/keys.json")).unwrap()).unwrap();
        let mut keys = BTreeMap::new();
        for (name, key) in listed
            .iter()
            .filter(|(name, _)| self.trusted_key_names.contains(name))
        {
            for (version, entry) in key["versions"].as_array().unwrap().iter().enumerate() {
                let pem = std::fs::read(path(entry["public_pem"].as_str().unwrap())).unwrap();
                let name = format!("{name}.v{}", version + 1);
                keys.insert(
                    name.clone(),
                    trusted(name, &pem, &key["kmsKeyId"], &entry["kmsKeyVersionId"], salt),
                );
            }
        }
        for case in self.cases.values().filter(|case| case.expect == "valid") {
            let fixture = Fixture::read(&case.file);
            if self.trusted_key_names.contains(&fixture.key) && !listed.contains_key(&fixture.key) {
                let (id, version) = (
                    &fixture.api_record["kmsKeyId"],
                    &fixture.api_record["kmsKeyVersionId"],
                );
                let name = fixture.key_name();
                keys.insert(
                    name.clone(),
                    trusted(name, fixture.public_key_pem.as_bytes(), id, version, salt),
                );
            }
        }
        assert_eq!(
            keys.keys().map(String::as_str).collect::<Vec<_>>(),
            ["prod-2048.v1", "prod-2048.v2", "prod-4096"]
        );
        keys.into_values().collect()
    }
}

impl Fixture {
    fn read(file: &str) -> Self {
        serde_json::from_slice(&std::fs::read(path(file)).unwrap()).unwrap()
    }

    /// Returns the configured name of the key that the record names.
    fn key_name(&self) -> String {
        if self.key == "prod-2048" {
            format!("{}.v{}", self.key, self.key_version)
        } else {
            self.key.clone()
        }
    }

    fn record(&self) -> Record {
        Record::parse(self.api_record.to_string().as_bytes()).unwrap()
    }

    /// Returns the record as the API sends it, as the command line prints it, and as pullgate writes it after parsing.
    fn spellings(&self) -> [Value; 3] {
        let printed: Map<String, Value> = self
            .api_record
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (kebab(key), value.clone()))
            .collect();
        let written = serde_json::from_slice(&self.record().to_json()).unwrap();
        assert_eq!(written, self.api_record);
        [self.api_record.clone(), Value::Object(printed), written]
    }
}

fn trusted(name: String, pem: &[u8], id: &Value, version: &Value, salt: Salt) -> Arc<Authority> {
    let public_key = PublicKey::from_pem(pem).unwrap();
    let mut key = TrustedKey::new(name, public_key, SigningAlgorithm::every_scheme(salt));
    key.ids = BTreeMap::from([
        (KMS_KEY_ID, id.as_str().unwrap().to_owned()),
        (KMS_KEY_VERSION_ID, version.as_str().unwrap().to_owned()),
    ]);
    Arc::new(key.into())
}

fn open(record: &Value, keys: &[Arc<Authority>]) -> Result<Claim, SignatureError> {
    let unverified = Bytes::from(record.to_string());
    let candidate = Candidate {
        format: &Oracle,
        source: SourceName("test"),
        locator: Locator::Service("fixture".to_owned()),
        unverified_media_type: None,
        unverified,
    };
    Oracle.verify(&candidate, keys, Timestamp::UNIX_EPOCH)
}

/// Converts a field's name to the spelling of the command line: `kmsKeyId` becomes `kms-key-id`.
fn kebab(camel: &str) -> String {
    camel
        .chars()
        .flat_map(|letter| {
            let dash = letter.is_ascii_uppercase().then_some('-');
            dash.into_iter().chain(Some(letter.to_ascii_lowercase()))
        })
        .collect()
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/oracle")
        .join(file)
}

use serde_json::{Value, json};

use super::*;
use crate::base::limits::{CANDIDATES, ERROR_BYTES, ORACLE_ANSWER_BYTES, ORACLE_PAGE_BYTES, RECORD_BYTES};
use crate::net::oracle::{LeafCertificate, RequestKey};
use crate::oci::Repository;
use crate::signature::oracle::{OracleMessage, Record};
use crate::trust::SigningAlgorithm;

/// Recorded exchanges of Oracle's own client with a stand-in for the service.
pub(in crate::net::oracle) const RECORDED: [(&str, &str); 6] = [
    (
        "create",
        include_str!("../../../../tests/fixtures/oracle/wire/create.json"),
    ),
    (
        "get",
        include_str!("../../../../tests/fixtures/oracle/wire/get.json"),
    ),
    (
        "lookup",
        include_str!("../../../../tests/fixtures/oracle/wire/image-lookup.json"),
    ),
    (
        "key version",
        include_str!("../../../../tests/fixtures/oracle/wire/kms-key-version-get.json"),
    ),
    (
        "sign",
        include_str!("../../../../tests/fixtures/oracle/wire/kms-sign.json"),
    ),
    (
        "list",
        include_str!("../../../../tests/fixtures/oracle/wire/list-by-repository-and-digest.json"),
    ),
];

const KEY: &str =
    "ocid1.key.oc1.phx.bgxjkmty6zcls.aby2uv7hsy74clk4cuxus26pahllhhetwhug45ir2eih2uzpainijj4e74yg";
const VERSION: &str = "ocid1.keyversion.oc1.phx.bgxjkmty6zcls.cebkinlakwhuu.abyunhpa3pgixj4z7j7drgn6gqipocxp575obny5oq5xdxatyxb5nq53pf26";
const DIGEST: &str = "sha256:289676fac4febfea1de58adff7e2c1a5a8ec97945559927c94d9153ffef1d603";

fn exchange(name: &str) -> Value {
    let (_, text) = RECORDED.into_iter().find(|(known, _)| *known == name).unwrap();
    serde_json::from_str::<Value>(text).unwrap()["http"][0].take()
}

/// Returns the bodies of the request and of the response.
fn bodies(name: &str) -> (Value, Vec<u8>) {
    let exchange = exchange(name);
    let request = exchange["body"].as_str().unwrap();
    let request = serde_json::from_str(request).unwrap_or(Value::Null);
    (
        request,
        exchange["response"].as_str().unwrap().as_bytes().to_vec(),
    )
}

/// Returns a response with one field changed.
fn changed(answer: &[u8], field: &str, value: Value) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(answer).unwrap();
    answer[field] = value;
    answer.to_string().into_bytes()
}

fn id(text: &str) -> Ocid {
    text.parse().unwrap()
}

fn as_json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn a_listed_record_equals_the_projects_own_type() {
    let (_, answer) = bodies("list");
    let page = SignaturePage::parse(&answer).unwrap();
    assert_eq!((page.signatures.len(), page.remaining), (1, Some(0)));
    let signature = page.signatures[0].as_ref().unwrap();
    assert_eq!(signature.lifecycle_state, LifecycleState::Available);
    assert_eq!(signature.id.kind(), "containerimagesignature");
    assert_eq!(signature.image_id.kind(), "containerimage");
    assert_eq!(signature.record.kms_key_id, KEY);
    let message = OracleMessage::parse(&signature.record.message_bytes().unwrap()).unwrap();
    assert_eq!(message.image_digest.to_string(), DIGEST);
    // The listed record equals the stored one, and except for `createdBy` the one that `get` returns.
    assert_eq!(
        Record::parse_listing(&answer).unwrap(),
        std::slice::from_ref(&signature.record)
    );
    let (_, single) = bodies("get");
    let single = ImageSignature::parse(&single).unwrap();
    assert!(single.record.others.contains_key("createdBy"));
    assert_eq!(
        (&single.id, &single.record.message),
        (&signature.id, &signature.record.message)
    );
    assert_eq!(
        Record::parse(&signature.record.to_json()).unwrap(),
        signature.record
    );
}

#[test]
fn a_damaged_record_does_not_hide_the_others() {
    let (_, answer) = bodies("list");
    let good = as_json(&answer)["items"][0].clone();
    let mut items = vec![good.clone()];
    let mut expected = Vec::new();
    for (field, value, error) in [
        ("id", json!("x"), "Ocid"),
        ("id", json!(KEY), "Ocid"),
        ("id", json!(null), "Record"),
        ("imageId", json!(KEY), "Ocid"),
        ("imageId", json!(3), "Record"),
        ("compartmentId", json!(["x"]), "Record"),
        ("compartmentId", json!("../x"), "Ocid"),
        ("lifecycleState", json!(null), "Record"),
        ("message", json!({}), "Record"),
    ] {
        let mut item = good.clone();
        item[field] = value;
        items.push(item);
        expected.push(error);
    }
    for (other, error) in [
        (json!(null), "Record"),
        (json!([]), "Record"),
        (json!({}), "Record"),
    ] {
        items.push(other);
        expected.push(error);
    }
    items.push(good);
    let page = SignaturePage::parse(json!({ "items": items }).to_string().as_bytes()).unwrap();
    assert_eq!(page.remaining, None);
    let (first, rest) = page.signatures.split_first().unwrap();
    let (last, damaged) = rest.split_last().unwrap();
    assert!(first.is_ok() && first == last);
    let damaged: Vec<String> = damaged
        .iter()
        .map(|one| format!("{:?}", one.as_ref().unwrap_err()))
        .collect();
    assert_eq!(damaged.len(), expected.len());
    for (damaged, expected) in damaged.iter().zip(expected) {
        assert!(damaged.starts_with(expected), "{damaged} {expected}");
    }
}

#[test]
fn a_page_is_bounded_and_parsed_strictly() {
    let (_, answer) = bodies("list");
    let good = as_json(&answer)["items"][0].clone();
    let page = |items: usize| json!({ "items": vec![good.clone(); items] }).to_string();
    assert_eq!(
        SignaturePage::parse(page(CANDIDATES).as_bytes())
            .unwrap()
            .signatures
            .len(),
        CANDIDATES
    );
    assert_eq!(
        SignaturePage::parse(page(CANDIDATES + 1).as_bytes()),
        Err(WireError::TooMany { limit: CANDIDATES })
    );
    assert_eq!(
        SignaturePage::parse(&vec![b' '; ORACLE_PAGE_BYTES + 1]),
        Err(WireError::TooLarge {
            limit: ORACLE_PAGE_BYTES
        })
    );
    assert_eq!(
        ImageSignature::parse(&vec![b' '; RECORD_BYTES + 1]),
        Err(WireError::TooLarge { limit: RECORD_BYTES })
    );
    for text in [
        "",
        "[]",
        "null",
        "{}",
        r#"{"items":null}"#,
        r#"{"items":{}}"#,
        r#"{"items":[],"remainingItemsCount":"1"}"#,
        r#"{"items":[],"items":[]}"#,
        r#"{"items":[],"Items":[]}"#,
        r#"{"items":[{"id":"a","id":"b"}]}"#,
        r#"{"items":[]}{}"#,
        "<html>",
    ] {
        assert!(
            matches!(SignaturePage::parse(text.as_bytes()), Err(WireError::Json(_))),
            "{text}"
        );
    }
    let unknown = r#"{"items":[],"remainingItemsCount":0,"somethingNew":{"a":[1]}}"#;
    assert_eq!(
        SignaturePage::parse(unknown.as_bytes()),
        Ok(SignaturePage {
            signatures: Vec::new(),
            remaining: Some(0)
        })
    );
}

/// Users' tags may differ in case only.
#[test]
fn tags_that_differ_in_case_do_not_hide_a_record() {
    let (_, answer) = bodies("get");
    let tags = json!({"Team": "a", "team": "b"});
    ImageSignature::parse(&changed(&answer, "freeformTags", tags)).unwrap();
    let twice = String::from_utf8(answer)
        .unwrap()
        .replace(r#""freeformTags":{}"#, r#""freeformTags":{"a":"1","a":"2"}"#);
    assert!(matches!(
        ImageSignature::parse(twice.as_bytes()),
        Err(WireError::Json(_))
    ));
}

#[test]
fn a_state_has_the_services_exact_spelling() {
    for (text, state) in [
        ("AVAILABLE", LifecycleState::Available),
        ("DELETING", LifecycleState::Deleting),
        ("DELETED", LifecycleState::Deleted),
        ("available", LifecycleState::Other("available".to_owned())),
        ("AVAILABLE ", LifecycleState::Other("AVAILABLE ".to_owned())),
        ("", LifecycleState::Other(String::new())),
        ("A\nB", LifecycleState::Other("A\\nB".to_owned())),
    ] {
        assert_eq!(LifecycleState::from_text(text), state);
    }
}

#[test]
fn the_create_request_equals_that_of_oracles_client() {
    let (request, answer) = bodies("create");
    let made = ImageSignature::parse(&answer).unwrap();
    let create = CreateSignature::new(&made.compartment_id, &made.image_id, made.record.clone()).unwrap();
    let mut expected = request;
    for tags in ["freeformTags", "definedTags"] {
        expected.as_object_mut().unwrap().remove(tags);
    }
    assert_eq!(as_json(&create.to_json()), expected);
    let local = Record {
        kms_key_id: format!("sha256:{}", "0".repeat(64)),
        ..made.record.clone()
    };
    assert!(matches!(
        CreateSignature::new(&made.compartment_id, &made.image_id, local),
        Err(WireError::Ocid {
            field: "kmsKeyId",
            ..
        })
    ));
    assert!(matches!(
        CreateSignature::new(&made.compartment_id, &made.compartment_id, made.record),
        Err(WireError::Ocid { field: "imageId", .. })
    ));
}

#[test]
fn an_image_is_looked_up_by_its_reference() {
    let (request, answer) = bodies("lookup");
    let repository = Repository::new("phx.ocir.io", "ansh81vru1zp/project01/acme-web-app").unwrap();
    let image = LookUpImage::new(&repository, &DIGEST.parse().unwrap());
    assert_eq!(as_json(&image.to_json()), request);
    let found = ContainerImage::parse(&answer).unwrap();
    assert_eq!(found.digest.to_string(), DIGEST);
    assert_eq!(found.repository_name, "project01/acme-web-app");
    assert_eq!(found.lifecycle_state, LifecycleState::Available);
    assert_eq!(found.compartment_id.kind(), "compartment");
    for (field, value, error) in [
        ("digest", json!("sha256:00"), "Digest"),
        ("id", json!(KEY), "Ocid"),
        ("repositoryId", json!(""), "Ocid"),
        ("repositoryName", json!(""), "Text"),
        ("repositoryName", json!("a\u{1b}[31m"), "Text"),
        ("repositoryName", json!("a".repeat(256)), "Text"),
        ("repositoryName", json!(null), "Json"),
        ("compartmentId", json!("a/b"), "Ocid"),
    ] {
        let refused = ContainerImage::parse(&changed(&answer, field, value)).unwrap_err();
        assert!(format!("{refused:?}").starts_with(error), "{field} {refused:?}");
    }
    assert_eq!(
        ContainerImage::parse(&vec![b' '; ORACLE_ANSWER_BYTES + 1]),
        Err(WireError::TooLarge {
            limit: ORACLE_ANSWER_BYTES
        })
    );
}

#[test]
fn the_signatures_key_version_and_algorithm_must_match_the_request() {
    let (request, answer) = bodies("sign");
    let ask = |message: Vec<u8>| {
        SignRequest::new(
            &id(KEY),
            &id(VERSION),
            SigningAlgorithm::Sha256RsaPkcsPss,
            message,
        )
    };
    let asked = ask(b"hello".to_vec()).unwrap();
    let mut expected = request;
    expected["messageType"] = json!("RAW");
    assert_eq!(as_json(&asked.to_json()), expected);
    assert_eq!(SignAnswer::parse(&answer, &asked).unwrap().signature.len(), 256);
    for (field, value) in [
        ("keyId", KEY.replace("aby2", "aby3")),
        ("keyVersionId", KEY.to_owned()),
        ("signingAlgorithm", "SHA_512_RSA_PKCS_PSS".to_owned()),
    ] {
        assert_eq!(
            SignAnswer::parse(&changed(&answer, field, json!(value)), &asked),
            Err(WireError::Differs { field })
        );
    }
    for value in ["!", "AA", "AA==\n"] {
        assert!(matches!(
            SignAnswer::parse(&changed(&answer, "signature", json!(value)), &asked),
            Err(WireError::Base64 {
                field: "signature",
                ..
            })
        ));
    }
    assert!(ask(vec![0; MESSAGE_BYTES]).is_ok());
    assert_eq!(ask(vec![0; MESSAGE_BYTES + 1]), Err(WireError::MessageTooLong));
    assert!(matches!(
        SignRequest::new(
            &id(VERSION),
            &id(KEY),
            SigningAlgorithm::Sha256RsaPkcsPss,
            Vec::new()
        ),
        Err(WireError::Ocid { field: "keyId", .. })
    ));
}

#[test]
fn a_key_version_must_match_the_request() {
    let (_, answer) = bodies("key version");
    let read = |answer: &[u8]| KeyVersion::parse(answer, &id(KEY), &id(VERSION));
    let version = read(&answer).unwrap();
    assert_eq!(version.lifecycle_state, KeyVersionState::Enabled);
    let expected = include_bytes!("../../../../tests/fixtures/oracle/keys/prod-2048.v1.public.pem");
    assert_eq!(
        version.public_key().unwrap().unwrap().fingerprint(),
        crate::trust::PublicKey::from_pem(expected).unwrap().fingerprint()
    );
    let symmetric = read(&changed(&answer, "publicKey", json!(null))).unwrap();
    assert!(matches!(symmetric.public_key(), Ok(None)));
    let damaged = read(&changed(&answer, "publicKey", json!("x"))).unwrap();
    assert!(matches!(damaged.public_key(), Err(WireError::Key(_))));
    for (field, value, error) in [
        (
            "keyId",
            json!(KEY.replace("aby2", "aby3")),
            WireError::Differs { field: "keyId" },
        ),
        (
            "id",
            json!(VERSION.replace("abyu", "abyv")),
            WireError::Differs { field: "id" },
        ),
        (
            "lifecycleState",
            json!("A".repeat(65)),
            WireError::Text {
                field: "lifecycleState",
                limit: 64,
            },
        ),
    ] {
        assert_eq!(read(&changed(&answer, field, value)), Err(error));
    }
    for text in [
        "CANCELLING_DELETION",
        "CREATING",
        "DELETED",
        "DELETING",
        "DISABLED",
        "DISABLING",
        "ENABLED",
        "ENABLING",
        "PENDING_DELETION",
        "SCHEDULING_DELETION",
    ] {
        let spelled = format!("{:?}", KeyVersionState::from_text(text)).to_uppercase();
        assert_eq!(spelled, text.replace('_', ""));
    }
    assert_eq!(
        KeyVersionState::from_text("enabled"),
        KeyVersionState::Other("enabled".to_owned())
    );
}

#[test]
fn a_services_error_text_is_made_printable() {
    let error = ServiceError::parse(
        br#"{"code":"NotAuthenticated","message":"The required information \u001b[31m\n was wrong","opc":1}"#,
    )
    .unwrap();
    assert_eq!(
        error.to_string(),
        "`NotAuthenticated`: The required information \\u{1b}[31m\\n was wrong"
    );
    let long = json!({"code": "x".repeat(5000), "message": "y".repeat(5000)}).to_string();
    assert!(ServiceError::parse(long.as_bytes()).unwrap().to_string().len() < 600);
    for text in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"code":1}"#,
        r#"{"code":"a","code":"b"}"#,
    ] {
        assert!(
            matches!(ServiceError::parse(text.as_bytes()), Err(WireError::Json(_))),
            "{text}"
        );
    }
    assert_eq!(
        ServiceError::parse(&vec![b' '; ERROR_BYTES + 1]),
        Err(WireError::TooLarge { limit: ERROR_BYTES })
    );
}

#[test]
fn the_token_request_equals_that_of_the_sdk() {
    let pem = include_str!("../../../../tests/fixtures/oracle/federation/leaf.pem");
    let intermediate = include_str!("../../../../tests/fixtures/oracle/federation/intermediate.pem");
    let key = include_str!("../../../../tests/fixtures/keys/rsa-2048.private.pem");
    let public = include_str!("../../../../tests/fixtures/keys/rsa-2048.public.pem");
    let one_line = |pem: &str| {
        pem.lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<String>()
    };
    let leaf = LeafCertificate::from_pem(pem.as_bytes()).unwrap();
    let key = RequestKey::from_pem(key.as_bytes(), None).unwrap();
    let request = FederationRequest::new(&leaf, &[], &key).unwrap();
    assert_eq!(
        as_json(&request.to_json()),
        json!({"certificate": one_line(pem), "publicKey": one_line(public)})
    );
    let request = FederationRequest::new(&leaf, &[intermediate.as_bytes()], &key).unwrap();
    assert_eq!(
        as_json(&request.to_json())["intermediateCertificates"],
        json!([one_line(intermediate)])
    );
    FederationRequest::new(&leaf, &[b"x"], &key).unwrap_err();
}

#[test]
fn a_token_is_parsed_and_never_quoted() {
    assert_eq!(
        read_token(br#"{"token":"a.b.c","more":1}"#).unwrap().expose(),
        "a.b.c"
    );
    for text in [
        r#""eyJhbGciOiJ9.b.c""#,
        r#"{"token":"eyJhbGciOiJ9"}"#,
        r#"{"token":["eyJhbGciOiJ9"]}"#,
        r#"{"token":"eyJhbGciOiJ9.b.c","token":"x"}"#,
        r#"{"eyJhbGciOiJ9":1}"#,
        "eyJhbGciOiJ9.b.c",
    ] {
        let refused = read_token(text.as_bytes()).unwrap_err();
        assert_eq!(refused, WireError::Token(TokenError::Syntax), "{text}");
        assert!(!format!("{refused:?} {}", crate::base::error_chain::chain(&refused)).contains("eyJ"));
    }
}

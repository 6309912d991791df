//! Malformed and forged records in an honest registry, where every user with write access can push them.

use pullgate::base::reason::Reason;
use pullgate::fakes::registry::EmbeddedRegistry;
use pullgate::oci::{Descriptor, Digest, MediaType};

use crate::support::signer::{self, attach};
use crate::support::{Node, REPOSITORY, SIGNED, config, image, put, registry};

#[tokio::test]
async fn every_malformed_or_forged_record_is_refused_with_its_reason() {
    let registry = registry().await;
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let release = signer::get("release");
    type Write = fn(&signer::Signer, &Digest) -> Vec<u8>;
    let records: [(&str, Write, Reason); 13] = [
        ("an empty record", |_, _| Vec::new(), Reason::Malformed),
        (
            "a record that is not JSON",
            |_, _| b"signed, honestly".to_vec(),
            Reason::Malformed,
        ),
        (
            "a record that is not UTF-8",
            |_, _| vec![0xff; 200],
            Reason::Malformed,
        ),
        ("a list", |_, _| b"[]".to_vec(), Reason::Malformed),
        ("an empty object", |_, _| b"{}".to_vec(), Reason::Malformed),
        (
            "JSON a thousand deep",
            |_, _| "[".repeat(1000).into_bytes(),
            Reason::Malformed,
        ),
        (
            "a key twice",
            |key, digest| {
                let record = key.record(digest, REPOSITORY).to_string();
                record.replacen('{', "{\"message\":\"eyJ9\",", 1).into_bytes()
            },
            Reason::Malformed,
        ),
        (
            "base64 of the URL alphabet",
            |key, digest| {
                let mut record = key.record(digest, REPOSITORY);
                record["signature"] = "-_-_".into();
                record.to_string().into_bytes()
            },
            Reason::Malformed,
        ),
        (
            "a signed message that is not JSON",
            |key, digest| {
                let mut record = key.record(digest, REPOSITORY);
                let algorithm = key.claims(digest, REPOSITORY).algorithm;
                record["message"] = base64("trust me").into();
                record["signature"] = base64(key.sign(algorithm, b"trust me")).into();
                record.to_string().into_bytes()
            },
            Reason::Malformed,
        ),
        (
            "a signed digest with ../",
            |key, digest| {
                let mut claims = key.claims(digest, REPOSITORY);
                claims
                    .message
                    .insert("imageDigest", "sha256:../../etc/passwd".to_owned());
                key.signed(&claims).to_string().into_bytes()
            },
            Reason::Malformed,
        ),
        (
            "the message of another record",
            |key, digest| {
                let mut record = key.record(&Digest::sha256(b"other"), REPOSITORY);
                record["message"] = key.record(digest, REPOSITORY)["message"].clone();
                record.to_string().into_bytes()
            },
            Reason::BadSignature,
        ),
        (
            "a record that names another algorithm than was used",
            |key, digest| {
                let mut record = key.record(digest, REPOSITORY);
                record["signingAlgorithm"] = "SHA_512_RSA_PKCS_PSS".into();
                record.to_string().into_bytes()
            },
            Reason::BadSignature,
        ),
        (
            "an unknown algorithm",
            |key, digest| {
                let mut record = key.record(digest, REPOSITORY);
                record["signingAlgorithm"] = "NONE".into();
                record.to_string().into_bytes()
            },
            Reason::AlgorithmNotAllowed,
        ),
    ];
    for (number, (name, write, reason)) in records.into_iter().enumerate() {
        let tag = format!("t{number}");
        let stored = put(&registry, REPOSITORY, &tag);
        let record = write(release, &stored.digest);
        attach_bytes(&registry, &stored, &record);
        let refusal = node.refused(&image(&format!("acme/app:{tag}"))).await;
        assert_eq!(
            refusal.reason(),
            Some(reason.code()),
            "{name}: {}",
            refusal.message
        );
    }
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

fn attach_bytes(registry: &EmbeddedRegistry, subject: &Descriptor, record: &[u8]) {
    match std::str::from_utf8(record) {
        Ok(text) => drop(attach(registry, REPOSITORY, subject, text)),
        Err(_) => {
            let text = "?".repeat(record.len());
            let referrer = signer::referrer(subject, &text);
            let digest = Digest::sha256(record).to_string();
            let referrer = referrer.replace(&Digest::sha256(text.as_bytes()).to_string(), &digest);
            registry.put_blob(REPOSITORY, record.to_vec()).unwrap();
            registry
                .put_manifest(REPOSITORY, None, MediaType::OciManifest.as_str(), referrer)
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_record_above_the_size_limit_is_not_read() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let record = signer::get("release")
        .record(&stored.digest, REPOSITORY)
        .to_string();
    attach(
        &registry,
        REPOSITORY,
        &stored,
        &format!("{record}{}", " ".repeat(70_000)),
    );
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let refusal = node.refused(&image("acme/app:v1")).await;
    assert_eq!(refusal.reason(), Some("limit-exceeded"), "{}", refusal.message);
    assert!(
        registry
            .log()
            .iter()
            .all(|access| !access.target.contains("/blobs/")),
        "{:?}",
        registry.log()
    );
}

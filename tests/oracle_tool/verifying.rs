//! `pullgate signature verify` with the arguments of Oracle's `get-verify`, and cases that it handles better.

use serde_json::{Value, json};

use super::oracle_cloud::world::{Key, Version};
use super::oracle_cloud::{Kind, Lifecycle, Operation};
use super::{ALGORITHM, REPOSITORY, Site, ToolOutput};

impl Site {
    /// Runs `signature verify` with the arguments of `get-verify`.
    async fn get_verify(&self, trusted: &[&str], more: &[&str]) -> ToolOutput {
        let mut arguments = vec![
            "signature",
            "verify",
            "--compartment-id",
            &self.compartment,
            "--repo-name",
            REPOSITORY,
            "--image-digest",
            &self.image.digest,
            "--json",
        ];
        for key in trusted {
            arguments.extend(["--trusted-keys", key]);
        }
        arguments.extend(more);
        self.run(&arguments).await
    }

    /// Imports the public keys of a key in the vault.
    async fn import(&self, key: &str) {
        let import = [
            "key",
            "import",
            "--kms-key-id",
            key,
            "--all-versions",
            "--output",
            "policy.d",
        ];
        self.run(&import).await.ok();
    }
}

fn reasons(answer: &Value) -> Vec<Option<String>> {
    let signatures = answer["signatures"].as_array().unwrap().iter();
    signatures
        .map(|each| each["reason"].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn a_good_signature_is_valid_without_asking_the_vault() {
    let site = Site::start().await;
    let id = site.sign();
    site.import(&site.key).await;
    site.cloud.forget_requests();
    for more in [&[][..], &["--keys", "policy.d"]] {
        let answer = site.get_verify(&[&site.key], more).await.ok().json();
        assert_eq!(
            (&answer["valid"], &answer["digest"]),
            (&json!(true), &json!(site.image.digest))
        );
        assert_eq!(answer["signatures"][0]["locator"], id.as_str(), "{answer}");
        assert_eq!(answer["signatures"][0]["source"], "oracle-api");
    }
    let seen = site.cloud.requests();
    assert!(
        seen.iter()
            .all(|seen| seen.operation == Some(Operation::ListContainerImageSignatures))
    );
    assert_eq!(seen.len(), 2);
    // By the image's reference and rule, as at the gate.
    let name = format!(
        "vault-{}-{}",
        &site.key[site.key.len() - 10..],
        &site.version[site.version.len() - 10..]
    );
    let rule = format!(
        "[[rule]]\nscope = \"phx.ocir.io/**\"\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"{name}\"]\n"
    );
    site.write("pullgate.toml", &site.configuration(&rule));
    let ran = site
        .run(&["signature", "verify", &site.tagged(), "--from", "oracle"])
        .await
        .ok();
    assert!(ran.out.contains("valid: signed by 1 key, 1 required"), "{ran:?}");
    let subtree = [
        "signature",
        "verify",
        &site.tagged(),
        "--compartment-id",
        &site.tenancy,
        "--compartment-id-in-subtree",
        "true",
    ];
    site.run(&subtree).await.ok();
}

#[tokio::test]
async fn unknown_keys_are_reported_before_the_first_request() {
    let site = Site::start().await;
    site.sign();
    site.get_verify(&[&site.key], &[])
        .await
        .assert_failed(2, "no public key of");
    site.get_verify(&[&site.version], &[])
        .await
        .assert_failed(2, "is the OCID of a `keyversion`, not of a `key`");
    std::fs::create_dir(site.path("empty")).unwrap();
    site.get_verify(&[], &["--keys", "empty"])
        .await
        .assert_failed(2, "no key is available to verify with");
    site.get_verify(&[], &["--keys", "nowhere"])
        .await
        .assert_failed(2, "could not read `nowhere`");
    assert!(site.cloud.requests().is_empty());
}

#[tokio::test]
async fn an_invalid_result_sets_the_exit_code_and_each_record_has_its_reason() {
    let mut other = (String::new(), String::new());
    let site = Site::start_with(|world| other = world.key(Kind::Rsa)).await;
    site.import(&site.key).await;
    // No record at all.
    let ran = site.get_verify(&[&site.key], &[]).await;
    assert_eq!((ran.code, &ran.json()["valid"]), (1, &json!(false)));
    // Records of another key and of another image, damaged records, and a withdrawn one.
    site.cloud.sign_and_upload(&site.image, &other.1, ALGORITHM);
    let elsewhere = site
        .cloud
        .push(REPOSITORY, &format!("sha256:{}", "cd".repeat(32)), None);
    let moved = site.cloud.sign_and_upload(&elsewhere, &site.version, ALGORITHM);
    let mut record = site.record(&moved);
    site.cloud.remove_signature(&moved);
    record["imageId"] = json!(site.image.id);
    record.as_object_mut().unwrap().remove("id");
    site.cloud.put_signature(record.clone());
    let other_name = site.cloud.push("project01/other", &site.image.digest, None);
    let renamed = site.cloud.sign_and_upload(&other_name, &site.version, ALGORITHM);
    let mut renamed_record = site.record(&renamed);
    site.cloud.remove_signature(&renamed);
    renamed_record["imageId"] = json!(site.image.id);
    renamed_record.as_object_mut().unwrap().remove("id");
    site.cloud.put_signature(renamed_record);
    let good = site.sign();
    let good_record = site.record(&good);
    site.cloud.remove_signature(&good);
    for (field, value) in [
        ("lifecycleState", json!("DELETED")),
        ("kmsKeyVersionId", json!(other.1)),
        ("message", json!(7)),
    ] {
        let mut record = good_record.clone();
        record[field] = value;
        record.as_object_mut().unwrap().remove("id");
        site.cloud.put_signature(record);
    }
    let ran = site.get_verify(&[&site.key], &[]).await;
    let answer = ran.json();
    assert_eq!((ran.code, &answer["valid"]), (1, &json!(false)));
    let mut found: Vec<_> = reasons(&answer).into_iter().flatten().collect();
    found.sort();
    assert_eq!(
        found,
        [
            "digest-mismatch",
            "malformed",
            "repository-mismatch",
            "unsigned",
            "untrusted-key",
            "untrusted-key"
        ],
        "{answer:#}"
    );
    // One valid record is enough, whatever the others are.
    site.sign();
    let ran = site.get_verify(&[&site.key], &[]).await.ok();
    assert_eq!(ran.json()["signatures"].as_array().unwrap().len(), 7);
    // A record of either of two keys counts.
    site.import(&other.0).await;
    let answer = site.get_verify(&[&other.0, &site.key], &[]).await.ok().json();
    assert_eq!(
        reasons(&answer).iter().filter(|reason| reason.is_none()).count(),
        2,
        "{answer:#}"
    );
}

#[tokio::test]
async fn all_pages_are_read() {
    let site = Site::start().await;
    site.import(&site.key).await;
    let good = site.sign();
    let mut record = site.record(&good);
    record["signature"] = json!("AAAA");
    record.as_object_mut().unwrap().remove("id");
    for _ in 0..110 {
        site.cloud.put_signature(record.clone());
    }
    site.cloud.forget_requests();
    let answer = site.get_verify(&[&site.key], &[]).await.ok().json();
    assert_eq!(answer["signatures"].as_array().unwrap().len(), 111);
    assert_eq!(site.count(Operation::ListContainerImageSignatures), 2);
    // More records than a gate reads: the ones that were read can prove a valid signature, but not its absence.
    for _ in 0..40 {
        site.cloud.put_signature(record.clone());
    }
    site.cloud.remove_signature(&good);
    let ran = site.get_verify(&[&site.key], &[]).await;
    ran.assert_failed(3, "more than 128 records");
}

#[tokio::test]
async fn a_revoked_version_verifies_nothing() {
    let site = Site::start_with(|world| {
        world.keys.push(Key {
            id: String::new(),
            kind: Kind::Rsa,
            state: Lifecycle::Enabled,
            compartment: None,
            versions: vec![Version::default(), Version::default()],
        });
        *world = world.clone().complete();
    })
    .await;
    let key = site.cloud.world().keys[1].clone();
    let [one, two] = [&key.versions[0].id, &key.versions[1].id];
    site.import(&key.id).await;
    site.cloud.sign_and_upload(&site.image, one, ALGORITHM);
    site.get_verify(&[&key.id], &[]).await.ok();
    site.cloud.set_key_state(one, Lifecycle::Disabled);
    site.import(&key.id).await;
    let ran = site.get_verify(&[&key.id], &[]).await;
    assert_eq!(
        (ran.code, reasons(&ran.json())),
        (1, vec![Some("key-revoked".to_owned())])
    );
    site.cloud.sign_and_upload(&site.image, two, ALGORITHM);
    site.get_verify(&[&key.id], &[]).await.ok();
}

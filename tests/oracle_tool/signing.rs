//! `pullgate sign` with a key in OCI Vault.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::oracle_cloud::world::{self, Key, Version};
use super::oracle_cloud::{Kind, Lifecycle, Operation};
use super::{HOST, NAMESPACE, REPOSITORY, Site};

/// Returns the records that Oracle's client made, with its inputs.
fn fixtures() -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/oracle/positive");
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn the_message_equals_that_of_oracles_client() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 10, "{}", fixtures.len());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let site = Site::start_with(|world| {
        let (private, _) = world::pair();
        for fixture in &fixtures {
            let record = &fixture["api_record"];
            let version = Version {
                id: text(&record["kmsKeyVersionId"]),
                private_key: Some(private.clone()),
                ..Version::default()
            };
            let id = text(&record["kmsKeyId"]);
            match world.keys.iter_mut().find(|key| key.id == id) {
                Some(key) if key.versions.iter().any(|known| known.id == version.id) => {}
                Some(key) => key.versions.push(version),
                None => world.keys.push(Key {
                    id,
                    kind: Kind::Rsa,
                    state: Lifecycle::Enabled,
                    compartment: None,
                    versions: vec![version],
                }),
            }
        }
    })
    .await;
    for fixture in &fixtures {
        let case = &fixture["case"];
        let (record, repository) = (&fixture["api_record"], text(&fixture["repository"]));
        let digest = text(&fixture["image_digest"]);
        site.cloud.push(&repository, &digest, None);
        let message = BASE64_STANDARD.decode(text(&fixture["message"])).unwrap();
        let message: Value = serde_json::from_slice(&message).unwrap();
        site.cloud.forget_requests();
        let ran = site
            .run(&[
                "sign",
                &format!("{HOST}/{NAMESPACE}/{repository}@{digest}"),
                "--kms-key-id",
                &text(&record["kmsKeyId"]),
                "--kms-key-version-id",
                &text(&record["kmsKeyVersionId"]),
                // Oracle's client accepts upper and lower case.
                "--signing-algorithm",
                &text(&fixture["signing_algorithm"]).to_lowercase(),
                "--description",
                &text(&message["description"]),
                "--metadata",
                &text(&message["metadata"]),
                "--region",
                &text(&message["region"]),
                "--json",
            ])
            .await
            .ok();
        let answer = ran.json();
        let stored = site.record(answer["id"].as_str().unwrap());
        assert_eq!(stored["message"], fixture["message"], "{case}");
        assert_eq!(answer["uploaded"]["message"], fixture["message"], "{case}");
        let sent = |operation| {
            let seen = site.cloud.requests();
            let seen = seen.into_iter().find(|seen| seen.operation == Some(operation));
            serde_json::from_slice::<Value>(&seen.unwrap().request.body).unwrap()
        };
        assert_eq!(sent(Operation::Sign), fixture["kms_sign_request"], "{case}");
        let created = sent(Operation::CreateContainerImageSignature);
        for field in ["kmsKeyId", "kmsKeyVersionId", "message", "signingAlgorithm"] {
            assert_eq!(
                created[field], fixture["create_request"][field],
                "{case}: {field}"
            );
        }
        assert_eq!(created["compartmentId"], site.compartment.as_str(), "{case}");
    }
}

#[tokio::test]
async fn a_record_goes_to_each_destination() {
    let site = Site::start().await;
    let image = site.tagged();
    let sign = |more: &[&'static str]| {
        let mut arguments = vec!["sign", image.as_str()];
        arguments.extend(site.key_arguments());
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |more: &'static [&'static str]| {
        let arguments = sign(more);
        let site = &site;
        async move {
            site.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
                .await
        }
    };
    // By default only to the API, as Oracle's client does.
    let ran = run(&[]).await.ok();
    let id = ran
        .out
        .lines()
        .find_map(|line| line.strip_prefix("id      "))
        .unwrap();
    assert!(
        ran.out
            .starts_with(&format!("signed  {image} ({})\n", site.image.digest)),
        "{ran:?}"
    );
    assert_eq!(site.record(id)["imageId"], site.image.id.as_str());
    let tokens = site.cloud.requests();
    let created = tokens
        .iter()
        .find(|seen| seen.operation == Some(Operation::CreateContainerImageSignature));
    assert!(
        created
            .unwrap()
            .request
            .header("opc-retry-token")
            .is_some_and(|token| token.len() >= 16)
    );
    site.run(&["signature", "list", &image])
        .await
        .assert_failed(1, "");

    let ran = run(&["--upload", "referrer", "--json"]).await.ok().json();
    assert!(
        ran["stored"].as_str().unwrap().contains("@sha256:") && ran["uploaded"].is_null(),
        "{ran}"
    );
    assert_eq!(site.count(Operation::CreateContainerImageSignature), 1);

    let ran = run(&["--upload", "both", "--json"]).await.ok().json();
    assert_eq!(ran["id"], ran["uploaded"]["id"]);
    let listed = site.run(&["signature", "show", &image]).await.ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .any(|each| each["record"]["id"] == ran["id"]),
        "{listed}"
    );
    site.run(&[
        "key",
        "import",
        "--kms-key-id",
        &site.key,
        "--output",
        "keys",
        "--name",
        "k",
    ])
    .await
    .ok();
    site.run(&["signature", "verify", &image, "--keys", "keys"])
        .await
        .ok();

    let ran = run(&["--output", "records", "--json"]).await.ok().json();
    assert!(site.path(ran["stored"].as_str().unwrap()).is_file(), "{ran}");
    assert_eq!(site.count(Operation::CreateContainerImageSignature), 2);
}

#[tokio::test]
async fn invalid_input_is_refused_before_the_first_request() {
    let site = Site::start().await;
    let image = site.tagged();
    let long = "x".repeat(4000);
    for (more, words) in [
        (vec!["--metadata", "{not json"], "the metadata is not JSON"),
        (vec!["--description", &long], "OCI Vault signs at most 4096"),
        (
            vec!["--signing-algorithm", "SHA_256_RSA_PKCS1_V1_5"],
            "is not one of SHA_224_RSA_PKCS_PSS",
        ),
        (
            vec!["--signing-algorithm", "ECDSA_SHA_256"],
            "is not one of SHA_224_RSA_PKCS_PSS",
        ),
        (
            vec!["--repository-name", "other"],
            "--repository-name cannot be combined",
        ),
        (vec!["--region", "nowhere"], "is not a region"),
        (vec!["--compartment-id", &site.key], "is the OCID of a `key`"),
        (vec!["--profile", "OTHER"], "has no profile `OTHER`"),
    ] {
        let ran = site
            .run(&[&["sign", &image], &site.key_arguments()[..], &more].concat())
            .await;
        ran.assert_failed(2, words);
    }
    let swapped = [
        "sign",
        &image,
        "--kms-key-id",
        &site.version,
        "--kms-key-version-id",
        &site.key,
    ];
    site.run(&swapped)
        .await
        .assert_failed(2, "is the OCID of a `keyversion`, not of a `key`");
    site.run(&["sign", &image, "--kms-key-id", &site.key])
        .await
        .assert_failed(2, "--kms-key-version-id");
    site.run(&["sign", &image])
        .await
        .assert_failed(2, "<--key <FILE>|--kms-key-id <OCID>>");
    assert!(site.cloud.requests().is_empty());
}

#[tokio::test]
async fn a_key_that_cannot_sign_images_is_not_used() {
    let mut ids = Vec::new();
    let site = Site::start_with(|world| {
        ids = [Kind::Aes, Kind::Ecdsa, Kind::Rsa]
            .map(|kind| world.key(kind))
            .to_vec();
    })
    .await;
    site.cloud.set_key_state(&ids[2].1, Lifecycle::Disabled);
    for ((key, version), words) in ids.iter().zip([
        "has no public key: it belongs to a symmetric (AES) key, which cannot sign",
        "the key is an ECDSA P-256 key, and no signature format uses such keys yet",
        "is DISABLED",
    ]) {
        let image = site.tagged();
        let sign = [
            "sign",
            &image,
            "--kms-key-id",
            key,
            "--kms-key-version-id",
            version,
        ];
        site.run(&sign).await.assert_failed(2, words);
    }
    assert_eq!(site.count(Operation::GetKeyVersion), 3);
    assert_eq!(site.cloud.requests().len(), 3);
}

#[tokio::test]
async fn a_signature_of_another_key_is_not_uploaded() {
    let site = Site::start_with(|world| {
        let ((private, _), (_, public)) = (world::pair(), world::pair());
        world.keys[0].versions[0].private_key = Some(private);
        world.keys[0].versions[0].public_key = Some(public);
    })
    .await;
    let image = site.tagged();
    let ran = site
        .run(&[&["sign", &image, "--upload", "both"], &site.key_arguments()[..]].concat())
        .await;
    ran.assert_failed(
        3,
        "the vault's signature does not verify with the public key of the key version",
    );
    assert_eq!(site.count(Operation::Sign), 1);
    assert_eq!(site.count(Operation::CreateContainerImageSignature), 0);
    site.run(&["signature", "list", &image])
        .await
        .assert_failed(1, "");
}

#[tokio::test]
async fn the_named_image_is_signed() {
    let site = Site::start().await;
    let sign = |image: String| async {
        let image = image;
        site.run(&[&["sign", &image], &site.key_arguments()[..]].concat())
            .await
    };
    sign(format!("{HOST}/{NAMESPACE}/{REPOSITORY}:v2"))
        .await
        .assert_failed(1, "Oracle's API has no image");
    sign(format!("{HOST}/other/{REPOSITORY}:v1"))
        .await
        .assert_failed(1, "Oracle's API has no image");
    assert_eq!(site.count(Operation::Sign), 0);
    // By the id that `sign-upload` takes.
    let by_id = [
        "sign",
        "--image-id",
        &site.image.id,
        "--compartment-id",
        &site.tenancy,
        "--json",
    ];
    let ran = site
        .run(&[&by_id, &site.key_arguments()[..]].concat())
        .await
        .ok()
        .json();
    assert_eq!(
        (&ran["image"], &ran["digest"]),
        (&json!(site.image.id), &json!(site.image.digest))
    );
    assert_eq!(ran["uploaded"]["compartmentId"], site.tenancy.as_str());
    let referrer = ["sign", "--image-id", &site.image.id, "--upload", "both"];
    site.run(&[&referrer, &site.key_arguments()[..]].concat())
        .await
        .assert_failed(2, "no image is given");
    let absent = format!("{}zzzz", &site.image.id[..site.image.id.len() - 4]);
    site.run(&[&["sign", "--image-id", &absent], &site.key_arguments()[..]].concat())
        .await
        .assert_failed(1, "has no image");
    // The tag was moved: it has different digests in the API and in the registry.
    let other = format!("sha256:{}", "ab".repeat(32));
    site.cloud.push(REPOSITORY, &other, Some("v1"));
    let image = site.tagged();
    let ran = site
        .run(&[&["sign", &image, "--upload", "both"], &site.key_arguments()[..]].concat())
        .await;
    ran.assert_failed(3, "nothing was signed");
    assert_eq!(site.count(Operation::Sign), 1);
    let by_digest = format!("{HOST}/{NAMESPACE}/{REPOSITORY}@{}", site.image.digest);
    let ran = site
        .run(&[&["sign", &by_digest, "--json"], &site.key_arguments()[..]].concat())
        .await
        .ok();
    assert_eq!(ran.json()["digest"], json!(site.image.digest));
}

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rsa::PublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::oracle_cloud::{Cloud, Kind, Lifecycle, Options, Salt, World, world};
use super::{ALGORITHM, Client, Site};

impl Site {
    async fn kms(&self, operation: &str, body: &Value) -> super::client::Reply {
        self.client
            .call("POST", &format!("/20180608/{operation}"), body)
            .await
    }

    fn to_sign(&self, algorithm: &str) -> Value {
        json!({
            "message": BASE64_STANDARD.encode("a message"),
            "keyId": self.key,
            "keyVersionId": self.version,
            "messageType": "RAW",
            "signingAlgorithm": algorithm,
        })
    }

    async fn verifies(&self, signed: &Value, message: &Value, message_type: &str) -> bool {
        let mut body = signed.clone();
        body["message"] = message.clone();
        body["messageType"] = json!(message_type);
        let reply = self.kms("verify", &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["isSignatureValid"].as_bool().unwrap()
    }

    async fn public_key(&self) -> PublicKey {
        let target = format!("/20180608/keys/{}/keyVersions/{}", self.key, self.version);
        let version = self.client.get(&target).await.json();
        PublicKey::from_public_key_pem(version["publicKey"].as_str().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn only_signed_messages_verify_with_each_algorithm() {
    let site = Site::start().await;
    for hash in [224, 256, 384, 512] {
        for padding in ["RSA_PKCS_PSS", "RSA_PKCS1_V1_5"] {
            let sign_request = site.to_sign(&format!("SHA_{hash}_{padding}"));
            let signed = site.kms("sign", &sign_request).await.json();
            assert_eq!(signed["keyVersionId"], site.version);
            assert!(site.verifies(&signed, &sign_request["message"], "RAW").await);
            let other = json!(BASE64_STANDARD.encode("another message"));
            assert!(!site.verifies(&signed, &other, "RAW").await);
            let mut altered = signed.clone();
            altered["signature"] = json!(BASE64_STANDARD.encode([1; 256]));
            assert!(!site.verifies(&altered, &sign_request["message"], "RAW").await);
        }
    }
}

#[tokio::test]
async fn signing_a_digest_equals_signing_its_message() {
    let site = Site::start().await;
    let mut sign_request = site.to_sign(ALGORITHM);
    let (message, digest) = (sign_request["message"].clone(), Sha256::digest("a message"));
    sign_request["message"] = json!(BASE64_STANDARD.encode(digest));
    sign_request["messageType"] = json!("DIGEST");
    let signed = site.kms("sign", &sign_request).await.json();
    assert!(site.verifies(&signed, &message, "RAW").await);
    assert!(site.verifies(&signed, &sign_request["message"], "DIGEST").await);
    sign_request["message"] = message;
    assert_eq!(
        site.kms("sign", &sign_request).await.code(),
        (400, "InvalidParameter".to_owned())
    );
}

#[tokio::test]
async fn the_versions_public_key_verifies_and_the_salt_has_the_set_length() {
    for (salt, is_digest) in [
        (Salt::Digest, true),
        (Salt::Exactly(20), false),
        (Salt::Exactly(0), false),
    ] {
        let site = Site::start_with(|options| options.salt = salt).await;
        let sign_request = site.to_sign(ALGORITHM);
        let signed = site.kms("sign", &sign_request).await.json();
        let signature = BASE64_STANDARD
            .decode(signed["signature"].as_str().unwrap())
            .unwrap();
        let key = site.public_key().await;
        // The crate's default accepts only a salt as long as the hash.
        assert_eq!(
            key.pss_verify::<Sha256>(b"a message", &signature).is_ok(),
            is_digest
        );
        assert!(site.verifies(&signed, &sign_request["message"], "RAW").await);
    }
}

#[tokio::test]
async fn keys_and_versions_are_bare_lists_and_only_a_single_version_has_its_public_key() {
    let site = Site::start().await;
    let key = format!("/20180608/keys/{}", site.key);
    let versions = site.client.get(&format!("{key}/keyVersions")).await.json();
    assert_eq!(versions[0]["id"], site.version);
    assert_eq!(versions[0]["publicKey"], Value::Null);
    let keys = site.client.get("/20180608/keys?compartmentId=x").await.json();
    assert_eq!(keys[0], site.client.get(&key).await.json());
    assert_eq!(keys[0]["keyShape"], json!({ "algorithm": "RSA", "length": 256 }));
    assert_eq!(
        site.client
            .get("/20180608/keys/ocid1.key.oc1.phx.x.y")
            .await
            .code(),
        (404, "NotAuthorizedOrNotFound".to_owned())
    );
}

#[tokio::test]
async fn a_disabled_key_neither_signs_nor_verifies() {
    let site = Site::start().await;
    let sign_request = site.to_sign(ALGORITHM);
    let mut signed = site.kms("sign", &sign_request).await.json();
    signed["message"] = sign_request["message"].clone();
    for id in [&site.key, &site.version] {
        for state in [Lifecycle::Disabled, Lifecycle::PendingDeletion] {
            assert!(site.cloud.set_key_state(id, state));
            for (operation, body) in [("sign", &sign_request), ("verify", &signed)] {
                let code = site.kms(operation, body).await.code();
                assert_eq!(code, (409, "IncorrectState".to_owned()), "{operation} {state:?}");
            }
            assert!(site.cloud.set_key_state(id, Lifecycle::Enabled));
        }
    }
    assert_eq!(site.kms("sign", &sign_request).await.status, 200);
}

#[tokio::test]
async fn keys_of_other_kinds_exist_and_do_not_sign_images() {
    let mut world = World::new();
    let (private, public) = world::pair();
    let key_id = world.user(&public);
    let keys = [world.key(Kind::Aes), world.key(Kind::Ecdsa)];
    let cloud = Cloud::start(Options::new(world)).await.unwrap();
    let client = Client::new(cloud.address, &key_id, &private);
    for ((key, version), has_public_key) in keys.iter().zip([false, true]) {
        let target = format!("/20180608/keys/{key}/keyVersions/{version}");
        let answer = client.get(&target).await.json();
        assert_eq!(answer["publicKey"].is_string(), has_public_key);
        let sign_request = json!({ "message": "e30=", "keyId": key, "signingAlgorithm": ALGORITHM });
        let reply = client.call("POST", "/20180608/sign", &sign_request).await;
        assert_eq!(reply.code(), (400, "InvalidParameter".to_owned()));
    }
}

#[tokio::test]
async fn a_message_is_base64_of_4096_bytes_at_most() {
    let site = Site::start().await;
    for (message, status) in [
        (BASE64_STANDARD.encode([b' '; 4096]), 200),
        (BASE64_STANDARD.encode([b' '; 4097]), 400),
        ("{}".to_owned(), 400),
    ] {
        let mut sign_request = site.to_sign(ALGORITHM);
        sign_request["message"] = json!(message);
        assert_eq!(site.kms("sign", &sign_request).await.status, status);
    }
}

#[tokio::test]
async fn a_vaults_endpoints_serve_its_own_keys_only() {
    let site = Site::start().await;
    let of_key = site.key.split('.').nth(4).unwrap();
    for (host, status) in [
        (format!("{of_key}-crypto.kms.us-phoenix-1.oraclecloud.com"), 200),
        (
            "othervault-crypto.kms.us-phoenix-1.oraclecloud.com".to_owned(),
            404,
        ),
        (
            format!("{of_key}-management.kms.us-phoenix-1.oraclecloud.com"),
            404,
        ),
        ("artifacts.us-phoenix-1.oci.oraclecloud.com".to_owned(), 404),
        (format!("{of_key}-crypto.kms.us-ashburn-1.oraclecloud.com"), 404),
    ] {
        let sign_request = site.to_sign(ALGORITHM);
        let now = jiff::Timestamp::now();
        let mut request = site
            .client
            .signed_request("POST", "/20180608/sign", Some(&sign_request), now);
        request.headers[0].1.clone_from(&host);
        let all = [
            "date",
            "(request-target)",
            "host",
            "content-length",
            "content-type",
            "x-content-sha256",
        ];
        site.client.sign(&mut request, &all.map(str::to_owned));
        assert_eq!(site.client.send(request).await.status, status, "{host}");
    }
}

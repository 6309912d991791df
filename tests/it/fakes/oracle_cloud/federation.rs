use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rsa::PrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use super::client::{Reply, send_to};
use super::oracle_cloud::authorization::{Flaw, pairs};
use super::oracle_cloud::http::Request;
use super::oracle_cloud::{Cloud, world};
use super::{Client, Site};

async fn metadata(cloud: &Cloud, path: &str, authorization: Option<&str>) -> Reply {
    let authorization = authorization.map(|value| ("authorization".to_owned(), value.to_owned()));
    let host = ("host".to_owned(), cloud.metadata.to_string());
    let request = Request {
        method: "GET".to_owned(),
        target: format!("/opc/v2/{path}"),
        headers: authorization.into_iter().chain([host]).collect(),
        body: Vec::new(),
    };
    send_to(cloud.metadata, request).await.unwrap()
}

async fn text(cloud: &Cloud, path: &str) -> String {
    let reply = metadata(cloud, path, Some("Bearer Oracle")).await;
    assert_eq!(reply.status, 200);
    String::from_utf8(reply.body).unwrap()
}

/// Returns the base64 of a PEM block, without its header lines.
fn inner(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}

/// An instance that requests tokens.
struct Instance {
    client: Client,
    body: Value,
    session: String,
}

impl Instance {
    async fn new(cloud: &Cloud, tenancy: &str) -> Self {
        let certificate = inner(&text(cloud, "identity/cert.pem").await);
        let key = PrivateKey::from_pkcs1_pem(&text(cloud, "identity/key.pem").await).unwrap();
        let intermediate = inner(&text(cloud, "identity/intermediate.pem").await);
        let der = BASE64_STANDARD.decode(&certificate).unwrap();
        let (session, public) = world::pair();
        Self {
            client: Client {
                address: cloud.address,
                key_id: format!(
                    "{tenancy}/fed-x509/{}",
                    pairs(&hex::encode_upper(Sha1::digest(der)))
                ),
                private: key,
                signed: vec!["date", "(request-target)"],
            },
            body: json!({
                "certificate": certificate,
                "publicKey": inner(&public),
                "intermediateCertificates": [intermediate],
            }),
            session,
        }
    }

    async fn request_token(&self) -> Reply {
        self.client.call("POST", "/v1/x509", &self.body).await
    }

    async fn token(&self) -> String {
        self.request_token().await.json()["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn with(&self, token: &str) -> Client {
        Client::new(self.client.address, &format!("ST${token}"), &self.session)
    }
}

#[tokio::test]
async fn metadata_requires_its_header() {
    let site = Site::start().await;
    assert_eq!(metadata(&site.cloud, "instance/region", None).await.status, 401);
    assert_eq!(text(&site.cloud, "instance/region").await, "phx");
    assert_eq!(
        metadata(&site.cloud, "instance/x", Some("Bearer Oracle"))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn an_instance_gets_a_token_for_its_certificate_and_calls_with_it() {
    let site = Site::start().await;
    site.cloud.set_token_life(Duration::from_secs(120));
    let instance = Instance::new(&site.cloud, &site.tenancy).await;
    let token = instance.token().await;
    let payload = token.split('.').nth(1).unwrap();
    let payload: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let life = payload["exp"].as_i64().unwrap() - payload["iat"].as_i64().unwrap();
    assert_eq!(life, 120);

    let client = instance.with(&token);
    assert_eq!(client.get(&site.list("")).await.status, 200);
    let seen = site.cloud.requests().pop().unwrap();
    assert_eq!(seen.caller.as_deref(), Some(site.cloud.instance()));

    // A token does not authenticate requests that another key than its session's signed.
    let (other, _) = world::pair();
    let thief = Client::new(site.cloud.address, &client.key_id, &other);
    assert_eq!(thief.get(&site.list("")).await.status, 401);

    site.cloud.clock().advance(Duration::from_secs(121));
    let at = site.cloud.clock().now();
    let late = client.signed_request("GET", &site.list(""), None, at);
    assert_eq!(
        client.send(late).await.code(),
        (401, "NotAuthenticated".to_owned())
    );
    assert_eq!(site.cloud.requests().pop().unwrap().flaw, Some(Flaw::Expired));
    let again = instance.with(&instance.token().await);
    let request = again.signed_request("GET", &site.list(""), None, at);
    assert_eq!(again.send(request).await.status, 200);

    site.cloud.forget_tokens();
    let request = again.signed_request("GET", &site.list(""), None, at);
    assert_eq!(again.send(request).await.status, 401);
}

#[tokio::test]
async fn another_certificate_key_or_tenancy_gets_no_token() {
    let site = Site::start().await;
    let stranger = Site::start().await;
    let good = || Instance::new(&site.cloud, &site.tenancy);
    let refused = |instance: Instance| async {
        let instance = instance;
        assert_eq!(
            instance.request_token().await.code(),
            (401, "NotAuthenticated".to_owned())
        );
        site.cloud.requests().pop().unwrap().flaw.unwrap()
    };

    let foreign = Instance::new(&stranger.cloud, &site.tenancy).await;
    let mut instance = good().await;
    instance.body["certificate"] = foreign.body["certificate"].clone();
    instance.client.key_id = foreign.client.key_id;
    instance.client.private = foreign.client.private;
    assert_eq!(refused(instance).await, Flaw::Parameter("certificate"));

    let mut instance = good().await;
    instance.body["intermediateCertificates"] = json!([]);
    assert_eq!(
        refused(instance).await,
        Flaw::Parameter("intermediateCertificates")
    );

    let mut instance = good().await;
    instance.client.private = stranger.client.private.clone();
    assert_eq!(refused(instance).await, Flaw::Signature);

    let mut instance = good().await;
    instance.client.key_id = instance.client.key_id.replace(&site.tenancy, &stranger.tenancy);
    assert_eq!(refused(instance).await, Flaw::UnknownKey);

    let mut instance = good().await;
    instance.client.key_id = instance.client.key_id.to_lowercase();
    assert_eq!(refused(instance).await, Flaw::UnknownKey);

    // A signature that does not cover the body could be sent with any body.
    let instance = good().await;
    let mut request =
        instance
            .client
            .signed_request("POST", "/v1/x509", Some(&instance.body), Timestamp::now());
    let signed = ["date", "(request-target)"].map(str::to_owned);
    instance.client.sign(&mut request, &signed);
    assert_eq!(instance.client.send(request).await.status, 401);
}

#[tokio::test]
async fn an_instance_stays_the_same_after_its_certificate_was_renewed() {
    let site = Site::start().await;
    let old = Instance::new(&site.cloud, &site.tenancy).await;
    site.cloud.renew_instance();
    let new = Instance::new(&site.cloud, &site.tenancy).await;
    assert_ne!(old.client.key_id, new.client.key_id);
    for instance in [old, new] {
        let client = instance.with(&instance.token().await);
        assert_eq!(client.get(&site.list("")).await.status, 200);
    }
}

use std::time::Duration;

use jiff::Timestamp;
use rsa::PublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use serde::Deserialize;
use serde_json::json;

use super::oracle_cloud::authorization::{Credentials, Flaw, fingerprint, fresh, signing_string, verify};
use super::oracle_cloud::http::Request;
use super::oracle_cloud::{Tls, world};
use super::{Client, SIGNATURES, Site};

#[derive(Deserialize)]
struct Vectors {
    public_key_pem: String,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    method: String,
    target: String,
    host: String,
    date: String,
    content_type: Option<String>,
    content_length: Option<String>,
    x_content_sha256: Option<String>,
    body: String,
    signing_string: String,
    authorization: String,
}

impl Vector {
    fn request(&self) -> Request {
        let headers = [
            ("host", Some(&self.host)),
            ("date", Some(&self.date)),
            ("content-type", self.content_type.as_ref()),
            ("content-length", self.content_length.as_ref()),
            ("x-content-sha256", self.x_content_sha256.as_ref()),
            ("authorization", Some(&self.authorization)),
        ];
        let headers = headers
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())));
        Request {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: headers.collect(),
            body: self.body.clone().into_bytes(),
        }
    }
}

const PUBLISHED: &str = include_str!("../../../fixtures/oracle/request-verifying/published.json");
const RECORDED: &str = include_str!("../../../fixtures/oracle/request-verifying/recorded.json");

fn vectors(text: &str) -> (PublicKey, Vec<Vector>) {
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    let key = PublicKey::from_public_key_pem(&vectors.public_key_pem).unwrap();
    (key, vectors.vectors)
}

#[test]
fn signatures_of_oracles_documentation_and_client_are_accepted() {
    for text in [PUBLISHED, RECORDED] {
        let (key, vectors) = vectors(text);
        assert_eq!(vectors.len(), 2);
        for vector in vectors {
            let request = vector.request();
            let credentials = Credentials::from_request(&request).unwrap();
            assert!(credentials.key_id.ends_with(&fingerprint(&key)));
            assert_eq!(
                signing_string(&request, &credentials.headers).unwrap(),
                vector.signing_string
            );
            assert_eq!(verify(&request, &credentials, &key, true), Ok(()));
        }
    }
}

#[test]
fn a_recorded_request_with_any_signed_part_altered_is_refused() {
    for text in [PUBLISHED, RECORDED] {
        let (key, vectors) = vectors(text);
        for vector in vectors {
            let refused = |alter: &dyn Fn(&mut Request)| {
                let mut request = vector.request();
                alter(&mut request);
                let credentials = Credentials::from_request(&request).unwrap();
                verify(&request, &credentials, &key, true).unwrap_err()
            };
            assert_eq!(refused(&|request| request.target.push('x')), Flaw::Signature);
            assert_eq!(
                refused(&|request| set(request, "host", "elsewhere")),
                Flaw::Signature
            );
            assert_eq!(refused(&|request| set(request, "date", "now")), Flaw::Signature);
            assert_eq!(
                refused(&|request| request.headers.retain(|(name, _)| name != "host")),
                Flaw::Header("host".to_owned())
            );
            assert_eq!(
                refused(&|request| request.headers.push(("date".to_owned(), "again".to_owned()))),
                Flaw::Header("date".to_owned())
            );
            if vector.method == "POST" {
                assert_eq!(
                    refused(&|request| *request.body.last_mut().unwrap() = b' '),
                    Flaw::BodyHash
                );
                assert_eq!(refused(&|request| request.body.push(b' ')), Flaw::Length);
                assert_eq!(
                    refused(&|request| set(request, "content-type", "text/plain")),
                    Flaw::Signature
                );
            } else {
                // The method is part of the signed text.
                assert_eq!(
                    refused(&|request| request.method = "DELETE".to_owned()),
                    Flaw::Signature
                );
            }
        }
    }
}

fn set(request: &mut Request, name: &str, value: &str) {
    for (each, old) in &mut request.headers {
        if each == name {
            value.clone_into(old);
        }
    }
}

#[test]
fn clocks_may_differ_by_five_minutes() {
    let (_, vectors) = vectors(RECORDED);
    let request = vectors[0].request();
    let credentials = Credentials::from_request(&request).unwrap();
    let made: Timestamp = "2026-11-23T16:50:19Z".parse().unwrap();
    let at = |seconds: i64| {
        fresh(
            &request,
            &credentials,
            made + jiff::SignedDuration::from_secs(seconds),
        )
    };
    assert_eq!((at(0), at(300), at(-300)), (Ok(()), Ok(()), Ok(())));
    assert_eq!((at(301), at(-301)), (Err(Flaw::Skew), Err(Flaw::Skew)));
}

#[test]
fn an_authorization_header_is_parsed_strictly() {
    let read = |text: &str| Credentials::parse(text).map(|_credentials| ());
    let whole = "headers=\"date\",keyId=\"a/b/c\",signature=\"aGk=\",version=\"1\"";
    let rsa = "algorithm=\"rsa-sha256\"";
    assert_eq!(read(&format!("Signature {rsa},{whole}")), Ok(()));
    assert_eq!(read(&format!("Signature {whole},{rsa}")), Ok(()));
    for (text, flaw) in [
        (format!("Bearer {rsa},{whole}"), Flaw::Scheme),
        (format!("Signature {rsa} {whole}"), Flaw::Scheme),
        (format!("Signature {whole}"), Flaw::Parameter("algorithm")),
        (
            format!("Signature {rsa},{rsa},{whole}"),
            Flaw::Parameter("algorithm"),
        ),
        (format!("Signature algorithm=\"hs2019\",{whole}"), Flaw::Algorithm),
        (
            format!("Signature {rsa},{}", whole.replace("\"1\"", "\"2\"")),
            Flaw::Version,
        ),
        (
            format!("Signature {rsa},{}", whole.replace("aGk=", "aGk")),
            Flaw::Parameter("signature"),
        ),
        (
            format!("Signature {rsa},{}", whole.replace("keyId", "key")),
            Flaw::Parameter("keyId"),
        ),
    ] {
        assert_eq!(read(&text), Err(flaw), "{text}");
    }
}

/// Sends a request and returns why it was refused. The client gets the same response for every reason.
async fn flaw(site: &Site, request: Request) -> Option<Flaw> {
    let reply = site.client.send(request).await;
    let seen = site.cloud.requests().pop().unwrap();
    if seen.flaw.is_some() {
        assert_eq!(reply.code(), (401, "NotAuthenticated".to_owned()));
        assert!(reply.header("opc-request-id").is_some());
    } else {
        assert_eq!(reply.status, 200);
    }
    seen.flaw
}

#[tokio::test]
async fn only_a_complete_and_recent_signature_of_a_user_is_accepted() {
    let mut site = Site::start().await;
    let target = site.list("&repositoryName=project01%2Facme");
    let now = Timestamp::now();
    let get = |client: &Client, at| client.signed_request("GET", &target, None, at);

    assert_eq!(flaw(&site, get(&site.client, now)).await, None);
    let mut unsigned = get(&site.client, now);
    unsigned.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(flaw(&site, unsigned).await, Some(Flaw::Absent));
    let late = get(&site.client, now - Duration::from_secs(310));
    assert_eq!(flaw(&site, late).await, Some(Flaw::Skew));

    for (at, name) in [(0, "date"), (1, "(request-target)"), (2, "host")] {
        let left_out = site.client.signed.remove(at);
        assert_eq!(
            flaw(&site, get(&site.client, now)).await,
            Some(Flaw::Unsigned(name))
        );
        site.client.signed.insert(at, left_out);
    }
    let body = json!({ "imageUri": "a/b:c" });
    for name in ["content-length", "content-type", "x-content-sha256"] {
        let mut request = site.client.signed_request("POST", SIGNATURES, Some(&body), now);
        let all = [
            "date",
            "(request-target)",
            "host",
            "content-length",
            "content-type",
            "x-content-sha256",
        ];
        let signed: Vec<String> = all
            .iter()
            .filter(|each| **each != name)
            .map(|each| (*each).to_owned())
            .collect();
        site.client.sign(&mut request, &signed);
        assert_eq!(flaw(&site, request).await, Some(Flaw::Unsigned(name)));
    }

    let (other, _) = world::pair();
    let stranger = Client::new(site.cloud.address, &site.client.key_id, &other);
    assert_eq!(flaw(&site, get(&stranger, now)).await, Some(Flaw::Signature));
    site.client.key_id.push('0');
    assert_eq!(flaw(&site, get(&site.client, now)).await, Some(Flaw::UnknownKey));
}

#[tokio::test]
async fn requests_are_dated_by_the_clouds_clock() {
    let site = Site::start().await;
    let then: Timestamp = "2031-01-01T00:00:00Z".parse().unwrap();
    site.cloud.clock().set(then);
    assert_eq!(site.client.get(&site.list("")).await.status, 401);
    let request = site.client.signed_request("GET", &site.list(""), None, then);
    assert_eq!(site.client.send(request).await.status, 200);
}

#[tokio::test]
async fn https_works_for_clients_that_trust_the_authority() {
    let tls = Tls::generate(&["127.0.0.1".to_owned()]);
    let authority = reqwest::Certificate::from_pem(tls.authority.as_bytes()).unwrap();
    let site = Site::start_with(|options| options.tls = Some(tls)).await;
    let target = format!("{}{}", site.cloud.url(), site.list(""));
    let client = reqwest::Client::builder().tls_certs_only([authority]);
    let reply = client.build().unwrap().get(&target).send().await.unwrap();
    assert_eq!(reply.status(), 401);
    let stranger = reqwest::Client::builder().tls_certs_only([]);
    assert!(stranger.build().unwrap().get(&target).send().await.is_err());
    assert_eq!(site.cloud.requests().len(), 1);
}

#[tokio::test]
async fn x_date_replaces_date() {
    let site = Site::start().await;
    let mut request = site
        .client
        .signed_request("GET", &site.list(""), None, Timestamp::now());
    for (name, _) in &mut request.headers {
        if name == "date" {
            "x-date".clone_into(name);
        }
    }
    let signed = ["x-date", "(request-target)", "host"].map(str::to_owned);
    site.client.sign(&mut request, &signed);
    assert_eq!(flaw(&site, request).await, None);
}

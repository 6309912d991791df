use std::str::FromStr as _;

use proptest::prelude::*;
use rsa::pkcs8::DecodePublicKey as _;
use serde_json::Value;

use super::*;
use crate::base::error_chain::chain;

const KEY: &str = include_str!("../../../../tests/fixtures/keys/rsa-2048.private.pem");
const LEAF: &[u8] = include_bytes!("../../../../tests/fixtures/oracle/federation/leaf.pem");
const TENANCY: &str = "ocid1.tenancy.oc1..aaaaaaaacatagdyblhcqriqxvorwvajdmlxuvv3d5dz3ba2v7kcvicmivfnq";

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn recorded() -> Value {
    fixture(include_str!(
        "../../../../tests/fixtures/oracle/request-signing/recorded.json"
    ))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field}"))
}

fn key() -> Arc<RequestKey> {
    Arc::new(RequestKey::from_pem(KEY.as_bytes(), None).unwrap())
}

fn signer() -> RequestSigner {
    RequestSigner::api_key(
        &TENANCY.parse().unwrap(),
        &"ocid1.user.oc1..aaaa".parse().unwrap(),
        key(),
    )
}

fn operation(method: &str, url: &str, body: &str) -> Operation {
    Operation {
        method: method.parse().unwrap(),
        url: url.parse().unwrap(),
        body: body.as_bytes().to_vec(),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

/// `name="value"` of an `authorization`.
fn part<'a>(authorization: &'a str, name: &str) -> &'a str {
    let (_, rest) = authorization.split_once(&format!("{name}=\"")).unwrap();
    rest.split_once('"').unwrap().0
}

fn verifies(public_pem: &str, message: &str, signature: &str) -> bool {
    rsa::PublicKey::from_public_key_pem(public_pem)
        .unwrap()
        .verify(
            rsa::Pkcs1v15Sign::new::<Sha256>(),
            &Sha256::digest(message),
            &STANDARD.decode(signature).unwrap(),
        )
        .is_ok()
}

/// Reproduces the signatures that Oracle publishes ("Request Signatures", and the tests of its Go SDK).
#[test]
fn reproduces_oracles_published_signatures() {
    let published = fixture(include_str!(
        "../../../../tests/fixtures/oracle/request-signing/published.json"
    ));
    let key = Arc::new(RequestKey::from_published_example(text(
        &published,
        "private_key_pem",
    )));
    let signer = RequestSigner::api_key(
        &text(&published, "tenancy").parse().unwrap(),
        &text(&published, "user").parse().unwrap(),
        Arc::clone(&key),
    );
    // The example's key id names another key; it is not part of the signed text.
    assert_eq!(
        key.fingerprint().to_string(),
        "73:61:a2:21:67:e0:df:be:7e:4b:93:1e:15:98:a5:b7"
    );
    let vectors = published["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let operation = operation(text(vector, "method"), text(vector, "url"), text(vector, "body"));
        // Oracle's example has the wrong day of the week; for a signature the date is only a text.
        let date = text(vector, "date");
        assert_eq!(
            signing_string(&signer.lines(&operation, date).unwrap()),
            text(vector, "signing_string")
        );
        let headers = signer.sign_at(&operation, date).unwrap();
        let authorization = header(&headers, "authorization").unwrap();
        assert_eq!(part(authorization, "signature"), text(vector, "signature"));
    }
}

/// Compares with the requests that Oracle's own client sent.
#[test]
fn builds_the_signing_strings_of_oracles_client() {
    let recorded = recorded();
    for vector in recorded["vectors"].as_array().unwrap() {
        let url = format!("https://{}{}", text(vector, "host"), text(vector, "target"));
        let operation = operation(text(vector, "method"), &url, text(vector, "body"));
        let now = date(text(vector, "date"));
        let headers = signer().sign(&operation, now).unwrap();
        let string = signing_string(
            &signer()
                .lines(&operation, header(&headers, "date").unwrap())
                .unwrap(),
        );
        assert_eq!(string, text(vector, "signing_string"));
        assert!(verifies(
            text(&recorded, "public_key_pem"),
            &string,
            text(vector, "signature")
        ));
        // The header is the same except for the signer.
        let theirs = text(vector, "authorization")
            .replace(text(vector, "key_id"), signer().key_id.expose())
            .replace(text(vector, "signature"), "*");
        let ours = header(&headers, "authorization").unwrap();
        assert_eq!(ours.replace(part(ours, "signature"), "*"), theirs);
        for (name, field) in [
            ("date", "date"),
            ("host", "host"),
            ("content-length", "content_length"),
            ("x-content-sha256", "x_content_sha256"),
        ] {
            assert_eq!(header(&headers, name), vector[field].as_str(), "{name}");
        }
        let public = pkcs8::EncodePublicKey::to_public_key_pem(
            &rsa::PublicKey::from_public_key_der(key().public_der()).unwrap(),
            pkcs8::LineEnding::LF,
        );
        assert!(verifies(&public.unwrap(), &string, part(ours, "signature")));
    }
}

/// Verifies the recorded exchanges of `wire/`, which cover other operations and another host than Oracle's.
#[test]
fn every_recorded_exchange_verifies() {
    let public_key = recorded();
    for (name, exchange) in crate::net::oracle::wire::RECORDED {
        let exchange = &fixture(exchange)["http"][0];
        let url = format!("http://{}{}", text(exchange, "host"), text(exchange, "target"));
        let operation = operation(text(exchange, "method"), &url, text(exchange, "body"));
        let lines = signer().lines(&operation, text(exchange, "date")).unwrap();
        let authorization = text(exchange, "authorization");
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        assert_eq!(part(authorization, "headers"), names.join(" "), "{name}");
        assert!(
            verifies(
                text(&public_key, "public_key_pem"),
                &signing_string(&lines),
                part(authorization, "signature")
            ),
            "{name}"
        );
    }
}

fn date(text: &str) -> Timestamp {
    let time = jiff::fmt::rfc2822::parse(text).unwrap();
    time.timestamp()
}

#[test]
fn a_token_is_the_key_id_and_hidden_in_debug_output() {
    let token = SecurityToken::parse(b"aaa.bbb.ccc").unwrap();
    let signer = RequestSigner::security_token(&token, key());
    let headers = signer
        .sign(
            &operation("GET", "https://a.example/x", ""),
            Timestamp::UNIX_EPOCH,
        )
        .unwrap();
    let authorization = headers.get("authorization").unwrap();
    assert_eq!(part(authorization.to_str().unwrap(), "keyId"), "ST$aaa.bbb.ccc");
    assert!(authorization.is_sensitive());
    assert!(!format!("{signer:?} {headers:?}").contains("bbb"));
}

#[test]
fn a_token_request_does_not_sign_the_host() {
    let leaf = LeafCertificate::from_pem(LEAF).unwrap();
    let headers = RequestSigner::federation(&leaf, key())
        .sign(
            &operation("POST", "https://auth.example/v1/x509", "{}"),
            Timestamp::UNIX_EPOCH,
        )
        .unwrap();
    let authorization = header(&headers, "authorization").unwrap();
    assert_eq!(
        part(authorization, "headers"),
        "date (request-target) content-length content-type x-content-sha256"
    );
    assert_eq!(
        part(authorization, "keyId"),
        format!("{TENANCY}/fed-x509/{}", leaf.fingerprint())
    );
    assert_eq!(
        (header(&headers, "host"), header(&headers, "content-length")),
        (None, Some("2"))
    );
}

#[test]
fn methods_with_body_hash_an_empty_one_and_methods_without_refuse_one() {
    for method in ["POST", "PUT", "PATCH"] {
        let headers = signer()
            .sign(
                &operation(method, "https://a.example/x", ""),
                Timestamp::UNIX_EPOCH,
            )
            .unwrap();
        assert_eq!(
            header(&headers, "x-content-sha256"),
            Some("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
        );
        assert_eq!(header(&headers, "content-length"), Some("0"));
    }
    for method in ["GET", "HEAD", "DELETE"] {
        let headers = signer()
            .sign(
                &operation(method, "https://a.example/x", ""),
                Timestamp::UNIX_EPOCH,
            )
            .unwrap();
        assert_eq!(headers.len(), 3, "{method}");
        let body = signer().sign(
            &operation(method, "https://a.example/x", "{}"),
            Timestamp::UNIX_EPOCH,
        );
        assert!(matches!(body, Err(SigningError::Body(refused)) if refused == *method));
    }
    for method in ["OPTIONS", "CONNECT", "TRACE", "BREW", "get"] {
        let refused = signer().sign(
            &operation(method, "https://a.example/x", ""),
            Timestamp::UNIX_EPOCH,
        );
        assert!(matches!(refused, Err(SigningError::Method(_))), "{method}");
    }
}

#[test]
fn host_and_date_are_formatted_as_in_http() {
    for (url, host) in [
        ("https://a.example/x", "a.example"),
        ("https://a.example:443/x", "a.example"),
        ("https://a.example:80/x", "a.example:80"),
        ("http://127.0.0.1:43881/x", "127.0.0.1:43881"),
        ("https://[::1]:8443/x", "[::1]:8443"),
        ("https://A.Example/x", "a.example"),
    ] {
        let headers = signer()
            .sign(&operation("GET", url, ""), Timestamp::UNIX_EPOCH)
            .unwrap();
        assert_eq!(header(&headers, "host"), Some(host), "{url}");
        assert_eq!(header(&headers, "date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    }
    let no_host = signer().sign(&operation("GET", "data:x", ""), Timestamp::UNIX_EPOCH);
    assert!(matches!(no_host, Err(SigningError::NoHost)));
    let before_year_0 = signer().sign(&operation("GET", "https://a.example/x", ""), Timestamp::MIN);
    let error = before_year_0.unwrap_err();
    assert!(matches!(error, SigningError::Date(_)), "{}", chain(&error));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No input can add a line to the string, and every input can be read back from it.
    #[test]
    fn a_signing_string_has_one_reading(
        path in "\\PC{0,20}",
        value in "\\PC{0,20}",
        body in proptest::collection::vec(any::<u8>(), 0..40),
        seconds in 0_i64..253_402_207_200,
    ) {
        let mut url = Url::from_str("https://a.example:8443/").unwrap();
        url.set_path(&path);
        url.query_pairs_mut().append_pair("q", &value);
        let operation = Operation { method: Method::PUT, url: url.clone(), body };
        let date = DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&Timestamp::from_second(seconds).unwrap())
            .unwrap();
        let string = signing_string(&signer().lines(&operation, &date).unwrap());
        let read: Vec<(&str, &str)> = string.lines().map(|line| line.split_once(": ").unwrap()).collect();
        let target = format!("put {}", &url[url::Position::BeforePath..]);
        let length = operation.body.len().to_string();
        let hash = STANDARD.encode(Sha256::digest(&operation.body));
        prop_assert_eq!(read, vec![
            ("date", date.as_str()),
            ("(request-target)", target.as_str()),
            ("host", "a.example:8443"),
            ("content-length", length.as_str()),
            ("content-type", "application/json"),
            ("x-content-sha256", hash.as_str()),
        ]);
        prop_assert!(string.is_ascii());
    }
}

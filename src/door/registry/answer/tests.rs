use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LINK, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::ext::ReasonPhrase;
use proptest::prelude::*;
use serde_json::Value;

use super::{PHRASE_BYTES, Puller, ResponseBody, base, crashed, cut, denied, referrers, refused, tags};
use crate::base::reason::Reason;
use crate::door::registry::route::RouteError;
use crate::door::wire_codes::http_answer;
use crate::oci::{Descriptor, Digest};
use crate::pull::decide::Denial;

fn denial(reason: Reason) -> Denial {
    Denial {
        reference: "registry.test/team/app:v1".parse().unwrap(),
        digest: Some(Digest::sha256(b"app")),
        rule: "registry.test/team/**".to_owned(),
        reason,
        detail: "what exactly".to_owned(),
        challenge: None,
    }
}

fn body(response: Response<ResponseBody>) -> Bytes {
    let collected = futures_util::future::FutureExt::now_or_never(response.into_body().collect());
    collected.unwrap().unwrap().to_bytes()
}

fn told(response: Response<ResponseBody>) -> Value {
    let body: Value = serde_json::from_slice(&body(response)).unwrap();
    assert_eq!(
        body["errors"].as_array().unwrap().len(),
        1,
        "runtimes print the first alone"
    );
    body["errors"][0].clone()
}

fn phrase(response: &Response<ResponseBody>) -> String {
    String::from_utf8(
        response
            .extensions()
            .get::<ReasonPhrase>()
            .unwrap()
            .as_bytes()
            .to_vec(),
    )
    .unwrap()
}

#[test]
fn every_denial_says_image_digest_rule_reason_and_next_step() {
    for &reason in Reason::ALL {
        let denial = denial(reason);
        let response = denied(&denial, Puller::Other);
        let (status, code) = http_answer(reason);
        assert_eq!(response.status(), status, "{reason}");
        assert_eq!(
            status == StatusCode::NOT_FOUND,
            reason == Reason::ImageNotFound,
            "{reason}"
        );
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(
            response.headers()["docker-distribution-api-version"],
            "registry/2.0"
        );
        assert!(!response.headers().contains_key(WWW_AUTHENTICATE));

        let short = phrase(&response);
        for part in [
            reason.code(),
            "registry.test/team/app:v1",
            "registry.test/team/**",
            "what exactly",
            reason.next_step(),
        ] {
            assert!(short.contains(part), "{part} is not in {short}");
        }
        assert!(
            short.starts_with("pullgate: ") && short.len() <= PHRASE_BYTES,
            "{short}"
        );

        let told = told(response);
        let digest = Digest::sha256(b"app").to_string();
        assert_eq!(told["code"], code);
        let message = told["message"].as_str().unwrap();
        for part in [
            reason.code(),
            "registry.test/team/app:v1",
            &digest,
            "registry.test/team/**",
            "what exactly",
            reason.next_step(),
        ] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
        assert_eq!(
            told["detail"],
            serde_json::json!({
                "image": "registry.test/team/app:v1", "digest": digest, "rule": "registry.test/team/**",
                "reason": reason.code(), "next": reason.next_step(), "retry": reason.retryable(),
            })
        );
    }
}

#[test]
fn docker_is_told_the_same_under_a_code_that_it_adds_nothing_to() {
    for &reason in Reason::ALL {
        let (status, code) = http_answer(reason);
        let response = denied(&denial(reason), Puller::Docker);
        assert_eq!(response.status(), status);
        let expected = if code == "DENIED" { "UNSUPPORTED" } else { code };
        assert_eq!(told(response)["code"], expected, "{reason}");
    }
    let agent = |agent: &'static str| {
        Puller::from_headers(&HeaderMap::from_iter([(
            USER_AGENT,
            HeaderValue::from_static(agent),
        )]))
    };
    assert_eq!(
        agent("docker/20.10.24+dfsg1 go/go1.19.8 UpstreamClient(Docker-Client/20.10.24)"),
        Puller::Docker
    );
    assert_eq!(agent("containerd/1.6.20~ds1"), Puller::Other);
    assert_eq!(agent("skopeo/1.9.3 docker/1"), Puller::Other);
    assert_eq!(Puller::from_headers(&HeaderMap::new()), Puller::Other);
}

#[test]
fn a_challenge_goes_back_where_credentials_are_what_is_missing_and_nowhere_else() {
    let challenge =
        HeaderValue::from_static("Bearer realm=\"https://auth.test/token\",service=\"registry.test\"");
    for &reason in Reason::ALL {
        let denial = Denial {
            challenge: Some(challenge.clone()),
            ..denial(reason)
        };
        let response = denied(&denial, Puller::Other);
        if reason == Reason::RegistryUnauthorized {
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(response.headers()[WWW_AUTHENTICATE], challenge);
            assert_eq!(told(response)["code"], "UNAUTHORIZED");
        } else {
            assert_eq!(response.status(), http_answer(reason).0);
            assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
        }
    }
    assert_eq!(base(None).status(), StatusCode::OK);
    assert_eq!(body(base(None)), "{}");
    let response = base(Some(challenge.clone()));
    assert_eq!(
        (response.status(), &response.headers()[WWW_AUTHENTICATE]),
        (StatusCode::UNAUTHORIZED, &challenge)
    );
}

#[test]
fn refusals_say_what_is_wrong_and_what_is_allowed() {
    let response = refused(&RouteError::Method { allow: "GET, HEAD" });
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[ALLOW], "GET, HEAD");
    assert_eq!(phrase(&response), "pullgate: this door serves pulls only");
    let told = told(response);
    assert_eq!(
        told,
        serde_json::json!({"code": "UNSUPPORTED", "message": "pullgate: this door serves pulls only"})
    );

    let digest = "sha256:x".parse::<Digest>().unwrap_err();
    let response = refused(&RouteError::Digest(digest));
    assert!(!response.headers().contains_key(ALLOW));
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(
        phrase(&response).contains("exactly 64 lower-case hexadecimal digits"),
        "{}",
        phrase(&response)
    );
}

#[test]
fn a_crash_is_blocked_as_the_table_says() {
    let response = crashed();
    assert_eq!(response.status(), http_answer(Reason::InternalError).0);
    assert!(phrase(&response).contains("internal-error"));
    let told = told(response);
    assert_eq!(told["code"], "UNAVAILABLE");
    assert_eq!(told["detail"]["retry"], true);
}

#[test]
fn lists_are_what_the_specification_says() {
    let response = tags(
        Bytes::from_static(b"{\"tags\":[]}"),
        Some("/v2/app/tags/list?last=a&ns=registry.test"),
    );
    assert_eq!(
        response.headers()[LINK],
        "</v2/app/tags/list?last=a&ns=registry.test>; rel=\"next\""
    );
    assert_eq!(body(response), "{\"tags\":[]}");
    assert!(!tags(Bytes::new(), None).headers().contains_key(LINK));

    let descriptor = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: Digest::sha256(b"signature"),
        size: 7,
        artifact_type: Some("application/vnd.x".to_owned()),
        unverified_data: None,
        platform: None,
    };
    let response = referrers(&[descriptor], true);
    assert_eq!(response.headers()["oci-filters-applied"], "artifactType");
    assert_eq!(
        response.headers()[CONTENT_TYPE],
        "application/vnd.oci.image.index.v1+json"
    );
    let index: Value = serde_json::from_slice(&body(response)).unwrap();
    assert_eq!(
        index,
        serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": Digest::sha256(b"signature").to_string(), "size": 7, "artifactType": "application/vnd.x",
            }],
        })
    );
    assert!(
        !referrers(&[], false)
            .headers()
            .contains_key("oci-filters-applied")
    );
}

#[test]
fn texts_are_cut_where_a_word_ends() {
    for (text, most, expected) in [
        ("as it is", 8, "as it is"),
        ("one two three", 12, "one two..."),
        ("oneverylongword", 9, "onever..."),
        ("a verylongword", 9, "a very..."),
        ("caf\u{e9} caf\u{e9}", 7, "caf..."),
        ("x", 0, "..."),
    ] {
        assert_eq!(cut(text, most), expected, "{text}");
    }
}

#[test]
fn the_next_step_is_said_even_when_the_detail_is_long() {
    let mut long = denial(Reason::SourceUnreachable);
    long.detail = "a word and another ".repeat(100);
    let short = phrase(&denied(&long, Puller::Other));
    assert!(
        short.len() <= PHRASE_BYTES && short.ends_with(Reason::SourceUnreachable.next_step()),
        "{short}"
    );
    assert!(short.contains(": a word and another"), "{short}");

    long.reference = format!("registry.test/{}:v1", "a/".repeat(100) + "b")
        .parse()
        .unwrap();
    let short = phrase(&denied(&long, Puller::Other));
    assert!(
        short.len() <= PHRASE_BYTES && short.starts_with("pullgate: source-unreachable: registry.test/a/a")
    );
}

proptest! {
    /// Whatever a registry wrote into it, a denial's phrase ends no status line, and its body stays small and is JSON.
    #[test]
    fn any_text_makes_a_safe_phrase_and_a_small_body(
        detail in prop_oneof![any::<String>(), "[\"\\\\\r\n\u{1b}\u{202e}é ]{0,3000}"],
        rule in prop_oneof![any::<String>(), "[\"\\\\\u{0}-\u{ff}]{0,3000}"],
        reason in proptest::sample::select(Reason::ALL),
    ) {
        let denial = Denial { detail, rule, ..denial(reason) };
        let response = denied(&denial, Puller::Other);
        let short = phrase(&response);
        prop_assert!(short.len() <= PHRASE_BYTES);
        prop_assert!(short.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{:?}", short);
        prop_assert!(HeaderValue::from_str(&short).is_ok());
        let body = body(response);
        prop_assert!(body.len() <= 4096, "{}", body.len());
        let told: Value = serde_json::from_slice(&body).unwrap();
        let message = told["errors"][0]["message"].as_str().unwrap();
        prop_assert!(!message.chars().any(char::is_control), "{:?}", message);
    }
}

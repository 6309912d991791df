//! Tokens: when one is requested, with which credentials, and how long it is reused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::support::*;
use crate::net::registry::auth::read_token;
use crate::net::registry::{Credentials, RegistryError, RegistryOperation, RequestOutcome};
use crate::oci::Repository;

#[tokio::test]
async fn an_anonymous_token_is_requested_once_and_reused() {
    let liar = bearer(|_, _| token("good")).await;
    let counted = Counted::default();
    let client = counted.observe(liar.client(Credentials::Passthrough));
    for _ in 0..3 {
        pull(&client, &anonymous()).await.unwrap();
    }
    let manifest = "GET /v2/team/app/manifests/latest";
    let wanted = "GET /token?service=the+service&scope=repository%3Ateam%2Fapp%3Apull";
    assert_eq!(liar.targets(), [manifest, wanted, manifest, manifest, manifest]);
    assert_eq!(liar.seen()[1].header("authorization"), None);
    let kinds = [
        RegistryOperation::Token,
        RegistryOperation::Manifest,
        RegistryOperation::Manifest,
        RegistryOperation::Manifest,
    ];
    assert_eq!(
        counted.all(),
        kinds.map(|operation| (operation, RequestOutcome::Ok))
    );
    // Another repository needs a token of its own.
    let other = Repository::new(HOST, "team/other").unwrap();
    client.manifest(&other, &latest(), &anonymous()).await.unwrap();
    assert_eq!(liar.seen().len(), 8);
}

#[tokio::test]
async fn the_nodes_login_is_shown_to_the_token_realm_only_when_challenged() {
    let liar = bearer(|_, _| answer("200 OK", &[], r#"{"access_token":"good","other":1}"#)).await;
    let (_folder, credentials) = login();
    pull(&liar.client(credentials), &anonymous()).await.unwrap();
    let asked = &liar.seen()[1];
    assert_eq!(asked.header("authorization"), Some("Basic dXNlcjpwYXNz"));
    assert!(asked.target.contains("account=user"), "{}", asked.target);
    assert_eq!(
        liar.seen()[0].header("authorization"),
        None,
        "credentials are shown only after a challenge"
    );
    assert_eq!(liar.seen()[2].header("authorization"), Some("Bearer good"));
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let liar = bearer(|_, _| token("good")).await;
    let (_folder, credentials) = file(&format!(
        r#"{{"auths":{{"https://{HOST}/v1/":{{"auth":"dXNlcjo=","identitytoken":"id&token"}}}}}}"#
    ));
    pull(&liar.client(credentials), &anonymous()).await.unwrap();
    let asked = &liar.seen()[1];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/token"));
    assert_eq!(
        asked.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(
        String::from_utf8_lossy(&asked.body),
        "service=the+service&scope=repository%3Ateam%2Fapp%3Apull&grant_type=refresh_token&client_id=pullgate&\
         refresh_token=id%26token"
    );
}

#[tokio::test]
async fn a_token_that_the_registry_rejects_is_replaced_once() {
    let given = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&given);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let line = format!(r#"Bearer realm="http://{address}/token""#);
    let liar = Liar::on(listener, move |seen, _| {
        match (seen.path(), seen.header("authorization")) {
            ("/token", _) => token(&format!("t{}", counter.fetch_add(1, Ordering::Relaxed))),
            // Only the newest token is accepted.
            (_, Some(shown))
                if shown == format!("Bearer t{}", counter.load(Ordering::Relaxed).wrapping_sub(1)) =>
            {
                manifest()
            }
            _ => challenge(&line),
        }
    });
    let client = liar.client(Credentials::Anonymous);
    pull(&client, &anonymous()).await.unwrap();
    given.fetch_add(7, Ordering::Relaxed);
    pull(&client, &anonymous()).await.unwrap();
    assert_eq!(liar.seen().len(), 6);
}

#[tokio::test]
async fn a_token_is_not_reused_after_its_lifetime() {
    for answer_text in [
        r#"{"token":"good","expires_in":0}"#,
        r#"{"token":"good","expires_in":1}"#,
    ] {
        let liar = bearer(move |_, _| answer("200 OK", &[], answer_text)).await;
        let client = liar.client(Credentials::Anonymous);
        pull(&client, &anonymous()).await.unwrap();
        advance(Duration::from_secs(1)).await;
        pull(&client, &anonymous()).await.unwrap();
        assert_eq!(
            liar.targets()
                .iter()
                .filter(|target| target.contains("/token"))
                .count(),
            2,
            "{answer_text}"
        );
    }
}

#[tokio::test]
async fn the_lifetime_of_a_token_is_bounded_to_an_hour() {
    for claimed in ["3601", "18446744073709551615"] {
        let text = format!(r#"{{"token":"good","expires_in":{claimed}}}"#);
        let (header, lifetime) = read_token(text.as_bytes()).unwrap();
        assert_eq!(
            (header.to_str().unwrap(), lifetime),
            ("Bearer good", Duration::from_secs(3600))
        );
        assert!(!format!("{header:?}").contains("good"), "{header:?}");
        let liar = bearer(move |_, _| answer("200 OK", &[], &text)).await;
        pull(&liar.client(Credentials::Anonymous), &anonymous())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn each_fault_of_a_token_realm_has_its_own_error() {
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let mut spaces = b"10000\r\n".to_vec();
    spaces.resize(spaces.len() + 0x10000, b' ');
    spaces.extend_from_slice(b"\r\n");
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (reply, outcome) in [
        (
            Reply::Forever(endless, spaces, Duration::ZERO),
            RequestOutcome::TooLarge,
        ),
        // A 404 of the realm does not mean that the image is absent.
        (answer("404 Not Found", &[], ""), RequestOutcome::Malformed),
        (answer("400 Bad Request", &[], ""), RequestOutcome::Malformed),
        (
            answer(
                "401 Unauthorized",
                &[("www-authenticate", "Basic realm=\"x\"")],
                "",
            ),
            RequestOutcome::Unauthorized,
        ),
        (answer("403 Forbidden", &[], ""), RequestOutcome::Unauthorized),
        (
            answer("500 Internal Server Error", &[], ""),
            RequestOutcome::Unreachable,
        ),
        (
            answer("200 OK", &[("content-encoding", "gzip")], "x"),
            RequestOutcome::Malformed,
        ),
        (answer("200 OK", &[], ""), RequestOutcome::Malformed),
        (answer("200 OK", &[], "{}"), RequestOutcome::Malformed),
        (
            answer("200 OK", &[], r#"{"token":""}"#),
            RequestOutcome::Malformed,
        ),
        (answer("200 OK", &[], r#"["good"]"#), RequestOutcome::Malformed),
        (
            answer("200 OK", &[], r#"{"token":"good","token":"bad"}"#),
            RequestOutcome::Malformed,
        ),
        (
            answer("200 OK", &[], r#"{"token":"good","expires_in":-1}"#),
            RequestOutcome::Malformed,
        ),
        (
            answer("200 OK", &[], "{\"token\":\"good\\r\\nx-evil: y\"}"),
            RequestOutcome::Malformed,
        ),
        (answer("200 OK", &[], &nested), RequestOutcome::Malformed),
        (
            Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff{}".to_vec()),
            RequestOutcome::Malformed,
        ),
        (redirect("http://169.254.169.254/"), RequestOutcome::Refused),
    ] {
        let liar = bearer(move |_, _| reply.clone()).await;
        let counted = Counted::default();
        let result = pull(
            &counted.observe(liar.client(Credentials::Anonymous)),
            &anonymous(),
        )
        .await;
        assert_eq!(kind(&result), outcome, "{result:?}");
        assert_eq!(
            counted.all(),
            [
                (RegistryOperation::Token, outcome),
                (RegistryOperation::Manifest, outcome)
            ]
        );
    }
}

#[tokio::test]
async fn a_refused_token_request_returns_the_registrys_challenge() {
    let liar = bearer(|_, _| challenge("Basic realm=\"of the token realm\"")).await;
    let error = pull(&liar.client(Credentials::Passthrough), &anonymous())
        .await
        .unwrap_err();
    let RegistryError::Unauthorized {
        challenge: Some(line),
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert!(line.to_str().unwrap().starts_with("Bearer realm="), "{line:?}");
}

#[tokio::test]
async fn a_token_realm_at_a_forbidden_place_is_refused() {
    let (_folder, of_node) = login();
    for (realm, outcome) in [
        ("http://169.254.169.254/token", RequestOutcome::Refused),
        ("http://[fe80::1]/token", RequestOutcome::Refused),
        ("http://[::ffff:169.254.169.254]/", RequestOutcome::Refused),
        ("http://127.0.0.1:5443/token", RequestOutcome::Refused),
        ("file:///etc/passwd", RequestOutcome::Refused),
        ("http://user:secret@127.0.0.1:1/", RequestOutcome::Refused),
        ("/token", RequestOutcome::Malformed),
        ("", RequestOutcome::Malformed),
    ] {
        let liar = Liar::new(move |_, _| challenge(&format!("Bearer realm=\"{realm}\""))).await;
        let own = vec!["127.0.0.1:5443".parse().unwrap()];
        let client = client(&[&liar.url("/")], of_node.clone(), own);
        let result = pull(&client, &anonymous()).await;
        assert_eq!(kind(&result), outcome, "{realm}: {result:?}");
        assert!(!format!("{result:?}").contains("secret"), "{result:?}");
        assert_eq!(liar.seen().len(), 1);
    }
}

//! Challenges, tokens and credentials: what is shown to whom, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::support::*;
use crate::net::registry::{
    Access, Credentials, RegistryClient, RegistryError, RegistryOperation, RequestOutcome, Target,
};
use crate::oci::{Repository, Tag};

const CLIENT: &str = "Bearer of-the-client";

async fn pull(client: &RegistryClient, access: &Access) -> Result<(), RegistryError> {
    client
        .manifest(&repository(), &Target::Tag(Tag::latest()), access)
        .await
        .map(|_| ())
}

/// A file with the login `user:pass` for [`HOST`].
fn login() -> (tempfile::TempDir, Credentials) {
    file(&format!(r#"{{"auths":{{"{HOST}":{{"auth":"dXNlcjpwYXNz"}}}}}}"#))
}

fn file(text: &str) -> (tempfile::TempDir, Credentials) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.json");
    std::fs::write(&path, text).unwrap();
    (folder, Credentials::File(path))
}

fn token(token: &str) -> Reply {
    answer(
        "200 OK",
        &[("content-type", "application/json")],
        format!(r#"{{"token":"{token}","expires_in":300}}"#),
    )
}

/// A registry that wants a token of its own realm, `/token`, which is answered by `realm`.
async fn bearer(realm: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Liar {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let line = format!(
        r#"Bearer realm="http://{address}/token",service="the service",scope="repository:evil:push""#
    );
    Liar::on(listener, move |seen, before| {
        match (seen.path(), seen.header("authorization")) {
            ("/token", _) => realm(seen, before),
            (_, Some(shown)) if shown.starts_with("Bearer good") => manifest(),
            _ => challenge(&line),
        }
    })
}

#[tokio::test]
async fn an_anonymous_token_is_got_once_and_kept() {
    let liar = bearer(|_, _| token("good")).await;
    let counted = Counted::default();
    let client = counted.observe(liar.client(Credentials::Passthrough));
    for _ in 0..3 {
        pull(&client, &anyone()).await.unwrap();
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
    // Another repository needs another token.
    let other = Repository::new(HOST, "team/other").unwrap();
    client
        .manifest(&other, &Target::Tag(Tag::latest()), &anyone())
        .await
        .unwrap();
    assert_eq!(liar.seen().len(), 8);
}

#[tokio::test]
async fn a_token_is_asked_for_with_the_nodes_login() {
    let liar = bearer(|_, _| answer("200 OK", &[], r#"{"access_token":"good","other":1}"#)).await;
    let (_folder, credentials) = login();
    pull(&liar.client(credentials), &anyone()).await.unwrap();
    let asked = &liar.seen()[1];
    assert_eq!(asked.header("authorization"), Some("Basic dXNlcjpwYXNz"));
    assert!(asked.target.contains("account=user"), "{}", asked.target);
    assert_eq!(
        liar.seen()[0].header("authorization"),
        None,
        "nothing is shown before it is asked for"
    );
    assert_eq!(liar.seen()[2].header("authorization"), Some("Bearer good"));
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let liar = bearer(|_, _| token("good")).await;
    let (_folder, credentials) = file(&format!(
        r#"{{"auths":{{"https://{HOST}/v1/":{{"auth":"dXNlcjo=","identitytoken":"id&token"}}}}}}"#
    ));
    pull(&liar.client(credentials), &anyone()).await.unwrap();
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
async fn basic_is_answered_and_then_shown_at_once() {
    let liar = Liar::new(|seen, _| match seen.header("authorization") {
        Some("Basic dXNlcjpwYXNz") => manifest(),
        _ => challenge("Basic realm=\"registry\""),
    })
    .await;
    let (folder, credentials) = login();
    let client = liar.client(credentials);
    pull(&client, &anyone()).await.unwrap();
    pull(&client, &anyone()).await.unwrap();
    assert_eq!(liar.seen().len(), 3);
    // A logout takes effect at the next request: the file is another, and so is the identity.
    std::fs::write(folder.path().join("auth.json"), "{}").unwrap();
    // The challenge is not handed on: the client's own credentials would not be shown.
    let refused = pull(&client, &anyone()).await;
    assert!(
        matches!(refused, Err(RegistryError::Unauthorized { challenge: None, .. })),
        "{refused:?}"
    );
    assert_eq!(liar.seen()[3].header("authorization"), None);
}

#[tokio::test]
async fn a_clients_credentials_pass_through_as_they_came() {
    let liar = Liar::new(|_, _| manifest()).await;
    let client = liar.client(Credentials::Passthrough);
    for shown in [CLIENT, "Basic YTpi", "Digest x=\"y\""] {
        pull(&client, &someone(shown)).await.unwrap();
        assert_eq!(liar.seen().last().unwrap().header("authorization"), Some(shown));
    }
    // Where the node shows its own credentials, or none, the client's are not for the registry.
    let (_folder, of_node) = login();
    for credentials in [Credentials::Anonymous, of_node] {
        pull(&liar.client(credentials), &someone(CLIENT)).await.unwrap();
        assert_eq!(liar.seen().last().unwrap().header("authorization"), None);
    }
}

#[tokio::test]
async fn a_client_answers_its_registrys_challenge_itself() {
    let liar = bearer(|_, _| token("good")).await;
    let client = liar.client(Credentials::Passthrough);
    let error = pull(&client, &someone(CLIENT)).await.unwrap_err();
    let RegistryError::Unauthorized {
        challenge: Some(line),
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert!(line.to_str().unwrap().starts_with("Bearer realm="), "{line:?}");
    assert_eq!(liar.seen().len(), 1, "no token is asked for in a client's name");
}

#[tokio::test]
async fn one_clients_token_is_never_anothers() {
    let liar = Liar::new(|seen, _| match seen.header("authorization") {
        Some("Bearer of-alice") => manifest(),
        _ => challenge("Basic realm=\"registry\""),
    })
    .await;
    let client = liar.client(Credentials::Passthrough);
    pull(&client, &someone("Bearer of-alice")).await.unwrap();
    assert_eq!(
        kind(&pull(&client, &someone("Bearer of-bob")).await),
        RequestOutcome::Unauthorized
    );
    assert_eq!(
        kind(&pull(&client, &anyone()).await),
        RequestOutcome::Unauthorized
    );
    pull(&client, &someone("Bearer of-alice")).await.unwrap();
    let shown: Vec<_> = liar
        .seen()
        .iter()
        .map(|seen| seen.header("authorization").map(str::to_owned))
        .collect();
    let alice = Some("Bearer of-alice".to_owned());
    assert_eq!(
        shown,
        [alice.clone(), Some("Bearer of-bob".to_owned()), None, alice]
    );
}

#[tokio::test]
async fn empty_credentials_are_no_credentials() {
    let liar = bearer(|_, _| token("good")).await;
    pull(&liar.client(Credentials::Passthrough), &someone("Basic Og=="))
        .await
        .unwrap();
    assert!(
        liar.seen()
            .iter()
            .all(|seen| seen.header("authorization") != Some("Basic Og=="))
    );
}

#[tokio::test]
async fn a_registry_that_always_says_401_is_asked_twice() {
    let (_folder, of_node) = login();
    for (credentials, requests) in [(Credentials::Anonymous, 3), (of_node, 3)] {
        let liar = bearer(|_, _| token("bad")).await;
        assert_eq!(
            kind(&pull(&liar.client(credentials), &anyone()).await),
            RequestOutcome::Unauthorized
        );
        assert_eq!(liar.seen().len(), requests);
    }
    let (_folder, of_node) = login();
    for (credentials, requests) in [(Credentials::Anonymous, 1), (of_node, 2)] {
        let liar = Liar::new(|_, _| challenge("Basic realm=\"x\"")).await;
        assert_eq!(
            kind(&pull(&liar.client(credentials), &anyone()).await),
            RequestOutcome::Unauthorized
        );
        assert_eq!(liar.seen().len(), requests);
    }
}

#[tokio::test]
async fn a_token_that_is_no_longer_taken_is_replaced_once() {
    let given = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&given);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let line = format!(r#"Bearer realm="http://{address}/token""#);
    let liar = Liar::on(listener, move |seen, _| {
        match (seen.path(), seen.header("authorization")) {
            ("/token", _) => token(&format!("t{}", counter.fetch_add(1, Ordering::Relaxed))),
            // Only the newest token is good.
            (_, Some(shown))
                if shown == format!("Bearer t{}", counter.load(Ordering::Relaxed).wrapping_sub(1)) =>
            {
                manifest()
            }
            _ => challenge(&line),
        }
    });
    let client = liar.client(Credentials::Anonymous);
    pull(&client, &anyone()).await.unwrap();
    given.fetch_add(7, Ordering::Relaxed);
    pull(&client, &anyone()).await.unwrap();
    assert_eq!(liar.seen().len(), 6);
}

#[tokio::test]
async fn a_token_that_dies_at_once_is_not_kept() {
    for answer_text in [
        r#"{"token":"good","expires_in":0}"#,
        r#"{"token":"good","expires_in":1}"#,
    ] {
        let liar = bearer(move |_, _| answer("200 OK", &[], answer_text)).await;
        let client = liar.client(Credentials::Anonymous);
        pull(&client, &anyone()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        pull(&client, &anyone()).await.unwrap();
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
async fn a_token_that_claims_to_live_for_ever_is_kept_for_an_hour() {
    for claimed in ["3601", "18446744073709551615"] {
        let text = format!(r#"{{"token":"good","expires_in":{claimed}}}"#);
        let (header, life) = crate::net::registry::auth::read_token(text.as_bytes()).unwrap();
        assert_eq!(
            (header.to_str().unwrap(), life),
            ("Bearer good", Duration::from_secs(3600))
        );
        assert!(!format!("{header:?}").contains("good"), "{header:?}");
        let liar = bearer(move |_, _| answer("200 OK", &[], &text)).await;
        pull(&liar.client(Credentials::Anonymous), &anyone())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_token_realm_that_lies_has_its_own_error() {
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
        // 404 of the realm is not 404 of the image.
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
        let result = pull(&counted.observe(liar.client(Credentials::Anonymous)), &anyone()).await;
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
async fn a_refused_token_gives_the_client_the_registrys_challenge() {
    let liar = bearer(|_, _| challenge("Basic realm=\"of the token realm\"")).await;
    let error = pull(&liar.client(Credentials::Passthrough), &anyone())
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
async fn a_realm_leads_where_a_redirect_may_lead() {
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
        let result = pull(&client, &anyone()).await;
        assert_eq!(kind(&result), outcome, "{realm}: {result:?}");
        assert!(!format!("{result:?}").contains("secret"), "{result:?}");
        assert_eq!(liar.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_challenge_that_cannot_be_read_is_malformed() {
    let long = format!("Bearer realm=\"{}\"", "x".repeat(9000));
    for line in [
        "Bearer realm=\"http://a",
        "Bearer realm=\"http://a\",realm=\"http://b\"",
        "Bearer realm=\"\u{e9}\"",
        &long,
    ] {
        let line = line.to_owned();
        let liar = Liar::new(move |_, _| challenge(&line)).await;
        let result = pull(&liar.client(Credentials::Anonymous), &anyone()).await;
        assert_eq!(kind(&result), RequestOutcome::Malformed, "{result:?}");
        // The client whose own credentials were refused is told so, without the challenge.
        let error = pull(&liar.client(Credentials::Passthrough), &someone(CLIENT))
            .await
            .unwrap_err();
        let RegistryError::Unauthorized { challenge: None, .. } = error else {
            panic!("{error:?}")
        };
    }
    for reply in [
        answer("401 Unauthorized", &[], ""),
        challenge("Negotiate"),
        challenge("Bearer"),
    ] {
        let is_bearer = matches!(&reply, Reply::Keep(bytes) if bytes.windows(6).any(|six| six == b"Bearer"));
        let liar = Liar::new(move |_, _| reply.clone()).await;
        let result = pull(&liar.client(Credentials::Anonymous), &anyone()).await;
        assert_eq!(
            kind(&result),
            if is_bearer {
                RequestOutcome::Malformed
            } else {
                RequestOutcome::Unauthorized
            }
        );
    }
}

#[tokio::test]
async fn credentials_that_cannot_be_read_block() {
    let (folder, missing) = login();
    drop(folder);
    let (_a, no_json) = file("not json");
    let (_b, no_base64) = file(&format!(r#"{{"auths":{{"{HOST}":{{"auth":"?secret?"}}}}}}"#));
    let (_c, no_pair) = file(&format!(r#"{{"auths":{{"{HOST}":{{"auth":"c2VjcmV0"}}}}}}"#));
    let (_d, path_in_file) = file(&format!(r#"{{"credHelpers":{{"{HOST}":"../../bin/sh"}}}}"#));
    let (_e, no_program) = file(r#"{"credsStore":"pullgate-test-no-such-helper"}"#);
    for credentials in [
        missing,
        no_json,
        no_base64,
        no_pair,
        path_in_file,
        no_program,
        Credentials::Helper("/nonexistent/docker-credential-x".to_owned()),
        Credentials::Helper("../x".to_owned()),
        Credentials::Helper(String::new()),
    ] {
        let liar = Liar::new(|_, _| challenge("Basic realm=\"x\"")).await;
        let result = pull(&liar.client(credentials.clone()), &anyone()).await;
        let Err(RegistryError::Credentials { host, what }) = &result else {
            panic!("{credentials:?}: {result:?}")
        };
        assert_eq!(host, HOST);
        assert!(!what.contains("secret"), "{what}");
        // What the registry gives without credentials would hide the mistake.
        assert!(liar.seen().len() <= 1);
    }
}

#[tokio::test]
async fn a_mirror_gets_its_own_login_alone() {
    let basic = |seen: &Seen, _| match seen.header("authorization") {
        Some(_) => manifest(),
        None => challenge("Basic realm=\"x\""),
    };
    let (mirror, endpoint) = (Liar::new(basic).await, Liar::new(basic).await);
    let (_folder, of_registry) = login();
    let client = client(&[&mirror.url("/"), &endpoint.url("/")], of_registry, vec![]);
    pull(&client, &anyone()).await.unwrap();
    assert!(
        mirror
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
    assert_eq!(
        endpoint.seen()[1].header("authorization"),
        Some("Basic dXNlcjpwYXNz")
    );
}

#[tokio::test]
async fn nothing_secret_is_printed() {
    let liar = bearer(|_, _| answer("403 Forbidden", &[], "")).await;
    let (_folder, credentials) = login();
    let client = liar.client(credentials);
    let error = pull(&client, &anyone()).await.unwrap_err();
    let access = someone("Bearer s3cret");
    let printed = format!("{error} {error:?} {access:?}");
    for secret in ["dXNlcjpwYXNz", "pass\"", "s3cret"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    // A redirect's URL is as good as a password.
    let gone = Liar::new(|_, _| Reply::HangUp).await;
    let there = gone.url("/blob?X-Amz-Signature=s3cret");
    let liar = Liar::new(move |_, _| redirect(&there)).await;
    let error = pull(&liar.client(Credentials::Anonymous), &anyone())
        .await
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn the_registrys_challenge_is_asked_for_without_credentials() {
    let good = "Bearer realm=\"https://auth.example/token\",service=\"s\"";
    for (reply, expected) in [
        (answer("200 OK", &[], "{}"), Ok(None)),
        (challenge(good), Ok(Some(good.parse().unwrap()))),
        (
            challenge("Bearer realm=\"file:///x\""),
            Err(RequestOutcome::Malformed),
        ),
        (
            answer("401 Unauthorized", &[], ""),
            Err(RequestOutcome::Malformed),
        ),
        (answer("404 Not Found", &[], ""), Err(RequestOutcome::NotFound)),
        (
            answer("403 Forbidden", &[], ""),
            Err(RequestOutcome::Unauthorized),
        ),
        (
            answer("500 Internal Server Error", &[], ""),
            Err(RequestOutcome::Unreachable),
        ),
    ] {
        let liar = Liar::new(move |_, _| reply.clone()).await;
        let result = liar
            .client(Credentials::Passthrough)
            .challenge(HOST, &someone(CLIENT))
            .await;
        match expected {
            Ok(expected) => assert_eq!(result, Ok(expected)),
            Err(outcome) => assert_eq!(kind(&result), outcome),
        }
        assert_eq!(liar.targets(), ["GET /v2/"]);
        assert_eq!(liar.seen()[0].header("authorization"), None);
    }
}

#[tokio::test]
async fn a_client_whose_login_would_not_be_shown_is_asked_for_none() {
    let (_folder, of_node) = login();
    for credentials in [Credentials::Anonymous, of_node] {
        let liar = Liar::new(|_, _| challenge("Basic realm=\"x\"")).await;
        let client = liar.client(credentials);
        assert_eq!(client.challenge(HOST, &anyone()).await, Ok(None));
        assert!(liar.seen().is_empty());
        let error = pull(&client, &someone(CLIENT)).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::Unauthorized { challenge: None, .. }),
            "{error:?}"
        );
    }
}

//! Challenges and credentials: which server is shown which credentials.

use super::support::*;
use crate::net::registry::{Credentials, RegistryError, RequestOutcome};

const CLIENT: &str = "Bearer of-the-client";

#[tokio::test]
async fn a_basic_challenge_is_answered_once_and_then_shown_at_once() {
    let liar = Liar::new(|seen, _| match seen.header("authorization") {
        Some("Basic dXNlcjpwYXNz") => manifest(),
        _ => challenge("Basic realm=\"registry\""),
    })
    .await;
    let (folder, credentials) = login();
    let client = liar.client(credentials);
    pull(&client, &anonymous()).await.unwrap();
    pull(&client, &anonymous()).await.unwrap();
    assert_eq!(liar.seen().len(), 3);
    // A logout takes effect at the next request: the file has changed, and with it the key of its credentials.
    std::fs::write(folder.path().join("auth.json"), "{}").unwrap();
    // The challenge does not go to the client, whose credentials would not be shown.
    let refused = pull(&client, &anonymous()).await;
    assert!(
        matches!(refused, Err(RegistryError::Unauthorized { challenge: None, .. })),
        "{refused:?}"
    );
    assert_eq!(liar.seen()[3].header("authorization"), None);
}

#[tokio::test]
async fn a_clients_credentials_pass_through_unchanged() {
    let liar = Liar::new(|_, _| manifest()).await;
    let client = liar.client(Credentials::Passthrough);
    for shown in [CLIENT, "Basic YTpi", "Digest x=\"y\""] {
        pull(&client, &presenting(shown)).await.unwrap();
        assert_eq!(liar.seen().last().unwrap().header("authorization"), Some(shown));
    }
    // Where the node shows its own credentials, or none, the registry does not see the client's.
    let (_folder, of_node) = login();
    for credentials in [Credentials::Anonymous, of_node] {
        pull(&liar.client(credentials), &presenting(CLIENT))
            .await
            .unwrap();
        assert_eq!(liar.seen().last().unwrap().header("authorization"), None);
    }
}

#[tokio::test]
async fn the_challenge_to_a_clients_own_header_goes_back_to_the_client() {
    let liar = bearer(|_, _| token("good")).await;
    let client = liar.client(Credentials::Passthrough);
    let error = pull(&client, &presenting(CLIENT)).await.unwrap_err();
    let RegistryError::Unauthorized {
        challenge: Some(line),
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert!(line.to_str().unwrap().starts_with("Bearer realm="), "{line:?}");
    assert_eq!(
        liar.seen().len(),
        1,
        "no token is requested on behalf of a client"
    );
}

#[tokio::test]
async fn a_clients_credentials_are_never_shown_for_another_client() {
    let liar = Liar::new(|seen, _| match seen.header("authorization") {
        Some("Bearer of-alice") => manifest(),
        _ => challenge("Basic realm=\"registry\""),
    })
    .await;
    let client = liar.client(Credentials::Passthrough);
    pull(&client, &presenting("Bearer of-alice")).await.unwrap();
    assert_eq!(
        kind(&pull(&client, &presenting("Bearer of-bob")).await),
        RequestOutcome::Unauthorized
    );
    assert_eq!(
        kind(&pull(&client, &anonymous()).await),
        RequestOutcome::Unauthorized
    );
    pull(&client, &presenting("Bearer of-alice")).await.unwrap();
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
async fn empty_basic_credentials_do_not_count_as_credentials() {
    let liar = bearer(|_, _| token("good")).await;
    pull(&liar.client(Credentials::Passthrough), &presenting("Basic Og=="))
        .await
        .unwrap();
    assert!(
        liar.seen()
            .iter()
            .all(|seen| seen.header("authorization") != Some("Basic Og=="))
    );
}

#[tokio::test]
async fn a_registry_that_always_answers_401_gets_one_answer_to_its_challenge() {
    let (_folder, of_node) = login();
    for (credentials, requests) in [(Credentials::Anonymous, 3), (of_node, 3)] {
        let liar = bearer(|_, _| token("bad")).await;
        assert_eq!(
            kind(&pull(&liar.client(credentials), &anonymous()).await),
            RequestOutcome::Unauthorized
        );
        assert_eq!(liar.seen().len(), requests);
    }
    let (_folder, of_node) = login();
    for (credentials, requests) in [(Credentials::Anonymous, 1), (of_node, 2)] {
        let liar = Liar::new(|_, _| challenge("Basic realm=\"x\"")).await;
        assert_eq!(
            kind(&pull(&liar.client(credentials), &anonymous()).await),
            RequestOutcome::Unauthorized
        );
        assert_eq!(liar.seen().len(), requests);
    }
}

#[tokio::test]
async fn a_challenge_that_cannot_be_parsed_is_malformed() {
    let long = format!("Bearer realm=\"{}\"", "x".repeat(9000));
    for line in [
        "Bearer realm=\"http://a",
        "Bearer realm=\"http://a\",realm=\"http://b\"",
        "Bearer realm=\"\u{e9}\"",
        &long,
    ] {
        let line = line.to_owned();
        let liar = Liar::new(move |_, _| challenge(&line)).await;
        let result = pull(&liar.client(Credentials::Anonymous), &anonymous()).await;
        assert_eq!(kind(&result), RequestOutcome::Malformed, "{result:?}");
        // A client whose own credentials were refused learns that, without the challenge.
        let error = pull(&liar.client(Credentials::Passthrough), &presenting(CLIENT))
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
        let result = pull(&liar.client(Credentials::Anonymous), &anonymous()).await;
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
async fn credentials_that_cannot_be_read_fail_the_pull() {
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
        let result = pull(&liar.client(credentials.clone()), &anonymous()).await;
        let Err(RegistryError::Credentials { host, what }) = &result else {
            panic!("{credentials:?}: {result:?}")
        };
        assert_eq!(host, HOST);
        assert!(!what.contains("secret"), "{what}");
        // A request without credentials would hide the mistake.
        assert!(liar.seen().len() <= 1);
    }
}

#[tokio::test]
async fn errors_do_not_hold_secrets() {
    let liar = bearer(|_, _| answer("403 Forbidden", &[], "")).await;
    let (_folder, credentials) = login();
    let client = liar.client(credentials);
    let error = pull(&client, &anonymous()).await.unwrap_err();
    let access = presenting("Bearer s3cret");
    let printed = format!("{error} {error:?} {access:?}");
    for secret in ["dXNlcjpwYXNz", "pass\"", "s3cret"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    // The URL of a redirect can hold a secret, like a password.
    let gone = Liar::new(|_, _| Reply::HangUp).await;
    let there = gone.url("/blob?X-Amz-Signature=s3cret");
    let liar = Liar::new(move |_, _| redirect(&there)).await;
    let error = pull(&liar.client(Credentials::Anonymous), &anonymous())
        .await
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn the_base_endpoint_is_probed_without_credentials() {
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
            .challenge(HOST, &presenting(CLIENT))
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
async fn a_client_whose_login_would_not_be_used_gets_no_challenge() {
    let (_folder, of_node) = login();
    for credentials in [Credentials::Anonymous, of_node] {
        let liar = Liar::new(|_, _| challenge("Basic realm=\"x\"")).await;
        let client = liar.client(credentials);
        assert_eq!(client.challenge(HOST, &anonymous()).await, Ok(None));
        assert!(liar.seen().is_empty());
        let error = pull(&client, &presenting(CLIENT)).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::Unauthorized { challenge: None, .. }),
            "{error:?}"
        );
    }
}

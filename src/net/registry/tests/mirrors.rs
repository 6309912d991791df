//! Mirrors: their order, their failures, and the credentials that they are shown.

use super::support::*;
use crate::net::registry::{Credentials, RequestOutcome, Target};

#[tokio::test]
async fn mirrors_are_tried_in_order_before_the_endpoint() {
    let lost = Liar::new(|_, _| answer("404 Not Found", &[], "")).await;
    let broken = Liar::new(|_, _| answer("500 Internal Server Error", &[], "")).await;
    let lying = Liar::new(|_, _| answer("200 OK", &[], "other bytes")).await;
    let good = Liar::new(|_, _| manifest()).await;
    let unused = Liar::new(|_, _| manifest()).await;
    let endpoints = [&lost, &broken, &lying, &good, &unused].map(|liar| liar.url("/"));
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let counted = Counted::default();
    let client = counted.observe(client(&endpoints, Credentials::Anonymous, vec![]));
    let target = Target::Digest(manifest_digest());
    client
        .manifest(&repository(), &target, &anonymous())
        .await
        .unwrap();
    assert_eq!(
        counted
            .all()
            .iter()
            .map(|(_, outcome)| *outcome)
            .collect::<Vec<_>>(),
        [
            RequestOutcome::NotFound,
            RequestOutcome::Unreachable,
            RequestOutcome::DigestMismatch,
            RequestOutcome::Ok
        ]
    );
    assert_eq!(
        [&lost, &broken, &lying, &good, &unused].map(|liar| liar.seen().len()),
        [1, 1, 1, 1, 0]
    );
    // A mirror that did not answer is skipped for a while; one that answered is not.
    client
        .manifest(&repository(), &target, &anonymous())
        .await
        .unwrap();
    assert_eq!(
        [&lost, &broken, &lying, &good, &unused].map(|liar| liar.seen().len()),
        [2, 1, 2, 2, 0]
    );
}

#[tokio::test]
async fn the_endpoints_error_is_reported_rather_than_a_mirrors() {
    let missing = Liar::new(|_, _| answer("404 Not Found", &[], "")).await;
    let down = Liar::new(|_, _| Reply::HangUp).await;
    for (mirror, endpoint, outcome) in [
        (&missing, &down, RequestOutcome::Unreachable),
        (&down, &missing, RequestOutcome::NotFound),
    ] {
        let client = client(
            &[&mirror.url("/"), &endpoint.url("/")],
            Credentials::Anonymous,
            vec![],
        );
        assert_eq!(kind(&pull(&client, &anonymous()).await), outcome);
    }
}

#[tokio::test]
async fn a_stalled_mirror_leaves_half_of_the_time_for_the_endpoint() {
    let stalled = Liar::new(|_, _| Reply::Forever(vec![], vec![], LONG)).await;
    let good = Liar::new(|_, _| manifest()).await;
    let client = client(
        &[&stalled.url("/"), &good.url("/")],
        Credentials::Anonymous,
        vec![],
    );
    let pulling = tokio::spawn(async move { pull(&client, &within(2 * LONG)).await });
    until(|| !stalled.seen().is_empty()).await;
    advance(LONG).await;
    pulling.await.unwrap().unwrap();
    assert_eq!(good.seen().len(), 1);
}

#[tokio::test]
async fn a_clients_credentials_are_not_shown_to_a_mirror_at_another_host() {
    let mirror = Liar::new(|_, _| answer("404 Not Found", &[], "")).await;
    let endpoint = Liar::new(|_, _| manifest()).await;
    // A mirror at the same host and port belongs to the registry.
    let own_mirror = endpoint.url("/v2/cache");
    let client = client(
        &[&mirror.url("/"), &own_mirror, &endpoint.url("/")],
        Credentials::Passthrough,
        vec![],
    );
    pull(&client, &presenting("Bearer of-the-client")).await.unwrap();
    assert_eq!(mirror.seen()[0].header("authorization"), None);
    assert_eq!(endpoint.targets(), ["GET /v2/cache/team/app/manifests/latest"]);
    assert_eq!(
        endpoint.seen()[0].header("authorization"),
        Some("Bearer of-the-client")
    );
}

#[tokio::test]
async fn a_mirror_is_not_shown_the_registrys_login() {
    let basic = |seen: &Seen, _| match seen.header("authorization") {
        Some(_) => manifest(),
        None => challenge("Basic realm=\"x\""),
    };
    let (mirror, endpoint) = (Liar::new(basic).await, Liar::new(basic).await);
    let (_folder, of_registry) = login();
    let client = client(&[&mirror.url("/"), &endpoint.url("/")], of_registry, vec![]);
    pull(&client, &anonymous()).await.unwrap();
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

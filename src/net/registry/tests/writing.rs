//! The writes of the tool: pushes and deletions.

use super::support::*;
use crate::net::registry::{Credentials, RequestOutcome, Target};

fn status(line: &str) -> Reply {
    Reply::Keep(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n").into_bytes())
}

#[tokio::test]
async fn a_blob_is_uploaded_to_the_location_that_the_registry_names() {
    for location in ["/v2/team/app/blobs/uploads/1?state=a%2Fb", "1?state=a%2Fb"] {
        let liar = Liar::new(move |seen, _| match seen.method.as_str() {
            "HEAD" => status("404 Not Found"),
            "POST" => answer("202 Accepted", &[("location", location)], ""),
            _ => status("201 Created"),
        })
        .await;
        let content = blob(b"content");
        liar.client(Credentials::Anonymous)
            .push_blob(&repository(), &content, &anonymous())
            .await
            .unwrap();
        let digest = content.digest().to_string();
        let escaped = digest.replace(':', "%3A");
        assert_eq!(
            liar.targets(),
            [
                format!("HEAD /v2/team/app/blobs/{digest}"),
                "POST /v2/team/app/blobs/uploads/".to_owned(),
                format!("PUT /v2/team/app/blobs/uploads/1?state=a%2Fb&digest={escaped}"),
            ]
        );
        let put = &liar.seen()[2];
        assert_eq!(
            (put.body.as_slice(), put.header("content-type")),
            (&b"content"[..], Some("application/octet-stream"))
        );
        assert_eq!(liar.seen()[1].header("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn a_blob_that_exists_is_not_uploaded_again() {
    let liar = Liar::new(|_, _| status("200 OK")).await;
    liar.client(Credentials::Anonymous)
        .push_blob(&repository(), &blob(b"x"), &anonymous())
        .await
        .unwrap();
    assert_eq!(liar.seen().len(), 1);
}

#[tokio::test]
async fn a_token_for_a_push_has_both_actions() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = format!(
        r#"Bearer realm="http://{}/token""#,
        listener.local_addr().unwrap()
    );
    let liar = Liar::on(listener, move |seen, _| {
        match (seen.path(), seen.header("authorization")) {
            ("/token", _) => answer("200 OK", &[], r#"{"token":"good"}"#),
            (_, None) => challenge(&line),
            (_, Some(_)) if seen.method == "DELETE" => status("202 Accepted"),
            (_, Some(_)) => status("201 Created"),
        }
    });
    let client = liar.client(Credentials::Anonymous);
    let latest = latest();
    client
        .push_manifest(
            &repository(),
            &latest,
            OCI_MANIFEST,
            &blob(MANIFEST),
            &anonymous(),
        )
        .await
        .unwrap();
    assert_eq!(
        liar.targets()[1],
        "GET /token?scope=repository%3Ateam%2Fapp%3Apull%2Cpush"
    );
    assert_eq!(liar.seen()[2].body, MANIFEST);
    client
        .delete_manifest(&repository(), &latest, &anonymous())
        .await
        .unwrap();
    assert_eq!(
        liar.targets()[4],
        "GET /token?scope=repository%3Ateam%2Fapp%3Adelete%2Cpull"
    );
}

#[tokio::test]
async fn an_upload_to_another_host_is_not_shown_credentials() {
    let storage = Liar::new(|_, _| status("201 Created")).await;
    let there = storage.url("/put?x=y");
    let liar = Liar::new(move |seen, _| match seen.method.as_str() {
        "HEAD" => status("404 Not Found"),
        _ => answer("202 Accepted", &[("location", there.as_str())], ""),
    })
    .await;
    let access = presenting("Bearer of-the-client");
    liar.client(Credentials::Passthrough)
        .push_blob(&repository(), &blob(b"x"), &access)
        .await
        .unwrap();
    assert_eq!(
        liar.seen()[1].header("authorization"),
        Some("Bearer of-the-client")
    );
    assert_eq!(storage.seen()[0].header("authorization"), None);
    assert!(storage.targets()[0].starts_with("PUT /put?x=y&digest=sha256"));
}

#[tokio::test]
async fn an_upload_to_a_forbidden_place_is_refused() {
    for (location, outcome) in [
        ("http://169.254.169.254/", RequestOutcome::Refused),
        ("http://127.0.0.1:5443/", RequestOutcome::Refused),
        ("file:///etc/passwd", RequestOutcome::Refused),
        ("http://[::1", RequestOutcome::Malformed),
    ] {
        let liar = Liar::new(move |seen, _| match seen.method.as_str() {
            "HEAD" => status("404 Not Found"),
            _ => answer("202 Accepted", &[("location", location)], ""),
        })
        .await;
        let client = client(
            &[&liar.url("/")],
            Credentials::Anonymous,
            vec!["127.0.0.1:5443".parse().unwrap()],
        );
        assert_eq!(
            kind(&client.push_blob(&repository(), &blob(b"x"), &anonymous()).await),
            outcome,
            "{location}"
        );
        assert_eq!(liar.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_redirect_of_a_write_is_not_followed() {
    let liar = Liar::new(|_, _| redirect("/elsewhere")).await;
    let client = liar.client(Credentials::Anonymous);
    let latest = latest();
    let pushed = client
        .push_manifest(
            &repository(),
            &latest,
            OCI_MANIFEST,
            &blob(MANIFEST),
            &anonymous(),
        )
        .await;
    assert_eq!(kind(&pushed), RequestOutcome::Malformed);
    assert_eq!(
        kind(&client.delete_manifest(&repository(), &latest, &anonymous()).await),
        RequestOutcome::Malformed
    );
    assert_eq!(liar.seen().len(), 2);
}

#[tokio::test]
async fn a_pushed_manifest_tells_whether_its_subject_was_recorded() {
    for (headers, noted) in [(vec![], false), (vec![("oci-subject", "sha256:x")], true)] {
        let liar = Liar::new(move |_, _| answer("201 Created", &headers, "")).await;
        let client = liar.client(Credentials::Anonymous);
        let target = Target::Digest(manifest_digest());
        let pushed = client
            .push_manifest(
                &repository(),
                &target,
                OCI_MANIFEST,
                &blob(MANIFEST),
                &anonymous(),
            )
            .await;
        assert_eq!(pushed, Ok(noted));
        assert_eq!(
            liar.targets(),
            [format!("PUT /v2/team/app/manifests/{}", manifest_digest())]
        );
        assert_eq!(liar.seen()[0].header("content-type"), Some(OCI_MANIFEST));
    }
}

#[tokio::test]
async fn a_failed_push_is_reported() {
    for (line, outcome) in [
        ("403 Forbidden", RequestOutcome::Unauthorized),
        ("404 Not Found", RequestOutcome::NotFound),
        ("405 Method Not Allowed", RequestOutcome::Malformed),
        ("500 Internal Server Error", RequestOutcome::Unreachable),
        ("200 OK", RequestOutcome::Malformed),
    ] {
        let liar = Liar::new(move |_, _| status(line)).await;
        let client = liar.client(Credentials::Anonymous);
        let latest = latest();
        let pushed = client
            .push_manifest(
                &repository(),
                &latest,
                OCI_MANIFEST,
                &blob(MANIFEST),
                &anonymous(),
            )
            .await;
        assert_eq!(kind(&pushed), outcome, "{line}");
        let line_was_ok = line == "200 OK";
        let deleted = kind(&client.delete_manifest(&repository(), &latest, &anonymous()).await);
        assert_eq!(
            deleted,
            if line_was_ok { RequestOutcome::Ok } else { outcome },
            "{line}"
        );
    }
}

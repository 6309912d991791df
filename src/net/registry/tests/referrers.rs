//! The referrers API: pages, bounds, and registries without it.

use std::time::Duration;

use super::support::*;
use crate::base::limits;
use crate::net::registry::{Credentials, RegistryError, RequestOutcome};
use crate::oci::Repository;

const TYPE: &str = "application/vnd.example.signature+json";

/// An index of `count` descriptors of this type.
fn index(count: usize, artifact_type: &str) -> String {
    let one = format!(
        r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":3,"artifactType":"{artifact_type}"}}"#,
        manifest_digest()
    );
    let all = vec![one; count].join(",");
    format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{all}]}}"#)
}

fn page(count: usize, link: Option<&str>) -> Reply {
    let mut headers = vec![("content-type", OCI_INDEX)];
    headers.extend(link.map(|link| ("link", link)));
    answer("200 OK", &headers, index(count, TYPE))
}

async fn referrers_of(
    lie: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
) -> (Result<usize, RegistryError>, Vec<String>) {
    let liar = Liar::new(lie).await;
    let client = liar.client(Credentials::Anonymous);
    let found = client
        .referrers(&repository(), &manifest_digest(), &[TYPE], &anonymous())
        .await;
    (found.map(|found| found.len()), liar.targets())
}

#[tokio::test]
async fn referrers_are_read_page_by_page() {
    let digest = manifest_digest();
    let (found, asked) = referrers_of(move |seen, _| match seen.target.split_once("page=") {
        None => page(2, Some("<?artifactType=x&page=2>; rel=\"next\"")),
        Some((_, "2")) => page(3, Some("</v2/team/app/other?page=3>; rel=next")),
        Some(_) => page(1, Some("</v2/>; rel=\"prev\"")),
    })
    .await;
    assert_eq!(found, Ok(6));
    assert_eq!(
        asked,
        [
            format!(
                "GET /v2/team/app/referrers/{digest}?artifactType=application%2Fvnd.example.signature%2Bjson"
            ),
            format!("GET /v2/team/app/referrers/{digest}?artifactType=x&page=2"),
            "GET /v2/team/app/other?page=3".to_owned(),
        ]
    );
}

#[tokio::test]
async fn the_type_filter_is_applied_to_the_response_again() {
    let (found, _) = referrers_of(|_, _| {
        answer(
            "200 OK",
            &[("content-type", OCI_INDEX)],
            index(5, "application/other"),
        )
    })
    .await;
    assert_eq!(found, Ok(0));
}

#[tokio::test]
async fn ten_thousand_referrers_are_too_many() {
    let (found, _) = referrers_of(|_, _| page(10_000, None)).await;
    let Err(RegistryError::TooLarge { limit, unit, .. }) = found else {
        panic!("{found:?}")
    };
    assert_eq!((limit, unit), (limits::CHILDREN, "referrers"));
    // In pages of an allowed size, reading stops after one more than the bound.
    let (found, asked) = referrers_of(|_, _| page(100, Some("</v2/x>; rel=next"))).await;
    assert_eq!(found, Ok(limits::CANDIDATES + 1));
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn circular_pages_of_referrers_end() {
    let (found, asked) =
        referrers_of(|seen, _| page(0, Some(&format!("<{}>; rel=\"next\"", seen.target)))).await;
    let Err(RegistryError::TooLarge { limit, unit, .. }) = found else {
        panic!("{found:?}")
    };
    assert_eq!((limit, unit), (limits::REFERRER_PAGES, "pages"));
    assert_eq!(asked.len(), limits::REFERRER_PAGES);
}

#[tokio::test]
async fn a_next_page_at_another_host_is_refused() {
    let other = Liar::new(|_, _| page(1, None)).await;
    for link in [
        other.url("/v2/x"),
        format!("//{}/v2/x", other.address),
        "https://registry.example/v2/x".to_owned(),
        "http://169.254.169.254/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let (found, asked) =
            referrers_of(move |_, _| page(1, Some(&format!("<{link}>; rel=\"next\"")))).await;
        assert_eq!(kind(&found), RequestOutcome::Refused, "{found:?}");
        assert_eq!(asked.len(), 1);
    }
    assert!(other.seen().is_empty());
    let (found, _) = referrers_of(move |_, _| page(1, Some("no link at all"))).await;
    assert_eq!(kind(&found), RequestOutcome::Malformed);
}

#[tokio::test]
async fn a_response_that_is_not_an_index_does_not_read_as_no_referrers() {
    let index = index(0, TYPE);
    for (content_type, body) in [
        ("text/html", "<html>"),
        ("application/json", index.as_str()),
        (
            "application/vnd.docker.distribution.manifest.list.v2+json",
            index.as_str(),
        ),
        (OCI_MANIFEST, index.as_str()),
        (OCI_INDEX, ""),
        (OCI_INDEX, "{}"),
        (OCI_INDEX, "[]"),
        (OCI_INDEX, "null"),
        (OCI_INDEX, "\u{feff}{}"),
        (OCI_INDEX, r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#),
        (
            OCI_INDEX,
            r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../x","mediaType":"a/b","size":1}]}"#,
        ),
        (OCI_INDEX, r#"{"schemaVersion":2,"config":{},"layers":[]}"#),
    ] {
        let body = body.to_owned();
        let (found, _) =
            referrers_of(move |_, _| answer("200 OK", &[("content-type", content_type)], &body)).await;
        assert_eq!(
            kind(&found),
            RequestOutcome::Malformed,
            "{content_type}: {found:?}"
        );
    }
    let (found, _) =
        referrers_of(|_, _| Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n\xff".to_vec())).await;
    assert_eq!(kind(&found), RequestOutcome::Malformed);
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {OCI_INDEX}\r\ncontent-length: 2\r\n\r\n").into_bytes();
    let (found, _) = referrers_of(move |_, _| Reply::Close([&head[..], b"\xff\xfe"].concat())).await;
    assert_eq!(kind(&found), RequestOutcome::Malformed);
}

#[tokio::test]
async fn an_endless_page_of_referrers_stops_at_the_bound() {
    let head = chunked(&format!("content-type: {OCI_INDEX}\r\n"));
    let (found, _) =
        referrers_of(move |_, _| Reply::Forever(head.clone(), chunk(64 * 1024), Duration::ZERO)).await;
    assert_eq!(kind(&found), RequestOutcome::TooLarge);
}

#[tokio::test]
async fn only_404_means_that_there_is_no_referrers_api() {
    for (status, outcome) in [
        ("404 Not Found", RequestOutcome::NotFound),
        ("400 Bad Request", RequestOutcome::Malformed),
        ("403 Forbidden", RequestOutcome::Unauthorized),
        ("405 Method Not Allowed", RequestOutcome::Malformed),
        ("500 Internal Server Error", RequestOutcome::Unreachable),
    ] {
        let (found, _) = referrers_of(move |_, _| answer(status, &[], "")).await;
        assert_eq!(kind(&found), outcome, "{status}");
    }
    // A missing later page does not mean that the API is missing.
    let (found, _) = referrers_of(|_, before| match before {
        0 => page(1, Some("</v2/x>; rel=next")),
        _ => answer("404 Not Found", &[], ""),
    })
    .await;
    assert_eq!(kind(&found), RequestOutcome::Malformed);
}

#[tokio::test]
async fn a_missing_referrers_api_is_remembered_for_its_repository_or_endpoint() {
    for (body, asked_of_another) in [
        ("404 page not found\n", 0),
        (r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, 1),
    ] {
        let liar = Liar::new(move |_, _| answer("404 Not Found", &[], body)).await;
        let client = liar.client(Credentials::Anonymous);
        for _ in 0..3 {
            let found = client
                .referrers(&repository(), &manifest_digest(), &[TYPE], &anonymous())
                .await;
            assert_eq!(kind(&found), RequestOutcome::NotFound);
        }
        assert_eq!(liar.seen().len(), 1, "{body}");
        // A 404 for one repository must not hide the signatures of another.
        let other = Repository::new(HOST, "team/other").unwrap();
        let found = client
            .referrers(&other, &manifest_digest(), &[TYPE], &anonymous())
            .await;
        assert_eq!(kind(&found), RequestOutcome::NotFound);
        assert_eq!(liar.seen().len(), 1 + asked_of_another, "{body}");
    }
}

#[tokio::test]
async fn an_empty_list_of_referrers_from_a_mirror_does_not_count() {
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
    let lists = move |_: &Seen, _| answer("200 OK", &[("content-type", OCI_INDEX)], &index);
    let (mirror, endpoint) = (Liar::new(lists.clone()).await, Liar::new(lists).await);
    let client = client(
        &[&mirror.url("/"), &endpoint.url("/")],
        Credentials::Anonymous,
        vec![],
    );
    let found = client
        .referrers(&repository(), &manifest_digest(), &["a/b"], &anonymous())
        .await;
    assert_eq!(found, Ok(vec![]));
    assert_eq!((mirror.seen().len(), endpoint.seen().len()), (1, 1));
}

//! Too much, too slow, too long, and round in circles.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::support::*;
use crate::base::limits;
use crate::net::registry::{Credentials, RegistryError, RequestOutcome, Target};
use crate::oci::{Digest, Tag};

const TYPE: &str = "application/vnd.example.signature+json";

fn latest() -> Target {
    Target::Tag(Tag::latest())
}

fn chunked(head: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{head}transfer-encoding: chunked\r\n\r\n").into_bytes()
}

fn chunk(length: usize) -> Vec<u8> {
    let mut chunk = format!("{length:x}\r\n").into_bytes();
    chunk.resize(chunk.len() + length, b' ');
    chunk.extend_from_slice(b"\r\n");
    chunk
}

async fn manifest_of(reply: Reply, time: Duration) -> Result<Digest, RegistryError> {
    let liar = Liar::new(move |_, _| reply.clone()).await;
    let fetched = liar
        .client(Credentials::Anonymous)
        .manifest(&repository(), &latest(), &within(time))
        .await;
    fetched.map(|fetched| *fetched.blob.digest())
}

fn too_large(result: &Result<Digest, RegistryError>) -> Option<(usize, &'static str)> {
    match result {
        Err(RegistryError::TooLarge { limit, unit, .. }) => Some((*limit, unit)),
        _ => None,
    }
}

#[tokio::test]
async fn an_endless_body_stops_at_the_bound() {
    let endless = Reply::Forever(chunked(""), chunk(64 * 1024), Duration::ZERO);
    let result = manifest_of(endless, Duration::from_secs(20)).await;
    assert_eq!(
        too_large(&result),
        Some((limits::MANIFEST_BYTES, "bytes")),
        "{result:?}"
    );
}

#[tokio::test]
async fn an_announced_length_over_the_bound_is_refused_before_it_is_read() {
    let length = limits::MANIFEST_BYTES + 1;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    // Nothing but the head is ever sent: who waits for the body meets the deadline.
    let silent = Reply::Forever(head, vec![], Duration::from_secs(60));
    let result = manifest_of(silent, Duration::from_secs(2)).await;
    assert_eq!(
        too_large(&result),
        Some((limits::MANIFEST_BYTES, "bytes")),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_body_of_exactly_the_bound_is_read() {
    let body = vec![b' '; limits::MANIFEST_BYTES];
    let result = manifest_of(answer("200 OK", &[], &body), Duration::from_secs(20)).await;
    assert_eq!(result, Ok(Digest::sha256(&body)));
    let mut chunks = chunked("");
    chunks.extend_from_slice(&chunk(limits::MANIFEST_BYTES));
    chunks.extend_from_slice(b"0\r\n\r\n");
    let result = manifest_of(Reply::Keep(chunks), Duration::from_secs(20)).await;
    assert_eq!(result, Ok(Digest::sha256(&body)));
}

#[tokio::test]
async fn a_slow_drip_ends_at_the_deadline() {
    for reply in [
        Reply::Forever(chunked(""), chunk(1), Duration::from_millis(20)),
        // A head that never ends.
        Reply::Forever(
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            b"x-a: b\r\n".to_vec(),
            Duration::from_millis(50),
        ),
        // An answer that never begins.
        Reply::Forever(vec![], vec![], Duration::from_secs(60)),
    ] {
        let begin = Instant::now();
        let result = manifest_of(reply, Duration::from_millis(400)).await;
        assert_eq!(kind(&result), RequestOutcome::DeadlineExceeded, "{result:?}");
        assert!(begin.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn a_deadline_that_has_passed_asks_nobody() {
    let liar = Liar::new(|_, _| manifest()).await;
    let client = liar.client(Credentials::Anonymous);
    for _ in 0..20 {
        let result = client
            .manifest(&repository(), &latest(), &within(Duration::ZERO))
            .await;
        assert_eq!(kind(&result), RequestOutcome::DeadlineExceeded);
    }
    // Without the look at the clock, a connection begins at least, and a few of twenty come to a request.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((liar.seen().len(), liar.connections()), (0, 0));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_said_to() {
    let mut chunks = chunked("");
    chunks.extend_from_slice(&chunk(5));
    for cut in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345".to_vec(),
        chunks,
    ] {
        let result = manifest_of(Reply::Close(cut), Duration::from_secs(5)).await;
        let Err(RegistryError::Unreachable { what, .. }) = &result else {
            panic!("{result:?}")
        };
        assert!(what.starts_with("the response broke off: "), "{what}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_refused() {
    let many: String = (0..200).fold(String::new(), |mut many, number| {
        write!(many, "x-{number}: y\r\n").unwrap();
        many
    });
    let huge = format!("x: {}\r\n", "y".repeat(1024 * 1024));
    let lengths = "content-length: 1\r\ncontent-length: 2\r\n";
    for head in [
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        format!("HTTP/1.1 200 OK\r\n{huge}\r\n"),
        format!("HTTP/1.1 200 OK\r\n{lengths}\r\nxy"),
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
        "HTTP/1.1 9999 OK\r\n\r\n".to_owned(),
    ] {
        let result = manifest_of(Reply::Close(head.clone().into_bytes()), Duration::from_secs(5)).await;
        assert_eq!(
            kind(&result),
            RequestOutcome::Malformed,
            "{:.60}: {result:?}",
            head
        );
    }
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let liar = Liar::new(|_, _| redirect("/v2/team/app/manifests/latest")).await;
    let error = liar
        .client(Credentials::Anonymous)
        .manifest(&repository(), &latest(), &anyone())
        .await
        .unwrap_err();
    let host = liar.address.to_string();
    assert_eq!(
        error,
        RegistryError::TooLarge {
            host,
            limit: limits::REDIRECTS,
            unit: "redirects"
        }
    );
    assert_eq!(liar.seen().len(), limits::REDIRECTS + 1);
}

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
        .referrers(&repository(), &manifest_digest(), &[TYPE], &anyone())
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
async fn the_servers_filter_is_not_believed() {
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
    // In pages that are each small enough: one more than is looked at, and no page is asked for after that.
    let (found, asked) = referrers_of(|_, _| page(100, Some("</v2/x>; rel=next"))).await;
    assert_eq!(found, Ok(limits::CANDIDATES + 1));
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn pages_in_a_circle_end() {
    let (found, asked) =
        referrers_of(|seen, _| page(0, Some(&format!("<{}>; rel=\"next\"", seen.target)))).await;
    let Err(RegistryError::TooLarge { limit, unit, .. }) = found else {
        panic!("{found:?}")
    };
    assert_eq!((limit, unit), (limits::REFERRER_PAGES, "pages"));
    assert_eq!(asked.len(), limits::REFERRER_PAGES);
}

#[tokio::test]
async fn the_next_page_is_at_the_same_host() {
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
async fn what_is_no_list_of_referrers_is_not_an_empty_one() {
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
async fn an_endless_page_stops_at_the_bound() {
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
    // A later page that is gone is not an answer.
    let (found, _) = referrers_of(|_, before| match before {
        0 => page(1, Some("</v2/x>; rel=next")),
        _ => answer("404 Not Found", &[], ""),
    })
    .await;
    assert_eq!(kind(&found), RequestOutcome::Malformed);
}

#[tokio::test]
async fn a_missing_referrers_api_is_remembered() {
    for (body, asked_of_another) in [
        ("404 page not found\n", 0),
        (r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, 1),
    ] {
        let liar = Liar::new(move |_, _| answer("404 Not Found", &[], body)).await;
        let client = liar.client(Credentials::Anonymous);
        for _ in 0..3 {
            let found = client
                .referrers(&repository(), &manifest_digest(), &[TYPE], &anyone())
                .await;
            assert_eq!(kind(&found), RequestOutcome::NotFound);
        }
        assert_eq!(liar.seen().len(), 1, "{body}");
        // What was said of one repository does not hide the signatures of another.
        let other = crate::oci::Repository::new(HOST, "team/other").unwrap();
        let found = client
            .referrers(&other, &manifest_digest(), &[TYPE], &anyone())
            .await;
        assert_eq!(kind(&found), RequestOutcome::NotFound);
        assert_eq!(liar.seen().len(), 1 + asked_of_another, "{body}");
    }
}

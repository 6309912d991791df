//! Responses that are too large, too slow, too long or circular.

use std::fmt::Write as _;
use std::time::Duration;

use super::support::*;
use crate::base::limits;
use crate::net::registry::{Credentials, RegistryError, RequestOutcome};
use crate::oci::Digest;

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
    let result = manifest_of(endless, LONG).await;
    assert_eq!(
        too_large(&result),
        Some((limits::MANIFEST_BYTES, "bytes")),
        "{result:?}"
    );
}

#[tokio::test]
async fn an_announced_length_over_the_bound_is_refused_before_the_body_is_read() {
    let length = limits::MANIFEST_BYTES + 1;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    // Only the head is ever sent: a client that waits for the body meets the deadline instead.
    let silent = Reply::Forever(head, vec![], Duration::from_secs(60));
    let result = manifest_of(silent, LONG).await;
    assert_eq!(
        too_large(&result),
        Some((limits::MANIFEST_BYTES, "bytes")),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_body_of_exactly_the_bound_is_read() {
    let body = vec![b' '; limits::MANIFEST_BYTES];
    let result = manifest_of(answer("200 OK", &[], &body), LONG).await;
    assert_eq!(result, Ok(Digest::sha256(&body)));
    let mut chunks = chunked("");
    chunks.extend_from_slice(&chunk(limits::MANIFEST_BYTES));
    chunks.extend_from_slice(b"0\r\n\r\n");
    let result = manifest_of(Reply::Keep(chunks), LONG).await;
    assert_eq!(result, Ok(Digest::sha256(&body)));
}

#[tokio::test]
async fn a_slow_response_ends_at_the_deadline() {
    for reply in [
        Reply::Forever(chunked(""), chunk(1), Duration::from_millis(20)),
        // A head that never ends.
        Reply::Forever(
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            b"x-a: b\r\n".to_vec(),
            Duration::from_millis(50),
        ),
        // A response that never begins.
        Reply::Forever(vec![], vec![], Duration::from_secs(60)),
    ] {
        let result = manifest_of(reply, Duration::from_millis(400));
        let result = tokio::time::timeout(LONG, result)
            .await
            .expect("the deadline was ignored");
        assert_eq!(kind(&result), RequestOutcome::DeadlineExceeded, "{result:?}");
    }
}

#[tokio::test]
async fn no_request_is_sent_after_the_deadline() {
    let liar = Liar::new(|_, _| manifest()).await;
    let client = liar.client(Credentials::Anonymous);
    for _ in 0..20 {
        let result = client
            .manifest(&repository(), &latest(), &within(Duration::ZERO))
            .await;
        assert_eq!(kind(&result), RequestOutcome::DeadlineExceeded);
    }
    // Without the check of the clock, each attempt would at least open a connection. Connections are accepted in order, so
    // that the one of an allowed request is the first and only one.
    pull(&client, &anonymous()).await.unwrap();
    assert_eq!((liar.seen().len(), liar.connections()), (1, 1));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_reported() {
    let mut chunks = chunked("");
    chunks.extend_from_slice(&chunk(5));
    for cut in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345".to_vec(),
        chunks,
    ] {
        let result = manifest_of(Reply::Close(cut), LONG).await;
        let Err(RegistryError::Unreachable { what, .. }) = &result else {
            panic!("{result:?}")
        };
        assert!(what.starts_with("the response broke off: "), "{what}");
    }
}

#[tokio::test]
async fn a_response_that_is_not_http_is_refused() {
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
        let result = manifest_of(Reply::Close(head.clone().into_bytes()), LONG).await;
        assert_eq!(
            kind(&result),
            RequestOutcome::Malformed,
            "{:.60}: {result:?}",
            head
        );
    }
}

#[tokio::test]
async fn circular_redirects_end() {
    let liar = Liar::new(|_, _| redirect("/v2/team/app/manifests/latest")).await;
    let error = liar
        .client(Credentials::Anonymous)
        .manifest(&repository(), &latest(), &anonymous())
        .await
        .unwrap_err();
    let host = liar.address.to_string();
    assert_eq!(
        error,
        RegistryError::TooLarge {
            host,
            limit: crate::net::registry::sender::REDIRECTS,
            unit: "redirects"
        }
    );
    assert_eq!(liar.seen().len(), crate::net::registry::sender::REDIRECTS + 1);
}

//! Requests that are repeated, and requests that are not.

use std::time::{Duration, Instant};

use super::support::*;
use crate::net::registry::{Credentials, RegistryError, RequestOutcome};

/// Pulls anonymously within this time.
async fn pull_within(liar: &Liar, time: Duration) -> Result<(), RegistryError> {
    pull(&liar.client(Credentials::Anonymous), &within(time)).await
}

#[tokio::test]
async fn a_transient_failure_is_repeated_up_to_three_attempts() {
    for (reply, requests) in [
        (answer("429 Too Many Requests", &[], ""), 3),
        (answer("502 Bad Gateway", &[], ""), 3),
        (answer("503 Service Unavailable", &[], ""), 3),
        (answer("504 Gateway Timeout", &[], ""), 3),
        (Reply::HangUp, 3),
        (answer("500 Internal Server Error", &[], ""), 1),
        (answer("501 Not Implemented", &[], ""), 1),
        (
            Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec()),
            1,
        ),
    ] {
        let liar = Liar::new(move |_, _| reply.clone()).await;
        assert_eq!(kind(&pull_within(&liar, LONG).await), RequestOutcome::Unreachable);
        assert_eq!(liar.seen().len(), requests);
    }
}

#[tokio::test]
async fn a_later_attempt_can_succeed_after_a_pause() {
    let liar = Liar::new(|_, before| match before {
        0 => Reply::HangUp,
        1 => answer("503 Service Unavailable", &[], ""),
        _ => manifest(),
    })
    .await;
    let begin = Instant::now();
    pull_within(&liar, LONG).await.unwrap();
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "there is a pause before each new attempt"
    );
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced() {
    // Each connection serves one request and is closed without a notice.
    let Reply::Keep(bytes) = manifest() else {
        unreachable!()
    };
    let liar = Liar::new(move |_, _| Reply::Close(bytes.clone())).await;
    let client = liar.client(Credentials::Anonymous);
    for _ in 0..5 {
        let target = latest();
        client
            .manifest(&repository(), &target, &anonymous())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn retry_after_is_respected_within_the_deadline() {
    let later = |seconds: &str| answer("429 Too Many Requests", &[("retry-after", seconds)], "");
    let one = later("1");
    let liar = Liar::new(move |_, before| if before == 0 { one.clone() } else { manifest() }).await;
    let begin = Instant::now();
    pull_within(&liar, LONG).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    for seconds in ["60", "18446744073709551615"] {
        let reply = later(seconds);
        let liar = Liar::new(move |_, _| reply.clone()).await;
        // A client that waited all the same would meet the deadline.
        let result = pull_within(&liar, Duration::from_secs(5)).await;
        assert_eq!(kind(&result), RequestOutcome::Unreachable, "{result:?}");
        assert_eq!(liar.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_port_without_a_listener_is_unreachable() {
    // Bound but not listening: the port cannot go to another process meanwhile.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let client = client(&[&format!("http://{address}/")], Credentials::Anonymous, vec![]);
    let target = latest();
    let error = client
        .manifest(&repository(), &target, &anonymous())
        .await
        .unwrap_err();
    let RegistryError::Unreachable { host, what } = error else {
        panic!("{error:?}")
    };
    assert_eq!(host, address.to_string());
    assert!(what.contains("Connection refused"), "{what}");
}

#[tokio::test]
async fn a_write_is_sent_once() {
    let liar = Liar::new(|seen, _| match seen.method.as_str() {
        "HEAD" => Reply::Keep(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()),
        _ => answer("503 Service Unavailable", &[], ""),
    })
    .await;
    let client = liar.client(Credentials::Anonymous);
    assert_eq!(
        kind(&client.push_blob(&repository(), &blob(b"x"), &anonymous()).await),
        RequestOutcome::Unreachable
    );
    let target = latest();
    let pushed = client
        .push_manifest(&repository(), &target, OCI_MANIFEST, &blob(b"x"), &anonymous())
        .await;
    assert_eq!(kind(&pushed), RequestOutcome::Unreachable);
    assert_eq!(
        kind(&client.delete_manifest(&repository(), &target, &anonymous()).await),
        RequestOutcome::Unreachable
    );
    let methods: Vec<_> = liar.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["HEAD", "POST", "PUT", "DELETE"]);
}

//! What is sent again, and what is not.

use std::time::{Duration, Instant};

use super::support::*;
use crate::net::registry::{Credentials, RegistryError, RequestOutcome, Target};
use crate::oci::Tag;

async fn pull(liar: &Liar, time: Duration) -> Result<(), RegistryError> {
    let target = Target::Tag(Tag::latest());
    liar.client(Credentials::Anonymous)
        .manifest(&repository(), &target, &within(time))
        .await
        .map(|_| ())
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn what_may_pass_is_asked_three_times_at_most() {
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
        assert_eq!(kind(&pull(&liar, LONG).await), RequestOutcome::Unreachable);
        assert_eq!(liar.seen().len(), requests);
    }
}

#[tokio::test]
async fn an_answer_that_came_later_is_an_answer() {
    let liar = Liar::new(|_, before| match before {
        0 => Reply::HangUp,
        1 => answer("503 Service Unavailable", &[], ""),
        _ => manifest(),
    })
    .await;
    let begin = Instant::now();
    pull(&liar, LONG).await.unwrap();
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "there is a pause before each new attempt"
    );
}

#[tokio::test]
async fn a_connection_that_died_unused_is_replaced() {
    // Each connection serves one request, and says nothing of closing.
    let Reply::Keep(bytes) = manifest() else {
        unreachable!()
    };
    let liar = Liar::new(move |_, _| Reply::Close(bytes.clone())).await;
    let client = liar.client(Credentials::Anonymous);
    for _ in 0..5 {
        let target = Target::Tag(Tag::latest());
        client.manifest(&repository(), &target, &anyone()).await.unwrap();
    }
}

#[tokio::test]
async fn retry_after_is_honoured_where_there_is_time() {
    let later = |seconds: &str| answer("429 Too Many Requests", &[("retry-after", seconds)], "");
    let one = later("1");
    let liar = Liar::new(move |_, before| if before == 0 { one.clone() } else { manifest() }).await;
    let begin = Instant::now();
    pull(&liar, LONG).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    for seconds in ["60", "18446744073709551615"] {
        let reply = later(seconds);
        let liar = Liar::new(move |_, _| reply.clone()).await;
        let begin = Instant::now();
        let result = pull(&liar, Duration::from_secs(5)).await;
        assert_eq!(kind(&result), RequestOutcome::Unreachable, "{result:?}");
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "nobody waits for what comes too late"
        );
        assert_eq!(liar.seen().len(), 1);
    }
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = client(&[&format!("http://{address}/")], Credentials::Anonymous, vec![]);
    let target = Target::Tag(Tag::latest());
    let error = client
        .manifest(&repository(), &target, &anyone())
        .await
        .unwrap_err();
    let RegistryError::Unreachable { host, what } = error else {
        panic!("{error:?}")
    };
    assert_eq!(host, address.to_string());
    assert!(what.contains("Connection refused"), "{what}");
}

#[tokio::test]
async fn what_writes_is_sent_once() {
    let liar = Liar::new(|seen, _| match seen.method.as_str() {
        "HEAD" => Reply::Keep(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()),
        _ => answer("503 Service Unavailable", &[], ""),
    })
    .await;
    let client = liar.client(Credentials::Anonymous);
    assert_eq!(
        kind(&client.push_blob(&repository(), &blob(b"x"), &anyone()).await),
        RequestOutcome::Unreachable
    );
    let target = Target::Tag(Tag::latest());
    let pushed = client
        .push_manifest(&repository(), &target, OCI_MANIFEST, &blob(b"x"), &anyone())
        .await;
    assert_eq!(kind(&pushed), RequestOutcome::Unreachable);
    assert_eq!(
        kind(&client.delete_manifest(&repository(), &target, &anyone()).await),
        RequestOutcome::Unreachable
    );
    let methods: Vec<_> = liar.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["HEAD", "POST", "PUT", "DELETE"]);
}

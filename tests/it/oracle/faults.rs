//! A service that is down, slow or broken blocks the pull, and is never mistaken for a service without signatures.

use std::time::{Duration, Instant};

use pullgate::base::reason::Reason;

use super::super::oracle_cloud::{Fault, Operation};
use super::{Site, denied, pulled};

const LIST: Operation = Operation::ListContainerImageSignatures;

const fn status(status: u16, retry_after: Option<u64>) -> Fault {
    Fault::Status { status, retry_after }
}

#[tokio::test]
async fn a_transient_failure_is_retried() {
    for fault in [
        status(500, None),
        status(503, None),
        status(409, None),
        Fault::Reset,
        Fault::Truncated { bytes: 40 },
    ] {
        let site = Site::start().await;
        site.push_signed("signed");
        site.cloud.fail(LIST, fault.clone(), Some(2));
        let node = site.node(&site.oracle()).await;
        pulled(&node, "signed").await;
        assert_eq!(site.count(LIST), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn a_retry_waits_for_the_time_that_the_service_names() {
    let site = Site::start().await;
    site.push_signed("signed");
    site.cloud.fail(LIST, status(429, Some(1)), Some(1));
    let node = site.node(&site.oracle()).await;
    let started = Instant::now();
    pulled(&node, "signed").await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    // A time after the pull's limit is not waited for; waiting would end with `deadline-exceeded`.
    site.push("unsigned");
    site.cloud.fail(LIST, status(429, Some(3600)), None);
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
}

/// Pulls an image while the API has this fault on every request, and returns the reason of the denial. Once the fault is
/// gone, the same image is `unsigned`, because the API's list is empty.
async fn denied_with(fault: Fault, limit: Duration) -> (String, Option<String>) {
    let site = Site::start().await;
    // The image's names are in the responses, so that there is something to truncate.
    site.push("unsigned");
    site.cloud.fail(LIST, fault.clone(), None);
    let node = site.node_with_limit(limit).await;
    let refusal = node.refused(&super::image("unsigned")).await;
    site.cloud.mend();
    denied(&node, "unsigned", Reason::Unsigned).await;
    (
        format!("{fault:?} {refusal:?}"),
        refusal.reason().map(str::to_owned),
    )
}

#[tokio::test]
async fn a_faulty_response_has_a_reason_of_its_own_and_is_never_unsigned() {
    for (fault, reason) in [
        (status(501, None), Reason::SourceUnreachable),
        (status(400, None), Reason::SourceUnreachable),
        (status(401, None), Reason::SourceUnreachable),
        (status(404, None), Reason::SourceUnreachable),
        (Fault::Oversized { bytes: 9 << 20 }, Reason::LimitExceeded),
        (Fault::DuplicateKeys, Reason::SourceUnreachable),
        (Fault::NotJson, Reason::SourceUnreachable),
        (Fault::LoopingPage, Reason::SourceUnreachable),
        (Fault::WrongPage, Reason::SourceUnreachable),
    ] {
        let (what, found) = denied_with(fault, Duration::from_secs(30)).await;
        assert_eq!(found.as_deref(), Some(reason.code()), "{what}");
    }
}

/// The requests are repeated, or waited for, until the pull's limit. It is long enough for the first attempt on a busy
/// machine; an attempt that it cuts off later does not hide the failures before it.
#[tokio::test]
async fn only_a_service_that_never_answers_exceeds_the_deadline() {
    let cases = [
        (status(500, None), Reason::SourceUnreachable),
        (Fault::Reset, Reason::SourceUnreachable),
        (Fault::Truncated { bytes: 10 }, Reason::SourceUnreachable),
        (Fault::Slow { milliseconds: 60_000 }, Reason::DeadlineExceeded),
        (Fault::Drip { milliseconds: 1000 }, Reason::DeadlineExceeded),
    ];
    let pulls = cases.map(|(fault, reason)| async move {
        let (what, found) = denied_with(fault, Duration::from_secs(8)).await;
        assert_eq!(found.as_deref(), Some(reason.code()), "{what}");
    });
    futures_util::future::join_all(pulls).await;
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let site = Site::start().await;
    site.push_signed("signed");
    site.cloud.fail(LIST, Fault::UnknownFields, None);
    let node = site.node(&site.oracle()).await;
    pulled(&node, "signed").await;
}

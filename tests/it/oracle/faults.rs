//! A service that is down, slow or broken blocks, and is never taken for a service that has no signatures.

use std::time::{Duration, Instant};

use pullgate::base::reason::Reason;

use super::super::oracle_cloud::{Fault, Operation};
use super::{Site, denied, pulled};

const LIST: Operation = Operation::ListContainerImageSignatures;

const fn status(status: u16, retry_after: Option<u64>) -> Fault {
    Fault::Status { status, retry_after }
}

#[tokio::test]
async fn a_bad_moment_is_waited_for() {
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
        assert_eq!(site.asked(LIST), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn a_service_that_names_a_time_is_asked_again_then() {
    let site = Site::start().await;
    site.push_signed("signed");
    site.cloud.fail(LIST, status(429, Some(1)), Some(1));
    let node = site.node(&site.oracle()).await;
    let began = Instant::now();
    pulled(&node, "signed").await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    // Later than the pull may take: it is not waited for.
    site.push("unsigned");
    site.cloud.fail(LIST, status(429, Some(3600)), None);
    let began = Instant::now();
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn what_goes_wrong_is_told_apart_and_none_of_it_is_unsigned() {
    for (fault, reason) in [
        (status(500, None), Reason::SourceUnreachable),
        (status(501, None), Reason::SourceUnreachable),
        (status(400, None), Reason::SourceUnreachable),
        (status(401, None), Reason::SourceUnreachable),
        (status(404, None), Reason::SourceUnreachable),
        (Fault::Reset, Reason::SourceUnreachable),
        (Fault::Truncated { bytes: 10 }, Reason::SourceUnreachable),
        (Fault::Slow { milliseconds: 9000 }, Reason::DeadlineExceeded),
        (Fault::Drip { milliseconds: 100 }, Reason::DeadlineExceeded),
        (Fault::Oversized { bytes: 9 << 20 }, Reason::LimitExceeded),
        (Fault::DuplicateKeys, Reason::SourceUnreachable),
        (Fault::NotJson, Reason::SourceUnreachable),
        (Fault::LoopingPage, Reason::SourceUnreachable),
        (Fault::WrongPage, Reason::SourceUnreachable),
    ] {
        let site = Site::start().await;
        // The names of its images are in its answers, so that there is something to truncate.
        site.push("unsigned");
        site.cloud.fail(LIST, fault.clone(), None);
        let node = site.hasty().await;
        let refusal = node.refused(&super::image("unsigned")).await;
        assert_eq!(refusal.reason(), Some(reason.code()), "{fault:?} {refusal:?}");
        site.cloud.mend();
        denied(&node, "unsigned", Reason::Unsigned).await;
    }
}

#[tokio::test]
async fn fields_that_nobody_knows_are_passed_over() {
    let site = Site::start().await;
    site.push_signed("signed");
    site.cloud.fail(LIST, Fault::UnknownFields, None);
    let node = site.node(&site.oracle()).await;
    pulled(&node, "signed").await;
}

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::Site;
use super::client::send_to;
use super::oracle_cloud::http::Request;
use super::oracle_cloud::{Fault, Operation};

const LIST: Operation = Operation::ListContainerImageSignatures;

#[tokio::test]
async fn a_fault_applies_to_its_operation_and_number_of_requests() {
    let site = Site::start().await;
    for (status, code) in [
        (401, "NotAuthenticated"),
        (404, "NotAuthorizedOrNotFound"),
        (409, "IncorrectState"),
        (429, "TooManyRequests"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
    ] {
        let fault = Fault::Status {
            status,
            retry_after: Some(7),
        };
        site.cloud.fail(LIST, fault, Some(2));
        for _ in 0..2 {
            let reply = site.client.get(&site.list("")).await;
            assert_eq!(reply.code(), (status, code.to_owned()));
            assert_eq!(reply.header("retry-after"), Some("7"));
        }
        assert_eq!(site.client.get(&site.list("")).await.status, 200);
    }
    site.cloud.fail(Operation::Sign, Fault::Reset, None);
    assert_eq!(site.client.get(&site.list("")).await.status, 200);
    site.cloud.fail_all(
        Fault::Status {
            status: 500,
            retry_after: None,
        },
        None,
    );
    assert_eq!(site.client.get(&site.list("")).await.status, 500);
    site.cloud.mend();
    assert_eq!(site.client.get(&site.list("")).await.status, 200);
}

#[tokio::test]
async fn a_response_can_be_late_slow_truncated_or_absent() {
    let site = Site::start().await;
    let whole = site.client.get(&site.list("")).await.body;
    let slow = |fault: Fault| async {
        site.cloud.fail(LIST, fault, Some(1));
        let started = Instant::now();
        let body = site.client.get(&site.list("")).await.body;
        assert_eq!(body, whole);
        started.elapsed()
    };
    assert!(slow(Fault::Slow { milliseconds: 200 }).await >= Duration::from_millis(200));
    assert!(slow(Fault::Drip { milliseconds: 2 }).await >= Duration::from_millis(2 * 36));

    site.cloud.fail(LIST, Fault::Truncated { bytes: 5 }, Some(1));
    let cut = site.client.get(&site.list("")).await;
    assert_eq!(cut.body, whole[..5]);
    assert_eq!(
        cut.header("content-length"),
        Some(whole.len().to_string().as_str())
    );

    site.cloud.fail(LIST, Fault::Reset, Some(1));
    let request = site
        .client
        .signed_request("GET", &site.list(""), None, Timestamp::now());
    let error = site.client.try_send(request).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_list_can_name_looping_or_unknown_pages() {
    let site = Site::start_with(|options| options.page = 1).await;
    site.sign();
    site.sign();
    site.cloud.fail(LIST, Fault::LoopingPage, Some(2));
    let first = site.client.get(&site.list("")).await;
    let token = first.header("opc-next-page").unwrap();
    let again = site.client.get(&site.list(&format!("&page={token}"))).await;
    assert_eq!(
        (again.ids(), again.header("opc-next-page")),
        (first.ids(), Some(token))
    );
    site.cloud.fail(LIST, Fault::WrongPage, Some(1));
    let wrong = site.client.get(&site.list("")).await;
    let token = wrong.header("opc-next-page").unwrap();
    let reply = site.client.get(&site.list(&format!("&page={token}"))).await;
    assert_eq!(reply.code(), (400, "InvalidParameter".to_owned()));
}

#[tokio::test]
async fn each_fault_alters_lists_and_bodies() {
    let site = Site::start().await;
    let id = site.sign();
    let spoiled = |fault: Fault, more: &'static str| {
        site.cloud.fail(LIST, fault, Some(1));
        let (client, target) = (&site.client, site.list(more));
        async move { client.get(&target).await }
    };
    assert_eq!(
        spoiled(Fault::Unfiltered, "&imageId=x").await.ids(),
        [id.as_str()]
    );

    let doubled = spoiled(Fault::DuplicateKeys, "").await;
    let text = String::from_utf8(doubled.body.clone()).unwrap();
    assert!(text.starts_with("{\"items\":null,\"items\":[{"), "{text}");
    for field in ["kmsKeyId", "message"] {
        assert_eq!(text.matches(&format!("\"{field}\":")).count(), 2, "{text}");
    }
    // A parser that uses the last of two values does not notice.
    assert_eq!(doubled.ids(), [id.as_str()]);

    let page = spoiled(Fault::NotJson, "").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html"))
    );
    assert!(page.body.starts_with(b"<html>"));

    let big = spoiled(Fault::Oversized { bytes: 1 << 20 }, "").await;
    assert!(big.body.len() > 1 << 20);
    assert_eq!(big.ids(), [id.as_str()]);

    let newer = spoiled(Fault::UnknownFields, "").await;
    assert!(newer.json()["addedLater"].is_object());
    assert!(newer.json()["items"][0]["addedLater"].is_object());
    assert_eq!(newer.ids(), [id]);
}

#[tokio::test]
async fn other_programs_control_the_cloud_over_http() {
    let site = Site::start().await;
    let control = |method: &str, path: &str, body: serde_json::Value| {
        let body = body.to_string().into_bytes();
        let request = Request {
            method: method.to_owned(),
            target: format!("/control/{path}"),
            headers: vec![("content-length".to_owned(), body.len().to_string())],
            body,
        };
        send_to(site.cloud.control, request)
    };
    let fault = json!({ "kind": "status", "status": 503 });
    let rule = json!({ "operation": "ListContainerImageSignatures", "fault": fault, "times": 1 });
    let set = control("POST", "faults", rule).await.unwrap();
    assert_eq!(set.status, 200, "{set:?}");
    assert_eq!(site.client.get(&site.list("")).await.status, 503);
    assert_eq!(site.client.get(&site.list("")).await.status, 200);

    let image = json!({ "repository": "project01/new", "digest": "sha256:00", "version": "v3" });
    let image = control("POST", "images", image).await.unwrap().json();
    assert_eq!(image["displayName"], "project01/new:v3");
    let record = control("POST", "signatures", json!({ "imageId": image["id"] }))
        .await
        .unwrap();
    let id = record.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(site.client.get(&site.list("")).await.ids(), [id.as_str()]);
    control("DELETE", &format!("signatures/{id}"), json!(null))
        .await
        .unwrap();
    assert_eq!(site.client.get(&site.list("")).await.ids().len(), 0);

    let off = json!({ "id": site.key, "state": "DISABLED" });
    assert_eq!(control("POST", "keys", off).await.unwrap().status, 200);
    assert_eq!(
        control("POST", "keys", json!({ "id": "x", "state": "ENABLED" }))
            .await
            .unwrap()
            .status,
        404
    );
    assert_eq!(
        control("POST", "token-life", json!({ "seconds": 5 }))
            .await
            .unwrap()
            .status,
        200
    );
    let seen = control("GET", "requests", json!(null)).await.unwrap().json();
    assert_eq!(
        (seen[0]["status"].clone(), seen[1]["status"].clone()),
        (json!(503), json!(200))
    );
    let later = control("POST", "clock", json!({ "now": "2031-01-01T00:00:00Z" }))
        .await
        .unwrap();
    assert!(
        later.json()["now"]
            .as_str()
            .unwrap()
            .starts_with("2031-01-01T00:00:0")
    );
    assert_eq!(site.client.get(&site.list("")).await.status, 401);
    assert_eq!(
        control("POST", "faults", json!({ "fault": {} }))
            .await
            .unwrap()
            .status,
        400
    );
}

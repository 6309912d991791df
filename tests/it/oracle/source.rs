//! Verdicts on pulls by the records that the API lists.

use std::time::{Duration, Instant};

use pullgate::base::reason::Reason;
use pullgate::pull::request::{DoorName, PullRequest, Purpose};
use pullgate::signature::SourceName;
use serde_json::json;

use super::super::oracle_cloud::{Fault, Operation};
use super::super::support::{Node, signer, wait_until};
use super::{Site, denied, pulled};

#[tokio::test]
async fn only_images_that_oracles_client_signed_are_allowed() {
    let site = Site::start().await;
    let id = site.push_signed("signed");
    site.push("unsigned");
    let node = site.node(&site.oracle()).await;
    denied(&node, "unsigned", Reason::Unsigned).await;
    pulled(&node, "signed").await;
    for seen in site.cloud.requests() {
        assert_eq!((seen.status, &seen.flaw), (200, &None), "{seen:?}");
        let target = &seen.request.target;
        assert!(target.contains("&repositoryName=project01%2Facme&"), "{target}");
        assert!(target.contains("&imageDigest=sha256%3A"), "{target}");
        assert!(!target.contains('*'), "{target}");
    }
    let request = PullRequest {
        door: DoorName::TOOL,
        peer: "test".to_owned(),
        reference: super::image("signed"),
        presented: None,
        deadline: Instant::now() + Duration::from_secs(30),
        pod: None,
        purpose: Purpose::Serve,
    };
    let evaluation = node.gate.admit(&request).await;
    let [signature] = evaluation.signatures() else {
        panic!("{:?}", evaluation.signatures())
    };
    assert_eq!(
        (signature.source, signature.locator.to_string()),
        (SourceName("oracle-api"), id.clone())
    );
    let ok = "pullgate_oracle_requests_total{operation=\"list-signatures\",outcome=\"ok\"}";
    assert_eq!(node.metric(ok), 2);
}

#[tokio::test]
async fn a_record_moved_to_another_image_does_not_verify() {
    let site = Site::start().await;
    let id = site.push_signed("signed");
    let (_, other) = site.push("other");
    let mut moved = site.record(&id);
    moved["imageId"] = json!(other.id);
    moved.as_object_mut().unwrap().remove("id");
    site.cloud.put_signature(moved);
    let node = site.node(&site.oracle()).await;
    denied(&node, "other", Reason::DigestMismatch).await;
    pulled(&node, "signed").await;
}

#[tokio::test]
async fn a_deleted_signature_counts_only_until_the_cached_verdict_expires() {
    let site = Site::start().await;
    let id = site.push_signed("signed");
    let node = site.node(&site.oracle()).await;
    pulled(&node, "signed").await;
    site.cloud.remove_signature(&id);
    // The cached verdict expires by itself, long before `wait_until` gives up.
    let refused = async || node.pull(&super::image("signed")).await.is_err();
    wait_until(refused, "the verdict expires").await;
    denied(&node, "signed", Reason::Unsigned).await;
}

#[tokio::test]
async fn a_record_in_another_state_does_not_count() {
    for state in ["DELETING", "DELETED", "available", "NEW"] {
        let site = Site::start().await;
        let id = site.push_signed("signed");
        let mut record = site.record(&id);
        site.cloud.remove_signature(&id);
        record["lifecycleState"] = json!(state);
        site.cloud.put_signature(record);
        let node = site.node(&site.oracle()).await;
        denied(&node, "signed", Reason::Unsigned).await;
    }
}

#[tokio::test]
async fn an_unfiltered_list_allows_nothing_more() {
    let site = Site::start().await;
    site.push_signed("signed");
    site.push("unsigned");
    site.cloud
        .fail(Operation::ListContainerImageSignatures, Fault::Unfiltered, None);
    let node = site.node(&site.oracle()).await;
    denied(&node, "unsigned", Reason::DigestMismatch).await;
    pulled(&node, "signed").await;
}

#[tokio::test]
async fn a_signature_on_a_later_page_is_found_and_one_beyond_the_budget_is_not_unsigned() {
    let site = Site::start().await;
    // The service lists the newest records first.
    let id = site.push_signed("signed");
    let mut stray = site.record(&id);
    stray.as_object_mut().unwrap().remove("id");
    stray["signature"] = json!("AAAA");
    for _ in 0..110 {
        site.cloud.put_signature(stray.clone());
    }
    let node = site.node(&site.oracle()).await;
    pulled(&node, "signed").await;
    assert_eq!(site.count(Operation::ListContainerImageSignatures), 2);
    let (_, image) = site.push("flooded");
    stray["imageId"] = json!(image.id);
    for _ in 0..130 {
        site.cloud.put_signature(stray.clone());
    }
    // There are more records than are read, and a valid one may be among them.
    let refusal = node.refused(&super::image("flooded")).await;
    assert!(
        [Reason::LimitExceeded.code(), Reason::BadSignature.code()].contains(&refusal.reason().unwrap()),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn a_damaged_record_does_not_hide_the_others() {
    let site = Site::start().await;
    let id = site.push_signed("signed");
    let mut damaged = site.record(&id);
    damaged.as_object_mut().unwrap().remove("id");
    damaged["message"] = json!(7);
    site.cloud.put_signature(damaged.clone());
    let node = site.node(&site.oracle()).await;
    pulled(&node, "signed").await;
    // Alone it does not make the image `unsigned`: it may have been a valid record.
    let (_, image) = site.push("damaged");
    damaged["imageId"] = json!(image.id);
    site.cloud.put_signature(damaged);
    denied(&node, "damaged", Reason::Malformed).await;
}

#[tokio::test]
async fn the_compartment_is_looked_up_once_per_repository() {
    let site = Site::start().await;
    site.push_signed("one");
    site.push_signed("two");
    site.push("unsigned");
    let node = site.node("auth = { config_file = \"oci/config\" }\n").await;
    pulled(&node, "one").await;
    pulled(&node, "two").await;
    assert_eq!(site.count(Operation::LookupContainerImageByUri), 1);
    // The list of the cached compartment is empty, so the repository may have moved.
    denied(&node, "unsigned", Reason::Unsigned).await;
    assert_eq!(site.count(Operation::LookupContainerImageByUri), 2);
    site.cloud.fail(
        Operation::LookupContainerImageByUri,
        Fault::Status {
            status: 404,
            retry_after: None,
        },
        None,
    );
    site.push("hidden");
    denied(&node, "hidden", Reason::SourceUnreachable).await;
}

#[tokio::test]
async fn subcompartments_are_searched_from_the_tenancy() {
    let site = Site::start().await;
    site.push_signed("signed");
    let auth = "auth = { config_file = \"oci/config\" }\n";
    let tenancy = format!("compartment_id = \"{}\"\n{auth}", site.tenancy);
    let node = site.node(&tenancy).await;
    denied(&node, "signed", Reason::Unsigned).await;
    let node = site
        .node(&format!("{tenancy}compartment_id_in_subtree = true\n"))
        .await;
    pulled(&node, "signed").await;
}

#[tokio::test]
async fn a_good_record_in_the_registry_is_enough_while_the_api_fails() {
    let site = Site::start().await;
    let (stored, _) = site.push("signed");
    let record = signer::get("release").record(&stored.digest, "project01/acme");
    let repository = "ansh81vru1zp/project01/acme";
    signer::attach(&site.registry, repository, &stored, &record.to_string());
    let config = site.configured("signatures = [\"referrers\", \"oracle-api\"]", &site.oracle());
    let fault = Fault::Status {
        status: 501,
        retry_after: None,
    };
    site.cloud
        .fail(Operation::ListContainerImageSignatures, fault, None);
    let node = Node::start_in(site.folder(), &config).await;
    pulled(&node, "signed").await;
    site.push("unsigned");
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
}

use serde_json::Value;

use super::*;
use crate::net::oracle::wire::{CreateSignature, ImageSignature, LookUpImage, RECORDED, SignRequest};
use crate::net::oracle::{RegionEndpoints, Service};
use crate::trust::SigningAlgorithm;

const COMPARTMENT: &str =
    "ocid1.compartment.oc1..aaaaaaaa2yasckbtwy5idqrob3eprwtamemffccyclpvvsmfg3tn7ah76wmg";
const TENANCY: &str = "ocid1.tenancy.oc1..aaaaaaaacatagdyblhcqriqxvorwvajdmlxuvv3d5dz3ba2v7kcvicmivfnq";
const DIGEST: &str = "sha256:289676fac4febfea1de58adff7e2c1a5a8ec97945559927c94d9153ffef1d603";

fn exchange(name: &str) -> Value {
    let (_, text) = RECORDED.into_iter().find(|(known, _)| *known == name).unwrap();
    serde_json::from_str::<Value>(text).unwrap()["http"][0].take()
}

/// Checks the operation against a recorded request of Oracle's client.
fn assert_recorded(operation: &Operation, name: &str) {
    let exchange = exchange(name);
    assert_eq!(operation.method.as_str(), exchange["method"], "{name}");
    assert_eq!(
        &operation.url[url::Position::BeforePath..],
        exchange["target"],
        "{name}"
    );
    assert_eq!(operation.body.is_empty(), exchange["body"] == "", "{name}");
}

fn artifacts() -> ServiceEndpoint {
    RegionEndpoints::new("phx".parse().unwrap(), &TENANCY.parse().unwrap())
        .unwrap()
        .artifacts()
        .unwrap()
}

fn filter<'a>(compartment_id: &'a Ocid, image_digest: &'a Digest) -> SignatureFilter<'a> {
    SignatureFilter {
        compartment_id,
        in_subtree: false,
        repository_name: "project01/acme-web-app",
        image_digest,
        limit: 128,
        page: None,
    }
}

#[test]
fn the_list_request_equals_that_of_oracles_client() {
    let (compartment, digest) = (COMPARTMENT.parse().unwrap(), DIGEST.parse().unwrap());
    let first = Operation::list_signatures(&artifacts(), &filter(&compartment, &digest)).unwrap();
    let expected = format!("{}&limit=128", exchange("list")["target"].as_str().unwrap());
    assert_eq!(&first.url[url::Position::BeforePath..], expected);
    assert_eq!((first.method, first.body), (Method::GET, Vec::new()));
    let tenancy = TENANCY.parse().unwrap();
    let whole = SignatureFilter {
        in_subtree: true,
        page: Some("a/b=&x"),
        ..filter(&tenancy, &digest)
    };
    let query = Operation::list_signatures(&artifacts(), &whole).unwrap().url;
    assert!(query.query().unwrap().starts_with(&format!(
        "compartmentId={TENANCY}&compartmentIdInSubtree=true&repositoryName=project01%2F"
    )));
    assert!(query.query().unwrap().ends_with("&limit=128&page=a%2Fb%3D%26x"));
}

#[test]
fn a_list_covers_one_repository_and_bounds_its_page_names() {
    let (compartment, digest) = (COMPARTMENT.parse().unwrap(), DIGEST.parse().unwrap());
    let long = "p".repeat(PAGE_BYTES + 1);
    for (filter, expected) in [
        (
            SignatureFilter {
                repository_name: "project01/*",
                ..filter(&compartment, &digest)
            },
            OperationError::Wildcard("project01/*".to_owned()),
        ),
        (
            SignatureFilter {
                in_subtree: true,
                ..filter(&compartment, &digest)
            },
            OperationError::Subtree(COMPARTMENT.to_owned()),
        ),
        (
            SignatureFilter {
                page: Some(&long),
                ..filter(&compartment, &digest)
            },
            OperationError::Page { limit: PAGE_BYTES },
        ),
    ] {
        assert_eq!(Operation::list_signatures(&artifacts(), &filter), Err(expected));
    }
}

#[test]
fn the_other_requests_equal_those_of_oracles_client() {
    let answer = exchange("get");
    let signature = ImageSignature::parse(answer["response"].as_str().unwrap().as_bytes()).unwrap();
    assert_recorded(&Operation::get_signature(&artifacts(), &signature.id), "get");
    let delete = Operation::delete_signature(&artifacts(), &signature.id);
    assert_eq!(delete.method, Method::DELETE);
    assert_eq!(
        delete.url,
        Operation::get_signature(&artifacts(), &signature.id).url
    );
    let record = CreateSignature::new(
        &COMPARTMENT.parse().unwrap(),
        &signature.image_id,
        signature.record.clone(),
    );
    assert_recorded(
        &Operation::create_signature(&artifacts(), &record.unwrap()),
        "create",
    );
    let repository =
        crate::oci::Repository::new("phx.ocir.io", "ansh81vru1zp/project01/acme-web-app").unwrap();
    let image = LookUpImage::new(&repository, &DIGEST.parse().unwrap());
    assert_recorded(&Operation::look_up_image(&artifacts(), &image), "lookup");
    let image = Operation::get_image(&artifacts(), &signature.image_id);
    assert_eq!(
        image.url.path(),
        format!("/20160918/container/images/{}", signature.image_id)
    );

    let kms = ServiceEndpoint::new("http://127.0.0.1:43881", Service::Kms).unwrap();
    let key: Ocid = signature.record.kms_key_id.parse().unwrap();
    let version: Ocid = signature.record.kms_key_version_id.parse().unwrap();
    assert_recorded(&Operation::get_key_version(&kms, &key, &version), "key version");
    let request = SignRequest::new(
        &key,
        &version,
        SigningAlgorithm::Sha256RsaPkcsPss,
        b"hello".to_vec(),
    );
    assert_recorded(&Operation::sign(&kms, &request.unwrap()), "sign");
}

//! Tests every call of the client against the stand-in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pullgate::net::oracle::wire::{CreateSignature, KeyVersionState, LookUpImage, SignRequest, UpdateTags};
use pullgate::net::oracle::{ApiError, CallError, Identity, Ocid, OracleClient, Service, ServiceEndpoint};
use pullgate::signature::oracle::Record;
use pullgate::trust::SigningAlgorithm;

use super::super::oracle_cloud::{Fault, Operation};
use super::Site;

fn ocid(text: &str) -> Ocid {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_signature_is_created_read_tagged_and_deleted() {
    let site = Site::start().await;
    let folder = site.folder();
    let identity = Identity::profile(folder.path().join("oci/config"), "DEFAULT", None).unwrap();
    let (tenancy, _) = identity.profile_tenancy_and_region().unwrap();
    assert_eq!(tenancy.as_str(), site.tenancy);
    let client = OracleClient::new(identity, Vec::new(), None).unwrap();
    let artifacts = ServiceEndpoint::new(&site.cloud.url(), Service::Artifacts).unwrap();
    let kms = ServiceEndpoint::new(&site.cloud.url(), Service::Kms).unwrap();
    let late = Instant::now() + Duration::from_secs(60);
    let (key_id, version_id) = (ocid(&site.key), ocid(&site.version));

    let key = client.get_key(&kms, &key_id, late).await.unwrap();
    assert_eq!((key.algorithm.as_str(), key.length), ("RSA", 256));
    assert_eq!((&key.id, &key.current_version), (&key_id, &version_id));
    let versions = client.list_key_versions(&kms, &key_id, late).await.unwrap();
    assert_eq!(versions.len(), 1);
    assert_eq!(versions[0].id, version_id);
    assert_eq!(versions[0].lifecycle_state, KeyVersionState::Enabled);
    let version = client
        .get_key_version(&kms, &key_id, &version_id, late)
        .await
        .unwrap();
    assert!(version.public_key().unwrap().is_some());

    let (_, image) = site.push("v1");
    let image_id = ocid(&image.id);
    let found = client.get_image(&artifacts, &image_id, late).await.unwrap();
    let repository = super::image("v1").repository;
    let by_name = LookUpImage::new(&repository, &found.digest);
    let looked_up = client.look_up_image(&artifacts, &by_name, late).await.unwrap();
    assert_eq!(looked_up, found);

    let algorithm: SigningAlgorithm = super::ALGORITHM.parse().unwrap();
    let request = SignRequest::new(&key_id, &version_id, algorithm, b"a message".to_vec()).unwrap();
    let answer = client.sign(&kms, &request, late).await.unwrap();
    assert_eq!(answer.signature.len(), 256);

    // The first response is lost: the request is repeated with the same token.
    let id = site
        .cloud
        .sign_and_upload(&image, &site.version, super::ALGORITHM);
    let record = Record::parse(site.record(&id).to_string().as_bytes()).unwrap();
    let create = CreateSignature::new(&ocid(&site.compartment), &image_id, record).unwrap();
    site.cloud.fail(
        Operation::CreateContainerImageSignature,
        Fault::Truncated { bytes: 5 },
        Some(1),
    );
    let made = client.create_signature(&artifacts, &create, late).await.unwrap();
    let requests = site.cloud.requests();
    let tokens: Vec<_> = requests
        .iter()
        .filter(|seen| seen.operation == Some(Operation::CreateContainerImageSignature))
        .map(|seen| seen.request.header("opc-retry-token").unwrap().to_owned())
        .collect();
    assert_eq!(tokens.len(), 2);
    assert_eq!(tokens[0], tokens[1]);

    let tags = UpdateTags {
        freeform: Some(BTreeMap::from([("stage".to_owned(), "qa".to_owned())])),
        defined: None,
    };
    let tagged = client
        .update_signature(&artifacts, &made.id, &tags, late)
        .await
        .unwrap();
    assert_eq!(tagged.record.others["freeformTags"]["stage"], "qa");
    let read = client.get_signature(&artifacts, &made.id, late).await.unwrap();
    assert_eq!(read, tagged);
    client.delete_signature(&artifacts, &made.id, late).await.unwrap();
    let gone = client.get_signature(&artifacts, &ocid(&image.id), late).await;
    assert!(
        matches!(gone, Err(ApiError::Call(CallError::NotFound { .. }))),
        "{gone:?}"
    );
    let late_error = client.get_image(&artifacts, &image_id, Instant::now()).await;
    assert!(
        matches!(
            late_error,
            Err(ApiError::Call(CallError::DeadlineExceeded { .. }))
        ),
        "{late_error:?}"
    );
}

/// The failure before a cut-off attempt says more than the deadline, unless the attempt may have created something.
#[tokio::test]
async fn an_attempt_that_the_deadline_cuts_off_does_not_hide_an_earlier_failure() {
    let site = Site::start().await;
    let folder = site.folder();
    let identity = Identity::profile(folder.path().join("oci/config"), "DEFAULT", None).unwrap();
    let client = OracleClient::new(identity, Vec::new(), None).unwrap();
    let artifacts = ServiceEndpoint::new(&site.cloud.url(), Service::Artifacts).unwrap();
    let (_, image) = site.push("v1");
    let image_id = ocid(&image.id);
    let id = site
        .cloud
        .sign_and_upload(&image, &site.version, super::ALGORITHM);
    let record = Record::parse(site.record(&id).to_string().as_bytes()).unwrap();
    let create = CreateSignature::new(&ocid(&site.compartment), &image_id, record).unwrap();
    for operation in [
        Operation::GetContainerImage,
        Operation::CreateContainerImageSignature,
    ] {
        let first = Fault::Status {
            status: 500,
            retry_after: None,
        };
        site.cloud.fail(operation, first, Some(1));
        site.cloud
            .fail(operation, Fault::Slow { milliseconds: 60_000 }, None);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    let (read, created) = tokio::join!(
        client.get_image(&artifacts, &image_id, deadline),
        client.create_signature(&artifacts, &create, deadline),
    );
    assert!(
        matches!(
            &read,
            Err(ApiError::Call(CallError::CutOff { earlier, .. }))
                if matches!(**earlier, CallError::Service { status: 500, .. })
        ),
        "{read:?}"
    );
    assert!(
        matches!(created, Err(ApiError::Call(CallError::DeadlineExceeded { .. }))),
        "{created:?}"
    );
}

//! The identity that requests are signed as.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use pullgate::base::reason::Reason;
use pullgate::net::oracle::wire::{FederationRequest, read_token};
use pullgate::net::oracle::{
    ApiError, CallError, Identity, LeafCertificate, MetadataService, OracleClient, RequestKey, RequestSigner,
    Service, ServiceEndpoint, SignatureFilter,
};
use pullgate::process::config::Config;

use super::super::oracle_cloud::{Cloud, Fault, Operation, world};
use super::super::support::{self, Node, RefusingAddress};
use super::{Site, denied, pulled, user};

const LIST: Operation = Operation::ListContainerImageSignatures;

fn instance(cloud: &Cloud, compartment: &str) -> String {
    format!(
        "compartment_id = \"{compartment}\"\nauth = \"instance-principal\"\n\
         metadata_endpoint = \"{}\"\nfederation_endpoint = \"{}\"\n",
        cloud.metadata_url(),
        cloud.url(),
    )
}

/// Returns a token with this expiry, which no service has issued.
pub fn token(ends: Timestamp) -> String {
    let claims = BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{}}}", ends.as_second()));
    format!("eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl")
}

/// Lists signatures with the site's profile, and returns the error.
async fn list_error(site: &Site, folder: &std::path::Path) -> Option<ApiError> {
    let identity = Identity::profile(folder.join("oci/config"), "DEFAULT", None).unwrap();
    let client = OracleClient::new(identity, Vec::new(), None).unwrap();
    let artifacts = ServiceEndpoint::new(&site.cloud.url(), Service::Artifacts).unwrap();
    let filter = SignatureFilter {
        compartment_id: &site.compartment.parse().unwrap(),
        in_subtree: false,
        repository_name: "project01/acme",
        image_digest: &format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
        limit: 10,
        page: None,
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    let list = client.list_signatures(&artifacts, &filter, 10, deadline).await;
    list.incomplete
}

#[tokio::test]
async fn a_wrong_clock_and_a_wrong_key_are_different_errors() {
    let site = Site::start().await;
    let folder = site.folder();
    assert_eq!(list_error(&site, folder.path()).await, None);
    site.cloud.clock().advance(Duration::from_secs(600));
    let error = list_error(&site, folder.path()).await;
    assert!(
        matches!(error, Some(ApiError::Call(CallError::Clock { .. }))),
        "{error:?}"
    );
    site.push("unsigned");
    let node = site.node(&site.oracle()).await;
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
    site.cloud.clock().set(Timestamp::now());

    // Another user's key. The file names its fingerprint, so that it loads.
    let (private, public) = world::pair();
    let mut stranger = super::World::new();
    let named = stranger.user(&public);
    let fingerprint = named.rsplit('/').next().unwrap();
    site.write_profile(folder.path(), &private, "");
    let config = std::fs::read_to_string(folder.path().join("oci/config")).unwrap();
    let old = site.key_id.rsplit('/').next().unwrap();
    std::fs::write(folder.path().join("oci/config"), config.replace(old, fingerprint)).unwrap();
    let error = list_error(&site, folder.path()).await;
    assert!(
        matches!(&error, Some(ApiError::Call(CallError::Unauthorized { code, .. })) if code == "NotAuthenticated"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_profile_whose_files_cannot_be_used_does_not_load() {
    let site = Site::start().await;
    let config = site.config(&site.oracle());
    let refused = |folder: &tempfile::TempDir| {
        let errors = Config::load(&support::write(folder.path(), &config)).unwrap_err();
        errors.to_string()
    };
    let folder = site.folder();
    site.write_profile(folder.path(), &world::pair().0, "");
    let errors = refused(&folder);
    assert!(errors.contains("is not the key of profile `DEFAULT`"), "{errors}");
    std::fs::remove_file(folder.path().join("oci/key.pem")).unwrap();
    let errors = refused(&folder);
    assert!(errors.contains("could not read"), "{errors}");
}

#[tokio::test]
async fn a_rotated_key_is_used_without_a_reload() {
    let site = Site::start().await;
    site.push_signed("signed");
    let folder = site.folder();
    let path = folder.path().to_owned();
    let node = Node::start_in(folder, &site.config(&site.oracle())).await;
    pulled(&node, "signed").await;
    std::fs::write(path.join("oci/key.pem"), "no key at all\n").unwrap();
    site.push("unsigned");
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
    site.write_profile(&path, &user().0, "");
    denied(&node, "unsigned", Reason::Unsigned).await;
}

#[tokio::test]
async fn an_expired_session_sends_no_request() {
    let site = Site::start().await;
    site.push("unsigned");
    let folder = site.folder();
    site.write_profile(folder.path(), &user().0, "security_token_file=token\n");
    let past = Timestamp::now() - Duration::from_secs(10);
    std::fs::write(folder.path().join("oci/token"), token(past)).unwrap();
    let path = folder.path().to_owned();
    let node = Node::start_in(folder, &site.config(&site.oracle())).await;
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
    assert_eq!(site.cloud.requests().len(), 0);
    // After a refresh, the new token is sent. The service refuses it, because it did not issue it.
    let later = Timestamp::now() + Duration::from_secs(3600);
    std::fs::write(path.join("oci/token"), token(later)).unwrap();
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
    assert!(site.count(LIST) > 0);
}

async fn body(request: reqwest::RequestBuilder) -> Vec<u8> {
    let mut answer = request.send().await.unwrap();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    body
}

/// Gets a token for this key from the stand-in: `oci session authenticate` without the browser.
async fn session(site: &Site, private: &str) -> String {
    let http = reqwest::Client::new();
    let metadata = |path: &str| {
        let url = format!("{}/{path}", site.cloud.metadata_url());
        body(http.get(url).header("authorization", "Bearer Oracle"))
    };
    let leaf = LeafCertificate::from_pem(&metadata("identity/cert.pem").await).unwrap();
    let key = metadata("identity/key.pem").await;
    let intermediate = metadata("identity/intermediate.pem").await;
    let key = RequestKey::from_pem(&key, None).unwrap();
    let session_key = RequestKey::from_pem(private.as_bytes(), None).unwrap();
    let request = FederationRequest::new(&leaf, &[&intermediate], &session_key).unwrap();
    let federation = ServiceEndpoint::new(&site.cloud.url(), Service::Federation).unwrap();
    let operation = pullgate::net::oracle::Operation::federate(&federation, &request);
    let signer = RequestSigner::federation(&leaf, std::sync::Arc::new(key));
    let headers = signer.sign(&operation, Timestamp::now()).unwrap();
    let request = http.post(operation.url).headers(headers).body(operation.body);
    read_token(&body(request).await).unwrap().expose().to_owned()
}

#[tokio::test]
async fn a_session_signs_with_its_token_and_after_a_refresh_with_the_next() {
    let site = Site::start().await;
    site.push_signed("one");
    site.push_signed("two");
    let folder = site.folder();
    site.write_profile(folder.path(), &user().0, "security_token_file=token\n");
    std::fs::write(folder.path().join("oci/token"), session(&site, &user().0).await).unwrap();
    let path = folder.path().to_owned();
    let node = Node::start_in(folder, &site.config(&site.oracle())).await;
    pulled(&node, "one").await;
    site.cloud.forget_tokens();
    denied(&node, "two", Reason::SourceUnreachable).await;
    std::fs::write(path.join("oci/token"), session(&site, &user().0).await).unwrap();
    pulled(&node, "two").await;
}

#[tokio::test]
async fn an_instance_keeps_its_token_until_it_expires_or_is_refused() {
    let site = Site::start().await;
    site.push_signed("one");
    site.push_signed("two");
    let node = site.node(&instance(&site.cloud, &site.compartment)).await;
    pulled(&node, "one").await;
    pulled(&node, "two").await;
    assert_eq!(site.count(Operation::Federate), 1);
    let callers = site.cloud.requests();
    let callers = callers.iter().filter(|seen| seen.operation == Some(LIST));
    assert!(
        callers
            .clone()
            .all(|seen| seen.caller.as_deref() == Some(site.cloud.instance()))
    );

    // A token that the service forgot is replaced once, with the instance's current certificate.
    site.cloud.forget_tokens();
    site.cloud.renew_instance();
    site.push_signed("three");
    pulled(&node, "three").await;
    assert_eq!(site.count(Operation::Federate), 2);

    // A new token that is refused as well is not replaced again.
    site.cloud.fail(
        LIST,
        Fault::Status {
            status: 401,
            retry_after: None,
        },
        None,
    );
    site.push("four");
    site.cloud.forget_requests();
    denied(&node, "four", Reason::SourceUnreachable).await;
    // Each list request gets one new token, and one more attempt with it.
    let (tokens, lists) = (site.count(Operation::Federate), site.count(LIST));
    assert!(tokens > 0 && lists == 2 * tokens, "{tokens} {lists}");
}

#[tokio::test]
async fn a_token_is_renewed_a_minute_before_its_end() {
    let site = Site::start().await;
    site.cloud.set_token_life(Duration::from_secs(59));
    let node = site.node(&instance(&site.cloud, &site.compartment)).await;
    for tag in ["one", "two"] {
        site.push_signed(tag);
        pulled(&node, tag).await;
    }
    assert_eq!(site.count(Operation::Federate), 2);
    // If no new token can be had, the old one is used until it expires.
    site.cloud.fail(
        Operation::Metadata,
        Fault::Status {
            status: 404,
            retry_after: None,
        },
        None,
    );
    site.push_signed("three");
    pulled(&node, "three").await;
    assert_eq!(site.count(Operation::Federate), 2);
}

#[tokio::test]
async fn concurrent_pulls_share_one_token() {
    let site = Site::start().await;
    let tags = ["one", "two", "three", "four"];
    for tag in tags {
        site.push_signed(tag);
    }
    let node = site.node(&instance(&site.cloud, &site.compartment)).await;
    let (one, two, three, four) = (
        super::image(tags[0]),
        super::image(tags[1]),
        super::image(tags[2]),
        super::image(tags[3]),
    );
    let all = tokio::join!(
        node.pull(&one),
        node.pull(&two),
        node.pull(&three),
        node.pull(&four)
    );
    assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok() && all.3.is_ok());
    assert_eq!(site.count(Operation::Federate), 1);
}

#[tokio::test]
async fn an_instance_without_metadata_service_cannot_sign() {
    let site = Site::start().await;
    site.push("unsigned");
    let refusing = RefusingAddress::new();
    let closed = format!("{}/opc/v2", refusing.url);
    let nowhere = instance(&site.cloud, &site.compartment).replace(&site.cloud.metadata_url(), &closed);
    let node = site.node(&nowhere).await;
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
    assert_eq!(site.cloud.requests().len(), 0);
}

/// One function bypasses the guard's rule against metadata services. One function calls it, and one file calls that
/// one.
#[test]
fn only_the_instance_identity_can_reach_the_metadata_service() {
    fn callers(folder: &std::path::Path, word: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                callers(&path, word, found);
            } else if !path.ends_with("tests.rs") && std::fs::read_to_string(&path).unwrap().contains(word) {
                let path = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
                found.push(path.display().to_string());
            }
        }
    }
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (word, files) in [
        ("fn to_metadata_service(", vec!["src/net/transport/guard.rs"]),
        (".to_metadata_service(", vec!["src/net/oracle/sender.rs"]),
        (
            "sender.read_metadata(",
            vec!["src/net/oracle/identity/instance.rs"],
        ),
    ] {
        let mut found = Vec::new();
        callers(&source, word, &mut found);
        found.sort();
        assert_eq!(found, files, "{word}");
    }
}

/// The guard's own tests cover the rule; this one tests that no configuration circumvents it.
#[tokio::test]
async fn an_endpoint_cannot_be_a_metadata_service() {
    let site = Site::start().await;
    site.push("unsigned");
    let config = site.config(&site.oracle());
    let forbidden = "https://[fd00:c1::a9fe:a9fe]/";
    let there = config.replace(
        &format!("{}\"\ncompartment", site.cloud.url()),
        &format!("{forbidden}\"\ncompartment"),
    );
    assert!(there.contains(forbidden));
    let node = Node::start_in(site.folder(), &there).await;
    let refusal = node.refused(&super::image("unsigned")).await;
    assert_eq!(refusal.reason(), Some(Reason::SourceUnreachable.code()));
    assert!(
        refusal.message.contains("the address is a metadata service"),
        "{refusal:?}"
    );
    assert!(MetadataService::new("http://user:secret@169.254.169.254/opc/v2").is_err());
}

//! As whom the API is asked.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use pullgate::base::reason::Reason;
use pullgate::net::oracle::wire::{FederationRequest, read_token};
use pullgate::net::oracle::{
    ApiError, Identity, LeafCertificate, MetadataService, OracleClient, RequestKey, RequestSigner, Service,
    ServiceEndpoint, SignatureFilter,
};
use pullgate::process::config::Config;

use super::super::oracle_cloud::{Cloud, Fault, Operation, world};
use super::super::support::{self, Node};
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

/// A token that ends then, which no service has given.
pub fn token(ends: Timestamp) -> String {
    let claims = BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{}}}", ends.as_second()));
    format!("eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl")
}

/// What a client with the site's profile is told.
async fn told(site: &Site, folder: &std::path::Path) -> Option<ApiError> {
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
async fn a_wrong_clock_is_told_from_a_wrong_key() {
    let site = Site::start().await;
    let folder = site.folder();
    assert_eq!(told(&site, folder.path()).await, None);
    site.cloud.clock().advance(Duration::from_secs(600));
    let error = told(&site, folder.path()).await;
    assert!(matches!(error, Some(ApiError::Clock { .. })), "{error:?}");
    site.push("unsigned");
    let node = site.hasty().await;
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
    site.cloud.clock().set(Timestamp::now());

    // A key that the user has not: the file itself names it, so that it loads.
    let (private, public) = world::pair();
    let mut stranger = super::World::new();
    let named = stranger.user(&public);
    let fingerprint = named.rsplit('/').next().unwrap();
    site.write_profile(folder.path(), &private, "");
    let config = std::fs::read_to_string(folder.path().join("oci/config")).unwrap();
    let old = site.key_id.rsplit('/').next().unwrap();
    std::fs::write(folder.path().join("oci/config"), config.replace(old, fingerprint)).unwrap();
    let error = told(&site, folder.path()).await;
    assert!(
        matches!(&error, Some(ApiError::Unauthorized { code, .. }) if code == "NotAuthenticated"),
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
async fn a_key_that_was_rotated_is_taken_without_a_reload() {
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
async fn a_session_that_is_over_asks_nobody() {
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
    // Refreshed: the new token is shown, and refused by the service for another reason.
    let later = Timestamp::now() + Duration::from_secs(3600);
    std::fs::write(path.join("oci/token"), token(later)).unwrap();
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
    assert!(site.asked(LIST) > 0);
}

async fn body(request: reqwest::RequestBuilder) -> Vec<u8> {
    let mut answer = request.send().await.unwrap();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    body
}

/// A token for whoever has this key, from the stand-in: `oci session authenticate` without its browser.
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
    let of_session = RequestKey::from_pem(private.as_bytes(), None).unwrap();
    let request = FederationRequest::new(&leaf, &[&intermediate], &of_session).unwrap();
    let federation = ServiceEndpoint::new(&site.cloud.url(), Service::Federation).unwrap();
    let operation = pullgate::net::oracle::Operation::federate(&federation, &request);
    let signer = RequestSigner::federation(&leaf, std::sync::Arc::new(key));
    let headers = signer.sign(&operation, Timestamp::now()).unwrap();
    let asked = http.post(operation.url).headers(headers).body(operation.body);
    read_token(&body(asked).await).unwrap().expose().to_owned()
}

#[tokio::test]
async fn a_session_signs_with_its_token_and_with_the_next_one_when_it_is_refreshed() {
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
async fn an_instance_has_a_token_for_as_long_as_it_is_good() {
    let site = Site::start().await;
    site.push_signed("one");
    site.push_signed("two");
    let node = site.node(&instance(&site.cloud, &site.compartment)).await;
    pulled(&node, "one").await;
    pulled(&node, "two").await;
    assert_eq!(site.asked(Operation::Federate), 1);
    let callers = site.cloud.requests();
    let callers = callers.iter().filter(|seen| seen.operation == Some(LIST));
    assert!(
        callers
            .clone()
            .all(|seen| seen.caller.as_deref() == Some(site.cloud.instance()))
    );

    // A token that the service forgot is replaced once, with what the instance is by then.
    site.cloud.forget_tokens();
    site.cloud.renew_instance();
    site.push_signed("three");
    pulled(&node, "three").await;
    assert_eq!(site.asked(Operation::Federate), 2);

    // One that is refused again is not asked for again and again.
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
    // For each question one token, and one more try with it.
    let (tokens, lists) = (site.asked(Operation::Federate), site.asked(LIST));
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
    assert_eq!(site.asked(Operation::Federate), 2);
    // Where there is none to be had, what is due is used to its end.
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
    assert_eq!(site.asked(Operation::Federate), 2);
}

#[tokio::test]
async fn many_pulls_at_once_have_one_token() {
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
    assert_eq!(site.asked(Operation::Federate), 1);
}

#[tokio::test]
async fn without_its_metadata_service_an_instance_is_nobody() {
    let site = Site::start().await;
    site.push("unsigned");
    let nowhere = instance(&site.cloud, &site.compartment)
        .replace(&site.cloud.metadata_url(), "http://127.0.0.1:1/opc/v2");
    let node = site.node(&nowhere).await;
    denied(&node, "unsigned", Reason::SourceUnreachable).await;
    assert_eq!(site.cloud.requests().len(), 0);
}

/// One function leads past the guard's rule against metadata services, one function calls it, and one file calls that.
#[test]
fn the_way_to_the_metadata_service_is_the_identitys_alone() {
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
        ("exchange.metadata(", vec!["src/net/oracle/identity/instance.rs"]),
    ] {
        let mut found = Vec::new();
        callers(&source, word, &mut found);
        found.sort();
        assert_eq!(found, files, "{word}");
    }
}

/// The rule itself has its tests beside the guard; this is what a configuration can make of it.
#[tokio::test]
async fn nothing_but_the_identity_asks_a_metadata_service() {
    let site = Site::start().await;
    site.push("unsigned");
    let config = site.config(&site.oracle());
    let place = "https://[fd00:c1::a9fe:a9fe]/";
    let there = config.replace(
        &format!("{}\"\ncompartment", site.cloud.url()),
        &format!("{place}\"\ncompartment"),
    );
    assert!(there.contains(place));
    let node = Node::start_in(site.folder(), &there).await;
    let refusal = node.refused(&super::image("unsigned")).await;
    assert_eq!(refusal.reason(), Some(Reason::SourceUnreachable.code()));
    assert!(
        refusal.message.contains("the address is a metadata service"),
        "{refusal:?}"
    );
    assert!(MetadataService::new("http://user:secret@169.254.169.254/opc/v2").is_err());
}

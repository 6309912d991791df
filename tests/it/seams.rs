//! The seams of find and verify: a format and a source that only these tests have, each in one file, beside the real ones.

mod toy_format;
mod toy_source;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pullgate::base::reason::Reason;
use pullgate::fakes::registry::EmbeddedRegistry;
use pullgate::net::oracle::OracleRegistries;
use pullgate::net::registry::{Access, Credentials, RegistryClient, RegistryConfig};
use pullgate::oci::{Descriptor, Digest, MediaType, Repository};
use pullgate::pull::evidence::Evidence;
use pullgate::pull::evidence::search::search_with;
use pullgate::pull::find::{Query, Source, SourceContext, find_all, sources};
use pullgate::pull::policy::Signed;
use pullgate::pull::request::Extent;
use pullgate::pull::verify::{VerifyError, Wanted};
use pullgate::signature::oracle::Oracle;
use pullgate::signature::{Format, Locator, RequiredRepository, SourceName};
use pullgate::trust::{Authority, PublicKey, TrustedKey};
use serde_json::json;
use toy_format::{OTHER_TOY, TOY, TOY_TYPE, record};
use toy_source::{ToySource, failing, giving, hanging, witness};

use super::support::{
    HOST, LATEST, Node, REPOSITORY, SIGNED, config, image, put, put_signed, registry, signer,
};

fn key(name: &str, signer: &str) -> Arc<Authority> {
    let public_key = PublicKey::from_pem(signer::get(signer).public_pem().as_bytes()).unwrap();
    Arc::new(Authority::Key(TrustedKey::new(
        name,
        public_key,
        [toy_format::SCHEME].into(),
    )))
}

fn subject() -> Digest {
    Digest::sha256(b"the image")
}

fn repository() -> Repository {
    Repository::new(HOST, REPOSITORY).unwrap()
}

/// Searches these sources for `threshold` signers in both toy formats.
async fn search(toys: Vec<ToySource>, threshold: usize, deadline: Duration) -> Evidence {
    let formats: [&'static dyn Format; 2] = [&TOY, &OTHER_TOY];
    let wanted = Wanted {
        digest: subject(),
        pulled: repository(),
        required_repository: RequiredRepository::AsPulled,
        signed: Signed {
            authorities: vec![key("release", "release"), key("qa", "qa")],
            threshold: NonZeroUsize::new(threshold).unwrap(),
            formats: formats.iter().map(|format| format.name()).collect(),
            signed_repository: None,
        },
    };
    let toys: Vec<Arc<dyn Source>> = toys
        .into_iter()
        .map(|toy| Arc::new(toy) as Arc<dyn Source>)
        .collect();
    let access = Access {
        presented: None,
        deadline: Instant::now() + deadline,
    };
    let (subject, repository) = (subject(), repository());
    let query = Query {
        subject: &subject,
        repository: &repository,
        formats: &formats,
        access: &access,
        limit: 3,
    };
    let searched = search_with(
        &toys,
        query,
        Arc::new(wanted),
        Extent::UntilSatisfied,
        Timestamp::now(),
    );
    tokio::time::timeout(LATEST, searched).await.unwrap()
}

const LONG: Duration = Duration::from_secs(3600);

fn good(key: &str) -> String {
    record(&subject(), Some(REPOSITORY), key)
}

fn reasons(evidence: &Evidence) -> Vec<Reason> {
    let failures = evidence.failures().iter();
    failures.map(|failure| failure.error.reason()).collect()
}

#[tokio::test]
async fn a_good_record_is_used_although_another_source_hangs() {
    let evidence = search(
        vec![hanging("first"), giving("second", &TOY, &[good("release")])],
        1,
        LONG,
    )
    .await;
    assert_eq!(evidence.signers(Timestamp::now()).len(), 1);
    assert!(evidence.stopped_early());
    assert!(evidence.failures().is_empty());
    assert_eq!(
        evidence.queried_sources(),
        [SourceName("first"), SourceName("second")]
    );
}

#[tokio::test]
async fn a_source_that_hangs_until_the_deadline_is_a_failure_beside_the_records_of_the_others() {
    let evidence = search(
        vec![hanging("first"), giving("second", &TOY, &[good("release")])],
        2,
        Duration::from_millis(200),
    )
    .await;
    assert_eq!(evidence.checked().len(), 1);
    assert_eq!(reasons(&evidence), [Reason::DeadlineExceeded]);
    assert_eq!(evidence.failures()[0].source, SourceName("first"));
    assert!(!evidence.stopped_early());
}

#[tokio::test]
async fn a_source_behind_a_sufficient_record_is_not_asked() {
    for (repository, is_asked) in [(REPOSITORY, false), ("acme/other", true)] {
        let was_asked = Arc::new(AtomicBool::new(false));
        let records = [record(&subject(), Some(repository), "release")];
        let first = giving("first", &TOY, &records);
        search(vec![first, witness("second", &was_asked)], 1, LONG).await;
        assert_eq!(was_asked.load(Ordering::Relaxed), is_asked, "{repository}");
    }
}

#[tokio::test]
async fn a_failing_source_does_not_hide_a_good_record() {
    let evidence = search(
        vec![failing("first"), giving("second", &TOY, &[good("release")])],
        1,
        LONG,
    )
    .await;
    assert_eq!(evidence.signers(Timestamp::now()).len(), 1);
    let evidence = search(vec![failing("first"), giving("second", &TOY, &[])], 1, LONG).await;
    assert_eq!(reasons(&evidence), [Reason::SourceUnreachable]);
}

#[tokio::test]
async fn one_key_in_two_formats_counts_once_and_two_keys_count_twice() {
    let same = vec![
        giving("first", &TOY, &[good("release")]),
        giving("second", &OTHER_TOY, &[good("release")]),
    ];
    let evidence = search(same, 2, LONG).await;
    assert_eq!(evidence.checked().len(), 2);
    assert_eq!(evidence.signers(Timestamp::now()).len(), 1);
    let other = vec![
        giving("first", &TOY, &[good("release")]),
        giving("second", &OTHER_TOY, &[good("qa")]),
    ];
    let evidence = search(other, 2, LONG).await;
    assert_eq!(evidence.signers(Timestamp::now()).len(), 2);
}

#[tokio::test]
async fn a_foreign_repository_and_a_missing_one_are_refused_for_every_format() {
    for format in [&TOY, &OTHER_TOY] {
        let records = [
            record(&subject(), Some("acme/other"), "release"),
            record(&subject(), None, "release"),
        ];
        let evidence = search(vec![giving("first", format, &records)], 1, LONG).await;
        assert!(evidence.signers(Timestamp::now()).is_empty());
        for checked in evidence.checked() {
            let error = checked.outcome.as_ref().unwrap_err();
            assert!(matches!(error, VerifyError::Repository { .. }), "{error:?}");
        }
        assert_eq!(evidence.checked().len(), 2);
    }
    let foreign = record(&Digest::sha256(b"another image"), Some(REPOSITORY), "release");
    let evidence = search(vec![giving("first", &TOY, &[foreign])], 1, LONG).await;
    let error = evidence.checked()[0].outcome.as_ref().unwrap_err();
    assert!(matches!(error, VerifyError::Digest { .. }), "{error:?}");
}

#[tokio::test]
async fn each_source_has_a_budget_of_its_own() {
    let noise: Vec<String> = (0..10).map(|number| format!("noise {number}")).collect();
    let evidence = search(
        vec![
            giving("first", &TOY, &noise),
            giving("second", &TOY, &[good("release"), good("qa")]),
        ],
        2,
        LONG,
    )
    .await;
    assert_eq!(evidence.signers(Timestamp::now()).len(), 2);
    let evidence = search(vec![giving("first", &TOY, &noise)], 1, LONG).await;
    assert_eq!(evidence.checked().len(), 3);
    assert_eq!(reasons(&evidence), [Reason::LimitExceeded]);
}

fn context(registry: Option<&EmbeddedRegistry>, directory: &std::path::Path) -> SourceContext {
    let registries = registry.map(|registry| RegistryConfig {
        host: HOST.to_owned(),
        endpoints: vec![registry.url().parse().unwrap()],
        ca: None,
        credentials: Credentials::Anonymous,
        signatures: SourceName::DEFAULT.to_vec(),
    });
    SourceContext {
        client: RegistryClient::new(registries.into_iter().collect(), Vec::new()).unwrap(),
        oracle: OracleRegistries::default(),
        directory: directory.to_owned(),
    }
}

/// Reads everything that one real source has, for the toy formats and Oracle's.
async fn all_of(source: &'static str, context: &SourceContext, subject: &Digest) -> Vec<(String, Locator)> {
    let (records, failures) = read_all(source, context, subject).await;
    assert!(failures.is_empty(), "{failures:?}");
    records
}

/// Reads everything that one real source has, with its failures.
async fn read_all(
    source: &'static str,
    context: &SourceContext,
    subject: &Digest,
) -> (Vec<(String, Locator)>, Vec<Reason>) {
    let access = Access {
        presented: None,
        deadline: Instant::now() + LATEST,
    };
    let repository = repository();
    let formats: [&'static dyn Format; 2] = [&TOY, &Oracle];
    let query = Query {
        subject,
        repository: &repository,
        formats: &formats,
        access: &access,
        limit: 8,
    };
    let (records, failures) = find_all(&sources(&[SourceName(source)], context), query).await;
    let name = |record: pullgate::signature::Candidate| (record.format.name().to_string(), record.locator);
    let reasons = failures.into_iter().map(|failure| failure.error.reason());
    (records.into_iter().map(name).collect(), reasons.collect())
}

#[tokio::test]
async fn a_pipe_in_the_directory_is_a_failure_and_holds_up_no_other_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let subject = subject();
    let records = folder.path().join(subject.algorithm()).join(subject.encoded());
    std::fs::create_dir_all(&records).unwrap();
    std::fs::write(records.join("b.json"), "{}").unwrap();
    let pipe = records.join("a.json");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let context = context(None, folder.path());
    let read = tokio::time::timeout(LATEST, read_all("directory", &context, &subject));
    let (found, reasons) = read.await.unwrap();
    assert_eq!(
        found,
        [("oracle".to_owned(), Locator::File(records.join("b.json")))]
    );
    assert_eq!(reasons, [Reason::SourceUnreachable]);
}

#[tokio::test]
async fn the_directory_gives_each_file_to_one_format_and_charges_no_other_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let subject = subject();
    let records = folder.path().join(subject.algorithm()).join(subject.encoded());
    std::fs::create_dir_all(&records).unwrap();
    for name in ["a.json", "b.toy.json", ".json"] {
        std::fs::write(records.join(name), "{}").unwrap();
    }
    for number in 0..20 {
        std::fs::write(records.join(format!("{number}.txt")), "{}").unwrap();
    }
    let found = all_of("directory", &context(None, folder.path()), &subject).await;
    assert_eq!(
        found,
        [
            ("oracle".to_owned(), Locator::File(records.join("a.json"))),
            ("toy".to_owned(), Locator::File(records.join("b.toy.json"))),
        ]
    );
}

/// Stores a manifest of this type with these layers that refers to the image.
fn attach(
    registry: &EmbeddedRegistry,
    image: &Descriptor,
    artifact_type: &str,
    layers: &[String],
) -> Descriptor {
    let named = |media_type: &str, bytes: &str| json!({ "mediaType": media_type, "digest": Digest::sha256(bytes.as_bytes()), "size": bytes.len() });
    registry.put_blob(REPOSITORY, "{}").unwrap();
    for layer in layers {
        registry.put_blob(REPOSITORY, layer.clone()).unwrap();
    }
    let layers: Vec<_> = layers.iter().map(|layer| named(artifact_type, layer)).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest.as_str(),
        "artifactType": artifact_type,
        "config": named("application/vnd.oci.empty.v1+json", "{}"),
        "layers": layers,
        "subject": { "mediaType": image.media_type, "digest": image.digest, "size": image.size },
    });
    let media_type = MediaType::OciManifest.as_str();
    registry
        .put_manifest(REPOSITORY, None, media_type, manifest.to_string())
        .unwrap()
}

#[tokio::test]
async fn layers_of_one_manifest_are_records_of_their_own_and_other_artifacts_cost_nothing() {
    let registry = registry().await;
    let image = put(&registry, REPOSITORY, "v1");
    let layers = ["one", "two", "three"].map(str::to_owned);
    let manifest = attach(&registry, &image, TOY_TYPE, &layers).digest;
    for number in 0..200 {
        attach(
            &registry,
            &image,
            "application/spdx+json",
            &[format!("sbom {number}")],
        );
    }
    let folder = tempfile::TempDir::new().unwrap();
    registry.clear_log();
    let found = all_of(
        "referrers",
        &context(Some(&registry), folder.path()),
        &image.digest,
    )
    .await;
    let expected: Vec<_> = (0..3)
        .map(|index| ("toy".to_owned(), Locator::Layer { manifest, index }))
        .collect();
    assert_eq!(found, expected);
    let paths: Vec<String> = registry
        .log()
        .iter()
        .map(|request| format!("{request:?}"))
        .collect();
    // The requests are for the manifest, three layers, the fallback tag and the pages of one list.
    let lists = paths.iter().filter(|path| path.contains("/referrers/")).count();
    assert_eq!(paths.len() - lists, 5, "{paths:#?}");
}

#[tokio::test]
async fn two_formats_are_listed_by_one_request() {
    let registry = registry().await;
    let image = put(&registry, REPOSITORY, "v1");
    let toy = attach(&registry, &image, TOY_TYPE, &["one".to_owned()]).digest;
    let record = signer::get("release")
        .record(&image.digest, REPOSITORY)
        .to_string();
    let oracle = signer::attach(&registry, REPOSITORY, &image, &record).digest;
    let folder = tempfile::TempDir::new().unwrap();
    registry.clear_log();
    let found = all_of(
        "referrers",
        &context(Some(&registry), folder.path()),
        &image.digest,
    )
    .await;
    let found: BTreeSet<_> = found.into_iter().collect();
    let layer = |manifest| Locator::Layer { manifest, index: 0 };
    assert_eq!(
        found,
        BTreeSet::from([
            ("toy".to_owned(), layer(toy)),
            ("oracle".to_owned(), layer(oracle)),
        ])
    );
    let lists = registry
        .log()
        .iter()
        .filter(|request| format!("{request:?}").contains("/referrers/"))
        .count();
    assert_eq!(lists, 1);
}

#[tokio::test]
async fn two_hundred_good_records_take_hardly_more_requests_than_one() {
    let registry = registry().await;
    put_signed(&registry, "one", signer::get("release"));
    let many = put(&registry, REPOSITORY, "many");
    for _ in 0..200 {
        // The salt is random, so the records differ.
        let record = signer::get("release")
            .record(&many.digest, REPOSITORY)
            .to_string();
        signer::attach(&registry, REPOSITORY, &many, &record);
    }
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let mut requests = Vec::new();
    for tag in ["one", "many"] {
        registry.clear_log();
        node.pull(&image(&format!("{REPOSITORY}:{tag}"))).await.unwrap();
        requests.push(registry.log().len());
    }
    assert!(requests[1] <= requests[0] + 2, "{requests:?}");
}

//! Pulls, the images of indexes, credentials, and rules for pods.

use std::sync::Arc;
use std::time::Instant;

use pullgate::fakes::registry::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions};
use pullgate::oci::Descriptor;
use tokio::sync::Notify;

use super::runtime::{frame_message, wire};
use super::{CriNode, ID, NAME, configuration, named_by_digest, pull_request};
use crate::support::signer::attach;
use crate::support::{LATEST, REPOSITORY, SIGNED, config, put, put_signed, registry, signer};

#[tokio::test]
async fn a_signed_image_is_pulled_and_others_are_denied() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    put(&registry, REPOSITORY, "v2");
    put_signed(&registry, "wrong", signer::get("stranger"));
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    cri.prepare_pull(
        NAME,
        &configuration(&registry, &signed),
        &[named_by_digest(&signed.digest)],
    );
    let request = pull_request(NAME);
    let response = cri.pull(&request).await;
    assert_eq!(
        response.message::<wire::PullImageResponse>().image_ref,
        configuration(&registry, &signed)
    );
    assert_eq!(response.trailers.as_ref().unwrap()["x-runtime"], "fake");
    // The door forwards the kubelet's request byte for byte.
    let seen = cri.state.seen.lock().unwrap().clone();
    let pull = seen.iter().find(|seen| seen.path.ends_with("PullImage")).unwrap();
    assert_eq!(pull.body, frame_message(&request));
    assert_eq!(cri.state.paths(), ["ImageStatus", "PullImage", "ImageStatus"]);

    let text = cri
        .assert_denied(
            &pull_request("registry.example/acme/app:v2"),
            "SignatureValidationFailed: pullgate: unsigned: ",
        )
        .await;
    assert!(
        text.contains("registry.example/acme/app:v2") && text.contains("registry.example/**"),
        "{text}"
    );
    let wrong = pull_request("registry.example/acme/app:wrong");
    cri.assert_denied(&wrong, "SignatureValidationFailed: pullgate: untrusted-key: ")
        .await;
    let nowhere = pull_request("nginx");
    let text = cri
        .assert_denied(&nowhere, "SignatureValidationFailed: pullgate: no-rule: ")
        .await;
    assert!(text.contains("docker.io/library/nginx:latest"), "{text}");
    let none = pull_request("registry.example/acme/app:none");
    cri.assert_denied(&none, "RegistryUnavailable: pullgate: image-not-found: ")
        .await;
    for no_name in ["", "acme/APP", &ID[7..], "a b"] {
        let text = cri
            .assert_denied(
                &pull_request(no_name),
                "SignatureValidationFailed: pullgate: malformed: ",
            )
            .await;
        assert!(text.contains("is not an image name"), "{text}");
    }
    let (recorded, _) = cri.node.gate.watch(9, |recorded| recorded.door.as_str() == "cri");
    assert!(
        recorded.iter().all(|recorded| recorded.peer.starts_with("uid=")),
        "{recorded:?}"
    );
    // A failure of the runtime is forwarded.
    let unknown = pull_request(&named_by_digest(&signed.digest));
    let response = cri.pull(&unknown).await;
    assert_eq!(
        (response.status(), response.text().as_str()),
        ("5", "no such image")
    );
}

/// Stores an index of these manifests, tagged `v1` and signed by `release`.
fn put_signed_index(registry: &EmbeddedRegistry, manifests: &[Descriptor]) -> Descriptor {
    let index = registry.put_index(REPOSITORY, "v1", manifests).unwrap();
    let record = signer::get("release").record(&index.digest, REPOSITORY);
    attach(registry, REPOSITORY, &index, &record.to_string());
    index
}

/// A reload or a cleared cache discards derivations. A pull that was running meanwhile must not bring them back.
#[tokio::test]
async fn the_image_of_an_index_is_admitted_only_under_the_policy_of_its_pull() {
    for (change, is_kept) in [(None, true), (Some(false), false), (Some(true), false)] {
        let registry = registry().await;
        let here = registry.put_image(REPOSITORY, "", &[b"here"]).unwrap();
        let index = put_signed_index(&registry, std::slice::from_ref(&here));
        let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
        let id = configuration(&registry, &here);
        cri.prepare_pull(NAME, &id, &[named_by_digest(&index.digest)]);
        let hold = Arc::new(Notify::new());
        *cri.state.hold.lock().unwrap() = Some(Arc::clone(&hold));
        let request = pull_request(NAME);
        let (response, ()) = tokio::join!(cri.pull(&request), async {
            cri.await_runtime_pull().await;
            match change {
                None => {}
                Some(false) => cri
                    .node
                    .reload(&config(registry.url(), &SIGNED.replace("release", "qa"))),
                Some(true) => {
                    cri.node.gate.clear().unwrap();
                }
            }
            hold.notify_one();
        });
        assert_eq!(response.status(), "0", "{response:?}");
        let blob = pullgate::pull::request::PullRequest {
            door: pullgate::pull::request::DoorName::new("registry"),
            peer: String::new(),
            reference: named_by_digest(&id).parse().unwrap(),
            pod: None,
            presented: None,
            deadline: Instant::now() + LATEST,
            purpose: pullgate::pull::request::Purpose::Serve,
        };
        let admitted = cri.node.gate.admit_blob(&blob).await;
        assert_eq!(admitted.is_ok(), is_kept, "{change:?}: {admitted:?}");
    }
}

/// The image of an index must be one that the index lists. The manifests show which one it is.
#[tokio::test]
async fn the_image_of_an_index_must_be_one_that_the_index_lists() {
    let registry = registry().await;
    let child = |number: u8| registry.put_image(REPOSITORY, "", &[&[number]]).unwrap();
    let (first, second, other) = (child(1), child(2), child(3));
    let index = put_signed_index(&registry, &[first.clone(), second.clone()]);
    let cri = CriNode::start(&config(registry.url(), SIGNED), true).await;
    let is_visible = async |id: &str| {
        let status: wire::Images = cri.image_call("ImageStatus", id).await.message();
        !status.images.is_empty()
    };
    let pulled = async |image: &Descriptor| {
        let id = configuration(&registry, image);
        cri.prepare_pull(NAME, &id, &[named_by_digest(&index.digest)]);
        (cri.pull(&pull_request(NAME)).await, is_visible(&id).await)
    };
    let (response, is_shown) = pulled(&other).await;
    assert_eq!(response.status(), "2", "{response:?}");
    let text = response.text();
    assert!(
        text.contains("which no manifest of the admitted index has"),
        "{text}"
    );
    assert!(!is_shown);
    // Each listed image is admitted, whichever was pulled first.
    for image in [&second, &first] {
        let (response, is_shown) = pulled(image).await;
        assert_eq!(response.status(), "0", "{response:?}");
        assert!(is_shown);
    }
    registry.clear_log();
    assert_eq!(pulled(&first).await.0.status(), "0");
    let requested: Vec<_> = registry.log().into_iter().map(|access| access.target).collect();
    let listed = |image: &Descriptor| {
        requested
            .iter()
            .any(|target| target.contains(&image.digest.to_string()))
    };
    assert!(!listed(&first) && !listed(&second), "{requested:?}");
    // A manifest on the deny list is not admitted with its index.
    cri.node.reload(&config(
        registry.url(),
        &format!("{SIGNED}[deny]\ndigests = [\"{}\"]\n", second.digest),
    ));
    assert_eq!(pulled(&first).await.0.status(), "0");
    assert_eq!(pulled(&second).await.0.status(), "2");
}

/// A mirror may lack the manifests of other platforms. The available manifests suffice, and an error names the missing ones.
#[tokio::test]
async fn an_index_with_missing_manifests_still_admits_its_other_images() {
    let registry = registry().await;
    let here = registry.put_image(REPOSITORY, "", &[b"here"]).unwrap();
    let missing = Descriptor {
        digest: pullgate::oci::Digest::sha256(b"of another platform"),
        platform: None,
        ..here.clone()
    };
    let index = put_signed_index(&registry, &[missing, here.clone()]);
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    cri.prepare_pull(
        NAME,
        &configuration(&registry, &here),
        &[named_by_digest(&index.digest)],
    );
    assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "0");
    cri.prepare_pull(NAME, ID, &[named_by_digest(&index.digest)]);
    let text = cri.pull(&pull_request(NAME)).await.text();
    assert!(
        text.contains("could not read every manifest of the admitted index"),
        "{text}"
    );
}

/// A tag moves from one signed image to the next while both are pulled. Neither pull removes the other's image.
#[tokio::test]
async fn a_tag_that_moves_between_admitted_images_is_not_a_mismatch() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let next = put_signed(&registry, "v2", signer::get("release"));
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    cri.prepare_pull(
        NAME,
        &configuration(&registry, &next),
        &[named_by_digest(&next.digest)],
    );
    // The gate has not admitted the next image yet.
    assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "2");
    let name = "registry.example/acme/app:v2";
    cri.prepare_pull(
        name,
        &configuration(&registry, &next),
        &[named_by_digest(&next.digest)],
    );
    assert_eq!(cri.pull(&pull_request(name)).await.status(), "0");
    assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "0");
}

#[tokio::test]
async fn a_pull_is_decided_with_its_own_credentials() {
    for (auth, scheme) in [
        (
            wire::Auth {
                username: "bob".to_owned(),
                password: "secret".to_owned(),
                ..wire::Auth::default()
            },
            "basic",
        ),
        (
            wire::Auth {
                auth: "Ym9iOnNlY3JldA==".to_owned(),
                server_address: "https://registry.example".to_owned(),
                ..wire::Auth::default()
            },
            "bearer",
        ),
    ] {
        let (user, password) = ("bob".to_owned(), "secret".to_owned());
        let registry_auth = match scheme {
            "basic" => AuthPolicy::Basic { user, password },
            _ => AuthPolicy::Bearer {
                user,
                password,
                anonymous_pull: false,
            },
        };
        let registry = EmbeddedRegistry::start(FakeRegistryOptions {
            auth: registry_auth,
            ..FakeRegistryOptions::default()
        })
        .await
        .unwrap();
        let signed = put_signed(&registry, "v1", signer::get("release"));
        let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
        cri.prepare_pull(
            NAME,
            &configuration(&registry, &signed),
            &[named_by_digest(&signed.digest)],
        );
        let with = |auth| wire::PullImageRequest {
            auth,
            ..pull_request(NAME)
        };
        let unauthorized = "RegistryUnavailable: pullgate: registry-unauthorized: ";
        cri.assert_denied(&with(None), unauthorized).await;
        let wrong = wire::Auth {
            password: "guess".to_owned(),
            auth: "Ym9iOmd1ZXNz".to_owned(),
            ..auth.clone()
        };
        cri.assert_denied(&with(Some(wrong)), unauthorized).await;
        let response = cri.pull(&with(Some(auth.clone()))).await;
        assert_eq!(response.status(), "0", "{response:?}");
        cri.assert_denied(&with(None), unauthorized).await;
        let broken = wire::Auth {
            auth: "secret and no base64".to_owned(),
            username: String::new(),
            ..auth
        };
        let text = cri
            .assert_denied(
                &with(Some(broken)),
                "SignatureValidationFailed: pullgate: malformed: ",
            )
            .await;
        assert!(!text.contains("secret"), "{text}");
    }
}

/// A rule for some pods applies only to them. Its verdicts do not count for other pods or doors.
#[tokio::test]
async fn rules_for_namespaces_and_labels_apply_only_to_their_pods() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let child = registry
        .put_image(REPOSITORY, "", &[b"for this machine"])
        .unwrap();
    let unsigned = registry
        .put_index(REPOSITORY, "v2", std::slice::from_ref(&child))
        .unwrap();
    let both = SIGNED.replace("[\"release\"]", "[\"release\", \"qa\"]");
    let testers = SIGNED.replace("[\"release\"]", "[\"qa\"]");
    let anything = "[[rule]]\nscope = \"registry.example/**\"\nrequire = \"insecure-accept-anything\"\n";
    let rules = format!(
        "{SIGNED}{both}threshold = 2\nnamespaces = [\"prod\"]\n{testers}namespaces = [\"test\"]\n\
         {anything}namespaces = [\"dev\", \"lab\"]\n\
         {testers}labels = [\"tier=web\", \"zone=outer\"]\n\
         [[rule]]\nscope = \"registry.example/acme/closed\"\nrequire = \"reject\"\n"
    );
    let cri = CriNode::start(&config(registry.url(), &rules), false).await;
    let other = "registry.example/acme/app:v2";
    cri.prepare_pull(
        NAME,
        &configuration(&registry, &signed),
        &[named_by_digest(&signed.digest)],
    );
    cri.prepare_pull(
        other,
        &configuration(&registry, &child),
        &[named_by_digest(&unsigned.digest)],
    );
    let of_pod_with = |image: &str, namespace: &str, labels: &[(&str, &str)]| wire::PullImageRequest {
        sandbox: Some(wire::Sandbox {
            metadata: Some(wire::Metadata {
                name: "pod".to_owned(),
                namespace: namespace.to_owned(),
            }),
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }),
        ..pull_request(image)
    };
    let of_pod = |image: &str, namespace: &str| of_pod_with(image, namespace, &[]);
    // The order of the pulls does not matter. The second round is answered from the cache.
    for _ in 0..2 {
        let text = cri
            .assert_denied(
                &of_pod(NAME, "prod"),
                "SignatureValidationFailed: pullgate: threshold-not-met: ",
            )
            .await;
        assert!(text.contains("registry.example/** in prod"), "{text}");
        // The signer is the same, but this rule requires another.
        cri.assert_denied(
            &of_pod(NAME, "test"),
            "SignatureValidationFailed: pullgate: untrusted-key: ",
        )
        .await;
        // A rule whose labels all match is more specific than a rule for the namespace.
        let web = [("tier", "web"), ("zone", "outer"), ("app", "shop")];
        for namespace in ["default", "dev"] {
            let text = cri
                .assert_denied(
                    &of_pod_with(NAME, namespace, &web),
                    "SignatureValidationFailed: pullgate: untrusted-key: ",
                )
                .await;
            assert!(
                text.contains("registry.example/** with tier=web, zone=outer"),
                "{text}"
            );
        }
        let inner = of_pod_with(NAME, "default", &web[..1]);
        assert_eq!(cri.pull(&inner).await.status(), "0");
        assert_eq!(cri.pull(&of_pod(NAME, "default")).await.status(), "0");
        assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "0");
        assert_eq!(cri.pull(&of_pod(other, "dev")).await.status(), "0");
        assert_eq!(cri.pull(&of_pod(other, "lab")).await.status(), "0");
        for elsewhere in [
            of_pod(other, "default"),
            of_pod(other, "prod"),
            of_pod(other, "de"),
            pull_request(other),
        ] {
            cri.assert_denied(&elsewhere, "SignatureValidationFailed: pullgate: unsigned: ")
                .await;
        }
        // The registry door knows no namespace. It admits neither the index nor its image.
        let by_digest = |digest| format!("acme/app@{digest}");
        for digest in [&unsigned.digest, &child.digest] {
            let image = crate::support::image(&by_digest(digest));
            cri.node
                .assert_denied(&image, pullgate::base::reason::Reason::Unsigned)
                .await;
        }
    }
    // A rule with a more specific scope takes precedence over the namespace's rule.
    put(&registry, "acme/closed", "v1");
    let closed = of_pod("registry.example/acme/closed:v1", "dev");
    cri.assert_denied(&closed, "SignatureValidationFailed: pullgate: rejected-by-rule: ")
        .await;
}

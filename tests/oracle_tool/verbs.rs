//! `pullgate signature list`, `show`, `tag` and `delete` against Oracle's API.

use serde_json::{Value, json};

use super::oracle_cloud::{Deletion, Fault, Operation};
use super::{REPOSITORY, Site};

impl Site {
    /// Returns the arguments that name the image to Oracle's API without its reference.
    fn image_arguments(&self) -> [&str; 6] {
        [
            "--compartment-id",
            &self.compartment,
            "--repo-name",
            REPOSITORY,
            "--image-digest",
            &self.image.digest,
        ]
    }
}

#[tokio::test]
async fn records_are_listed_by_reference_and_by_digest() {
    let site = Site::start().await;
    let image = site.tagged();
    site.run(&["signature", "list", &image, "--from", "oracle"])
        .await
        .assert_failed(1, "");
    let id = site.sign();
    let by_image = site
        .run(&["signature", "list", &image, "--from", "oracle", "--json"])
        .await
        .ok()
        .json();
    let record = site.record(&id);
    assert_eq!(
        by_image["signatures"],
        json!([{
            "id": id,
            "source": "oracle-api",
            "format": "oracle",
            "kmsKeyId": site.key,
            "kmsKeyVersionId": site.version,
            "signingAlgorithm": "SHA_256_RSA_PKCS_PSS",
            "timeCreated": record["timeCreated"],
        }])
    );
    assert_eq!(by_image["digest"], site.image.digest.as_str());
    site.cloud.forget_requests();
    let by_arguments = site
        .run(&[&["signature", "list", "--json"], &site.image_arguments()[..]].concat())
        .await
        .ok()
        .json();
    assert_eq!(by_arguments["signatures"], by_image["signatures"]);
    assert_eq!(
        by_arguments["image"],
        format!("{REPOSITORY}@{}", site.image.digest)
    );
    // The list was the only request.
    assert_eq!(site.cloud.requests().len(), 1);
    // Oracle's own name for the option.
    let oracle_names = site.image_arguments().map(|word| {
        if word == "--repo-name" {
            "--repository-name"
        } else {
            word
        }
    });
    let text = site
        .run(&[&["signature", "list"], &oracle_names[..]].concat())
        .await
        .ok();
    assert!(
        text.out.contains(&id) && text.out.contains("oracle-api"),
        "{text:?}"
    );
    // The registry has no record.
    site.run(&["signature", "list", &image])
        .await
        .assert_failed(1, "");
}

#[tokio::test]
async fn compartments_below_are_searched_on_request() {
    let site = Site::start().await;
    let id = site.sign();
    let mut arguments = site.image_arguments();
    arguments[1] = &site.tenancy;
    let list = |more: &'static [&'static str]| {
        let arguments = [&["signature", "list"], &arguments[..], more].concat();
        let site = &site;
        async move { site.run(&arguments).await }
    };
    list(&[]).await.assert_failed(1, "");
    list(&["--compartment-id-in-subtree", "false"])
        .await
        .assert_failed(1, "");
    for more in [
        &["--compartment-id-in-subtree", "true"][..],
        &["--compartment-id-in-subtree"],
    ] {
        assert!(list(more).await.ok().out.contains(&id));
    }
    let below = [
        &["signature", "list"],
        &site.image_arguments()[..],
        &["--compartment-id-in-subtree", "true"],
    ]
    .concat();
    site.run(&below).await.assert_failed(
        2,
        "is not a tenancy, and subcompartments can be searched from a tenancy only",
    );
}

#[tokio::test]
async fn invalid_selections_are_refused_before_the_first_request() {
    let site = Site::start().await;
    let image = site.tagged();
    let digest = format!("sha256:{}", "ab".repeat(32));
    for (arguments, words) in [
        (vec!["list"], "no image is given"),
        (vec!["list", "--from", "oracle"], "no image is given"),
        (
            vec![
                "list",
                "--compartment-id",
                &site.compartment,
                "--repo-name",
                REPOSITORY,
            ],
            "no image is given",
        ),
        (
            vec!["list", "--compartment-id", &site.key, &image],
            "is the OCID of a `key`",
        ),
        (
            vec!["list", "--compartment-id-in-subtree", "true", &image],
            "--compartment-id <OCID>",
        ),
        (
            vec!["list", &image, "--image-digest", &digest],
            "--image-digest applies only to Oracle's API",
        ),
        (
            vec!["list", &image, "--repo-name", REPOSITORY],
            "--repo-name applies only to Oracle's API",
        ),
        (
            vec!["verify", &image, "--repo-name", REPOSITORY],
            "--repo-name requires --key",
        ),
        (
            vec!["list", "--from", "oracle", &image, "--repo-name", "x"],
            "--repo-name differs from `project01/acme`",
        ),
        (vec!["show", "--id", "sha256:ab"], "no valid record is given"),
        (
            vec!["delete", "--id", &site.key, "--yes"],
            "no valid record is given",
        ),
        (
            vec!["tag", "--id", &site.key, "--freeform-tags", "{}"],
            "is the OCID of a `key`",
        ),
        (
            vec!["verify", "--from", "oracle"],
            "no key is given, and no IMAGE",
        ),
    ] {
        site.run(&[&["signature"], &arguments[..]].concat())
            .await
            .assert_failed(2, words);
    }
    let wild = [
        "signature",
        "list",
        "--compartment-id",
        &site.compartment,
        "--repo-name",
        "project01/*",
        "--image-digest",
        &digest,
    ];
    site.run(&wild).await.assert_failed(2, "has a `*` in it");
    assert!(site.cloud.requests().is_empty());
}

#[tokio::test]
async fn a_complete_record_is_shown() {
    let site = Site::start().await;
    let id = site.sign();
    for more in [
        vec!["--id", &id],
        vec!["--image-signature-id", &id],
        vec!["--from", "oracle", "--id", &id],
    ] {
        let shown = site
            .run(&[&["signature", "show"], &more[..]].concat())
            .await
            .ok()
            .json();
        assert_eq!(shown[0]["record"], site.record(&id), "{more:?}");
        assert_eq!(shown[0]["unverifiedMessage"]["repositoryName"], REPOSITORY);
    }
    let image = site.tagged();
    let shown = site
        .run(&["signature", "show", &image, "--from", "oracle"])
        .await
        .ok()
        .json();
    assert_eq!(shown[0]["id"], id.as_str());
    site.run(&["signature", "show", &image, "--from", "oracle", "--id", "other"])
        .await
        .assert_failed(1, "no record `other`");
    let absent = format!("{}zzzz", &id[..id.len() - 4]);
    site.run(&["signature", "show", "--id", &absent])
        .await
        .assert_failed(1, "does not say which of the two");
}

#[tokio::test]
async fn tags_replace_all_tags_of_their_kind() {
    let site = Site::start().await;
    let id = site.sign();
    let tag = |more: [&'static str; 2]| {
        let site = &site;
        let arguments = ["signature", "tag", "--id", &id, more[0], more[1], "--json"].map(str::to_owned);
        async move {
            site.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
                .await
        }
    };
    let first = tag(["--freeform-tags", r#"{"build":"812","team":"web"}"#])
        .await
        .ok()
        .json();
    assert_eq!(first["replaced"]["freeformTags"], json!({}));
    tag(["--defined-tags", r#"{"Operations":{"CostCenter":"42"}}"#])
        .await
        .ok();
    let last = tag(["--freeform-tags", r#"{"build":"813"}"#]).await.ok().json();
    assert_eq!(last["freeformTags"], json!({"build": "813"}));
    assert_eq!(last["definedTags"], json!({"Operations": {"CostCenter": "42"}}));
    assert_eq!(
        last["replaced"]["freeformTags"],
        json!({"build": "812", "team": "web"})
    );
    let stored = site.record(&id);
    assert_eq!(
        (&stored["freeformTags"], &stored["definedTags"]),
        (&last["freeformTags"], &last["definedTags"])
    );

    let text = site
        .run(&["signature", "tag", "--id", &id, "--freeform-tags", "{}"])
        .await
        .ok();
    assert!(
        text.out
            .contains("free-form  {} instead of {\"build\":\"813\"}\n"),
        "{text:?}"
    );
    assert!(
        text.out
            .contains("defined    {\"Operations\":{\"CostCenter\":\"42\"}}\n"),
        "{text:?}"
    );
    site.cloud.forget_requests();
    tag(["--freeform-tags", r#"{"build":812}"#])
        .await
        .assert_failed(2, "not a JSON object of strings");
    tag(["--defined-tags", r#"{"build":"812"}"#])
        .await
        .assert_failed(2, "not a JSON object of namespaces");
    site.run(&["signature", "tag", "--id", &id])
        .await
        .assert_failed(2, "--freeform-tags <JSON>");
    assert!(site.cloud.requests().is_empty());
}

#[tokio::test]
async fn records_are_deleted_after_confirmation() {
    let site = Site::start().await;
    let image = site.tagged();
    let [one, two, three] = [site.sign(), site.sign(), site.sign()];
    // Without a terminal there is no confirmation.
    site.run(&["signature", "delete", "--id", &one])
        .await
        .assert_failed(1, "nothing was deleted");
    let ran = site
        .run(&["signature", "delete", "--id", &one, "--yes"])
        .await
        .ok();
    assert_eq!(ran.out, format!("deleted  {one}\n"));
    let ran = site
        .run(&[
            "signature",
            "delete",
            &image,
            "--from",
            "oracle",
            "--id",
            &two,
            "--yes",
            "--json",
        ])
        .await
        .ok();
    assert_eq!(ran.json(), json!({ "deleted": [two] }));
    // An unknown id prevents the deletion of the others.
    let both = ["signature", "delete", "--id", &three, "--id", &one, "--yes"];
    site.run(&both)
        .await
        .assert_failed(1, "could not delete the record");
    assert_eq!(site.cloud.world().signatures.len(), 1);
    site.run(&[
        "signature",
        "delete",
        &image,
        "--from",
        "oracle",
        "--all",
        "--yes",
    ])
    .await
    .ok();
    assert_eq!(site.cloud.world().signatures, Vec::<Value>::new());
    site.run(&[
        "signature",
        "delete",
        &image,
        "--from",
        "oracle",
        "--all",
        "--yes",
    ])
    .await
    .assert_failed(1, "");
}

#[tokio::test]
async fn a_record_that_may_only_be_read_is_not_reported_as_deleted() {
    let site = Site::start().await;
    let id = site.sign();
    let fault = Fault::Status {
        status: 404,
        retry_after: None,
    };
    site.cloud
        .fail(Operation::DeleteContainerImageSignature, fault, None);
    site.run(&["signature", "delete", "--id", &id, "--yes"])
        .await
        .assert_failed(3, "could not delete the record");
    assert_eq!(site.record(&id)["lifecycleState"], "AVAILABLE");
    assert_eq!(Deletion::default(), Deletion::Gone);
}

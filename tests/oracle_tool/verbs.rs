//! `pullgate signature list`, `show`, `tag` and `delete` against Oracle's API.

use serde_json::{Value, json};

use super::oracle_cloud::{Deletion, Fault, Operation};
use super::{REPOSITORY, Site};

impl Site {
    /// The arguments that name the image to Oracle's API without its name.
    fn place(&self) -> [&str; 6] {
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
async fn records_are_listed_by_image_and_by_place() {
    let site = Site::start().await;
    let image = site.tagged();
    site.run(&["signature", "list", &image, "--from", "oracle"])
        .await
        .said(1, "");
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
    let by_place = site
        .run(&[&["signature", "list", "--json"], &site.place()[..]].concat())
        .await
        .ok()
        .json();
    assert_eq!(by_place["signatures"], by_image["signatures"]);
    assert_eq!(by_place["image"], format!("{REPOSITORY}@{}", site.image.digest));
    // Nothing but the list had to be asked.
    assert_eq!(site.cloud.requests().len(), 1);
    // Oracle's own name of the option.
    let spelled = site.place().map(|word| {
        if word == "--repo-name" {
            "--repository-name"
        } else {
            word
        }
    });
    let text = site
        .run(&[&["signature", "list"], &spelled[..]].concat())
        .await
        .ok();
    assert!(
        text.out.contains(&id) && text.out.contains("oracle-api"),
        "{text:?}"
    );
    // The registry has none of it.
    site.run(&["signature", "list", &image]).await.said(1, "");
}

#[tokio::test]
async fn a_compartment_below_is_looked_in_when_it_is_said() {
    let site = Site::start().await;
    let id = site.sign();
    let mut place = site.place();
    place[1] = &site.tenancy;
    let list = |more: &'static [&'static str]| {
        let arguments = [&["signature", "list"], &place[..], more].concat();
        let site = &site;
        async move { site.run(&arguments).await }
    };
    list(&[]).await.said(1, "");
    list(&["--compartment-id-in-subtree", "false"]).await.said(1, "");
    for more in [
        &["--compartment-id-in-subtree", "true"][..],
        &["--compartment-id-in-subtree"],
    ] {
        assert!(list(more).await.ok().out.contains(&id));
    }
    let below = [
        &["signature", "list"],
        &site.place()[..],
        &["--compartment-id-in-subtree", "true"],
    ]
    .concat();
    site.run(&below).await.said(
        2,
        "is not a tenancy, and subcompartments can be searched from a tenancy only",
    );
}

#[tokio::test]
async fn wrong_places_are_refused_before_anything_is_sent() {
    let site = Site::start().await;
    let image = site.tagged();
    let digest = format!("sha256:{}", "ab".repeat(32));
    for (arguments, words) in [
        (vec!["list"], "no image is named"),
        (vec!["list", "--from", "oracle"], "no image is named"),
        (
            vec![
                "list",
                "--compartment-id",
                &site.compartment,
                "--repo-name",
                REPOSITORY,
            ],
            "no image is named",
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
            "--image-digest is a question to Oracle's API",
        ),
        (
            vec!["list", &image, "--repo-name", REPOSITORY],
            "--repo-name is a question to Oracle's API",
        ),
        (
            vec!["verify", &image, "--repo-name", REPOSITORY],
            "the rule says which name must have been signed",
        ),
        (
            vec!["list", "--from", "oracle", &image, "--repo-name", "x"],
            "--repo-name is another than `project01/acme`",
        ),
        (vec!["show", "--id", "sha256:ab"], "no record is named"),
        (vec!["delete", "--id", &site.key, "--yes"], "no record is named"),
        (
            vec!["tag", "--id", &site.key, "--freeform-tags", "{}"],
            "is the OCID of a `key`",
        ),
        (
            vec!["verify", "--from", "oracle"],
            "no key is named, and no IMAGE",
        ),
    ] {
        site.run(&[&["signature"], &arguments[..]].concat())
            .await
            .said(2, words);
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
    site.run(&wild).await.said(2, "has a `*` in it");
    assert!(site.cloud.requests().is_empty());
}

#[tokio::test]
async fn one_record_is_shown_whole() {
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
        .said(1, "no record `other`");
    let absent = format!("{}zzzz", &id[..id.len() - 4]);
    site.run(&["signature", "show", "--id", &absent])
        .await
        .said(1, "does not say which of the two");
}

#[tokio::test]
async fn tags_replace_those_of_their_kind() {
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
    let kept = site.record(&id);
    assert_eq!(
        (&kept["freeformTags"], &kept["definedTags"]),
        (&last["freeformTags"], &last["definedTags"])
    );

    let text = site
        .run(&["signature", "tag", "--id", &id, "--freeform-tags", "{}"])
        .await
        .ok();
    assert!(
        text.out
            .contains("free-form  {} in place of {\"build\":\"813\"}\n"),
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
        .said(2, "not a JSON object of texts");
    tag(["--defined-tags", r#"{"build":"812"}"#])
        .await
        .said(2, "not a JSON object of namespaces");
    site.run(&["signature", "tag", "--id", &id])
        .await
        .said(2, "--freeform-tags <JSON>");
    assert!(site.cloud.requests().is_empty());
}

#[tokio::test]
async fn records_are_deleted_when_it_is_meant() {
    let site = Site::start().await;
    let image = site.tagged();
    let [one, two, three] = [site.sign(), site.sign(), site.sign()];
    // Nobody is there to be asked.
    site.run(&["signature", "delete", "--id", &one])
        .await
        .said(1, "nothing was deleted");
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
    // One that names nothing deletes nothing of the others.
    let both = ["signature", "delete", "--id", &three, "--id", &one, "--yes"];
    site.run(&both).await.said(1, "was not deleted");
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
    .said(1, "");
}

#[tokio::test]
async fn a_record_that_may_be_read_and_not_deleted_is_not_called_deleted() {
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
        .said(3, "was not deleted");
    assert_eq!(site.record(&id)["lifecycleState"], "AVAILABLE");
    assert_eq!(Deletion::default(), Deletion::Gone);
}

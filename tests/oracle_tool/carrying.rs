//! Export of records from Oracle's API to a mirror and to a node without network.

use serde_json::{Value, json};

use super::oracle_cloud::{Fault, Operation};
use super::{NAMESPACE, REPOSITORY, Site};

impl Site {
    /// Configures a node that trusts the vault's key for images of both hosts.
    async fn trust(&self, more: &str) {
        let import = [
            "key",
            "import",
            "--kms-key-id",
            &self.key,
            "--output",
            "policy.d",
            "--name",
            "k",
        ];
        self.run(&import).await.ok();
        let name = format!("k-{}", &self.version[self.version.len() - 10..]);
        let rule = format!(
            "{more}[[rule]]\nscope = \"phx.ocir.io/**\"\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"{name}\"]\n\
             [[rule]]\nscope = \"mirror.example/**\"\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"{name}\"]\n\
             signed_repository = \"{REPOSITORY}\"\n"
        );
        self.write("pullgate.toml", &self.configuration(&rule));
    }
}

#[tokio::test]
async fn a_node_without_network_uses_exported_records() {
    let site = Site::start().await;
    let image = site.tagged();
    site.trust("").await;
    site.sign();
    assert_eq!(site.run(&["check", &image]).await.code, 1);
    let exported = site
        .run(&["signature", "export", &image, "out", "--from", "oracle", "--json"])
        .await
        .ok()
        .json();
    let path = exported["stored"][0].as_str().unwrap();
    assert!(
        path.starts_with(&format!("out/{}/", site.image.digest.replace(':', "/"))),
        "{path}"
    );
    site.run(&["signature", "import", "out"]).await.ok();
    let checked = site.run(&["check", &image, "--json"]).await.ok().json();
    assert_eq!(
        (&checked["verdict"], &checked["signatures"][0]["source"]),
        (&json!("allow"), &json!("directory"))
    );
}

#[tokio::test]
async fn a_mirror_uses_attached_records() {
    let site = Site::start().await;
    let mirror = format!(
        "[[registry]]\nhost = \"mirror.example\"\nendpoint = \"{}\"\n",
        site.registry.url()
    );
    site.trust(&mirror).await;
    let id = site.sign();
    // The mirror has the same bytes under another name.
    let manifest = site
        .registry
        .manifest(&format!("{NAMESPACE}/{REPOSITORY}"), "v1")
        .unwrap();
    let copied = site
        .registry
        .put_image("copy/acme", "v1", &[b"an image"])
        .unwrap();
    assert_eq!(copied.digest.to_string(), site.image.digest, "{manifest:?}");
    let target = "mirror.example/copy/acme:v1";
    assert_eq!(site.run(&["check", target]).await.code, 1);
    let image = site.tagged();
    let to = ["signature", "export", &image, "--from", "oracle", "--to", target];
    let ran = site.run(&to).await.ok();
    assert!(
        ran.out.starts_with("stored  mirror.example/copy/acme@sha256:"),
        "{ran:?}"
    );
    let checked = site.run(&["check", target, "--json"]).await.ok().json();
    assert_eq!(checked["verdict"], "allow", "{checked:#}");
    let shown = site.run(&["signature", "show", target]).await.ok().json();
    assert_eq!(shown[0]["record"]["id"], id.as_str());
    // Attaching twice has no further effect.
    site.run(&to).await.ok();
    assert_eq!(
        site.run(&["signature", "show", target])
            .await
            .ok()
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Another image of the mirror gets no record.
    site.registry
        .put_image("copy/other", "v1", &[b"another image"])
        .unwrap();
    let other = [
        "signature",
        "export",
        &image,
        "--from",
        "oracle",
        "--to",
        "mirror.example/copy/other:v1",
    ];
    site.run(&other).await.assert_failed(1, "skipped: the record");
}

#[tokio::test]
async fn records_of_other_images_and_withdrawn_records_are_not_exported() {
    let site = Site::start().await;
    let image = site.tagged();
    let good = site.sign();
    let elsewhere = site
        .cloud
        .push("project01/other", &format!("sha256:{}", "cd".repeat(32)), None);
    let foreign = site
        .cloud
        .sign_and_upload(&elsewhere, &site.version, super::ALGORITHM);
    let withdrawn = site.sign();
    let mut record = site.record(&withdrawn);
    site.cloud.remove_signature(&withdrawn);
    record["lifecycleState"] = json!("DELETED");
    site.cloud.put_signature(record);
    site.cloud
        .fail(Operation::ListContainerImageSignatures, Fault::Unfiltered, None);
    let ran = site
        .run(&["signature", "export", &image, "out", "--from", "oracle", "--json"])
        .await
        .ok();
    assert!(
        ran.err
            .contains(&format!("skipped: `{foreign}`: it signs sha256:cdcd")),
        "{ran:?}"
    );
    assert!(ran.err.contains("its state is `DELETED`"), "{ran:?}");
    let stored = ran.json()["stored"].as_array().unwrap().clone();
    assert_eq!(stored.len(), 1);
    let exported: Value = serde_json::from_str(&site.read(stored[0].as_str().unwrap())).unwrap();
    assert_eq!(exported["id"], good.as_str());
    site.run(&["signature", "export", &image, "--from", "oracle"])
        .await
        .assert_failed(2, "no destination is given");
}

#[tokio::test]
async fn lists_of_oracles_client_are_imported_in_both_spellings() {
    let site = Site::start().await;
    site.trust("").await;
    let id = site.sign();
    let record = site.record(&id);
    let kebab: serde_json::Map<String, Value> = record
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            let name: String = name
                .chars()
                .flat_map(|letter| {
                    let dash = letter.is_uppercase().then_some('-');
                    dash.into_iter().chain(letter.to_lowercase())
                })
                .collect();
            (name, value.clone())
        })
        .collect();
    for (list, folder) in [
        (
            json!({ "data": { "items": [kebab], "remaining-items-count": 0 } }),
            "cli",
        ),
        (json!({ "items": [record], "remainingItemsCount": 0 }), "api"),
    ] {
        site.write("list.json", &list.to_string());
        let ran = site
            .run(&["signature", "import", "list.json", "--directory", folder])
            .await
            .ok();
        assert!(ran.out.starts_with("stored  "), "{ran:?}");
    }
    let stored = |folder: &str| {
        let path = site.path(folder).join(site.image.digest.replace(':', "/"));
        let entry = std::fs::read_dir(path).unwrap().next().unwrap().unwrap();
        (entry.file_name(), std::fs::read(entry.path()).unwrap())
    };
    assert_eq!(stored("cli"), stored("api"));
    site.run(&["signature", "import", "list.json"]).await.ok();
    site.run(&["check", &site.tagged()]).await.ok();
}

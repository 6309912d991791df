//! `pullgate key` against a stand-in for OCI Vault.

use serde_json::json;

use super::Site;
use super::oracle_cloud::world::{self, Key, Version};
use super::oracle_cloud::{Kind, Lifecycle, Operation};

/// Starts a site whose second key has two versions.
async fn with_two_versions() -> (Site, String, [String; 2]) {
    let site = Site::start_with(|world| {
        world.keys.push(Key {
            id: String::new(),
            kind: Kind::Rsa,
            state: Lifecycle::Enabled,
            compartment: None,
            versions: vec![Version::default(), Version::default()],
        });
        *world = world.clone().complete();
    })
    .await;
    let key = site.cloud.world().keys[1].clone();
    let [one, two] = [key.versions[0].id.clone(), key.versions[1].id.clone()];
    (site, key.id, [one, two])
}

#[tokio::test]
async fn the_current_version_is_imported_and_a_gate_loads_it() {
    let site = Site::start().await;
    let ran = site
        .run(&[
            "key",
            "import",
            "--kms-key-id",
            &site.key,
            "--output",
            "policy.d",
            "--name",
            "release",
            "--json",
        ])
        .await
        .ok();
    let answer = ran.json();
    assert_eq!(
        (&answer["written"], &answer["kms_key_id"]),
        (&json!(true), &json!(site.key))
    );
    let version = &answer["versions"][0];
    let ending = &site.version[site.version.len() - 10..];
    let name = format!("release-{ending}");
    assert_eq!(
        (&version["change"], &version["name"], &version["bits"]),
        (&json!("new"), &json!(name), &json!(2048))
    );
    let shown = site
        .run(&["key", "show", &format!("policy.d/{name}.pem"), "--json"])
        .await
        .ok();
    assert_eq!(shown.json()["fingerprint"], version["fingerprint"]);
    assert_eq!(shown.json()["kind"], "RSA");
    // A node loads the files unchanged.
    let rule = format!(
        "[[rule]]\nscope = \"phx.ocir.io/**\"\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"{name}\"]\n"
    );
    site.write("pullgate.toml", &site.configuration(&rule));
    site.run(&["config", "check"]).await.ok();
    let loaded = site.run(&["config", "show", "--json"]).await.ok().json();
    assert_eq!(
        loaded["rules"][0]["keys"][0]["fingerprint"],
        version["fingerprint"]
    );

    let before = site.read("policy.d/release.toml");
    assert!(
        before.contains(&site.key) && before.contains(&site.version),
        "{before}"
    );
    let again = site
        .run(&[
            "key",
            "import",
            "--kms-key-id",
            &site.key,
            "--output",
            "policy.d",
            "--name",
            "release",
        ])
        .await
        .ok();
    assert!(
        again.out.contains("unchanged") && again.out.contains("\nunchanged  policy.d/release.toml"),
        "{again:?}"
    );
    assert!(again.err.contains("compare the fingerprints"), "{again:?}");
    assert_eq!(site.read("policy.d/release.toml"), before);
    let left: Vec<_> = std::fs::read_dir(site.path("policy.d")).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test]
async fn versions_are_added_and_revoked_and_edits_are_kept() {
    let (site, key, [one, two]) = with_two_versions().await;
    let all = [
        "key",
        "import",
        "--kms-key-id",
        &key,
        "--all-versions",
        "--name",
        "k",
        "--output",
        "policy.d",
        "--json",
    ];
    let changes = |ran: super::ToolOutput| {
        let mut changes: Vec<(String, String)> = ran.json()["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|each| {
                let text = |field: &str| each[field].as_str().unwrap().to_owned();
                (text("kms_key_version_id"), text("change"))
            })
            .collect();
        changes.sort_by_key(|(version, _)| *version != one);
        changes.into_iter().map(|(_, change)| change).collect::<Vec<_>>()
    };
    let first = [
        "key",
        "import",
        "--kms-key-id",
        &key,
        "--kms-key-version-id",
        &one,
        "--name",
        "k",
        "--output",
        "policy.d",
        "--json",
    ];
    assert_eq!(changes(site.run(&first).await.ok()), ["new"]);
    // The permission to read key versions was enough.
    assert_eq!(
        (
            site.count(Operation::GetKey),
            site.count(Operation::GetKeyVersion)
        ),
        (0, 1)
    );
    assert_eq!(changes(site.run(&all).await.ok()), ["unchanged", "new"]);

    // A setting added by hand is kept.
    let edited = site
        .read("policy.d/k.toml")
        .replace("[[key]]\n", "[[key]]\nalgorithms = [\"SHA_256_RSA_PKCS_PSS\"]\n");
    site.write("policy.d/k.toml", &edited);
    site.cloud.set_key_state(&one, Lifecycle::Disabled);
    assert_eq!(changes(site.run(&all).await.ok()), ["revoked", "unchanged"]);
    let file = site.read("policy.d/k.toml");
    assert_eq!(
        (
            file.matches("revoked = true").count(),
            file.matches("algorithms = ").count()
        ),
        (1, 2),
        "{file}"
    );
    site.run(&["config", "check"]).await.ok();
    // A version that is enabled again stays revoked until the administrator changes that.
    site.cloud.set_key_state(&one, Lifecycle::Enabled);
    assert_eq!(changes(site.run(&all).await.ok()), ["revoked here", "unchanged"]);

    site.write(
        "policy.d/k.toml",
        &file.replace(&two, &format!("{}zz", &two[..two.len() - 2])),
    );
    let ran = site.run(&all).await;
    ran.assert_failed(2, "the name `k-");
}

#[tokio::test]
async fn a_version_that_the_vault_no_longer_has_is_revoked() {
    let (site, key, [one, two]) = with_two_versions().await;
    let all = [
        "key",
        "import",
        "--kms-key-id",
        &key,
        "--all-versions",
        "--name",
        "k",
        "--json",
    ];
    site.run(&all).await.ok();
    let gone = format!("{}zzzz", &one[..one.len() - 4]);
    let pem = format!("k-{}.pem", &gone[gone.len() - 10..]);
    let mut file = site.read("k.toml");
    file.push_str(&format!(
        "\n[[key]]\nname = \"old\"\npublic_key = \"{pem}\"\nkms_key_id = \"{key}\"\nkms_key_version_id = \"{gone}\"\n"
    ));
    site.write("k.toml", &file);
    let ran = site.run(&all).await.ok().json();
    let version = ran["versions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|each| each["kms_key_version_id"] == gone.as_str());
    let version = version.unwrap();
    assert_eq!(
        (&version["state"], &version["change"], &version["name"]),
        (&json!("gone"), &json!("revoked"), &json!("old"))
    );
    assert!(
        ran["versions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|each| each["kms_key_version_id"] == two.as_str())
    );
}

#[tokio::test]
async fn keys_that_cannot_sign_images_are_refused_with_an_explanation() {
    let mut ids = Vec::new();
    let site = Site::start_with(|world| {
        ids = [Kind::Aes, Kind::Ecdsa].map(|kind| world.key(kind)).to_vec();
    })
    .await;
    let [(aes, aes_version), (ec, ec_version)] = &ids[..] else {
        panic!()
    };
    for (arguments, words) in [
        (vec![aes.as_str()], "is a symmetric (AES) key, which cannot sign"),
        (
            vec![aes, "--all-versions"],
            "is a symmetric (AES) key, which cannot sign",
        ),
        (
            vec![aes, "--kms-key-version-id", aes_version],
            "has no public key: it belongs to a symmetric (AES) key",
        ),
        (
            vec![ec],
            "is a key for ECDSA; images are signed with RSA keys only",
        ),
        (
            vec![ec, "--kms-key-version-id", ec_version],
            "the key is an ECDSA P-256 key, and no signature format uses such keys yet",
        ),
    ] {
        let ran = site
            .run(
                &[
                    &["key", "import", "--output", "out", "--kms-key-id"],
                    &arguments[..],
                ]
                .concat(),
            )
            .await;
        ran.assert_failed(2, words);
        assert!(!site.path("out").exists());
    }
    site.run(&["key", "import", "--kms-key-id", &site.version])
        .await
        .assert_failed(2, "is the OCID of a `keyversion`");
    site.run(&["key", "import", "--kms-key-id", &site.key, "--name", "../x"])
        .await
        .assert_failed(2, "a name has at most");
}

#[tokio::test]
async fn a_version_that_is_not_enabled_is_passed_over_and_reported() {
    let site = Site::start().await;
    site.cloud
        .set_key_state(&site.version, Lifecycle::PendingDeletion);
    let ran = site
        .run(&["key", "import", "--kms-key-id", &site.key, "--name", "k"])
        .await;
    ran.assert_failed(1, &format!("passed over: {} is PENDING_DELETION", site.version));
    assert!(!site.path("k.toml").exists());
}

#[tokio::test]
async fn a_key_that_changed_is_not_written() {
    let site = Site::start().await;
    let import = ["key", "import", "--kms-key-id", &site.key, "--name", "k"];
    site.run(&import).await.ok();
    let pem = format!("k-{}.pem", &site.version[site.version.len() - 10..]);
    let (_, other) = world::pair();
    site.write(&pem, &other);
    let before = site.read("k.toml");
    site.run(&import)
        .await
        .assert_failed(1, "in the vault and sha256:");
    assert_eq!((site.read("k.toml"), site.read(&pem)), (before, other));

    site.write("k.toml", "[policy]\ndefault = \"reject\"\n");
    site.run(&import)
        .await
        .assert_failed(2, "`./k.toml` is not a file that `key import` wrote for this key");
}

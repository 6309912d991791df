//! The tool's access to Oracle's cloud: configuration files, environment variables, certificates and instances.

use super::oracle_cloud::{Cloud, Kind, Options, Tls, World, world};
use super::{REPOSITORY, Site, USER};

#[tokio::test]
async fn files_and_variables_are_found_as_by_oracles_client() {
    let site = Site::start().await;
    site.sign();
    let image = site.tagged();
    let list = ["signature", "list", &image, "--from", "oracle"];
    let config = site.read(".oci/config").replace("~/.oci/key.pem", "key.pem");
    site.write("elsewhere/config", &config.replace("[DEFAULT]", "[OTHER]"));
    site.write("elsewhere/key.pem", &site.read(".oci/key.pem"));
    let elsewhere = [
        &list[..],
        &["--config-file", "elsewhere/config", "--profile", "OTHER"],
    ]
    .concat();
    site.run(&elsewhere).await.ok();
    let variables = [
        ("OCI_CLI_CONFIG_FILE", "~/elsewhere/config"),
        ("OCI_CLI_PROFILE", "OTHER"),
        ("OCI_CLI_AUTH", "api_key"),
    ];
    site.run_with(&list, &variables).await.ok();
    // The SDK's variable applies when the usual file does not exist.
    let sdk = [
        ("OCI_CONFIG_FILE", "elsewhere/config"),
        ("OCI_CLI_PROFILE", "OTHER"),
    ];
    site.run_with(&list, &sdk)
        .await
        .assert_failed(2, "has no profile `OTHER`");
    std::fs::remove_file(site.path(".oci/config")).unwrap();
    site.run_with(&list, &sdk).await.ok();
    site.run(&list)
        .await
        .assert_failed(2, "name another with --config-file and --profile");
    // An option overrides its variable.
    let both = [&elsewhere[..], &["--auth", "api_key"]].concat();
    site.run_with(
        &both,
        &[
            ("OCI_CLI_AUTH", "resource_principal"),
            ("OCI_CLI_PROFILE", "NONE"),
        ],
    )
    .await
    .ok();
    site.run_with(&elsewhere, &[("OCI_CLI_AUTH", "resource_principal")])
        .await
        .assert_failed(2, "OCI_CLI_AUTH is `resource_principal`");
    let token = [&elsewhere[..], &["--auth", "security_token"]].concat();
    site.run(&token)
        .await
        .assert_failed(2, "has no `security_token_file`");
}

#[tokio::test]
async fn without_an_endpoint_the_hosts_of_the_region_are_used() {
    let site = Site::start().await;
    let image = site.tagged();
    for (verb, host) in [
        (
            vec!["signature", "list", &image, "--from", "oracle"],
            "artifacts.xx-nowhere-1.oci.oraclecloud.com",
        ),
        (
            vec!["key", "import", "--kms-key-id", &site.key],
            "bgxjkmty6zcls-management.kms.xx-nowhere-1.oci.oraclecloud.com",
        ),
    ] {
        let more = ["--region", "xx-nowhere-1", "--timeout", "3"];
        let ran = site
            .run_with(&[&verb[..], &more].concat(), &[("OCI_CLI_ENDPOINT", "")])
            .await;
        ran.assert_failed(3, host);
    }
    site.run(&[
        "signature",
        "list",
        &image,
        "--from",
        "oracle",
        "--endpoint",
        "ftp://x",
    ])
    .await
    .assert_failed(2, "could not determine the endpoint");
    let config = site.read(".oci/config").replace("region=us-phoenix-1\n", "");
    site.write(".oci/config", &config);
    let without_region = site
        .run_with(
            &["key", "import", "--kms-key-id", &site.key],
            &[("OCI_CLI_ENDPOINT", "")],
        )
        .await;
    without_region.assert_failed(2, "no region is set");
    site.run_with(
        &["key", "import", "--kms-key-id", &site.key],
        &[("OCI_CLI_REGION", "phx")],
    )
    .await
    .ok();
}

#[tokio::test]
async fn an_instance_signs_as_itself() {
    let site = Site::start().await;
    std::fs::remove_file(site.path(".oci/config")).unwrap();
    let (metadata, federation) = (site.cloud.metadata_url(), site.cloud.url());
    let variables = [
        ("OCI_METADATA_BASE_URL", metadata.as_str()),
        ("OCI_CLI_FEDERATION_ENDPOINT", &federation),
    ];
    let image = site.tagged();
    let sign = [
        &[
            "sign",
            &image,
            "--auth",
            "instance_principal",
            "--region",
            "us-phoenix-1",
        ],
        &site.key_arguments()[..],
    ]
    .concat();
    let ran = site.run_with(&sign, &variables).await.ok();
    assert!(ran.out.contains("ocid1.containerimagesignature."), "{ran:?}");
    assert_eq!(
        site.cloud.world().signatures[0]["createdBy"],
        site.cloud.instance()
    );
    let unregioned = [
        &["sign", &image, "--auth", "instance_principal"],
        &site.key_arguments()[..],
    ]
    .concat();
    site.run_with(&unregioned, &variables)
        .await
        .assert_failed(2, "no region is set");
}

#[tokio::test]
async fn a_private_certificate_is_trusted_when_it_is_named() {
    let site = Site::start().await;
    let mut world = World::new();
    let (_, public) = USER.get_or_init(world::pair);
    let key_id = world.user(public);
    let (key, _) = world.key(Kind::Rsa);
    let tls = Tls::generate(&["127.0.0.1".to_owned()]);
    site.write("ca.pem", &tls.authority);
    let mut options = Options::new(world);
    options.tls = Some(tls);
    let cloud = Cloud::start(options).await.unwrap();
    cloud.push(REPOSITORY, &site.image.digest, Some("v1"));
    let [tenancy, user, fingerprint] = key_id.split('/').collect::<Vec<_>>()[..] else {
        panic!("{key_id}");
    };
    site.write(
        ".oci/config",
        &format!(
            "[DEFAULT]\nuser={user}\ntenancy={tenancy}\nfingerprint={fingerprint}\nkey_file=~/.oci/key.pem\nregion=phx\n"
        ),
    );
    let url = cloud.url();
    let import = [
        "key",
        "import",
        "--kms-key-id",
        &key,
        "--name",
        "k",
        "--endpoint",
        &url,
        "--timeout",
        "2",
    ];
    site.run(&import).await.assert_failed(3, "is not reachable");
    site.run(&[&import[..], &["--cert-bundle", "ca.pem"]].concat())
        .await
        .ok();
    site.run_with(&import, &[("OCI_CLI_CERT_BUNDLE", "ca.pem")])
        .await
        .ok();
    site.run(&[&import[..], &["--cert-bundle", "none.pem"]].concat())
        .await
        .assert_failed(2, "could not read the certificates");
}
